//! `store`: the log engine and its formats as state machines. Sans-io: operations out, completions in.
//!
//! A `Store` is one shard's part: the streams it serves and the queues whose messages lie in them. It reads no
//! clock and opens no file; `shard` maps its operations to the ring. Invariants: a position is acknowledged or
//! shown to readers only through the frontiers of its stream; derived files never run ahead of the log they
//! derive from; after a failed write or sync the store accepts nothing more.
#![forbid(unsafe_code)]

pub mod consume_queue;
pub mod delay;
pub mod index;
pub mod layout;
pub mod op;
pub mod queues;
pub mod read;
pub mod recovery;
pub mod retention;
pub mod segments;
pub mod stream;
pub mod timer;
pub mod writes;

mod engine;
mod persist;
#[cfg(test)]
mod sample;

pub use engine::{
    AppendError, Appended, Batch, Failure, QueueStep, Store, StoreConfig, UpkeepStep,
};
