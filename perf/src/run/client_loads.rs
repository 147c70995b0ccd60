//! Loads of what clients ask for beyond sending and pulling: delays, transactions, filters.

use super::{Runner, take};
use crate::bench::{Call, Times};
use crate::checks;
use crate::record::Record;
use crate::scenario::{Filter, LoadKind, Point};
use crate::system::Running;

/// Backlog that a JVM is warmed up with, MiB.
const WARM_BACKLOG_MIB: u64 = 32;
/// Time for delayed deliveries of a JVM before anything is measured, s.
const WARM_DELAY_S: f64 = 15.0;

impl Runner<'_> {
    /// A topic for a warm-up, with what it needs.
    pub(super) fn prepare_warm(&self, running: &Running, load: &Point) -> Result<String, String> {
        let topic = self.next_topic();
        let call = Call::new(self.site, running, load);
        if self.scenario.load == LoadKind::Filter {
            call.fill_filterable(&topic, WARM_BACKLOG_MIB)?;
        }
        if self.scenario.load == LoadKind::Delay && !self.args.quick {
            // At a rate; plain sends come behind it, until they are steady.
            let (connections, in_flight, rate) = (Some(4), None, Some(1000));
            let point = Point { connections, in_flight, rate, ..load.clone() };
            let times = Times { warmup_s: 0.0, duration_s: WARM_DELAY_S };
            let delayed = Call::new(self.site, running, &point);
            delayed.delayed(&self.next_topic(), times)?;
        }
        Ok(topic)
    }

    /// A piece of a warm-up; its rate.
    pub(super) fn warm_piece(&self, call: &Call<'_>, topic: &str, s: f64) -> Result<f64, String> {
        let times = Times { warmup_s: 0.0, duration_s: s };
        let (value, flow) = match self.scenario.load {
            LoadKind::Filter => (call.filter(topic, times)?, "read"),
            LoadKind::Transaction => (call.transaction(topic, times)?, "committed"),
            LoadKind::Send
            | LoadKind::Pull
            | LoadKind::E2e
            | LoadKind::Startup
            | LoadKind::Idle
            | LoadKind::Delay
            | LoadKind::Pending
            | LoadKind::Restart
            | LoadKind::Retention => (call.send(topic, times)?, "sent"),
        };
        Ok(value[flow]["messages_per_second"].as_f64().unwrap_or(0.0))
    }

    pub(super) fn measure_delay(
        &mut self,
        running: &Running,
        point: &Point,
        record: &mut Record,
    ) -> Result<(), String> {
        let topic = self.next_topic();
        let value = Call::new(self.site, running, point).delayed(&topic, self.times())?;
        take(&value, LoadKind::Delay, record);
        self.check_stored(running, point, &topic, &value, record);
        Ok(())
    }

    pub(super) fn measure_transaction(
        &mut self,
        running: &Running,
        point: &Point,
        record: &mut Record,
    ) -> Result<(), String> {
        let topic = self.next_topic();
        let value = Call::new(self.site, running, point).transaction(&topic, self.times())?;
        take(&value, LoadKind::Transaction, record);
        self.check_stored(running, point, &topic, &value, record);
        Ok(())
    }

    pub(super) fn measure_filter(
        &mut self,
        running: &Running,
        point: &Point,
        record: &mut Record,
    ) -> Result<(), String> {
        let topic = self.next_topic();
        let call = Call::new(self.site, running, point);
        let filled = call.fill_filterable(&topic, point.backlog_mib.unwrap_or(0))?;
        checks::settled(&running.address, &topic, point, filled)?;
        let value = call.filter(&topic, self.times())?;
        take(&value, LoadKind::Filter, record);
        let number = |name: &str| value[name].as_u64().unwrap_or(0);
        let one_of = point.full().filter.unwrap_or(Filter::None).one_of();
        let (examined, read) = (number("examined_total"), number("read_total"));
        record.problems.extend(checks::passed(examined, filled, read, one_of));
        Ok(())
    }

    pub(super) fn measure_pending(
        &mut self,
        running: &Running,
        point: &Point,
        record: &mut Record,
    ) -> Result<(), String> {
        let call = Call::new(self.site, running, point);
        let count = point.full().pending.unwrap_or(0);
        let mut missing = None;
        if count > 0 {
            let before = checks::waiting(&running.address, point.delay_level, 0)?;
            let wanted = before + call.fill_pending(&self.next_topic(), count)?;
            let waiting = checks::waiting(&running.address, point.delay_level, wanted)?;
            missing = checks::compare(wanted, waiting, 0);
        }
        self.measure_idle(running, record);
        let idle = record.values.clone();
        let topic = self.next_topic();
        let value =
            call.send(&topic, Times { warmup_s: 2.0, duration_s: self.times().duration_s })?;
        take(&value, LoadKind::Pending, record);
        // Memory as it was before the sends.
        record.values.extend(idle);
        record.problems.extend(missing);
        self.check_stored(running, point, &topic, &value, record);
        Ok(())
    }
}
