//! A compiled expression and its evaluation: a list of steps over a stack of values, without recursion or allocation.
//!
//! Values are what Java's are: texts of properties, numbers of 32 and 64 bits and floating point, truth values, nothing.
//! Invariant: the parser builds the steps, so that each finds its operands, and the stack never grows beyond `depth`.
//! Java counterparts: ComparisonExpression, LogicExpression, UnaryExpression.

use crate::error::SqlError;
use crate::number::{parse_double, parse_int, parse_long};
use crate::parser;
use std::cmp::Ordering;
use wire::props::Props;

/// Stack of most expressions.
const STACK_SMALL: usize = 16;
/// Stack of any expression.
pub(crate) const STACK_MAX: usize = 512;

/// How two values are ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Order {
    fn holds(self, found: Ordering) -> bool {
        match self {
            Order::Greater => found.is_gt(),
            Order::GreaterOrEqual => found.is_ge(),
            Order::Less => found.is_lt(),
            Order::LessOrEqual => found.is_le(),
        }
    }
}

/// Where a text is looked for in another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Anywhere,
    Start,
    End,
}

/// One step. Jumps are relative to the next step: code may be copied.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Step {
    /// Pushes a value.
    Push(Push),
    /// Replaces the value on top.
    Unary(Unary),
    /// Replaces the two values on top by one.
    Binary(Binary),
    /// Steps to skip when the condition is false already.
    AndSkip(u32),
    /// Steps to skip when the condition is true already.
    OrSkip(u32),
}

/// A value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Push {
    /// Of the property that this text names.
    Property(u32),
    Text(u32),
    Int(i32),
    Long(i64),
    Double(f64),
    Bool(bool),
    Null,
}

/// What is done with one value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Unary {
    Negate,
    Not,
    /// A property as a condition: false when it is there, unknown when not.
    Cast,
    Find {
        part: Part,
        not: bool,
        text: u32,
    },
    In {
        not: bool,
        list: u32,
    },
}

/// What is done with two values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Binary {
    And,
    Or,
    /// Nothing equals nothing, and what is missing on the left is unknown.
    Equal,
    Compare(Order),
}

/// Two values that Java's evaluation ends with an exception for; the broker takes such a message as not wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incomparable;

/// A compiled expression.
pub struct SqlFilter {
    pub(crate) steps: Vec<Step>,
    pub(crate) texts: Vec<Box<[u8]>>,
    /// Sorted, without repetition.
    pub(crate) lists: Vec<Vec<Box<[u8]>>>,
    pub(crate) finders: Vec<memchr::memmem::Finder<'static>>,
    pub(crate) depth: usize,
}

impl std::fmt::Debug for SqlFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.steps).finish()
    }
}

#[derive(Clone, Copy, Debug)]
enum Value<'v> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'v [u8]),
}

impl Value<'_> {
    /// A condition's value; `None` is unknown.
    fn truth(self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(value),
            Value::Null | Value::Int(_) | Value::Long(_) | Value::Double(_) | Value::Text(_) => {
                None
            }
        }
    }

    fn of(truth: Option<bool>) -> Self {
        truth.map_or(Value::Null, Value::Bool)
    }

    fn negate(self) -> Self {
        match self {
            Value::Int(value) => Value::Int(value.wrapping_neg()),
            Value::Long(value) => Value::Long(value.wrapping_neg()),
            Value::Double(value) => Value::Double(-value),
            Value::Null | Value::Bool(_) | Value::Text(_) => Value::Null,
        }
    }
}

impl SqlFilter {
    /// Compiles an expression. Errors: what Java refuses, in its words as far as they matter, and the limits of this crate.
    pub fn compile(text: &str) -> Result<SqlFilter, SqlError> {
        parser::compile(text)
    }

    /// Whether a message with these properties is wanted.
    pub fn matches(&self, props: Props<'_>) -> bool {
        self.evaluate(props) == Ok(Some(true))
    }

    /// Number of steps: the work of an evaluation is at most this often a walk through the properties.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// The value of the expression for these properties; `None` is unknown.
    pub fn evaluate(&self, props: Props<'_>) -> Result<Option<bool>, Incomparable> {
        if self.depth <= STACK_SMALL {
            self.run(props, &mut [Value::Null; STACK_SMALL])
        } else {
            self.run(props, &mut [Value::Null; STACK_MAX])
        }
    }

    fn text(&self, number: u32) -> &[u8] {
        self.texts.get(number as usize).map_or(&[], |text| text)
    }

    fn run<'v>(
        &'v self,
        props: Props<'v>,
        stack: &mut [Value<'v>],
    ) -> Result<Option<bool>, Incomparable> {
        let mut top = 0;
        let mut at = 0;
        while let Some(step) = self.steps.get(at) {
            at += 1;
            match *step {
                Step::Push(what) => {
                    stack[top] = self.value(what, props);
                    top += 1;
                }
                Step::Unary(what) => stack[top - 1] = self.unary(what, stack[top - 1]),
                Step::Binary(what) => {
                    top -= 1;
                    stack[top - 1] = binary(what, stack[top - 1], stack[top])?;
                }
                Step::AndSkip(count) if stack[top - 1].truth() == Some(false) => {
                    at += count as usize;
                }
                Step::OrSkip(count) if stack[top - 1].truth() == Some(true) => {
                    at += count as usize;
                }
                Step::AndSkip(_) | Step::OrSkip(_) => {}
            }
        }
        Ok(stack[0].truth())
    }

    fn value<'v>(&'v self, what: Push, props: Props<'v>) -> Value<'v> {
        match what {
            Push::Property(name) => property(props, self.text(name)),
            Push::Text(text) => Value::Text(self.text(text)),
            Push::Int(value) => Value::Int(value),
            Push::Long(value) => Value::Long(value),
            Push::Double(value) => Value::Double(value),
            Push::Bool(value) => Value::Bool(value),
            Push::Null => Value::Null,
        }
    }

    fn unary<'v>(&self, what: Unary, value: Value<'v>) -> Value<'v> {
        match what {
            Unary::Negate => value.negate(),
            Unary::Not => Value::of(value.truth().map(|truth| !truth)),
            Unary::Find { part, not, text } => {
                let Value::Text(value) = value else { return Value::Bool(false) };
                Value::Bool(self.find(part, text, value) != not)
            }
            Unary::In { not, list } => {
                let Value::Text(value) = value else { return Value::Null };
                let list = self.lists.get(list as usize).map_or(&[][..], Vec::as_slice);
                let found = list.binary_search_by(|item| (**item).cmp(value)).is_ok();
                Value::Bool(found != not)
            }
            Unary::Cast => match value {
                Value::Null => Value::Null,
                Value::Bool(truth) => Value::Bool(truth),
                Value::Int(_) | Value::Long(_) | Value::Double(_) | Value::Text(_) => {
                    Value::Bool(false)
                }
            },
        }
    }

    fn find(&self, part: Part, text: u32, value: &[u8]) -> bool {
        let Some(finder) = self.finders.get(text as usize) else { return false };
        match part {
            Part::Anywhere => finder.find(value).is_some(),
            Part::Start => value.starts_with(finder.needle()),
            Part::End => value.ends_with(finder.needle()),
        }
    }
}

fn property<'v>(props: Props<'v>, name: &[u8]) -> Value<'v> {
    let found = props.iter().filter(|(key, _)| *key == name).last();
    found.map_or(Value::Null, |(_, value)| Value::Text(value))
}

fn binary<'v>(what: Binary, left: Value<'v>, right: Value<'v>) -> Result<Value<'v>, Incomparable> {
    match what {
        Binary::And => Ok(Value::of(match (left.truth(), right.truth()) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            (None, _) | (_, None) => None,
        })),
        Binary::Or => Ok(Value::of(match (left.truth(), right.truth()) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            (None, _) | (_, None) => None,
        })),
        Binary::Compare(order) => match (left, right) {
            (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
            (Value::Text(left), Value::Text(right)) => {
                let left = parse_double(left).ok_or(Incomparable)?;
                let right = parse_double(right).ok_or(Incomparable)?;
                Ok(Value::Bool(order.holds(compare_doubles(left, right))))
            }
            _ => Ok(Value::Bool(order.holds(compare(left, right)?))),
        },
        Binary::Equal => match (left, right) {
            (Value::Null, Value::Null) => Ok(Value::Bool(true)),
            (Value::Null, _) => Ok(Value::Null),
            (_, Value::Null) => Ok(Value::Bool(false)),
            _ => Ok(Value::Bool(compare(left, right)?.is_eq())),
        },
    }
}

/// Java's `Double.compare`.
fn compare_doubles(left: f64, right: f64) -> Ordering {
    if left.is_nan() || right.is_nan() {
        return left.is_nan().cmp(&right.is_nan());
    }
    left.total_cmp(&right)
}

/// The order of two values that are there: numbers become the wider type, a text becomes what the other one is, and what
/// cannot be compared is less.
fn compare(left: Value<'_>, right: Value<'_>) -> Result<Ordering, Incomparable> {
    let number = |text: &[u8]| parse_double(text).ok_or(Incomparable);
    Ok(match (left, right) {
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Value::Text(left), Value::Bool(right)) => left.eq_ignore_ascii_case(b"true").cmp(&right),
        (Value::Bool(_), Value::Text(_)) => return Err(Incomparable),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(&right),
        (Value::Text(left), Value::Int(right)) => parse_int(left).ok_or(Incomparable)?.cmp(&right),
        (Value::Int(left), Value::Text(right)) => left.cmp(&parse_int(right).ok_or(Incomparable)?),
        (Value::Text(left), Value::Long(right)) => {
            parse_long(left).ok_or(Incomparable)?.cmp(&right)
        }
        (Value::Long(left), Value::Text(right)) => {
            left.cmp(&parse_long(right).ok_or(Incomparable)?)
        }
        (Value::Text(left), Value::Double(right)) => compare_doubles(number(left)?, right),
        (Value::Double(left), Value::Text(right)) => compare_doubles(left, number(right)?),
        (Value::Int(left), Value::Int(right)) => left.cmp(&right),
        (Value::Int(left), Value::Long(right)) => i64::from(left).cmp(&right),
        (Value::Long(left), Value::Int(right)) => left.cmp(&i64::from(right)),
        (Value::Long(left), Value::Long(right)) => left.cmp(&right),
        (Value::Int(left), Value::Double(right)) => compare_doubles(f64::from(left), right),
        (Value::Double(left), Value::Int(right)) => compare_doubles(left, f64::from(right)),
        (Value::Long(left), Value::Double(right)) => compare_doubles(left as f64, right),
        (Value::Double(left), Value::Long(right)) => compare_doubles(left, right as f64),
        (Value::Double(left), Value::Double(right)) => compare_doubles(left, right),
        (Value::Bool(_), Value::Int(_) | Value::Long(_) | Value::Double(_))
        | (Value::Int(_) | Value::Long(_) | Value::Double(_), Value::Bool(_))
        | (Value::Null, _)
        | (_, Value::Null) => Ordering::Less,
    })
}
