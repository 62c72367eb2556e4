//! The gate: one thread for all ways to the media plane that are not plain UDP to a worker.
//!
//! It unwraps what comes in and hands it to a worker as a datagram, and wraps what a worker sends such a way.
//! Here: ICE over TCP (RFC 6544), passive, framed by RFC 4571.

mod connections;
pub(crate) mod framing;
mod stream;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use self::connections::Connections;
use self::stream::Stream;
use super::bell::{Bell, Mailbox, WAKE};
use super::worker::Arrival;
use crate::transport::{FiveTuple, Protocol};

/// Datagrams that may wait for the gate, as gathered by a worker for one destination.
const QUEUE: usize = 1_024;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;
/// Read from one connection before the others have their turn, and at once.
const READS_A_TURN: usize = 4;
const READ: usize = 16 << 10;
/// Between looks at who was silent for too long; also until a process without free descriptors tries again.
const SWEEP: Duration = Duration::from_secs(1);

/// Datagrams that a worker sends by the gate.
pub(super) struct Outgoing {
    pub(super) worker: usize,
    pub(super) tuple: FiveTuple,
    pub(super) contents: Vec<u8>,
    /// Size of each datagram but the last, which may be shorter.
    pub(super) segment: usize,
}

/// The TCP sockets that listen for ICE, all on one port.
pub(super) struct Listeners(Vec<(TcpListener, SocketAddr)>);

impl Listeners {
    /// Binds `port` (0: any) on each address. An IPv6 wildcard that the system lacks is left out.
    pub(super) fn bind(addresses: &[IpAddr], port: u16) -> io::Result<Self> {
        let mut listeners: Vec<(TcpListener, SocketAddr)> = Vec::new();
        for ip in addresses {
            let port = listeners.first().map_or(port, |(_, first)| first.port());
            match listen(SocketAddr::new(*ip, port)) {
                Ok(listener) => listeners.push(listener),
                Err(_) if ip.is_ipv6() && ip.is_unspecified() && !listeners.is_empty() => {}
                Err(error) => {
                    let text =
                        format!("cannot listen on TCP {ip} port {port} (rtc.tcp_port): {error}");
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
        Ok(Self(listeners))
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(_, address)| *address).collect()
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restarted server takes the port over from connections that are still closing.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into());
    let address = listener.local_addr()?;
    Ok((listener, address))
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

    /// `workers` are the ways to hand a datagram to each worker, by its number.
    pub(super) fn start(
        self,
        listeners: Listeners,
        workers: Vec<Mailbox<Arrival>>,
    ) -> io::Result<Gate> {
        let mut listeners = listeners.0;
        for (token, (listener, _)) in listeners.iter_mut().enumerate() {
            let registry = self.poll.registry();
            registry.register(listener, Token(token), Interest::READABLE)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Turns {
            poll: self.poll,
            bell: self.bell.clone(),
            stop: Arc::clone(&stop),
            listeners: listeners
                .into_iter()
                .map(|(listener, _)| listener)
                .collect(),
            outgoing: self.outgoing,
            workers,
            connections: Connections::default(),
            readable: Vec::new(),
            buffer: vec![0; READ],
            full: false,
        };
        let thread = std::thread::Builder::new()
            .name("roomful-gate".into())
            .spawn(move || turns.run())?;
        Ok(Gate {
            bell: self.bell,
            stop,
            thread: Some(thread),
        })
    }
}

/// The other threads' hold on the gate. Dropped, it has ended.
pub(super) struct Gate {
    bell: Bell,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
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
    listeners: Vec<TcpListener>,
    outgoing: Receiver<Outgoing>,
    workers: Vec<Mailbox<Arrival>>,
    connections: Connections,
    /// Connections that have not been read dry.
    readable: Vec<usize>,
    buffer: Vec<u8>,
    /// The process has no descriptor left for another connection: to be tried again.
    full: bool,
}

impl Turns {
    fn run(mut self) {
        let mut ready = Events::with_capacity(256);
        let mut swept = Instant::now();
        loop {
            if let Err(error) = self.poll.poll(&mut ready, self.timeout())
                && error.kind() != ErrorKind::Interrupted
            {
                log::error!("the gate cannot wait for its sockets: {error}");
                return;
            }
            let now = Instant::now();
            for event in &ready {
                match event.token() {
                    WAKE => {}
                    Token(token) if token < self.listeners.len() => self.accept(now, token),
                    Token(token) => self.happened(token - self.listeners.len(), event),
                }
            }
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            self.read(now);
            self.send();
            if now.saturating_duration_since(swept) >= SWEEP {
                swept = now;
                self.connections.sweep(now);
                if std::mem::take(&mut self.full) {
                    (0..self.listeners.len()).for_each(|listener| self.accept(now, listener));
                }
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.readable.is_empty() {
            return Some(Duration::ZERO);
        }
        (self.full || !self.connections.is_empty()).then_some(SWEEP)
    }

    fn accept(&mut self, now: Instant, listener: usize) {
        while let Some(socket) = self.listeners.get(listener) {
            let (socket, remote) = match socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // That one has given up already.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::warn!("cannot accept a connection on rtc.tcp_port: {error}");
                    self.full = true;
                    return;
                }
            };
            let Ok(local) = socket.local_addr() else {
                continue;
            };
            // Media is not to wait for what would fill a segment.
            let _ = socket.set_nodelay(true);
            let tuple = FiveTuple {
                protocol: Protocol::Tcp,
                local,
                remote,
            };
            let Some(key) = self.connections.open(now, Stream::new(socket), tuple) else {
                log::debug!("too many connections on rtc.tcp_port: {remote} is refused");
                continue;
            };
            let token = Token(self.listeners.len() + key);
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registered = self.connections.get_mut(key).map(|connection| {
                self.poll
                    .registry()
                    .register(connection.stream.source(), token, interest)
            });
            if !matches!(registered, Some(Ok(()))) {
                self.connections.close(key);
            }
        }
    }

    fn happened(&mut self, key: usize, event: &mio::event::Event) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if event.is_writable() && connection.stream.flush().is_err() {
            self.connections.close(key);
            return;
        }
        if event.is_readable() && !std::mem::replace(&mut connection.readable, true) {
            self.readable.push(key);
        }
    }

    /// A slice of what each connection has.
    fn read(&mut self, now: Instant) {
        let mut readable = std::mem::take(&mut self.readable);
        readable.retain(|key| match self.read_one(now, *key) {
            Ok(more) => more,
            Err(error) => {
                log::debug!("a connection on rtc.tcp_port has ended: {error}");
                self.connections.close(*key);
                false
            }
        });
        self.readable = readable;
    }

    /// Whether there may be more.
    fn read_one(&mut self, now: Instant, key: usize) -> io::Result<bool> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(false);
        };
        for _ in 0..READS_A_TURN {
            let Some(count) = connection.stream.read(&mut self.buffer)? else {
                connection.readable = false;
                return Ok(false);
            };
            connection.heard = now;
            let (tuple, worker) = (connection.tuple, connection.worker);
            let mut strange = false;
            let read = self.buffer.get(..count).unwrap_or_default();
            let cut = connection.unframer.push(read, |packet| {
                let arrival = || Arrival {
                    tuple,
                    contents: packet.to_vec(),
                };
                match worker {
                    Some(worker) => {
                        if let Some(worker) = self.workers.get(worker) {
                            worker.put(arrival());
                        }
                    }
                    // Whose participant it is for will be seen by who answers.
                    None if is_check(packet) => {
                        self.workers.iter().for_each(|worker| worker.put(arrival()));
                    }
                    None => strange = true,
                }
            });
            if let Err(framing::BadLength(length)) = cut {
                let text = format!("a frame of {length} octets");
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            }
            if strange {
                let text = "something else than a connectivity check came first";
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            }
        }
        Ok(true)
    }

    fn send(&mut self) {
        self.bell.answer();
        while let Ok(outgoing) = self.outgoing.try_recv() {
            let Some(key) = self.connections.answered(&outgoing.tuple, outgoing.worker) else {
                continue;
            };
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            for packet in outgoing.contents.chunks(outgoing.segment.max(1)) {
                connection.stream.queue(|stream| {
                    if let Err(framing::BadLength(length)) = framing::frame(packet, stream) {
                        log::debug!("not sent over TCP: a packet of {length} octets");
                    }
                });
            }
            if connection.stream.flush().is_err() {
                self.connections.close(key);
            }
        }
    }
}

/// A STUN binding request (RFC 8489 §5), by what it begins with.
fn is_check(packet: &[u8]) -> bool {
    packet.starts_with(&[0, 1]) && packet.get(4..8) == Some(&[0x21, 0x12, 0xA4, 0x42])
}
