//! `reactor`: the shard's own io_uring, its sockets and files, mail between shards, and glommio as host.
//!
//! One of the two crates with `unsafe`. Invariants: every buffer given to the kernel is owned here until its
//! completion, also across cancel and close; a socket slot is reused only when no operation names it any more;
//! nothing blocks inside a turn. After start-up only this crate makes system calls in a server process.

pub mod affinity;
pub mod clock;
pub mod files;
pub mod host;
pub mod mesh;
pub mod probe;
pub mod receive;
pub mod ring;
mod sleep;
pub mod sockets;
pub mod sys;

pub use files::{FileId, WriteFrom, WriteMode};
pub use ring::{Event, Reactor, ReactorConfig};
pub use sockets::SocketId;
