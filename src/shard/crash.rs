//! What a power cut, the death of the process or a failing device leaves of a store, for tests.
//!
//! `disk` is a simulated file system that remembers every event, so that the images any moment could leave can be
//! built afterwards; `machine` drives real engines over it, with writes that complete late and out of order;
//! `life` runs them, cuts, recovers with the real start-up code and compares with what was acknowledged.

mod check;
mod content;
pub(crate) mod disk;
mod life;
pub(crate) mod machine;
pub(crate) mod random;
mod tests;
