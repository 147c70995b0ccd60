//! The committed fuzz corpora through every decoder: what was once found, or recorded from Java, stays answered.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

#[path = "fuzz/decoders.rs"]
mod decoders;

use std::fs;
use std::path::Path;

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

targets! { frame message text body layout recovery properties store_dir }
