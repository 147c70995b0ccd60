//! Mail between shards: one hop there and one back.

use crate::harness::{Case, Operations, counted, timed};
use base::ids::ShardId;
use reactor::mesh::{Mesh, build};
use std::hint::black_box;
use std::thread;

/// About the size of a broker's mail.
type Mail = [u64; 10];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        counted("mesh/hop-there-and-back", one_thread),
        timed("mesh/hop-there-and-back-2-threads", two_threads),
    ]
}

fn pair() -> (Mesh<Mail>, Mesh<Mail>) {
    let mut parts = build::<Mail>(2);
    let (second, first) = (parts.pop().unwrap(), parts.pop().unwrap());
    (first, second)
}

fn answer(mesh: &mut Mesh<Mail>) -> Option<Mail> {
    let (from, mail) = mesh.receive()?;
    mesh.send(from, mail);
    Some(mail)
}

fn one_thread() -> Operations {
    let (mut first, mut second) = pair();
    Box::new(move |count| {
        for at in 0..count {
            first.send(ShardId(1), [at; 10]);
            answer(&mut second).unwrap();
            black_box(first.receive().unwrap());
        }
    })
}

/// The end of a mesh whose peer answers every mail.
struct Caller(Mesh<Mail>);

/// Ends the peer.
const LAST: Mail = [u64::MAX; 10];

impl Caller {
    fn call(&mut self, mail: Mail) {
        self.0.send(ShardId(1), mail);
        while self.0.receive().is_none() {
            std::hint::spin_loop();
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.call(LAST);
    }
}

/// The second shard spins on a thread of its own, so this is what the caches cost.
fn two_threads() -> Operations {
    let (first, mut second) = pair();
    thread::spawn(move || {
        while answer(&mut second) != Some(LAST) {
            std::hint::spin_loop();
        }
    });
    let mut caller = Caller(first);
    Box::new(move |count| {
        for at in 0..count {
            caller.call([at; 10]);
        }
    })
}
