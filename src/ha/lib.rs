//! `ha`: what makes a message count beyond this process: the acknowledgement gate. Sans-io.
//!
//! Replication joins the gate's frontier here; nothing else in the program turns a stored message into a reply.
#![forbid(unsafe_code)]

pub mod ack_gate;
