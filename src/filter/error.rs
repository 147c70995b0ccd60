//! Why an expression is none. The texts begin as those of Java's exceptions do: consumers see them when they start.

use std::fmt;

/// An expression that cannot be compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SqlError {
    text: String,
}

/// Tokens that may begin an operand, as Java lists them.
const OPERAND: &str = "\nWas expecting one of:\n    \"NOT\" ...\n    \"TRUE\" ...\n    \"FALSE\" ...\n    \"NULL\" ...\n    \
    <DECIMAL_LITERAL> ...\n    <FLOATING_POINT_LITERAL> ...\n    <STRING_LITERAL> ...\n    <ID> ...\n    \"(\" ...\n    \
    \"-\" ...\n    \"+\" ...\n    ";

/// Where something begins in an expression, both from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl SqlError {
    /// Something else than an operand; `name` and `image` are those of the token.
    pub(crate) fn no_operand(name: &str, image: &str, at: Spot) -> SqlError {
        SqlError { text: format!("{}{OPERAND}", encountered(name, image, at)) }
    }

    /// Something else than the one token that could follow.
    pub(crate) fn unexpected(name: &str, image: &str, at: Spot, expected: &str) -> SqlError {
        let text = encountered(name, image, at);
        SqlError { text: format!("{text}\nWas expecting:\n    {expected} ...\n    ") }
    }

    /// A character that begins no token.
    pub(crate) fn lexical(found: Option<char>, after: &str, at: Spot) -> SqlError {
        let Spot { line, column } = at;
        let found = match found {
            Some(found) => format!("\"{}\" ({}), ", found.escape_default(), u32::from(found)),
            None => "<EOF> ".to_owned(),
        };
        let text = format!(
            "org.apache.rocketmq.filter.parser.TokenMgrError: Lexical error at line {line}, column {column}.  \
             Encountered: {found}after : \"{}\"",
            after.escape_default()
        );
        SqlError { text }
    }

    /// A value where only a condition can be.
    pub(crate) fn no_boolean(what: &str) -> SqlError {
        SqlError {
            text: format!(
                "org.apache.rocketmq.filter.parser.ParseException: Expression will not result in a boolean value: {what}"
            ),
        }
    }

    /// Operands that do not go together.
    pub(crate) fn refused(why: &str) -> SqlError {
        SqlError { text: format!("java.lang.RuntimeException: {why}") }
    }

    /// A whole number beyond 64 bits.
    pub(crate) fn number(digits: &str) -> SqlError {
        SqlError {
            text: format!("java.lang.NumberFormatException: For input string: \"{digits}\""),
        }
    }

    /// A limit of ours.
    pub(crate) fn limit(what: &str, value: usize, limit: usize) -> SqlError {
        SqlError { text: format!("{what} {value}, the limit is {limit}") }
    }
}

fn encountered(name: &str, image: &str, at: Spot) -> String {
    let Spot { line, column } = at;
    let found = if name == "<EOF>" { name.to_owned() } else { format!(" {name} \"{image} \"") };
    format!(
        "org.apache.rocketmq.filter.parser.ParseException: Encountered \"{found}\" at line {line}, column {column}."
    )
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SqlError {}
