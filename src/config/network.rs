//! The keys of Java's network layer, which broker and name server share. A table: one row per key.
#![cfg_attr(rustfmt, rustfmt_skip)]

use base::config::{Kind, Row, Since};
use crate::why;

const I32: Kind = Kind::I32 { min: i32::MIN, max: i32::MAX };
const I64: Kind = Kind::I64 { min: i64::MIN, max: i64::MAX };

/// Network.
pub(crate) const ROWS: &[Row] = &[
    Row::new("serverChannelMaxIdleTimeSeconds", I32, "120", "silence after which a connection is closed").unit("s").between(1, i32::MAX as i64).honoured(),
    Row::new("serverSocketBacklog", I32, "1024", "connections that wait to be accepted").unit("connections").between(1, 65535).honoured(),
    Row::new("serverSocketSndBufSize", I32, "0", "send buffer of a socket; 0 leaves it to the kernel").unit("bytes").between(0, i32::MAX as i64),
    Row::new("serverSocketRcvBufSize", I32, "0", "receive buffer of a socket; 0 leaves it to the kernel").unit("bytes").between(0, i32::MAX as i64),
    Row::new("serverOnewaySemaphoreValue", I32, "256", "one-way requests to clients under way").unit("requests").accepted(why::NETTY),
    Row::new("serverAsyncSemaphoreValue", I32, "64", "requests to clients under way").unit("requests").accepted(why::NETTY),
    Row::new("enableShutdownGracefully", Kind::Bool, "false", "ask clients to go elsewhere before stopping").since(Since::Java5).honoured(),
    Row::new("shutdownWaitTimeSeconds", I32, "30", "how long they have").since(Since::Java5).unit("s").between(0, i32::MAX as i64).honoured(),
    Row::new("serverWorkerThreads", I32, "8", "threads that decode").unit("threads").accepted(why::NETTY),
    Row::new("serverCallbackExecutorThreads", I32, "0", "threads for callbacks").unit("threads").accepted(why::NETTY),
    Row::new("serverSelectorThreads", I32, "3", "threads that read sockets").unit("threads").accepted(why::NETTY),
    Row::new("writeBufferHighWaterMark", I32, "0", "unsent bytes that stop a connection").unit("bytes").accepted(why::NETTY),
    Row::new("writeBufferLowWaterMark", I32, "0", "unsent bytes that let it go on").unit("bytes").accepted(why::NETTY),
    Row::new("serverNettyWorkerGroupEnable", Kind::Bool, "true", "decode on threads of their own").since(Since::Java5).accepted(why::NETTY),
    Row::new("serverPooledByteBufAllocatorEnable", Kind::Bool, "true", "pooled buffers").accepted(why::NETTY),
    Row::new("useEpollNativeSelector", Kind::Bool, "false", "epoll instead of Java's selector").accepted(why::NETTY),
    Row::new("clientWorkerThreads", I32, "4", "threads of outgoing connections").unit("threads").accepted(why::NETTY),
    Row::new("clientCallbackExecutorThreads", I32, "${CPUs}", "threads for their callbacks").unit("threads").accepted(why::NETTY),
    Row::new("clientOnewaySemaphoreValue", I32, "65535", "one-way requests under way").unit("requests").accepted(why::NETTY),
    Row::new("clientAsyncSemaphoreValue", I32, "65535", "requests under way").unit("requests").accepted(why::NETTY),
    Row::new("connectTimeoutMillis", I32, "3000", "time of connecting to a name server").unit("ms").between(1, i32::MAX as i64),
    Row::new("channelNotActiveInterval", I64, "60000", "age of a dead outgoing connection").unit("ms").accepted(why::NETTY),
    Row::new("isScanAvailableNameSrv", Kind::Bool, "true", "look for name servers that can be reached").since(Since::Java5),
    Row::new("clientChannelMaxIdleTimeSeconds", I32, "120", "silence after which an outgoing connection is closed").unit("s").between(1, i32::MAX as i64),
    Row::new("clientSocketSndBufSize", I32, "0", "send buffer of outgoing connections").unit("bytes").accepted(why::NETTY),
    Row::new("clientSocketRcvBufSize", I32, "0", "receive buffer of outgoing connections").unit("bytes").accepted(why::NETTY),
    Row::new("clientPooledByteBufAllocatorEnable", Kind::Bool, "false", "pooled buffers for them").accepted(why::NETTY),
    Row::new("clientCloseSocketIfTimeout", Kind::Bool, "true", "close an outgoing connection after a timeout"),
    Row::new("socksProxyConfig", Kind::Text, "{}", "SOCKS proxies for outgoing connections, as JSON").since(Since::Java5),
    Row::new("disableCallbackExecutor", Kind::Bool, "false", "callbacks on the network thread").since(Since::Java5).accepted(why::NETTY),
    Row::new("disableNettyWorkerGroup", Kind::Bool, "false", "decode on the network thread").since(Since::Java5).accepted(why::NETTY),
    Row::new("maxReconnectIntervalTimeSeconds", I64, "60", "pause between two connects after GO_AWAY").since(Since::Java5).unit("s"),
    Row::new("enableReconnectForGoAway", Kind::Bool, "true", "connect anew after GO_AWAY").since(Since::Java5),
];
