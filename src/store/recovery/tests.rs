//! The scan against damage: stale records, torn ends, bad fillers, arbitrary bytes.

use super::*;
use crate::sample;
use base::time::WallMs;
use wire::ids::QueueOffset;
use wire::message::Place;

const SEGMENT: u64 = 64 << 10;

fn record(position: u64, body: &[u8], properties: &[u8]) -> Vec<u8> {
    let message = sample::message(b"T", body, properties);
    let mut bytes = vec![0; message.encoded_len()];
    let phy_offset = PhyOffset::new(StreamId(0), position);
    message.encode(
        &mut bytes,
        Place { queue_offset: QueueOffset(0), phy_offset, store_timestamp: WallMs(9) },
    );
    bytes
}

fn scan_disk(disk: &[u8]) -> ScanEnd {
    scan_disk_by(Proof::Whole, disk)
}

fn scan_disk_by(proof: Proof, disk: &[u8]) -> ScanEnd {
    let range = ScanRange {
        stream: StreamId(0),
        segment_bytes: SEGMENT,
        from: 0,
        limit: disk.len() as u64,
    };
    let mut read = |position: u64, buffer: &mut [u8]| {
        assert!(position < disk.len() as u64, "there is no file at {position}");
        let at = usize::try_from(position).unwrap();
        let len = buffer.len().min(disk.len() - at);
        buffer[..len].copy_from_slice(&disk[at..at + len]);
        Ok(len)
    };
    scan_by(proof, range, &mut read, &mut |_, _, _| {}).unwrap()
}

fn disk(records: &[Vec<u8>]) -> Vec<u8> {
    let mut disk = records.concat();
    disk.resize(usize::try_from(SEGMENT).unwrap(), 0);
    disk
}

#[test]
fn a_stale_record_behind_the_end_never_comes_back() {
    let first = record(0, b"one", b"a\x01b\x02");
    // A whole record of an earlier life of the file: it names another position.
    let stale = record(5000, b"old", b"a\x01b\x02");
    let end = scan_disk(&disk(&[first.clone(), stale]));
    assert_eq!((end.end, end.records), (first.len() as u64, 1));
}

#[test]
fn a_record_with_a_sector_that_was_never_written_ends_the_log() {
    let first = record(0, b"one", b"a\x01b\x02");
    let properties = [b"a\x01".as_slice(), &[b'b'; 1500], b"\x02"].concat();
    let second = record(first.len() as u64, b"two", &properties);
    let third = record((first.len() + second.len()) as u64, b"three", b"a\x01b\x02");
    let whole = disk(&[first.clone(), second.clone(), third]);
    assert_eq!(scan_disk(&whole).records, 3);
    for sector in [512, 1024] {
        let mut torn = whole.clone();
        torn[sector..sector + 512].fill(0);
        let end = scan_disk(&torn);
        assert_eq!((end.end, end.records), (first.len() as u64, 1));
    }
    // Its last sector, which holds the next record's beginning too.
    let mut torn = disk(&[first.clone(), second]);
    torn[1536..2048].fill(0);
    assert_eq!(scan_disk(&torn).records, 1);
}

#[test]
fn a_topic_that_lies_in_a_sector_that_was_never_written_ends_the_log() {
    // Position 418: the topic is the first byte of the second sector, and there are no properties.
    let first = record(0, &[7; 418 - 92], b"");
    assert_eq!(first.len(), 418);
    let second = record(418, b"four-", b"");
    let at = 418 + 88 + 5 + 1;
    assert_eq!((at, second[at - 418]), (512, b'T'));
    let mut torn = disk(&[first, second]);
    assert_eq!(scan_disk(&torn).records, 2);
    torn[512..1024].fill(0);
    assert_eq!(scan_disk(&torn).records, 1);
}

#[test]
fn zeros_that_were_sent_do_not_end_the_log() {
    let zeros = record(0, &[0; 3000], b"a\x01\0\0\0");
    let next = record(zeros.len() as u64, &[0; 3000], b"");
    assert_eq!(scan_disk(&disk(&[zeros, next])).records, 2);
    // The length of no properties, 0, is all that lies in the second sector.
    let bare = record(0, &[7; 512 - 90], b"");
    assert_eq!(bare.len(), 514);
    assert_eq!(scan_disk(&disk(&[bare])).records, 1);
}

#[test]
fn zeros_that_a_send_may_have_never_look_like_a_sector() {
    let with = |zeros: usize| [b"z\x01", &vec![0; zeros][..], b"\x02"].concat();
    for before in 1..SECTOR_BYTES {
        let first = record(0, &vec![7; before], b"");
        let zeros = record(first.len() as u64, b"z", &with(TEXT_ZEROS_MAX));
        assert_eq!(scan_disk(&disk(&[first, zeros])).records, 2, "behind {before} bytes");
    }
    // More of them end the log, unless Java wrote it.
    let zeros = record(0, b"z", &with(2 * SECTOR_BYTES));
    let next = record(zeros.len() as u64, b"next", b"");
    let disk = disk(&[zeros, next]);
    assert_eq!(scan_disk(&disk).records, 0);
    assert_eq!(scan_disk_by(Proof::Crc, &disk).records, 2);
}

#[test]
fn a_filler_leads_to_the_next_segment_and_a_wrong_one_ends_the_log() {
    let first = record(0, b"one", b"");
    let mut disk = disk(std::slice::from_ref(&first));
    message::encode_blank(&mut disk[first.len()..]);
    disk.extend_from_slice(&record(SEGMENT, b"two", b""));
    disk.resize(2 * usize::try_from(SEGMENT).unwrap(), 0);
    assert_eq!(scan_disk(&disk).records, 2);
    disk[first.len() + 3] ^= 1;
    assert_eq!(scan_disk(&disk).records, 1);
}

#[test]
fn a_filler_at_the_end_of_the_last_file_ends_the_log() {
    let first = record(0, b"one", b"");
    let mut disk = disk(std::slice::from_ref(&first));
    message::encode_blank(&mut disk[first.len()..]);
    let end = scan_disk(&disk);
    assert_eq!((end.end, end.records), (SEGMENT, 1));
}

#[test]
fn arbitrary_bytes_end_the_log_and_nothing_else() {
    let mut state = 88_172_645_463_325_252u64;
    for _ in 0..300 {
        let mut bytes = vec![0u8; usize::try_from(SEGMENT).unwrap()];
        for byte in bytes.iter_mut().take(2000) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_be_bytes()[0];
        }
        assert_eq!(scan_disk(&bytes).records, 0);
    }
}

use wire::message;
