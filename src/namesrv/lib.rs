//! `namesrv`: the name server: which broker has which topic, and where it is. Java counterpart: the `namesrv` module.
//!
//! One shard owns all of it, so there is no lock and no order between requests but that of their arrival. `routes` and
//! `kv` are tables that know no clock and no connection's bytes; `handlers` translate requests into calls on them.
#![forbid(unsafe_code)]

#[cfg(test)]
mod golden;
mod handlers;
pub mod kv;
mod limit;
mod request;
pub mod routes;
#[cfg(test)]
mod sample;
mod save;
mod server;

pub use limit::LimitError;
pub use save::NamesrvDone;
pub use server::{NameServer, NoMail, Seed, owns_timer};
