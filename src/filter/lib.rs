//! `filter`: which messages a consumer wants by their properties: expressions of type SQL92.
//!
//! An expression is compiled once and evaluated without allocation. What is accepted, and what it means, is what Java's
//! module `rocketmq-filter` does, oddities included; `tests/golden/sql` holds its verdicts. Limits: the constants below.
//! Nothing here knows subscriptions, queues or stores.
#![forbid(unsafe_code)]

mod bloom;
mod error;
mod lexer;
mod number;
mod parser;
mod program;

pub use bloom::BloomFilter;
pub use error::SqlError;
pub use program::{Incomparable, SqlFilter};

/// Name of this type of expression in subscriptions.
pub const SQL_TYPE: &str = "SQL92";
/// Bytes of an expression.
pub const EXPRESSION_BYTES_MAX: usize = 65_536;
/// Parentheses and signs inside each other.
pub const NESTING_MAX: usize = 100;
/// Values of one IN.
pub const LIST_ITEMS_MAX: usize = 8192;
/// Different properties that an expression names.
pub const NAMES_MAX: usize = 1024;
/// Steps of a compiled expression.
pub const STEPS_MAX: usize = 65_536;

#[cfg(test)]
mod tests;
