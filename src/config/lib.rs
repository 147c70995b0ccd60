//! `config`: every key of the Java broker and name server, and the typed values this program runs on.
//!
//! Tables are rows of [`base::config`]; each process has its own. Text is handed in and out, nothing here performs I/O.
//! Java's counterparts: BrokerConfig, MessageStoreConfig, NettyServerConfig, NettyClientConfig, NamesrvConfig.
#![forbid(unsafe_code)]

mod check;
mod list;
mod machine;
mod network;
mod reference;
mod update;
mod why;

pub mod broker;
pub mod namesrv;

pub use broker::{BrokerConfig, BrokerRole, FlushDiskType, LogSyncMethod};
pub use list::{effective_properties, print_all, print_important};
pub use machine::Machine;
pub use namesrv::NamesrvConfig;
pub use reference::reference_conf;
pub use update::{Update, UpdateError, apply_update};

#[cfg(test)]
mod tests;
