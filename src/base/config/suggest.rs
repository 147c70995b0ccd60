//! The nearest known name to a mistyped one.

/// The name with the fewest edits, if they are few for its length; letter case does not count. Long texts get none.
pub(super) fn nearest(
    wrong: &str,
    names: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    const NAME_BYTES_MAX: usize = 100;
    if wrong.len() > NAME_BYTES_MAX {
        return None;
    }
    let lower = wrong.to_lowercase();
    let (edits, name) = names
        .map(|name| (distance(lower.as_bytes(), name.to_lowercase().as_bytes()), name))
        .min_by_key(|(edits, _)| *edits)?;
    let edits_max = (wrong.len() / 5).clamp(1, 4);
    (edits <= edits_max).then_some(name)
}

/// Insertions, deletions and replacements that turn one into the other (Levenshtein).
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        for (r, slot) in right.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(l != r);
            diagonal = *slot;
            *slot = replaced.min(before + 1).min(diagonal + 1);
            before = *slot;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"abc", b""), 3);
        assert_eq!(distance(b"abc", b"abc"), 0);
    }

    #[test]
    fn only_near_names_are_offered() {
        let names = ["fileReservedTime", "flushDiskType"];
        let of = |wrong| nearest(wrong, names.into_iter());
        assert_eq!(of("fileReserverdTime"), Some("fileReservedTime"));
        assert_eq!(of("FLUSHDISKTYPE"), Some("flushDiskType"));
        assert_eq!(of("somethingElse"), None);
    }
}
