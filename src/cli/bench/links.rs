//! The connections of a load over one ring: bytes out, bytes in, nothing that waits.
//!
//! Everything a turn appends to a connection goes out in one send. A connection has one send in flight; what is
//! appended meanwhile goes with the next. Buffers circulate, so a warm run allocates nothing.

use super::Failure;
use base::time::MonoNs;
use reactor::{Event, Reactor, ReactorConfig, SocketId, clock};
use std::net::SocketAddr;

/// How long connecting may take.
const CONNECT_WAIT_MS: u64 = 5_000;
/// Receive buffers, and the bytes of each.
const RECEIVE_BUFFERS: u16 = 128;
const RECEIVE_BUFFER_BYTES: usize = 32 * 1024;

/// Number of a connection, in the order they were asked for.
pub(super) type LinkId = usize;

/// What goes out next on each connection.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    buffers: Vec<Vec<u8>>,
    is_alive: Vec<bool>,
    dirty: Vec<LinkId>,
}

impl Outbox {
    /// The buffer to append whole requests to.
    pub(super) fn to(&mut self, link: LinkId) -> &mut Vec<u8> {
        let buffer = &mut self.buffers[link];
        if buffer.is_empty() {
            self.dirty.push(link);
        }
        buffer
    }

    /// Whether the connection still stands.
    pub(super) fn is_alive(&self, link: LinkId) -> bool {
        self.is_alive[link]
    }

    /// An outbox whose bytes go nowhere.
    #[cfg(test)]
    pub(super) fn for_test(links: usize) -> Outbox {
        Outbox { buffers: vec![Vec::new(); links], is_alive: vec![true; links], dirty: Vec::new() }
    }
}

/// What a load is told.
pub(super) trait Listener {
    /// Bytes arrived. The error says why the stream cannot be read any further.
    fn received(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        out: &mut Outbox,
        now: MonoNs,
    ) -> Result<(), String>;

    /// The connection is gone; nothing more comes from it.
    fn lost(&mut self, link: LinkId);
}

/// One connection.
#[derive(Debug)]
struct Link {
    socket: SocketId,
    address: SocketAddr,
    spare: Vec<u8>,
    is_sending: bool,
}

/// All connections.
pub(super) struct Links {
    reactor: Reactor,
    links: Vec<Link>,
    by_socket: Vec<Option<LinkId>>,
    outbox: Outbox,
    events: Vec<Event>,
    retry: Vec<LinkId>,
    alive: usize,
}

impl Links {
    /// Connects to every address; the first failure is the error.
    pub(super) fn connect(addresses: &[SocketAddr]) -> Result<Links, Failure> {
        let sockets_max = u32::try_from(addresses.len() + 8).expect("bounded by the arguments");
        let config = ReactorConfig {
            entries: 1024,
            receive_buffers: RECEIVE_BUFFERS,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            sockets_max,
            ..ReactorConfig::small()
        };
        let reactor = Reactor::new(config).map_err(|error| Failure(error.to_string()))?;
        let mut links = Links {
            reactor,
            links: Vec::new(),
            by_socket: Vec::new(),
            outbox: Outbox::default(),
            events: Vec::new(),
            retry: Vec::new(),
            alive: 0,
        };
        for &address in addresses {
            links.add(address)?;
        }
        links.wait_connected()?;
        Ok(links)
    }

    fn add(&mut self, address: SocketAddr) -> Result<(), Failure> {
        let failed = |error| Failure(format!("connecting to {address}: {error}"));
        let socket = self.reactor.connect(address).map_err(failed)?;
        let at = usize::try_from(socket.0).expect("usize has at least 32 bits");
        if self.by_socket.len() <= at {
            self.by_socket.resize(at + 1, None);
        }
        self.by_socket[at] = Some(self.links.len());
        self.links.push(Link { socket, address, spare: Vec::new(), is_sending: false });
        self.outbox.buffers.push(Vec::new());
        self.outbox.is_alive.push(true);
        Ok(())
    }

    fn wait_connected(&mut self) -> Result<(), Failure> {
        let deadline = clock::mono().plus_ms(CONNECT_WAIT_MS);
        while self.alive < self.links.len() {
            let now = clock::mono();
            if now > deadline {
                let missing = self.links.len() - self.alive;
                return Err(Failure(format!(
                    "{missing} of {} connections were not made within {CONNECT_WAIT_MS} ms",
                    self.links.len()
                )));
            }
            let mut events = std::mem::take(&mut self.events);
            self.reactor.turn(now, &mut events);
            for event in events.drain(..) {
                if let Event::Connected { socket, error } = event {
                    if let Some(error) = error {
                        let address = self.links[self.link_of(socket)].address;
                        let error = std::io::Error::from_raw_os_error(error);
                        return Err(Failure(format!("connecting to {address}: {error}")));
                    }
                    self.alive += 1;
                    self.reactor.start_receive(socket);
                }
            }
            self.events = events;
        }
        Ok(())
    }

    fn link_of(&self, socket: SocketId) -> LinkId {
        let at = usize::try_from(socket.0).expect("usize has at least 32 bits");
        self.by_socket[at].expect("only sockets of links are open")
    }

    /// Connections that stand.
    pub(super) fn alive(&self) -> usize {
        self.alive
    }

    /// Where requests are put.
    pub(super) fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Sends what was appended and passes on what arrived. True: something happened.
    pub(super) fn turn(&mut self, load: &mut impl Listener, now: MonoNs) -> bool {
        let mut is_busy = self.flush();
        let mut events = std::mem::take(&mut self.events);
        self.reactor.turn(now, &mut events);
        if !events.is_empty() {
            is_busy = true;
            let now = clock::mono();
            for event in events.drain(..) {
                self.on_event(event, load, now);
            }
        }
        self.events = events;
        is_busy
    }

    fn flush(&mut self) -> bool {
        if self.outbox.dirty.is_empty() {
            return false;
        }
        let mut dirty = std::mem::take(&mut self.outbox.dirty);
        let mut has_sent = false;
        for &link in &dirty {
            if self.links[link].is_sending {
                self.retry.push(link);
            } else if self.outbox.is_alive[link] {
                let slot = &mut self.links[link];
                slot.is_sending = true;
                has_sent = true;
                let next = std::mem::take(&mut slot.spare);
                let bytes = std::mem::replace(&mut self.outbox.buffers[link], next);
                self.reactor.send(slot.socket, bytes);
            } else {
                self.outbox.buffers[link].clear();
            }
        }
        dirty.clear();
        // A connection that still sends stays dirty: its buffer is not empty, so it is not marked again.
        std::mem::swap(&mut dirty, &mut self.retry);
        self.outbox.dirty = dirty;
        has_sent
    }

    fn on_event(&mut self, event: Event, load: &mut impl Listener, now: MonoNs) {
        match event {
            Event::Received { socket, buffer, len } => {
                let link = self.link_of(socket);
                let mut result = Ok(());
                if self.outbox.is_alive[link] {
                    let bytes = self.reactor.received(buffer, len);
                    result = load.received(link, bytes, &mut self.outbox, now);
                }
                self.reactor.give_back(buffer);
                if let Err(what) = result {
                    let address = self.links[link].address;
                    eprintln!("connection {link} to {address} is given up: {what}");
                    self.lose(link, load);
                }
            }
            Event::Sent { socket, mut buffer, error } => {
                let link = self.link_of(socket);
                buffer.clear();
                self.links[link].spare = buffer;
                self.links[link].is_sending = false;
                if error.is_some() {
                    self.lose(link, load);
                }
            }
            Event::Ended { socket, .. } => {
                let link = self.link_of(socket);
                self.lose(link, load);
            }
            Event::Released { .. } | Event::Connected { .. } => {}
            Event::Accepted { .. } | Event::AcceptFailed { .. } => {
                unreachable!("the load generator does not listen")
            }
            Event::Wrote { .. } | Event::Read { .. } | Event::Synced { .. } => {
                unreachable!("the load generator has no files")
            }
        }
    }

    fn lose(&mut self, link: LinkId, load: &mut impl Listener) {
        if self.outbox.is_alive[link] {
            self.outbox.is_alive[link] = false;
            self.alive -= 1;
            self.reactor.close(self.links[link].socket);
            load.lost(link);
        }
    }
}
