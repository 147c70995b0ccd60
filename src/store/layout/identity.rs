//! The identity file `ringmq.store`: which store this is and how many streams it has. Text, `key=value`.
//!
//! A store without the file was written by Java (or is new) and has one stream. The file is written once; the
//! number of streams is changed only by an offline command.

use std::fmt;

/// Name of the file in the store directory.
pub const FILE_NAME: &str = "ringmq.store";
/// Most streams a store may have: far above any machine, far below what an offset can carry.
pub const STREAMS_MAX: u16 = 1024;
const VERSION: u32 = 1;
/// Stands for the version while files are exchanged for those of another layout.
const UNFINISHED: &str = "unfinished";

/// Content of the identity file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Random; names the shared-memory windows.
    pub store_id: u128,
    /// Number of log streams, 1 to `STREAMS_MAX`.
    pub streams: u16,
    /// Segment size of the store in bytes.
    pub segment_bytes: u64,
}

/// Why an identity file is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdentityError(pub String);

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FILE_NAME}: {}", self.0)
    }
}

impl std::error::Error for IdentityError {}

/// Whether segments can have this size in bytes: a multiple of 4096 within what Java can map.
pub fn is_segment_size(bytes: u64) -> bool {
    const BLOCK_BYTES: u64 = 4096;
    const SEGMENT_BYTES_MAX: u64 = 2_147_479_552;
    (BLOCK_BYTES..=SEGMENT_BYTES_MAX).contains(&bytes) && bytes.is_multiple_of(BLOCK_BYTES)
}

impl Identity {
    /// The file's text.
    pub fn encode(&self) -> String {
        format!(
            "# Identity of this RingMQ store. Do not edit: the log is laid out by these numbers.\n\
             version={VERSION}\nstoreId={:032x}\nstreams={}\nsegmentBytes={}\n",
            self.store_id, self.streams, self.segment_bytes
        )
    }

    /// The file's text while the number of streams is being changed: nothing opens such a store.
    pub fn unfinished() -> String {
        format!("# ringmq store layout is at work, or was interrupted.\nversion={UNFINISHED}\n")
    }

    /// Reads the file's text.
    pub fn decode(text: &str) -> Result<Identity, IdentityError> {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(k, _)| k.trim() == key)
                .map(|(_, v)| v.trim())
                .ok_or_else(|| IdentityError(format!("{key} is missing")))
        };
        let bad = |key: &str, v: &str| IdentityError(format!("{key} = {v:?} is not valid"));
        let version = value("version")?;
        if version == UNFINISHED {
            let text = "ringmq store layout was interrupted; run it again with --apply";
            return Err(IdentityError(text.to_owned()));
        }
        if version != VERSION.to_string() {
            let text = format!(
                "version {version} was written by another release; this one reads {VERSION}"
            );
            return Err(IdentityError(text));
        }
        let id = value("storeId")?;
        let store_id = u128::from_str_radix(id, 16).map_err(|_| bad("storeId", id))?;
        let count = value("streams")?;
        let streams = count.parse().ok().filter(|n| (1..=STREAMS_MAX).contains(n));
        let streams = streams.ok_or_else(|| bad("streams", count))?;
        let size = value("segmentBytes")?;
        let segment_bytes = size.parse().ok().filter(|bytes| is_segment_size(*bytes));
        let segment_bytes = segment_bytes.ok_or_else(|| bad("segmentBytes", size))?;
        Ok(Identity { store_id, streams, segment_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_comes_back() {
        let identity = Identity { store_id: 0xabc, streams: 4, segment_bytes: 1 << 30 };
        assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
    }

    #[test]
    fn a_bad_identity_names_the_field() {
        let good = Identity { store_id: 1, streams: 1, segment_bytes: 4096 }.encode();
        let error = |text: String| Identity::decode(&text).unwrap_err().to_string();
        assert!(error(good.replace("streams=1", "streams=0")).contains("streams"));
        for size in ["0", "5", "4097", "-1", "9223372036854775807"] {
            let text = good.replace("segmentBytes=4096", &format!("segmentBytes={size}"));
            assert!(error(text).contains("segmentBytes"), "{size}");
        }
        assert!(error(good.replace("version=1", "version=2")).contains("another release"));
        assert!(error(good.replace("storeId=", "x=")).contains("storeId is missing"));
        assert!(error(Identity::unfinished()).contains("layout was interrupted"));
    }
}
