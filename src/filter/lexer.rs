//! Tokens of an expression, one at a time: the parser asks for no more than it looks at, and what follows a complete
//! expression is never read further. Of several tokens that fit the longest counts, as in Java's generated scanner.

use crate::error::{Spot, SqlError};

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    Decimal,
    Float,
    Text,
    Name,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Open,
    Comma,
    Close,
    Plus,
    Minus,
    End,
}

const WORDS: [(&str, Kind); 12] = [
    ("NOT", Kind::Not),
    ("AND", Kind::And),
    ("OR", Kind::Or),
    ("BETWEEN", Kind::Between),
    ("IN", Kind::In),
    ("TRUE", Kind::True),
    ("FALSE", Kind::False),
    ("NULL", Kind::Null),
    ("IS", Kind::Is),
    ("CONTAINS", Kind::Contains),
    ("STARTSWITH", Kind::StartsWith),
    ("ENDSWITH", Kind::EndsWith),
];

impl Kind {
    /// As Java's messages name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Not => "\"NOT\"",
            Kind::And => "\"AND\"",
            Kind::Or => "\"OR\"",
            Kind::Between => "\"BETWEEN\"",
            Kind::In => "\"IN\"",
            Kind::True => "\"TRUE\"",
            Kind::False => "\"FALSE\"",
            Kind::Null => "\"NULL\"",
            Kind::Is => "\"IS\"",
            Kind::Contains => "\"CONTAINS\"",
            Kind::StartsWith => "\"STARTSWITH\"",
            Kind::EndsWith => "\"ENDSWITH\"",
            Kind::Decimal => "<DECIMAL_LITERAL>",
            Kind::Float => "<FLOATING_POINT_LITERAL>",
            Kind::Text => "<STRING_LITERAL>",
            Kind::Name => "<ID>",
            Kind::Equal => "\"=\"",
            Kind::NotEqual => "\"<>\"",
            Kind::Greater => "\">\"",
            Kind::GreaterOrEqual => "\">=\"",
            Kind::Less => "\"<\"",
            Kind::LessOrEqual => "\"<=\"",
            Kind::Open => "\"(\"",
            Kind::Comma => "\",\"",
            Kind::Close => "\")\"",
            Kind::Plus => "\"+\"",
            Kind::Minus => "\"-\"",
            Kind::End => "<EOF>",
        }
    }
}

/// A token: its bytes in the expression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Reads tokens.
pub(crate) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t str) -> Lexer<'t> {
        Lexer { text, at: 0 }
    }

    /// The text of a token.
    pub(crate) fn image(&self, token: Token) -> &'t str {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    /// Line and column of a byte.
    pub(crate) fn spot(&self, at: usize) -> Spot {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.matches('\n').count() + 1;
        Spot { line, column: before.get(line_start..).unwrap_or_default().chars().count() + 1 }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// The next token; `End` as often as it is asked for.
    pub(crate) fn next(&mut self) -> Result<Token, SqlError> {
        self.skip_blanks();
        let start = self.at;
        let Some(first) = self.byte(start) else {
            return Ok(Token { kind: Kind::End, start, end: start });
        };
        let (kind, bytes) = match first {
            b'\'' => match self.text_bytes() {
                Some(bytes) => (Kind::Text, bytes),
                None => return Err(self.error(self.text.len())),
            },
            b'0'..=b'9' | b'.' => match self.number_bytes() {
                Some(found) => found,
                None => return Err(self.error(start + 1)),
            },
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => self.word(),
            _ => match self.symbol(first) {
                Some(found) => found,
                None => return Err(self.error(start)),
            },
        };
        self.at = start + bytes;
        Ok(Token { kind, start, end: self.at })
    }

    /// What comes at `at` fits nothing that began here.
    fn error(&self, at: usize) -> SqlError {
        let rest = self.text.get(at..).unwrap_or_default();
        let after = self.text.get(self.at..at).unwrap_or_default();
        SqlError::lexical(rest.chars().next(), after, self.spot(at))
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            match rest {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x0C, ..] => self.at += 1,
                // Without an end of the line these are two minus signs.
                [b'-', b'-', ..] => match memchr::memchr2(b'\n', b'\r', rest) {
                    Some(end) => self.at += end + 1,
                    None => return,
                },
                [b'/', b'*', inside @ ..] => match memchr::memmem::find(inside, b"*/") {
                    Some(end) => self.at += end + 4,
                    None => return,
                },
                _ => return,
            }
        }
    }

    fn symbol(&self, first: u8) -> Option<(Kind, usize)> {
        let second = self.byte(self.at + 1);
        Some(match (first, second) {
            (b'<', Some(b'>')) => (Kind::NotEqual, 2),
            (b'<', Some(b'=')) => (Kind::LessOrEqual, 2),
            (b'>', Some(b'=')) => (Kind::GreaterOrEqual, 2),
            (b'<', _) => (Kind::Less, 1),
            (b'>', _) => (Kind::Greater, 1),
            (b'=', _) => (Kind::Equal, 1),
            (b'(', _) => (Kind::Open, 1),
            (b',', _) => (Kind::Comma, 1),
            (b')', _) => (Kind::Close, 1),
            (b'+', _) => (Kind::Plus, 1),
            (b'-', _) => (Kind::Minus, 1),
            _ => return None,
        })
    }

    fn word(&self) -> (Kind, usize) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        let bytes = rest.as_bytes().iter().take_while(|byte| is_part(byte)).count();
        let word = rest.get(..bytes).unwrap_or_default();
        let known = WORDS.iter().find(|(text, _)| text.eq_ignore_ascii_case(word));
        (known.map_or(Kind::Name, |(_, kind)| *kind), bytes)
    }

    /// Bytes of a text with its quotes. A quote is doubled inside; a pair whose text never ends is an end and a beginning.
    fn text_bytes(&self) -> Option<usize> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let mut fits = None;
        let mut at = 1;
        while let Some(quote) = memchr::memchr(b'\'', rest.get(at..)?) {
            fits = Some(at + quote + 1);
            at += quote + 2;
            if rest.get(at - 1) != Some(&b'\'') {
                break;
            }
        }
        fits
    }

    fn digits(&self, from: usize) -> usize {
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    fn exponent_bytes(&self, at: usize) -> usize {
        if !matches!(self.byte(at), Some(b'e' | b'E')) {
            return 0;
        }
        let sign = usize::from(matches!(self.byte(at + 1), Some(b'+' | b'-')));
        match self.digits(at + 1 + sign) {
            0 => 0,
            digits => 1 + sign + digits,
        }
    }

    fn number_bytes(&self) -> Option<(Kind, usize)> {
        let start = self.at;
        let whole = self.digits(start);
        if self.byte(start + whole) == Some(b'.') {
            let part = self.digits(start + whole + 1);
            if whole + part == 0 {
                return None;
            }
            let bytes = whole + 1 + part;
            return Some((Kind::Float, bytes + self.exponent_bytes(start + bytes)));
        }
        let exponent = self.exponent_bytes(start + whole);
        if exponent > 0 {
            return Some((Kind::Float, whole + exponent));
        }
        if self.byte(start) == Some(b'0') {
            return Some((Kind::Decimal, 1));
        }
        let is_long = matches!(self.byte(start + whole), Some(b'l' | b'L'));
        Some((Kind::Decimal, whole + usize::from(is_long)))
    }
}
