//! The clients of a process: one thread for all, with a second one that wakes their owners.
//!
//! Both are started with the first client and end with the last. A process that forks begins anew: nothing
//! of its parent's is touched.

mod inbox;
mod lines;
mod resolver;
mod turns;
mod untaken;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use mio::Poll;

pub use self::inbox::{Inbox, Notifier};
use self::lines::Found;
pub use self::lines::IceServer;
use self::resolver::Resolver;
use self::turns::{Turns, Visitor};
use super::bell::Bell;
use super::exchange::{Exchange, Postbox};
use super::socket::UdpSocket;
use super::{EngineConfig, addresses, identity};
use crate::api::Target;
use crate::client::{Backlog, Client, ClientConfig, ClientEvent};
use crate::data::Channel;
use crate::transport::{LocalCandidate, Protocol};

/// Something to do with a client on the thread.
type Call = Box<dyn FnOnce(&mut Client, Instant) + Send>;

enum Message {
    Open(u64, Box<Visitor>),
    Call(u64, Call),
    /// Answered when its sockets are closed.
    Close(u64, Sender<()>),
}

/// Names of clients, never used again.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The thread of this process.
static HUB: Mutex<Weak<Hub>> = Mutex::new(Weak::new());

/// The other threads' hold on the clients' thread.
struct Hub {
    process: u32,
    commands: Mutex<Option<Sender<Message>>>,
    bell: Bell,
    notifier: Arc<Notifier>,
    resolver: Arc<Resolver>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    postbox: Postbox,
}

impl Hub {
    /// The hub of this process, started if there is none that runs.
    fn get() -> io::Result<Arc<Self>> {
        let mut known = HUB.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = known.upgrade().filter(|hub| hub.is_ours() && hub.runs()) {
            return Ok(hub);
        }
        let hub = Arc::new(Self::start()?);
        *known = Arc::downgrade(&hub);
        Ok(hub)
    }

    fn start() -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Bell::new(&poll)?;
        let (commands, received) = channel();
        let notifier = Arc::new(Notifier::default());
        let (postbox, mail) = Postbox::new(&bell);
        let turns = Turns::new(poll, bell.clone(), received, mail, Arc::clone(&notifier));
        let named = |name: &str| std::thread::Builder::new().name(name.into());
        let media = named("roomful-rtc").spawn(move || turns.run())?;
        let waking = named("roomful-rtc-wake").spawn({
            let notifier = Arc::clone(&notifier);
            move || notifier.run()
        })?;
        Ok(Self {
            process: std::process::id(),
            commands: Mutex::new(Some(commands)),
            bell,
            notifier,
            resolver: Arc::new(Resolver::new(lines::resolve)),
            threads: Mutex::new(vec![media, waking]),
            postbox,
        })
    }

    /// Not inherited by a fork: its threads are not there.
    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    /// Whether this is one of its own threads: an owner may be collected in a wake-up.
    fn is_own_thread(&self) -> bool {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let current = std::thread::current().id();
        threads.iter().any(|it| it.thread().id() == current)
    }

    /// Threads give up when they fault at every turn.
    fn runs(&self) -> bool {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        !threads.iter().any(JoinHandle::is_finished)
    }

    fn send(&self, message: Message) {
        if !self.is_ours() {
            return;
        }
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(commands) = &*commands {
            // A thread that gave up needs no commands.
            let _ = commands.send(message);
        }
        drop(commands);
        self.bell.ring();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let threads = self.threads.get_mut();
        let threads = std::mem::take(threads.unwrap_or_else(PoisonError::into_inner));
        if !self.is_ours() {
            threads.into_iter().for_each(std::mem::forget);
            return;
        }
        let commands = self.commands.get_mut();
        *commands.unwrap_or_else(PoisonError::into_inner) = None;
        self.bell.ring();
        self.notifier.close();
        // One of the threads itself may be the last to hold it.
        let current = std::thread::current().id();
        for thread in threads {
            if thread.thread().id() != current {
                let _ = thread.join();
            }
        }
    }
}

/// How a client reaches servers.
#[derive(Clone, Debug, Default)]
pub struct ClientSetup {
    /// One peer connection instead of two.
    pub single: bool,
    /// To the server in this process that this one leads to; nothing goes over a network.
    pub exchange: Option<Arc<Exchange>>,
}

/// A running client. Dropped or closed, it says goodbye and its sockets are gone; the last one takes the
/// threads along.
pub struct ClientHandle {
    id: u64,
    hub: Arc<Hub>,
    inbox: Arc<Inbox<ClientEvent>>,
    backlogs: Vec<(Channel, Arc<Backlog>)>,
    /// Its sockets.
    bound: Vec<(Target, SocketAddr)>,
    local: bool,
}

/// The numbers of a client's connections in memory.
fn numbers(id: u64) -> [u64; 2] {
    [2 * id, 2 * id + 1]
}

/// The machine's addresses by which others may reach it.
fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let wildcards = [([0; 4], 0).into(), ([0; 16], 0).into()];
    let own = addresses::own(&EngineConfig::default(), &wildcards)?;
    Ok(own.iter().map(SocketAddr::ip).collect())
}

fn candidate(ip: IpAddr, port: u16) -> LocalCandidate {
    LocalCandidate {
        protocol: Protocol::Udp,
        address: (ip, port).into(),
        base: None,
    }
}

/// Has each socket used with all addresses of its family; those that are known already change nothing.
fn offer_addresses(
    client: &mut Client,
    now: Instant,
    bound: &[(Target, SocketAddr)],
    local: &[IpAddr],
) {
    for (target, socket) in bound {
        for ip in local.iter().filter(|ip| ip.is_ipv4() == socket.is_ipv4()) {
            client.add_address(now, *target, candidate(*ip, socket.port()));
        }
    }
}

/// Binds the sockets of a client and has it use them.
fn open_sockets(client: &mut Client, now: Instant) -> io::Result<Vec<(Target, UdpSocket)>> {
    let mut sockets = Vec::new();
    let targets: Vec<Target> = client.targets().collect();
    let local = own_addresses()?;
    for target in targets {
        for wildcard in addresses::to_bind(&EngineConfig::default()) {
            let of_family = |ip: &IpAddr| ip.is_ipv4() == wildcard.is_ipv4();
            if wildcard.is_ipv6() && !local.iter().any(of_family) {
                continue;
            }
            let socket = UdpSocket::bind((wildcard, 0).into())?;
            if wildcard.is_ipv4() {
                let own = candidate([127, 0, 0, 1].into(), socket.address().port());
                client.reserve_address(target, own);
            }
            sockets.push((target, socket));
        }
    }
    let bound = sockets.iter().map(|(target, it)| (*target, it.address()));
    let bound: Vec<(Target, SocketAddr)> = bound.collect();
    offer_addresses(client, now, &bound, &local);
    Ok(sockets)
}

impl ClientHandle {
    /// Binds the sockets and begins. `wake` is called from a thread of its own, once a batch of events.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn open(setup: &ClientSetup, wake: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let now = Instant::now();
        let hub = Hub::get()?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let config = ClientConfig {
            identity: identity()?,
            single: setup.single,
            in_memory: setup.exchange.as_ref().map(|_| numbers(id)[0]),
            seed: None,
            unix_time: None,
        };
        let mut client = Client::new(config, now);
        let sockets = match &setup.exchange {
            Some(_) => Vec::new(),
            None => open_sockets(&mut client, now)?,
        };
        let enter = |it: &Arc<Exchange>| it.enter(numbers(id), &hub.postbox);
        let seat = setup.exchange.as_ref().map(enter);
        let bound = sockets.iter().map(|(target, it)| (*target, it.address()));
        let bound: Vec<(Target, SocketAddr)> = bound.collect();
        let channels = [Channel::Reliable, Channel::Lossy, Channel::DataTrack];
        let backlogs = channels
            .into_iter()
            .filter_map(|channel| Some((channel, client.backlog(channel)?)));
        let backlogs = backlogs.collect();
        let inbox = Arc::new(Inbox::new(usize::MAX, wake));
        let visitor = Visitor::new(client, sockets, seat, Arc::clone(&inbox));
        hub.send(Message::Open(id, Box::new(visitor)));
        Ok(Self {
            id,
            hub,
            inbox,
            backlogs,
            bound,
            local: setup.exchange.is_some(),
        })
    }

    /// Where its events are taken from.
    #[must_use]
    pub fn inbox(&self) -> &Arc<Inbox<ClientEvent>> {
        &self.inbox
    }

    /// Whether its server is in this process.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Who wakes the owners of its sinks.
    #[must_use]
    pub fn notifier(&self) -> &Arc<Notifier> {
        &self.hub.notifier
    }

    /// Lets the thread do something with the client, in the order of calls.
    pub fn call(&self, act: impl FnOnce(&mut Client, Instant) + Send + 'static) {
        self.hub.send(Message::Call(self.id, Box::new(act)));
    }

    /// Restarts ICE, by the addresses that the machine has now: it may be in another network.
    pub fn restart_ice(&self, target: Target) {
        if self.local {
            return self.call(move |client, now| client.restart_ice(now, target));
        }
        let local = own_addresses().unwrap_or_else(|error| {
            log::warn!("this machine's addresses cannot be read: {error}");
            Vec::new()
        });
        let bound = self.bound.clone();
        self.call(move |client, now| {
            offer_addresses(client, now, &bound, &local);
            client.restart_ice(now, target);
        });
    }

    /// The servers that may relay for it, in place of those before, and whether nothing else is to be used. Names
    /// are asked for on a thread of its own.
    pub fn set_ice_servers(&self, servers: Vec<IceServer>, relay_only: bool) {
        if self.local {
            return;
        }
        self.call(move |client, now| client.set_relay_only(now, relay_only));
        let caller = self.caller();
        let answer = move |found: Found| {
            caller.call(move |client, now| client.set_ice_servers(now, found.turn, found.stun));
        };
        let urls = lines::urls(&servers);
        self.hub.resolver.ask(self.id, urls, Box::new(answer));
    }

    /// A way to the client that does not keep it.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            id: self.id,
            hub: Arc::downgrade(&self.hub),
        }
    }

    fn backlog(&self, channel: Channel) -> Option<&Arc<Backlog>> {
        let mut backlogs = self.backlogs.iter();
        backlogs
            .find(|(known, _)| *known == channel)
            .map(|(_, backlog)| backlog)
    }

    /// Sends a message; `false` when the channel is full: `BufferLow` follows.
    pub fn send(&self, channel: Channel, message: &[u8]) -> bool {
        let Some(backlog) = self.backlog(channel) else {
            return false;
        };
        let room = backlog.reserve(message.len());
        if room {
            let message = Bytes::copy_from_slice(message);
            self.call(move |client, now| client.send_data(now, channel, message));
        }
        room
    }

    /// Bytes that wait in a channel.
    #[must_use]
    pub fn buffered(&self, channel: Channel) -> u64 {
        self.backlog(channel).map_or(0, |it| it.waiting())
    }
}

/// See [`ClientHandle::caller`].
#[derive(Clone)]
pub struct Caller {
    id: u64,
    hub: Weak<Hub>,
}

impl Caller {
    /// As [`ClientHandle::call`]; nothing happens when the client is gone.
    pub fn call(&self, act: impl FnOnce(&mut Client, Instant) + Send + 'static) {
        if let Some(hub) = self.hub.upgrade() {
            hub.send(Message::Call(self.id, Box::new(act)));
        }
    }
}

impl Drop for ClientHandle {
    fn drop(&mut self) {
        // A fork has no thread to answer, and what one of its parent's had locked stays so.
        if !self.hub.is_ours() {
            return;
        }
        self.inbox.close();
        self.hub.resolver.forget(self.id);
        let (closed, done) = channel();
        self.hub.send(Message::Close(self.id, closed));
        if !self.hub.is_own_thread() {
            // Fails when the thread gave up.
            let _ = done.recv();
        }
    }
}

#[cfg(test)]
mod tests;
