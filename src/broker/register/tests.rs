//! Registration with a hand on the clock.

use super::*;
use base::ids::ShardId;

const PACE: Pace = Pace { period_ms: 30_000, timeout_ms: 24_000, force: true };

fn at(ms: u64) -> MonoNs {
    MonoNs(0).plus_ms(ms)
}

fn conn(slot: u32) -> ConnId {
    ConnId { shard: ShardId(0), slot, generation: 1 }
}

fn address() -> SocketAddr {
    "127.0.0.1:9876".parse().unwrap()
}

/// Registration at one name server whose connection 1 is open, and its first request.
fn open(pace: Pace) -> (Register, Step) {
    let mut register = Register::new(&["127.0.0.1:9876".into()], pace);
    register.start(at(0));
    assert_eq!(register.take_steps(), [Step::Connect { server: 0, address: address() }]);
    register.connecting(0, conn(1));
    assert!(!register.is_ready());
    assert!(register.connected(conn(1), None, at(5)));
    let step = only(&mut register);
    (register, step)
}

fn only(register: &mut Register) -> Step {
    let mut steps = register.take_steps();
    assert_eq!(steps.len(), 1, "{steps:?}");
    steps.remove(0)
}

fn asked(step: &Step) -> (Ask, i32) {
    match step {
        Step::Send { ask, opaque, .. } => (*ask, *opaque),
        Step::Resolve { .. } | Step::Connect { .. } | Step::Close(_) => panic!("{step:?}"),
    }
}

fn answer(register: &mut Register, step: &Step, code: i32, changed: bool, now: MonoNs) {
    let opaque = asked(step).1;
    let answer = Answer { opaque, code, version: 407, remark: "", changed };
    register.answered(conn(1), &answer, now);
}

#[test]
fn the_table_is_registered_at_the_start_in_every_period_and_after_a_change() {
    let (mut register, first) = open(PACE);
    assert_eq!(asked(&first).0, Ask::Register);
    register.topics_changed(at(6));
    register.topics_changed(at(7));
    assert_eq!(register.take_steps(), [], "one request at a time");
    answer(&mut register, &first, 0, false, at(10));
    assert!(register.is_ready());
    let second = only(&mut register);
    assert_eq!(asked(&second).0, Ask::Register, "both changes share one request");
    let Step::Send { version, .. } = second else { panic!() };
    assert_eq!(version, 407, "the name server's version is known now");
    answer(&mut register, &second, 0, false, at(12));
    assert_eq!(register.take_steps(), []);
    assert_eq!(register.next_deadline(), Some(at(30_010)));
    register.tick(at(30_010));
    assert_eq!(asked(&only(&mut register)).0, Ask::Register);
}

#[test]
fn without_force_the_name_server_is_asked_first() {
    let (mut register, first) = open(Pace { force: false, ..PACE });
    answer(&mut register, &first, 0, false, at(10));
    register.tick(at(30_005));
    let question = only(&mut register);
    assert_eq!(asked(&question).0, Ask::Version);
    answer(&mut register, &question, 0, false, at(30_006));
    assert_eq!(register.take_steps(), []);
    register.tick(at(60_005));
    let question = only(&mut register);
    answer(&mut register, &question, 0, true, at(60_006));
    assert_eq!(asked(&only(&mut register)).0, Ask::Register);
}

#[test]
fn a_lost_name_server_is_tried_again_with_a_growing_pause() {
    let (mut register, first) = open(PACE);
    answer(&mut register, &first, 0, false, at(10));
    register.closed(conn(1), at(1000));
    let mut now = 1000;
    for pause in [500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
        assert_eq!(register.next_deadline(), Some(at(now + pause)));
        now += pause;
        register.tick(at(now));
        assert_eq!(only(&mut register), Step::Connect { server: 0, address: address() });
        register.connecting(0, conn(2));
        assert!(register.connected(conn(2), Some(111), at(now)));
    }
    register.tick(at(now + 10_000));
    register.take_steps();
    register.connecting(0, conn(1));
    register.connected(conn(1), None, at(now + 10_000));
    let again = only(&mut register);
    assert_eq!(asked(&again).0, Ask::Register, "it may have forgotten everything");
    answer(&mut register, &again, 0, false, at(now + 10_001));
    register.closed(conn(1), at(now + 10_002));
    assert_eq!(register.next_deadline(), Some(at(now + 10_502)), "the pause begins anew");
}

#[test]
fn silence_ends_a_connection_and_the_process_gets_ready_all_the_same() {
    let (mut register, _) = open(PACE);
    assert_eq!(register.next_deadline(), Some(at(1000)));
    register.tick(at(1000));
    assert!(register.is_ready());
    register.tick(at(24_005));
    assert_eq!(only(&mut register), Step::Close(conn(1)));
    assert!(!register.connected(conn(1), None, at(24_006)), "it is no longer ours");
    let names: [String; 0] = [];
    assert!(Register::new(&names, PACE).is_ready(), "nobody to wait for");
}

#[test]
fn names_are_resolved_off_the_shard() {
    let mut register = Register::new(&["ns.example:9876".into()], PACE);
    register.start(at(0));
    let name = "ns.example:9876".to_owned();
    assert_eq!(only(&mut register), Step::Resolve { server: 0, name });
    register.resolved(0, Ok(address()), at(3));
    assert_eq!(only(&mut register), Step::Connect { server: 0, address: address() });
    register.connecting(0, conn(1));
    register.tick(at(3003));
    assert_eq!(only(&mut register), Step::Close(conn(1)), "no connection in time");
    register.tick(at(3503));
    register.take_steps();
    register.resolved(0, Err(std::io::Error::other("unknown")), at(3504));
    assert!(register.is_ready());
    assert_eq!(register.next_deadline(), Some(at(4504)));
}

#[test]
fn a_refusal_is_repeated_with_the_next_period_only() {
    let (mut register, first) = open(PACE);
    answer(&mut register, &first, 1, false, at(10));
    assert_eq!(register.take_steps(), []);
    assert_eq!(register.next_deadline(), Some(at(30_005)));
}

#[test]
fn the_goodbye_follows_what_is_under_way() {
    let (mut register, first) = open(PACE);
    register.stop(at(20));
    assert_eq!(register.take_steps(), [], "the registration is answered first");
    assert!(!register.has_left());
    answer(&mut register, &first, 0, false, at(22));
    let goodbye = only(&mut register);
    assert_eq!(asked(&goodbye).0, Ask::Unregister);
    answer(&mut register, &goodbye, 0, false, at(23));
    assert!(register.has_left());
    assert_eq!(register.next_deadline(), None, "a name server that was left is left alone");
    let (mut register, _) = open(PACE);
    register.stop(at(20));
    register.closed(conn(1), at(30));
    assert!(register.has_left(), "a name server that is gone need not be told");
}
