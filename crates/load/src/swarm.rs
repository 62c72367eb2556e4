//! All clients on one thread: sockets, timers, and the newlines of the orchestrator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::Result;
use crate::client::{Client, Role, Server, Socket};
use crate::connection::Buffers;
use crate::meter::Meter;
use crate::report::Lines;

const WAKER: Token = Token(usize::MAX);
/// Clients on their way in at a time.
const JOINING: usize = 10;

pub(crate) struct Swarm {
    server: Server,
    poll: Poll,
    events: Events,
    buffers: Buffers,
    lines: Lines,
    pub(crate) clients: Vec<Client>,
    pub(crate) meter: Meter,
    /// How long anything may take.
    timeout: Duration,
}

impl Swarm {
    pub(crate) fn new(server: Server, timeout: Duration) -> Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self {
            server,
            poll,
            events: Events::with_capacity(256),
            buffers: Buffers::new(),
            lines: Lines::listen(waker),
            clients: Vec::new(),
            meter: Meter::default(),
            timeout,
        })
    }

    /// Starts the join of one client; its index.
    pub(crate) fn join(&mut self, name: &str, role: Role) -> Result<usize> {
        let index = self.clients.len();
        let identity = format!("{name}-{index}");
        let client = Client::join(&self.server, self.poll.registry(), index, identity, role)?;
        self.clients.push(client);
        Ok(index)
    }

    /// Joins clients, a few at a time, until all are connected.
    pub(crate) fn join_all(&mut self, name: &str, roles: Vec<Role>) -> Result<()> {
        let first = self.clients.len();
        for role in roles {
            self.run_until("earlier clients to connect", |swarm| {
                let joining = swarm.clients[first..].iter().filter(|c| !c.is_connected());
                joining.count() < JOINING
            })?;
            self.join(name, role)?;
        }
        self.run_until("all clients to connect", |swarm| {
            swarm.clients.iter().all(Client::is_connected)
        })
    }

    /// Runs until something is so; an error that says what was waited for when it takes too long.
    pub(crate) fn run_until(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + self.timeout;
        while !is_so(self) {
            if Instant::now() >= deadline {
                let seconds = self.timeout.as_secs();
                let connected = self.clients.iter().filter(|c| c.is_connected()).count();
                let count = self.clients.len();
                return Err(format!(
                    "waited {seconds} s for {what} ({connected} of {count} clients are connected)"
                )
                .into());
            }
            self.turn(deadline)?;
        }
        Ok(())
    }

    /// Runs for a time.
    pub(crate) fn run_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end)?;
        }
        Ok(())
    }

    /// Runs until a newline comes on standard input, however long that takes.
    pub(crate) fn wait_for_newline(&mut self) -> Result<()> {
        while !self.lines.take()? {
            self.turn(Instant::now() + Duration::from_secs(1))?;
        }
        Ok(())
    }

    /// Everybody leaves; done when the server closed each WebSocket.
    pub(crate) fn leave(&mut self) -> Result<()> {
        let now = Instant::now();
        for client in &mut self.clients {
            client.leave(now)?;
        }
        self.run_until("the server to close after leaves", |swarm| {
            swarm.clients.iter().all(Client::has_left)
        })
    }

    /// Waits for sockets and timers, until a moment at most, and handles what is there.
    fn turn(&mut self, until: Instant) -> Result<()> {
        let next = self.clients.iter().filter_map(Client::timeout).min();
        let next = next.map_or(until, |next| next.min(until));
        let wait = next.saturating_duration_since(Instant::now());
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            if event.token() == WAKER {
                continue;
            }
            let (index, socket) = Socket::of(event.token());
            let client = &mut self.clients[index];
            client
                .ready(
                    socket,
                    self.poll.registry(),
                    &mut self.buffers,
                    &mut self.meter,
                )
                .map_err(|error| format!("{}: {error}", client.identity))?;
        }
        let now = Instant::now();
        for client in &mut self.clients {
            if client.timeout().is_some_and(|at| at <= now) {
                client
                    .drive(now, &mut self.meter)
                    .map_err(|error| format!("{}: {error}", client.identity))?;
            }
        }
        Ok(())
    }
}
