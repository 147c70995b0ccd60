//! When old segments are deleted and when sends are refused because the disk fills up. Java: CleanCommitLogService.
//!
//! A round begins every `interval_ns` with a look at the disk. It deletes the oldest segment when its time has come
//! (hour of the day, age) or when the disk is too full, looks again, and ends after `batch_max` files. Ratios are
//! parts of the file system that are used, in percent; the fuller one of log and queues counts.

use base::time::{MonoNs, WallMs};
use wire::ids::StreamId;

/// Settings, by Java's keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetentionConfig {
    /// `fileReservedTime` in ms: age of the last write to a file.
    pub reserved_ms: i64,
    /// `deleteWhen`: bit h is set when old files go in hour h.
    pub hours: u32,
    /// `diskMaxUsedSpaceRatio`: files older than `reserved_ms` go at any hour.
    pub used_max_percent: u8,
    /// `diskSpaceCleanForciblyRatio`: files go whatever their age.
    pub forcibly_percent: u8,
    /// `diskSpaceWarningLevelRatio`: sends are refused, and files go whatever their age.
    pub warning_percent: u8,
    /// `cleanFileForciblyEnable`: files may go before their time.
    pub forcibly_enabled: bool,
    /// `cleanResourceInterval`.
    pub interval_ns: u64,
    /// `deleteCommitLogFilesInterval`.
    pub pause_ns: u64,
    /// `deleteFileBatchMax`.
    pub batch_max: u32,
}

/// What a look at the disk found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskLook {
    /// Used part of the log's file system, percent.
    pub log_percent: u8,
    /// Used part of the queues' file system, percent.
    pub queue_percent: u8,
    /// Hour of the day where the broker is.
    pub hour: u8,
    /// The oldest deletable segment and when it was last written, over the shard's streams.
    pub oldest: Option<(StreamId, u64, WallMs)>,
}

/// Why sends are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskFull {
    /// Used part of the fuller file system, percent.
    pub used_percent: u8,
    /// `diskSpaceWarningLevelRatio`.
    pub limit_percent: u8,
}

/// Why files are deleted now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// It is the hour.
    Hour,
    /// The disk is used above `diskMaxUsedSpaceRatio`.
    Used,
    /// The operator asked.
    Manual,
    /// The disk is so full that age does not count.
    Forced,
}

impl Why {
    /// For the log.
    pub fn name(self) -> &'static str {
        match self {
            Why::Hour => "its age, and the hour of deleteWhen",
            Why::Used => "its age, and the disk is above diskMaxUsedSpaceRatio",
            Why::Manual => "its age, and an operator's request",
            Why::Forced => "the disk is above diskSpaceCleanForciblyRatio",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing to do before then.
    Resting(MonoNs),
    /// The disk is being looked at.
    Looking,
    /// A segment is being deleted.
    Deleting,
}

/// The state machine of one shard.
#[derive(Debug)]
pub struct Retention {
    config: RetentionConfig,
    state: State,
    left: u32,
    manual_rounds: u32,
    disk_full: Option<DiskFull>,
}

impl Retention {
    /// Looks at the disk at once.
    pub fn new(config: RetentionConfig) -> Retention {
        let state = State::Resting(MonoNs(0));
        Retention { config, state, left: config.batch_max, manual_rounds: 0, disk_full: None }
    }

    /// Other settings from the next look on.
    pub fn configure(&mut self, config: RetentionConfig) {
        self.config = config;
        self.left = self.left.min(config.batch_max);
    }

    /// Why sends are refused, as of the last look.
    pub fn disk_full(&self) -> Option<DiskFull> {
        self.disk_full
    }

    /// Deletes old files in the next `rounds` rounds at any hour (request 329); the first begins at once.
    pub fn clean_now(&mut self, rounds: u32) {
        self.manual_rounds = rounds;
        if let State::Resting(at) = &mut self.state {
            *at = MonoNs(0);
        }
    }

    /// When `wants_look` answers true at the latest; `None` while something is under way.
    pub fn next_at(&self) -> Option<MonoNs> {
        match self.state {
            State::Resting(at) => Some(at),
            State::Looking | State::Deleting => None,
        }
    }

    /// Whether the disk is to be looked at now; then `looked` is called.
    pub fn wants_look(&mut self, now: MonoNs) -> bool {
        let due = matches!(self.state, State::Resting(at) if now >= at);
        if due {
            self.state = State::Looking;
        }
        due
    }

    /// The look is done: the segment to delete now and why, after whose deletion `deleted` is called.
    pub fn looked(
        &mut self,
        look: &DiskLook,
        now: MonoNs,
        wall: WallMs,
    ) -> Option<(StreamId, u64, Why)> {
        assert_eq!(self.state, State::Looking, "a look was asked for");
        let used = look.log_percent.max(look.queue_percent);
        let limit = self.config.warning_percent;
        self.disk_full =
            (used > limit).then_some(DiskFull { used_percent: used, limit_percent: limit });
        let chosen = look.oldest.and_then(|(stream, base, written)| {
            Some((stream, base, self.reason(look, wall.0.saturating_sub(written.0))?))
        });
        if chosen.is_some() && self.left > 0 {
            self.left -= 1;
            self.state = State::Deleting;
            return chosen;
        }
        self.end_round(now);
        None
    }

    fn reason(&self, look: &DiskLook, age_ms: i64) -> Option<Why> {
        let config = &self.config;
        let used = look.log_percent.max(look.queue_percent);
        let forced = used > config.forcibly_percent.min(config.warning_percent);
        if forced && config.forcibly_enabled {
            return Some(Why::Forced);
        }
        if age_ms < config.reserved_ms {
            return None;
        }
        if used > config.used_max_percent {
            Some(Why::Used)
        } else if self.manual_rounds > 0 {
            Some(Why::Manual)
        } else {
            (config.hours >> u32::from(look.hour) & 1 == 1).then_some(Why::Hour)
        }
    }

    fn end_round(&mut self, now: MonoNs) {
        self.left = self.config.batch_max;
        self.manual_rounds = self.manual_rounds.saturating_sub(1);
        self.state = State::Resting(MonoNs(now.0 + self.config.interval_ns));
    }

    /// The look failed, or the segment could not be deleted: again in the next round.
    pub fn failed(&mut self, now: MonoNs) {
        self.end_round(now);
    }

    /// The segment is deleted.
    pub fn deleted(&mut self, now: MonoNs) {
        assert_eq!(self.state, State::Deleting, "a deletion was asked for");
        self.state = State::Resting(MonoNs(now.0 + self.config.pause_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const CONFIG: RetentionConfig = RetentionConfig {
        reserved_ms: 72 * HOUR_MS,
        hours: 1 << 4,
        used_max_percent: 75,
        forcibly_percent: 85,
        warning_percent: 90,
        forcibly_enabled: true,
        interval_ns: 10_000_000_000,
        pause_ns: 100_000_000,
        batch_max: 2,
    };
    const NOW: WallMs = WallMs(1000 * HOUR_MS);

    fn look(percent: u8, hour: u8, age_hours: i64) -> DiskLook {
        let oldest = (StreamId(0), 4096, WallMs(NOW.0 - age_hours * HOUR_MS));
        DiskLook { log_percent: percent, queue_percent: 10, hour, oldest: Some(oldest) }
    }

    fn decide(config: RetentionConfig, look: &DiskLook) -> Option<Why> {
        let mut retention = Retention::new(config);
        assert!(retention.wants_look(MonoNs(0)));
        retention.looked(look, MonoNs(0), NOW).map(|(_, _, why)| why)
    }

    #[test]
    fn what_is_deleted_when() {
        let forbidden = RetentionConfig { forcibly_enabled: false, ..CONFIG };
        assert_eq!(decide(CONFIG, &look(50, 4, 73)), Some(Why::Hour));
        assert_eq!(decide(CONFIG, &look(50, 5, 73)), None, "not the hour");
        assert_eq!(decide(CONFIG, &look(50, 4, 71)), None, "too young");
        assert_eq!(decide(CONFIG, &look(76, 5, 73)), Some(Why::Used));
        assert_eq!(decide(CONFIG, &look(80, 5, 71)), None, "too young");
        assert_eq!(decide(CONFIG, &look(86, 5, 1)), Some(Why::Forced));
        assert_eq!(decide(forbidden, &look(86, 5, 1)), None);
        assert_eq!(decide(forbidden, &look(86, 5, 73)), Some(Why::Used));
    }

    #[test]
    fn sends_are_refused_above_the_warning_level_until_there_is_room_again() {
        let mut retention = Retention::new(CONFIG);
        assert!(retention.wants_look(MonoNs(0)));
        retention.looked(&DiskLook { oldest: None, ..look(91, 5, 0) }, MonoNs(0), NOW);
        assert_eq!(retention.disk_full(), Some(DiskFull { used_percent: 91, limit_percent: 90 }));
        assert!(!retention.wants_look(MonoNs(9_999_999_999)));
        assert!(retention.wants_look(MonoNs(10_000_000_000)));
        retention.looked(&look(90, 5, 0), MonoNs(0), NOW);
        assert_eq!(retention.disk_full(), None);
    }

    #[test]
    fn a_round_deletes_so_many_files_with_a_pause_between() {
        let mut retention = Retention::new(CONFIG);
        let old = look(50, 4, 100);
        let mut now = MonoNs(0);
        for _ in 0..2 {
            assert!(retention.wants_look(now));
            assert!(retention.looked(&old, now, NOW).is_some());
            retention.deleted(now);
            assert_eq!(retention.next_at(), Some(now.plus_ms(100)));
            now = now.plus_ms(100);
        }
        assert!(retention.wants_look(now));
        assert_eq!(retention.looked(&old, now, NOW), None);
        assert_eq!(retention.next_at(), Some(now.plus_ms(10_000)));
    }

    #[test]
    fn the_operator_may_ask_at_any_hour() {
        let mut retention = Retention::new(CONFIG);
        assert!(retention.wants_look(MonoNs(0)));
        retention.looked(&look(50, 5, 73), MonoNs(0), NOW);
        assert!(!retention.wants_look(MonoNs(1)), "the next round is later");
        retention.clean_now(1);
        assert!(retention.wants_look(MonoNs(1)), "but not for an operator");
        let why = retention.looked(&look(50, 5, 73), MonoNs(0), NOW).map(|(_, _, why)| why);
        assert_eq!(why, Some(Why::Manual));
    }
}
