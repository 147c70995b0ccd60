//! `client`: a blocking RocketMQ client over plain sockets, for the command line, tests and the benchmark.
//!
//! One `Connection` is one TCP connection used by one thread; `Producer` and `Consumer` put sends and pulls on top.
//! Nothing here retries, rebalances or runs in the background: what a caller asks is what goes over the wire.
//! Java counterpart: `MQClientAPIImpl`, without its pools and timers.
#![forbid(unsafe_code)]

mod admin;
mod connection;
mod consumer;
mod error;
mod producer;

pub use admin::{ConsumerMember, NewTopic};
pub use connection::{Connection, Options, Reply};
pub use consumer::{Consumer, Pull, PullStatus, Pulled, Received};
pub use error::Error;
pub use producer::{
    HalfPlace, Message, Producer, SendResult, SendStatus, TransactionCheck, TransactionEnd,
};

#[cfg(test)]
mod tests;
