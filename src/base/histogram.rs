//! A histogram of fixed size for latencies: recording costs a handful of instructions and never allocates.
//!
//! Log-linear buckets: exact below 64, then 32 buckets for each doubling, so that a value is told within 3 %.
//! Values above `VALUE_MAX` count as that.

/// Bits of a value below its highest one that a bucket keeps.
const SUB_BITS: u32 = 5;
const SUB_COUNT: usize = 1 << SUB_BITS;
/// Bits of the largest value.
const VALUE_BITS: u32 = 26;
/// Largest value that is told apart: 67 s in microseconds.
pub const VALUE_MAX: u64 = (1 << VALUE_BITS) - 1;
const BUCKETS: usize = (VALUE_BITS as usize - SUB_BITS as usize + 1) * SUB_COUNT;

const _: () = assert!(bucket_of(VALUE_MAX) == BUCKETS - 1);

/// Counts by value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    counts: Box<[u64]>,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS].into_boxed_slice(), max: 0 }
    }
}

const fn bucket_of(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let shift = bits.saturating_sub(SUB_BITS + 1);
    // The shifted value has at most six bits: they are in the lowest byte.
    (shift as usize) * SUB_COUNT + (value >> shift).to_le_bytes()[0] as usize
}

/// Largest value of a bucket.
fn top_of(bucket: usize) -> u64 {
    let shift = (bucket / SUB_COUNT).saturating_sub(1);
    let sub = (bucket - shift * SUB_COUNT) as u64;
    ((sub + 1) << shift) - 1
}

impl Histogram {
    /// Counts a value so many times.
    pub fn record(&mut self, value: u64, count: u64) {
        let value = value.min(VALUE_MAX);
        self.counts[bucket_of(value)] += count;
        self.max = self.max.max(value);
    }

    /// Values that were counted.
    pub fn len(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The largest value; 0 when there is none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// A value that so many thousandths of all do not exceed, rounded up within its bucket; 0 when there is none.
    pub fn quantile(&self, thousandths: u64) -> u64 {
        let rank = (self.len() * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return top_of(bucket).min(self.max);
            }
        }
        0
    }

    /// The buckets that are not empty: largest value and count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let all = self.counts.iter().enumerate();
        let filled = all.filter(|(_, count)| **count > 0);
        filled.map(|(bucket, count)| (top_of(bucket).min(self.max), *count))
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.max = self.max.max(other.max);
    }

    /// Takes the counts of an earlier state away; the maximum is then that of a bucket. `None`: it is no earlier state.
    pub fn since(&self, earlier: &Histogram) -> Option<Histogram> {
        let mut later = Histogram::default();
        for (bucket, (now, then)) in self.counts.iter().zip(&earlier.counts).enumerate() {
            let count = now.checked_sub(*then)?;
            later.counts[bucket] = count;
            if count > 0 {
                later.max = top_of(bucket).min(self.max);
            }
        }
        Some(later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_told_within_three_percent() {
        let mut last = 0;
        for value in (0..200_000).chain((200_000..VALUE_MAX).step_by(997)).chain([VALUE_MAX]) {
            let bucket = bucket_of(value);
            assert!(bucket == last || bucket == last + 1 || value >= 200_000, "{value}");
            last = bucket;
            let top = top_of(bucket);
            assert!(top >= value && (top - value) * 32 <= value, "{value} is told as {top}");
            assert_eq!(bucket_of(top), bucket);
        }
    }

    #[test]
    fn quantiles_are_values_that_were_counted() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(500), histogram.max(), histogram.is_empty()), (0, 0, true));
        histogram.record(10, 98);
        histogram.record(5_000, 1);
        histogram.record(u64::MAX, 1);
        assert_eq!(histogram.len(), 100);
        assert_eq!([histogram.quantile(500), histogram.quantile(980)], [10, 10]);
        assert_eq!(histogram.quantile(990), 5_119);
        assert_eq!([histogram.quantile(1000), histogram.max()], [VALUE_MAX, VALUE_MAX]);
    }

    #[test]
    fn what_came_since_is_the_difference() {
        let mut earlier = Histogram::default();
        earlier.record(1000, 5);
        let mut later = earlier.clone();
        later.record(20, 2);
        let mut other = Histogram::default();
        other.record(20, 2);
        assert_eq!(later.since(&earlier), Some(other.clone()));
        assert_eq!(earlier.since(&later), None);
        other.add(&earlier);
        assert_eq!(other, later);
        assert_eq!(later.buckets().collect::<Vec<_>>(), [(20, 2), (1000, 5)]);
    }
}
