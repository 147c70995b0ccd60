//! SQL92 expressions: compiled once per subscription, evaluated for every message that a pull looks at.

use crate::harness::{Case, Operations, counted};
use filter::SqlFilter;
use std::hint::black_box;
use wire::Props;
use wire::props;

const SIMPLE: &str = "price > 100";
const COMBINED: &str = "price BETWEEN 10 AND 2000 AND (color = 'red' OR region IN ('north', 'south', 'west')) AND NOT TAGS CONTAINS 'old'";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        counted("filter/compile", compile),
        counted("filter/evaluate-simple", || evaluate(SIMPLE)),
        counted("filter/evaluate-combined", || evaluate(COMBINED)),
    ]
}

fn compile() -> Operations {
    Box::new(|count| {
        for _ in 0..count {
            black_box(SqlFilter::compile(black_box(COMBINED)).unwrap());
        }
    })
}

/// Eight properties, as a message of an application has them.
fn evaluate(text: &str) -> Operations {
    let filter = SqlFilter::compile(text).unwrap();
    let mut bytes = Vec::new();
    for (key, value) in [
        ("UNIQ_KEY", "7F000001000018B4AAC2123456780001"),
        ("CLUSTER", "DefaultCluster"),
        ("TAGS", "NewOrder"),
        ("KEYS", "order-1234567"),
        ("WAIT", "true"),
        ("price", "1234"),
        ("color", "blue"),
        ("region", "south"),
    ] {
        props::append(&mut bytes, key, value.as_bytes());
    }
    Box::new(move |count| {
        for _ in 0..count {
            assert!(black_box(&filter).matches(Props::new(black_box(&bytes))));
        }
    })
}
