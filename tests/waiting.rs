//! A crowd of connections, each with a pull that waits: what one costs, that a message wakes those it is for and no
//! others, that waiting costs no CPU, and that who has gone is forgotten. `RINGMQ_CONNECTIONS` says how many.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Connection, Consumer, Message, Options, Producer, Pull, PullStatus};
use std::time::{Duration, Instant};
use support::{Data, Server, Setting, rounds};

const TIMEOUT: Duration = Duration::from_secs(20);
const TOPIC: &str = "Waiting";
const QUEUES: usize = 8;
const TAGS: usize = 10;
/// Memory of a connection with a pull that waits, in the process; a socket's is the kernel's.
const BYTES_EACH_MAX: u64 = 8 << 10;

/// The pull of one connection, and how often it was woken.
struct Waiter {
    consumer: Consumer,
    queue: usize,
    tag: String,
    offset: i64,
    opaque: i32,
}

impl Waiter {
    fn new(server: &Server, number: usize) -> Waiter {
        let options = Options { timeout: TIMEOUT, ..Options::default() };
        let connection = Connection::connect_with(server.broker, options).unwrap();
        let (queue, tag) = (number % QUEUES, format!("tag{}", number / QUEUES % TAGS));
        let mut waiter =
            Waiter { consumer: Consumer::new(connection, "G"), queue, tag, offset: 0, opaque: 0 };
        waiter.ask();
        waiter
    }

    fn ask(&mut self) {
        let queue = i32::try_from(self.queue).unwrap();
        let pull = Pull::new(TOPIC, queue, self.offset).tags(&self.tag);
        self.opaque = self.consumer.submit(&pull.suspend(Duration::from_secs(280))).unwrap();
    }

    /// What it was woken for.
    fn woken(&mut self) -> Vec<u8> {
        let pulled = self.consumer.result(self.opaque).expect("a message it waits for wakes it");
        assert_eq!(pulled.status, PullStatus::Found, "a pull that waits comes back with messages");
        assert_eq!(pulled.messages.len(), 1);
        self.offset = pulled.next_offset;
        pulled.messages[0].body.clone()
    }

    /// The answer to something that was asked later is the next that comes.
    fn waits(&mut self) -> bool {
        let connection = self.consumer.connection();
        connection.max_offset(TOPIC, 0).unwrap();
        connection.receive(Duration::ZERO).is_err_and(|error| error.is_timeout())
    }
}

fn crowd() -> Option<usize> {
    let wanted = rounds("RINGMQ_CONNECTIONS", 1000, 10_000);
    let limit = support::raise_open_files();
    if limit < wanted + 500 {
        eprintln!("waiting: skipped, only {limit} files may be open and {wanted} are wanted");
        return None;
    }
    Some(usize::try_from(wanted).unwrap())
}

fn start(data: &Data, shards: u16) -> Server {
    let setting = Setting { shards, config: "logWindowBytes=16M\nrecvBufferCount=64\n".to_owned() };
    let server = Server::start(data.path(), &setting);
    server.topic_named(TOPIC);
    server
}

#[test]
fn a_message_wakes_those_it_is_for_and_waiting_costs_nothing() {
    let Some(count) = crowd() else { return };
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards);
        // What does not grow with their number is there before it is measured.
        let mut warm: Vec<Waiter> = (0..200).map(|n| Waiter::new(&server, n)).collect();
        for waiter in &mut warm {
            assert!(waiter.waits());
        }
        let before = server.private_bytes();
        let mut waiters: Vec<Waiter> = (0..count).map(|n| Waiter::new(&server, n)).collect();
        // The last one has arrived when the broker has answered something sent after it.
        for waiter in &mut waiters {
            assert!(waiter.waits());
        }
        let each = (server.private_bytes().saturating_sub(before)) / count as u64;
        assert!(each < BYTES_EACH_MAX, "a connection with a pull that waits costs {each} bytes");
        let idle = idle_cpu_percent(&server);
        eprintln!("waiting: {count} on {shards} shards: {each} bytes each, {idle:.2} % of a core");
        assert!(idle < 3.0, "waiting costs {idle} % of a core");
        let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
        for round in 0..3 {
            let (queue, tag) = (round * 3 % QUEUES, format!("tag{}", round * 7 % TAGS));
            let message = Message::new(TOPIC, format!("for {tag}").as_bytes()).tag(&tag);
            producer.send(&message, i32::try_from(queue).unwrap()).unwrap();
            let mut woken = 0;
            let (is_for, others): (Vec<&mut Waiter>, Vec<&mut Waiter>) =
                waiters.iter_mut().partition(|w| w.queue == queue && w.tag == tag);
            for waiter in is_for {
                assert_eq!(waiter.woken(), format!("for {tag}").as_bytes());
                waiter.ask();
                woken += 1;
            }
            assert!(woken >= count / QUEUES / TAGS, "{woken} of {count} were woken");
            for waiter in others {
                assert!(waiter.waits(), "it is not for them");
            }
        }
        drop(warm);
        assert!(server.stop().success());
    }
}

fn idle_cpu_percent(server: &Server) -> f64 {
    std::thread::sleep(Duration::from_millis(500));
    let (began, used) = (Instant::now(), server.cpu_time());
    std::thread::sleep(Duration::from_secs(3));
    (server.cpu_time() - used).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0
}

#[test]
fn who_has_gone_is_not_waited_for() {
    let Some(count) = crowd() else { return };
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards);
        let before = server.private_bytes();
        // Far more than a shard keeps waiting (262,144) if those of closed connections stayed.
        let (mut most, connections) = (0, count.min(1000) / 50);
        for _ in 0..20 {
            let mut consumers: Vec<Consumer> = (0..connections)
                .map(|_| Consumer::new(server.connect(TIMEOUT).unwrap(), "G"))
                .collect();
            for consumer in &mut consumers {
                for n in 0..1000 {
                    let pull = Pull::new(TOPIC, n % 8, 0).suspend(Duration::from_secs(280));
                    consumer.submit(&pull).unwrap();
                }
                consumer.connection().max_offset(TOPIC, 0).unwrap();
            }
            most = most.max(server.private_bytes().saturating_sub(before));
        }
        eprintln!("waiting: {} KiB at most on {shards} shards", most >> 10);
        let mut last = Consumer::new(server.connect(TIMEOUT).unwrap(), "G");
        let opaque = last.submit(&Pull::new(TOPIC, 0, 0).suspend(Duration::from_secs(60))).unwrap();
        let used = server.cpu_time();
        let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
        producer.send(&Message::new(TOPIC, vec![b'x'; 100_000]), 0).unwrap();
        assert_eq!(last.result(opaque).unwrap().messages.len(), 1);
        let cost = server.cpu_time() - used;
        assert!(cost < Duration::from_millis(300), "400,000 pulls that are gone cost {cost:?}");
        assert!(most < 64 << 20, "{most} bytes for pulls of which 20,000 wait at a time");
        assert!(server.stop().success());
    }
}
