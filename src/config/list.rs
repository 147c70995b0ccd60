//! Listings of a configuration: Java's `-p` and `-m`, and the body of the requests that ask for it.

use base::config::{Config, Row, Value};

/// One `name=value` per line, every key, in the order of the table (`-p`).
pub fn print_all(config: &Config) -> String {
    lines(config.iter())
}

/// The same for the important keys only (`-m`).
pub fn print_important(config: &Config) -> String {
    lines(config.iter().filter(|(row, _)| row.important))
}

/// Every key as `name=value`, sorted by name: the body that answers requests 26 and 319.
pub fn effective_properties(config: &Config) -> String {
    let mut rows: Vec<_> = config.iter().collect();
    rows.sort_by_key(|(row, _)| row.key);
    lines(rows.into_iter())
}

fn lines<'a>(rows: impl Iterator<Item = (&'static Row, &'a Value)>) -> String {
    let mut out = String::new();
    for (row, value) in rows {
        let text = value.to_string();
        let shown = if row.secret && !text.is_empty() { "******" } else { &text };
        out.push_str(row.key);
        out.push('=');
        out.push_str(shown);
        out.push('\n');
    }
    out
}
