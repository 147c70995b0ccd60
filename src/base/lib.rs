//! `base`: what every layer may name: ids, time values, bounded containers, configuration rows.
//!
//! No I/O, no clock, no RocketMQ word. Nothing here allocates behind the caller's back.
#![forbid(unsafe_code)]

pub mod config;
pub mod histogram;
pub mod ids;
pub mod limit;
pub mod props;
pub mod time;
pub mod wheel;
