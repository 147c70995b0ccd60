//! What tools ask of a broker about clients, offsets and statistics, and what the broker asks of clients for them. The
//! structs have their Java names.

use crate::text::Text;

headers! {
    /// Code 321.
    QueryConsumeQueueRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Queue.
        queue_id: i32 = 0 => b"queueId";
        /// First entry.
        index: i64 = 0 => b"index";
        /// Entries at most.
        count: i32 = 0 => b"count";
        /// Group whose subscription is to be told.
        consumer_group: Option<Text<'a>> => b"consumerGroup";
    }

    /// Code 222, and 220 to clients.
    ResetOffsetRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Consumer group.
        group: Text<'a> => b"group";
        /// Milliseconds since 1970; a negative time is the end of the queue.
        timestamp: i64 => b"timestamp";
        /// Go forward as well.
        is_force: bool = false => b"isForce";
        /// Only this queue, unless it is negative (5.x).
        queue_id: Option<i32> => b"queueId";
        /// To this offset, unless it is -1 (5.x).
        offset: Option<i64> => b"offset";
    }

    /// Code 223, and 221 to clients.
    GetConsumerStatusRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Consumer group.
        group: Text<'a> => b"group";
        /// Only the client with this id, unless it is empty.
        client_addr: Option<Text<'a>> => b"clientAddr";
    }

    /// Code 307, to the broker and to clients.
    GetConsumerRunningInfoRequestHeader<'a> {
        /// Consumer group.
        consumer_group: Text<'a> => b"consumerGroup";
        /// Client id.
        client_id: Text<'a> => b"clientId";
        /// With the stacks of all threads.
        jstack_enable: Option<bool> => b"jstackEnable";
    }

    /// Code 309, to the broker and to clients.
    ConsumeMessageDirectlyResultRequestHeader<'a> {
        /// Consumer group.
        consumer_group: Text<'a> => b"consumerGroup";
        /// Client id.
        client_id: Option<Text<'a>> => b"clientId";
        /// Offset id of the message.
        msg_id: Option<Text<'a>> => b"msgId";
        /// Name of the broker; it adds its own.
        broker_name: Option<Text<'a>> => b"brokerName";
        /// Topic of the message (5.x).
        topic: Option<Text<'a>> => b"topic";
    }

    /// Code 314.
    CloneGroupOffsetRequestHeader<'a> {
        /// Group whose offsets are taken.
        src_group: Text<'a> => b"srcGroup";
        /// Group that gets them.
        dest_group: Text<'a> => b"destGroup";
        /// Topic; all of the group when absent or empty.
        topic: Option<Text<'a>> => b"topic";
        /// Also of topics that the group on line does not want any more.
        offline: bool = false => b"offline";
    }

    /// Code 315.
    ViewBrokerStatsDataRequestHeader<'a> {
        /// Name of the statistic.
        stats_name: Text<'a> => b"statsName";
        /// What it is of: a topic, `topic@group`, or the cluster.
        stats_key: Text<'a> => b"statsKey";
    }

    /// Code 317.
    GetConsumeStatsInBrokerHeader {
        /// Only ordered topics.
        is_order: bool = false => b"isOrder";
    }

    /// Code 308.
    QueryCorrectionOffsetHeader<'a> {
        /// Groups that do not count, joined by commas.
        filter_groups: Option<Text<'a>> => b"filterGroups";
        /// Group to compare with.
        compare_group: Text<'a> => b"compareGroup";
        /// Topic.
        topic: Text<'a> => b"topic";
    }

    /// Code 303.
    QueryConsumeTimeSpanRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Consumer group.
        group: Text<'a> => b"group";
    }

    /// Code 343 (5.x).
    QueryTopicsByConsumerRequestHeader<'a> {
        /// Consumer group.
        group: Text<'a> => b"group";
    }

    /// Code 345 (5.x).
    QuerySubscriptionByConsumerRequestHeader<'a> {
        /// Consumer group.
        group: Text<'a> => b"group";
        /// Topic.
        topic: Option<Text<'a>> => b"topic";
    }

    /// Code 326, sent by the broker.
    ReplyMessageRequestHeader<'a> {
        /// Producer group of whoever replies.
        producer_group: Option<Text<'a>> => b"producerGroup";
        /// Topic of the reply.
        topic: Text<'a> => b"topic";
        /// As the replier sent it.
        default_topic: Option<Text<'a>> => b"defaultTopic";
        /// As the replier sent it.
        default_topic_queue_nums: Option<i32> => b"defaultTopicQueueNums";
        /// Queue.
        queue_id: i32 => b"queueId";
        /// System flag of the reply.
        sys_flag: i32 => b"sysFlag";
        /// The replier's time stamp in milliseconds since 1970.
        born_timestamp: i64 => b"bornTimestamp";
        /// The user's flag.
        flag: i32 => b"flag";
        /// Properties text.
        properties: Option<Text<'a>> => b"properties";
        /// As the replier sent it.
        reconsume_times: Option<i32> => b"reconsumeTimes";
        /// As the replier sent it.
        unit_mode: Option<bool> => b"unitMode";
        /// Address of the replier, `ip:port`.
        born_host: Text<'a> => b"bornHost";
        /// Address of the broker, `ip:port`.
        store_host: Text<'a> => b"storeHost";
        /// When the broker got it, in milliseconds since 1970.
        store_timestamp: i64 => b"storeTimestamp";
    }
}
