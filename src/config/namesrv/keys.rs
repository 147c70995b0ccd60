//! Every key of the Java name server 4.9.7 and 5.5.0, and the keys of this one. A table: one row per key.
#![cfg_attr(rustfmt, rustfmt_skip)]

use base::config::{Group, Kind, Row, Since, Table};
use crate::{network, why};

const I32: Kind = Kind::I32 { min: i32::MIN, max: i32::MAX };
const I64: Kind = Kind::I64 { min: i64::MIN, max: i64::MAX };
const BYTES: Kind = Kind::Bytes { min: 0, max: i64::MAX };

/// The keys of the name server.
pub static TABLE: Table = Table {
    process: "name server",
    groups: &[
        Group { title: "Routes and settings", rows: ROUTES },
        Group { title: "Controller", rows: CONTROLLER },
        Group { title: "Network", rows: network::ROWS },
        Group { title: "Keys of this name server", rows: OWN },
    ],
    misnamed: &[
        ("namesrvAddr", "a name server needs no address of another one"),
        ("storePathRootDir", "it is a key of the broker"),
    ],
};

/// Routes and settings.
const ROUTES: &[Row] = &[
    Row::new("listenPort", I32, "9876", "port for clients and brokers").between(1, 65535).honoured().important(),
    Row::new("bindAddress", Kind::Text, "0.0.0.0", "address the listener binds").since(Since::Java5).honoured().important(),
    Row::new("kvConfigPath", Kind::Text, "${home}/namesrv/kvConfig.json", "file of the key-value settings").honoured().important(),
    Row::new("configStorePath", Kind::Text, "${home}/namesrv/namesrv.properties", "file that keeps changed settings; the file of the option -c when there is one").honoured().important(),
    Row::new("orderMessageEnable", Kind::Bool, "false", "add the order setting of a topic to its route").live(),
    Row::new("returnOrderTopicConfigToBroker", Kind::Bool, "true", "answer a registration with the order settings").since(Since::Java5).live(),
    Row::new("scanNotActiveBrokerInterval", I64, "5000", "period of looking for silent brokers").since(Since::Java5).unit("ms").between(1, i64::MAX).live(),
    Row::new("deleteTopicWithBrokerRegistration", Kind::Bool, "false", "forget topics that a whole registration does not name").since(Since::Java5).live(),
    Row::new("enableAllTopicList", Kind::Bool, "true", "answer the list of all topics (request 206)").since(Since::Java5).live(),
    Row::new("enableTopicList", Kind::Bool, "true", "answer the list of topics of a unit (request 224)").since(Since::Java5).live(),
    Row::new("needWaitForService", Kind::Bool, "false", "answer no routes for a while after the start").since(Since::Java5).honoured(),
    Row::new("waitSecondsForService", I32, "45", "how long").since(Since::Java5).unit("s").between(0, i32::MAX as i64).honoured(),
    Row::new("notifyMinBrokerIdChanged", Kind::Bool, "false", "tell brokers when the least broker id of their set changes").since(Since::Java5),
    Row::new("supportActingMaster", Kind::Bool, "false", "let a slave stand in for a lost master in routes").since(Since::Java5).live(),
    Row::new("productEnvName", Kind::Text, "center", "label of the environment").live(),
    Row::new("clusterTest", Kind::Bool, "false", "test mode that asks another name server for unknown topics"),
    Row::new("configBlackList", Kind::Text, "configBlackList;configStorePath;kvConfigPath", "keys that cannot be changed by a request, separated by `;`").since(Since::Java5).honoured(),
    Row::new("rocketmqHome", Kind::Text, "${rocketmqHome}", "directory of the installation").honoured(),
    Row::new("unRegisterBrokerQueueCapacity", I32, "3000", "waiting unregistrations").since(Since::Java5).unit("requests").accepted(why::QUEUE),
    Row::new("clientRequestThreadPoolNums", I32, "8", "threads for route requests").since(Since::Java5).unit("threads").accepted(why::POOL),
    Row::new("defaultThreadPoolNums", I32, "16", "threads for other requests").since(Since::Java5).unit("threads").accepted(why::POOL),
    Row::new("clientRequestThreadPoolQueueCapacity", I32, "50000", "waiting route requests").since(Since::Java5).unit("requests").accepted(why::QUEUE),
    Row::new("defaultThreadPoolQueueCapacity", I32, "10000", "waiting other requests").since(Since::Java5).unit("requests").accepted(why::QUEUE),
    Row::new("useTLS", Kind::Bool, "false", "encrypt outgoing connections").refused(why::TLS),
];

/// Controller.
const CONTROLLER: &[Row] = &[
    Row::new("enableControllerInNamesrv", Kind::Bool, "false", "run a controller in this process").since(Since::Java5).refused(why::NSCONTROLLER),
    Row::new("controllerType", Kind::Text, "DLedger", "kind of consensus").since(Since::Java5),
    Row::new("controllerDLegerGroup", Kind::Text, "", "name of the controller group").since(Since::Java5),
    Row::new("controllerDLegerPeers", Kind::Text, "", "its members, separated by `;`").since(Since::Java5),
    Row::new("controllerDLegerSelfId", Kind::Text, "", "which member this is").since(Since::Java5),
    Row::new("controllerStorePath", Kind::Text, "", "directory of the controller").since(Since::Java5),
    Row::new("mappedFileSize", I32, "1073741824", "size of its log file").since(Since::Java5).unit("bytes"),
    Row::new("enableElectUncleanMaster", Kind::Bool, "false", "choose a master outside the sync set").since(Since::Java5),
    Row::new("isProcessReadEvent", Kind::Bool, "false", "replicate reads too").since(Since::Java5),
    Row::new("notifyBrokerRoleChanged", Kind::Bool, "true", "tell brokers about new roles").since(Since::Java5),
    Row::new("electMasterMaxRetryCount", I32, "3", "tries of an election").since(Since::Java5).unit("times"),
    Row::new("scanInactiveMasterInterval", I64, "5000", "period of looking for lost masters").since(Since::Java5).unit("ms"),
    Row::new("controllerThreadPoolNums", I32, "16", "threads of the controller").since(Since::Java5).unit("threads").accepted(why::POOL),
    Row::new("controllerRequestThreadPoolQueueCapacity", I32, "50000", "waiting requests of the controller").since(Since::Java5).unit("requests").accepted(why::QUEUE),
];

/// Keys of this name server.
const OWN: &[Row] = &[
    Row::new("shardCount", I32, "0", "shards, each a pinned thread; 0 is one").since(Since::Own).unit("shards").between(0, 1024).honoured(),
    Row::new("shardCpus", Kind::Text, "", "CPUs for the shards, like `0,2-3`; empty is the mask of the process").since(Since::Own).honoured(),
    Row::new("recvBufferBytes", BYTES, "16384", "size of one receive buffer, a multiple of 4096").since(Since::Own).unit("bytes").between(4096, 16777216).honoured(),
    Row::new("recvBufferCount", I32, "1024", "receive buffers of a shard, a power of two").since(Since::Own).unit("buffers").between(16, 32768).honoured(),
    Row::new("connectionsMax", I32, "16384", "connections of a shard at most").since(Since::Own).unit("connections").between(1, i32::MAX as i64).honoured(),
    Row::new("logPath", Kind::Text, "", "directory of the log files; empty is `logs` beside the directory of kvConfigPath").since(Since::Own).honoured(),
    Row::new("logTimeZone", Kind::Text, "GMT+8", "time zone of log lines: UTC or GMT+H:MM; Java always writes GMT+8").since(Since::Own).honoured(),
];
