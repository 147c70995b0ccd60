//! Reasons for which a key has no effect or is refused, each told in the log and in the reference file.

pub(crate) const POOL: &str = "work runs on shards, there are no thread pools";
pub(crate) const QUEUE: &str = "no queue stands between the network and the work";
pub(crate) const SENDS: &str =
    "sends wait for nothing but room in the log window: osPageCacheBusyTimeOutMills";
pub(crate) const OPERATIONS: &str = "what has ended in a turn of the shard is written at its end";
pub(crate) const NETTY: &str = "sockets are driven by io_uring, there is no Netty";
pub(crate) const MMAP: &str = "files of the log and of queues are not mapped into memory";
pub(crate) const GONE: &str =
    "a deleted file goes at once, and a pull that still wanted it is led past it";
pub(crate) const SCANNED: &str =
    "a pull looks at 800 entries at most, which are the default's bytes";
pub(crate) const QUEUEFLUSH: &str = "queue files are written every second and synced with the checkpoint, every 10 seconds; what they lack after a crash \
     comes from the log";
pub(crate) const QUEUEPAUSE: &str = "queue files are deleted in the background without pauses";
pub(crate) const BATCHCQ: &str = "topics with such queues are refused";
pub(crate) const WRITER: &str =
    "the log is written directly from its memory window, as soon as it can be";
pub(crate) const LOCK: &str = "a queue has one writer and needs no lock";
pub(crate) const ROCKS: &str = "there is no RocksDB";
pub(crate) const UNUSED: &str = "Java does not use it either";
pub(crate) const NOSETTER: &str = "Java has no way to set it";
pub(crate) const DLEDGERONLY: &str = "it belongs to DLedger mode";
pub(crate) const CONTROLLERONLY: &str = "it belongs to controller mode";
pub(crate) const CONTAINER: &str = "there is no broker container";
pub(crate) const WITHOFFSETS: &str = "flushConsumerOffsetInterval decides it, too";
pub(crate) const COMMERCIAL: &str = "these statistics belong to a commercial service";
pub(crate) const INNER: &str = "it is an inner field of the Java broker";
pub(crate) const DERIVED: &str = "lowest offsets follow from the log";
pub(crate) const ALWAYSCRC: &str = "recovery always checks lengths, offsets and checksums";
pub(crate) const ALWAYSINDEX: &str = "recovery always completes the index from the log";
pub(crate) const CHECKPOINT: &str = "recovery starts at the checkpoint";
pub(crate) const NOCACHE: &str = "appends do not depend on the page cache";
pub(crate) const ZEROCOPY: &str = "messages go from the window to the socket without a choice";
pub(crate) const BITMAP: &str =
    "it follows from expectConsumerNumUseFilter and maxErrorRateOfBloomFilter, as in Java";
pub(crate) const OWNSWITCH: &str = "readUncommittedVisible decides it";

pub(crate) const ROCKSSTORE: &str = "data kept in RocksDB cannot be read here";
pub(crate) const OTHERMETA: &str = "topics, groups and offsets kept in RocksDB cannot be read here";
pub(crate) const PROPCRC: &str = "records get no checksum over the properties here, and Java that is told to verify them cuts the log at a record \
     without its checksum";
pub(crate) const ONEPATH: &str = "the commit log lies in one directory";
pub(crate) const PLUGIN: &str = "Java classes cannot be loaded here";
pub(crate) const DUPLICATION: &str = "replicated data is stored once";
pub(crate) const ACL: &str =
    "access control is not there yet, and without it the broker would be open to everybody";
pub(crate) const TLS: &str =
    "encryption is not there yet, and without it credentials would travel in the clear";
pub(crate) const DLEDGER: &str =
    "consensus is not there yet, and without it the log would have one copy only";
pub(crate) const CONTROLLER: &str =
    "controller mode is not there yet, and without it two masters could run";
pub(crate) const NSCONTROLLER: &str = "the controller is not there yet";
pub(crate) const ACTING: &str = "acting masters are not there yet";
