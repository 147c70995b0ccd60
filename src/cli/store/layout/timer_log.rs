//! The timer log of another layout: its units name messages by their places, which are others now. All else of it stays: wheel,
//! checkpoint and chains name places in the timer log itself.

use super::Trouble;
use crate::cli::store::place::list;
use shard::disk::{LocalDisk, make_durable_dirs, replace_file};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use store::layout::segment;
use store::layout::timer::{UNIT_BYTES, Unit};
use wire::ids::PhyOffset;

/// Directory of the timer log.
pub(super) const DIR: &str = "timerlog";
/// What follows in a unit is reserved.
const UNUSED_AT: usize = 44;
/// The place of a message that is gone: each new log begins behind it.
const GONE: i64 = 0;

/// Old and new places, as on the wire, of the messages that units name.
pub(super) struct Places(HashMap<i64, i64>);

impl Places {
    /// Of the timer log of the store at `root`; nothing is known of the new ones yet.
    pub(super) fn of(root: &Path) -> Result<Places, Trouble> {
        let mut places = HashMap::new();
        for path in files(root)? {
            let mut bytes = read(&path)?;
            for_each_unit(&mut bytes, |unit| {
                places.insert(unit.phy, GONE);
                None
            });
        }
        Ok(Places(places))
    }

    /// A record has moved.
    pub(super) fn moved(&mut self, old: i64, new: PhyOffset) {
        if let Some(place) = self.0.get_mut(&old) {
            *place = new.to_wire();
        }
    }

    /// Writes the timer log of `from` anew below `to`.
    pub(super) fn copy(&self, from: &Path, to: &Path) -> Result<(), Trouble> {
        let files = files(from)?;
        if files.is_empty() {
            return Ok(());
        }
        let dir = to.join(DIR);
        make_durable_dirs(&LocalDisk, &dir).map_err(|e| Trouble::io(&dir, e))?;
        for path in files {
            let mut bytes = read(&path)?;
            for_each_unit(&mut bytes, |unit| {
                let phy = self.0.get(&unit.phy).copied().unwrap_or(GONE);
                Some(Unit { phy, ..unit })
            });
            let made = dir.join(path.file_name().unwrap_or_default());
            replace_file(&LocalDisk, &made, &bytes).map_err(|e| Trouble::io(&made, e))?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    fs::read(path).map_err(|e| Trouble::io(path, e))
}

fn files(root: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let names = list(&root.join(DIR))?;
    let is_file = |name: &String| segment::parse_name(name).is_some();
    Ok(names.into_iter().filter(is_file).map(|name| root.join(DIR).join(name)).collect())
}

/// Each unit of a file becomes what `change` makes of it.
fn for_each_unit(bytes: &mut [u8], mut change: impl FnMut(Unit) -> Option<Unit>) {
    for place in bytes.chunks_exact_mut(UNIT_BYTES) {
        if let Some(new) = Unit::decode(place).and_then(&mut change) {
            place[..UNUSED_AT].copy_from_slice(&new.encode()[..UNUSED_AT]);
        }
    }
}
