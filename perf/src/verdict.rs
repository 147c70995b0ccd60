//! Medians over the rounds of a session, and whether goals hold.

use crate::metric::Metric;
use crate::record::Record;
use crate::scenario::{Goal, Point, Scenario, SystemName};
use crate::statistics::{median, ratio, spread};

/// Widest spread over the rounds that is a result, unless a scenario says otherwise.
pub(crate) const SPREAD_MAX: f64 = 0.35;

/// A figure of a system at a point.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Figure {
    /// The median of the rounds.
    Median(f64),
    /// The rounds differ too much: their spread.
    Unstable(f64),
}

/// The runs of one scenario in one session.
pub(crate) struct Session<'a> {
    /// The scenario.
    pub(crate) scenario: &'a Scenario,
    /// Its runs, those with problems too.
    pub(crate) records: Vec<&'a Record>,
}

impl Session<'_> {
    /// Runs that count.
    pub(crate) fn valid<'s>(
        &'s self,
        system: SystemName,
        point: &'s Point,
    ) -> impl Iterator<Item = &'s Record> {
        let is_it = move |r: &&Record| r.system == system && r.point == *point;
        self.records.iter().copied().filter(is_it).filter(|r| r.problems.is_empty())
    }

    fn samples(&self, system: SystemName, point: &Point, metric: Metric) -> Vec<f64> {
        let key = metric.key();
        self.valid(system, point).filter_map(|record| record.values.get(&key).copied()).collect()
    }

    /// The widest spread of what rounds must agree on.
    pub(crate) fn spread(&self, system: SystemName, point: &Point) -> f64 {
        let wanted = usize::try_from(self.scenario.rounds).unwrap_or(usize::MAX);
        let of = |metric: Metric| spread(&self.samples(system, point, metric), wanted);
        let all = Metric::ALL.into_iter().filter(|metric| metric.must_be_stable());
        all.map(of).fold(0.0, f64::max)
    }

    /// Whether the rounds agree.
    pub(crate) fn is_stable(&self, system: SystemName, point: &Point) -> bool {
        self.spread(system, point) <= self.scenario.spread_max.unwrap_or(SPREAD_MAX)
    }

    /// A figure; `None` when no run that counts has it.
    pub(crate) fn figure(
        &self,
        system: SystemName,
        point: &Point,
        metric: Metric,
    ) -> Option<Figure> {
        let value = median(&self.samples(system, point, metric))?;
        let is_stable = self.is_stable(system, point);
        Some(match is_stable {
            true => Figure::Median(value),
            false => Figure::Unstable(self.spread(system, point)),
        })
    }

    fn median(&self, system: SystemName, point: &Point, metric: Metric) -> Option<f64> {
        match self.figure(system, point, metric)? {
            Figure::Median(value) => Some(value),
            Figure::Unstable(_) => None,
        }
    }

    /// Points in the order of the scenario that have runs.
    pub(crate) fn points(&self) -> Vec<Point> {
        let is_there = |point: &&Point| self.records.iter().any(|r| r.point == **point);
        self.scenario.points.iter().filter(is_there).cloned().collect()
    }

    /// Systems in the order of the scenario that have runs.
    pub(crate) fn systems(&self) -> Vec<SystemName> {
        let mut systems = self.scenario.systems.clone();
        systems.push(SystemName::Target);
        systems.retain(|system| self.records.iter().any(|r| r.system == *system));
        systems
    }

    /// Judges a goal at each of its points.
    pub(crate) fn judge(&self, goal: &Goal) -> Vec<Verdict> {
        let points = self.points();
        let at = points.iter().filter(|point| point.matches(&goal.at));
        at.map(|point| {
            let value = self.goal_value(goal, point, &points);
            let holds = value.map(|value| {
                goal.at_least.is_none_or(|least| value >= least)
                    && goal.at_most.is_none_or(|most| value <= most)
            });
            // A ratio has the machine on both sides.
            let is_ratio = goal.than.is_some() || goal.than_at.is_some();
            let machine = goal.metric.of_machine().filter(|_| !is_ratio);
            let machine = machine.and_then(|metric| median(&self.samples(goal.of, point, metric)));
            Verdict { point: point.clone(), value, holds, machine }
        })
        .collect()
    }

    fn goal_value(&self, goal: &Goal, point: &Point, points: &[Point]) -> Option<f64> {
        let own = self.median(goal.of, point, goal.metric)?;
        if goal.than.is_none() && goal.than_at.is_none() {
            return Some(own);
        }
        let other_point = match &goal.than_at {
            Some(part) => points.iter().find(|point| point.matches(part))?,
            None => point,
        };
        let other = self.median(goal.than.unwrap_or(goal.of), other_point, goal.metric)?;
        ratio(own, other)
    }
}

/// A goal at a point.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Verdict {
    /// Where.
    pub(crate) point: Point,
    /// The figure, or how many times the other one it is; `None`: not measured, or unstable.
    pub(crate) value: Option<f64>,
    /// Whether the goal holds.
    pub(crate) holds: Option<bool>,
    /// What of a latency is the machine's own.
    pub(crate) machine: Option<f64>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn scenario(goal: &str) -> Scenario {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.toml");
        let text = format!(
            "title = \"T\"\nload = \"send\"\nsystems = [\"ringmq\", \"java550\"]\n\
             sweep = {{ topics = [1, 5] }}\n[[goal]]\nid = \"P\"\nmetric = \"cpu_us\"\n{goal}"
        );
        std::fs::write(&path, text).unwrap();
        crate::scenario::read(&path).unwrap()
    }

    fn record(system: SystemName, topics: u32, cpu_us: f64) -> Record {
        Record {
            session: 1,
            machine: "m".to_owned(),
            commit: "c".to_owned(),
            scenario: "s".to_owned(),
            system,
            point: Point { topics: Some(topics), ..Point::default() },
            round: 1,
            seconds: (0.0, 1.0),
            values: BTreeMap::from([("cpu_us".to_owned(), cpu_us)]),
            curves: BTreeMap::new(),
            warm_s: None,
            frame_bytes: None,
            readable: None,
            problems: Vec::new(),
        }
    }

    fn judged(goal: &str, records: &[Record]) -> Vec<(Option<f64>, Option<bool>)> {
        let scenario = scenario(goal);
        let session = Session { scenario: &scenario, records: records.iter().collect() };
        let verdicts = session.judge(&scenario.goals[0]);
        verdicts.into_iter().map(|verdict| (verdict.value, verdict.holds)).collect()
    }

    #[test]
    fn a_goal_is_a_ratio_of_medians_at_the_same_point() {
        use SystemName::{Java550, Ringmq};
        let records = [
            record(Ringmq, 1, 5.0),
            record(Ringmq, 1, 4.0),
            record(Ringmq, 1, 4.5),
            record(Java550, 1, 30.0),
            record(Java550, 5, 99.0),
        ];
        let goal = "at = { topics = 1 }\nthan = \"java550\"\nat_most = 0.2";
        assert_eq!(judged(goal, &records), [(Some(0.15), Some(true))]);
        let goal = "at = { topics = 1 }\nthan = \"java550\"\nat_most = 0.1";
        assert_eq!(judged(goal, &records), [(Some(0.15), Some(false))]);
        // Both points match; at the second there is nothing of this broker.
        let goal = "than = \"java550\"\nat_most = 0.2";
        assert_eq!(judged(goal, &records), [(Some(0.15), Some(true)), (None, None)]);
    }

    #[test]
    fn a_goal_may_compare_two_points_of_one_system() {
        let records = [record(SystemName::Ringmq, 1, 4.0), record(SystemName::Ringmq, 5, 6.0)];
        let goal = "at = { topics = 5 }\nthan_at = { topics = 1 }\nat_most = 1.2";
        assert_eq!(judged(goal, &records), [(Some(1.5), Some(false))]);
        let goal = "at = { topics = 5 }\nat_least = 6";
        assert_eq!(judged(goal, &records), [(Some(6.0), Some(true))]);
    }

    #[test]
    fn what_is_unstable_or_invalid_proves_nothing() {
        let system = SystemName::Ringmq;
        let mut records = vec![record(system, 1, 4.0), record(system, 1, 8.0)];
        let goal = "at = { topics = 1 }\nat_most = 100";
        assert_eq!(judged(goal, &records), [(None, None)]);
        records[1].problems.push("10 acknowledged, 9 stored".to_owned());
        assert_eq!(judged(goal, &records), [(Some(4.0), Some(true))]);
    }
}
