//! Java's bloom filter over consumer groups: which bits of a queue entry's bit map say that a group wants the message.
//! `store.md` 3.5 and `consumerFilter.json`. Java counterparts: BloomFilter, and Guava's `murmur3_128`.

/// Java's limits of the error rate in percent.
const ERROR_RATE_PERCENT: std::ops::Range<u32> = 1..100;

/// How bits are chosen: `k` of `m`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BloomFilter {
    hashes: usize,
    bits: u32,
}

impl BloomFilter {
    /// For so many groups, and so many percent of wrong hits. `None`: Java's constructor refuses them.
    pub fn new(error_rate_percent: u32, groups: u32) -> Option<BloomFilter> {
        if !ERROR_RATE_PERCENT.contains(&error_rate_percent) || groups == 0 {
            return None;
        }
        let error_rate = f64::from(error_rate_percent) / 100.0;
        let log = |base: f64, value: f64| value.ln() / base.ln();
        let hashes = ceiling(log(0.5, error_rate))?;
        let bits = ceiling(
            f64::from(groups) * log(2.0, 1.0 / error_rate) * log(2.0, std::f64::consts::E),
        )?;
        let hashes = usize::try_from(hashes).ok().filter(|count| *count > 0)?;
        Some(BloomFilter { hashes, bits: bits.checked_next_multiple_of(8)? })
    }

    /// Bits of a map.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Bytes of a map, whose bits are a multiple of 8.
    pub fn map_bytes(&self) -> usize {
        self.bits.div_ceil(8) as usize
    }

    /// Whether bits were chosen with the same values.
    pub fn is_valid(&self, bits: u32, positions: &[u32]) -> bool {
        bits == self.bits && positions.len() == self.hashes
    }

    /// The bits of a group and a topic.
    pub fn positions(&self, group: &str, topic: &str) -> Vec<u32> {
        let hash = murmur3_128(format!("{group}#{topic}").as_bytes()).to_le_bytes();
        let [a, b, c, d, e, f, g, h] = hash;
        let (low, high) = (i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes([e, f, g, h]));
        let mut combined = low;
        let next = (0..self.hashes).map(|_| {
            combined = combined.wrapping_add(high);
            let positive = if combined < 0 { !combined } else { combined };
            positive.cast_unsigned() % self.bits
        });
        next.collect()
    }
}

/// The smallest integer not below a number; by its text, which needs no truncating cast.
fn ceiling(value: f64) -> Option<u32> {
    format!("{:.0}", value.ceil()).parse().ok()
}

/// The first half of the 128-bit hash (x64 variant, seed 0).
fn murmur3_128(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87C3_7B91_1142_53D5;
    const C2: u64 = 0x4CF5_AD43_2745_937F;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let (mut h1, mut h2) = (0u64, 0u64);
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(word)
    };
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let (first, second) = block.split_at(8);
        h1 ^= mix1(word(first));
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52DC_E729);
        h2 ^= mix2(word(second));
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5AB5);
    }
    let (first, second) = tail.split_at(tail.len().min(8));
    h2 ^= mix2(word(second));
    h1 ^= mix1(word(first));
    let len = bytes.len() as u64;
    h1 ^= len;
    h2 ^= len;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

fn finish(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash = (hash ^ hash >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_java() {
        // From a `consumerFilter.json` that 5.5.0 wrote.
        let bloom = BloomFilter::new(20, 32).unwrap();
        assert_eq!(bloom.bits(), 112);
        assert_eq!(bloom.positions("sql1_7dojs60u", "Sql_7dojs60u"), [56, 38, 91]);
        assert_eq!(bloom.positions("sql3_7dojs60u", "Sql_7dojs60u"), [15, 18, 90]);
        assert!(bloom.is_valid(112, &[1, 2, 3]) && !bloom.is_valid(112, &[1, 2]));
        assert!(!bloom.is_valid(104, &[1, 2, 3]));
        for (error_rate, groups) in [(0, 32), (100, 32), (20, 0)] {
            assert_eq!(BloomFilter::new(error_rate, groups), None);
        }
    }
}
