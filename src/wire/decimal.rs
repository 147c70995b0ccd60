//! Integers to decimal text without the formatting machinery: replies are full of them.

/// Digits of `u64::MAX`, and a sign.
const BYTES_MAX: usize = 21;

/// Two digits for each number below 100.
const PAIRS: [u8; 200] = pairs();

const fn pairs() -> [u8; 200] {
    let mut table = [b'0'; 200];
    let (mut tens, mut ones, mut at) = (b'0', b'0', 0);
    while at < 200 {
        table[at] = tens;
        table[at + 1] = ones;
        ones += 1;
        if ones > b'9' {
            ones = b'0';
            tens += 1;
        }
        at += 2;
    }
    table
}

/// Appends `value` in decimal.
pub(crate) fn write_i64(out: &mut Vec<u8>, value: i64) {
    let mut buffer = [0_u8; BYTES_MAX];
    let mut start = BYTES_MAX;
    let mut rest = value.unsigned_abs();
    while rest >= 10 {
        let pair = usize::try_from(rest % 100).expect("below 100") * 2;
        rest /= 100;
        start -= 2;
        buffer[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if rest > 0 || start == BYTES_MAX {
        start -= 1;
        buffer[start] = b'0' + u8::try_from(rest).expect("one digit");
    }
    if value < 0 {
        start -= 1;
        buffer[start] = b'-';
    }
    out.extend_from_slice(&buffer[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_display_writes() {
        let mut values = vec![0, i64::MIN, i64::MAX, i64::MIN + 1];
        let mut power: i64 = 1;
        while let Some(next) = power.checked_mul(10) {
            values.extend([power - 1, power, power + 1, -power, power * 7 / 3]);
            power = next;
        }
        for value in values {
            let mut out = b"x".to_vec();
            write_i64(&mut out, value);
            assert_eq!(out, format!("x{value}").into_bytes());
        }
    }
}
