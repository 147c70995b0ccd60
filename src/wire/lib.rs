//! `wire`: RocketMQ's frames, headers, bodies and message layout. Sans-io: bytes in, values out, and back.
//!
//! Every decoder takes hostile bytes: it returns an error naming the field, never panics, and never allocates by
//! a length it has not compared with the bytes at hand. Java counterpart: the `remoting` and `common` modules.
#![forbid(unsafe_code)]

pub mod batch;
pub mod body;
pub mod codes;
mod decimal;
mod escape;
pub mod frame;
#[cfg(test)]
mod golden;
pub mod header;
pub mod ids;
pub mod java_hash;
pub mod json;
pub mod message;
pub mod msg_id;
pub mod props;
pub mod reply;
pub mod req;
mod scan;
pub mod sys_flag;
pub mod tags;
pub mod text;

pub use frame::{FRAME_BYTES_MAX, Frame, FrameError, SerializeType};
pub use header::{Fields, Header, HeaderError};
pub use ids::{PhyOffset, QueueId, QueueOffset, StreamId};
pub use json::BodyError;
pub use message::{MessageError, MessageView, NewMessage, Place, Probe, probe};
pub use msg_id::MessageId;
pub use props::Props;
pub use reply::{BodyWriter, FrameHead, FrameWriter, patch_code, patch_refusal};
pub use req::FieldError;
pub use tags::TagFilter;
pub use text::Text;
