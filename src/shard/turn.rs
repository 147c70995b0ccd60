//! The turn: take all completions, run every handler to completion, plan once, submit once.

use crate::ListenerTag;
use crate::app::{App, Peer};
use crate::boot::{ShardConfig, ShardSeed};
use crate::conns::{ConnState, Conns};
use crate::cx::{Cx, Requests, ShardMail};
use crate::frames::{self, InputError};
use crate::io_map::{IoMap, JobDone};
use crate::slice::SliceChoice;
use crate::stages::Marks;
use crate::stalled::StalledFrames;
use crate::stop::StopFlag;
use base::ids::{ConnId, ShardId};
use base::limit::LineLimit;
use base::time::{MonoNs, Now};
use base::wheel::Wheel;
use ha::ack_gate::AckGate;
use reactor::host::{Background, Pace, Turner};
use reactor::mesh::Mesh;
use reactor::probe::StartError;
use reactor::{Event, Reactor, SocketId, clock};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use store::Store;
use store::queues::QueueNo;
use wire::frame;
use wire::ids::StreamId;

/// Mails handled per turn, so that a flood of mail does not keep completions waiting.
const MAILS_PER_TURN: usize = 1024;
/// Requests of one connection that are mailed to other shards before it has to wait for the next turn: their
/// answers may be large, and only then tell how much output there is.
const MAILS_PER_INPUT: usize = 32;
/// Held connections that go on in one turn.
const RESUMES_PER_TURN: usize = 64;
/// Log lines that clients can cause, per second and shard.
const LINES_PER_SECOND: u32 = 20;
/// Pause between looks for idle connections.
const IDLE_SWEEP_MS: u64 = 5_000;

/// One shard.
pub(crate) struct Shard<A: App> {
    app: A,
    reactor: Reactor,
    conns: Conns,
    mesh: Mesh<ShardMail<A::Mail>>,
    store: Option<Store>,
    io: Option<IoMap>,
    gates: Vec<(StreamId, AckGate)>,
    /// Messages of the application itself that are stored, and whether in time.
    stored: Vec<(u64, bool)>,
    timers: Wheel<u64>,
    requests: Requests<A>,
    stalled: StalledFrames,
    background: Background<JobDone<A::Done>>,
    stop: Arc<StopFlag>,
    config: ShardConfig,
    me: ShardId,
    now: Now,
    /// When what is being handled was received.
    since: MonoNs,
    marks: Marks,
    phase: Phase,
    leave: Leave,
    next_sweep: MonoNs,
    /// Since when there is no work.
    idle_since: Option<MonoNs>,
    /// How long that usually lasts, ns; a running average.
    idle_gap_ns: u64,
    /// Lines that clients can cause.
    lines: LineLimit,
    slept: bool,
    /// Queue files have no room.
    lacks_room: bool,
    slice: SliceChoice,
    /// A peer's ring was full: nobody wakes this shard when it has room again.
    mail_waits: bool,
    events: Vec<Event>,
    due: Vec<u64>,
    news: Vec<QueueNo>,
    ended: Vec<ConnId>,
    /// Mail that is being sent.
    mails: Vec<(ShardId, ShardMail<A::Mail>)>,
}

/// Borrows the parts of a shard that a call into the application may use.
macro_rules! cx {
    ($shard:expr) => {
        Cx {
            now: $shard.now,
            store: $shard.store.as_mut(),
            me: $shard.me,
            shards: $shard.mesh.shard_count(),
            since: $shard.since,
            stages: $shard.marks.stages(),
            conns: &mut $shard.conns,
            gates: &mut $shard.gates,
            timers: &mut $shard.timers,
            requests: &mut $shard.requests,
            stalled: &mut $shard.stalled,
            sync_flush_timeout_ms: $shard.config.sync_flush_timeout_ms,
            stall: $shard.config.stall,
        }
    };
}

mod answers;
mod leave;
mod upkeep;

use leave::{Leave, Phase};

impl<A: App> Shard<A> {
    /// Builds the shard on its own thread.
    pub(crate) fn new(
        seed: ShardSeed,
        app: A,
        mut mesh: Mesh<ShardMail<A::Mail>>,
        stop: Arc<StopFlag>,
        background: Background<JobDone<A::Done>>,
    ) -> Result<Shard<A>, StartError> {
        let mut reactor = Reactor::new(seed.config.reactor)?;
        for (listener, tag) in seed.listeners {
            reactor.listen(listener, tag.0);
        }
        let waker = reactor.waker();
        stop.add_waker(
            waker.map_err(|error| StartError::System { what: "duplicating an eventfd", error })?,
        );
        mesh.publish(reactor.ring_fd());
        let now = clock::now();
        let mut store = None;
        let mut io = None;
        if let Some(part) = seed.store {
            let (files, index) = (part.files, part.index);
            io = Some(IoMap::new(&mut reactor, &part.store, files, index, part.paths));
            store = Some(part.store);
        }
        let streams = store.iter().flat_map(|s: &Store| s.streams().map(|stream| stream.id()));
        let gates = streams.map(|id| (id, AckGate::default())).collect();
        let marks = Marks::new(store.as_ref(), now.mono);
        Ok(Shard {
            app,
            reactor,
            conns: Conns::new(seed.id),
            mesh,
            store,
            io,
            gates,
            stored: Vec::new(),
            timers: Wheel::new(now.mono),
            requests: Requests::default(),
            stalled: StalledFrames::default(),
            background,
            stop,
            config: seed.config,
            me: seed.id,
            now,
            since: now.mono,
            marks,
            phase: Phase::Running,
            leave: Leave::default(),
            next_sweep: now.mono.plus_ms(IDLE_SWEEP_MS),
            idle_since: None,
            idle_gap_ns: u64::MAX / 8,
            lines: LineLimit::new(LINES_PER_SECOND),
            slept: false,
            lacks_room: false,
            slice: SliceChoice::new(),
            mail_waits: false,
            events: Vec::new(),
            due: Vec::new(),
            news: Vec::new(),
            ended: Vec::new(),
            mails: Vec::new(),
        })
    }

    /// Calls the application's `start`; before the first turn.
    pub(crate) fn start(&mut self) {
        self.now = clock::now();
        self.app.start(&mut cx!(self));
    }

    fn take_events(&mut self) -> bool {
        let mut events = std::mem::take(&mut self.events);
        self.reactor.turn(self.now.mono, &mut events);
        let some = !events.is_empty();
        if some {
            // Whatever has arrived did so before this moment: no message is stored at a time before it was sent. The clock
            // as of the turn's begin does not say so, because the kernel takes what arrives in between.
            self.now = clock::now();
            self.since = self.now.mono;
            self.marks.arrived(self.now.mono);
        }
        for event in events.drain(..) {
            self.on_event(event);
        }
        self.events = events;
        some
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Accepted { listener, socket, peer } => self.on_accepted(listener, socket, peer),
            Event::AcceptFailed { listener, error } => {
                let error = std::io::Error::from_raw_os_error(error);
                tracing::warn!("{}: listener {listener} cannot accept: {error}", self.me);
            }
            Event::Received { socket, buffer, len } => {
                self.on_received(socket, buffer, len);
                self.reactor.give_back(buffer);
            }
            Event::Ended { socket, error } => {
                let Some(conn) = self.conns.of_socket(socket) else { return };
                if let Some(error) = error.filter(|e| *e != libc::ECONNRESET) {
                    let error = std::io::Error::from_raw_os_error(error);
                    tracing::info!("connection {conn} broke: {error}");
                }
                self.close(conn);
            }
            Event::Sent { socket, buffer, error } => {
                let Some(conn) = self.conns.of_socket(socket) else { return };
                self.conns.sent(conn, buffer, self.now.mono);
                if error.is_some() {
                    self.close(conn);
                }
            }
            Event::Connected { socket, error } => self.on_connected(socket, error),
            Event::Released { socket } => self.conns.released(socket),
            Event::Wrote { tag, error } | Event::Synced { tag, error } => {
                let store = self.store.as_mut().expect("log writes come from a store");
                store.on_done(IoMap::tag_of(tag), error);
            }
            Event::Read { tag, buffer, error } => {
                let result = error.map_or(Ok(buffer), Err);
                self.app.on_read(&mut cx!(self), tag, result);
            }
        }
    }

    fn on_accepted(&mut self, listener: u16, socket: SocketId, address: std::net::SocketAddr) {
        let peer = Peer { listener: Some(ListenerTag(listener)), address };
        let conn = self.conns.accept(socket, peer, self.now.mono);
        self.reactor.start_receive(socket);
        self.app.on_open(&mut cx!(self), conn, peer);
    }

    fn on_connected(&mut self, socket: SocketId, error: Option<i32>) {
        let Some(conn) = self.conns.of_socket(socket) else { return };
        match error {
            None => {
                self.conns.established(conn, self.now.mono);
                self.reactor.start_receive(socket);
                self.app.on_connected(&mut cx!(self), conn, Ok(()));
            }
            Some(error) => {
                self.conns.close_now(conn, &mut self.reactor);
                self.app.on_connected(&mut cx!(self), conn, Err(error));
            }
        }
    }

    fn on_received(&mut self, socket: SocketId, buffer: reactor::receive::BufferId, len: usize) {
        let Some(conn) = self.conns.of_socket(socket) else { return };
        let Some(slot) = self.conns.get(conn) else { return };
        if slot.state != ConnState::Open {
            return;
        }
        slot.last_active = self.now.mono;
        let peer = slot.peer;
        let taken = self.take_bytes(conn, peer, buffer, len);
        self.end_on_error(conn, peer, taken);
    }

    fn end_on_error(&mut self, conn: ConnId, peer: Peer, taken: Result<(), InputError>) {
        if let Err(error) = taken {
            if let Some(left_out) = self.lines.admit(self.now.mono) {
                let address = peer.address;
                tracing::warn!(
                    "connection {conn} from {address} sent no valid frame: {error}; closed \
                     ({left_out} such lines left out before)"
                );
            }
            self.close(conn);
        }
    }

    /// Handles whole frames in the receive buffer, keeps the rest.
    fn take_bytes(
        &mut self,
        conn: ConnId,
        peer: Peer,
        buffer: reactor::receive::BufferId,
        len: usize,
    ) -> Result<(), InputError> {
        let mut data = self.reactor.received(buffer, len);
        let mut input = self.conns.take_input(conn);
        if self.conns.is_held(conn) {
            input.extend_from_slice(data);
            return self.conns.put_input(conn, input);
        }
        if !input.is_empty() {
            if !frames::fill(&mut input, &mut data)? {
                return self.conns.put_input(conn, input);
            }
            let (frame, _) =
                frame::split(&input).map_err(InputError::Frame)?.expect("a filled frame is whole");
            self.app.on_frame(&mut cx!(self), conn, peer, &frame);
            self.marks.request();
            input.clear();
        }
        self.app.look_ahead(&mut cx!(self), peer, data);
        let mailed = self.requests.mail.len();
        while self.conns.takes_frames(conn) && self.requests.mail.len() < mailed + MAILS_PER_INPUT {
            let Some(frame) = frames::next(&mut data)? else { break };
            self.app.on_frame(&mut cx!(self), conn, peer, &frame);
            self.marks.request();
        }
        if frame::split(data).map_err(InputError::Frame)?.is_some() {
            self.conns.hold(conn);
        }
        input.extend_from_slice(data);
        self.conns.put_input(conn, input)
    }

    /// Goes on with frames that were held: the output has drained, or a new turn has begun.
    fn take_held(&mut self) -> bool {
        let mut some = false;
        for _ in 0..RESUMES_PER_TURN {
            let Some(conn) = self.conns.next_resumed() else { break };
            let Some(slot) = self.conns.get(conn) else { continue };
            let peer = slot.peer;
            some = true;
            let taken = self.take_held_frames(conn, peer);
            self.end_on_error(conn, peer, taken);
        }
        some
    }

    fn take_held_frames(&mut self, conn: ConnId, peer: Peer) -> Result<(), InputError> {
        let mut input = self.conns.take_input(conn);
        let mut data = input.as_slice();
        self.app.look_ahead(&mut cx!(self), peer, data);
        let mailed = self.requests.mail.len();
        while self.conns.takes_frames(conn) && self.requests.mail.len() < mailed + MAILS_PER_INPUT {
            let Some(frame) = frames::next(&mut data)? else { break };
            self.app.on_frame(&mut cx!(self), conn, peer, &frame);
            self.marks.request();
        }
        if frame::split(data).map_err(InputError::Frame)?.is_some() {
            self.conns.hold(conn);
        }
        let used = input.len() - data.len();
        input.drain(..used);
        self.conns.put_input(conn, input)
    }

    fn close(&mut self, conn: ConnId) {
        if self.conns.close_now(conn, &mut self.reactor) {
            self.app.on_closed(&mut cx!(self), conn);
        }
    }

    fn take_mail(&mut self) -> bool {
        let mut count = 0;
        while count < MAILS_PER_TURN {
            let Some((from, mail)) = self.mesh.receive() else { break };
            count += 1;
            self.on_mail(from, mail);
        }
        count > 0
    }

    fn take_jobs(&mut self) -> bool {
        let mut some = false;
        while let Some(done) = self.background.finished() {
            some = true;
            match done {
                JobDone::App(done) => self.app.on_done(&mut cx!(self), done),
                JobDone::Segment { stream, base, result } => {
                    self.on_segment(stream, base, result);
                }
                JobDone::Derived { files, result } => {
                    let io = self.io.as_mut().expect("queue files belong to a store");
                    let store = self.store.as_mut().expect("as above");
                    let index = io.derived_done(files);
                    if index.failed {
                        store.on_index_failed();
                    }
                    if let Some((stream, position)) = index.read_to {
                        store.on_index_read(stream, position);
                    }
                    let error = result.err().map(|e| e.raw_os_error().unwrap_or(libc::EIO));
                    self.note_room(error);
                    let store = self.store.as_mut().expect("as above");
                    store.on_queues(error, self.now.mono);
                }
                JobDone::IndexQuery { files, token, hits } => {
                    self.io.as_mut().expect("an index belongs to a store").derived_done(files);
                    self.app.on_read(&mut cx!(self), token, Ok(hits));
                }
                JobDone::Trimmed { files, trimmed } => {
                    self.io.as_mut().expect("queue files belong to a store").derived_done(files);
                    self.store.as_mut().expect("as above").on_trimmed(&trimmed);
                }
                JobDone::Look(look) => self.on_look(look),
                JobDone::Deleted { stream, base, why, result } => {
                    self.on_deleted((stream, base), why, result);
                }
                JobDone::Done => {}
                JobDone::QueueRead { token, result } => {
                    let result = result.map_err(|e| e.raw_os_error().unwrap_or(libc::EIO));
                    self.app.on_read(&mut cx!(self), token, result);
                }
            }
        }
        some
    }

    fn on_segment(
        &mut self,
        stream: StreamId,
        base: u64,
        result: std::io::Result<(std::fs::File, std::fs::File)>,
    ) {
        let store = self.store.as_mut().expect("segments belong to a store");
        match result {
            Ok(files) => {
                let io = self.io.as_mut().expect("as above");
                let flushed = store.stream(stream).flushed();
                if store.stream(stream).segments().lacks_room() {
                    tracing::info!(
                        "stream {}: the disk has room for segment {base} again",
                        stream.0
                    );
                }
                io.add_segment(&mut self.reactor, (stream, base), files, flushed);
                store.on_segment(stream, base, None);
            }
            Err(error) => {
                if !store.stream(stream).segments().lacks_room() {
                    tracing::error!("stream {}: segment {base} cannot be made: {error}", stream.0);
                }
                store.on_segment(stream, base, Some(error.raw_os_error().unwrap_or(libc::EIO)));
            }
        }
    }

    fn fire_timers(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.fire(self.now.mono, &mut due);
        for key in due.drain(..) {
            self.app.on_timer(&mut cx!(self), key);
        }
        self.due = due;
        if self.now.mono >= self.next_sweep {
            self.next_sweep = self.now.mono.plus_ms(IDLE_SWEEP_MS);
            self.close_idle();
        }
    }

    fn close_idle(&mut self) {
        let limit = self.config.idle_connection_ms;
        if limit == 0 {
            return;
        }
        let now = self.now.mono;
        let idle =
            self.conns.select(|c| c.peer.listener.is_some() && c.last_active.plus_ms(limit) <= now);
        for conn in idle {
            tracing::info!("connection {conn} was silent for {limit} ms; closed");
            self.close(conn);
        }
    }

    /// Offers held-back frames again, oldest first, until one has to wait again.
    fn retry_stalled(&mut self) {
        if self.stalled.is_empty() {
            return;
        }
        self.mark_appended();
        for _ in 0..self.stalled.len() {
            let Some(stalled) = self.stalled.begin_retry(self.now.mono) else { break };
            if let Ok(Some((frame, _))) = frame::split(&stalled.frame) {
                let peer = stalled.peer;
                self.since = stalled.since;
                self.app.on_frame(&mut cx!(self), stalled.conn, peer, &frame);
                self.mark_appended();
            }
            if self.stalled.end_retry(stalled) {
                break;
            }
        }
    }

    /// Tells the application which of its own messages are stored; whether there were any.
    fn tell_stored(&mut self) -> bool {
        let mut stored = std::mem::take(&mut self.stored);
        let busy = !stored.is_empty();
        for (ticket, in_time) in stored.drain(..) {
            self.app.on_stored(&mut cx!(self), ticket, in_time);
        }
        self.stored = stored;
        busy
    }

    fn tell_news(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        for _ in 0..2 {
            let Some(store) = self.store.as_mut().filter(|s| s.has_news()) else { break };
            store.take_news(&mut news);
            self.app.on_news(&mut cx!(self), &news);
        }
        self.news = news;
    }

    /// Messages appended since the last call were received at `since`; what follows is received in this turn.
    fn mark_appended(&mut self) {
        self.marks.appended(self.store.as_ref(), self.since);
        self.since = self.now.mono;
    }

    fn send_mail(&mut self) {
        let mut mails = std::mem::take(&mut self.mails);
        while !self.requests.mail.is_empty() {
            std::mem::swap(&mut mails, &mut self.requests.mail);
            for (to, mail) in mails.drain(..) {
                if to == self.me {
                    self.on_mail(to, mail);
                } else {
                    self.mesh.send(to, mail);
                }
            }
        }
        self.mails = mails;
    }

    fn on_mail(&mut self, from: ShardId, mail: ShardMail<A::Mail>) {
        match mail {
            ShardMail::App(mail, since) => {
                self.mark_appended();
                if since > self.now.mono {
                    // Another shard began its turn later than this one: see `take_events`.
                    self.now = clock::now();
                }
                self.since = since;
                self.app.on_mail(&mut cx!(self), from, mail);
                self.mark_appended();
            }
            ShardMail::Bytes(conn, bytes) => {
                self.conns.output(conn).extend_from_slice(&bytes);
                self.conns.recycle(bytes);
                self.conns.count_output(conn);
            }
            ShardMail::Close(conn) => self.conns.close_after_output(conn),
            ShardMail::Handled(conn, count) => self.conns.handled(conn, count),
        }
    }

    fn carry_out_requests(&mut self) {
        for (conn, bytes) in self.requests.remote.drain(..) {
            if bytes.is_empty() {
                self.conns.recycle(bytes);
            } else {
                self.mesh.send(conn.shard, ShardMail::Bytes(conn, bytes));
            }
        }
        // Behind the answers, which then count as output of the connection.
        for (conn, count) in self.requests.handled.drain(..) {
            self.mesh.send(conn.shard, ShardMail::Handled(conn, count));
        }
        for job in self.requests.jobs.drain(..) {
            self.background.submit(Box::new(move || JobDone::App(job())));
        }
        for read in std::mem::take(&mut self.requests.log_reads) {
            let io = self.io.as_mut().expect("log reads need a store");
            let token = read.token;
            if let Err(buffer) = io.read_log(&mut self.reactor, read.phy, read.buffer, token) {
                self.app.on_read(&mut cx!(self), token, Ok(buffer));
            }
        }
        for read in self.requests.queue_reads.drain(..) {
            let io = self.io.as_ref().expect("queue reads need a store");
            io.read_queue(&self.background, read);
        }
        for (query, token) in self.requests.index_queries.drain(..) {
            let io = self.io.as_mut().expect("index queries need a store");
            io.query_index(&self.background, query, token);
        }
        for (conn, address) in std::mem::take(&mut self.requests.connects) {
            match self.reactor.connect(address) {
                Ok(socket) => self.conns.bind(conn, socket, address),
                Err(error) => {
                    self.conns.abandon(conn);
                    let error = error.raw_os_error().unwrap_or(libc::EIO);
                    self.app.on_connected(&mut cx!(self), conn, Err(error));
                }
            }
        }
    }

    fn finish_turn(&mut self) {
        // Whatever may still append comes before the store notes its frontier: no reply leaves ahead of that note.
        self.send_mail();
        self.tell_news();
        self.send_mail();
        self.mark_appended();
        if self.marks.has_news() {
            self.marks.handled(self.store.as_ref(), clock::mono());
        }
        if let (Some(store), Some(io)) = (self.store.as_mut(), self.io.as_mut()) {
            io.drive(self.now, store, &mut self.reactor, &self.background);
            if let Some(failure) = store.failure().filter(|_| self.phase != Phase::Stopped) {
                let why = format!("the store has failed and accepts nothing more: {failure}");
                tracing::error!("{why}");
                self.stop.fail(why);
                self.phase = Phase::Stopped;
                return;
            }
        }
        self.note_index();
        self.release_replies();
        self.marks.released(self.store.as_ref());
        self.carry_out_requests();
        let mut ended = std::mem::take(&mut self.ended);
        self.conns.flush(&mut self.reactor, &mut ended);
        for conn in ended.drain(..) {
            self.close(conn);
        }
        self.ended = ended;
        self.mail_waits = self.mesh.flush(&mut self.reactor);
    }

    fn next_deadline(&self) -> MonoNs {
        let files_are_out = self.io.as_ref().is_some_and(IoMap::files_are_out);
        let store = self.store.as_ref().and_then(|s| s.next_deadline(files_are_out));
        let gates = self.gates.iter().filter_map(|(_, gate)| gate.next_deadline()).min();
        let timers = self.timers.next_fire();
        let stalled = self.stalled.front().map(|s| s.deadline);
        let listeners = self.reactor.next_deadline();
        let nearest = [store, gates, timers, stalled, listeners].into_iter().flatten().min();
        let stopping = self.phase != Phase::Running;
        let latest = if stopping { self.now.mono.plus_ms(5) } else { self.next_sweep };
        nearest.map_or(latest, |n| n.min(latest))
    }
}

impl<A: App> Turner for Shard<A> {
    fn turn(&mut self) -> Pace {
        self.now = clock::now();
        self.since = self.now.mono;
        let slept = std::mem::take(&mut self.slept);
        if slept {
            self.mesh.awake();
            self.slice.woke(self.now.mono);
        }
        self.marks.begin(self.now.mono, slept);
        let mut busy = self.take_events();
        self.marks.completed(self.store.as_ref());
        self.retry_stalled();
        busy |= self.take_held();
        busy |= self.take_mail();
        busy |= self.take_jobs();
        busy |= self.tell_stored();
        self.fire_timers();
        self.advance_phase();
        self.finish_turn();
        if self.phase == Phase::Stopped {
            self.note_stop();
            return Pace::Stop;
        }
        let waiting = self.mail_waits
            || !self.requests.is_empty()
            || !self.stored.is_empty()
            || self.conns.has_resumed();
        if busy || waiting || self.reactor.has_work() {
            self.note_work();
            self.slice.goes_on(self.now.mono);
            return Pace::Busy;
        }
        if self.should_spin() {
            std::hint::spin_loop();
            return Pace::Busy;
        }
        let deadline = self.next_deadline();
        if deadline <= self.now.mono {
            return Pace::Busy;
        }
        self.reactor.set_timer(deadline);
        if self.mesh.prepare_sleep() && !self.reactor.has_work() && !self.must_look_again() {
            self.slept = true;
            self.slice.sleeps();
            return Pace::Idle;
        }
        self.mesh.awake();
        Pace::Busy
    }

    fn wait(&mut self) {
        self.reactor.wait();
    }

    fn waker(&self) -> std::io::Result<OwnedFd> {
        self.reactor.waker()
    }
}

impl<A: App> Shard<A> {
    /// Learns how long this shard was without work.
    fn note_work(&mut self) {
        if let Some(since) = self.idle_since.take() {
            let gap = self.now.mono.since(since).min(self.config.spin_ns * 8);
            self.idle_gap_ns = (self.idle_gap_ns * 3 + gap) / 4;
        }
    }

    /// Whether work is likely to come sooner than going to sleep and waking would take.
    fn should_spin(&mut self) -> bool {
        let since = *self.idle_since.get_or_insert(self.now.mono);
        let likely = self.idle_gap_ns < self.config.spin_ns;
        likely && self.now.mono.since(since) < self.config.spin_ns * 2
    }

    fn must_look_again(&self) -> bool {
        self.phase == Phase::Running && self.stop.is_raised()
    }
}
