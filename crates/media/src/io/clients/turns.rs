//! The clients' thread: its turns.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Registry, Token};

use super::Message;
use super::inbox::{Inbox, Notifier};
use super::lines::{Line, Progress};
use super::untaken::Untaken;
use crate::api::Target;
use crate::client::{Client, ClientEvent, Outgoing, Request};
use crate::io::bell::{Bell, WAKE};
use crate::io::exchange::{Contents, Mail, Parcel, Seat};
use crate::io::faults::Faults;
use crate::io::socket::{ReceiveBuffers, UdpSocket};
use crate::transport::memory::client_number;
use crate::transport::{FiveTuple, Protocol};

/// Batches read from a socket before others have their turn.
const BATCHES_A_TURN: usize = 16;
/// Sockets a client may have: the first few are UDP's, the others streams'.
const SOCKETS: usize = 32;
const UDP_SOCKETS: usize = 4;
/// Reads of a stream before others have their turn.
const READS_A_TURN: usize = 16;

/// Batches within this process that are taken before others have their turn.
const PARCELS_A_TURN: usize = 1_024;

/// A client on the thread.
pub(super) struct Visitor {
    client: Client,
    sockets: Vec<(Target, UdpSocket)>,
    /// By the number of their token.
    lines: BTreeMap<usize, Line>,
    /// Where what it sends within this process goes, and what came so.
    seat: Option<Seat>,
    parcels: Vec<Parcel>,
    inbox: Arc<Inbox<ClientEvent>>,
    untaken: Untaken,
    deadline: Option<Instant>,
    /// Something happened to it in this turn.
    touched: bool,
}

impl Visitor {
    pub(super) fn new(
        client: Client,
        sockets: Vec<(Target, UdpSocket)>,
        seat: Option<Seat>,
        inbox: Arc<Inbox<ClientEvent>>,
    ) -> Self {
        Self {
            client,
            sockets,
            lines: BTreeMap::new(),
            seat,
            parcels: Vec::new(),
            inbox,
            untaken: Untaken::default(),
            deadline: None,
            touched: true,
        }
    }

    fn register(&mut self, registry: &Registry, id: u64) -> io::Result<()> {
        for (index, (_, socket)) in self.sockets.iter_mut().enumerate().take(UDP_SOCKETS) {
            let token = Token(id as usize * SOCKETS + index);
            registry.register(socket.source(), token, Interest::READABLE)?;
        }
        Ok(())
    }

    fn is_readable(&self) -> bool {
        self.sockets.iter().any(|(_, socket)| socket.readable)
            || self.lines.values().any(|line| line.ready)
    }

    /// Something happened to the socket with that number.
    fn wake(&mut self, index: usize) {
        if let Some(line) = self.lines.get_mut(&index) {
            line.ready = true;
        } else if let Some((_, socket)) = self.sockets.get_mut(index) {
            socket.readable = true;
        }
    }

    /// Opens and closes streams, as the client wants. Whether it has something to say about that.
    fn follow_requests(&mut self, now: Instant, registry: &Registry, id: u64) -> bool {
        let mut told = false;
        while let Some(request) = self.client.poll_request() {
            match request {
                Request::Connect {
                    target,
                    link,
                    remote,
                    tls,
                } => {
                    let free = (UDP_SOCKETS..SOCKETS).find(|index| !self.lines.contains_key(index));
                    let line = free.map(|index| {
                        let token = Token(id as usize * SOCKETS + index);
                        let to = (target, link);
                        Line::connect(registry, token, to, remote, tls.as_deref())
                            .map(|line| (index, line))
                    });
                    match line {
                        Some(Ok((index, line))) => drop(self.lines.insert(index, line)),
                        Some(Err(error)) => {
                            log::debug!("no stream to {remote}: {error}");
                            self.client.link_closed(now, target, link);
                            told = true;
                        }
                        None => {
                            self.client.link_closed(now, target, link);
                            told = true;
                        }
                    }
                }
                Request::Close { target, link } => self
                    .lines
                    .retain(|_, line| (line.target, line.link) != (target, link)),
            }
        }
        told
    }

    fn read_lines(&mut self, now: Instant) {
        let Self { client, lines, .. } = self;
        let mut buffer = [0; 16 << 10];
        lines.retain(|_, line| {
            for _ in 0..READS_A_TURN {
                if !line.ready {
                    break;
                }
                self.touched = true;
                let (target, link) = (line.target, line.link);
                match line.poll(&mut buffer) {
                    Progress::Open(local) => client.link_open(now, target, link, local),
                    Progress::Read(count) => {
                        let read = buffer.get(..count).unwrap_or_default();
                        client.link_read(now, target, link, read);
                    }
                    Progress::Nothing => {}
                    Progress::Ended => {
                        client.link_closed(now, target, link);
                        return false;
                    }
                }
            }
            true
        });
    }

    /// Reads what came, and does what is due.
    fn turn(&mut self, now: Instant, buffers: &mut ReceiveBuffers) {
        let Self {
            client, sockets, ..
        } = self;
        for (target, socket) in sockets {
            for _ in 0..BATCHES_A_TURN {
                if !socket.readable {
                    break;
                }
                self.touched = true;
                let received = socket.receive(buffers, |local, remote, datagram| {
                    let tuple = FiveTuple {
                        protocol: Protocol::Udp,
                        local,
                        remote,
                    };
                    client.handle_datagram(now, *target, &tuple, datagram);
                });
                if let Err(error) = received {
                    log::warn!("cannot receive: {error}");
                }
            }
        }
        self.read_lines(now);
        for Parcel { tuple, contents } in self.parcels.drain(..) {
            self.touched = true;
            let target = match client_number(tuple.local) {
                Some(number) if number % 2 == 1 => Target::Subscriber,
                _ => Target::Publisher,
            };
            match contents {
                Contents::Packets(mut packets, size) => {
                    for packet in packets.chunks_mut(size) {
                        self.client.handle_datagram(now, target, &tuple, packet);
                    }
                }
                Contents::Plain(plain) => self.client.handle_plain(now, target, plain),
            }
        }
        if self.deadline.is_some_and(|at| at <= now) {
            self.touched = true;
            self.client.handle_timeout(now);
        }
    }

    /// Sends what is to be sent.
    fn send(&mut self, now: Instant) {
        let (sockets, lines) = (&self.sockets, &mut self.lines);
        let exchange = self.seat.as_ref().map(Seat::exchange);
        self.client.drain(now, |target, outgoing| match outgoing {
            Outgoing::Datagrams(datagrams) if datagrams.tuple.protocol == Protocol::Memory => {
                if let Some(exchange) = exchange {
                    let contents = || Contents::from(&datagrams);
                    exchange.send_to_plane(datagrams.tuple, contents);
                }
            }
            Outgoing::Datagrams(datagrams) => {
                let FiveTuple { local, remote, .. } = datagrams.tuple;
                let socket = sockets.iter().find(|(of, socket)| {
                    *of == target && socket.address().is_ipv4() == remote.is_ipv4()
                });
                if let Some((_, socket)) = socket {
                    socket.send(local.ip(), remote, datagrams.contents, datagrams.segment);
                }
            }
            Outgoing::Stream { link, bytes } => {
                let is = |line: &&mut Line| (line.target, line.link) == (target, link);
                if let Some(line) = lines.values_mut().find(is) {
                    line.send(bytes);
                }
            }
        });
        while let Some((tuple, plain)) = self.client.poll_plain() {
            if let Some(exchange) = exchange {
                exchange.send_to_plane(tuple, || Contents::Plain(plain.clone()));
            }
        }
    }

    /// Tells what happened. `false` when that is the end of it.
    fn tell(&mut self, now: Instant, notifier: &Notifier) -> bool {
        let (client, untaken) = (&mut self.client, &mut self.untaken);
        let mut sound = true;
        notifier.change(&self.inbox, |queue| {
            sound = untaken.add(queue, std::iter::from_fn(|| client.poll_event()));
        });
        self.deadline = self.client.poll_timeout(now);
        self.touched = false;
        sound
    }
}

pub(super) struct Turns {
    poll: Poll,
    bell: Bell,
    received: Receiver<Message>,
    mail: Mail,
    notifier: Arc<Notifier>,
    visitors: BTreeMap<u64, Visitor>,
    buffers: ReceiveBuffers,
}

impl Turns {
    pub(super) fn new(
        poll: Poll,
        bell: Bell,
        received: Receiver<Message>,
        mail: Mail,
        notifier: Arc<Notifier>,
    ) -> Self {
        Self {
            poll,
            bell,
            received,
            mail,
            notifier,
            visitors: BTreeMap::new(),
            buffers: ReceiveBuffers::new(),
        }
    }

    pub(super) fn run(mut self) {
        self.take_turns();
        for visitor in self.visitors.values() {
            let detail = "the thread of the clients' media has ended".into();
            let fault = ClientEvent::Fault { detail };
            self.notifier.deliver(&visitor.inbox, [fault]);
        }
    }

    fn take_turns(&mut self) {
        let mut ready = Events::with_capacity(256);
        let mut faults = Faults::of("clients' thread", self.bell.clone());
        loop {
            let timeout = self.timeout(Instant::now());
            if let Err(error) = self.poll.poll(&mut ready, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!("the clients' thread cannot wait for its sockets: {error}");
                return;
            }
            for event in ready.iter().filter(|event| event.token() != WAKE) {
                let (id, index) = (event.token().0 / SOCKETS, event.token().0 % SOCKETS);
                if let Some(visitor) = self.visitors.get_mut(&(id as u64)) {
                    visitor.wake(index);
                }
            }
            if !faults.guard(|| self.turn()) {
                return;
            }
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        if self.visitors.values().any(Visitor::is_readable) {
            return Some(Duration::ZERO);
        }
        let due = self.visitors.values().filter_map(|it| it.deadline).min();
        due.map(|at| at.saturating_duration_since(now))
    }

    /// Everything that is due, once. False when nobody is left.
    fn turn(&mut self) -> bool {
        self.bell.answer();
        let open = self.take_messages();
        self.take_mail();
        let now = Instant::now();
        let (buffers, notifier) = (&mut self.buffers, &self.notifier);
        let registry = self.poll.registry();
        self.visitors.retain(|id, visitor| {
            let turn = || {
                visitor.turn(now, buffers);
                if !visitor.touched {
                    return true;
                }
                visitor.send(now);
                // Streams are closed after what they are to bring.
                while visitor.follow_requests(now, registry, *id) {
                    visitor.send(now);
                }
                visitor.tell(now, notifier)
            };
            // A fault ends the client that it belongs to.
            catch_unwind(AssertUnwindSafe(turn)).unwrap_or_else(|_| {
                let detail = "a fault in the media of this client".into();
                notifier.deliver(&visitor.inbox, [ClientEvent::Fault { detail }]);
                false
            })
        });
        open || !self.visitors.is_empty()
    }

    fn take_mail(&mut self) {
        for _ in 0..PARCELS_A_TURN {
            let Some(parcel) = self.mail.take() else {
                return;
            };
            let id = client_number(parcel.tuple.local).unwrap_or_default() / 2;
            if let Some(visitor) = self.visitors.get_mut(&id) {
                visitor.parcels.push(parcel);
            }
        }
        // There may be more.
        self.bell.ring();
    }

    fn take_messages(&mut self) -> bool {
        loop {
            match self.received.try_recv() {
                Ok(message) => self.take(message),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Open(id, mut visitor) => {
                if let Err(error) = visitor.register(self.poll.registry(), id) {
                    let detail = format!("cannot watch the sockets: {error}");
                    let event = ClientEvent::Fault { detail };
                    self.notifier.deliver(&visitor.inbox, [event]);
                    return;
                }
                self.visitors.insert(id, *visitor);
            }
            Message::Call(id, call) => {
                if let Some(visitor) = self.visitors.get_mut(&id) {
                    visitor.touched = true;
                    let client = &mut visitor.client;
                    let act = || call(client, Instant::now());
                    if catch_unwind(AssertUnwindSafe(act)).is_err() {
                        let detail = "a fault in the media of this client".into();
                        let event = ClientEvent::Fault { detail };
                        self.notifier.deliver(&visitor.inbox, [event]);
                        self.visitors.remove(&id);
                    }
                }
            }
            Message::Close(id, closed) => {
                if let Some(mut visitor) = self.visitors.remove(&id) {
                    let now = Instant::now();
                    visitor.client.close(now);
                    visitor.send(now);
                    visitor.tell(now, &self.notifier);
                }
                let _ = closed.send(());
            }
        }
    }
}
