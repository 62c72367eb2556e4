//! Sockets and threads: the only part of the crate that does I/O.

mod addresses;
mod bell;
pub mod clients;
mod events;
mod exchange;
mod external;
mod faults;
pub(crate) mod gate;
mod socket;
mod stream;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

pub use addresses::Network;
pub use events::EventQueue;
pub use exchange::Exchange;

use self::addresses::Mapping;
pub use self::gate::TurnConfig;
use self::gate::{Doors, Gate};
use self::worker::{Sockets, Worker};
use crate::api::{Command, RoomId};
use crate::plane::PlaneConfig;
use crate::transport::{Identity, Protocol};
use crate::turn::{MediaAddresses, Route};

/// How a media plane is set up.
#[derive(Clone, Debug, Default)]
pub struct EngineConfig {
    /// One worker thread per port; 0 lets the system choose.
    pub udp_ports: Vec<u16>,
    /// Open no sockets: there are only clients of this process, and one worker.
    pub offline: bool,
    /// How clients of this process come.
    pub exchange: Option<Arc<Exchange>>,
    /// ICE over TCP is taken on that port; 0 lets the system choose.
    pub tcp_port: Option<u16>,
    /// Go on without it where the port is taken.
    pub tcp_optional: bool,
    pub turn: Option<TurnConfig>,
    /// Addresses to bind; empty binds the IPv4 and the IPv6 wildcard.
    pub bind: Vec<IpAddr>,
    /// Replace the interfaces' addresses as host candidates (a mapped public address).
    pub node_addresses: Vec<IpAddr>,
    /// Offer loopback addresses as host candidates.
    pub allow_loopback: bool,
    /// Interface names; empty includes all.
    pub interfaces_include: Vec<String>,
    pub interfaces_exclude: Vec<String>,
    /// Addresses of the interfaces; empty includes all.
    pub networks_include: Vec<Network>,
    pub networks_exclude: Vec<Network>,
    /// Offer the addresses that ours are mapped to, as far as STUN servers tell.
    pub external: Option<ExternalAddresses>,
    /// Makes all random choices of the plane reproducible.
    pub seed: Option<u64>,
}

/// How the external addresses are found, and what is offered beside them.
#[derive(Clone, Debug, Default)]
pub struct ExternalAddresses {
    /// `host:port`, asked in this order until one answers.
    pub stun_servers: Vec<String>,
    /// Not offer IPv4 addresses that nothing is mapped to.
    pub only: bool,
    /// Offer the own address beside the external one that it is mapped to.
    pub advertise_internal: bool,
    /// Use an external address only if what is sent there comes back.
    pub validate: bool,
}

/// The certificate of this process: making its DTLS configuration checks the cryptography, once is enough.
fn identity() -> io::Result<Arc<Identity>> {
    static IDENTITY: OnceLock<Arc<Identity>> = OnceLock::new();
    if let Some(identity) = IDENTITY.get() {
        return Ok(Arc::clone(identity));
    }
    let identity = Identity::generate().map_err(io::Error::other)?;
    Ok(Arc::clone(IDENTITY.get_or_init(|| identity)))
}

/// What is mapped to the addresses of one port counts for all ports.
fn mappings(config: &EngineConfig, sockets: &mut Sockets) -> io::Result<Vec<Mapping>> {
    let Some(external) = &config.external else {
        return Ok(Vec::new());
    };
    let mut mappings = Vec::new();
    for socket in sockets.iter_mut() {
        let own = addresses::own(config, &[socket.address()])?;
        if !own.is_empty() {
            let (servers, validate) = (&external.stun_servers, external.validate);
            mappings.extend(external::mappings(socket, &own, servers, validate)?);
        }
    }
    if mappings.is_empty() {
        log::error!(
            "no external address found by rtc.use_external_ip: {} did not tell one that can be used; name it \
             by rtc.node_ip, or other servers by rtc.stun_servers",
            external.stun_servers.join(", ")
        );
    }
    Ok(mappings)
}

/// Opens what the gate listens on.
fn doors(config: &EngineConfig, bind: &[IpAddr]) -> io::Result<Doors> {
    let mut doors = Doors::default();
    if let Some(port) = config.tcp_port {
        match doors.open_ice(bind, port) {
            Err(error) if config.tcp_optional => {
                log::warn!("{error}; clients cannot connect over TCP");
            }
            opened => opened?,
        }
    }
    if let Some(turn) = &config.turn {
        let mut turn = turn.clone();
        if turn.bind.is_empty() {
            turn.bind = bind.to_vec();
        }
        let optional = turn.optional;
        match doors.open_turn(turn) {
            Err(error) if optional => log::warn!("{error}; clients cannot connect by TURN"),
            opened => opened?,
        }
    }
    Ok(doors)
}

/// Which of `workers` a room lives on. Only within one can participants move and tracks be forwarded.
#[must_use]
pub fn worker_of(room: RoomId, workers: usize) -> usize {
    (room.0 % workers.max(1) as u64) as usize
}

/// A running media plane: worker threads, their sockets and the event queue.
///
/// A room lives on one worker, chosen by its id; a command goes to all, as those on unknown ids are
/// ignored.
#[derive(Debug)]
pub struct Engine {
    /// Whose threads these are: in the child of a fork they are not there.
    process: u32,
    workers: Vec<Worker>,
    events: Arc<EventQueue>,
    notifier: Option<JoinHandle<()>>,
    gate: Option<Gate>,
    ports: Vec<u16>,
    addresses: Vec<IpAddr>,
    tcp_port: Option<u16>,
    turn_ports: (Option<u16>, Option<u16>),
    fingerprint: String,
    exchange: Option<Arc<Exchange>>,
}

impl Engine {
    /// Binds the sockets and starts the threads. Events go to `events`; `wake` is called from a thread of its
    /// own, once per batch of them. Asking for external addresses takes up to some seconds.
    ///
    /// # Errors
    /// When a port is taken or an address is not ours; the text names the setting.
    pub fn start(
        config: EngineConfig,
        events: Arc<EventQueue>,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let identity = identity()?;
        let bind = if config.offline {
            Vec::new()
        } else {
            addresses::to_bind(&config)
        };
        let ports = if config.udp_ports.is_empty() {
            &[0][..]
        } else {
            &config.udp_ports
        };
        let mut sockets: Vec<Sockets> = ports
            .iter()
            .map(|port| Sockets::bind(&bind, *port, "rtc.udp_port"))
            .collect::<io::Result<_>>()?;
        let doors = doors(&config, &bind)?;
        let listening = doors.ice_addresses();
        let tcp = addresses::own(&config, &listening)?;
        let gate = (!doors.is_empty()).then(gate::Prepared::new).transpose()?;
        let media = Arc::new(MediaAddresses::default());
        let mut engine = Self {
            process: std::process::id(),
            workers: Vec::new(),
            notifier: None,
            gate: None,
            addresses: Vec::new(),
            tcp_port: listening.first().map(SocketAddr::port),
            turn_ports: doors.turn_ports(),
            ports: sockets
                .iter()
                .filter_map(|it| Some(it.addresses().first()?.port()))
                .collect(),
            fingerprint: identity.fingerprint().to_string(),
            exchange: config.exchange.clone(),
            events: Arc::clone(&events),
        };
        let mappings = match sockets.first_mut() {
            Some(first) => mappings(&config, first)?,
            None => Vec::new(),
        };
        for (index, sockets) in sockets.into_iter().enumerate() {
            let udp = addresses::own(&config, &sockets.addresses())?;
            let mut candidates = addresses::candidates(&config, Protocol::Udp, &udp, &mappings);
            for candidate in &candidates {
                let local = candidate.base.unwrap_or(candidate.address);
                media.insert(
                    candidate.address,
                    Route {
                        worker: index,
                        local,
                    },
                );
                let ip = candidate.address.ip();
                if !engine.addresses.contains(&ip) {
                    engine.addresses.push(ip);
                }
            }
            candidates.extend(addresses::candidates(
                &config,
                Protocol::Tcp,
                &tcp,
                &mappings,
            ));
            let plane = PlaneConfig {
                identity: Arc::clone(&identity),
                candidates,
                seed: config.seed.map(|seed| seed.wrapping_add(index as u64)),
                unix_time: None,
            };
            engine.workers.push(Worker::start(
                index,
                sockets,
                plane,
                Arc::clone(&events),
                gate.as_ref().map(gate::Prepared::mailbox),
                config.exchange.clone(),
            )?);
        }
        if let Some(exchange) = &config.exchange {
            exchange.set_workers(engine.workers.iter().map(Worker::postbox).collect());
        }
        if let Some(gate) = gate {
            let workers = engine.workers.iter().map(Worker::arrivals).collect();
            engine.gate = Some(gate.start(doors, workers, media)?);
        }
        let notifier = std::thread::Builder::new()
            .name("roomful-notify".into())
            .spawn(move || events.notify_until_closed(&wake))?;
        engine.notifier = Some(notifier);
        Ok(engine)
    }

    /// Hands a command to the workers; never blocks on them.
    pub fn send(&self, command: Command) {
        if !self.is_ours() {
            return;
        }
        if let Some(gate) = &self.gate {
            gate.tell(&command);
        }
        if let Command::OpenRoom(spec) = &command {
            if let Some(worker) = self.workers.get(worker_of(spec.room, self.workers.len())) {
                worker.send(command);
            }
            return;
        }
        if let Some((last, others)) = self.workers.split_last() {
            others
                .iter()
                .for_each(|worker| worker.send(command.clone()));
            last.send(command);
        }
    }

    /// The bound UDP ports, one a worker.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The bound port of ICE over TCP.
    #[must_use]
    pub fn tcp_port(&self) -> Option<u16> {
        self.tcp_port
    }

    /// The bound ports of TURN over UDP and TCP, and over TLS.
    #[must_use]
    pub fn turn_ports(&self) -> (Option<u16>, Option<u16>) {
        self.turn_ports
    }

    /// The addresses that are offered to everybody, loopback last.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// SHA-256 fingerprint of the DTLS certificate, as in `a=fingerprint`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    /// Closes transports, joins all threads and closes the sockets. Takes milliseconds. In the child of a fork all is
    /// let go of untouched: it is the parent's, and what a thread of its had locked stays so.
    pub fn close(&mut self) {
        if !self.is_ours() {
            std::mem::forget(std::mem::take(&mut self.workers));
            std::mem::forget(self.exchange.take());
            std::mem::forget(self.gate.take());
            std::mem::forget(self.notifier.take());
            return;
        }
        self.send(Command::Shutdown);
        self.workers.iter_mut().for_each(Worker::join);
        if let Some(exchange) = self.exchange.take() {
            exchange.set_workers(Vec::new());
        }
        self.workers.clear();
        self.gate = None;
        self.events.close();
        if let Some(notifier) = self.notifier.take() {
            let _ = notifier.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}
