//! Cursors against a queue of a few lines.

use super::*;
use crate::cli::bench::stamp::Stamp;
use std::time::Duration;
use wire::header::FLAG_RESPONSE;
use wire::{Header, NewMessage, PhyOffset, Place as LogPlace, QueueId, QueueOffset};

const MS: u64 = 1_000_000;

fn puller(cursors: Vec<Cursor>, repeat: bool, run: Option<u64>) -> Puller {
    Puller::new(PullerPlan {
        cursors,
        links: 3..5,
        serialize: SerializeType::Json,
        topic: "T",
        group: "G",
        batch: 2,
        repeat,
        stamped: run.map(|run| Stamped { run, delay_ms: 0 }),
        wanted: Wanted { kind: "SQL92", expression: "a > 1".to_owned() },
        window: Window::new(MonoNs(0), Duration::ZERO, Duration::from_millis(100)),
    })
}

/// Takes the pulls off a connection: opaque and header fields offset, sysFlag.
fn taken(out: &mut Outbox, link: LinkId) -> Vec<(i32, i64, i32)> {
    let bytes = std::mem::take(out.to(link));
    let (mut rest, mut pulls) = (&bytes[..], Vec::new());
    while let Some((frame, used)) = wire::frame::split(rest).unwrap() {
        let header = Header::decode(&frame).unwrap();
        let pull = PullMessageRequestHeader::decode(&header.fields).unwrap();
        let wanted = (pull.expression_type.unwrap(), pull.subscription.unwrap());
        assert!(wanted.0.eq_str("SQL92") && wanted.1.eq_str("a > 1"));
        pulls.push((header.opaque - OPAQUE_FIRST, pull.queue_offset, pull.sys_flag));
        rest = &rest[used..];
    }
    pulls
}

fn answer(cursor: i32, code: i32, next: i64, bodies: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let head = FrameHead {
        serialize: SerializeType::Json,
        code,
        opaque: OPAQUE_FIRST + cursor,
        flag: FLAG_RESPONSE,
        version: 1,
    };
    let mut writer = FrameWriter::begin(&mut out, head);
    for (key, value) in [("suggestWhichBrokerId", 0), ("nextBeginOffset", next)] {
        writer.field_i64(key, value);
    }
    writer.field_i64("maxOffset", 9);
    writer.field_i64("minOffset", 0);
    let mut tail = writer.body();
    for body in bodies {
        let born_host = "[::1]:5".parse().unwrap();
        let message = NewMessage {
            queue_id: QueueId(0),
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host,
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            topic: b"T",
            properties: b"",
        };
        let start = tail.bytes().len();
        tail.bytes().resize(start + message.encoded_len(), 0);
        let place = LogPlace {
            queue_offset: QueueOffset(0),
            phy_offset: PhyOffset(0),
            store_timestamp: base::time::WallMs(0),
        };
        message.encode(&mut tail.bytes()[start..], place);
    }
    tail.finish();
    out
}

#[test]
fn a_queue_is_read_once_or_until_the_time_is_up() {
    let cursor = Cursor { link: 1, queue_id: 7, first: 1, end: Some(3) };
    for repeat in [false, true] {
        let (mut puller, mut out) = (puller(vec![cursor], repeat, None), Outbox::for_test(5));
        puller.issue(&mut out, MonoNs(0));
        assert_eq!(taken(&mut out, 4), [(0, 1, sys_flag::PULL_SUBSCRIPTION)]);
        let bytes = answer(0, 0, 3, &[b"a", b"b"]);
        puller.received(4, &bytes, &mut out, MonoNs(5 * MS)).unwrap();
        assert_eq!(puller.is_finished(), !repeat);
        if repeat {
            assert_eq!(taken(&mut out, 4), [(0, 1, sys_flag::PULL_SUBSCRIPTION)]);
            puller.received(4, &bytes, &mut out, MonoNs(100 * MS)).unwrap();
            assert!(puller.is_finished());
        }
        let tally = puller.into_tally();
        assert_eq!(
            (tally.messages, tally.pulls, tally.latency.count()),
            (2, 1, 1 + u64::from(repeat))
        );
        assert_eq!(tally.examined, (2, 2 + 2 * u64::from(repeat)));
        assert_eq!(tally.bytes, 2 * (91 + 12 + 1 + 1));
    }
}

#[test]
fn a_refused_pull_is_repeated_after_a_pause() {
    let cursor = Cursor { link: 0, queue_id: 0, first: 0, end: Some(3) };
    let (mut puller, mut out) = (puller(vec![cursor], false, None), Outbox::for_test(5));
    puller.issue(&mut out, MonoNs(0));
    taken(&mut out, 3);
    puller.received(3, &answer(0, 2, 0, &[]), &mut out, MonoNs(0)).unwrap();
    puller.issue(&mut out, MonoNs(RETRY_MS * MS - 1));
    assert_eq!(taken(&mut out, 3), []);
    puller.issue(&mut out, MonoNs(RETRY_MS * MS - 1));
    assert!(puller.received(3, &answer(0, 0, 0, &[]), &mut out, MonoNs(0)).is_err());
}

#[test]
fn stamps_of_this_run_give_the_latency() {
    let cursor = Cursor { link: 0, queue_id: 0, first: 5, end: None };
    let (mut puller, mut out) = (puller(vec![cursor], false, Some(42)), Outbox::for_test(5));
    puller.issue(&mut out, MonoNs(0));
    let bits = sys_flag::PULL_SUBSCRIPTION | sys_flag::PULL_SUSPEND;
    assert_eq!(taken(&mut out, 3), [(0, 5, bits)]);
    let stamp = |run: u64, time: u64| Stamp { run, time: MonoNs(time * MS), number: 0 }.bytes();
    let (mine, other) = (stamp(42, 10), stamp(41, 10));
    let bytes = answer(0, 0, 8, &[&mine, &other, b"short", &mine]);
    puller.received(3, &bytes, &mut out, MonoNs(14 * MS)).unwrap();
    assert_eq!(taken(&mut out, 3), [(0, 8, bits)]);
    puller.received(3, &answer(0, 19, 8, &[]), &mut out, MonoNs(20 * MS)).unwrap();
    assert_eq!(taken(&mut out, 3), [(0, 8, bits)], "an empty answer is followed by the next poll");
    let tally = puller.into_tally();
    let arrivals = &tally.arrivals;
    assert_eq!((tally.messages_total, arrivals.latency.count(), arrivals.duplicates), (1, 1, 1));
    assert!((3_990.0..4_010.0).contains(&arrivals.latency.max_us()));
}
