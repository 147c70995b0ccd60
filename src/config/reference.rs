//! The reference file: every key with its meaning, unit, bounds, default and treatment, as a comment.

use base::config::{Kind, Row, Since, Table, Treatment};

/// The text of `conf/reference.conf`, for broker and name server. Each line can be copied into a file and changed.
pub fn reference_conf() -> String {
    let mut out = String::from(
        "# Every key of RingMQ's broker and name server. Generated from the tables in src/config: do not edit.\n\
         #\n\
         # A value in ${braces} depends on the machine. Keys marked `no effect` are taken so that files of the Java\n\
         # broker can be used as they are. `refused` keys stop the start unless they have their default.\n",
    );
    for table in [&crate::broker::TABLE, &crate::namesrv::TABLE] {
        let title = format!("The {}", table.process);
        let rule = "=".repeat(title.len());
        out.push_str(&format!("\n# {rule}\n# {title}\n# {rule}\n"));
        write_table(&mut out, table);
    }
    out
}

fn write_table(out: &mut String, table: &Table) {
    for group in table.groups {
        out.push_str(&format!("\n# ---- {} ----\n", group.title));
        for row in group.rows {
            let Row { key, default, doc, .. } = row;
            out.push_str(&format!("\n# {doc}\n# {}\n#{key}={default}\n", facts(row)));
        }
    }
}

fn facts(row: &Row) -> String {
    let mut text = match row.kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::I32 { .. } | Kind::I64 { .. } => "whole number".to_owned(),
        Kind::Bytes { .. } => "byte count, with K, M or G".to_owned(),
        Kind::F64 => "number".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
    };
    let range = row.range_text();
    if !range.is_empty() {
        text.push_str(&format!(" ({range})"));
    }
    match row.since {
        Since::Both => {}
        Since::Java4 => text.push_str("; Java 4.9 only"),
        Since::Java5 => text.push_str("; since Java 5"),
        Since::Own => text.push_str("; RingMQ only"),
    }
    match row.treatment {
        Treatment::Honoured if row.reloadable => text.push_str("; can be changed while running"),
        Treatment::Honoured => {}
        Treatment::Accepted { why } => text.push_str(&format!("; no effect: {why}")),
        Treatment::Planned => text.push_str("; no effect yet"),
        Treatment::Refused { why } => text.push_str(&format!("; refused: {why}")),
    }
    text
}
