//! Times as operators write and read them: milliseconds since 1970, or a date and a time of day, UTC.

use crate::logging::civil;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 86_400_000;

/// `2026-11-21 06:32:07.890Z`; what is no time of this era stays a number.
pub(super) fn show(ms: i64) -> String {
    const YEAR_9999_MS: i64 = 253_402_300_799_999;
    if !(0..=YEAR_9999_MS).contains(&ms) {
        return ms.to_string();
    }
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let rest = ms.rem_euclid(DAY_MS);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1000)
}

/// Reads milliseconds, `YYYY-MM-DD`, `YYYY-MM-DD HH:MM[:SS[.mmm]]` (or `T` between, `Z` behind), or `-90s`, `-15m`,
/// `-2h`, `-3d`: so long ago. Error: what is accepted.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let bad = || {
        format!(
            "{text:?} is no time: milliseconds, 'YYYY-MM-DD HH:MM:SS' (UTC) or -15m (s, m, h, d) are"
        )
    };
    if let Some(ago) = text.strip_prefix('-') {
        let unit = match ago.as_bytes().last() {
            Some(b's') => 1000,
            Some(b'm') => 60_000,
            Some(b'h') => 3_600_000,
            Some(b'd') => DAY_MS,
            Some(_) | None => return Err(bad()),
        };
        let number: i64 = ago.get(..ago.len() - 1).and_then(|n| n.parse().ok()).ok_or_else(bad)?;
        return number.checked_mul(unit).map(|ago| now_ms() - ago).ok_or_else(bad);
    }
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    moment(text.trim_end_matches('Z')).ok_or_else(bad)
}

fn moment(text: &str) -> Option<i64> {
    let (date, time) = text.split_once([' ', 'T', '#']).unwrap_or((text, "00:00"));
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let fits =
        (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || parts.next().is_some() {
        return None;
    }
    let (time, millis) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let millis: i64 = format!("{millis:0<3}").parse().ok().filter(|ms| (0..1000).contains(ms))?;
    let fits = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    let days = days_before(year, month) + day - 1;
    fits.then_some(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + millis)
}

/// Days from 1970-01-01 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let past = year - 1;
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    let is_leap = leap_days(year) > leap_days(past);
    let of_year = usize::try_from(month - 1).ok().and_then(|at| BEFORE.get(at)).copied();
    let extra = i64::from(is_leap && month > 2);
    (year - 1970) * 365 + leap_days(past) - leap_days(1969) + of_year.unwrap_or(0) + extra
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for ms in [0, 951_782_400_000, 1_795_242_727_890, 4_102_444_799_999] {
            assert_eq!(parse(&show(ms)), Ok(ms), "{}", show(ms));
            assert_eq!(parse(&ms.to_string()), Ok(ms));
        }
        assert_eq!(parse("2024-02-29"), Ok(1_709_164_800_000));
        assert_eq!(parse("2024-03-01T00:01"), Ok(1_709_251_260_000));
        assert!((now_ms() - 7_200_000 - parse("-2h").unwrap()).abs() < 5_000);
        for bad in ["yesterday", "2024-13-01", "2024-01-01 25:00", "-2y", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
