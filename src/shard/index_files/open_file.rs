//! The index file that entries go to: mapped into memory, each entry an item, its slot and the header, in this order.
//!
//! When the process dies, the file is whole but for at most one item that its slot names and the header does not know;
//! `mend` takes that back. When the machine dies, only items that were synced count, and `keep_below` makes the slots
//! anew from them.

use super::Trust;
use buf::mapped_file::MappedFile;
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use store::index::IndexEntry;
use store::layout::index::{
    HEADER_BYTES, ITEM_BYTES, IndexHeader, IndexItem, IndexLimits, SLOT_BYTES, seconds_after,
};

/// Disk blocks are asked for this far ahead of the items. A write to a mapping without blocks on a full disk would end
/// the process.
const RESERVE_BYTES: usize = 1 << 20;
/// Where the number of the next item lies in the header. It is written last.
const NEXT_ITEM_AT: usize = 36;

/// See the module.
pub(super) struct OpenFile {
    pub(super) name: String,
    pub(super) header: IndexHeader,
    pub(super) file: Arc<File>,
    map: MappedFile,
    limits: IndexLimits,
    /// Bytes from the start that have blocks on the disk.
    reserved: usize,
}

impl OpenFile {
    /// Makes the file that follows the one with the header `before`.
    pub(super) fn create(
        dir: &Path,
        name: String,
        limits: IndexLimits,
        before: Option<&IndexHeader>,
    ) -> io::Result<OpenFile> {
        fs::create_dir_all(dir)?;
        let path = dir.join(&name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let bytes = limits.file_bytes();
        let made = file.set_len(bytes as u64).and_then(|()| {
            let map = MappedFile::map(&file, bytes)?;
            let header = IndexHeader::following(before);
            let file = Arc::new(file);
            let mut made = OpenFile { name, header, file, map, limits, reserved: 0 };
            made.reserve(1)?;
            made.write_header();
            File::open(dir)?.sync_all()?;
            Ok(made)
        });
        if made.is_err() {
            fs::remove_file(&path)?;
        }
        made
    }

    /// Opens a file of the right size, or says why it cannot be used. What is in use of it is read first unless `trust`
    /// is `All`: on bytes that the disk cannot give the process would end, and so would the next one.
    pub(super) fn open(
        dir: &Path,
        name: &str,
        limits: IndexLimits,
        trust: Trust,
    ) -> io::Result<Result<OpenFile, String>> {
        let file = OpenOptions::new().read(true).write(true).open(dir.join(name))?;
        let mut bytes = [0; HEADER_BYTES];
        if let Err(error) = file.read_exact_at(&mut bytes, 0) {
            return Ok(Err(format!("its header cannot be read ({error})")));
        }
        let Some(header) = IndexHeader::decode(&bytes, limits) else {
            return Ok(Err("its header has impossible numbers".to_string()));
        };
        let map = MappedFile::map(&file, limits.file_bytes())?;
        let used = match trust {
            Trust::All => 0,
            Trust::Written | Trust::Until(_) => limits.item_at(header.next_item) + RESERVE_BYTES,
            // The header may be older than the items.
            Trust::Below(_) => limits.file_bytes(),
        };
        if used > 0
            && let Err(error) = map.fetch(used.min(limits.file_bytes()))
        {
            return Ok(Err(format!("a part of it cannot be read ({error})")));
        }
        let (name, file) = (name.to_string(), Arc::new(file));
        Ok(Ok(OpenFile { name, header, file, map, limits, reserved: 0 }))
    }

    pub(super) fn is_full(&self) -> bool {
        self.header.next_item >= self.limits.items
    }

    pub(super) fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.map.get(at)
    }

    fn item(&self, number: u32) -> IndexItem {
        IndexItem::decode(&self.map.get(self.limits.item_at(number)))
    }

    /// Physical offset of the last item's record; `None` without items.
    pub(super) fn last_phy(&self) -> Option<i64> {
        let last = self.header.next_item.checked_sub(1).filter(|last| *last > 0)?;
        Some(self.item(last).phy)
    }

    /// How many of the last items are of this record.
    pub(super) fn items_of_last(&self, phy: i64) -> usize {
        (1..self.header.next_item).rev().take_while(|number| self.item(*number).phy == phy).count()
    }

    /// Adds an entry to a file that is not full. Errors: the disk has no room.
    pub(super) fn put(&mut self, entry: &IndexEntry) -> io::Result<()> {
        let number = self.header.next_item;
        assert!(number < self.limits.items, "a full file takes nothing");
        self.reserve(number)?;
        let slot_at = self.limits.slot_at(entry.hash);
        let before = self.slot(slot_at, number);
        let phy = entry.phy.to_wire();
        let seconds = seconds_after(self.header.begin_timestamp, entry.timestamp);
        let item = IndexItem { hash: entry.hash, phy, seconds, before };
        self.map.put(self.limits.item_at(number), &item.encode());
        self.map.put(slot_at, &number.to_be_bytes());
        let header = &mut self.header;
        if number == 1 {
            header.begin_phy = phy;
            header.begin_timestamp = entry.timestamp;
        }
        if before == 0 {
            header.slots_used += 1;
        }
        header.next_item = number + 1;
        header.end_phy = phy;
        header.end_timestamp = entry.timestamp;
        self.write_header();
        Ok(())
    }

    /// Brings the slots of these entries into the cache together: they lie anywhere in 20 MB, and one after the other the
    /// processor would wait for each.
    pub(super) fn fetch_slots(&self, entries: &[IndexEntry]) {
        let slots = entries.iter().map(|entry| self.map.get(self.limits.slot_at(entry.hash)));
        black_box(slots.fold(0, |all, slot| all ^ u32::from_be_bytes(slot)));
    }

    /// The newest item of a slot, 0 when it names none before `next`.
    fn slot(&self, at: usize, next: u32) -> u32 {
        let item = u32::from_be_bytes(self.map.get(at));
        if item < next { item } else { 0 }
    }

    fn write_header(&mut self) {
        let bytes = self.header.encode();
        let (times_and_places, next_item) = bytes.split_at(NEXT_ITEM_AT);
        self.map.put(0, times_and_places);
        self.map.put(NEXT_ITEM_AT, next_item);
    }

    /// Sees to it that header, slots and items up to `number` have blocks on the disk.
    fn reserve(&mut self, number: u32) -> io::Result<()> {
        let end = self.limits.item_at(number) + ITEM_BYTES;
        if end <= self.reserved {
            return Ok(());
        }
        let target = (end + RESERVE_BYTES).min(self.limits.file_bytes());
        let (from, len) = (self.reserved as u64, (target - self.reserved) as u64);
        let flags = rustix::fs::FallocateFlags::empty();
        match rustix::fs::fallocate(&*self.file, flags, from, len) {
            // Such a file system has no way to ask; then it is as with Java.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => self.reserved = target,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Takes back an item that the process had no time to count. The next item of the slot would name itself.
    pub(super) fn mend(&mut self) {
        let number = self.header.next_item;
        if self.is_full() {
            return;
        }
        let item = self.item(number);
        let slot_at = self.limits.slot_at(item.hash);
        if u32::from_be_bytes(self.map.get(slot_at)) == number {
            let before = if item.before < number { item.before } else { 0 };
            self.map.put(slot_at, &before.to_be_bytes());
        }
    }

    /// Keeps the items of records from `floor` on and below `limit`, and makes the slots anew. Returns how many there are.
    /// `counted` false: the header may be older than the items.
    pub(super) fn keep_below(&mut self, floor: i64, limit: i64, counted: bool) -> io::Result<u32> {
        let stop = if counted { self.header.next_item } else { self.limits.items };
        let (mut next, mut last) = (1, floor);
        while next < stop {
            let bytes: [u8; ITEM_BYTES] = self.map.get(self.limits.item_at(next));
            let phy = IndexItem::decode(&bytes).phy;
            if phy < last || phy >= limit || bytes == [0; ITEM_BYTES] {
                break;
            }
            (next, last) = (next + 1, phy);
        }
        self.reserve(next.min(self.limits.items - 1))?;
        let slots_end = self.limits.item_at(0);
        self.map.clear(HEADER_BYTES, slots_end - HEADER_BYTES);
        self.header.slots_used = 0;
        for number in 1..next {
            let item = self.item(number);
            let slot_at = self.limits.slot_at(item.hash);
            let before = u32::from_be_bytes(self.map.get(slot_at));
            if before == 0 {
                self.header.slots_used += 1;
            }
            if before != item.before {
                let item = IndexItem { before, ..item };
                self.map.put(self.limits.item_at(number), &item.encode());
            }
            self.map.put(slot_at, &number.to_be_bytes());
        }
        let counted_before = std::mem::replace(&mut self.header.next_item, next);
        if next > 1 && next != counted_before {
            let end = self.item(next - 1);
            self.header.begin_phy = self.item(1).phy;
            self.header.end_phy = end.phy;
            // To the second; what is added next makes it exact.
            let seconds = i64::from(end.seconds.max(0));
            self.header.end_timestamp = self.header.begin_timestamp + seconds * 1000 + 999;
        }
        self.write_header();
        Ok(next - 1)
    }

    /// Waits until the disk has it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.map.sync()
    }
}

const _: () = assert!(SLOT_BYTES == size_of::<u32>());
