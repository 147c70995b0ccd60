//! A process of shards: starts them together, stops them together, says how it went.

use crate::app::App;
use crate::boot::ShardSeed;
use crate::stop::StopFlag;
pub use crate::stop::Waited;
use crate::turn::Shard;
use reactor::host::{self, ShardThread};
use reactor::mesh;
use reactor::{probe, sys};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use store::queues::StoppedQueues;

/// Running shards.
pub struct Server {
    threads: Vec<ShardThread>,
    stop: Arc<StopFlag>,
}

/// Lets another thread stop the server.
#[derive(Clone)]
pub struct Stopper(Arc<StopFlag>);

impl Stopper {
    /// Asks all shards to stop in order.
    pub fn stop(&self) {
        self.0.raise();
    }

    /// What the shards that have ended waited for, the longest wait of each.
    pub fn waited(&self) -> Vec<Waited> {
        self.0.waited()
    }
}

/// How a server ended.
#[derive(Debug)]
pub enum Ending {
    /// Everything is durable and marked so. The queues of all shards, where their bounds are certain.
    Clean(Option<Vec<StoppedQueues>>),
    /// Stopped on request, but something was left for the next start's recovery.
    Hasty,
    /// A shard could not go on.
    Failed(String),
}

/// Starts one thread per seed; `app` makes each shard's application on its thread.
///
/// Returns when all shards run, or with the first one's reason why not.
pub fn start<A, F>(seeds: Vec<ShardSeed>, app: F) -> Result<Server, String>
where
    A: App,
    F: Fn(base::ids::ShardId) -> A + Send + Clone + 'static,
{
    probe::check_kernel().map_err(|e| e.to_string())?;
    let count = seeds.len();
    assert!(count > 0, "a server has shards");
    let stop = Arc::new(StopFlag::default());
    let barrier = Arc::new(Barrier::new(count));
    let (report, reports) = mpsc::channel::<Result<(), String>>();
    let mut threads = Vec::new();
    for (seed, mesh) in seeds.into_iter().zip(mesh::build(count)) {
        let (stop, barrier) = (Arc::clone(&stop), Arc::clone(&barrier));
        let (report, app) = (report.clone(), app.clone());
        let (id, cpu) = (seed.id, seed.cpu);
        let thread = host::spawn(&format!("shard-{}", id.0), cpu, move |background| {
            if let Err(error) = sys::set_slice(sys::Slice::Short) {
                tracing::info!("{id}: the scheduler keeps its slice ({error})");
            }
            let shard = Shard::new(seed, app(id), mesh, stop, background);
            let mut shard = match shard {
                Ok(shard) => {
                    let _ = report.send(Ok(()));
                    Some(shard)
                }
                Err(error) => {
                    let _ = report.send(Err(error.to_string()));
                    None
                }
            };
            // No shard sends mail before every ring is there to be woken.
            barrier.wait();
            if let Some(shard) = shard.as_mut() {
                shard.start();
            }
            shard
        })
        .map_err(|e| e.to_string())?;
        threads.push(thread);
    }
    let server = Server { threads, stop };
    for _ in 0..count {
        if let Err(error) = reports.recv().unwrap_or_else(|_| Err("a shard thread ended".into())) {
            server.stop.fail(error.clone());
            let _ = server.join();
            return Err(error);
        }
    }
    Ok(server)
}

impl Server {
    /// A handle that stops the server.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Waits until all shards have ended.
    pub fn join(self) -> Ending {
        let count = self.threads.len();
        for thread in self.threads {
            if let Err(error) = thread.join() {
                self.stop.fail(error.to_string());
            }
        }
        match self.stop.failure() {
            Some(why) => Ending::Failed(why),
            None => {
                let clean = self.stop.take_clean();
                let is_clean = clean.len() == count;
                if is_clean { Ending::Clean(clean.into_iter().collect()) } else { Ending::Hasty }
            }
        }
    }
}
