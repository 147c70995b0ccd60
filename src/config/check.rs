//! Conversions from table values to typed ones, and the checks both processes share. Errors are collected, not thrown.

use base::config::{Config, ConfigError};
use std::net::IpAddr;

/// Reads typed values out of a configuration; what is wrong gathers in `errors`.
pub(crate) struct Reader<'a> {
    pub(crate) config: &'a Config,
    pub(crate) errors: Vec<ConfigError>,
}

impl Reader<'_> {
    pub(crate) fn fail(&mut self, key: &str, problem: impl Into<String>) {
        self.errors.push(self.config.error(key, problem));
    }

    /// A number whose row has bounds that fit the type; a row without them is a bug.
    pub(crate) fn number<T: TryFrom<i64>>(&self, key: &str) -> T {
        let Ok(number) = T::try_from(self.config.int(key)) else {
            panic!("the row of {key} has wider bounds than its type")
        };
        number
    }

    pub(crate) fn text(&self, key: &str) -> String {
        self.config.text(key).to_owned()
    }

    /// A text that may not be empty.
    pub(crate) fn name(&mut self, key: &str) -> String {
        let text = self.text(key);
        if text.is_empty() {
            self.fail(key, "is empty");
        }
        text
    }

    pub(crate) fn multiple(&mut self, key: &str, of: i64) {
        if self.config.int(key) % of != 0 {
            self.fail(key, format!("is not a multiple of {of}"));
        }
    }

    pub(crate) fn power_of_two(&mut self, key: &str) {
        if self.config.int(key).count_ones() != 1 {
            self.fail(key, "is not a power of two");
        }
    }

    pub(crate) fn ip(&mut self, key: &str) -> IpAddr {
        self.config.text(key).parse().unwrap_or_else(|_| {
            self.fail(key, "is not an IP address");
            IpAddr::from([0, 0, 0, 0])
        })
    }

    /// `host:port;host:port`, as in namesrvAddr. Empty parts are skipped.
    pub(crate) fn addresses(&mut self, key: &str) -> Vec<String> {
        let text = self.text(key);
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let parts: Vec<String> = parts.map(str::to_owned).collect();
        for part in &parts {
            if let Err(problem) = check_address(part) {
                self.fail(key, format!("has {part:?}, which {problem}"));
            }
        }
        parts
    }

    /// `0,2-3`; empty is none.
    pub(crate) fn cpus(&mut self, key: &str) -> Vec<usize> {
        let text = self.text(key);
        match parse_cpus(&text) {
            Some(cpus) => cpus,
            None => {
                self.fail(key, "is not a list of CPUs like 0,2-3 (each below 4096)");
                Vec::new()
            }
        }
    }

    /// Hours of the day separated by `;`, as a bit for each.
    pub(crate) fn hours(&mut self, key: &str) -> u32 {
        let text = self.text(key);
        parse_hours(&text).unwrap_or_else(|part| {
            self.fail(
                key,
                format!("has the part {part:?}, which is no hour (00 to 23, separated by `;`)"),
            );
            0
        })
    }

    /// Minutes east of Greenwich.
    pub(crate) fn time_zone(&mut self, key: &str) -> i32 {
        let text = self.text(key);
        parse_time_zone(&text).unwrap_or_else(|| {
            self.fail(key, "is neither UTC nor GMT+H:MM (up to 18 hours)");
            0
        })
    }
}

/// Errors: the part that is no hour.
fn parse_hours(text: &str) -> Result<u32, String> {
    let mut hours = 0;
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let hour: Option<u32> = part.parse().ok().filter(|hour| *hour < 24);
        hours |= 1 << hour.ok_or_else(|| part.to_string())?;
    }
    Ok(hours)
}

/// `host:port` with a host that is not empty and a port from 1 to 65535.
pub(crate) fn check_address(address: &str) -> Result<(), &'static str> {
    let (host, port) = address.rsplit_once(':').ok_or("has no port (host:port)")?;
    if host.is_empty() || host.contains(char::is_whitespace) || host.contains('/') {
        return Err("has no valid host (host:port)");
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err("has no valid port (1..=65535)"),
    }
}

fn parse_cpus(text: &str) -> Option<Vec<usize>> {
    const CPU_MAX: usize = 4095;
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim) {
        if part.is_empty() && text.trim().is_empty() {
            continue;
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().ok()?;
        let last: usize = last.trim().parse().ok()?;
        if first > last || last > CPU_MAX {
            return None;
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return None;
            }
            cpus.push(cpu);
        }
    }
    Some(cpus)
}

fn parse_time_zone(text: &str) -> Option<i32> {
    const MINUTES_MAX: i32 = 18 * 60;
    let rest = text.strip_prefix("GMT").or_else(|| text.strip_prefix("UTC"))?;
    if rest.is_empty() {
        return Some(0);
    }
    let sign = match rest.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = rest.get(1..)?.split_once(':').unwrap_or((rest.get(1..)?, "0"));
    let hours = i32::from(hours.parse::<u8>().ok()?);
    let minutes = i32::from(minutes.parse::<u8>().ok()?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= MINUTES_MAX).then_some(sign * total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpus(""), Some(vec![]));
        assert_eq!(parse_cpus("0,2-4"), Some(vec![0, 2, 3, 4]));
        assert_eq!(parse_cpus(" 1 , 3 "), Some(vec![1, 3]));
        for wrong in ["a", "1,", "3-1", "0,0", "1-2,2", "5000", "-1", ","] {
            assert_eq!(parse_cpus(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hours_are_numbers_between_semicolons() {
        assert_eq!(parse_hours("04"), Ok(1 << 4));
        assert_eq!(parse_hours("0; 23;"), Ok(1 | 1 << 23));
        assert_eq!(parse_hours("04;24"), Err("24".to_string()));
        assert_eq!(parse_hours("4,5"), Err("4,5".to_string()));
    }

    #[test]
    fn time_zones() {
        assert_eq!(parse_time_zone("UTC"), Some(0));
        assert_eq!(parse_time_zone("GMT+8"), Some(480));
        assert_eq!(parse_time_zone("GMT-3:30"), Some(-210));
        for wrong in ["", "CET", "GMT+", "GMT+19", "GMT+1:60", "GMT8", "GMT+é"] {
            assert_eq!(parse_time_zone(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_need_host_and_port() {
        assert_eq!(check_address("localhost:9876"), Ok(()));
        assert_eq!(check_address("[::1]:9876"), Ok(()));
        for wrong in ["localhost", ":9876", "a:0", "a:65536", "a:b", "a b:1", "http://x:1"] {
            assert!(check_address(wrong).is_err(), "{wrong}");
        }
    }
}
