//! `shard`: the turn loop of one core: connections, mail, timers, and the store's operations on the ring.
//!
//! A turn takes all completions, runs every handler to completion, plans one write per log stream and one send
//! per connection, and submits once. It knows no request code: it calls an `App`. Everything a shard owns is
//! reached from its thread only.
#![forbid(unsafe_code)]

pub mod app;
pub mod boot;
mod conns;
#[cfg(test)]
mod crash;
pub mod cx;
pub mod disk;
mod frames;
pub mod index_files;
mod io_map;
pub mod offline;
mod queue_ext;
pub mod queue_files;
mod retention;
pub mod server;
mod slice;
pub mod stages;
pub mod stalled;
mod stop;
pub mod store_dir;
mod turn;

pub use app::{App, Goodbye, ListenerTag, Peer};
pub use cx::Cx;
