//! glommio as host of a shard: it makes and pins the thread and runs the turn loop; a thread beside it runs jobs.
//!
//! This is the only module that names glommio. Its rings carry no I/O of ours: when a turn finds nothing to do, the thread
//! sleeps in the shard's own ring (`decisions/2026-11-21-sleep-in-own-ring.md`). Jobs do not go through glommio's pool: it
//! looks for their ends so seldom while a shard is busy that queue entries were written slower than messages came
//! (`decisions/2026-11-21-own-background-thread.md`).

use crate::affinity::Cpu;
use crate::sys;
use glommio::{LocalExecutorBuilder, Placement};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::JoinHandle;

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
    /// Blocks until there is something for a turn.
    fn wait(&mut self);
    /// An eventfd that wakes `wait`: signalled when a job is done.
    fn waker(&self) -> io::Result<OwnedFd>;
}

/// Work that may block (metadata files, segment creation), run on a thread that is not pinned.
pub type Job<R> = Box<dyn FnOnce() -> R + Send>;

/// Hands jobs from the turn loop to the background and results back. Stays on its thread.
pub struct Background<R> {
    lines: Rc<Lines<R>>,
}

struct Lines<R> {
    jobs: mpsc::Sender<Job<R>>,
    results: mpsc::Receiver<R>,
    outstanding: Cell<usize>,
}

impl<R> Clone for Background<R> {
    fn clone(&self) -> Self {
        Background { lines: Rc::clone(&self.lines) }
    }
}

impl<R: Send + 'static> Background<R> {
    /// Queues a job; jobs of one shard run one after the other, in order.
    pub fn submit(&self, job: Job<R>) {
        self.lines.outstanding.set(self.lines.outstanding.get() + 1);
        self.lines.jobs.send(job).expect("the thread takes jobs until the last sender is gone");
    }

    /// A finished job's result.
    pub fn finished(&self) -> Option<R> {
        // Jobs are rare, turns are not.
        if self.lines.outstanding.get() == 0 {
            return None;
        }
        let result = self.lines.results.try_recv().ok()?;
        self.lines.outstanding.set(self.lines.outstanding.get() - 1);
        Some(result)
    }

    /// Jobs not finished yet.
    pub fn outstanding(&self) -> usize {
        self.lines.outstanding.get()
    }
}

/// The thread beside a shard, and the ends of its lines.
struct Beside<R> {
    jobs: mpsc::Sender<Job<R>>,
    results: mpsc::Receiver<R>,
    waker: mpsc::Sender<OwnedFd>,
    thread: JoinHandle<()>,
}

impl<R: Send + 'static> Beside<R> {
    /// Starts it, on the CPUs of the calling thread.
    fn start(shard: &str) -> io::Result<Beside<R>> {
        let (jobs, waiting) = mpsc::channel::<Job<R>>();
        let (done, results) = mpsc::channel();
        let (waker, wakers) = mpsc::channel::<OwnedFd>();
        let thread =
            std::thread::Builder::new().name(format!("{shard}-jobs")).spawn(move || {
                // The shard's eventfd comes before its first job.
                let Ok(waker) = wakers.recv() else { return };
                let report = |result| done.send(result).is_ok();
                work_off(waiting, report, || sys::event_signal(waker.as_raw_fd()));
            })?;
        Ok(Beside { jobs, results, waker, thread })
    }
}

/// The thread beside a shard: runs each job, reports its result and then signals, so that a shard which the signal wakes
/// finds the result. Ends with the jobs, or when nobody takes a report.
pub(crate) fn work_off<R>(
    jobs: impl IntoIterator<Item = Job<R>>,
    report: impl Fn(R) -> bool,
    signal: impl Fn(),
) {
    for job in jobs {
        if !report(job()) {
            return;
        }
        signal();
    }
}

/// glommio pins this much per ring for I/O it never does here; its default is 10 MiB.
const GLOMMIO_IO_BYTES: usize = 64 * 1024;

/// Runs `make`'s loop on a thread of its own, pinned to `cpu`, until it stops. Returns the thread.
///
/// `make` runs on the new thread. Errors: glommio's own start-up (memlock below 512 KiB, no io_uring), no more threads.
pub fn spawn<T, R, F>(name: &str, cpu: Cpu, make: F) -> io::Result<ShardThread>
where
    T: Turner + 'static,
    R: Send + 'static,
    F: FnOnce(Background<R>) -> Option<T> + Send + 'static,
{
    let beside = Beside::start(name)?;
    let handle = LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .name(name)
        .io_memory(GLOMMIO_IO_BYTES)
        .ring_depth(16)
        .spawn(move || async move {
            let Beside { jobs, results, waker, thread } = beside;
            let lines = Rc::new(Lines { jobs, results, outstanding: Cell::new(0) });
            let background = Background { lines };
            if let Some(turner) = make(background.clone()) {
                run(turner, &waker);
            }
            drop((background, waker));
            thread.join().expect("a job does not panic");
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

fn run<T: Turner>(mut turner: T, waker: &mpsc::Sender<OwnedFd>) {
    let duplicate = turner.waker().expect("the start has counted descriptors");
    waker.send(duplicate).expect("the thread waits for it");
    loop {
        match turner.turn() {
            Pace::Stop => return,
            Pace::Busy => {}
            Pace::Idle => turner.wait(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::io::Read;
    use std::time::Duration;

    struct Counter {
        fd: OwnedFd,
        turns: u32,
        jobs: Background<u32>,
        done: VecDeque<u32>,
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
                _ => {
                    self.done.extend(std::iter::from_fn(|| self.jobs.finished()));
                    if self.jobs.outstanding() > 0 {
                        return Pace::Idle;
                    }
                    assert_eq!(self.done, [41, 42], "in order");
                    self.report.send("done").unwrap();
                    Pace::Stop
                }
            }
        }

        fn wait(&mut self) {
            // The eventfd does not block: look until the end of a job has signalled it.
            let file = std::fs::File::from(self.fd.try_clone().unwrap());
            while (&file).read(&mut [0; 8]).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }

        fn waker(&self) -> io::Result<OwnedFd> {
            self.fd.try_clone()
        }
    }

    #[test]
    fn an_idle_loop_sleeps_until_its_jobs_are_done() {
        let (report, reports) = mpsc::channel();
        let thread = spawn("test", crate::affinity::allowed_cpus()[0], move |jobs| {
            Some(Counter {
                fd: sys::event_fd().unwrap(),
                turns: 0,
                jobs,
                done: VecDeque::new(),
                report,
            })
        })
        .unwrap();
        assert_eq!(reports.recv_timeout(Duration::from_secs(5)), Ok("done"));
        thread.join().unwrap();
    }
}
