//! What a check has found: findings with severity, place and advice, counted by kind, and their two forms of output.
//!
//! Only so many findings of a kind are kept, all are counted: a ruined store does not fill the memory.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Findings of one kind that are listed.
const LISTED_MAX: u64 = 50;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Severity {
    /// Worth knowing, nothing is wrong.
    Note,
    /// Left by a process that died; the next start puts it right by itself.
    Warning,
    /// Damage: something is lost, or a start would refuse or not see it.
    Error,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// Names the kind, for scripts.
    pub(super) kind: &'static str,
    pub(super) path: PathBuf,
    /// Byte in the file.
    pub(super) offset: Option<u64>,
    pub(super) text: String,
    /// What the operator can do; empty for notes.
    pub(super) advice: String,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        kind: &'static str,
        path: impl Into<PathBuf>,
        text: impl Into<String>,
    ) -> Finding {
        let advice = match severity {
            Severity::Note => "",
            Severity::Warning => "the next start mends it; so does ringmq store repair",
            Severity::Error => "ringmq store repair mends it",
        };
        let (path, text, advice) = (path.into(), text.into(), advice.to_owned());
        Finding { severity, kind, path, offset: None, text, advice }
    }

    pub(super) fn at(mut self, offset: u64) -> Finding {
        self.offset = Some(offset);
        self
    }

    pub(super) fn advice(mut self, advice: impl Into<String>) -> Finding {
        self.advice = advice.into();
        self
    }

    fn line(&self, root: &Path) -> String {
        let path = self.path.strip_prefix(root).unwrap_or(&self.path);
        let mut line = format!("{}: {}", self.severity.name(), path.display());
        if let Some(offset) = self.offset {
            let _ = write!(line, " at byte {offset}");
        }
        let _ = write!(line, ": {} [{}]", self.text, self.kind);
        if !self.advice.is_empty() {
            let _ = write!(line, "\n    {}", self.advice);
        }
        line
    }

    fn json(&self) -> Value {
        json!({
            "severity": self.severity.name(),
            "kind": self.kind,
            "path": self.path.display().to_string(),
            "offset": self.offset,
            "text": self.text,
            "advice": self.advice,
        })
    }
}

/// All findings.
#[derive(Default, Debug)]
pub(super) struct Report {
    findings: Vec<Finding>,
    counts: BTreeMap<(&'static str, Severity), u64>,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        let count = self.counts.entry((finding.kind, finding.severity)).or_default();
        *count += 1;
        if *count <= LISTED_MAX {
            self.findings.push(finding);
        }
    }

    pub(super) fn merge(&mut self, other: Report) {
        for (key, count) in other.counts {
            *self.counts.entry(key).or_default() += count;
        }
        self.findings.extend(other.findings);
    }

    /// Whether anything is worse than a note.
    pub(super) fn is_clean(&self) -> bool {
        self.counts.keys().all(|(_, severity)| *severity == Severity::Note)
    }

    fn count(&self, severity: Severity) -> u64 {
        self.counts.iter().filter(|((_, s), _)| *s == severity).map(|(_, count)| count).sum()
    }

    /// Findings, worst first, and how many there are.
    pub(super) fn text(&self, root: &Path) -> String {
        let mut sorted: Vec<&Finding> = self.findings.iter().collect();
        sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let mut out = String::new();
        for finding in sorted {
            let _ = writeln!(out, "{}", finding.line(root));
        }
        for ((kind, severity), count) in &self.counts {
            let more = count.saturating_sub(LISTED_MAX);
            if more > 0 {
                let _ = writeln!(out, "{}: {more} more [{kind}]", severity.name());
            }
        }
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let notes = self.count(Severity::Note);
        let _ = match (errors, warnings) {
            (0, 0) => writeln!(out, "the store is clean ({notes} notes)"),
            _ => writeln!(out, "{errors} errors, {warnings} warnings, {notes} notes"),
        };
        out
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "clean": self.is_clean(),
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "notes": self.count(Severity::Note),
            "findings": self.findings.iter().map(Finding::json).collect::<Vec<Value>>(),
        })
    }
}
