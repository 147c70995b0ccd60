//! Numbers in texts as Java reads them: `Long.valueOf` (`Integer.valueOf` with narrower bounds), `Double.valueOf`. Nothing is allocated.

/// Zeros of the decimal digits beyond ASCII that `Character.digit` knows in one UTF-16 unit (Unicode 13).
const ZEROS: [u32; 37] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66,
    0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90,
    0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
    0x0030,
];

fn digit(found: char) -> Option<i64> {
    let code = u32::from(found);
    if let Some(value) = found.to_digit(10) {
        return Some(i64::from(value));
    }
    let zero = ZEROS.iter().find(|zero| (**zero..**zero + 10).contains(&code))?;
    Some(i64::from(code - zero))
}

/// A whole number of 64 bits: an optional sign and digits, nothing else.
pub(crate) fn parse_long(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    // The smallest number has no positive counterpart.
    let mut value = 0i64;
    for found in digits.chars() {
        value = value.checked_mul(10)?.checked_sub(digit(found)?)?;
    }
    if is_negative { Some(value) } else { value.checked_neg() }
}

/// A floating point number: blanks around it, `NaN`, `Infinity`, hexadecimal digits and a type letter at the end included.
pub(crate) fn parse_double(text: &[u8]) -> Option<f64> {
    let is_blank = |byte: &u8| *byte <= b' ';
    let start = text.iter().position(|byte| !is_blank(byte))?;
    let end = text.iter().rposition(|byte| !is_blank(byte))? + 1;
    let text = text.get(start..end)?;
    let (is_negative, text) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let value = match text {
        b"NaN" => f64::NAN,
        b"Infinity" => f64::INFINITY,
        [b'0', b'x' | b'X', rest @ ..] => hexadecimal(without_letter(rest))?,
        _ => decimal(without_letter(text))?,
    };
    Some(if is_negative { -value } else { value })
}

fn without_letter(text: &[u8]) -> &[u8] {
    match text.split_last() {
        Some((b'f' | b'F' | b'd' | b'D', rest)) => rest,
        _ => text,
    }
}

fn decimal(text: &[u8]) -> Option<f64> {
    // Rust reads the same digits, and words that Java does not.
    let is_number = text.iter().all(|b| b.is_ascii_digit() || b".eE+-".contains(b));
    if !is_number || text.first().is_none_or(|first| b"+-eE".contains(first)) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What follows `0x`: digits with a point, `p` and an exponent of two. Rounded half to even, as `Double.valueOf` does.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let at = text.iter().position(|byte| matches!(byte, b'p' | b'P'))?;
    let (digits, exponent) = (text.get(..at)?, text.get(at + 1..)?);
    let mut bits = 0u64;
    let mut shift = 0i64;
    let mut is_behind_point = false;
    let mut count = 0;
    for &byte in digits {
        if byte == b'.' && !is_behind_point {
            is_behind_point = true;
            continue;
        }
        let value = u64::from(char::from(byte).to_digit(16)?);
        count += 1;
        if bits >> 60 == 0 {
            bits = bits << 4 | value;
            shift -= if is_behind_point { 4 } else { 0 };
        } else {
            // Beyond 60 bits it only matters whether anything is there.
            bits |= u64::from(value != 0);
            shift += if is_behind_point { 0 } else { 4 };
        }
    }
    if count == 0 {
        return None;
    }
    let is_down = exponent.first() == Some(&b'-');
    let exponent = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
    if exponent.is_empty() || !exponent.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let far = |power: i64, digit: &u8| (power * 10 + i64::from(digit - b'0')).min(1 << 40);
    let power = exponent.iter().fold(0i64, far);
    Some(scale(bits, shift + if is_down { -power } else { power }))
}

/// `bits` times two to the power, rounded half to even.
fn scale(bits: u64, power: i64) -> f64 {
    const MANTISSA_BITS: i64 = 53;
    const POWER_MIN: i64 = -1074;
    if bits == 0 {
        return 0.0;
    }
    let width = 64 - i64::from(bits.leading_zeros());
    let top = power.saturating_add(width);
    if top > 1024 {
        return f64::INFINITY;
    }
    // The place of the lowest bit that the result can hold.
    let lowest = (top - MANTISSA_BITS).max(POWER_MIN);
    let dropped = lowest - power;
    if dropped > 64 {
        return 0.0;
    }
    let (kept, rest, half) = match u32::try_from(dropped) {
        Ok(0) | Err(_) => (bits, 0, 1),
        Ok(64) => (0, bits, 1 << 63),
        Ok(count) => (bits >> count, bits & ((1 << count) - 1), 1 << (count - 1)),
    };
    let lowest = if dropped < 0 { power } else { lowest };
    let rounds_up = rest > half || rest == half && kept & 1 == 1;
    let kept = kept + u64::from(rounds_up);
    // Both factors are exact, and so is each product: the last one has no more bits than fit.
    let first = lowest.max(-1000);
    let two =
        |power: i64| 2f64.powi(i32::try_from(power).expect("within the exponents of a double"));
    let value = kept as f64;
    if first > 900 {
        value * two(first - 100) * two(100)
    } else {
        value * two(first) * two(lowest - first)
    }
}
