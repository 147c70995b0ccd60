//! Deleting what nobody needs, by request: 329, 306, 316. And the files of deleted topics. Java: AdminBrokerProcessor,
//! DefaultMessageStore.
//!
//! Unlike Java, 316 also drops the consumer offsets of the topics that do not exist.
//!
//! Each is answered when every shard has taken it; files go afterwards, in the background. The deletion of a topic is
//! answered when it is noted and the files are gone. Unlike Java, 306 keeps queues that are in use and have expired as a
//! whole: made anew, their offsets would begin at 0, and consumers that stand further on would leave messages out.

use crate::app::{Broker, Host};
use crate::handlers::meta::change::{Change, publish};
use crate::handlers::meta::success_bytes;
use crate::handlers::meta::topic_rules::SystemTopics;
use crate::handlers::{Outcome, Request};
use crate::mail::BrokerDone;
use crate::scatter::Then;
use crate::topics::TopicTable;
use shard::Cx;
use shard::queue_files::queue_dir;
use shard::store_dir::deleted::{self, Deletion};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use store::consume_queue::ConsumeQueue;
use store::queues::{QUEUE_ID_MAX, QueueNo, stream_of};
use wire::ids::{QueueId, StreamId};

/// Rounds in which old segments are deleted at any hour once an operator has asked (Java's MAX_MANUAL_DELETE_FILE_TIMES).
const MANUAL_ROUNDS: u32 = 20;
/// Queues of such topics are no topic's own, but parts of others'.
const LMQ_PREFIX: &[u8] = b"%LMQ%";

/// Why some shard could not note a topic's deletion: set by the shard's background job, read by that of the answer.
pub(crate) type NotNoted = Arc<OnceLock<String>>;

/// What is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clean {
    /// Segments whose time has come, at any hour.
    Log,
    /// Queue files below the log's start, and queues that nobody can use and that have no messages.
    ExpiredQueues,
    /// The queues of topics that do not exist.
    UnusedTopics,
}

/// 329.
pub(crate) fn on_clean_log<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    start(broker, cx, request, Clean::Log)
}

/// 306.
pub(crate) fn on_clean_queues<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    start(broker, cx, request, Clean::ExpiredQueues)
}

/// 316.
pub(crate) fn on_clean_topics<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    start(broker, cx, request, Clean::UnusedTopics)
}

fn start<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    what: Clean,
) -> Outcome {
    tracing::info!("{what:?}: cleaning was asked for by {}", request.peer.address);
    let then = Then::Reply { conn: request.conn, bytes: success_bytes(request, |_| {}) };
    publish(broker, cx, vec![Change::Clean(what)], then);
    Outcome::Done
}

/// Carries it out on this shard.
pub(crate) fn apply<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, what: Clean) {
    match what {
        Clean::Log => cx.store().clean_now(MANUAL_ROUNDS),
        Clean::ExpiredQueues => {
            cx.store().trim_all();
            let system = SystemTopics::new(&broker.settings);
            let is_left = |queue: &ConsumeQueue| {
                queue.min() == queue.next()
                    && queue.next() > 0
                    && !is_in_use(broker, &system, queue)
            };
            let gone = chosen(cx, is_left);
            remove_files(broker, cx, &gone, (Vec::new(), NotNoted::default()));
            let numbers: Vec<QueueNo> = gone.iter().map(|(no, ..)| *no).collect();
            cx.store().remove_queues(&numbers);
            for (_, topic, id, _) in &gone {
                if let Some(topic) = broker.topics.get_mut(topic) {
                    topic.forget_queue(*id);
                }
            }
            broker.cold.forget_entries();
            sweep(broker, cx);
        }
        Clean::UnusedTopics => {
            let system = SystemTopics::new(&broker.settings);
            let all = cx.store().queues().iter();
            let mut unused: BTreeSet<Arc<[u8]>> = BTreeSet::new();
            for (_, queue) in all.filter(|(_, queue)| queue.next() > 0) {
                if !is_kept(broker, &system, &queue.topic) {
                    unused.insert(Arc::clone(&queue.topic));
                }
            }
            for topic in unused {
                tracing::info!(
                    "topic {}: is unknown, its queues go",
                    String::from_utf8_lossy(&topic)
                );
                remove_topic(broker, cx, &topic, NotNoted::default());
            }
            // Made anew, a topic begins at 0: what groups had read of the old one means nothing there.
            let Broker { offsets, topics, .. } = broker;
            offsets.retain_topics(|topic| is_known_or_kept(topics, &system, topic));
            sweep(broker, cx);
        }
    }
}

/// Whether the queues of a topic stay whether or not somebody made it.
fn is_kept(broker: &Broker, system: &SystemTopics, topic: &[u8]) -> bool {
    is_known_or_kept(&broker.topics, system, topic)
}

/// As `is_kept`.
pub(crate) fn is_known_or_kept(topics: &TopicTable, system: &SystemTopics, topic: &[u8]) -> bool {
    topics.get(topic).is_some()
        || topic.starts_with(LMQ_PREFIX)
        || std::str::from_utf8(topic).is_ok_and(|name| system.contains(name))
}

/// Whether somebody can send to the queue or read from it. The broker itself may use more queues of a system topic than the table
/// says: one for each delay level.
fn is_in_use(broker: &Broker, system: &SystemTopics, queue: &ConsumeQueue) -> bool {
    if std::str::from_utf8(&queue.topic).is_ok_and(|name| system.contains(name)) {
        return true;
    }
    match broker.topics.get(&queue.topic) {
        Some(topic) => queue.id.0 < topic.config.write_queue_nums.max(topic.config.read_queue_nums),
        None => is_kept(broker, system, &queue.topic),
    }
}

type Chosen = (QueueNo, Arc<[u8]>, QueueId, StreamId);

fn chosen<H: Host>(cx: &mut Cx<'_, H>, is_one: impl Fn(&ConsumeQueue) -> bool) -> Vec<Chosen> {
    let all = cx.store().queues().iter().filter(|(_, queue)| is_one(queue));
    all.map(|(no, queue)| (no, Arc::clone(&queue.topic), queue.id, queue.stream)).collect()
}

/// Drops this shard's queues of a topic that does not exist any more, with their files.
pub(crate) fn remove_topic<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    topic: &[u8],
    not_noted: NotNoted,
) {
    let gone = chosen(cx, |queue| *queue.topic == *topic);
    let streams: BTreeSet<u16> = gone.iter().map(|(.., stream)| stream.0).collect();
    let note = |stream| {
        let end = cx.store().stream(StreamId(stream)).appended();
        Deletion { topic: topic.to_vec(), stream: StreamId(stream), end }
    };
    let notes = streams.into_iter().map(note).collect();
    remove_files(broker, cx, &gone, (notes, not_noted));
    broker.cold.forget_entries();
    cx.store().remove_topic(topic);
}

/// Notes deletions and removes the files of queues, in the background, behind the writes that are under way.
///
/// Only of this shard's queues: another one may have made the topic anew by then. Called before they are forgotten.
fn remove_files<H: Host>(
    broker: &Broker,
    cx: &mut Cx<'_, H>,
    queues: &[Chosen],
    (notes, not_noted): (Vec<Deletion>, NotNoted),
) {
    if queues.is_empty() {
        return;
    }
    let root = broker.settings.config.store_path_root_dir.clone();
    let list: Vec<(Arc<[u8]>, QueueId)> =
        queues.iter().map(|(_, topic, id, _)| (Arc::clone(topic), *id)).collect();
    let is_alone = broker.shards == 1;
    let starts: Vec<(StreamId, u64)> =
        cx.store().streams().map(|stream| (stream.id(), stream.start())).collect();
    cx.job(Box::new(move || {
        if !notes.is_empty()
            && let Err(error) = deleted::note_in_turn(&root, &notes, &starts)
        {
            let file = root.join(deleted::FILE_NAME);
            tracing::error!("{}: noting deleted topics: {error}", file.display());
            // One reason is enough for the answer.
            let _ = not_noted.set(format!("{}: {error}", file.display()));
        }
        for (topic, id) in list {
            remove_queue(&root, &topic, id, is_alone);
        }
        H::done(BrokerDone::Nothing)
    }));
}

/// Directories of queue files: the queues', and of Java's extended entries.
fn queue_roots(root: &Path) -> [PathBuf; 2] {
    [root.join("consumequeue"), root.join("consumequeue_ext")]
}

fn remove_queue(root: &Path, topic: &[u8], id: QueueId, is_alone: bool) {
    for queues in queue_roots(root) {
        let removed = queue_dir(&queues, topic, id).and_then(|dir| {
            std::fs::remove_dir_all(&dir)?;
            if is_alone && let Some(of_topic) = dir.parent() {
                // The last queue takes it along. With several shards another one may be about to make a queue in it; empty
                // it does no harm.
                let _ = std::fs::remove_dir(of_topic);
            }
            Ok(())
        });
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let topic = String::from_utf8_lossy(topic);
                tracing::error!("topic {topic}: files of queue {}: {error}", id.0);
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Removes queue files of this shard's streams that belong to no queue: a deleted topic's that could not be removed before.
fn sweep<H: Host>(broker: &Broker, cx: &mut Cx<'_, H>) {
    let store = cx.store();
    let mine: HashSet<u16> = store.streams().map(|stream| stream.id().0).collect();
    let mut live: BTreeMap<Arc<[u8]>, HashSet<i32>> = BTreeMap::new();
    for (_, queue) in store.queues().iter().filter(|(_, queue)| queue.next() > 0) {
        live.entry(Arc::clone(&queue.topic)).or_default().insert(queue.id.0);
    }
    let root = broker.settings.config.store_path_root_dir.clone();
    let (streams, is_alone) = (broker.settings.streams, broker.shards == 1);
    // A queue that begins now writes its first file behind this job.
    cx.job(Box::new(move || {
        let is_live = |topic: &[u8], id: QueueId| {
            live.get(topic).is_some_and(|queues| queues.contains(&id.0))
                || !mine.contains(&stream_of(topic, id, streams).0)
        };
        for (topic, id) in on_disk(&root).into_iter().filter(|(t, id)| !is_live(t, *id)) {
            tracing::info!(
                "topic {}: files of no queue ({})",
                String::from_utf8_lossy(&topic),
                id.0
            );
            remove_queue(&root, &topic, id, is_alone);
        }
        H::done(BrokerDone::Nothing)
    }));
}

/// Queues that have a directory. What cannot be listed is left alone.
fn on_disk(root: &Path) -> BTreeSet<(Vec<u8>, QueueId)> {
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let mut found = BTreeSet::new();
    for queues in queue_roots(root) {
        for topic in names(&queues) {
            for queue in names(&queues.join(&topic)) {
                if let Some(id) = queue.parse().ok().filter(|id| (0..=QUEUE_ID_MAX).contains(id)) {
                    found.insert((topic.clone().into_bytes(), QueueId(id)));
                }
            }
        }
    }
    found
}
