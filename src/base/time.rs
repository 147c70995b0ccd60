//! Time values. There is no clock here: `now` comes in, read once per turn by the reactor.

/// Wall-clock time, milliseconds since 1970 (RocketMQ's time stamps).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct WallMs(pub i64);

/// Monotonic time, nanoseconds since an arbitrary start. For deadlines and durations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// This instant plus `ms` milliseconds; saturates.
    pub fn plus_ms(self, ms: u64) -> MonoNs {
        MonoNs(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Nanoseconds from `earlier` to this instant; 0 when `earlier` is later.
    pub fn since(self, earlier: MonoNs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks, read together once per turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For time stamps that go to disk and wire.
    pub wall: WallMs,
    /// For deadlines.
    pub mono: MonoNs,
}
