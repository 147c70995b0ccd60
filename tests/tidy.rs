//! Tidy: the house rules that no compiler checks, over every tracked file. Each check has a test of its own.
#![allow(clippy::unwrap_used)] // every function here serves a test

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// Production lines per file; tables are exempt by name.
const FILE_LINES_MAX: usize = 800;
/// Files that are one long table.
const TABLES: &[&str] = &["src/config/broker/keys.rs", "src/config/namesrv/keys.rs"];
/// Words that say a role instead of naming the thing.
const BANNED: &[&str] = &["Manager", "Service", "Helper", "Util", "Impl", "Capability"];
/// Where locks are allowed: start-up, shutdown and logging, never on a shard's data path.
const LOCKS: &[&str] = &[
    "src/reactor/",
    "src/shard/crash/",
    "src/shard/stop.rs",
    "src/run/",
    "src/logging",
    "tests/",
    "benches/",
];

struct Source {
    path: String,
    text: String,
}

fn tracked() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    let rust = names.split('\0').filter(|n| n.ends_with(".rs"));
    let read = |name: &str| {
        // A file that was deleted but not yet committed is no longer there to be checked.
        let text = std::fs::read_to_string(root.join(name)).ok()?;
        Some(Source { path: name.to_string(), text })
    };
    rust.filter_map(read).collect()
}

/// The text before the inline test module.
fn production(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |at| &text[..at])
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.starts_with("tests/") || path.starts_with("benches/")
}

fn first_line(source: &Source) -> Option<String> {
    let ok = source.text.starts_with("//!") || source.text.starts_with("#![no_main]\n//! ");
    (!ok).then(|| format!("{}: the first line says what the file is (//!)", source.path))
}

fn size(source: &Source) -> Option<String> {
    let lines = production(&source.text).lines().count();
    let long = lines > FILE_LINES_MAX && !TABLES.contains(&source.path.as_str());
    (long && !is_test(&source.path))
        .then(|| format!("{}: {lines} lines, the limit is {FILE_LINES_MAX}", source.path))
}

fn names(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for line in source.text.lines() {
        let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for pair in words.windows(2) {
            let declares = matches!(pair[0], "struct" | "enum" | "trait" | "type");
            if declares && BANNED.iter().any(|b| pair[1].ends_with(b)) {
                found.push(format!("{}: {} names a role, not a thing", source.path, pair[1]));
            }
        }
    }
    found
}

fn leftovers(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let marks = ["FIX", "TO", "XX"].map(|half| {
        half.to_string()
            + if half == "TO" {
                "DO"
            } else if half == "FIX" {
                "ME"
            } else {
                "X"
            }
    });
    for (line, number) in source.text.lines().zip(1..) {
        if line.ends_with(' ') || line.ends_with('\t') {
            found.push(format!("{}:{number}: trailing blanks", source.path));
        }
        if marks.iter().any(|m| line.contains(m.as_str()) && !line.contains("XXXX")) {
            found.push(format!("{}:{number}: a leftover mark", source.path));
        }
    }
    found
}

fn locks(source: &Source) -> Option<String> {
    let uses = production(&source.text).contains("Mutex<") || source.text.contains("RwLock<");
    let allowed = LOCKS.iter().any(|p| source.path.starts_with(p));
    (uses && !allowed).then(|| format!("{}: a lock outside start-up code", source.path))
}

fn unsafe_home(source: &Source) -> Option<String> {
    let home = source.path.starts_with("src/buf/") || source.path.starts_with("src/reactor/");
    let crate_root = source.path.starts_with("src/")
        && (source.path.ends_with("/lib.rs") || source.path == "src/main.rs");
    let missing = crate_root && !home && !source.text.contains("#![forbid(unsafe_code)]");
    missing.then(|| format!("{}: this crate forbids unsafe code", source.path))
}

/// Modules nobody names: files outside the module tree.
fn dead_files(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("src/")) {
        let path = Path::new(&source.path);
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let stem = if stem == "mod" {
            path.parent().unwrap().file_name().unwrap().to_str().unwrap()
        } else {
            stem
        };
        let needle = format!("mod {stem};");
        let named = sources.iter().any(|s| s.text.contains(&needle));
        if !named && !matches!(stem, "lib" | "main") {
            found.push(format!("{}: no module names this file", source.path));
        }
    }
    found
}

/// Public functions and types whose name occurs once in the whole tree.
fn dead_names(sources: &[Source]) -> Vec<String> {
    let mut count: HashMap<&str, usize> = HashMap::new();
    for source in sources {
        for word in source.text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            *count.entry(word).or_default() += 1;
        }
    }
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("src/")) {
        for line in production(&source.text).lines().map(str::trim_start) {
            for start in ["pub fn ", "pub struct ", "pub enum ", "pub trait ", "pub const fn "] {
                let Some(rest) = line.strip_prefix(start) else { continue };
                let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                if count.get(name) == Some(&1) {
                    found.push(format!("{}: nobody uses {name}", source.path));
                }
            }
        }
    }
    found
}

#[test]
fn every_file_keeps_the_house_rules() {
    let sources = tracked();
    assert!(sources.len() > 50, "git ls-files found {} Rust files", sources.len());
    let mut problems = Vec::new();
    for source in &sources {
        problems.extend(first_line(source));
        problems.extend(size(source));
        problems.extend(names(source));
        problems.extend(leftovers(source));
        problems.extend(locks(source));
        problems.extend(unsafe_home(source));
    }
    problems.extend(dead_files(&sources));
    problems.extend(dead_names(&sources));
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// Storage and shards check themselves: asserts per 1,000 production lines, reported, with a floor.
#[test]
fn the_engine_asserts_what_it_believes() {
    for (layer, floor) in [("src/store/", 8), ("src/ha/", 8)] {
        let (mut asserts, mut lines) = (0, 0);
        for source in tracked().iter().filter(|s| s.path.starts_with(layer) && !is_test(&s.path)) {
            let text = production(&source.text);
            asserts += text.matches("assert!(").count() + text.matches("assert_eq!(").count();
            lines += text.lines().count();
        }
        let density = asserts * 1000 / lines.max(1);
        println!("{layer}: {density} asserts per 1,000 lines");
        assert!(density >= floor, "{layer} has {density} asserts per 1,000 lines, below {floor}");
    }
}

fn sample(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.into() }
}

#[test]
fn each_check_finds_what_it_is_for() {
    assert!(first_line(&sample("src/a.rs", "use x;")).is_some());
    assert!(first_line(&sample("src/a.rs", "//! A.\n")).is_none());
    assert!(size(&sample("src/a.rs", &"x\n".repeat(801))).is_some());
    assert!(
        size(&sample("src/a.rs", &format!("x\n#[cfg(test)]\nmod tests {{{}", "\n".repeat(900))))
            .is_none()
    );
    assert_eq!(names(&sample("src/a.rs", concat!("pub struct Topic", "Manager;"))).len(), 1);
    assert_eq!(leftovers(&sample("src/a.rs", "x \n")).len(), 1);
    assert!(locks(&sample("src/store/a.rs", "Arc<Mutex<u8>>")).is_some());
    assert!(locks(&sample("src/reactor/a.rs", "Arc<Mutex<u8>>")).is_none());
    assert!(unsafe_home(&sample("src/store/lib.rs", "//! S.\n")).is_some());
    let lonely = [sample("src/a/lonely.rs", "//! L.\n"), sample("src/a/lib.rs", "mod other;")];
    assert_eq!(dead_files(&lonely).len(), 1);
    let unused =
        [sample("src/a/lib.rs", "pub fn never_called() {}\npub fn called() {}\ncalled();")];
    assert_eq!(dead_names(&unused).len(), 1);
}
