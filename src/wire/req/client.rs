//! What clients and tools ask a broker: pull, offsets, groups, topics. The structs have their Java names.

use crate::reply::FrameWriter;
use crate::req::Slot;
use crate::text::Text;

/// Which end of a run of equal time stamps a search returns. Java: `BoundaryType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BoundaryType {
    /// The first offset at or after the time.
    Lower,
    /// The last offset at or before the time.
    Upper,
}

impl Slot<'_> for BoundaryType {
    fn absent() -> Option<Self> {
        None
    }

    /// Java takes the name in any case and reads everything else as LOWER.
    fn read(text: Text<'_>) -> Result<Self, &'static str> {
        let is_upper = text.to_cow().eq_ignore_ascii_case("upper");
        Ok(if is_upper { BoundaryType::Upper } else { BoundaryType::Lower })
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        let name: &[u8] = match self {
            BoundaryType::Lower => b"LOWER",
            BoundaryType::Upper => b"UPPER",
        };
        writer.field_str(key, name);
    }
}

headers! {
    /// Codes 11 and 361.
    PullMessageRequestHeader<'a> {
        /// Consumer group.
        consumer_group: Text<'a> => b"consumerGroup";
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Queue.
        queue_id: i32 => b"queueId";
        /// First index wanted.
        queue_offset: i64 => b"queueOffset";
        /// Most messages wanted.
        max_msg_nums: i32 => b"maxMsgNums";
        /// Pull bits, see `sys_flag`.
        sys_flag: i32 => b"sysFlag";
        /// Offset to store; only valid with the commit bit.
        commit_offset: i64 = 0 => b"commitOffset";
        /// How long the broker may hold the request, in milliseconds.
        suspend_timeout_millis: i64 = 0 => b"suspendTimeoutMillis";
        /// Subscription expression; only valid with the subscription bit.
        subscription: Option<Text<'a>> => b"subscription";
        /// Version of the subscription the client has.
        sub_version: i64 = 0 => b"subVersion";
        /// TAG when absent, or SQL92.
        expression_type: Option<Text<'a>> => b"expressionType";
        /// Most bytes wanted (5.x).
        max_msg_bytes: Option<i32> => b"maxMsgBytes";
        /// Who asks: -1 a client, others a proxy (5.x).
        request_source: Option<i32> => b"requestSource";
        /// Client behind a proxy (5.x); the spelling is Java's.
        proxy_forward_client_id: Option<Text<'a>> => b"proxyFrowardClientId";
        /// Broker name as the client knows it.
        broker_name: Option<Text<'a>> => b"bname";
    }

    /// Answer to a pull, with every code. Fields are in the order of Java's hash map.
    PullMessageResponseHeader {
        /// Broker id to pull from next.
        suggest_which_broker_id: i64 => b"suggestWhichBrokerId";
        /// System flag of the group (5.x).
        group_sys_flag: Option<i32> => b"groupSysFlag";
        /// Index to continue from.
        next_begin_offset: i64 => b"nextBeginOffset";
        /// End of the queue: one past its last index.
        max_offset: i64 => b"maxOffset";
        /// First index of the queue.
        min_offset: i64 => b"minOffset";
        /// System flag of the topic (5.x).
        topic_sys_flag: Option<i32> => b"topicSysFlag";
        /// What forbade the pull (5.x).
        forbidden_type: Option<i32> => b"forbiddenType";
        /// Added by the client to message offsets of static topics (5.x).
        offset_delta: Option<i64> => b"offsetDelta";
    }

    /// Code 14.
    QueryConsumerOffsetRequestHeader<'a> {
        /// Consumer group.
        consumer_group: Text<'a> => b"consumerGroup";
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Queue.
        queue_id: i32 => b"queueId";
        /// False: an absent offset is an error even for a new topic (5.x).
        set_zero_if_not_found: Option<bool> => b"setZeroIfNotFound";
    }

    /// Code 15.
    UpdateConsumerOffsetRequestHeader<'a> {
        /// Consumer group.
        consumer_group: Text<'a> => b"consumerGroup";
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Queue.
        queue_id: i32 => b"queueId";
        /// Next index to consume.
        commit_offset: i64 => b"commitOffset";
    }

    /// Code 12.
    QueryMessageRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Key, unique key or tag.
        key: Text<'a> => b"key";
        /// Most messages wanted.
        max_num: i32 => b"maxNum";
        /// Earliest store time, ms.
        begin_timestamp: i64 => b"beginTimestamp";
        /// Latest store time, ms.
        end_timestamp: i64 => b"endTimestamp";
        /// `true`: the key is a unique key. Not in Java's class, but among its fields.
        unique_key_query: Option<Text<'a>> => b"_UNIQUE_KEY_QUERY";
        /// K for a key, U for a unique key, T for a tag (5.5).
        index_type: Option<Text<'a>> => b"indexType";
    }

    /// Answer to 12. Fields are in the order of Java's hash map.
    QueryMessageResponseHeader {
        /// Physical offset of the newest record in the index.
        index_last_update_phyoffset: i64 => b"indexLastUpdatePhyoffset";
        /// Its store time, ms.
        index_last_update_timestamp: i64 => b"indexLastUpdateTimestamp";
    }

    /// Code 36.
    ConsumerSendMsgBackRequestHeader<'a> {
        /// Physical offset of the message.
        offset: i64 => b"offset";
        /// Consumer group.
        group: Text<'a> => b"group";
        /// Delay level; 0 lets the broker choose, a negative one means the dead letter queue.
        delay_level: i32 => b"delayLevel";
        /// Offset id of the message.
        origin_msg_id: Option<Text<'a>> => b"originMsgId";
        /// Its topic.
        origin_topic: Option<Text<'a>> => b"originTopic";
        /// Unit mode.
        unit_mode: bool = false => b"unitMode";
        /// Tries until the dead letter queue; the group's when absent.
        max_reconsume_times: Option<i32> => b"maxReconsumeTimes";
        /// Broker name as the client knows it.
        broker_name: Option<Text<'a>> => b"bname";
    }

    /// Code 370.
    RecallMessageRequestHeader<'a> {
        /// Producer group.
        producer_group: Option<Text<'a>> => b"producerGroup";
        /// Topic of the message.
        topic: Text<'a> => b"topic";
        /// What the answer to the send named.
        recall_handle: Text<'a> => b"recallHandle";
        /// Broker name as the client knows it.
        broker_name: Option<Text<'a>> => b"bname";
    }

    /// Code 37.
    EndTransactionRequestHeader<'a> {
        /// Producer group.
        producer_group: Text<'a> => b"producerGroup";
        /// Index of the half message in its queue.
        tran_state_table_offset: i64 => b"tranStateTableOffset";
        /// Physical offset of the half message.
        commit_log_offset: i64 => b"commitLogOffset";
        /// 0 unknown, 8 commit, 12 rollback.
        commit_or_rollback: i32 => b"commitOrRollback";
        /// The broker has asked for it.
        from_transaction_check: bool = false => b"fromTransactionCheck";
        /// Unique key of the message.
        msg_id: Option<Text<'a>> => b"msgId";
        /// Transaction id, which is the unique key.
        transaction_id: Option<Text<'a>> => b"transactionId";
    }

    /// Code 39, sent by the broker.
    CheckTransactionStateRequestHeader<'a> {
        /// Topic of half messages (5.x).
        topic: Option<Text<'a>> => b"topic";
        /// Index of the half message in its queue.
        tran_state_table_offset: i64 => b"tranStateTableOffset";
        /// Physical offset of the half message.
        commit_log_offset: i64 => b"commitLogOffset";
        /// Unique key of the message.
        msg_id: Option<Text<'a>> => b"msgId";
        /// Transaction id, which is the unique key.
        transaction_id: Option<Text<'a>> => b"transactionId";
        /// `offsetMsgId` of the half message.
        offset_msg_id: Option<Text<'a>> => b"offsetMsgId";
        /// Broker name (5.x).
        broker_name: Option<Text<'a>> => b"bname";
    }

    /// Code 323.
    ResumeCheckHalfMessageRequestHeader<'a> {
        /// `offsetMsgId` of the message that was given up.
        msg_id: Text<'a> => b"msgId";
    }

    /// Code 33.
    ViewMessageRequestHeader {
        /// Physical offset of the message.
        offset: i64 => b"offset";
    }

    /// Code 29.
    SearchOffsetRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Queue.
        queue_id: i32 => b"queueId";
        /// Store time in milliseconds since 1970.
        timestamp: i64 => b"timestamp";
        /// Which end (5.x); LOWER when absent.
        boundary_type: Option<BoundaryType> => b"boundaryType";
    }

    /// Code 30.
    GetMaxOffsetRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Queue.
        queue_id: i32 => b"queueId";
        /// Only what is committed (5.x).
        committed: bool = true => b"committed";
    }

    /// Code 31.
    GetMinOffsetRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Queue.
        queue_id: i32 => b"queueId";
    }

    /// Code 32.
    GetEarliestMsgStoretimeRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Queue.
        queue_id: i32 => b"queueId";
    }

    /// Answer to codes 14, 29, 30 and 31: Java has a class of this shape for each.
    OffsetResponseHeader {
        /// The offset.
        offset: i64 => b"offset";
    }

    /// Answer to code 32.
    GetEarliestMsgStoretimeResponseHeader {
        /// Milliseconds since 1970, or -1.
        timestamp: i64 => b"timestamp";
    }

    /// Code 208.
    GetConsumeStatsRequestHeader<'a> {
        /// Consumer group.
        consumer_group: Text<'a> => b"consumerGroup";
        /// Topic; all of the group when absent or empty.
        topic: Option<Text<'a>> => b"topic";
    }

    /// Code 35.
    UnregisterClientRequestHeader<'a> {
        /// Client id.
        client_id: Text<'a> => b"clientID";
        /// Producer group to leave.
        producer_group: Option<Text<'a>> => b"producerGroup";
        /// Consumer group to leave.
        consumer_group: Option<Text<'a>> => b"consumerGroup";
    }

    /// Code 38.
    GetConsumerListByGroupRequestHeader<'a> {
        /// Consumer group.
        consumer_group: Text<'a> => b"consumerGroup";
    }

    /// Code 40, sent by the broker.
    NotifyConsumerIdsChangedRequestHeader<'a> {
        /// Consumer group.
        consumer_group: Text<'a> => b"consumerGroup";
    }

    /// Code 17.
    CreateTopicRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Unused by brokers.
        default_topic: Option<Text<'a>> => b"defaultTopic";
        /// Queues to read.
        read_queue_nums: i32 => b"readQueueNums";
        /// Queues to write.
        write_queue_nums: i32 => b"writeQueueNums";
        /// Permission bits: 4 read, 2 write, 1 inherit.
        perm: i32 => b"perm";
        /// SINGLE_TAG or MULTI_TAG.
        topic_filter_type: Option<Text<'a>> => b"topicFilterType";
        /// Unit bits.
        topic_sys_flag: Option<i32> => b"topicSysFlag";
        /// Order topic.
        order: bool = false => b"order";
        /// `+key=value,-key` (5.x).
        attributes: Option<Text<'a>> => b"attributes";
        /// Skip checks (5.x).
        force: Option<bool> => b"force";
    }

    /// Code 215.
    DeleteTopicRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
    }

    /// Code 202.
    GetTopicStatsInfoRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
    }

    /// Code 351 (5.x).
    GetTopicConfigRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Asks for the logical topic.
        lo: Option<bool> => b"lo";
    }

    /// Code 352 (5.x).
    GetSubscriptionGroupConfigRequestHeader<'a> {
        /// Consumer group.
        group: Text<'a> => b"group";
    }

    /// Code 207. The two lines name the same wish differently; either counts.
    DeleteSubscriptionGroupRequestHeader<'a> {
        /// Consumer group.
        group_name: Text<'a> => b"groupName";
        /// Drop the group's offsets (5.x).
        clean_offset: Option<bool> => b"cleanOffset";
        /// Drop the group's offsets (4.9).
        remove_offset: Option<bool> => b"removeOffset";
    }
}

impl DeleteSubscriptionGroupRequestHeader<'_> {
    /// Whether the group's offsets go too, by whichever name the tool used.
    pub fn drops_offsets(&self) -> bool {
        self.clean_offset == Some(true) || self.remove_offset == Some(true)
    }
}
