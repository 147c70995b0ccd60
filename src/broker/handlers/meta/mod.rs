//! The metadata families: topics, groups, clients, locks, configuration, registration; and the tables behind them.
//!
//! `Meta` is what every shard has: snapshots of groups and subscriptions. `Home` is on the metadata shard only, which
//! alone changes anything; a change reaches the other shards by mail before its request is answered.

pub mod admin;
pub mod ask_client;
pub mod change;
pub mod clean;
pub mod disk;
pub mod dump;
pub mod gather;
pub mod group;
pub mod lock;
pub mod relay;
pub(crate) mod reply;
pub mod reset;
pub mod runtime;
pub mod session;
pub mod stats;
pub(crate) mod times;
pub mod topic;
pub(crate) mod topic_rules;
pub mod upkeep;

use crate::app::{Broker, Host};
use crate::bit_maps::BitMaps;
use crate::clients::Clients;
use crate::filter_table::{FilterFile, FilterTable};
use crate::groups::{Groups, default_group};
use crate::handlers::{Home as Where, Outcome, Request, Row, entries, row};
use crate::locks::Locks;
use crate::mail::ScatterId;
use crate::refusal::Refusal;
use crate::register::Register;
use crate::scatter::Then;
use crate::settings::Settings;
pub use crate::subscriptions::Subscription;
use crate::subscriptions::{GroupSubscriptions, Subscriptions};
use crate::tables::{OffsetTable, TableFile, Writes};
use base::config::Config;
use base::ids::ShardId;
use base::time::{MonoNs, Now};
use base::wheel::TimerId;
use change::Change;
use gather::{Answer, Gathers, Question};
use shard::store_dir::Recovered;
use shard::{Cx, Goodbye};
use std::path::PathBuf;
use std::sync::Arc;
use topic_rules::SystemTopics;
use wire::body::broker::{DelayOffsetWrapper, SubscriptionGroupConfig};
use wire::body::register::TopicConfig;
use wire::body::{DataVersion, Table as BodyTable};
use wire::codes::{request, response};
use wire::reply::FrameWriter;

/// What was read from the store's `config/` directory, and the configuration itself.
#[derive(Default)]
pub struct MetaBoot {
    /// Topics, the built-in ones included.
    pub topics: Vec<Arc<TopicConfig>>,
    /// Version of the topics.
    pub topics_version: DataVersion,
    /// Groups, the preset ones included.
    pub groups: Vec<Arc<SubscriptionGroupConfig>>,
    /// Version of the groups.
    pub groups_version: DataVersion,
    /// Topics that groups may not read; kept, not obeyed.
    pub forbidden: BodyTable<BodyTable<i32>>,
    /// Version of the consumer offsets.
    pub offsets_version: DataVersion,
    /// How far each delay level is.
    pub delays: DelayOffsetWrapper,
    /// What groups want by expressions.
    pub filters: FilterFile,
    /// Where the tables are written; empty: nowhere.
    pub config_dir: PathBuf,
    /// All values by key, for requests that ask for them or change them.
    pub table: Option<Config>,
    /// The file that a change by request goes to.
    pub config_file: Option<PathBuf>,
    /// How long the store took to open, ms, and what was read of its log.
    pub recovery: (u64, Recovered),
}

/// Mail of the metadata families.
pub enum MetaMail {
    /// From the metadata shard: take this, and send a receipt.
    Change {
        /// What is different now.
        change: Change,
        /// Receipt wanted.
        scatter: ScatterId,
    },
    /// To the metadata shard: a group is used for the first time.
    WantGroup(Box<[u8]>),
    /// From the metadata shard: something it gathers from all.
    Ask {
        /// Comes back with the answer.
        ticket: u64,
        /// What it wants to know.
        question: Question,
    },
    /// To the owner of a queue: where is a group to go on?
    Seek(reset::SeekMail),
    /// To the metadata shard: there.
    Sought(reset::Sought),
    /// To the metadata shard: a message that a consumer is to consume, `None` when it is not there.
    Consume {
        /// Who wants it.
        wish: ask_client::ConsumeWish,
        /// The record; the error says why it could not be read.
        record: Result<Option<Vec<u8>>, String>,
    },
    /// A shard's part.
    Answer {
        /// Of the question.
        ticket: u64,
        /// What is here.
        answer: Answer,
    },
}

/// State of the metadata families on one shard.
pub struct Meta {
    pub(crate) groups: Groups,
    pub(crate) subscriptions: Subscriptions,
    auto_create_group: bool,
    home: Option<Box<Home>>,
}

/// State of the metadata shard.
pub(crate) struct Home {
    pub(crate) system: SystemTopics,
    pub(crate) topics_version: DataVersion,
    pub(crate) groups_version: DataVersion,
    pub(crate) forbidden: BodyTable<BodyTable<i32>>,
    pub(crate) clients: Clients,
    pub(crate) locks: Locks,
    pub(crate) offsets: OffsetTable,
    pub(crate) filters: FilterTable,
    pub(crate) delays: DelayOffsetWrapper,
    pub(crate) writes: Writes,
    /// What follows once tables are in their files.
    pub(crate) waiting: Vec<(Vec<(TableFile, u64)>, Then)>,
    pub(crate) register: Register,
    pub(crate) gathers: Gathers,
    pub(crate) relays: relay::Relays,
    pub(crate) surveys: ask_client::Surveys,
    pub(crate) resets: reset::Resets,
    pub(crate) disk: disk::Disk,
    pub(crate) table: Option<Config>,
    pub(crate) config_version: DataVersion,
    pub(crate) config_dir: PathBuf,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) began: Now,
    /// How long the store took to open, ms, and what was read of its log.
    pub(crate) recovery: (u64, Recovered),
    /// Numbers requests of the broker to clients.
    opaque: i32,
    pub(crate) timer: Option<(MonoNs, TimerId)>,
    /// The process is stopping.
    pub(crate) stop: Option<upkeep::Stop>,
    /// Shards that have sent their last offsets.
    pub(crate) last_offsets: usize,
    pub(crate) may_stop: bool,
}

impl Meta {
    pub(crate) fn new(settings: &Settings, me: ShardId, boot: &MetaBoot) -> Meta {
        let mut groups = Groups::default();
        for group in &boot.groups {
            groups.set(Arc::clone(group));
        }
        Meta {
            groups,
            subscriptions: Subscriptions::default(),
            auto_create_group: settings.config.auto_create_subscription_group,
            home: (me == ShardId::META).then(|| Box::new(Home::new(settings, boot))),
        }
    }

    /// An offset of the store's table, when there is a home for it.
    pub(crate) fn load_offset(&mut self, key: &Arc<[u8]>, queue: i32, offset: i64) {
        if let Some(home) = &mut self.home {
            home.offsets.set(Arc::clone(key), queue, offset);
        }
    }

    /// Whether the group has live members.
    pub(crate) fn has_consumers(&self, group: &[u8]) -> bool {
        self.subscriptions.has_group(group)
    }

    /// All subscriptions of a group.
    pub(crate) fn subscriptions_of(&self, group: &[u8]) -> Option<&Arc<GroupSubscriptions>> {
        self.subscriptions.group(group)
    }

    /// A group's subscription to a topic.
    pub(crate) fn subscription(&self, group: &[u8], topic: &[u8]) -> Option<&Subscription> {
        self.subscriptions.get(group, topic)
    }

    /// A group, or what it will be: one that is used for the first time is made if the rules allow it.
    pub(crate) fn group(&self, name: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.groups.may_consume(name.as_bytes(), self.auto_create_group)?;
        let known = self.groups.get(name.as_bytes()).map(Arc::clone);
        Some(known.unwrap_or_else(|| Arc::new(default_group(name))))
    }

    /// Whether a group may consume: `None` when it does not exist (and cannot be created on first use).
    pub(crate) fn group_may_consume(&self, group: &[u8]) -> Option<bool> {
        self.groups.may_consume(group, self.auto_create_group)
    }

    /// Whether a shard has nothing left to do; the one at home waits for those of the others, for a while.
    pub(crate) fn may_stop(&self, owes_offsets: bool) -> bool {
        self.home.as_ref().map_or(!owes_offsets, |home| home.may_stop)
    }

    /// The goodbyes, for people.
    pub(crate) fn goodbyes(&self) -> Vec<Goodbye> {
        let stop = self.home.as_ref().and_then(|home| home.stop.as_ref());
        stop.map(upkeep::Stop::goodbyes).unwrap_or_default()
    }

    /// Whether the process may say that it is ready: the first registration was answered or given up, or 1 s passed.
    pub(crate) fn boot_ready(&self) -> bool {
        self.home.as_ref().is_none_or(|home| home.register.is_ready())
    }

    /// What only the metadata shard has.
    pub(crate) fn home(&mut self) -> &mut Home {
        self.home.as_mut().expect("metadata requests run on the metadata shard")
    }

    pub(crate) fn take_settings(&mut self, settings: &Settings) {
        self.auto_create_group = settings.config.auto_create_subscription_group;
    }
}

/// What each shard knows of the table of filters at the start.
pub(crate) fn bit_maps(settings: &Settings, boot: &MetaBoot) -> BitMaps {
    if !settings.config.filter_data.calculate_bit_maps {
        return BitMaps::default();
    }
    let table = FilterTable::new(boot.filters.clone(), settings.bloom);
    BitMaps::new(settings.bloom.map_bytes(), table.all())
}

fn filters(settings: &Settings, boot: &MetaBoot) -> FilterTable {
    let mut table = FilterTable::new(boot.filters.clone(), settings.bloom);
    if settings.config.filter_data.calculate_bit_maps {
        table.note_changes();
    }
    table
}

impl Home {
    fn new(settings: &Settings, boot: &MetaBoot) -> Home {
        Home {
            system: SystemTopics::new(settings),
            topics_version: boot.topics_version,
            groups_version: boot.groups_version,
            forbidden: boot.forbidden.clone(),
            clients: Clients::default(),
            locks: Locks::default(),
            offsets: OffsetTable::new(boot.offsets_version),
            filters: filters(settings, boot),
            delays: boot.delays.clone(),
            writes: Writes::default(),
            waiting: Vec::new(),
            register: Register::new(&settings.config.namesrv_addr, upkeep::pace(settings)),
            gathers: Gathers::default(),
            relays: relay::Relays::default(),
            surveys: ask_client::Surveys::default(),
            resets: reset::Resets::default(),
            disk: disk::Disk::default(),
            table: boot.table.clone(),
            config_version: DataVersion::default(),
            config_dir: boot.config_dir.clone(),
            config_file: boot.config_file.clone(),
            began: Now::default(),
            recovery: boot.recovery,
            opaque: 0,
            timer: None,
            stop: None,
            last_offsets: 0,
            may_stop: false,
        }
    }

    /// Number of the next request to a client.
    pub(crate) fn next_opaque(&mut self) -> i32 {
        self.opaque = self.opaque.wrapping_add(1);
        self.opaque
    }
}

pub(crate) struct Table<H>(std::marker::PhantomData<H>);

impl<H: Host> Table<H> {
    pub(crate) const ROWS: &'static [Row<H>] = &[
        row(request::HEART_BEAT, Where::Meta, session::on_heartbeat),
        row(request::UNREGISTER_CLIENT, Where::Meta, session::on_unregister),
        row(request::GET_CONSUMER_LIST_BY_GROUP, Where::Meta, session::on_consumer_list),
        row(request::CHECK_CLIENT_CONFIG, Where::Any, session::on_check_client),
        row(request::LOCK_BATCH_MQ, Where::Meta, lock::on_lock),
        row(request::UNLOCK_BATCH_MQ, Where::Meta, lock::on_unlock),
        row(request::GET_CONSUMER_CONNECTION_LIST, Where::Meta, session::on_consumer_connections),
        row(request::GET_PRODUCER_CONNECTION_LIST, Where::Meta, session::on_producer_connections),
        row(request::UPDATE_AND_CREATE_TOPIC, Where::Meta, topic::on_create),
        row(request::UPDATE_AND_CREATE_TOPIC_LIST, Where::Meta, topic::on_create_list),
        row(request::DELETE_TOPIC_IN_BROKER, Where::Meta, topic::on_delete),
        row(request::GET_ALL_TOPIC_CONFIG, Where::Meta, topic::on_list),
        row(request::GET_TOPIC_CONFIG, Where::Meta, topic::on_get),
        row(request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, Where::Meta, topic::on_system_list),
        row(request::QUERY_TOPIC_CONSUME_BY_WHO, Where::Meta, topic::on_consumed_by),
        row(request::GET_TOPIC_STATS_INFO, Where::Meta, gather::on_topic_stats),
        row(request::GET_CONSUME_STATS, Where::Meta, stats::on_consume_stats),
        row(request::GET_BROKER_CONSUME_STATS, Where::Meta, dump::on_broker_stats),
        row(request::QUERY_CONSUME_TIME_SPAN, Where::Meta, stats::on_time_span),
        row(request::VIEW_BROKER_STATS_DATA, Where::Meta, stats::on_view_stats),
        row(request::GET_ALL_CONSUMER_OFFSET, Where::Meta, dump::on_all_offsets),
        row(request::GET_ALL_DELAY_OFFSET, Where::Meta, dump::on_all_delays),
        row(request::QUERY_TOPICS_BY_CONSUMER, Where::Meta, dump::on_topics_of_group),
        row(request::QUERY_CONSUME_QUEUE, Where::Meta, entries::on_query),
        row(request::QUERY_SUBSCRIPTION_BY_CONSUMER, Where::Meta, dump::on_subscription),
        row(request::GET_ALL_PRODUCER_INFO, Where::Meta, dump::on_producers),
        row(request::CLONE_GROUP_OFFSET, Where::Meta, dump::on_clone),
        row(request::QUERY_CORRECTION_OFFSET, Where::Meta, dump::on_correction),
        row(request::INVOKE_BROKER_TO_RESET_OFFSET, Where::Meta, reset::on_reset),
        row(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, Where::Meta, ask_client::on_status),
        row(request::GET_CONSUMER_RUNNING_INFO, Where::Meta, ask_client::on_running_info),
        row(request::CONSUME_MESSAGE_DIRECTLY, Where::Any, ask_client::on_consume),
        row(request::SEND_REPLY_MESSAGE_V2, Where::Meta, reply::on_reply),
        row(request::SEND_REPLY_MESSAGE, Where::Meta, reply::on_reply),
        row(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, Where::Meta, group::on_create),
        row(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, Where::Meta, group::on_create_list),
        row(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, Where::Meta, group::on_list),
        row(request::DELETE_SUBSCRIPTIONGROUP, Where::Meta, group::on_delete),
        row(request::GET_SUBSCRIPTIONGROUP_CONFIG, Where::Meta, group::on_get),
        row(request::UPDATE_BROKER_CONFIG, Where::Meta, admin::on_update_config),
        row(request::GET_BROKER_CONFIG, Where::Meta, admin::on_get_config),
        row(request::DELETE_EXPIRED_COMMITLOG, Where::Meta, clean::on_clean_log),
        row(request::CLEAN_EXPIRED_CONSUMEQUEUE, Where::Meta, clean::on_clean_queues),
        row(request::CLEAN_UNUSED_TOPIC, Where::Meta, clean::on_clean_topics),
        row(request::GET_BROKER_RUNTIME_INFO, Where::Meta, runtime::on_runtime_info),
    ];
}

pub(crate) use upkeep::{
    on_connected, on_leave, on_offsets, on_own_conn_closed, on_resolved, on_response, on_stop,
    on_table_written, on_timer, start,
};

/// A handler's result as the dispatcher wants it.
fn concluded(result: Result<Outcome, Refusal>) -> Outcome {
    result.unwrap_or_else(Outcome::from)
}

/// A body that cannot be read is answered as Java answers its exceptions.
fn unreadable(error: &wire::BodyError) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, error.to_string())
}

/// The frames of a successful answer, for later; empty for a oneway request.
fn success_bytes(request: &Request<'_>, fields: impl FnOnce(&mut FrameWriter<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !request.header.is_oneway() {
        let mut writer = FrameWriter::begin(&mut bytes, request.head(response::SUCCESS));
        fields(&mut writer);
        writer.finish();
    }
    bytes
}

/// After each frame: groups that were used for the first time are asked for.
pub(crate) fn after_frame<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    if !broker.meta.groups.has_wanted() {
        return;
    }
    for group in broker.meta.groups.take_wanted() {
        cx.mail(ShardId::META, crate::mail::BrokerMail::Meta(MetaMail::WantGroup(group)));
    }
}

pub(crate) fn on_mail<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    from: ShardId,
    mail: MetaMail,
) {
    match mail {
        MetaMail::Change { change, scatter } => {
            change::apply(broker, cx, change);
            cx.mail(from, crate::mail::BrokerMail::Receipt(scatter));
        }
        MetaMail::WantGroup(name) => group::on_wanted(broker, cx, &name),
        MetaMail::Ask { ticket, question } => {
            gather::on_ask(broker, cx, from, ticket, &question);
        }
        MetaMail::Seek(seek) => reset::on_seek(broker, cx, &seek),
        MetaMail::Sought(sought) => reset::on_sought(broker, cx, sought),
        MetaMail::Consume { wish, record } => {
            ask_client::on_consume_mail(broker, cx, &wish, record);
        }
        MetaMail::Answer { ticket, answer } => gather::on_answer(broker, cx, ticket, answer),
    }
}
