//! The committed fuzz corpora through every decoder: what was once found, or recorded from Java, stays answered.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

#[path = "fuzz/decoders.rs"]
mod decoders;
mod support;

use std::fs;
use std::path::Path;
use support::Random;

fn replay(target: &str, decode: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let done = std::panic::catch_unwind(|| decode(&bytes));
        assert!(done.is_ok(), "{} makes {target} panic", path.display());
        // Every cut of it, too: a peer may stop anywhere.
        for end in (0..bytes.len()).step_by(1 + bytes.len() / 64) {
            let done = std::panic::catch_unwind(|| decode(&bytes[..end]));
            assert!(
                done.is_ok(),
                "the first {end} bytes of {} make {target} panic",
                path.display()
            );
        }
        count += 1;
    }
    assert!(count > 0, "{} holds no seeds", dir.display());
}

macro_rules! targets {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), decoders::$target);
            }
        )*
    };
}

targets! { frame message text body layout recovery properties store_dir tables sql }

/// What a damaged table is made of, beside its own parts.
const PIECES: [&[u8]; 16] = [
    b"null",
    b"true",
    b"-1",
    b"2147483647",
    b"9223372036854775807",
    b"99999999999999999999",
    b"1e999",
    b"0.5",
    b"\"",
    b"\"\\u0000\"",
    b"{",
    b"}",
    b"[]",
    b",",
    b"\0",
    b"\xff",
];

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.index(bytes.len() + 1);
    let end = (at + random.index(24)).min(bytes.len());
    match random.below(5) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let piece = *random.pick(&PIECES);
            drop(bytes.splice(at..end, piece.iter().copied()));
        }
        3 => {
            let part = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, part));
        }
        _ => {
            // A number becomes another one: the text stays JSON.
            let digit = bytes[at..].iter().position(u8::is_ascii_digit);
            let Some(first) = digit.map(|n| at + n) else { return };
            let count = bytes[first..].iter().take_while(|b| b.is_ascii_digit()).count();
            let piece = *random.pick(&PIECES[2..6]);
            drop(bytes.splice(first..first + count, piece.iter().copied()));
        }
    }
}

#[test]
fn damaged_tables_are_read_from_the_backup_or_named() {
    let seed = Random::seed("tables");
    let mut random = Random::new(seed);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/broker/tables/golden");
    let (mut good, mut refused) = (0, 0);
    let rounds = usize::try_from(support::rounds("RINGMQ_CASES", 2000, 50_000)).unwrap();
    for round in 0..rounds {
        let names =
            ["topics", "subscriptionGroup", "consumerOffset", "delayOffset", "consumerFilter"];
        let name = format!("{}.json", names[round % names.len()]);
        let line = ["497", "550"][round / names.len() % 2];
        let whole = fs::read(golden.join(format!("{line}-{name}"))).unwrap();
        let mut damaged = whole.clone();
        for _ in 0..=random.below(3) {
            mutate(&mut damaged, &mut random);
        }
        let backup = *random.pick(&[Some(&whole[..]), Some(&damaged[..]), None]);
        let loaded = decoders::load_table(&name, Some(&damaged), backup);
        // Beside a good backup only a text that is read, and holds a value beyond a limit, stops the start.
        let is_json = wire::json::from_slice::<serde::de::IgnoredAny>(&damaged).is_ok();
        assert!(loaded || is_json || backup != Some(&whole), "round {round} of seed {seed}");
        if loaded {
            good += 1;
        } else {
            refused += 1;
        }
    }
    assert!(good > rounds / 4 && refused > rounds / 10, "{good} read, {refused} refused");
}
