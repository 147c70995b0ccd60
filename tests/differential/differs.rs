//! What may differ between Java's answers and ours, and why. Where codes differ, or one broker keeps silent, the path
//! is `answer` and both values are code and remark.

use super::support::compare::{Difference, Differs, differs};
use super::support::java::Version;

/// A row, and the version of Java it is for.
pub(crate) struct Row {
    pub(crate) version: Option<Version>,
    pub(crate) row: Differs,
}

const fn both(
    request: i32,
    path: &'static str,
    values: (&'static str, &'static str),
    reason: &'static str,
) -> Row {
    Row { version: None, row: differs(request, path, values, reason) }
}

const fn old(
    request: i32,
    path: &'static str,
    values: (&'static str, &'static str),
    reason: &'static str,
) -> Row {
    Row { version: Some(Version::V497), row: differs(request, path, values, reason) }
}

/// The rows for a version.
pub(crate) fn rows(version: Version) -> Vec<&'static Row> {
    ROWS.iter().filter(|row| row.version.is_none_or(|only| only == version)).collect()
}

/// The place of the row that allows a difference.
pub(crate) fn listed(rows: &[&Row], request: i32, difference: &Difference) -> Option<usize> {
    rows.iter().position(|row| row.row.allows(request, difference))
}

/// Whether the brokers may be in different states behind a difference, so that the sequence ends.
pub(crate) fn parts_ways(row: &Row, request: i32) -> bool {
    let is = |list: &[&str]| list.contains(&row.row.reason);
    // Java has made the topic, or has not, before it fails.
    let is_send = [10, 36, 310, 320, 324, 325].contains(&request);
    // An address that asks for another id has lost its own in Java.
    let is_registration = request == 103 && is(&[WORDS]);
    is(PARTINGS)
        || is_registration
        || is_send
            && is(&[
                NUMBER,
                MANDATORY,
                EXCEPTION,
                NO_BODY,
                NO_LEVEL,
                REPLY,
                NOTHING,
                WORDS,
                INNER_REPLY,
            ])
}

const EXCEPTION: &str = "an exception of Java; our words name what is wrong";
const COUNTED: &str = "counts topics and groups of all sequences";
const NUMBER: &str =
    "a number that is none is refused and named; Java goes on as if the field were not there";
const MANDATORY: &str = "a mandatory field that is missing is named; Java goes on with null";
const BODY: &str =
    "a body of another shape is refused and the place in it named; fastjson takes what it can";
const WORDS: &str = "our words name the value and the limit";
const TOPIC_LIMITS: &str = "a topic that could not be used is refused; Java takes any numbers";
const NO_QUEUES: &str =
    "a first send that asks for no queues is refused; Java makes a topic that nobody can use";
const GROUP_ON_USE: &str = "a group is made by its first use, whichever request that is";
const BATCH: &str = "a batch cannot be delayed or prepared: it is refused; Java stores the properties and does not obey them";

const LIST: &str = "an empty list in place of an object is read as an empty object";
const NOTHING: &str = "a name that is not there is an empty one; an exception of Java";
const ATTRIBUTES: &str =
    "attributes of groups are kept as they are; Java knows those of lite topics only";
const GROUP_LIMITS: &str = "a group that could not be used is refused; Java takes any numbers";
const TRANS_GROUP: &str = "how far the checks of transactions are is among the offsets from the beginning, in Java from the first check";
const NO_BODY: &str =
    "an exception of Java for a message without a body, before anything is looked at";
const EMPTY_BROKER: &str =
    "a registration that failed, or ended, leaves an empty broker and cluster in Java";

const NULL: &str = "nothing is shown as nothing";
const NEGATIVE: &str = "an offset below 0 is none, and not kept";
const DELAYS: &str = "how far each level is, which Java notes from its first message on";
const FORBIDDEN: &str = "the code and the remark say it; nobody is known to read the number";
const OTHER_ID: &str =
    "a registration that fails changes nothing; in Java the address has lost its other id by then";
const CLASS: &str = "class filters are refused at once, also of groups that nobody knows";
const SHARED_QUEUE: &str = "what is delayed or prepared waits in queues of all sequences";
const INNER_REPLY: &str = "5.5.0 does not store a reply that says to hold several messages";
const TIMED_REPLY: &str =
    "a reply is stored at once; Java leaves out one whose time of delivery is too far or no number";
const REPLIES: &str = "replies of all sequences are in one topic";
const VERSIONS: &str = "versions count changes of each server";
const EXPRESSION: &str =
    "an expression that cannot be understood is refused; Java serves every message instead";
const BLACK_LIST: &str = "keys that name places cannot be changed";
const OWN_PATHS: &str = "each has its directory and port";
const LEFT: &str = "a group that a client leaves is not made by that, as it is in Java";
const NO_LEVEL: &str = "a delay level that is no number is none; an exception of Java";
const REPLY: &str = "the size of a reply is looked at before anything else";

/// Reasons of rows behind which the brokers know different things.
const PARTINGS: &[&str] =
    &[TOPIC_LIMITS, NO_QUEUES, GROUP_ON_USE, BODY, GROUP_LIMITS, ATTRIBUTES, LEFT];

/// What is not asked, and why.
pub(crate) const NOT_ASKED: &[&str] = &[
    "a send to a negative queue: each broker chooses one by chance",
    "a message marked as prepared or rolled back without TRAN_MSG: Java stores it and never shows it, ours shows it",
    "a message whose flags say that its addresses are of IPv6: Java stores a record that it cannot read, ours sets the flags",
    "a broker with a negative id",
    "offsets corrected (308) without groups that have some: Java forgets the offsets of the groups it leaves out",
    "a group twice in a heartbeat, or a topic twice in a group: Java takes them in the order of its hash sets",
    "what comes after a time of delivery, of 4.9.7: it does not know such and stores the message at once",
    "topics (18) of which one is so already: Java says yes and leaves out the others, ours sets all",
    "what comes after a reply (324) that is to be delivered later: Java lets it wait, ours stores it at once",
    "what comes after a message that is not there and is sent back (36): Java has made the retry topic by then, ours makes none",
    "a batch (320) without the mark of a batch: Java stores its bytes as one message, ours stores the batch",
];

const GROUP_FIRST: &str = "5.5.0 looks for the group first";
const OTHER_DEFAULT: &str = "4.9.7 has another default";
const UNREGISTERED: &str = "who goes is known by id in 4.9.7, by address in 5.5.0";
const KNOWN: &str = "4.9.7 takes no topics from a broker whose version it knows";
const RESET: &str = "5.5.0 resets offsets without the clients";
const WRONG_PARAMETER: &str = "a parameter that is wrong has a code of its own in 5.5.0";
const UNKNOWN: &str = "a request that 4.9.7 does not know";
const SINCE: &str = "refused since 5.x";
const LATER: &str = "a field that came with 5.x";

const ROWS: &[Row] = &[
    // 4.9.7.
    old(324, "field *", ("*", "(absent)"), INNER_REPLY),
    old(325, "field *", ("*", "(absent)"), INNER_REPLY),
    old(
        310,
        "answer",
        ("1 The specified topic is longer *", "26 subscription group not exist, *"),
        GROUP_FIRST,
    ),
    old(11, "message * properties", ("", "MSG_REGION=DefaultRegion TRACE_ON=true"), LATER),
    old(
        11,
        "answer",
        ("17 topic[RMQ_SYS_TRANS_OP_HALF_TOPIC] not exist, *", "19 *"),
        "4.9.7 makes this topic when it is used",
    ),
    old(
        222,
        "answer",
        ("1 [reset-offset] reset offset failed, *", "26 Group * does not exist"),
        RESET,
    ),
    old(
        12,
        "answer",
        ("22 can not find message, *", "0 "),
        "4.9.7 gives all messages of a batch the unique key of the request",
    ),
    old(
        202,
        "answer",
        ("17 topic[RMQ_SYS_TRANS_HALF_TOPIC] not exist", "0 "),
        "4.9.7 makes this topic when it is used",
    ),
    old(
        105,
        "answer",
        ("17 No topic route info in name server for the topic: RMQ_SYS_TRANS_OP_HALF_TOPIC*", "0 "),
        "4.9.7 makes this topic when it is used",
    ),
    old(
        222,
        "remark",
        ("THe consumer group <*> not exist", "Target offset * not in consume queue range *"),
        RESET,
    ),
    old(322, "body", ("{*", ""), "4.9.7 looks for a broker by its address only"),
    old(11, "answer", ("*", "26 subscription group [*] does not exist, *"), GROUP_FIRST),
    old(
        0,
        "answer",
        ("1 request queueId[*", "29 topic[*] not exist, and cannot be made: *"),
        NO_QUEUES,
    ),
    old(
        105,
        "answer",
        ("17 No topic route info in name server for the topic: RMQ_SYS_TRANS_HALF_TOPIC*", "0 "),
        "4.9.7 makes this topic when it is used",
    ),
    old(105, "answer", ("17 No topic route info in name server for the topic: Q*", "0 "), KNOWN),
    old(
        105,
        "answer",
        ("17 No topic route info in name server for the topic: %RETRY%Q*", "0 "),
        KNOWN,
    ),
    old(327, "field addTopicCount", ("*", "*"), UNREGISTERED),
    old(106, "body.brokerAddrTable.OWN_broker", ("{*", "(absent)"), UNREGISTERED),
    old(205, "field wipeTopicCount", ("*", "*"), UNREGISTERED),
    old(208, "body.offsetTable.*", ("{*", "(absent)"), NEGATIVE),
    old(
        222,
        "remark",
        ("THe consumer group <*> not exist", "queueId * of topic * does not exist, it has *"),
        "the queue is looked for before the group",
    ),
    old(26, "body.registerBrokerTimeoutMills", ("\"6000\"", "\"24000\""), OTHER_DEFAULT),
    old(318, "answer", ("0 ", "16 Can not update config in black list. *"), SINCE),
    old(36, "answer", ("1 MESSAGE_ILLEGAL", "26 subscription group not exist, *"), SINCE),
    old(0, "answer", ("0 ", "13 the message has no body *"), SINCE),
    old(0, "answer", ("0 ", "13 timer message illegal, *"), LATER),
    old(
        0,
        "remark",
        ("the message is illegal, *", "batch request does not support retry group *"),
        SINCE,
    ),
    old(17, "answer", ("0 *", "1 attempt *"), LATER),
    old(25, "answer", ("0 ", "16 Can not update config in black list. *"), SINCE),
    old(
        303,
        "answer",
        ("17 topic[RMQ_SYS_TRANS_OP_HALF_TOPIC] not exist", "0 "),
        "4.9.7 makes this topic when it is used",
    ),
    old(
        36,
        "answer",
        ("1 look message by offset failed, *", "26 subscription group not exist, *"),
        SINCE,
    ),
    old(17, "answer", ("0 *", "1 unsupported key: *"), LATER),
    old(
        21,
        "body.topicConfigTable.*.order",
        ("false", "true"),
        "4.9.7 forgets that a topic is to be ordered",
    ),
    old(29, "field offset", ("*", "*"), "5.5.0 answers the end for a time behind the last message"),
    old(
        308,
        "answer",
        ("1 java.lang.ArrayIndexOutOfBoundsException*", "0 "),
        "4.9.7 fails over the offsets of nobody",
    ),
    old(
        0,
        "answer",
        ("1 java.lang.RuntimeException: Properties size of messageExtBatch exceeded*", "*"),
        "5.5.0 does not add the properties of a batch to its messages",
    ),
    old(43, "body.offsetTable.null@null", ("*", "(absent)"), SINCE),
    old(0, "asked", ("{*consumerGroup*", "{*"), "5.5.0 tells others than 4.9.7 of new members"),
    old(
        0,
        "answer",
        ("1 java.lang.NullPointerException*", "0 "),
        "5.5.0 goes on without the field",
    ),
    old(11, "answer", ("1 java.lang.IllegalArgumentException: Illegal Capacity*", "*"), EXCEPTION),
    old(361, "answer", ("1 java.lang.IllegalArgumentException: Illegal Capacity*", "*"), EXCEPTION),
    old(
        0,
        "message * properties",
        ("*CLUSTER=*", "*"),
        "5.5.0 keeps WAIT, makes unique keys, and leaves the messages of a batch as they came",
    ),
    old(14, "answer", ("0 ", "22 Not found, do not set to zero, *"), LATER),
    old(15, "answer", ("0 ", "26 Group * not exist!"), SINCE),
    old(15, "answer", ("0 ", "17 Topic * not exist!"), SINCE),
    old(17, "answer", ("0 *", "1 *attribute*"), LATER),
    old(
        215,
        "answer",
        ("1 The specified topic *", "0 "),
        "a topic of any name can be deleted in 5.5.0",
    ),
    old(222, "answer", ("1 THe consumer group <*> not exist", "0 "), RESET),
    old(222, "answer", ("1 THe consumer group <*> not exist", "26 Group * does not exist"), RESET),
    old(
        222,
        "answer",
        ("1 [reset-offset] reset offset failed, *", "17 Topic * does not exist"),
        RESET,
    ),
    old(222, "answer", ("1 java.lang.NullPointerException*", "17 Topic  does not exist"), RESET),
    old(31, "remark", ("(absent)", ""), LATER),
    old(10, "answer", ("0 ", "13 the message is illegal, *"), SINCE),
    old(310, "answer", ("0 ", "13 the message is illegal, *"), SINCE),
    old(320, "answer", ("0 ", "13 the message is illegal, *"), SINCE),
    old(36, "answer", ("0 ", "26 subscription group not exist, *"), SINCE),
    old(0, "encoding", ("Rocketmq", "Json"), "4.9.7 answers as it was asked; clients read both"),
    old(0, "answer", ("(none)", "3 * request type * not supported*"), "4.9.7 keeps silent"),
    old(0, "answer", ("1 The specified topic*", "29 The specified topic*"), WRONG_PARAMETER),
    old(0, "answer", ("1 request queueId[*", "29 request queueId[*"), WRONG_PARAMETER),
    old(0, "answer", ("1 queueId[*", "29 queueId[*"), WRONG_PARAMETER),
    old(
        0,
        "answer",
        ("1 The topic[*] is conflict *", "29 The topic[*] is conflict *"),
        WRONG_PARAMETER,
    ),
    old(0, "answer", ("0 ", "13 batch request does not support retry group *"), SINCE),
    old(
        0,
        "remark",
        ("*See http://rocketmq.apache.org/*", "*See https://rocketmq.apache.org/*"),
        "the page has moved",
    ),
    old(0, "field recallHandle", ("(absent)", "*"), LATER),
    old(0, "field *SysFlag", ("(absent)", "*"), LATER),
    old(34, "field IS_*", ("(absent)", "*"), LATER),
    old(21, "field totalTopicNum", ("(absent)", "*"), LATER),
    old(201, "field totalGroupNum", ("(absent)", "*"), LATER),
    old(21, "body.topicConfigTable.*", ("(absent)", "*"), LATER),
    old(21, "body.topicQueueMapping*Map", ("(absent)", "*"), LATER),
    old(26, "body.*", ("(absent)", "*"), LATER),
    old(28, "body.table.*", ("(absent)", "*"), LATER),
    old(43, "body.*", ("(absent)", "*"), LATER),
    old(105, "body.brokerDatas*", ("(absent)", "*"), LATER),
    old(106, "body.brokerAddrTable.*", ("(absent)", "*"), LATER),
    old(106, "body.clusterAddrTable.*", ("(absent)", "*"), LATER),
    old(201, "body.subscriptionGroupTable.*", ("(absent)", "*"), LATER),
    old(201, "body.forbiddenTable", ("(absent)", "*"), LATER),
    old(202, "body.topicPutTps", ("(absent)", "*"), LATER),
    old(206, "body.topicList.*", ("(absent)", "*"), LATER),
    old(305, "body.topicList.*", ("(absent)", "*"), LATER),
    old(224, "body.topicList.*", ("(absent)", "*"), KNOWN),
    old(304, "body.topicList.*", ("(absent)", "*"), KNOWN),
    old(311, "body.topicList.*", ("(absent)", "*"), KNOWN),
    old(312, "body.topicList.*", ("(absent)", "*"), KNOWN),
    old(313, "body.topicList.*", ("(absent)", "*"), KNOWN),
    old(208, "body.offsetTable.*", ("(absent)", "*"), LATER),
    old(322, "body.*", ("(absent)", "*"), LATER),
    old(0, "version", ("407", "513"), "the version of the broker that is followed"),
    old(0, "answer", ("3 * request type * not supported*", "*"), UNKNOWN),
    old(0, "field transactionId", ("(absent)", "*"), LATER),
    old(
        103,
        "answer",
        ("0 ", "1 register broker failed: *"),
        "5.5.0 refuses a first registration of a single topic, 4.9.7 does not",
    ),
    old(26, "body.autoDeleteUnusedStats", ("\"false\"", "\"true\""), OTHER_DEFAULT),
    // Fields and bodies that cannot be read.
    both(
        0,
        "remark",
        ("java.lang.NumberFormatException*", "the field * of * is not a*"),
        EXCEPTION,
    ),
    both(0, "remark", ("java.lang.NullPointerException*", "the field * of * is not a*"), NUMBER),
    both(
        0,
        "remark",
        ("java.lang.NullPointerException*", "the custom field <*> is null"),
        MANDATORY,
    ),
    both(0, "answer", ("*", "1 the field * of * is not a*"), NUMBER),
    both(0, "answer", ("*", "1 the custom field <*> is null"), MANDATORY),
    both(0, "answer", ("*", "1 the body cannot be read: *"), BODY),
    both(0, "remark", ("*Exception*", "the body cannot be read: *"), EXCEPTION),
    both(100, "remark", ("namespace or key is null", "the custom field <*> is null"), MANDATORY),
    both(
        0,
        "remark",
        ("not set any response code", "(absent)"),
        "Java's word for a remark that nobody set, beside success",
    ),
    both(0, "remark", (" request type * not supported", " request type * not supported (*"), WORDS),
    both(0, "remark", ("timer message illegal, *", "timer message illegal, *"), WORDS),
    both(0, "remark", ("Cannot invoke *", "the field * of * is not a*"), NUMBER),
    both(0, "remark", ("Cannot invoke *", "the custom field <*> is null"), MANDATORY),
    both(0, "remark", ("*", "the custom field <*> is null"), MANDATORY),
    both(0, "remark", ("crc32 not match", "the field * of * is not a*"), NUMBER),
    both(0, "answer", ("1 com.alibaba.fastjson*", "0 "), LIST),
    both(
        0,
        "field MSG_REGION",
        ("(absent)", "DefaultRegion"),
        "an exception of Java left the fields out",
    ),
    both(0, "field TRACE_ON", ("(absent)", "true"), "an exception of Java left the fields out"),
    both(
        103,
        "answer",
        (
            "1 org.apache.rocketmq.remoting.exception.RemotingCommandException: Failed to decode*",
            "0 ",
        ),
        LIST,
    ),
    both(18, "answer", ("1 java.lang.NullPointerException*", "0 "), NOTHING),
    both(
        203,
        "answer",
        ("1 java.lang.NullPointerException*", "206 the consumer group[] not online"),
        NOTHING,
    ),
    both(300, "answer", ("1 java.lang.NullPointerException*", "0 "), NOTHING),
    both(
        351,
        "answer",
        ("1 java.lang.NullPointerException*", "17 No topic in this broker. topic: "),
        NOTHING,
    ),
    both(
        0,
        "answer",
        (
            "1 java.lang.NullPointerException: Cannot invoke \"Object.hashCode()\" because \"key\" is null*",
            "*",
        ),
        NOTHING,
    ),
    both(
        0,
        "remark",
        (
            "java.lang.NullPointerException: Cannot invoke \"Object.hashCode()\" because \"key\" is null*",
            "*",
        ),
        NOTHING,
    ),
    both(0, "remark", ("*", "the field * of * is not a*"), NUMBER),
    both(0, "remark", ("*", "the body cannot be read: *"), BODY),
    both(200, "answer", ("1 com.alibaba.fastjson*", "29 groupName * is not 1 to *"), LIST),
    both(225, "answer", ("1 java.lang.NullPointerException*", "0 "), NOTHING),
    both(
        0,
        "answer",
        ("1 java.lang.NullPointerException*", "13 the message is illegal, *"),
        MANDATORY,
    ),
    // Topics.
    both(
        17,
        "answer",
        ("1 *topicFilterType = [*] value invalid*", "*"),
        "a filter type that is none is SINGLE_TAG: tags are the broker's business no more",
    ),
    both(17, "remark", ("*topicFilterType = [*] value invalid*", "*"), WORDS),
    both(
        0,
        "remark",
        (
            "The specified topic: *, is longer than topic max length*",
            "The specified topic: *, is longer than topic max length*",
        ),
        WORDS,
    ),
    both(17, "answer", ("*", "29 perm is *, allowed is *"), TOPIC_LIMITS),
    both(17, "answer", ("*", "29 readQueueNums is *, allowed is *"), TOPIC_LIMITS),
    both(17, "answer", ("*", "29 writeQueueNums is *, allowed is *"), TOPIC_LIMITS),
    both(18, "answer", ("*", "29 perm is *, allowed is *"), TOPIC_LIMITS),
    both(18, "answer", ("*", "29 readQueueNums is *, allowed is *"), TOPIC_LIMITS),
    both(
        17,
        "remark",
        ("add/alter attribute format is wrong: *", "attribute * begins with neither + nor -"),
        WORDS,
    ),
    both(
        17,
        "remark",
        ("delete attribute format is wrong: *", "attribute * begins with neither + nor -"),
        WORDS,
    ),
    both(
        17,
        "remark",
        ("value is not in set: *", "attribute * is not supported, allowed is *"),
        WORDS,
    ),
    both(0, "answer", ("*", "29 topic[*] not exist, and cannot be made: *"), NO_QUEUES),
    both(
        0,
        "remark",
        ("request queueId[*", "topic[*] not exist, and cannot be made: *"),
        NO_QUEUES,
    ),
    both(21, "field totalTopicNum", ("*", "*"), COUNTED),
    both(28, "body.table.brokerVersion", ("(absent)", "*"), "a key that Java does not have"),
    both(45, "body.offsetTable.*", ("*", "*"), DELAYS),
    both(
        25,
        "remark",
        ("Can not update config in black list.", "Can not update config in black list. *"),
        WORDS,
    ),
    both(25, "answer", ("0 ", "1 * is not a key"), "a key that is none is refused and named"),
    both(26, "field version", ("*", "*"), VERSIONS),
    both(28, "body.table.commitLogDiskRatio_*", ("*", "*"), OWN_PATHS),
    both(25, "answer", ("0 ", "1 update: *"), "a value that is none is refused and named"),
    both(28, "body.table.*", ("(absent)", "*"), "keys of other versions are shown, too"),
    both(
        305,
        "body.topicList.CHECKPOINT_TOPIC",
        ("*", "(absent)"),
        "the topic of a feature that is not there",
    ),
    both(18, "answer", ("1 com.alibaba.fastjson*", "29 The specified topic is blank."), LIST),
    both(26, "body.*", ("(absent)", "*"), "keys of other versions are shown, too"),
    both(26, "body.*", ("/*", "/*"), OWN_PATHS),
    both(26, "body.*Port", ("*", "*"), OWN_PATHS),
    both(26, "body.namesrvAddr", ("*", "*"), OWN_PATHS),
    both(28, "body.table.scheduleMessageOffset_*", ("*", "(absent)"), DELAYS),
    both(
        18,
        "answer",
        ("1 Duplicate key *", "0 "),
        "a topic that is named twice is what it was named last; an exception of Java",
    ),
    both(
        26,
        "body.bitMapLengthConsumeQueueExt",
        ("*", "*"),
        "Java shows what it has computed, ours what was configured",
    ),
    both(
        17,
        "answer",
        ("29 *", "1 attribute * begins with neither + nor -"),
        "the attributes are looked at before the name",
    ),
    both(
        17,
        "answer",
        ("1 delete attribute format is wrong: *", "0 *"),
        "blank attributes are none",
    ),
    both(
        21,
        "body.topicConfigTable.%RETRY%*",
        ("{*", "(absent)"),
        "a message that is not there and is sent back makes no retry topic",
    ),
    both(26, "body.storePath*", ("*", "*"), OWN_PATHS),
    both(26, "body.rocketmqHome", ("*", "*"), OWN_PATHS),
    // Groups and offsets.
    both(225, "answer", ("*", "29 groupName * is not 1 to *"), GROUP_LIMITS),
    both(225, "remark", ("The specified group*", "groupName * is not 1 to *"), WORDS),
    both(308, "answer", ("1 java.lang.NullPointerException*", "0 "), NOTHING),
    both(
        317,
        "body.consumeStatsList.*",
        ("[{*", "[]"),
        "an offset of a queue that is not there is refused; Java keeps it for ever",
    ),
    both(
        43,
        "body.pullOffsetTable.*",
        ("*", "(absent)"),
        "how far pulls are is not kept beside what is committed",
    ),
    both(15, "remark", ("Group null not exist!", "Group  not exist!"), NULL),
    both(222, "answer", ("26 Group * does not exist", "0 "), GROUP_ON_USE),
    both(343, "answer", ("1 java.lang.NullPointerException*", "0 "), NOTHING),
    both(208, "answer", ("1 java.lang.NullPointerException*", "0 "), NOTHING),
    both(
        222,
        "answer",
        ("26 Group * does not exist", "1 queueId * of topic * does not exist, it has *"),
        "the queue is looked for before the group",
    ),
    both(308, "body.correctionOffsets.*", ("(absent)", "*"), TRANS_GROUP),
    both(41, "answer", ("1 java.lang.NullPointerException*", "0 "), NOTHING),
    both(345, "body.topic", ("(absent)", "\"\""), NULL),
    both(
        208,
        "body.offsetTable.*",
        ("(absent)", "*"),
        "Java shows what a group has offsets for, ours also what it subscribes to",
    ),
    both(43, "body.groupTopicMap.*", ("*", "(absent)"), NEGATIVE),
    both(43, "body.offsetTable.*", ("{\"*\":-*}", "(absent)"), NEGATIVE),
    both(
        223,
        "remark",
        (
            "the client does not support this feature. version=*",
            "the client does not support this feature. version=*",
        ),
        WORDS,
    ),
    both(225, "remark", ("The specified group*", "retryQueueNums is *"), WORDS),
    both(
        307,
        "remark",
        ("The Consumer <*> <null> not online", "The Consumer <*> <> not online"),
        NULL,
    ),
    both(
        309,
        "remark",
        ("The Consumer <*> <null> not online", "The Consumer <*> <> not online"),
        NULL,
    ),
    both(
        309,
        "remark",
        ("The Consumer <*> <*> not online", "there is no message * on this broker"),
        "the message is looked for before its consumer",
    ),
    both(
        34,
        "answer",
        ("1 java.lang.NullPointerException*", "0 "),
        "lists that are absent are empty",
    ),
    both(200, "remark", ("The specified group*", "groupName * is not 1 to *"), WORDS),
    both(200, "answer", ("*", "29 groupName * is not 1 to *"), GROUP_LIMITS),
    both(201, "body.subscriptionGroupTable.*", ("(absent)", "*"), GROUP_ON_USE),
    both(201, "body.subscriptionGroupTable.*", ("*", "(absent)"), LEFT),
    both(317, "body.consumeStatsList.*", ("(absent)", "*"), GROUP_ON_USE),
    both(317, "body.consumeStatsList.*", ("[]", "(absent)"), LEFT),
    both(
        15,
        "answer",
        ("0 ", "29 queueId * of topic * does not exist"),
        "an offset of a queue that is not there is refused; Java keeps it for ever",
    ),
    both(222, "answer", ("0 ", "26 Group * does not exist"), LEFT),
    both(
        222,
        "answer",
        ("0 ", "1 queueId * of topic * does not exist, it has *"),
        "a queue that is not there is refused",
    ),
    both(
        314,
        "answer",
        ("0 ", "26 destGroup * does not exist"),
        "offsets for a group that cannot be are refused",
    ),
    both(41, "body.lockOKMQSet*.topic", ("(absent)", "\"\""), NULL),
    both(200, "answer", ("1 java.lang.RuntimeException: unsupported key: *", "*"), ATTRIBUTES),
    both(225, "answer", ("1 java.lang.RuntimeException: unsupported key: *", "*"), ATTRIBUTES),
    both(200, "answer", ("*", "29 retryQueueNums is *, allowed is *"), GROUP_LIMITS),
    both(200, "answer", ("*", "29 retryMaxTimes is *, allowed is *"), GROUP_LIMITS),
    both(225, "answer", ("*", "29 retryQueueNums is *, allowed is *"), GROUP_LIMITS),
    both(
        223,
        "remark",
        ("java.lang.NullPointerException*", "No Any Consumer online in the consumer group: [*]"),
        EXCEPTION,
    ),
    both(
        307,
        "remark",
        ("The Consumer <*> <null> not online", "the custom field <clientId> is null"),
        MANDATORY,
    ),
    both(
        309,
        "remark",
        ("java.nio.BufferUnderflowException*", "msgId * is no offset id: *"),
        EXCEPTION,
    ),
    both(309, "remark", ("java.lang.*Exception*", "msgId * is no offset id: *"), EXCEPTION),
    both(
        303,
        "body.consumeTimeSpanSet*",
        ("*", "*"),
        "times are not written as text beside the numbers; a delay is counted from the first message, in Java from 1970",
    ),
    both(43, "body.offsetTable.RMQ_SYS_TRANS*", ("(absent)", "*"), TRANS_GROUP),
    both(300, "body.groupList.CID_RMQ_SYS_TRANS", ("(absent)", "1"), TRANS_GROUP),
    both(201, "field totalGroupNum", ("*", "*"), COUNTED),
    both(15, "answer", ("26 Group * not exist!", "*"), GROUP_ON_USE),
    both(
        14,
        "answer",
        ("22 *", "0 "),
        "a group without offset begins an empty queue at 0, as in Java 4.9.7: told 22, as by 5.5.0, a consumer of the end looks for it later and misses what was sent meanwhile",
    ),
    both(43, "body.groupTopicMap.CID_RMQ_SYS_TRANS", ("(absent)", "*"), TRANS_GROUP),
    // Messages.
    both(11, "field forbiddenType", ("*", "(absent)"), FORBIDDEN),
    both(361, "field forbiddenType", ("*", "(absent)"), FORBIDDEN),
    both(10, "answer", ("1 java.lang.ArrayIndexOutOfBoundsException*", "*"), EXCEPTION),
    both(310, "answer", ("1 java.lang.ArrayIndexOutOfBoundsException*", "*"), EXCEPTION),
    both(320, "answer", ("1 java.lang.ArrayIndexOutOfBoundsException*", "*"), EXCEPTION),
    both(0, "remark", ("the message is illegal, *", "timer message illegal, *"), WORDS),
    both(36, "remark", ("java.lang.*Exception*", "look message by offset failed, *"), EXCEPTION),
    both(10, "answer", ("1 java.lang.NumberFormatException: For input string*", "*"), NO_LEVEL),
    both(310, "answer", ("1 java.lang.NumberFormatException: For input string*", "*"), NO_LEVEL),
    both(320, "answer", ("1 java.lang.NumberFormatException: For input string*", "*"), NO_LEVEL),
    both(
        0,
        "answer",
        (
            "1 java.lang.RuntimeException: message body size exceeded*",
            "13 the message is illegal, *",
        ),
        EXCEPTION,
    ),
    both(324, "answer", ("1 *reply message *", "13 the message is illegal, *"), REPLY),
    both(325, "answer", ("1 *reply message *", "13 the message is illegal, *"), REPLY),
    both(324, "field *", ("*", "(absent)"), NUMBER),
    both(325, "field *", ("*", "(absent)"), NUMBER),
    both(11, "answer", ("*", "23 parse the consumer's subscription failed: *"), EXPRESSION),
    both(
        11,
        "remark",
        ("parse the consumer's subscription failed", "parse the consumer's subscription failed: *"),
        WORDS,
    ),
    both(361, "answer", ("*", "23 parse the consumer's subscription failed: *"), EXPRESSION),
    both(
        361,
        "remark",
        ("parse the consumer's subscription failed", "parse the consumer's subscription failed: *"),
        WORDS,
    ),
    both(320, "answer", ("0 ", "13 a batch cannot carry the property *"), BATCH),
    both(
        0,
        "answer",
        ("1 java.lang.NullPointerException: Cannot read the array length*", "*"),
        NO_BODY,
    ),
    both(
        0,
        "answer",
        ("1 java.lang.*OutOfBoundsException*", "13 the batch body is malformed: *"),
        EXCEPTION,
    ),
    both(
        0,
        "answer",
        ("1 java.nio.Buffer*Exception*", "13 the batch body is malformed: *"),
        EXCEPTION,
    ),
    both(
        0,
        "answer",
        ("1 java.lang.IllegalArgumentException*", "13 the batch body is malformed: *"),
        EXCEPTION,
    ),
    both(0, "remark", ("the message is illegal, *", "the batch body is malformed: *"), WORDS),
    both(0, "remark", ("the message is illegal, *", "a batch cannot carry the property *"), WORDS),
    both(
        12,
        "answer",
        ("1 java.lang.IllegalArgumentException: Illegal Capacity*", "22 can not find message, *"),
        EXCEPTION,
    ),
    both(
        33,
        "answer",
        ("0 ", "1 can not find message by the offset, *"),
        "no message begins there; Java sends the bytes that it finds",
    ),
    both(
        36,
        "answer",
        ("1 java.lang.NullPointerException*TopicValidator.isSystemTopic*", "0 "),
        "a dead letter whose topic is not named is stored; Java fails to count it",
    ),
    both(37, "answer", ("(none)", "0 "), "who asks for an answer gets one; Java keeps silent"),
    both(
        37,
        "remark",
        ("java.lang.NullPointerException*", "Find prepared transaction message failed"),
        EXCEPTION,
    ),
    both(
        37,
        "remark",
        (
            "org.apache.rocketmq.remoting.exception.RemotingCommandException: commitOrRollback field wrong*",
            "commitOrRollback is *",
        ),
        EXCEPTION,
    ),
    both(
        323,
        "answer",
        ("0 ", "1 message * cannot be checked again: *"),
        "what cannot be done is refused; Java says yes and stores a copy of the message",
    ),
    both(323, "remark", ("*", "message * cannot be checked again: *"), WORDS),
    both(
        11,
        "answer",
        ("*", "1 The broker does not support consumer to filter message by a class: *"),
        CLASS,
    ),
    both(
        33,
        "remark",
        ("java.lang.*Exception*", "can not find message by the offset, *"),
        EXCEPTION,
    ),
    both(
        37,
        "remark",
        ("java.lang.*Exception*", "Find prepared transaction message failed"),
        EXCEPTION,
    ),
    both(309, "remark", ("java.lang.NullPointerException*", "there is no message *"), EXCEPTION),
    both(
        0,
        "remark",
        ("batch request does not support retry group *", "the message is illegal, *"),
        WORDS,
    ),
    both(
        0,
        "message * system flag",
        ("0", "1"),
        "a stored reply says that its body is compressed; Java forgets it",
    ),
    both(324, "field *", ("(absent)", "*"), TIMED_REPLY),
    both(325, "field *", ("(absent)", "*"), TIMED_REPLY),
    both(324, "field queueOffset", ("*", "*"), REPLIES),
    both(325, "field queueOffset", ("*", "*"), REPLIES),
    both(324, "answer", ("1 *reply message *", "13 the message has no body *"), REPLY),
    both(325, "answer", ("1 *reply message *", "13 the message has no body *"), REPLY),
    both(
        361,
        "answer",
        ("*", "1 The broker does not support consumer to filter message by a class: *"),
        CLASS,
    ),
    both(
        10,
        "answer",
        ("1 java.lang.NullPointerException*getDefaultTopicQueueNums*", "0 "),
        MANDATORY,
    ),
    both(
        310,
        "answer",
        ("1 java.lang.NullPointerException*getDefaultTopicQueueNums*", "0 "),
        MANDATORY,
    ),
    both(
        320,
        "answer",
        ("1 java.lang.NullPointerException*getDefaultTopicQueueNums*", "0 "),
        MANDATORY,
    ),
    both(0, "field queueOffset of a shared queue", ("*", "*"), SHARED_QUEUE),
    both(12, "field indexLastUpdate*", ("*", "*"), "the newest message of all sequences"),
    both(
        14,
        "remark",
        ("Not found, V3_0_6_SNAPSHOT *", "Not found, do not set to zero, *"),
        "an empty truth is false; in a binary header Java reads it as none",
    ),
    both(202, "body.offsetTable.*SCHEDULE_TOPIC_XXXX\"}*", ("*", "*"), SHARED_QUEUE),
    both(202, "body.offsetTable.*RMQ_SYS_TRANS_*HALF_TOPIC\"}*", ("*", "*"), SHARED_QUEUE),
    both(
        300,
        "body.groupList.*",
        ("1", "(absent)"),
        "who does not want a topic any more is not named; Java names a group until it has no members",
    ),
    both(
        0,
        "answer",
        ("1 java.lang.NullPointerException*getDefaultTopicQueueNums*", "17 topic[*] not exist, *"),
        MANDATORY,
    ),
    both(
        0,
        "answer",
        (
            "29 request queueId[*TopicConfig [topicName=%RETRY%*",
            "26 subscription group not exist, *",
        ),
        "a group that cannot be is refused before the queue",
    ),
    both(
        320,
        "answer",
        ("1 java.nio.Buffer*Exception*", "13 a batch cannot carry the property *"),
        EXCEPTION,
    ),
    both(320, "answer", ("1 java.nio.Buffer*Exception*", "13 timer message illegal, *"), EXCEPTION),
    both(
        320,
        "answer",
        ("1 java.lang.IllegalArgumentException*", "13 the message is illegal, *"),
        EXCEPTION,
    ),
    both(
        320,
        "remark",
        ("batch request does not support retry group *", "timer message illegal, *"),
        "the time is looked at before the topic",
    ),
    both(
        322,
        "body.timestamp",
        ("*", "0"),
        "a registration without a version has version 0, in Java that of the moment",
    ),
    both(
        0,
        "remark",
        (
            "The specified topic is DLQ or Retry topic: *, and it's longer than topic max length: 255",
            "The specified topic: *, is longer than topic max length 255.",
        ),
        WORDS,
    ),
    both(
        324,
        "remark",
        ("java.lang.NumberFormatException*", "reply message properties[*] is null"),
        NO_LEVEL,
    ),
    both(
        325,
        "remark",
        ("java.lang.NumberFormatException*", "reply message properties[*] is null"),
        NO_LEVEL,
    ),
    both(
        0,
        "answer",
        ("13 timer message illegal, *", "0 "),
        "when a prepared message is delivered is its commit's business",
    ),
    both(202, "body.topicPutTps", ("0.*", "0.*"), SHARED_QUEUE),
    both(
        324,
        "remark",
        (
            "java.lang.NullPointerException*getDefaultTopicQueueNums*",
            "reply message properties[*] is null",
        ),
        MANDATORY,
    ),
    both(
        325,
        "remark",
        (
            "java.lang.NullPointerException*getDefaultTopicQueueNums*",
            "reply message properties[*] is null",
        ),
        MANDATORY,
    ),
    both(
        223,
        "answer",
        ("1 the client does not support this feature. version=*", "0 "),
        "only the client that is asked must know the request, in Java all of its group",
    ),
    both(
        345,
        "body.subscriptionData",
        ("{*", "(absent)"),
        "a pull subscribes nobody; Java keeps what a lite pull asks for as if it did",
    ),
    both(208, "body.offsetTable.*SCHEDULE_TOPIC_XXXX\"}.*", ("*", "*"), SHARED_QUEUE),
    both(208, "body.offsetTable.*RMQ_SYS_TRANS_*HALF_TOPIC\"}.*", ("*", "*"), SHARED_QUEUE),
    both(
        320,
        "answer",
        ("1 java.nio.Buffer*Exception*", "13 the message is illegal, *"),
        EXCEPTION,
    ),
    both(314, "answer", ("1 java.lang.NullPointerException*", "0 "), NOTHING),
    both(
        36,
        "answer",
        ("1 java.lang.RuntimeException: wrong format key: *", "0 "),
        "a retry topic with attributes takes what is sent back; an exception of Java",
    ),
    both(
        320,
        "answer",
        ("1 java.nio.Buffer*Exception*", "13 batch request does not support retry group *"),
        EXCEPTION,
    ),
    // The name server.
    both(100, "answer", ("1 namespace or key is null", "0 "), NULL),
    both(322, "body.stateVersion", ("0", "(absent)"), NULL),
    both(105, "body.brokerDatas*.brokerAddrs.*", ("(absent)", "*"), OTHER_ID),
    both(
        105,
        "remark",
        (
            "No topic route info in name server for the topic: null*",
            "No topic route info in name server for the topic: *",
        ),
        NULL,
    ),
    both(106, "body.brokerAddrTable.*.brokerAddrs.*", ("(absent)", "*"), OTHER_ID),
    both(304, "body.topicList.OWN_*", ("*", "(absent)"), EMPTY_BROKER),
    both(
        318,
        "answer",
        ("16 Can not update config in black list.", "1 * is not a key"),
        "a key that is none is refused first",
    ),
    both(
        25,
        "answer",
        ("16 Can not update config in black list.", "1 * is not a key"),
        "a key that is none is refused first",
    ),
    both(106, "body.clusterAddrTable.*", ("*", "(absent)"), EMPTY_BROKER),
    both(106, "body.brokerAddrTable.*", ("{\"brokerAddrs\":{},*", "(absent)"), EMPTY_BROKER),
    both(219, "remark", ("No config item, Namespace: null", "No config item, Namespace: "), NULL),
    both(318, "answer", ("0 ", "1 * is not a key"), "a key that is none is refused and named"),
    both(319, "body.*", ("(absent)", "*"), "keys of other versions are shown, too"),
    both(
        318,
        "answer",
        ("0 ", "16 Can not update config in black list. brokerConfigPath *"),
        BLACK_LIST,
    ),
    both(
        318,
        "remark",
        ("Can not update config in black list.", "Can not update config in black list. *"),
        WORDS,
    ),
    both(319, "body.listenPort", ("*", "*"), OWN_PATHS),
    both(319, "body.*Path", ("*", "*"), OWN_PATHS),
    both(319, "body.*Home", ("*", "*"), OWN_PATHS),
    both(319, "field version", ("*", "*"), VERSIONS),
    both(
        0,
        "remark",
        (
            " request type * not supported",
            " request type * not supported: a name server does not answer *",
        ),
        WORDS,
    ),
    both(304, "body.brokerAddr", ("*", "*"), "the address of one of all brokers"),
    both(103, "remark", ("register broker failed", "register broker failed: *"), WORDS),
];
