//! glommio as host of a shard: it pins the thread, runs the turn loop, and runs background jobs beside it.
//!
//! This is the only module that names glommio. Its rings carry no I/O of ours. When a turn finds nothing to do, the
//! thread sleeps in the shard's own ring; only while a background job runs does it wait through glommio, which
//! delivers the job's end, for the eventfd of that ring (`decisions/2026-11-21-sleep-in-own-ring.md`). glommio has no public wait for
//! a descriptor; a `TcpStream` made from a duplicate arms a poll, and its first read fails with ENOTSOCK once the
//! descriptor is readable, which is all we want to know.

use crate::affinity::Cpu;
use crate::{clock, sys};
use glommio::{Latency, LocalExecutorBuilder, Placement, PoolPlacement, Shares, TaskQueueHandle};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

/// What a turn found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Work was done: come again at once.
    Busy,
    /// Nothing to do until the eventfd is signalled.
    Idle,
    /// The shard has ended.
    Stop,
}

/// A loop that glommio hosts.
pub trait Turner {
    /// One turn. Never blocks.
    fn turn(&mut self) -> Pace;
    /// Blocks until there is something for a turn, when glommio has nothing to run.
    fn wait(&mut self);
    /// Becomes readable when there is something for a turn: for waits beside background jobs.
    fn event_fd(&self) -> RawFd;
}

/// Work that may block (metadata files, segment creation), run on a thread that is not pinned.
pub type Job<R> = Box<dyn FnOnce() -> R + Send>;

/// Hands jobs from the turn loop to the background and results back. Stays on its thread.
pub struct Background<R> {
    shared: Rc<RefCell<Jobs<R>>>,
}

struct Jobs<R> {
    waiting: VecDeque<Job<R>>,
    running: usize,
    finished: VecDeque<R>,
}

impl<R> Clone for Background<R> {
    fn clone(&self) -> Self {
        Background { shared: Rc::clone(&self.shared) }
    }
}

impl<R> Default for Background<R> {
    fn default() -> Self {
        let jobs = Jobs { waiting: VecDeque::new(), running: 0, finished: VecDeque::new() };
        Background { shared: Rc::new(RefCell::new(jobs)) }
    }
}

impl<R: Send + 'static> Background<R> {
    /// Queues a job; jobs of one shard run one after the other, in order.
    pub fn submit(&self, job: Job<R>) {
        self.shared.borrow_mut().waiting.push_back(job);
    }

    /// A finished job's result.
    pub fn finished(&self) -> Option<R> {
        self.shared.borrow_mut().finished.pop_front()
    }

    /// Jobs not finished yet.
    pub fn outstanding(&self) -> usize {
        let jobs = self.shared.borrow();
        jobs.waiting.len() + jobs.running
    }

    fn start_next(&self, queue: TaskQueueHandle, event_fd: RawFd) {
        let mut jobs = self.shared.borrow_mut();
        if jobs.running > 0 {
            return;
        }
        let Some(job) = jobs.waiting.pop_front() else { return };
        jobs.running = 1;
        let shared = Rc::clone(&self.shared);
        let task = async move {
            let result = glommio::executor().spawn_blocking(job).await;
            let mut jobs = shared.borrow_mut();
            jobs.running = 0;
            jobs.finished.push_back(result);
            sys::event_signal(event_fd);
        };
        glommio::spawn_local_into(task, queue).expect("the queue exists").detach();
    }
}

/// Time between two yields to glommio, which learns only then that a job is done, while the shard is busy and jobs wait, ns.
/// Queue entries and index items go one job at a time: with a pause of 10 ms they came slower than messages do.
const YIELD_PAUSE_NS: u64 = 500_000;
/// glommio pins this much per ring for I/O it never does here; its default is 10 MiB.
const GLOMMIO_IO_BYTES: usize = 64 * 1024;

/// Runs `make`'s loop on a thread of its own, pinned to `cpu`, until it stops. Returns the thread.
///
/// `make` runs on the new thread. Errors: glommio's own start-up (memlock below 512 KiB, no io_uring).
pub fn spawn<T, R, F>(name: &str, cpu: Cpu, make: F) -> io::Result<ShardThread>
where
    T: Turner + 'static,
    R: Send + 'static,
    F: FnOnce(Background<R>) -> Option<T> + Send + 'static,
{
    let handle = LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .name(name)
        .io_memory(GLOMMIO_IO_BYTES)
        .ring_depth(16)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || async move {
            let background = Background::default();
            if let Some(turner) = make(background.clone()) {
                run(turner, background).await;
            }
        })
        .map_err(|e| io::Error::other(format!("starting a shard thread: {e}")))?;
    Ok(ShardThread(handle))
}

/// A running shard thread.
pub struct ShardThread(glommio::ExecutorJoinHandle<()>);

impl ShardThread {
    /// Waits for the loop to stop.
    pub fn join(self) -> io::Result<()> {
        self.0.join().map_err(|e| io::Error::other(format!("a shard thread failed: {e}")))
    }
}

async fn run<T: Turner, R: Send + 'static>(mut turner: T, background: Background<R>) {
    let queue = glommio::executor().create_task_queue(
        Shares::Static(50),
        Latency::NotImportant,
        "background",
    );
    let event_fd = turner.event_fd();
    let mut yielded_at = clock::mono();
    loop {
        let pace = turner.turn();
        background.start_next(queue, event_fd);
        match pace {
            Pace::Stop => return,
            Pace::Busy => {
                if background.outstanding() > 0 {
                    let now = clock::mono();
                    if now.since(yielded_at) >= YIELD_PAUSE_NS {
                        yielded_at = now;
                        glommio::executor().yield_task_queue_now().await;
                    }
                }
            }
            Pace::Idle if background.outstanding() == 0 => turner.wait(),
            Pace::Idle => {
                readable(event_fd).await;
                sys::event_clear(event_fd);
            }
        }
    }
}

/// Waits until the descriptor is readable.
async fn readable(fd: RawFd) {
    use futures_lite::AsyncReadExt;
    // SAFETY: the eventfd outlives the loop that waits for it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let Ok(duplicate) = borrowed.try_clone_to_owned() else {
        // Out of descriptors: poll slowly instead of spinning.
        glommio::timer::sleep(Duration::from_millis(1)).await;
        return;
    };
    debug_assert!(duplicate.as_raw_fd() >= 0);
    let raw = duplicate.into_raw_fd();
    // SAFETY: `raw` is a fresh duplicate whose ownership moves into the stream.
    let mut stream = unsafe { glommio::net::TcpStream::from_raw_fd(raw) };
    let _not_a_socket = stream.read(&mut [0u8; 1]).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::sync::mpsc;

    struct Counter {
        fd: OwnedFd,
        turns: u32,
        jobs: Background<u32>,
        report: mpsc::Sender<&'static str>,
    }

    impl Turner for Counter {
        fn turn(&mut self) -> Pace {
            self.turns += 1;
            match self.turns {
                1 => {
                    self.jobs.submit(Box::new(|| 41));
                    self.jobs.submit(Box::new(|| 42));
                    Pace::Idle
                }
                _ if self.jobs.outstanding() > 0 => Pace::Idle,
                _ => {
                    assert_eq!((self.jobs.finished(), self.jobs.finished()), (Some(41), Some(42)));
                    self.report.send("done").unwrap();
                    Pace::Stop
                }
            }
        }

        fn wait(&mut self) {
            unreachable!("jobs are outstanding whenever this loop is idle");
        }

        fn event_fd(&self) -> RawFd {
            self.fd.as_raw_fd()
        }
    }

    #[test]
    fn an_idle_loop_sleeps_until_its_jobs_are_done() {
        let (report, reports) = mpsc::channel();
        let thread = spawn("test", crate::affinity::allowed_cpus()[0], move |jobs| {
            Some(Counter { fd: sys::event_fd().unwrap(), turns: 0, jobs, report })
        })
        .unwrap();
        assert_eq!(reports.recv_timeout(Duration::from_secs(5)), Ok("done"));
        thread.join().unwrap();
    }
}
