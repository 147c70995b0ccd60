//! `broker`: request families, tables and services of a RocketMQ broker, one instance per shard.
//!
//! Shard 0 is the metadata shard: the only writer of topics and groups, home of client membership, locks and
//! registration. Every shard holds snapshots that it replaces by mail, and owns its queues with their offsets and
//! parked pulls. Java counterpart: BrokerController and its processors.
#![forbid(unsafe_code)]

pub mod mail;
pub mod refusal;
pub mod settings;
pub mod topics;

mod ahead;
mod app;
mod bit_maps;
mod clients;
mod cold;
mod delay;
mod detour;
mod fetch;
mod filter_table;
mod groups;
pub mod handlers;
mod locks;
mod look;
mod offsets;
pub mod own_reads;
mod parked;
pub mod put;
mod register;
mod scatter;
mod subscriptions;
mod tables;
mod timer;
pub mod traffic;
pub(crate) mod transactions;
mod wanted;

pub use app::{BootTables, Broker, Host};
pub use mail::{BrokerDone, BrokerMail};
pub use tables::load as load_tables;
pub use timer::{LastCheck, TimerBoot};
