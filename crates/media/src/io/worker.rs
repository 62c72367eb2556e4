//! A worker: one thread, its sockets, its plane.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::bell::{Bell, Mailbox};
use super::events::EventQueue;
use super::exchange::{Contents, Exchange, Mail, Parcel, Postbox};
use super::faults::Faults;
use super::gate::Outgoing;
use super::socket::{ReceiveBuffers, UdpSocket};
use crate::api::{Command, Event};
use crate::plane::{Plane, PlaneConfig};
use crate::transport::{FiveTuple, Protocol};
use crate::turn::is_relayed;

/// Batches read from a socket before commands and timers have their turn.
const BATCHES_A_TURN: usize = 16;

/// Datagrams by the gate that may wait.
const ARRIVALS: usize = 4_096;

/// Batches of clients of this process that are taken before others have their turn.
const PARCELS_A_TURN: usize = 1_024;

/// A datagram that came in by the gate.
pub(super) struct Arrival {
    pub(super) tuple: FiveTuple,
    pub(super) contents: Vec<u8>,
}

/// UDP sockets on several addresses, all on one port.
#[derive(Default)]
pub(super) struct Sockets(Vec<UdpSocket>);

impl Sockets {
    /// Binds `port` (0: any), which `setting` names, on each address. An IPv6 wildcard that the system lacks is left out.
    pub(super) fn bind(addresses: &[IpAddr], port: u16, setting: &str) -> io::Result<Self> {
        let mut sockets: Vec<UdpSocket> = Vec::new();
        for ip in addresses {
            let port = sockets.first().map_or(port, |first| first.address().port());
            match UdpSocket::bind(SocketAddr::new(*ip, port)) {
                Ok(socket) => sockets.push(socket),
                Err(_) if ip.is_ipv6() && ip.is_unspecified() && !sockets.is_empty() => {}
                Err(error) => {
                    let text = format!("cannot bind UDP {ip} port {port} ({setting}): {error}");
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
        Ok(Self(sockets))
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(UdpSocket::address).collect()
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.0.first().map(|first| first.address().port())
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, UdpSocket> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, UdpSocket> {
        self.0.iter_mut()
    }

    /// The socket that sends from an address.
    pub(super) fn for_local(&self, local: SocketAddr) -> Option<&UdpSocket> {
        let exact = self.0.iter().find(|it| it.address() == local);
        exact.or_else(|| {
            self.0
                .iter()
                .find(|it| it.address().is_ipv4() == local.is_ipv4())
        })
    }
}

/// The other threads' hold on a worker.
pub(super) struct Worker {
    commands: Sender<Command>,
    arrivals: Mailbox<Arrival>,
    postbox: Postbox,
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    pub(super) fn start(
        index: usize,
        mut sockets: Sockets,
        config: PlaneConfig,
        events: Arc<EventQueue>,
        gate: Option<Mailbox<Outgoing>>,
        exchange: Option<Arc<Exchange>>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Bell::new(&poll)?;
        for (token, socket) in sockets.0.iter_mut().enumerate() {
            poll.registry()
                .register(socket.source(), Token(token), Interest::READABLE)?;
        }
        let (commands, received) = channel();
        let (mailbox, arrivals) = Mailbox::new(ARRIVALS, &bell);
        let (postbox, mail) = Postbox::new(&bell);
        let turns = Turns {
            index,
            plane: Plane::new(config, Instant::now()),
            sockets,
            buffers: ReceiveBuffers::new(),
            commands: received,
            arrivals,
            mail,
            bell: bell.clone(),
            gate,
            exchange,
            events,
            batch: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("roomful-media-{index}"))
            .spawn(move || turns.run(poll))?;
        Ok(Self {
            commands,
            arrivals: mailbox,
            postbox,
            bell,
            thread: Some(thread),
        })
    }

    pub(super) fn send(&self, command: Command) {
        // A worker that has ended needs no commands.
        let _ = self.commands.send(command);
        self.bell.ring();
    }

    /// Where the gate puts what comes in by it.
    pub(super) fn arrivals(&self) -> Mailbox<Arrival> {
        self.arrivals.clone()
    }

    /// Where clients of this process put what they send.
    pub(super) fn postbox(&self) -> Postbox {
        self.postbox.clone()
    }

    /// Waits for the thread; [`Command::Shutdown`] must have been sent.
    pub(super) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Turns {
    index: usize,
    plane: Plane,
    sockets: Sockets,
    buffers: ReceiveBuffers,
    commands: Receiver<Command>,
    arrivals: Receiver<Arrival>,
    mail: Mail,
    bell: Bell,
    gate: Option<Mailbox<Outgoing>>,
    exchange: Option<Arc<Exchange>>,
    events: Arc<EventQueue>,
    batch: Vec<Event>,
}

impl Turns {
    fn run(mut self, mut poll: Poll) {
        let mut ready = Events::with_capacity(64);
        let mut faults = Faults::of("media worker", self.bell.clone());
        loop {
            let timeout = self.timeout(Instant::now());
            if let Err(error) = poll.poll(&mut ready, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!("the media worker cannot wait for its sockets: {error}");
                return;
            }
            for event in &ready {
                if let Some(socket) = self.sockets.0.get_mut(event.token().0) {
                    socket.readable = true;
                }
            }
            if !faults.guard(|| self.turn()) {
                return;
            }
        }
    }

    fn timeout(&mut self, now: Instant) -> Option<Duration> {
        if self.sockets.0.iter().any(|it| it.readable) {
            return Some(Duration::ZERO);
        }
        self.plane
            .poll_timeout()
            .map(|at| at.saturating_duration_since(now))
    }

    /// Everything that is due, once. False: shut down.
    fn turn(&mut self) -> bool {
        self.bell.answer();
        let open = self.take_commands();
        self.take_arrivals();
        self.take_mail();
        self.take_datagrams();
        let now = Instant::now();
        if self.plane.poll_timeout().is_some_and(|at| at <= now) {
            self.plane.handle_timeout(now);
        }
        let (index, sockets, gate) = (self.index, &self.sockets, &self.gate);
        let exchange = &self.exchange;
        self.plane.drain(now, |datagrams| {
            let FiveTuple {
                protocol,
                local,
                remote,
            } = datagrams.tuple;
            if protocol == Protocol::Memory {
                if let Some(exchange) = exchange {
                    exchange.send_to_client(datagrams.tuple, Contents::from(&datagrams));
                }
            } else if protocol == Protocol::Tcp || gate.is_some() && is_relayed(remote) {
                if let Some(gate) = gate {
                    gate.put(Outgoing {
                        worker: index,
                        tuple: datagrams.tuple,
                        contents: datagrams.contents.to_vec(),
                        segment: datagrams.segment,
                    });
                }
            } else if let Some(socket) = sockets.for_local(local) {
                socket.send(local.ip(), remote, datagrams.contents, datagrams.segment);
            }
        });
        while let Some((tuple, plain)) = self.plane.poll_plain() {
            if let Some(exchange) = &self.exchange {
                exchange.send_to_client(tuple, Contents::Plain(plain));
            }
        }
        while let Some(event) = self.plane.poll_event() {
            self.batch.push(event);
        }
        if !self.batch.is_empty() {
            self.events.push(self.batch.drain(..));
        }
        open
    }

    fn take_commands(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Shutdown) => {
                    self.plane.handle_command(Instant::now(), Command::Shutdown);
                    return false;
                }
                Ok(command) => self.plane.handle_command(Instant::now(), command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn take_arrivals(&mut self) {
        let now = Instant::now();
        // Those that come meanwhile ring again.
        for mut arrival in self.arrivals.try_iter().take(ARRIVALS) {
            self.plane
                .handle_datagram(now, arrival.tuple, &mut arrival.contents);
        }
    }

    fn take_mail(&mut self) {
        let now = Instant::now();
        for _ in 0..PARCELS_A_TURN {
            let Some(Parcel { tuple, contents }) = self.mail.take() else {
                return;
            };
            match contents {
                Contents::Packets(mut packets, size) => {
                    for packet in packets.chunks_mut(size) {
                        self.plane.handle_datagram(now, tuple, packet);
                    }
                }
                Contents::Plain(plain) => self.plane.handle_plain(now, tuple, plain),
            }
        }
        // There may be more.
        self.bell.ring();
    }

    fn take_datagrams(&mut self) {
        let Self {
            sockets,
            buffers,
            plane,
            gate,
            ..
        } = self;
        for socket in &mut sockets.0 {
            for _ in 0..BATCHES_A_TURN {
                if !socket.readable {
                    break;
                }
                let now = Instant::now();
                let result = socket.receive(buffers, |local, remote, datagram| {
                    if let Some(tuple) = path(local, remote, gate.is_some()) {
                        plane.handle_datagram(now, tuple, datagram);
                    }
                });
                if let Err(error) = result {
                    log::warn!("cannot receive: {error}");
                }
            }
        }
    }
}

impl Drop for Turns {
    /// Clients of this process have no other sign that nobody is there any more.
    fn drop(&mut self) {
        if let (Some(exchange), Ok(index)) = (&self.exchange, u16::try_from(self.index)) {
            exchange.worker_gone(index);
        }
    }
}

/// The path of what came in from the network. Where there is a gate, nobody else speaks for a relayed address.
fn path(local: SocketAddr, remote: SocketAddr, gate: bool) -> Option<FiveTuple> {
    (!gate || !is_relayed(remote)).then_some(FiveTuple {
        protocol: Protocol::Udp,
        local,
        remote,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_datagram_of_the_network_has_a_path_to_a_relayed_address() {
        let local = SocketAddr::from(([192, 0, 2, 1], 7882));
        for (remote, genuine) in [
            ("198.51.100.20:50000", true),
            ("[2001:db8::20]:50000", true),
            ("240.0.2.9:1024", false),
            ("[100::9]:1024", false),
        ] {
            let remote = remote.parse().unwrap();
            let found = path(local, remote, true).map(|it| it.remote);
            assert_eq!(found, genuine.then_some(remote));
            // Without a relay these are addresses as any.
            assert!(path(local, remote, false).is_some());
        }
    }
}
