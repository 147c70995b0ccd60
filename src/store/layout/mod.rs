//! On-disk formats: one file per format, each with its byte map and named offsets.

pub mod checkpoint;
pub mod consume_queue;
pub mod consume_queue_ext;
pub mod identity;
pub mod index;
pub mod queue_table;
pub mod segment;
pub mod timer;
