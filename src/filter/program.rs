//! A compiled expression and its evaluation: a list of steps over a stack of values, without recursion or allocation.
//!
//! An evaluation walks the properties once and keeps those that the expression names; what was read of one as a number is
//! kept with it. So an expression of thousands of steps costs no more than the properties and the steps.
//!
//! Values are what Java's are: texts of properties, numbers of 32 and 64 bits and floating point, truth values, nothing.
//! Invariant: the parser builds the steps, so that each finds its operands, and the stack never grows beyond `depth`.
//! Java counterparts: ComparisonExpression, LogicExpression, UnaryExpression.

use crate::error::SqlError;
use crate::number::{parse_double, parse_long};
use crate::{NAMES_MAX, parser};
use std::cell::Cell;
use std::cmp::Ordering;
use wire::props::Props;

/// Stack of most expressions.
const STACK_SMALL: usize = 16;
/// Stack of any expression.
pub(crate) const STACK_MAX: usize = 512;
/// Properties that most expressions name.
const NAMES_SMALL: usize = 16;
/// Bytes of properties, and of values that a text is looked for in, that cost as much as a step.
const BYTES_PER_STEP: (usize, usize) = (16, 256);
/// Steps that it costs to clear the memory of an evaluation that is not small.
const BEGIN_STEPS: usize = 256;

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
    /// Of a property, by its number in `SqlFilter::names`.
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

/// A bit for the length of a name; all long ones share one.
pub(crate) fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

/// A compiled expression.
pub struct SqlFilter {
    pub(crate) steps: Vec<Step>,
    /// The properties that the expression names, sorted, and the number that the steps know each by.
    pub(crate) names: Vec<(Box<[u8]>, u32)>,
    /// Of the lengths of the names, as `length_bit` says: nearly all properties are not named, which this tells of most.
    pub(crate) lengths: u64,
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
    Text(Text<'v>),
}

/// A text, and where to keep what was read of it.
#[derive(Clone, Copy, Debug)]
struct Text<'v> {
    bytes: &'v [u8],
    read: Option<&'v Read>,
}

/// A property of the message at hand.
struct Slot<'v> {
    value: Option<&'v [u8]>,
    read: Read,
}

/// What a text is as a number, as soon as that was asked for.
#[derive(Debug)]
struct Read {
    long: Cell<Option<Option<i64>>>,
    double: Cell<Option<Option<f64>>>,
}

impl Slot<'_> {
    const fn new() -> Self {
        Slot { value: None, read: Read { long: Cell::new(None), double: Cell::new(None) } }
    }
}

/// Reads a number unless `kept` has it.
fn read_once<T: Copy>(
    kept: Option<&Cell<Option<Option<T>>>>,
    read: impl FnOnce() -> Option<T>,
) -> Result<T, Incomparable> {
    let found = kept.and_then(Cell::get).unwrap_or_else(read);
    if let Some(kept) = kept {
        kept.set(Some(found));
    }
    found.ok_or(Incomparable)
}

impl Text<'_> {
    fn long(self) -> Result<i64, Incomparable> {
        read_once(self.read.map(|read| &read.long), || parse_long(self.bytes))
    }

    fn int(self) -> Result<i32, Incomparable> {
        i32::try_from(self.long()?).map_err(|_| Incomparable)
    }

    fn double(self) -> Result<f64, Incomparable> {
        read_once(self.read.map(|read| &read.double), || parse_double(self.bytes))
    }
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

    /// About how many steps an evaluation costs for so many bytes of properties.
    pub fn work(&self, properties_bytes: usize) -> usize {
        let (walked, searched) = BYTES_PER_STEP;
        let searches = self.finders.len() * (properties_bytes / searched);
        let begin = if self.is_small() { 0 } else { BEGIN_STEPS };
        begin + self.steps.len() + properties_bytes / walked + searches
    }

    fn is_small(&self) -> bool {
        self.depth <= STACK_SMALL && self.names.len() <= NAMES_SMALL
    }

    /// The value of the expression for these properties; `None` is unknown.
    pub fn evaluate(&self, props: Props<'_>) -> Result<Option<bool>, Incomparable> {
        if self.is_small() {
            self.evaluate_in::<STACK_SMALL, NAMES_SMALL>(props)
        } else {
            self.evaluate_in::<STACK_MAX, NAMES_MAX>(props)
        }
    }

    fn evaluate_in<const STACK: usize, const NAMES: usize>(
        &self,
        props: Props<'_>,
    ) -> Result<Option<bool>, Incomparable> {
        let mut slots = [const { Slot::new() }; NAMES];
        for (key, value) in props.iter() {
            if self.lengths & length_bit(key) == 0 {
                continue;
            }
            // Of a repeated property the last one counts.
            if let Ok(at) = self.names.binary_search_by(|(name, _)| (**name).cmp(key)) {
                slots[self.names[at].1 as usize].value = Some(value);
            }
        }
        self.run(&slots, &mut [Value::Null; STACK])
    }

    fn text(&self, number: u32) -> &[u8] {
        self.texts.get(number as usize).map_or(&[], |text| text)
    }

    fn run<'v>(
        &'v self,
        slots: &'v [Slot<'v>],
        stack: &mut [Value<'v>],
    ) -> Result<Option<bool>, Incomparable> {
        let mut top = 0;
        let mut at = 0;
        while let Some(step) = self.steps.get(at) {
            at += 1;
            match *step {
                Step::Push(what) => {
                    stack[top] = self.value(what, slots);
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

    fn value<'v>(&'v self, what: Push, slots: &'v [Slot<'v>]) -> Value<'v> {
        match what {
            Push::Property(name) => {
                let slot = &slots[name as usize];
                let text = |bytes| Value::Text(Text { bytes, read: Some(&slot.read) });
                slot.value.map_or(Value::Null, text)
            }
            Push::Text(text) => Value::Text(Text { bytes: self.text(text), read: None }),
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
                Value::Bool(self.find(part, text, value.bytes) != not)
            }
            Unary::In { not, list } => {
                let Value::Text(value) = value else { return Value::Null };
                let list = self.lists.get(list as usize).map_or(&[][..], Vec::as_slice);
                let found = list.binary_search_by(|item| (**item).cmp(value.bytes)).is_ok();
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
                let (left, right) = (left.double()?, right.double()?);
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
    Ok(match (left, right) {
        (Value::Text(left), Value::Text(right)) => left.bytes.cmp(right.bytes),
        (Value::Text(left), Value::Bool(right)) => {
            left.bytes.eq_ignore_ascii_case(b"true").cmp(&right)
        }
        (Value::Bool(_), Value::Text(_)) => return Err(Incomparable),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(&right),
        (Value::Text(left), Value::Int(right)) => left.int()?.cmp(&right),
        (Value::Int(left), Value::Text(right)) => left.cmp(&right.int()?),
        (Value::Text(left), Value::Long(right)) => left.long()?.cmp(&right),
        (Value::Long(left), Value::Text(right)) => left.cmp(&right.long()?),
        (Value::Text(left), Value::Double(right)) => compare_doubles(left.double()?, right),
        (Value::Double(left), Value::Text(right)) => compare_doubles(left, right.double()?),
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
