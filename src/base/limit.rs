//! A bound on how often something is said: so many times per second, and then a count of what was left out.

use crate::time::MonoNs;

/// Lets at most `per_second` lines through in each second. One value per kind of line, owned by one thread.
#[derive(Clone, Debug)]
pub struct LineLimit {
    per_second: u32,
    second: u64,
    used: u32,
    suppressed: u64,
}

impl LineLimit {
    /// A limit of `per_second` lines.
    pub const fn new(per_second: u32) -> LineLimit {
        LineLimit { per_second, second: 0, used: 0, suppressed: 0 }
    }

    /// `Some(n)`: the line may be written, and `n` lines before it were left out. `None`: leave it out.
    pub fn admit(&mut self, now: MonoNs) -> Option<u64> {
        let second = now.0 / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.used = 0;
        }
        if self.used >= self.per_second {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told_later() {
        let mut limit = LineLimit::new(2);
        let at = |ms| MonoNs(0).plus_ms(ms);
        assert_eq!(limit.admit(at(100)), Some(0));
        assert_eq!(limit.admit(at(200)), Some(0));
        assert_eq!(limit.admit(at(300)), None);
        assert_eq!(limit.admit(at(999)), None);
        assert_eq!(limit.admit(at(1_000)), Some(2));
        assert_eq!(limit.admit(at(1_001)), Some(0));
        assert_eq!(limit.admit(at(1_002)), None);
    }
}
