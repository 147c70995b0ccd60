//! What the requests of the 4.x codes consist of: fields by name with what belongs into them, and bodies.

/// What belongs into a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A topic, also one of the system's or one that is not there.
    Topic,
    /// A topic that no other sequence uses.
    OwnTopic,
    /// A group, also one that is not there.
    Group,
    /// A group that no other sequence uses.
    OwnGroup,
    /// A producer group.
    Producer,
    /// Groups behind each other.
    Groups,
    /// The topic that new ones are made from.
    DefaultTopic,
    /// A queue.
    Queue,
    /// A place in a queue.
    Offset,
    /// A place in the log.
    Place,
    /// How many messages.
    Count,
    /// How many queues.
    Queues,
    /// Permission bits.
    Permission,
    /// Flag bits of a message.
    MessageFlag,
    /// Flag bits of a pull.
    PullFlag,
    /// Unit bits of a topic.
    TopicFlag,
    /// A point in time, in milliseconds.
    Time,
    /// Version of a subscription.
    Version,
    /// A small number.
    Small,
    /// A delay level.
    Level,
    /// True or false.
    Truth,
    /// The user's properties.
    Properties,
    /// A key of a message.
    Key,
    /// Which index.
    Index,
    /// A client id.
    Client,
    /// Message id as the answer to a send has it.
    MessageId,
    /// Unique key.
    UniqueKey,
    /// Handle of a message that can be recalled.
    Handle,
    /// What a subscription wants.
    Expression,
    /// TAG, SQL92, others.
    ExpressionType,
    /// End of a transaction.
    Decision,
    /// Which of equal times.
    Boundary,
    /// Attributes of a topic.
    Attributes,
    /// Name of a broker.
    Broker,
    /// Name of a statistic.
    Statistic,
    /// Key of a statistic.
    StatisticKey,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    FilterType,
    /// An address.
    Address,
    /// Name of a broker that the sequence registers.
    OwnBroker,
    /// Name of its cluster.
    OwnCluster,
    /// Number of a broker.
    BrokerId,
    /// A checksum.
    Checksum,
    /// A namespace of the name server's table.
    Namespace,
}

/// What belongs into a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    None,
    /// Of a message.
    Message,
    /// Messages behind each other.
    Batch,
    Heartbeat,
    Locks,
    GroupConfig,
    Settings,
    ClientCheck,
    /// Properties of a client as text.
    TopicList,
    GroupList,
    /// What a broker registers.
    Registration,
    /// The version of what it registered.
    DataVersion,
}

/// A request.
pub(crate) struct Form {
    pub(crate) code: i32,
    /// How often, beside the others.
    pub(crate) weight: u64,
    /// Fields with what belongs into them, and whether clients leave them out now and then.
    pub(crate) fields: &'static [(&'static str, Kind, bool)],
    pub(crate) body: Body,
}

const fn form(
    code: i32,
    weight: u64,
    fields: &'static [(&'static str, Kind, bool)],
    body: Body,
) -> Form {
    Form { code, weight, fields, body }
}

const MUST: bool = false;
const MAY: bool = true;

const SEND: &[(&str, Kind, bool)] = &[
    ("producerGroup", Kind::Producer, MUST),
    ("topic", Kind::OwnTopic, MUST),
    ("defaultTopic", Kind::DefaultTopic, MUST),
    ("defaultTopicQueueNums", Kind::Queues, MUST),
    ("queueId", Kind::Queue, MUST),
    ("sysFlag", Kind::MessageFlag, MUST),
    ("bornTimestamp", Kind::Time, MUST),
    ("flag", Kind::Small, MUST),
    ("properties", Kind::Properties, MAY),
    ("reconsumeTimes", Kind::Small, MAY),
    ("unitMode", Kind::Truth, MAY),
    ("maxReconsumeTimes", Kind::Small, MAY),
    ("batch", Kind::Truth, MAY),
    ("bname", Kind::Broker, MAY),
];

const SEND_SHORT: &[(&str, Kind, bool)] = &[
    ("a", Kind::Producer, MUST),
    ("b", Kind::OwnTopic, MUST),
    ("c", Kind::DefaultTopic, MUST),
    ("d", Kind::Queues, MUST),
    ("e", Kind::Queue, MUST),
    ("f", Kind::MessageFlag, MUST),
    ("g", Kind::Time, MUST),
    ("h", Kind::Small, MUST),
    ("i", Kind::Properties, MAY),
    ("j", Kind::Small, MAY),
    ("k", Kind::Truth, MAY),
    ("l", Kind::Small, MAY),
    ("m", Kind::Truth, MAY),
    ("n", Kind::Broker, MAY),
];

const PULL: &[(&str, Kind, bool)] = &[
    ("consumerGroup", Kind::Group, MUST),
    ("topic", Kind::Topic, MUST),
    ("queueId", Kind::Queue, MUST),
    ("queueOffset", Kind::Offset, MUST),
    ("maxMsgNums", Kind::Count, MUST),
    ("sysFlag", Kind::PullFlag, MUST),
    ("commitOffset", Kind::Offset, MUST),
    ("suspendTimeoutMillis", Kind::Small, MUST),
    ("subscription", Kind::Expression, MAY),
    ("subVersion", Kind::Version, MUST),
    ("expressionType", Kind::ExpressionType, MAY),
    ("maxMsgBytes", Kind::Count, MAY),
];

const QUEUE: &[(&str, Kind, bool)] =
    &[("topic", Kind::Topic, MUST), ("queueId", Kind::Queue, MUST)];

const TOPIC_GROUP: &[(&str, Kind, bool)] =
    &[("topic", Kind::Topic, MUST), ("group", Kind::Group, MUST)];

const GROUP: &[(&str, Kind, bool)] = &[("group", Kind::Group, MUST)];
const CONSUMER_GROUP: &[(&str, Kind, bool)] = &[("consumerGroup", Kind::Group, MUST)];
const TOPIC: &[(&str, Kind, bool)] = &[("topic", Kind::Topic, MUST)];

/// A request without fields and body.
const fn bare(code: i32, weight: u64) -> Form {
    form(code, weight, &[], Body::None)
}

/// All that is asked.
pub(crate) const FORMS: &[Form] = &[
    form(10, 30, SEND, Body::Message),
    form(310, 60, SEND_SHORT, Body::Message),
    form(320, 25, SEND_SHORT, Body::Batch),
    form(11, 80, PULL, Body::None),
    form(361, 10, PULL, Body::None),
    form(
        12,
        25,
        &[
            ("topic", Kind::Topic, MUST),
            ("key", Kind::Key, MUST),
            ("maxNum", Kind::Count, MUST),
            ("beginTimestamp", Kind::Time, MUST),
            ("endTimestamp", Kind::Time, MUST),
            ("_UNIQUE_KEY_QUERY", Kind::Truth, MAY),
            ("indexType", Kind::Index, MAY),
        ],
        Body::None,
    ),
    form(33, 15, &[("offset", Kind::Place, MUST)], Body::None),
    form(
        14,
        30,
        &[
            ("consumerGroup", Kind::Group, MUST),
            ("topic", Kind::Topic, MUST),
            ("queueId", Kind::Queue, MUST),
            ("setZeroIfNotFound", Kind::Truth, MAY),
        ],
        Body::None,
    ),
    form(
        15,
        30,
        &[
            ("consumerGroup", Kind::OwnGroup, MUST),
            ("topic", Kind::OwnTopic, MUST),
            ("queueId", Kind::Queue, MUST),
            ("commitOffset", Kind::Offset, MUST),
        ],
        Body::None,
    ),
    form(
        29,
        20,
        &[
            ("topic", Kind::Topic, MUST),
            ("queueId", Kind::Queue, MUST),
            ("timestamp", Kind::Time, MUST),
            ("boundaryType", Kind::Boundary, MAY),
        ],
        Body::None,
    ),
    form(
        30,
        20,
        &[
            ("topic", Kind::Topic, MUST),
            ("queueId", Kind::Queue, MUST),
            ("committed", Kind::Truth, MAY),
        ],
        Body::None,
    ),
    form(31, 15, QUEUE, Body::None),
    form(32, 15, QUEUE, Body::None),
    form(34, 40, &[], Body::Heartbeat),
    form(
        35,
        15,
        &[
            ("clientID", Kind::Client, MUST),
            ("producerGroup", Kind::Producer, MAY),
            ("consumerGroup", Kind::OwnGroup, MAY),
        ],
        Body::None,
    ),
    form(
        36,
        40,
        &[
            ("offset", Kind::Place, MUST),
            ("group", Kind::OwnGroup, MUST),
            ("delayLevel", Kind::Level, MUST),
            ("originMsgId", Kind::MessageId, MAY),
            ("originTopic", Kind::OwnTopic, MAY),
            ("unitMode", Kind::Truth, MAY),
            ("maxReconsumeTimes", Kind::Small, MAY),
        ],
        Body::None,
    ),
    form(
        37,
        25,
        &[
            ("producerGroup", Kind::Producer, MUST),
            ("tranStateTableOffset", Kind::Offset, MUST),
            ("commitLogOffset", Kind::Place, MUST),
            ("commitOrRollback", Kind::Decision, MUST),
            ("fromTransactionCheck", Kind::Truth, MAY),
            ("msgId", Kind::UniqueKey, MAY),
            ("transactionId", Kind::UniqueKey, MAY),
        ],
        Body::None,
    ),
    form(38, 20, CONSUMER_GROUP, Body::None),
    form(41, 25, &[], Body::Locks),
    form(42, 15, &[], Body::Locks),
    form(
        17,
        40,
        &[
            ("topic", Kind::OwnTopic, MUST),
            ("defaultTopic", Kind::DefaultTopic, MUST),
            ("readQueueNums", Kind::Queues, MUST),
            ("writeQueueNums", Kind::Queues, MUST),
            ("perm", Kind::Permission, MUST),
            ("topicFilterType", Kind::FilterType, MUST),
            ("topicSysFlag", Kind::TopicFlag, MAY),
            ("order", Kind::Truth, MUST),
            ("attributes", Kind::Attributes, MAY),
            ("force", Kind::Truth, MAY),
        ],
        Body::None,
    ),
    form(215, 20, &[("topic", Kind::OwnTopic, MUST)], Body::None),
    bare(21, 4),
    form(200, 30, &[], Body::GroupConfig),
    bare(201, 4),
    form(
        207,
        20,
        &[
            ("groupName", Kind::OwnGroup, MUST),
            ("cleanOffset", Kind::Truth, MAY),
            ("removeOffset", Kind::Truth, MAY),
        ],
        Body::None,
    ),
    form(352, 15, GROUP, Body::None),
    form(202, 15, TOPIC, Body::None),
    form(203, 15, CONSUMER_GROUP, Body::None),
    form(204, 15, &[("producerGroup", Kind::Producer, MUST)], Body::None),
    form(208, 20, &[("consumerGroup", Kind::Group, MUST), ("topic", Kind::Topic, MAY)], Body::None),
    form(
        222,
        20,
        &[
            ("topic", Kind::OwnTopic, MUST),
            ("group", Kind::OwnGroup, MUST),
            ("timestamp", Kind::Time, MUST),
            ("isForce", Kind::Truth, MUST),
            ("queueId", Kind::Queue, MAY),
            ("offset", Kind::Offset, MAY),
        ],
        Body::None,
    ),
    form(
        223,
        10,
        &[
            ("topic", Kind::Topic, MUST),
            ("group", Kind::Group, MUST),
            ("clientAddr", Kind::Client, MAY),
        ],
        Body::None,
    ),
    form(25, 10, &[], Body::Settings),
    bare(26, 2),
    bare(28, 2),
    bare(43, 4),
    bare(45, 4),
    form(46, 15, &[], Body::ClientCheck),
    form(300, 15, TOPIC, Body::None),
    form(301, 3, &[("filterServerAddr", Kind::Address, MUST)], Body::None),
    form(303, 10, TOPIC_GROUP, Body::None),
    bare(305, 4),
    form(
        307,
        10,
        &[
            ("consumerGroup", Kind::Group, MUST),
            ("clientId", Kind::Client, MUST),
            ("jstackEnable", Kind::Truth, MAY),
        ],
        Body::None,
    ),
    form(
        308,
        15,
        &[
            ("filterGroups", Kind::Groups, MAY),
            ("compareGroup", Kind::Group, MUST),
            ("topic", Kind::Topic, MUST),
        ],
        Body::None,
    ),
    form(
        309,
        10,
        &[
            ("consumerGroup", Kind::Group, MUST),
            ("clientId", Kind::Client, MUST),
            ("msgId", Kind::MessageId, MUST),
            ("brokerName", Kind::Broker, MAY),
            ("topic", Kind::Topic, MAY),
        ],
        Body::None,
    ),
    form(
        314,
        15,
        &[
            ("srcGroup", Kind::OwnGroup, MUST),
            ("destGroup", Kind::OwnGroup, MUST),
            ("topic", Kind::OwnTopic, MAY),
            ("offline", Kind::Truth, MAY),
        ],
        Body::None,
    ),
    form(
        315,
        10,
        &[("statsName", Kind::Statistic, MUST), ("statsKey", Kind::StatisticKey, MUST)],
        Body::None,
    ),
    form(317, 4, &[("isOrder", Kind::Truth, MAY)], Body::None),
    form(323, 4, &[("msgId", Kind::MessageId, MUST)], Body::None),
    form(324, 10, SEND, Body::Message),
    form(325, 10, SEND_SHORT, Body::Message),
    form(326, 2, SEND, Body::Message),
    bare(328, 4),
    form(343, 12, GROUP, Body::None),
    form(345, 12, TOPIC_GROUP, Body::None),
    form(351, 12, TOPIC, Body::None),
    form(
        370,
        15,
        &[
            ("producerGroup", Kind::Producer, MUST),
            ("topic", Kind::OwnTopic, MUST),
            ("recallHandle", Kind::Handle, MUST),
            ("bname", Kind::Broker, MAY),
        ],
        Body::None,
    ),
    form(18, 6, &[], Body::TopicList),
    form(225, 6, &[], Body::GroupList),
];

/// Codes that no broker knows, or that only others understand.
pub(crate) const UNKNOWN: &[i32] =
    &[-1, 0, 1, 9, 16, 19, 20, 24, 44, 100, 103, 105, 218, 302, 999, 9999, 30_000, 70_000];

const KEY: &[(&str, Kind, bool)] =
    &[("namespace", Kind::Namespace, MUST), ("key", Kind::Key, MUST)];

/// All that a name server is asked.
pub(crate) const NAME_SERVER_FORMS: &[Form] = &[
    form(
        100,
        10,
        &[
            ("namespace", Kind::Namespace, MUST),
            ("key", Kind::Key, MUST),
            ("value", Kind::Key, MUST),
        ],
        Body::None,
    ),
    form(101, 10, KEY, Body::None),
    form(102, 6, KEY, Body::None),
    form(
        103,
        20,
        &[
            ("brokerName", Kind::OwnBroker, MUST),
            ("brokerAddr", Kind::Address, MUST),
            ("clusterName", Kind::OwnCluster, MUST),
            ("haServerAddr", Kind::Address, MUST),
            ("brokerId", Kind::BrokerId, MUST),
            ("heartbeatTimeoutMillis", Kind::Time, MAY),
            ("enableActingMaster", Kind::Truth, MAY),
            ("compressed", Kind::Truth, MAY),
            ("bodyCrc32", Kind::Checksum, MAY),
        ],
        Body::Registration,
    ),
    form(
        104,
        6,
        &[
            ("brokerName", Kind::OwnBroker, MUST),
            ("brokerAddr", Kind::Address, MUST),
            ("clusterName", Kind::OwnCluster, MUST),
            ("brokerId", Kind::BrokerId, MUST),
        ],
        Body::None,
    ),
    form(
        105,
        20,
        &[("topic", Kind::Topic, MUST), ("acceptStandardJsonOnly", Kind::Truth, MAY)],
        Body::None,
    ),
    bare(106, 6),
    form(205, 6, &[("brokerName", Kind::OwnBroker, MUST)], Body::None),
    bare(206, 6),
    form(
        216,
        8,
        &[("topic", Kind::OwnTopic, MUST), ("clusterName", Kind::OwnCluster, MAY)],
        Body::None,
    ),
    form(217, 5, &[("topic", Kind::OwnTopic, MUST)], Body::None),
    form(219, 8, &[("namespace", Kind::Namespace, MUST)], Body::None),
    form(224, 6, &[("cluster", Kind::OwnCluster, MUST)], Body::None),
    bare(304, 3),
    bare(311, 2),
    bare(312, 2),
    bare(313, 2),
    form(318, 6, &[], Body::Settings),
    bare(319, 2),
    form(
        322,
        8,
        &[
            ("brokerName", Kind::OwnBroker, MUST),
            ("brokerAddr", Kind::Address, MUST),
            ("clusterName", Kind::OwnCluster, MUST),
            ("brokerId", Kind::BrokerId, MUST),
        ],
        Body::DataVersion,
    ),
    form(327, 5, &[("brokerName", Kind::OwnBroker, MUST)], Body::None),
];
