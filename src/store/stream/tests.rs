//! One stream without queues: rolls, deadlines, what memory still has.

use super::*;
use base::time::WallMs;
use buf::window::WindowIdentity;

const SEGMENT: u64 = 64 << 10;

fn stream(flush: FlushMode) -> Stream {
    let identity = WindowIdentity { store_id: 1, boot_id: 1, stream: 0 };
    let dir = tempfile::tempdir().unwrap();
    let window = Window::create(&dir.path().join("w"), 64 << 10, identity, 0).unwrap();
    let config = StreamConfig {
        stream: StreamId(0),
        segment_bytes: SEGMENT,
        flush,
        sync_by: SyncBy::WriteThrough,
        flush_interval_ns: 500_000_000,
        write_batch_bytes: 16 << 10,
        read_uncommitted: false,
    };
    Stream::new(config, window, Segments::new(SEGMENT, &[0, SEGMENT], 0), 0)
}

fn at(ms: i64) -> Now {
    Now { wall: WallMs(ms), mono: MonoNs(u64::try_from(ms).unwrap() * 1_000_000) }
}

fn append(stream: &mut Stream, len: usize) -> u64 {
    let position = stream.reserve(len as u64).unwrap();
    stream.record_mut(position, len).fill(1);
    stream.commit(position + len as u64);
    position
}

fn finish(stream: &mut Stream, ops: &mut Vec<StoreOp>) {
    for op in ops.drain(..) {
        match op {
            StoreOp::WriteLog { tag, .. }
            | StoreOp::WritePartial { tag, .. }
            | StoreOp::ZeroLog { tag, .. }
            | StoreOp::SyncLog { tag, .. } => stream.on_done(tag),
            StoreOp::CreateSegment { base, .. } => stream.on_segment(base),
        }
    }
}

#[test]
fn async_flush_writes_when_it_is_worth_it_and_syncs_when_it_is_time() {
    let mut s = stream(FlushMode::Async);
    let mut ops = Vec::new();
    s.plan(at(1), &mut ops);
    finish(&mut s, &mut ops);
    append(&mut s, 5000);
    s.plan(at(2), &mut ops);
    assert!(!ops.iter().any(|op| matches!(op, StoreOp::WriteLog { .. })), "not yet: {ops:?}");
    finish(&mut s, &mut ops);
    let due = s.next_deadline().expect("something is not durable");
    assert!(due <= MonoNs(600_000_000));
    for ms in 501..520 {
        s.plan(at(ms), &mut ops);
        finish(&mut s, &mut ops);
    }
    assert_eq!((s.written(), s.flushed()), (5000, 5000));
}

#[test]
fn a_record_that_does_not_fit_begins_the_next_segment() {
    let mut s = stream(FlushMode::Sync);
    let mut ops = Vec::new();
    assert_eq!(append(&mut s, 20_000), 0);
    assert_eq!(append(&mut s, 20_000), 20_000);
    for ms in 1..9 {
        s.plan(at(ms), &mut ops);
        finish(&mut s, &mut ops);
    }
    assert_eq!(append(&mut s, 30_000), SEGMENT);
    for ms in 9..20 {
        s.plan(at(ms), &mut ops);
        finish(&mut s, &mut ops);
    }
    assert_eq!(s.flushed(), SEGMENT + 30_000);
    assert!(s.tail(SEGMENT, 30_000).is_some());
    assert!(s.tail(0, 100).is_none(), "the window has moved on");
}

#[test]
fn the_largest_record_fits_and_leaves_room_for_the_filler() {
    let mut s = stream(FlushMode::Sync);
    let max = usize::try_from(s.record_bytes_max()).unwrap();
    let mut ops = Vec::new();
    for ms in 0..8 {
        append(&mut s, max);
        s.plan(at(ms), &mut ops);
        finish(&mut s, &mut ops);
        s.plan(at(ms), &mut ops);
        finish(&mut s, &mut ops);
    }
}

#[test]
fn a_flush_under_way_asks_for_no_turn_before_its_completion() {
    let mut s = stream(FlushMode::Async);
    let mut ops = Vec::new();
    for ms in 1..20 {
        s.plan(at(ms), &mut ops);
        finish(&mut s, &mut ops);
    }
    append(&mut s, 5000);
    s.plan(at(600), &mut ops);
    assert!(!ops.is_empty(), "the flush is due");
    s.plan(at(2000), &mut Vec::new());
    assert!(s.next_deadline().is_none_or(|at| at > MonoNs(2_000_000_000)));
}

/// Records of 1 byte to half a window, a device that completes writes when it likes.
#[test]
fn a_record_is_whole_in_memory_until_it_is_whole_on_the_device() {
    let mut state = 7_u64;
    let mut below = |end: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % end
    };
    for mode in [FlushMode::Async, FlushMode::Sync].repeat(20) {
        let mut s = stream(mode);
        let (mut held, mut records) = (Vec::new(), Vec::new());
        for ms in 0..2000 {
            for _ in 0..below(4) {
                let max = if below(3) == 0 { s.record_bytes_max() } else { 3000 };
                let len = 1 + below(max);
                if let Ok(position) = s.reserve(len) {
                    s.commit(position + len);
                    records.push((position, len));
                }
            }
            s.plan(at(ms), &mut held);
            if !held.is_empty() && below(3) == 0 {
                let mut some =
                    vec![held.swap_remove(usize::try_from(below(held.len() as u64)).unwrap())];
                finish(&mut s, &mut some);
            }
            for (position, len) in &records {
                let in_memory = s.tail(*position, usize::try_from(*len).unwrap()).is_some();
                let place = (position, len, s.written(), s.appended());
                assert!(in_memory || position + len <= s.written(), "{place:?}");
            }
            records.retain(|(position, len)| position + len > s.written());
        }
        assert!(s.appended() > 5 * SEGMENT, "it goes on: {}", s.appended());
    }
}

#[test]
fn who_waits_for_a_place_waits_for_the_device_and_not_for_the_next_flush() {
    let mut s = stream(FlushMode::Async);
    // Its end is in no block that is whole.
    let max = s.record_bytes_max() - 100;
    let mut ops = Vec::new();
    for ms in 0..100 {
        let mut turns = 0;
        while s.reserve(max).is_err() {
            s.plan(at(ms), &mut ops);
            finish(&mut s, &mut ops);
            turns += 1;
            assert!(turns < 10, "record {ms} waits");
        }
        s.commit(s.appended() + max);
    }
}

#[test]
fn a_small_record_that_finds_a_place_does_not_keep_a_large_one_waiting() {
    let mut s = stream(FlushMode::Async);
    let large = s.record_bytes_max() - 100;
    let mut ops = Vec::new();
    // The next flush is an interval away.
    s.plan(at(0), &mut ops);
    while s.reserve(large).is_ok() {
        s.commit(s.appended() + large);
    }
    let mut turns = 0;
    while s.reserve(large).is_err() {
        let small = s.reserve(100).expect("a place for little");
        s.commit(small + 100);
        s.plan(at(0), &mut ops);
        finish(&mut s, &mut ops);
        turns += 1;
        assert!(turns < 10, "the large record waits");
    }
}
