//! The table of open halves without a store.

use super::*;

const TIME_OUT_MS: i64 = 6000;

fn half(table: &mut Table, offset: i64, born: i64, texts: &[(&str, &str)]) -> Half {
    let mut properties = Vec::new();
    for (key, value) in texts {
        props::append(&mut properties, key, value.as_bytes());
    }
    let place = PhyOffset(u64::try_from(offset).unwrap() * 100);
    table.half(offset, place, (born, born), &properties, TIME_OUT_MS)
}

fn note(table: &mut Table, offset: i64, texts: &[(&str, &str)]) {
    let half = half(table, offset, 0, texts);
    table.note(offset, half);
}

fn read(table: &mut Table, offset: i64, texts: &[(&str, &str)]) {
    let half = half(table, offset, 0, texts);
    table.read(offset, half);
}

fn fresh(halves: (i64, i64), operation: i64) -> Table {
    let mut table = Table::default();
    table.begin(halves, operation);
    table
}

fn operation(table: &mut Table) -> Option<String> {
    table.take_operation(4096).map(|(body, _)| String::from_utf8(body).unwrap())
}

fn rules(now: i64) -> Rules {
    Rules { time_out_ms: TIME_OUT_MS, checks_max: 3, reserved_ms: 72 * HOUR_MS, began: now, now }
}

#[test]
fn an_end_is_named_once_and_the_offsets_follow_the_first_open_half() {
    let mut table = fresh((0, 0), 0);
    for offset in 0..4 {
        note(&mut table, offset, &[]);
    }
    assert_eq!(table.offsets(), (0, 0));
    table.finish(1);
    table.finish(1);
    assert_eq!(operation(&mut table).as_deref(), Some("1"));
    assert_eq!(operation(&mut table), None);
    table.named_in(0, 1);
    assert_eq!(
        table.offsets(),
        (0, 0),
        "half 0 is open, so that a start reads 1 and needs its record"
    );
    table.finish(0);
    table.finish(2);
    assert_eq!(operation(&mut table).as_deref(), Some("0,2,"));
    table.named_in(1, 2);
    assert_eq!(table.offsets(), (3, 2));
    assert_eq!((table.find(2), table.find(3)), (Target::Gone, Target::Open(3)));
}

#[test]
fn long_operations_are_several_records() {
    let mut table = fresh((0, 0), 0);
    for offset in 0..5 {
        note(&mut table, offset, &[]);
        table.finish(offset);
    }
    let bodies: Vec<Vec<u8>> =
        std::iter::from_fn(|| table.take_operation(4)).map(|(body, _)| body).collect();
    assert_eq!(bodies, [&b"0,1,"[..], b"2,3,", b"4"]);
}

#[test]
fn a_half_that_is_stored_again_ends_under_each_of_its_indexes() {
    for named in [0, 1, 2] {
        let mut table = fresh((0, 0), 0);
        note(&mut table, 0, &[]);
        note(&mut table, 1, &[]);
        table.superseded(0, 1);
        note(&mut table, 2, &[]);
        table.superseded(1, 2);
        assert_eq!(operation(&mut table).as_deref(), Some("0,1,"));
        assert_eq!(table.find(named), Target::Open(2));
        table.finish(2);
        assert_eq!(operation(&mut table).as_deref(), Some("2"));
        assert_eq!((table.find(named), table.len()), (Target::Gone, 0));
        assert!(table.moved.is_empty());
    }
}

#[test]
fn an_end_during_a_check_ends_what_was_stored_again_too() {
    // Ended before the second copy was stored.
    let mut table = fresh((0, 0), 0);
    note(&mut table, 0, &[]);
    table.finish(0);
    note(&mut table, 1, &[]);
    table.superseded(0, 1);
    assert_eq!((table.len(), operation(&mut table).as_deref()), (0, Some("0,1,")));
    // The commit is on its way when the copy is stored.
    for fails in [false, true] {
        let mut table = fresh((0, 0), 0);
        note(&mut table, 0, &[]);
        table.set_step(0, Step::Ends);
        note(&mut table, 1, &[]);
        table.superseded(0, 1);
        assert_eq!(table.find(0), Target::Ending);
        assert_eq!(table.find(1), Target::Ending, "one commit is enough, whatever the index");
        let later = Rules { began: 1, ..rules(60_000) };
        assert_eq!(table.judge(1, &later, true), Verdict::Rest, "nobody is asked");
        if fails {
            table.reopen(0);
            assert_eq!((table.find(0), table.find(1)), (Target::Open(1), Target::Open(1)));
            assert_eq!(table.judge(1, &later, true), Verdict::Ask);
            assert_eq!(operation(&mut table).as_deref(), Some("0"));
        } else {
            table.finish(0);
            assert_eq!((table.len(), operation(&mut table).as_deref()), (0, Some("0,1,")));
        }
    }
}

#[test]
fn a_start_reads_operations_then_halves() {
    let mut table = fresh((3, 9), 5);
    table.read_operation(5, b"2");
    table.read_operation(6, b"3,5,");
    table.read_operation(7, b"nonsense,-4,,");
    assert_eq!(table.offsets(), (3, 6), "the record of half 2 is not needed any more");
    assert!(table.is_unread(4) && !table.is_unread(5) && !table.is_unread(9));
    // An end comes before its half was read, and while others are sent.
    read(&mut table, 4, &[]);
    table.finish(4);
    note(&mut table, 9, &[]);
    for offset in 3..8 {
        read(&mut table, offset, &[]);
    }
    // 8 is 5 again.
    read(&mut table, 8, &[("TRAN_PREPARED_QUEUE_OFFSET", "5")]);
    table.read_to(9);
    assert!(!table.is_reading());
    let open: Vec<i64> = table.open.keys().copied().collect();
    assert_eq!(open, [6, 7, 9]);
    assert_eq!(operation(&mut table).as_deref(), Some("4,8,"));
    assert_eq!(table.offsets(), (6, 8), "no record names a half from 6 on");
}

#[test]
fn a_half_whose_properties_name_the_one_before_is_one_half() {
    let link = [("TRAN_PREPARED_QUEUE_OFFSET", "0")];
    let mut table = fresh((0, 0), 0);
    note(&mut table, 0, &[]);
    note(&mut table, 5, &link);
    table.superseded(0, 5);
    assert_eq!(operation(&mut table), None, "the record says it itself");
    note(&mut table, 8, &link);
    table.superseded(5, 8);
    assert_eq!(operation(&mut table).as_deref(), Some("5"));
    assert_eq!((table.find(0), table.find(5)), (Target::Open(8), Target::Open(8)));
    // As a start reads it, whether an end comes before, in between or after.
    for end_before in [0, 5, 8, 9] {
        let mut again = fresh((0, 9), 0);
        again.read_operation(0, b"5");
        for offset in [0, 5, 8] {
            if end_before == offset {
                read(&mut again, 8, &link);
                again.finish(8);
                assert_eq!(operation(&mut again).as_deref(), Some("0,8,"));
            }
            read(&mut again, offset, if offset == 0 { &[] } else { &link });
        }
        again.read_to(9);
        let is_open = end_before == 9;
        assert_eq!(again.len(), usize::from(is_open), "{end_before}");
        assert_eq!(again.find(0) == Target::Open(8), is_open);
        again.finish(8);
        assert_eq!(operation(&mut again).is_some(), is_open);
        assert!(again.moved.is_empty());
    }
    // Ended before the start.
    for named in [&b"5,8,"[..], b"5,0,", b"0,8,"] {
        let mut again = fresh((0, 9), 0);
        again.read_operation(0, named);
        for offset in [0, 5, 8] {
            read(&mut again, offset, if offset == 0 { &[] } else { &link });
        }
        assert_eq!(again.len(), 0, "{named:?}");
    }
}

#[test]
fn operations_beyond_the_limit_are_joined_and_none_is_forgotten() {
    let mut table = fresh((0, 0), 0);
    note(&mut table, 0, &[]);
    let count = i64::try_from(OPERATIONS_MAX).unwrap() + 10;
    for offset in 0..count {
        table.named_in(offset, offset + 1);
    }
    assert_eq!(table.operations.len(), OPERATIONS_MAX);
    note(&mut table, count, &[]);
    table.finish(0);
    assert_eq!(table.offsets(), (count, i64::try_from(OPERATIONS_MAX).unwrap() - 1));
    table.finish(count);
    note(&mut table, count + 1, &[]);
    assert_eq!(table.offsets(), (count + 1, count));
}

#[test]
fn who_is_asked_when() {
    let mut table = fresh((0, 0), 0);
    let day = 24 * HOUR_MS;
    let young = half(&mut table, 0, day - TIME_OUT_MS, &[]);
    let old = half(&mut table, 1, day - TIME_OUT_MS - 1, &[]);
    let future = half(&mut table, 2, day + 1, &[]);
    let immune = half(&mut table, 3, 0, &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "86400")]);
    let soon = half(&mut table, 4, day - 1001, &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "1")]);
    let odd = half(&mut table, 5, day - 1001, &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "x")]);
    let asked = half(&mut table, 6, 0, &[("TRANSACTION_CHECK_TIMES", "3")]);
    let ancient = half(&mut table, 7, -3 * day, &[]);
    let halves = [young, old, future, immune, soon, odd, asked, ancient];
    for (offset, half) in (0..).zip(halves) {
        table.note(offset, Half { stored: 0, ..half });
    }
    let judged: Vec<Verdict> = (0..8).map(|at| table.judge(at, &rules(day), true)).collect();
    use Verdict::{Ask, GiveUp, Rest};
    assert_eq!(judged, [Rest, Ask, Ask, Rest, Ask, Rest, GiveUp, GiveUp]);
    assert_eq!(table.judge(1, &rules(day), false), Rest, "nobody could be asked");
    assert_eq!(table.judge(1, &Rules { began: 0, ..rules(day) }, true), Rest, "just stored");
    table.set_step(1, Step::Moves);
    assert_eq!(table.judge(1, &rules(day), true), Rest);
}

#[test]
fn what_rests_moves_on_when_many_have_come_since() {
    let mut table = fresh((0, 0), 0);
    note(&mut table, 0, &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "600")]);
    note(&mut table, 1, &[]);
    assert_eq!(table.judge(0, &rules(60_000), true), Verdict::Rest);
    note(&mut table, BEHIND_MAX, &[]);
    assert_eq!(table.judge(0, &rules(60_000), true), Verdict::Move);
    assert_eq!(table.judge(1, &rules(60_000), false), Verdict::Rest);
    note(&mut table, BEHIND_MAX + 1, &[]);
    assert_eq!(table.judge(1, &rules(60_000), false), Verdict::Move);
}

#[test]
fn open_halves_of_any_number_rest_until_twice_as_many_have_come() {
    let mut table = fresh((0, 0), 0);
    for offset in 0..3 * BEHIND_MAX {
        note(&mut table, offset, &[]);
    }
    let moves = |table: &Table| {
        let open = table.open.keys();
        open.filter(|at| table.judge(**at, &rules(60_000), false) == Verdict::Move).count()
    };
    assert_eq!(moves(&table), 0, "nothing has come since");
    for offset in 3 * BEHIND_MAX..7 * BEHIND_MAX {
        note(&mut table, offset, &[]);
        table.finish(offset);
    }
    assert_eq!(moves(&table), 1024);
}

#[test]
fn groups_without_open_halves_are_forgotten() {
    let mut table = fresh((0, 0), 0);
    note(&mut table, 0, &[("PGROUP", "A")]);
    note(&mut table, 1, &[("PGROUP", "A")]);
    note(&mut table, 2, &[("PGROUP", "B")]);
    table.finish(2);
    table.forget_groups();
    assert_eq!(table.groups.len(), 1);
    assert_eq!(&*table.get(0).unwrap().group, b"A");
}
