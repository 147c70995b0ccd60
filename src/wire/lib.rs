//! `wire`: RocketMQ's frames, headers, bodies and message layout. Sans-io: bytes in, values out, and back.
//!
//! Every decoder takes hostile bytes: it returns an error naming the field, never panics, and never allocates by
//! a length it has not compared with the bytes at hand. Java counterpart: the `remoting` and `common` modules.
#![forbid(unsafe_code)]

pub mod codes;
mod decimal;
mod escape;
pub mod frame;
pub mod header;
pub mod ids;
pub mod msg_id;
pub mod reply;
mod scan;
pub mod text;

pub use frame::{FRAME_BYTES_MAX, Frame, FrameError, SerializeType};
pub use header::{Fields, Header, HeaderError};
pub use ids::{PhyOffset, QueueId, QueueOffset, StreamId};
pub use msg_id::MessageId;
pub use reply::{BodyWriter, FrameHead, FrameWriter, patch_code};
pub use text::Text;
