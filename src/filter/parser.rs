//! The grammar: recursive descent that emits steps as it goes. Java counterpart: SelectorParser.
//!
//! As in Java, what follows a complete expression is not looked at beyond its first token, and is no error by itself.
//! Limits: nesting bounds the recursion, the number of steps what BETWEEN copies, that of properties the memory of
//! an evaluation.

use crate::error::SqlError;
use crate::lexer::{Kind, Lexer, Token};
use crate::program::{Binary, Order, Part, Push, STACK_MAX, SqlFilter, Step, Unary, length_bit};
use crate::{EXPRESSION_BYTES_MAX, LIST_ITEMS_MAX, NAMES_MAX, NESTING_MAX, STEPS_MAX};
use std::cmp::Ordering;
use std::collections::BTreeMap;

const ORDERS: [(Kind, Order); 4] = [
    (Kind::Greater, Order::Greater),
    (Kind::GreaterOrEqual, Order::GreaterOrEqual),
    (Kind::Less, Order::Less),
    (Kind::LessOrEqual, Order::LessOrEqual),
];
const PARTS: [(Kind, Part); 3] = [
    (Kind::Contains, Part::Anywhere),
    (Kind::StartsWith, Part::Start),
    (Kind::EndsWith, Part::End),
];
const TRUTHS: [(Kind, Option<bool>); 3] =
    [(Kind::True, Some(true)), (Kind::False, Some(false)), (Kind::Null, None)];

/// What an operand is, as far as it decides where it may stand.
#[derive(Clone, Copy, Debug)]
enum Sort {
    Property,
    Text,
    Int(i32),
    Long(i64),
    Double(f64),
    /// TRUE, FALSE or NULL itself.
    Truth(Option<bool>),
    Condition,
    /// Something with a minus sign.
    Negated,
}

/// An operand: its steps begin at `steps`, its text at `text`.
#[derive(Clone, Copy, Debug)]
struct Operand {
    sort: Sort,
    steps: usize,
    text: usize,
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    peeked: Option<Token>,
    /// End of the last token that was taken.
    taken: usize,
    nesting: usize,
    names: BTreeMap<&'t str, u32>,
    filter: SqlFilter,
}

/// See `SqlFilter::compile`.
pub(crate) fn compile(text: &str) -> Result<SqlFilter, SqlError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(SqlError::limit("bytes of the expression:", text.len(), EXPRESSION_BYTES_MAX));
    }
    let filter = SqlFilter {
        steps: Vec::new(),
        names: Vec::new(),
        lengths: 0,
        texts: Vec::new(),
        lists: Vec::new(),
        finders: Vec::new(),
        depth: 0,
    };
    let lexer = Lexer::new(text);
    let names = BTreeMap::new();
    let mut parser = Parser { text, lexer, peeked: None, taken: 0, nesting: 0, names, filter };
    let whole = parser.disjunction()?;
    parser.condition(whole)?;
    let mut filter = parser.filter;
    filter.names =
        parser.names.into_iter().map(|(name, no)| (name.as_bytes().into(), no)).collect();
    filter.lengths = filter.names.iter().fold(0, |bits, (name, _)| bits | length_bit(name));
    filter.depth = depth(&filter.steps);
    if filter.depth > STACK_MAX {
        return Err(SqlError::limit("pending operands:", filter.depth, STACK_MAX));
    }
    Ok(filter)
}

/// The highest the stack grows.
fn depth(steps: &[Step]) -> usize {
    let (mut now, mut most) = (0usize, 0);
    for step in steps {
        match step {
            Step::Push(_) => now += 1,
            Step::Binary(_) => now -= 1,
            Step::Unary(_) | Step::AndSkip(_) | Step::OrSkip(_) => {}
        }
        most = most.max(now);
    }
    most
}

fn index(len: usize) -> u32 {
    u32::try_from(len).expect("no longer than the steps, which are limited")
}

impl<'t> Parser<'t> {
    fn peek(&mut self) -> Result<Token, SqlError> {
        if let Some(token) = self.peeked {
            return Ok(token);
        }
        let token = self.lexer.next()?;
        self.peeked = Some(token);
        Ok(token)
    }

    fn take(&mut self) -> Result<Token, SqlError> {
        let token = self.peek()?;
        self.peeked = None;
        self.taken = token.end;
        Ok(token)
    }

    fn expect(&mut self, kind: Kind) -> Result<Token, SqlError> {
        let token = self.peek()?;
        if token.kind == kind {
            return self.take();
        }
        let (image, at) = (self.lexer.image(token), self.lexer.spot(token.start));
        Err(SqlError::unexpected(token.kind.name(), image, at, kind.name()))
    }

    fn take_if(&mut self, kind: Kind) -> Result<bool, SqlError> {
        let is_next = self.peek()?.kind == kind;
        if is_next {
            self.take()?;
        }
        Ok(is_next)
    }

    fn emit(&mut self, step: Step) -> Result<(), SqlError> {
        if self.filter.steps.len() >= STEPS_MAX {
            return Err(SqlError::limit("steps of the expression: over", STEPS_MAX, STEPS_MAX));
        }
        self.filter.steps.push(step);
        Ok(())
    }

    fn add_text(&mut self, text: &[u8]) -> u32 {
        let texts = &mut self.filter.texts;
        texts.push(text.into());
        index(texts.len() - 1)
    }

    /// The number of a property.
    fn name(&mut self, name: &'t str) -> Result<u32, SqlError> {
        if let Some(number) = self.names.get(name) {
            return Ok(*number);
        }
        if self.names.len() == NAMES_MAX {
            return Err(SqlError::limit(
                "properties of the expression: over",
                NAMES_MAX,
                NAMES_MAX,
            ));
        }
        let number = index(self.names.len());
        self.names.insert(name, number);
        Ok(number)
    }

    /// What the expression says from an operand's beginning on.
    fn said(&self, operand: Operand) -> &'t str {
        self.text.get(operand.text..self.taken).unwrap_or_default()
    }

    /// Makes sure that an operand, whose steps are the last ones, is a condition.
    fn condition(&mut self, operand: Operand) -> Result<(), SqlError> {
        match operand.sort {
            Sort::Condition | Sort::Truth(_) => Ok(()),
            Sort::Property => self.emit(Step::Unary(Unary::Cast)),
            Sort::Text | Sort::Int(_) | Sort::Long(_) | Sort::Double(_) | Sort::Negated => {
                Err(SqlError::no_boolean(self.said(operand)))
            }
        }
    }

    // ---- levels of precedence ----

    fn disjunction(&mut self) -> Result<Operand, SqlError> {
        let mut left = self.conjunction()?;
        while self.peek()?.kind == Kind::Or {
            self.take()?;
            self.condition(left)?;
            let skip = self.begin_skip(Step::OrSkip(0))?;
            let right = self.conjunction()?;
            self.condition(right)?;
            self.end_skip(skip, Binary::Or)?;
            left.sort = Sort::Condition;
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Operand, SqlError> {
        let mut left = self.equality()?;
        while self.peek()?.kind == Kind::And {
            self.take()?;
            self.condition(left)?;
            let skip = self.begin_skip(Step::AndSkip(0))?;
            let right = self.equality()?;
            self.condition(right)?;
            self.end_skip(skip, Binary::And)?;
            left.sort = Sort::Condition;
        }
        Ok(left)
    }

    fn begin_skip(&mut self, step: Step) -> Result<usize, SqlError> {
        self.emit(step)?;
        Ok(self.filter.steps.len() - 1)
    }

    /// Joins both sides; the skip that began in between leads behind it.
    fn end_skip(&mut self, skip: usize, join: Binary) -> Result<(), SqlError> {
        self.emit(Step::Binary(join))?;
        let count = index(self.filter.steps.len() - skip - 1);
        let step = &mut self.filter.steps[skip];
        *step = if join == Binary::And { Step::AndSkip(count) } else { Step::OrSkip(count) };
        Ok(())
    }

    fn equality(&mut self) -> Result<Operand, SqlError> {
        let mut left = self.comparison()?;
        loop {
            let kind = self.peek()?.kind;
            if kind == Kind::Equal || kind == Kind::NotEqual {
                self.take()?;
                let right = self.comparison()?;
                self.check_equal(left, right)?;
                self.emit(Step::Binary(Binary::Equal))?;
            } else if kind != Kind::Is {
                return Ok(left);
            }
            let mut not = kind == Kind::NotEqual;
            if kind == Kind::Is {
                self.take()?;
                not = self.take_if(Kind::Not)?;
                self.expect(Kind::Null)?;
                self.emit(Step::Push(Push::Null))?;
                self.emit(Step::Binary(Binary::Equal))?;
            }
            if not {
                self.emit(Step::Unary(Unary::Not))?;
            }
            left.sort = Sort::Condition;
        }
    }

    fn check_equal(&self, left: Operand, right: Operand) -> Result<(), SqlError> {
        let is_null = |sort| matches!(sort, Sort::Truth(None));
        if is_null(left.sort) || is_null(right.sort) {
            return Err(SqlError::refused("'NULL' cannot be compared."));
        }
        let is_value =
            matches!(right.sort, Sort::Text | Sort::Int(_) | Sort::Long(_) | Sort::Double(_));
        if matches!(left.sort, Sort::Truth(_)) && is_value {
            let (left, right) = (self.said(left), self.said(right));
            let left = left.split_ascii_whitespace().next().unwrap_or_default();
            return Err(SqlError::refused(&format!("'{left}' cannot be compared with '{right}'")));
        }
        Ok(())
    }

    fn comparison(&mut self) -> Result<Operand, SqlError> {
        let mut left = self.unary()?;
        loop {
            let not = self.take_if(Kind::Not)?;
            let kind = self.peek()?.kind;
            let order = ORDERS.iter().find(|(known, _)| *known == kind && !not);
            if let Some((_, order)) = order {
                self.take()?;
                let right = self.unary()?;
                self.check_ordered(left)?;
                self.check_ordered(right)?;
                self.emit(Step::Binary(Binary::Compare(*order)))?;
            } else if let Some((_, part)) = PARTS.iter().find(|(known, _)| *known == kind) {
                self.take()?;
                self.find(left, *part, not)?;
            } else if kind == Kind::Between {
                self.take()?;
                self.between(left, not)?;
            } else if kind == Kind::In {
                self.take()?;
                self.list(left, not)?;
            } else if not {
                self.expect(Kind::Between)?;
            } else {
                return Ok(left);
            }
            left.sort = Sort::Condition;
        }
    }

    fn check_ordered(&self, operand: Operand) -> Result<(), SqlError> {
        match operand.sort {
            Sort::Property | Sort::Int(_) | Sort::Long(_) | Sort::Double(_) | Sort::Negated => {
                Ok(())
            }
            Sort::Text | Sort::Truth(_) | Sort::Condition => {
                let what = self.said(operand);
                Err(SqlError::refused(&format!("Value '{what}' cannot be compared.")))
            }
        }
    }

    fn find(&mut self, left: Operand, part: Part, not: bool) -> Result<(), SqlError> {
        let text = self.literal()?;
        if text.is_empty() {
            // Java does not even look at the other side.
            self.filter.steps.truncate(left.steps);
            return self.emit(Step::Push(Push::Bool(false)));
        }
        let finder = memchr::memmem::Finder::new(&text).into_owned();
        self.filter.finders.push(finder);
        let text = index(self.filter.finders.len() - 1);
        self.emit(Step::Unary(Unary::Find { part, not, text }))
    }

    /// `value >= low AND value <= high`, or `value < low OR value > high`; the value's steps are copied.
    fn between(&mut self, value: Operand, not: bool) -> Result<(), SqlError> {
        let value_end = self.filter.steps.len();
        let low = self.unary()?;
        self.expect(Kind::And)?;
        let (at_low, at_high, skip, join) = if not {
            (Order::Less, Order::Greater, Step::OrSkip(0), Binary::Or)
        } else {
            (Order::GreaterOrEqual, Order::LessOrEqual, Step::AndSkip(0), Binary::And)
        };
        self.emit(Step::Binary(Binary::Compare(at_low)))?;
        let skip = self.begin_skip(skip)?;
        for at in value.steps..value_end {
            let step = self.filter.steps[at];
            self.emit(step)?;
        }
        let high = self.unary()?;
        if !not && order_of(low.sort, high.sort) == Some(Ordering::Greater) {
            let (low, high) = (low.sort.text(), high.sort.text());
            return Err(SqlError::refused(&format!(
                "Illegal values of between, left value({low}) must less than or equal to right value({high})"
            )));
        }
        for operand in [value, low, high] {
            self.check_ordered(operand)?;
        }
        self.emit(Step::Binary(Binary::Compare(at_high)))?;
        self.end_skip(skip, join)
    }

    fn list(&mut self, left: Operand, not: bool) -> Result<(), SqlError> {
        self.expect(Kind::Open)?;
        let mut list: Vec<Box<[u8]>> = vec![self.literal()?.into()];
        while self.peek()?.kind == Kind::Comma {
            self.take()?;
            if list.len() == LIST_ITEMS_MAX {
                return Err(SqlError::limit("values of IN: over", LIST_ITEMS_MAX, LIST_ITEMS_MAX));
            }
            list.push(self.literal()?.into());
        }
        self.expect(Kind::Close)?;
        if !matches!(left.sort, Sort::Property) {
            let what = self.said(left);
            return Err(SqlError::refused(&format!(
                "Expected a property for In expression, got: {what}"
            )));
        }
        list.sort_unstable();
        list.dedup();
        self.filter.lists.push(list);
        let list = index(self.filter.lists.len() - 1);
        self.emit(Step::Unary(Unary::In { not, list }))
    }

    /// A text, without its quotes.
    fn literal(&mut self) -> Result<Vec<u8>, SqlError> {
        let token = self.expect(Kind::Text)?;
        let image = self.lexer.image(token);
        let inside = image.get(1..image.len() - 1).unwrap_or_default();
        Ok(inside.replace("''", "'").into_bytes())
    }

    fn unary(&mut self) -> Result<Operand, SqlError> {
        let token = self.peek()?;
        let is_nested = matches!(token.kind, Kind::Plus | Kind::Minus | Kind::Not | Kind::Open);
        if !is_nested {
            return self.primary();
        }
        self.take()?;
        if self.nesting == NESTING_MAX {
            return Err(SqlError::limit("nesting: over", NESTING_MAX, NESTING_MAX));
        }
        self.nesting += 1;
        let inner = if token.kind == Kind::Open { self.disjunction()? } else { self.unary()? };
        self.nesting -= 1;
        let mut sort = inner.sort;
        if token.kind == Kind::Minus {
            self.emit(Step::Unary(Unary::Negate))?;
            sort = Sort::Negated;
        } else if token.kind == Kind::Not {
            self.condition(inner)?;
            self.emit(Step::Unary(Unary::Not))?;
            sort = Sort::Condition;
        } else if token.kind == Kind::Open {
            self.expect(Kind::Close)?;
        }
        Ok(Operand { sort, text: token.start, ..inner })
    }

    fn primary(&mut self) -> Result<Operand, SqlError> {
        let token = self.peek()?;
        let (steps, text) = (self.filter.steps.len(), token.start);
        let image = self.lexer.image(token);
        if token.kind == Kind::Text {
            let text = self.literal()?;
            let text = self.add_text(&text);
            self.emit(Step::Push(Push::Text(text)))?;
            return Ok(Operand { sort: Sort::Text, steps, text: token.start });
        }
        let truth = TRUTHS.iter().find(|(kind, _)| *kind == token.kind);
        let (sort, value) = if let Some((_, truth)) = truth {
            (Sort::Truth(*truth), truth.map_or(Push::Null, Push::Bool))
        } else if token.kind == Kind::Decimal {
            match decimal(image)? {
                Ok(value) => (Sort::Int(value), Push::Int(value)),
                Err(value) => (Sort::Long(value), Push::Long(value)),
            }
        } else if token.kind == Kind::Float {
            let value = float(image)?;
            (Sort::Double(value), Push::Double(value))
        } else if token.kind == Kind::Name {
            let name = self.name(image)?;
            (Sort::Property, Push::Property(name))
        } else {
            let at = self.lexer.spot(token.start);
            return Err(SqlError::no_operand(token.kind.name(), image, at));
        };
        self.take()?;
        self.emit(Step::Push(value))?;
        Ok(Operand { sort, steps, text })
    }
}

impl Sort {
    /// A constant as messages show it.
    fn text(self) -> String {
        match self {
            Sort::Int(value) => value.to_string(),
            Sort::Long(value) => value.to_string(),
            Sort::Double(value) => format!("{value:?}"),
            Sort::Property | Sort::Text | Sort::Truth(_) | Sort::Condition | Sort::Negated => {
                String::new()
            }
        }
    }

    fn as_double(self) -> Option<f64> {
        match self {
            Sort::Int(value) => Some(f64::from(value)),
            Sort::Long(value) => Some(value as f64),
            Sort::Double(value) => Some(value),
            Sort::Property | Sort::Text | Sort::Truth(_) | Sort::Condition | Sort::Negated => None,
        }
    }

    fn as_long(self) -> Option<i64> {
        match self {
            Sort::Int(value) => Some(i64::from(value)),
            Sort::Long(value) => Some(value),
            Sort::Property
            | Sort::Text
            | Sort::Double(_)
            | Sort::Truth(_)
            | Sort::Condition
            | Sort::Negated => None,
        }
    }
}

/// The order of two constants; other operands have none yet.
fn order_of(left: Sort, right: Sort) -> Option<Ordering> {
    match (left.as_long(), right.as_long()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        (None, _) | (_, None) => left.as_double()?.partial_cmp(&right.as_double()?),
    }
}

/// A whole number of 32 bits, or else of 64.
fn decimal(image: &str) -> Result<Result<i32, i64>, SqlError> {
    let digits = image.trim_end_matches(['l', 'L']);
    let value: i64 = digits.parse().map_err(|_| SqlError::number(digits))?;
    Ok(i32::try_from(value).map_err(|_| value))
}

fn float(image: &str) -> Result<f64, SqlError> {
    let value: f64 = image.parse().map_err(|_| SqlError::number(image))?;
    // Java's smallest double is the smallest one above zero.
    let smallest = f64::from_bits(1);
    if value > f64::MAX {
        return Err(SqlError::refused(&format!("{image} is greater than 1.7976931348623157E308")));
    }
    if value < smallest {
        return Err(SqlError::refused(&format!("{image} is less than 4.9E-324")));
    }
    Ok(value)
}
