//! The gate: one thread for all ways to the media plane that are not plain UDP to a worker.
//!
//! It unwraps what comes in and hands it to a worker as a datagram, and wraps what a worker sends such a way:
//! ICE over TCP (RFC 6544), passive, framed by RFC 4571; TURN over UDP, TCP and TLS (RFC 8656).

mod certificate;
mod connections;
mod listener;
mod members;
mod relay;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use self::certificate::Certificate;
use self::connections::{Connections, Speech};
use self::listener::{Door, Listener, listen};
use self::members::{Members, Membership};
use self::relay::Relay;
use super::bell::{Bell, Mailbox, WAKE};
use super::faults::Faults;
use super::stream::Stream;
use super::worker::{Arrival, Sockets};
use crate::api::Command;
use crate::transport::{FiveTuple, Protocol, framing};
use crate::turn::{LegTransport, MediaAddresses, Server, ServerConfig};

/// Datagrams that may wait for the gate, as gathered by a worker for one destination.
const QUEUE: usize = 1_024;
/// Read from one connection before the others have their turn, and at once.
const READS_A_TURN: usize = 4;
const READ: usize = 16 << 10;
/// Packets taken from one connection in a turn; 64 KiB of media are half as many.
const ARRIVALS_A_TURN: usize = 128;
/// Connections accepted at a port before what is open has its turn.
const ACCEPTS_A_TURN: usize = 64;
/// Checks of all strangers together that are handed on in a turn: these share the workers' queues with media.
const CHECKS_A_TURN: usize = 256;
/// Checks of one connection that nobody has answered: twice what a client sends in the time that a stranger has.
const CHECKS_OF_A_STRANGER: u32 = 512;
/// Between looks at who was silent for too long; also until a process without free descriptors tries again.
const SWEEP: Duration = Duration::from_secs(1);

/// How the TURN server is set up.
#[derive(Clone, Debug)]
pub struct TurnConfig {
    /// Addresses to bind; empty binds the IPv4 and the IPv6 wildcard.
    pub bind: Vec<IpAddr>,
    /// For UDP, and for TCP too; 0 lets the system choose.
    pub udp_port: Option<u16>,
    pub tls_port: Option<u16>,
    /// PEM files of the chain and its key. None: TLS is ended in front of `tls_port`.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// What credentials are derived from.
    pub secret: [u8; 32],
    pub allocations_per_participant: usize,
    /// Go on without it where a port is taken.
    pub optional: bool,
}

/// Datagrams that a worker sends by the gate.
pub(super) struct Outgoing {
    pub(super) worker: usize,
    pub(super) tuple: FiveTuple,
    pub(super) contents: Vec<u8>,
    /// Size of each datagram but the last, which may be shorter.
    pub(super) segment: usize,
}

/// The gate's sockets.
#[derive(Default)]
pub(super) struct Doors {
    listeners: Vec<Listener>,
    turn: Option<Turn>,
}

struct Turn {
    config: TurnConfig,
    sockets: Sockets,
    certificate: Option<Certificate>,
}

impl Doors {
    /// Listens for ICE over TCP.
    pub(super) fn open_ice(&mut self, bind: &[IpAddr], port: u16) -> io::Result<()> {
        self.listeners.extend(listen(Door::Ice, bind, port)?);
        Ok(())
    }

    pub(super) fn open_turn(&mut self, config: TurnConfig) -> io::Result<()> {
        let mut listeners = Vec::new();
        let mut sockets = Sockets::default();
        if let Some(port) = config.udp_port {
            sockets = Sockets::bind(&config.bind, port, "turn.udp_port")?;
            let port = sockets.port().unwrap_or(port);
            listeners.extend(listen(Door::Turn, &config.bind, port)?);
        }
        let mut certificate = None;
        if let Some(port) = config.tls_port {
            if let Some((chain, key)) = &config.certificate {
                certificate = Some(Certificate::load(chain, key)?);
            }
            listeners.extend(listen(Door::TurnTls, &config.bind, port)?);
        }
        self.listeners.extend(listeners);
        self.turn = Some(Turn {
            config,
            sockets,
            certificate,
        });
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.turn.is_none()
    }

    /// Where ICE over TCP is listened for.
    pub(super) fn ice_addresses(&self) -> Vec<SocketAddr> {
        let ice = self.listeners.iter().filter(|it| it.door == Door::Ice);
        ice.map(|it| it.address).collect()
    }

    /// The ports of TURN over UDP and TCP, and over TLS.
    pub(super) fn turn_ports(&self) -> (Option<u16>, Option<u16>) {
        let port = |door| {
            let found = self.listeners.iter().find(|it| it.door == door);
            found.map(|it| it.address.port())
        };
        (port(Door::Turn), port(Door::TurnTls))
    }
}

/// A gate before its thread: workers are given its mailbox first.
pub(super) struct Prepared {
    poll: Poll,
    bell: Bell,
    mailbox: Mailbox<Outgoing>,
    outgoing: Receiver<Outgoing>,
}

impl Prepared {
    pub(super) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Bell::new(&poll)?;
        let (mailbox, outgoing) = Mailbox::new(QUEUE, &bell);
        Ok(Self {
            poll,
            bell,
            mailbox,
            outgoing,
        })
    }

    pub(super) fn mailbox(&self) -> Mailbox<Outgoing> {
        self.mailbox.clone()
    }

    /// `workers` are the ways to hand a datagram to each worker, by its number; `media` are their addresses.
    pub(super) fn start(
        self,
        doors: Doors,
        workers: Vec<Mailbox<Arrival>>,
        media: Arc<MediaAddresses>,
    ) -> io::Result<Gate> {
        let (turns, mut gate) = self.open(doors, workers, media)?;
        let thread = std::thread::Builder::new()
            .name("roomful-gate".into())
            .spawn(move || turns.run())?;
        gate.thread = Some(thread);
        Ok(gate)
    }

    /// The loop, before it runs.
    fn open(
        self,
        doors: Doors,
        workers: Vec<Mailbox<Arrival>>,
        media: Arc<MediaAddresses>,
    ) -> io::Result<(Turns, Gate)> {
        let now = Instant::now();
        let registry = self.poll.registry();
        let mut listeners = doors.listeners;
        for (token, listener) in listeners.iter_mut().enumerate() {
            registry.register(&mut listener.socket, Token(token), Interest::READABLE)?;
        }
        let (mut relay, mut certificate, mut members) = (None, None, None);
        if let Some(mut turn) = doors.turn {
            for (token, socket) in turn.sockets.iter_mut().enumerate() {
                let token = Token(listeners.len() + token);
                registry.register(socket.source(), token, Interest::READABLE)?;
            }
            let config = ServerConfig {
                allocations_per_participant: turn.config.allocations_per_participant,
                ..ServerConfig::new(turn.config.secret)
            };
            let (news, receiver) = channel();
            members = Some(news);
            let server = Server::new(config, media, now);
            relay = Some(Relay::new(server, turn.sockets, Members::new(receiver)));
            certificate = turn.certificate;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| io::Error::other("no random numbers"))?;
        let turns = Turns {
            poll: self.poll,
            bell: self.bell.clone(),
            stop: Arc::clone(&stop),
            listeners,
            relay,
            certificate,
            outgoing: self.outgoing,
            workers,
            connections: Connections::new(&key, now),
            opened: 0,
            readable: Vec::new(),
            checks: 0,
            busy: None,
            buffer: vec![0; READ],
            full: false,
        };
        let gate = Gate {
            bell: self.bell,
            stop,
            members,
            thread: None,
        };
        Ok((turns, gate))
    }
}

/// The other threads' hold on the gate. Dropped, it has ended.
pub(super) struct Gate {
    bell: Bell,
    stop: Arc<AtomicBool>,
    /// Of the relay, if there is one.
    members: Option<Sender<Membership>>,
    thread: Option<JoinHandle<()>>,
}

impl Gate {
    /// What the relay has to know of a command; before anybody hears what came of it.
    pub(super) fn tell(&self, command: &Command) {
        if let Some(members) = &self.members
            && let Some(news) = Membership::of(command)
        {
            // A gate that has ended has no relay.
            let _ = members.send(news);
            self.bell.ring();
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Turns {
    poll: Poll,
    bell: Bell,
    stop: Arc<AtomicBool>,
    /// Their tokens are their places; the relay's UDP sockets follow, then connections by their keys.
    listeners: Vec<Listener>,
    relay: Option<Relay>,
    certificate: Option<Certificate>,
    outgoing: Receiver<Outgoing>,
    workers: Vec<Mailbox<Arrival>>,
    connections: Connections,
    /// Connections that there have been.
    opened: u64,
    /// Connections that have not been read dry.
    readable: Vec<usize>,
    /// Checks of strangers that may still be handed on in this turn; more are lost, and are sent again.
    checks: usize,
    /// The connection that is being worked on: after a fault it cannot be relied on.
    busy: Option<usize>,
    buffer: Vec<u8>,
    /// The process has no descriptor left for another connection: to be tried again.
    full: bool,
}

impl Turns {
    fn run(mut self) {
        let mut ready = Events::with_capacity(256);
        let mut swept = Instant::now();
        let mut faults = Faults::of("gate", self.bell.clone());
        loop {
            if let Err(error) = self.poll.poll(&mut ready, self.timeout())
                && error.kind() != ErrorKind::Interrupted
            {
                log::error!("the gate cannot wait for its sockets: {error}");
                return;
            }
            let now = Instant::now();
            let mut more = true;
            for event in ready.iter().filter(|it| it.token() != WAKE) {
                more &= faults.guard(|| {
                    self.happened(event);
                    true
                });
                self.close_busy();
            }
            // Before what others have set or sent is read: from here on they ring again.
            self.bell.answer();
            let stopping = self.stop.load(Ordering::Acquire);
            let sweeps = now.saturating_duration_since(swept) >= SWEEP;
            if sweeps {
                swept = now;
            }
            more &= faults.guard(|| {
                self.turn(now, sweeps);
                true
            });
            self.close_busy();
            if stopping || !more {
                return;
            }
        }
    }

    /// Everything that is due, once.
    fn turn(&mut self, now: Instant, sweeps: bool) {
        (0..self.listeners.len()).for_each(|listener| self.accept(now, listener));
        self.checks = CHECKS_A_TURN;
        self.read(now);
        self.send(now);
        if let Some(relay) = &mut self.relay {
            relay.receive(now, &self.workers, &mut self.connections);
            relay.keep(now);
        }
        if sweeps {
            self.sweep(now);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let relaying = self.relay.as_ref();
        let unread = |relay: &Relay| relay.sockets.iter().any(|it| it.readable);
        let waiting = self.listeners.iter().any(|it| it.readable);
        if waiting || !self.readable.is_empty() || relaying.is_some_and(unread) {
            return Some(Duration::ZERO);
        }
        let allocated = relaying.is_some_and(|it| it.server.allocations() > 0);
        (self.full || allocated || !self.connections.is_empty()).then_some(SWEEP)
    }

    fn sweep(&mut self, now: Instant) {
        let relay = self.relay.as_ref();
        self.connections.sweep(now, |leg| {
            relay.is_some_and(|it| it.server.has_allocation(leg))
        });
        if std::mem::take(&mut self.full) {
            self.listeners.iter_mut().for_each(|it| it.readable = true);
        }
    }

    /// After a fault: nobody else is to end with the connection that it was in.
    fn close_busy(&mut self) {
        if let Some(key) = self.busy.take() {
            self.close(key);
        }
    }

    fn happened(&mut self, event: &mio::event::Event) {
        let Token(token) = event.token();
        if let Some(listener) = self.listeners.get_mut(token) {
            listener.readable = true;
            return;
        }
        let datagrams = token - self.listeners.len();
        if let Some(relay) = &mut self.relay
            && let Some(socket) = relay.sockets.iter_mut().nth(datagrams)
        {
            socket.readable = true;
            return;
        }
        let key = token - self.first_connection();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        self.busy = Some(key);
        let flushed = !event.is_writable() || connection.stream.flush().is_ok();
        self.busy = None;
        if !flushed {
            return self.close(key);
        }
        if event.is_readable() && !std::mem::replace(&mut connection.readable, true) {
            self.readable.push(key);
        }
    }

    /// The token of the connection with key 0.
    fn first_connection(&self) -> usize {
        let datagrams = self.relay.as_ref().map_or(0, |it| it.sockets.iter().len());
        self.listeners.len() + datagrams
    }

    fn accept(&mut self, now: Instant, index: usize) {
        for _ in 0..ACCEPTS_A_TURN {
            let Some(listener) = self.listeners.get_mut(index).filter(|it| it.readable) else {
                return;
            };
            let door = listener.door;
            let (socket, remote) = match listener.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    listener.readable = false;
                    return;
                }
                // That one has given up already.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::warn!("cannot accept a connection on {}: {error}", door.setting());
                    listener.readable = false;
                    self.full = true;
                    return;
                }
            };
            if let Err(error) = self.admit(now, door, socket, remote) {
                log::debug!(
                    "a connection of {remote} on {} is refused: {error}",
                    door.setting()
                );
            }
        }
    }

    fn admit(
        &mut self,
        now: Instant,
        door: Door,
        socket: mio::net::TcpStream,
        remote: SocketAddr,
    ) -> io::Result<()> {
        if !self.connections.have_room() {
            return Err(io::Error::other("too many of them"));
        }
        let tls = door == Door::TurnTls && self.certificate.is_some();
        if tls && !self.connections.may_shake_hands(now, remote.ip()) {
            return Err(io::Error::other("too many handshakes with its network"));
        }
        let local = socket.local_addr()?;
        // Media is not to wait for what would fill a segment.
        socket.set_nodelay(true)?;
        let stream = match &mut self.certificate {
            Some(certificate) if tls => Stream::tls(socket, certificate.current())?,
            _ => Stream::plain(socket),
        };
        self.opened += 1;
        let number = self.opened;
        let speech = match door {
            Door::Ice => Speech::ice(),
            Door::TurnTls if !tls => Speech::turn(LegTransport::Proxied(number), local, remote),
            Door::Turn | Door::TurnTls => Speech::turn(LegTransport::Stream(number), local, remote),
        };
        let first = self.first_connection();
        let Some(key) = self.connections.open(now, stream, local, remote, speech) else {
            return Err(io::Error::other("too many of them"));
        };
        if let Some(connection) = self.connections.get_mut(key) {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let source = connection.stream.source();
            let registered = self
                .poll
                .registry()
                .register(source, Token(first + key), interest);
            if registered.is_err() {
                self.close(key);
            }
            return registered;
        }
        Ok(())
    }

    fn close(&mut self, key: usize) {
        if let Some(leg) = self.connections.close(key)
            && let Some(relay) = &mut self.relay
        {
            relay.server.closed(leg);
        }
    }

    /// A slice of what each connection has.
    fn read(&mut self, now: Instant) {
        for index in (0..self.readable.len()).rev() {
            let Some(key) = self.readable.get(index).copied() else {
                continue;
            };
            // One by one, so that a fault ends no more than one.
            self.readable.swap_remove(index);
            self.busy = Some(key);
            let outcome = self.read_one(now, key);
            self.busy = None;
            match outcome {
                Ok(true) => self.readable.push(key),
                Ok(false) => {}
                Err(error) => {
                    log::debug!("a connection of the gate has ended: {error}");
                    self.close(key);
                }
            }
        }
    }

    /// Whether there may be more.
    fn read_one(&mut self, now: Instant, key: usize) -> io::Result<bool> {
        let mut arrivals = 0;
        for _ in 0..READS_A_TURN {
            let Some(connection) = self.connections.get_mut(key) else {
                return Ok(false);
            };
            let Some(count) = connection.stream.read(&mut self.buffer)? else {
                connection.readable = false;
                return Ok(false);
            };
            let tuple = connection.tuple();
            let read = self.buffer.get(..count).unwrap_or_default();
            match &mut connection.speech {
                Speech::Ice {
                    unframer,
                    worker,
                    checks,
                } => {
                    let worker = worker.map(|it| self.workers.get(it));
                    let mut strange = None;
                    let cut = unframer.push(read, |packet| {
                        // More in a turn than any link brings: a flood, which is not to fill the workers' queues.
                        arrivals += 1;
                        if arrivals > ARRIVALS_A_TURN {
                            return;
                        }
                        let arrival = || Arrival {
                            tuple,
                            contents: packet.to_vec(),
                        };
                        match worker {
                            Some(worker) => worker.iter().for_each(|it| it.put(arrival())),
                            None if !is_check(packet) => {
                                strange =
                                    Some("something else than a connectivity check came first");
                            }
                            None if *checks >= CHECKS_OF_A_STRANGER => {
                                strange = Some("too many checks that nobody answers");
                            }
                            // For whom it is will be seen by who answers.
                            None if self.checks == 0 => {}
                            None => {
                                *checks += 1;
                                self.checks -= 1;
                                self.workers.iter().for_each(|it| it.put(arrival()));
                            }
                        }
                    });
                    if let Err(framing::BadLength(length)) = cut {
                        return Err(invalid(format!("a frame of {length} octets")));
                    }
                    if let Some(text) = strange {
                        return Err(invalid(text.into()));
                    }
                }
                Speech::Turn { framing, leg, .. } => {
                    let Some(relay) = &mut self.relay else {
                        return Ok(false);
                    };
                    framing.push(read);
                    while let Some(packet) = framing
                        .next_packet()
                        .map_err(|it| invalid(it.to_string()))?
                    {
                        arrivals += 1;
                        if arrivals <= ARRIVALS_A_TURN {
                            relay.take(now, *leg, packet, &self.workers);
                        }
                    }
                    if relay.server.has_allocation(leg) {
                        self.connections.allocated(key);
                    }
                    // At once: another's many requests are not to crowd these answers out.
                    relay.answer(&mut self.connections);
                }
            }
        }
        Ok(true)
    }

    fn send(&mut self, now: Instant) {
        // What comes meanwhile rings again.
        for _ in 0..QUEUE {
            let Ok(outgoing) = self.outgoing.try_recv() else {
                return;
            };
            let datagrams = outgoing.contents.chunks(outgoing.segment.max(1));
            if outgoing.tuple.protocol == Protocol::Udp {
                if let Some(relay) = &mut self.relay {
                    relay.forward(now, &outgoing.tuple, datagrams, &mut self.connections);
                }
                continue;
            }
            let proven = datagrams.clone().any(is_answer);
            let Some(key) =
                self.connections
                    .leaves_by(now, &outgoing.tuple, outgoing.worker, proven)
            else {
                continue;
            };
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            let mut framed = Vec::with_capacity(outgoing.contents.len() + 64);
            for datagram in datagrams {
                if let Err(framing::BadLength(length)) = framing::frame(datagram, &mut framed) {
                    log::debug!("not sent over TCP: a packet of {length} octets");
                }
            }
            let stream = &mut connection.stream;
            if stream.queue(&framed).and_then(|()| stream.flush()).is_err() {
                self.close(key);
            }
        }
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

/// A STUN Binding request (RFC 8489 §5), by its header.
fn is_check(packet: &[u8]) -> bool {
    is_binding(packet, [0, 1])
}

/// The success that ICE answers with to a check that has passed its own.
fn is_answer(packet: &[u8]) -> bool {
    is_binding(packet, [1, 1])
}

fn is_binding(packet: &[u8], kind: [u8; 2]) -> bool {
    let Some([a, b, high, low, 0x21, 0x12, 0xA4, 0x42, ..]) = packet.first_chunk::<20>() else {
        return false;
    };
    [*a, *b] == kind && packet.len() == 20 + usize::from(u16::from_be_bytes([*high, *low]))
}
