//! One connection: frames out, frames in, and answers matched to requests by opaque.
//!
//! Invariants: bytes that arrived are kept across timeouts, so a late answer is still whole; an answer nobody waits
//! for yet is held, a request of the server is queued for `take_request`. Limit: frames of `FRAME_BYTES_MAX`.

use crate::error::Error;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use wire::codes::{MQ_VERSION_5_5_0, response};
use wire::header::{FLAG_ONEWAY, FLAG_RESPONSE};
use wire::{Frame, FrameHead, FrameWriter, Header, SerializeType, Text};

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// How a connection speaks.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Encoding of request headers; answers are read in both.
    pub serialize: SerializeType,
    /// `MQVersion` ordinal to report.
    pub version: i32,
    /// How long connecting, and each wait for an answer, may take.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            serialize: SerializeType::Json,
            version: MQ_VERSION_5_5_0,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A frame that arrived, whose header was checked.
#[derive(Clone, Debug)]
pub struct Reply {
    bytes: Vec<u8>,
    code: i32,
    opaque: i32,
    flag: i32,
}

impl Reply {
    fn new(frame: &Frame<'_>) -> Result<Reply, Error> {
        let header = Header::decode(frame).map_err(Error::protocol)?;
        let (code, opaque, flag) = (header.code, header.opaque, header.flag);
        Ok(Reply { bytes: frame.bytes.to_vec(), code, opaque, flag })
    }

    fn frame(&self) -> Frame<'_> {
        let split = wire::frame::split(&self.bytes).expect("the frame was checked on arrival");
        split.expect("the frame is whole").0
    }

    /// Response code, or request code of a request of the server.
    pub fn code(&self) -> i32 {
        self.code
    }

    /// Id of the request.
    pub fn opaque(&self) -> i32 {
        self.opaque
    }

    /// Whether this is a request of the server.
    pub fn is_request(&self) -> bool {
        self.flag & FLAG_RESPONSE == 0
    }

    /// The decoded header.
    pub fn header(&self) -> Header<'_> {
        Header::decode(&self.frame()).expect("the header was checked on arrival")
    }

    /// The text of one field.
    pub fn field(&self, key: &str) -> Option<String> {
        self.header().fields.get(key).map(|text| text.to_cow().into_owned())
    }

    /// The remark; empty when there is none.
    pub fn remark(&self) -> String {
        self.header().remark.map(|text| text.to_cow().into_owned()).unwrap_or_default()
    }

    /// The body; empty when there is none.
    pub fn body(&self) -> &[u8] {
        self.frame().body
    }

    /// The whole frame with its length word.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// This reply when its code is success, `Error::Refused` otherwise.
    pub fn success(self) -> Result<Reply, Error> {
        if self.code == response::SUCCESS { Ok(self) } else { Err(self.refusal()) }
    }

    /// The error a failing answer stands for.
    pub fn refusal(&self) -> Error {
        Error::Refused { code: self.code, remark: self.remark() }
    }
}

/// A connection to a broker or name server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    options: Options,
    opaque_next: i32,
    input: Vec<u8>,
    output: Vec<u8>,
    held: HashMap<i32, Reply>,
    requests: VecDeque<Reply>,
}

impl Connection {
    /// Connects to `address` (`host:port`) with default options.
    pub fn connect(address: impl ToSocketAddrs) -> Result<Connection, Error> {
        Connection::connect_with(address, Options::default())
    }

    /// Connects to the first address of the name that answers.
    pub fn connect_with(
        address: impl ToSocketAddrs,
        options: Options,
    ) -> Result<Connection, Error> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, options.timeout) {
                Ok(stream) => return Connection::over(stream, options),
                Err(error) => last = error,
            }
        }
        Err(Error::Io(last))
    }

    /// Speaks over a connected stream.
    pub fn over(stream: TcpStream, options: Options) -> Result<Connection, Error> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(options.timeout))?;
        Ok(Connection {
            peer: stream.peer_addr()?,
            stream,
            options,
            opaque_next: 1,
            input: Vec::new(),
            output: Vec::new(),
            held: HashMap::new(),
            requests: VecDeque::new(),
        })
    }

    /// Address of the server.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Address of this end; the server sees it as born host.
    pub fn local(&self) -> Result<SocketAddr, Error> {
        Ok(self.stream.local_addr()?)
    }

    /// How the connection speaks.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Changes how long each later wait for an answer may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.options.timeout = timeout;
    }

    /// Sends a request and waits for its answer, whatever its code.
    pub fn call(
        &mut self,
        code: i32,
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
    ) -> Result<Reply, Error> {
        let opaque = self.submit(code, fields, body)?;
        self.wait(opaque)
    }

    /// Sends a request and waits; every code but success is `Error::Refused`.
    pub fn call_ok(
        &mut self,
        code: i32,
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
    ) -> Result<Reply, Error> {
        self.call(code, fields, body)?.success()
    }

    /// Sends a request without waiting; the opaque is for `wait`.
    pub fn submit(
        &mut self,
        code: i32,
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
    ) -> Result<i32, Error> {
        let opaque = self.opaque_next;
        self.opaque_next = self.opaque_next.checked_add(1).unwrap_or(1);
        self.write(FrameParts { code, opaque, flag: 0 }, fields, body)?;
        Ok(opaque)
    }

    /// Sends a request that the server does not answer.
    pub fn oneway(
        &mut self,
        code: i32,
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
    ) -> Result<(), Error> {
        let opaque = self.opaque_next;
        self.opaque_next = self.opaque_next.checked_add(1).unwrap_or(1);
        self.write(FrameParts { code, opaque, flag: FLAG_ONEWAY }, fields, body)
    }

    /// Answers a request of the server.
    pub fn answer(
        &mut self,
        request: &Reply,
        code: i32,
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
    ) -> Result<(), Error> {
        let parts = FrameParts { code, opaque: request.opaque, flag: FLAG_RESPONSE };
        self.write(parts, fields, body)
    }

    fn write(
        &mut self,
        parts: FrameParts,
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
    ) -> Result<(), Error> {
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        let head = FrameHead {
            serialize: self.options.serialize,
            code: parts.code,
            opaque: parts.opaque,
            flag: parts.flag,
            version: self.options.version,
        };
        let mut writer = FrameWriter::begin(&mut output, head);
        fields(&mut writer);
        let mut tail = writer.body();
        tail.bytes().extend_from_slice(body);
        tail.finish();
        let result = self.send_bytes(&output);
        self.output = output;
        result
    }

    /// Sends bytes as they are, for tests of hostile or recorded input.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Waits for the answer to a submitted request, at most the timeout of the options.
    pub fn wait(&mut self, opaque: i32) -> Result<Reply, Error> {
        if let Some(reply) = self.held.remove(&opaque) {
            return Ok(reply);
        }
        let deadline = Instant::now() + self.options.timeout;
        loop {
            let reply = self.receive_until(deadline)?;
            if reply.is_request() {
                self.requests.push_back(reply);
            } else if reply.opaque == opaque {
                return Ok(reply);
            } else {
                self.held.insert(reply.opaque, reply);
            }
        }
    }

    /// The next frame from the server, answer or request, held ones first.
    pub fn receive(&mut self, timeout: Duration) -> Result<Reply, Error> {
        if let Some(reply) = self.requests.pop_front() {
            return Ok(reply);
        }
        if let Some(opaque) = self.held.keys().next().copied() {
            return Ok(self.held.remove(&opaque).expect("the key was just seen"));
        }
        self.receive_until(Instant::now() + timeout)
    }

    /// The next request of the server; answers that arrive meanwhile are held.
    pub fn take_request(&mut self, timeout: Duration) -> Result<Reply, Error> {
        if let Some(request) = self.requests.pop_front() {
            return Ok(request);
        }
        let deadline = Instant::now() + timeout;
        loop {
            let reply = self.receive_until(deadline)?;
            if reply.is_request() {
                return Ok(reply);
            }
            self.held.insert(reply.opaque, reply);
        }
    }

    fn receive_until(&mut self, deadline: Instant) -> Result<Reply, Error> {
        loop {
            if let Some((frame, used)) = wire::frame::split(&self.input).map_err(Error::protocol)? {
                let reply = Reply::new(&frame);
                self.input.drain(..used);
                return reply;
            }
            self.read_more(deadline)?;
        }
    }

    fn read_more(&mut self, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out());
        }
        self.stream.set_read_timeout(Some(left))?;
        let start = self.input.len();
        self.input.resize(start + READ_BYTES, 0);
        let result = self.stream.read(&mut self.input[start..]);
        self.input.truncate(start + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => Err(Error::Io(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            ))),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(timed_out()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(Error::Io(error)),
        }
    }
}

struct FrameParts {
    code: i32,
    opaque: i32,
    flag: i32,
}

fn timed_out() -> Error {
    Error::Io(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
}

/// Text of a request field.
pub(crate) fn text(value: &str) -> Text<'_> {
    Text::plain(value.as_bytes())
}
