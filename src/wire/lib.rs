//! `wire`: RocketMQ's frames, headers, bodies and message layout. Sans-io: bytes in, values out, and back.
#![forbid(unsafe_code)]
