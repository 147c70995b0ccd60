//! The figures of a run by name: what scenario files, results and tables call them.

use serde::{Deserialize, Serialize};

/// A figure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Messages per second.
    MessagesPerSecond,
    /// Messages per second of CPU time of the server.
    MessagesPerCpuSecond,
    /// CPU time of the server per message, µs.
    CpuUs,
    /// Latency from the intended send time to the answer, µs.
    P50Us,
    /// As above.
    P99Us,
    /// As above.
    P999Us,
    /// As above.
    MaxUs,
    /// From the intended send time to the receipt, µs.
    EndToEndP50Us,
    /// As above.
    EndToEndP99Us,
    /// As above.
    EndToEndP999Us,
    /// From when a delayed message was due to its receipt, µs.
    LatenessP50Us,
    /// As above.
    LatenessP99Us,
    /// As above.
    LatenessP999Us,
    /// As above.
    LatenessMaxUs,
    /// Messages per second that a subscription was compared with.
    ExaminedPerSecond,
    /// CPU time of the server per message that a subscription was compared with, µs.
    CpuUsPerExamined,
    /// Bytes read per second, GiB.
    GibPerSecond,
    /// CPU time of the server per GiB read, s.
    CpuSecondsPerGib,
    /// Resident memory of the server, MiB.
    ResidentMib,
    /// The part of it in shared memory (log windows), MiB.
    SharedMib,
    /// Resident memory with shared pages in proportion, MiB.
    ProportionalMib,
    /// Bytes given to the disk per message.
    DiskBytesPerMessage,
    /// Bytes given to the disk per byte of records.
    WriteAmplification,
    /// Waits of the server's threads per second.
    SwitchesPerSecond,
    /// CPU time without load, percent of one CPU.
    IdleCpuPercent,
    /// From exec to the first answer, ms.
    StartMs,
    /// From the signal of an orderly stop to the end of the process, ms.
    StopMs,
    /// As `StartMs`, after `kill -9`.
    CrashStartMs,
    /// Log that such a start looked at per second of it, GiB.
    RecoveredGibPerSecond,
    /// What the disk gives who reads that log one large piece after the other, GiB/s.
    DiskGibPerSecond,
    /// What the machine itself makes 1 % of all arrivals wait for at least (`pauses`), µs.
    PauseP99Us,
    /// As above, of 0.1 %.
    PauseP999Us,
    /// Share of the time in which the client had something to do, percent.
    ClientBusyPercent,
}

impl Metric {
    /// All, in the order of tables.
    pub(crate) const ALL: [Metric; 33] = [
        Metric::MessagesPerSecond,
        Metric::MessagesPerCpuSecond,
        Metric::CpuUs,
        Metric::P50Us,
        Metric::P99Us,
        Metric::P999Us,
        Metric::MaxUs,
        Metric::EndToEndP50Us,
        Metric::EndToEndP99Us,
        Metric::EndToEndP999Us,
        Metric::LatenessP50Us,
        Metric::LatenessP99Us,
        Metric::LatenessP999Us,
        Metric::LatenessMaxUs,
        Metric::ExaminedPerSecond,
        Metric::CpuUsPerExamined,
        Metric::GibPerSecond,
        Metric::CpuSecondsPerGib,
        Metric::ResidentMib,
        Metric::SharedMib,
        Metric::ProportionalMib,
        Metric::DiskBytesPerMessage,
        Metric::WriteAmplification,
        Metric::SwitchesPerSecond,
        Metric::IdleCpuPercent,
        Metric::StartMs,
        Metric::StopMs,
        Metric::CrashStartMs,
        Metric::RecoveredGibPerSecond,
        Metric::DiskGibPerSecond,
        Metric::PauseP99Us,
        Metric::PauseP999Us,
        Metric::ClientBusyPercent,
    ];

    /// Head of a column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Metric::MessagesPerSecond => "messages/s",
            Metric::MessagesPerCpuSecond => "messages per CPU-second",
            Metric::CpuUs => "CPU-µs per message",
            Metric::P50Us => "p50 µs",
            Metric::P99Us => "p99 µs",
            Metric::P999Us => "p99.9 µs",
            Metric::MaxUs => "max µs",
            Metric::EndToEndP50Us => "end to end p50 µs",
            Metric::EndToEndP99Us => "end to end p99 µs",
            Metric::EndToEndP999Us => "end to end p99.9 µs",
            Metric::LatenessP50Us => "late p50 µs",
            Metric::LatenessP99Us => "late p99 µs",
            Metric::LatenessP999Us => "late p99.9 µs",
            Metric::LatenessMaxUs => "late max µs",
            Metric::ExaminedPerSecond => "examined/s",
            Metric::CpuUsPerExamined => "CPU-µs per examined",
            Metric::GibPerSecond => "GiB/s read",
            Metric::CpuSecondsPerGib => "CPU-s per GiB",
            Metric::ResidentMib => "resident MiB",
            Metric::SharedMib => "of it shared MiB",
            Metric::ProportionalMib => "PSS MiB",
            Metric::DiskBytesPerMessage => "disk bytes per message",
            Metric::WriteAmplification => "disk bytes per byte of records",
            Metric::SwitchesPerSecond => "waits/s",
            Metric::IdleCpuPercent => "idle CPU %",
            Metric::StartMs => "start ms",
            Metric::StopMs => "stop ms",
            Metric::CrashStartMs => "crash start ms",
            Metric::RecoveredGibPerSecond => "GiB/s recovered",
            Metric::DiskGibPerSecond => "disk alone GiB/s",
            Metric::PauseP99Us => "machine alone p99 µs",
            Metric::PauseP999Us => "machine alone p99.9 µs",
            Metric::ClientBusyPercent => "client busy %",
        }
    }

    /// Key in results, the same as in scenario files.
    pub(crate) fn key(self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value.as_str().map(str::to_owned).unwrap_or_default()
    }

    /// What the machine alone has of it, for a figure that cannot be better.
    pub(crate) fn of_machine(self) -> Option<Metric> {
        if self == Metric::RecoveredGibPerSecond {
            return Some(Metric::DiskGibPerSecond);
        }
        if matches!(self, Metric::P99Us | Metric::EndToEndP99Us | Metric::LatenessP99Us) {
            return Some(Metric::PauseP99Us);
        }
        let is_p999 =
            matches!(self, Metric::P999Us | Metric::EndToEndP999Us | Metric::LatenessP999Us);
        is_p999.then_some(Metric::PauseP999Us)
    }

    /// Whether rounds must agree on it before a point is a result.
    pub(crate) fn must_be_stable(self) -> bool {
        matches!(
            self,
            Metric::MessagesPerSecond
                | Metric::CpuUs
                | Metric::ExaminedPerSecond
                | Metric::CpuUsPerExamined
                | Metric::GibPerSecond
                | Metric::CpuSecondsPerGib
                | Metric::StartMs
        )
    }
}
