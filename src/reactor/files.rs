//! File operations in flight: direct writes from registered memory, reads into owned buffers, syncs.

use buf::block_pool::BlockId;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A file the reactor holds open.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId(pub u32);

/// Where the bytes of a write come from.
#[derive(Clone, Copy, Debug)]
pub enum WriteFrom<'a> {
    /// The log window `window` (index of registration) at a stream position, whole blocks, `len` bytes.
    Window {
        /// Index from `Reactor::add_window`.
        window: usize,
        /// Stream position of the first byte.
        position: u64,
        /// Bytes, a multiple of the block size, contiguous in the ring.
        len: usize,
    },
    /// Bytes copied now into a registered block and padded with zeros to its end.
    Copy(&'a [u8]),
    /// This many zeros, at most `ZEROS_MAX`.
    Zeros(usize),
}

/// How a write is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteMode {
    /// It waits for the device (RWF_DSYNC).
    pub durable: bool,
    /// A worker of the kernel submits it: the file system may have to allocate or convert extents, and would block
    /// the thread on its locks and its journal.
    pub by_worker: bool,
}

/// Most bytes of one `WriteFrom::Zeros`.
pub const ZEROS_MAX: usize = 512 << 10;

pub(crate) enum FileOp {
    Write {
        file: FileId,
        from: *const u8,
        buffer_index: Option<u16>,
        len: u32,
        position: u64,
        mode: WriteMode,
        scratch: Option<BlockId>,
        tag: u64,
    },
    Read {
        file: FileId,
        buffer: Vec<u8>,
        filled: usize,
        position: u64,
        tag: u64,
    },
    Sync {
        file: FileId,
        tag: u64,
    },
}

impl FileOp {
    pub(crate) fn file(&self) -> FileId {
        match self {
            FileOp::Write { file, .. } | FileOp::Read { file, .. } | FileOp::Sync { file, .. } => {
                *file
            }
        }
    }
}

struct OpenFile {
    fd: OwnedFd,
    in_flight: u32,
    dropping: bool,
}

/// Open files by id; a file is closed when dropped and idle.
#[derive(Default)]
pub(crate) struct FileTable {
    files: Vec<Option<OpenFile>>,
    free: Vec<u32>,
}

impl FileTable {
    pub(crate) fn insert(&mut self, fd: OwnedFd) -> FileId {
        let file = Some(OpenFile { fd, in_flight: 0, dropping: false });
        if let Some(at) = self.free.pop() {
            self.files[at as usize] = file;
            return FileId(at);
        }
        self.files.push(file);
        FileId(u32::try_from(self.files.len() - 1).expect("descriptors are 31-bit numbers"))
    }

    pub(crate) fn begin(&mut self, id: FileId) -> RawFd {
        let file = self.open(id);
        assert!(!file.dropping, "file {} is used after it was dropped", id.0);
        file.in_flight += 1;
        file.fd.as_raw_fd()
    }

    pub(crate) fn raw(&mut self, id: FileId) -> RawFd {
        self.open(id).fd.as_raw_fd()
    }

    pub(crate) fn end(&mut self, id: FileId) {
        let file = self.open(id);
        file.in_flight -= 1;
        if file.dropping && file.in_flight == 0 {
            self.close(id);
        }
    }

    pub(crate) fn drop_file(&mut self, id: FileId) {
        let file = self.open(id);
        file.dropping = true;
        if file.in_flight == 0 {
            self.close(id);
        }
    }

    fn close(&mut self, id: FileId) {
        self.files[id.0 as usize] = None;
        self.free.push(id.0);
    }

    fn open(&mut self, id: FileId) -> &mut OpenFile {
        self.files[id.0 as usize].as_mut().expect("a file id names an open file")
    }
}
