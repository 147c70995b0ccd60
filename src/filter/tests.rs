//! Java's verdicts on expressions and properties (`tests/golden/sql`), error texts, limits, and that evaluation allocates nothing.

use super::*;
use buf::count_alloc::{self, CountingAllocator};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use wire::props::{self, Props};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

type Row = (String, BTreeMap<String, String>, String);

/// The verdicts of Java: `tests/golden/sql`, or the file that `RINGMQ_VERDICTS` names.
fn rows() -> Vec<Row> {
    let golden =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/sql/verdicts-5.5.0.jsonl.gz");
    let text = match std::env::var_os("RINGMQ_VERDICTS") {
        Some(path) => std::fs::read_to_string(PathBuf::from(path)).unwrap(),
        None => {
            let mut text = String::new();
            let file = std::fs::File::open(golden).unwrap();
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
            text
        }
    };
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn encoded(properties: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in properties {
        props::append(&mut bytes, key, value.as_bytes());
    }
    bytes
}

fn verdict(text: &str, properties: &[u8]) -> String {
    let filter = match SqlFilter::compile(text) {
        Ok(filter) => filter,
        Err(_) => return "refused".to_owned(),
    };
    let found = filter.evaluate(Props::new(properties));
    let matches = filter.matches(Props::new(properties));
    assert_eq!(matches, found == Ok(Some(true)), "{text}");
    match found {
        Ok(Some(true)) => "true".to_owned(),
        Ok(Some(false)) => "false".to_owned(),
        Ok(None) => "null".to_owned(),
        Err(Incomparable) => "error".to_owned(),
    }
}

#[test]
fn verdicts_are_those_of_java() {
    let rows = rows();
    assert!(rows.len() >= 1500, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for (text, properties, java) in &rows {
        let ours = verdict(text, &encoded(properties));
        let java = if java.starts_with("refused ") { "refused" } else { java };
        if ours != java {
            wrong.push(format!("{text:?} {properties:?}: {ours}, Java: {java}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn errors_begin_as_those_of_java() {
    let error = |text: &str| SqlFilter::compile(text).unwrap_err().to_string();
    // As recorded in an answer to request 46.
    assert_eq!(
        error("a > AND b"),
        "org.apache.rocketmq.filter.parser.ParseException: Encountered \" \"AND\" \"AND \"\" at line 1, column 5.\n\
         Was expecting one of:\n    \"NOT\" ...\n    \"TRUE\" ...\n    \"FALSE\" ...\n    \"NULL\" ...\n    \
         <DECIMAL_LITERAL> ...\n    <FLOATING_POINT_LITERAL> ...\n    <STRING_LITERAL> ...\n    <ID> ...\n    \
         \"(\" ...\n    \"-\" ...\n    \"+\" ...\n    "
    );
    // What is encountered, or why operands do not go together; lists of what was expected are shorter than Java's.
    let mut same = 0;
    for (text, _, java) in rows() {
        let Some(java) = java.strip_prefix("refused ") else { continue };
        let ours = error(&text);
        // Which of Java's own exceptions ends a bad BETWEEN is left out.
        let class = |error: &str| match error.strip_prefix("java.lang.") {
            Some(_) => "java.lang".to_owned(),
            None => error.split(": ").next().unwrap().to_owned(),
        };
        assert_eq!(class(&ours), class(java), "{text:?}\n{ours}\n{java}");
        let first = |error: &str| error.lines().next().unwrap().to_owned();
        same += usize::from(first(&ours) == first(java));
    }
    assert!(same > 500, "{same} texts are the same");
}

#[test]
fn limits_are_named() {
    let error = |text: &str| SqlFilter::compile(text).unwrap_err().to_string();
    let long = format!("a = '{}'", "x".repeat(EXPRESSION_BYTES_MAX));
    assert_eq!(error(&long), "bytes of the expression: 65542, the limit is 65536");
    let nested = |depth: usize| format!("{}a = 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(SqlFilter::compile(&nested(NESTING_MAX)).is_ok());
    assert_eq!(error(&nested(NESTING_MAX + 1)), "nesting: over 100, the limit is 100");
    let deep = "NULL = (a = 1 OR a = 1 AND a = ".replace("NULL", "a").repeat(NESTING_MAX);
    let deep = format!("{deep}1{}", ")".repeat(NESTING_MAX));
    let deep = SqlFilter::compile(&deep).unwrap();
    assert!(deep.matches(Props::new(b"a\x011\x02")) || deep.depth > 100);
    let items = vec!["'a'"; LIST_ITEMS_MAX + 1].join(",");
    assert_eq!(error(&format!("a IN ({items})")), "values of IN: over 8192, the limit is 8192");
    // Each BETWEEN copies its left side, which holds another one.
    let mut copies = "a".to_owned();
    for _ in 0..20 {
        copies = format!("-({copies} BETWEEN 1 AND 2)");
    }
    assert_eq!(
        error(&format!("{copies} > 1")),
        "steps of the expression: over 65536, the limit is 65536"
    );
    let names = |count: usize| {
        let terms: Vec<String> = (0..count).map(|number| format!("a{number} = 1")).collect();
        terms.join(" OR ")
    };
    let properties = format!("a0\x012\x02a{}\x011", NAMES_MAX - 1);
    let many = SqlFilter::compile(&names(NAMES_MAX)).unwrap();
    assert!(many.matches(Props::new(properties.as_bytes())));
    assert_eq!(
        error(&names(NAMES_MAX + 1)),
        "properties of the expression: over 1024, the limit is 1024"
    );
    let chain = vec!["a = 1"; 5000].join(" OR ");
    assert!(!SqlFilter::compile(&chain).unwrap().matches(Props::new(b"a\x012\x02")));
}

#[test]
fn of_a_repeated_property_the_last_one_counts() {
    let filter = SqlFilter::compile("a = 'y' AND b > 3").unwrap();
    assert!(filter.matches(Props::new(b"a\x01x\x02b\x014\x02a\x01y")));
    assert!(!filter.matches(Props::new(b"a\x01y\x02b\x014\x02a\x01x\x02")));
    assert!(!filter.matches(Props::new(b"")));
}

#[test]
fn long_expressions_over_many_properties_cost_one_walk_through_them() {
    let mut properties = Vec::new();
    for number in 0..4000 {
        props::append(&mut properties, &format!("{number:x}"), b"1");
    }
    // As a double it takes long to read.
    let number = format!("9007199254740993.{}1e-290", "0".repeat(4000));
    props::append(&mut properties, "n", number.as_bytes());
    for term in ["a", "b", "n > 1.5", "n < 0.5 AND b"] {
        let text = vec![term; EXPRESSION_BYTES_MAX / (term.len() + 4)].join(" OR ");
        let filter = SqlFilter::compile(&text).unwrap();
        let began = std::time::Instant::now();
        assert!(!filter.matches(Props::new(&properties)));
        let took = began.elapsed();
        assert!(took.as_millis() < 200, "{term:?}: {took:?}");
        assert!(filter.work(properties.len()) < 1 << 17, "{}", filter.work(properties.len()));
    }
}

#[test]
fn an_evaluation_allocates_nothing() {
    let compiled: Vec<(SqlFilter, Vec<u8>)> = rows()
        .iter()
        .filter_map(|(text, map, _)| Some((SqlFilter::compile(text).ok()?, encoded(map))))
        .collect();
    count_alloc::watch_this_thread();
    count_alloc::start_counting(|bytes| {
        ALLOCATED.fetch_add(bytes, Ordering::Relaxed);
    });
    let matched = compiled.iter().filter(|(sql, map)| sql.matches(Props::new(map))).count();
    assert_eq!(ALLOCATED.load(Ordering::Relaxed), 0);
    drop(vec![matched; 10]);
    count_alloc::stop_counting();
    assert!(ALLOCATED.load(Ordering::Relaxed) > 0, "allocations are counted");
    assert!(matched > 100, "{matched} of {}", compiled.len());
}
