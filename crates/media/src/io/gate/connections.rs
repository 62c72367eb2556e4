//! The connections of the gate: which are there, how many strangers there may be, how long each may be silent.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use slab::Slab;

use crate::io::stream::Stream;
use crate::transport::framing::Unframer;
use crate::transport::{FiveTuple, Protocol};
use crate::turn::bucket::{Rate, Shares};
use crate::turn::{Framing, Leg, LegTransport};

/// Connections at once.
const MOST: usize = 10_000;
/// Of those whom no participant has answered yet, or who have nothing allocated: at once, and from one address (IPv6: one /64).
const MOST_STRANGERS: usize = 1_024;
const MOST_STRANGERS_OF_ONE: usize = 64;
/// TLS handshakes with one address (IPv6: one /64), the dearest thing that a stranger can ask for.
const HANDSHAKES: Rate = Rate {
    per_second: 50,
    burst: Duration::from_secs(4),
};
/// Until when a stranger must have got an answer.
const STRANGER_FOR: Duration = Duration::from_secs(10);
/// Peers ask for consent every few seconds (RFC 7675), and a participant that is there answers.
const UNUSED_FOR: Duration = Duration::from_secs(30);

/// What is spoken on a connection, and what has come of it.
pub(super) enum Speech {
    Ice {
        unframer: Unframer,
        /// The worker whose participant has answered; none for a stranger.
        worker: Option<usize>,
        /// Connectivity checks of a stranger.
        checks: u32,
    },
    Turn {
        framing: Framing,
        leg: Leg,
        /// There is an allocation.
        allocated: bool,
    },
}

impl Speech {
    pub(super) fn ice() -> Self {
        Self::Ice {
            unframer: Unframer::default(),
            worker: None,
            checks: 0,
        }
    }

    /// The transport has a number of its own for as long as the process runs.
    pub(super) fn turn(transport: LegTransport, local: SocketAddr, remote: SocketAddr) -> Self {
        Self::Turn {
            framing: Framing::default(),
            leg: Leg {
                transport,
                local,
                remote,
            },
            allocated: false,
        }
    }

    /// Its remote address says nothing of whose it is.
    fn is_proxied(&self) -> bool {
        match self {
            Self::Ice { .. } => false,
            Self::Turn { leg, .. } => matches!(leg.transport, LegTransport::Proxied(_)),
        }
    }

    fn is_known(&self) -> bool {
        match self {
            Self::Ice { worker, .. } => worker.is_some(),
            Self::Turn { allocated, .. } => *allocated,
        }
    }
}

pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) speech: Speech,
    opened: Instant,
    /// When a worker last sent something by it: what strangers write does not keep it.
    used: Instant,
    /// Listed to be read from.
    pub(super) readable: bool,
}

impl Connection {
    fn leg(&self) -> Option<Leg> {
        match self.speech {
            Speech::Turn { leg, .. } => Some(leg),
            Speech::Ice { .. } => None,
        }
    }

    pub(super) fn tuple(&self) -> FiveTuple {
        FiveTuple {
            protocol: Protocol::Tcp,
            local: self.local,
            remote: self.remote,
        }
    }
}

pub(super) struct Connections {
    handshakes: Shares,
    all: Slab<Connection>,
    by_tuple: FxHashMap<FiveTuple, usize>,
    by_leg: FxHashMap<Leg, usize>,
    /// The oldest first.
    strangers: VecDeque<usize>,
}

impl Connections {
    /// `key` keeps to ourselves which networks share their bounds.
    pub(super) fn new(key: &[u8; 32], now: Instant) -> Self {
        Self {
            handshakes: Shares::new(key, HANDSHAKES, now),
            all: Slab::new(),
            by_tuple: FxHashMap::default(),
            by_leg: FxHashMap::default(),
            strangers: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there may be one more, before anything is spent on it.
    pub(super) fn have_room(&self) -> bool {
        self.all.len() < MOST
    }

    /// Whether an address may have one more TLS handshake.
    pub(super) fn may_shake_hands(&mut self, now: Instant, remote: IpAddr) -> bool {
        match prefix(remote) {
            IpAddr::V4(v4) => self.handshakes.take(now, &v4.octets()),
            IpAddr::V6(v6) => self.handshakes.take(now, &v6.octets()),
        }
    }

    /// The newcomer's key, unless there are too many of its kind. Among strangers from everywhere the oldest
    /// makes room: whoever belongs here is one no longer than a round trip or two. Those behind a proxy are
    /// from everywhere, whatever their address.
    pub(super) fn open(
        &mut self,
        now: Instant,
        stream: Stream,
        local: SocketAddr,
        remote: SocketAddr,
        speech: Speech,
    ) -> Option<usize> {
        let address = prefix(remote.ip());
        let of_one = |key: &usize| {
            let other = self.all.get(*key);
            other.is_some_and(|it| prefix(it.remote.ip()) == address && !it.speech.is_proxied())
        };
        if !self.have_room() {
            return None;
        }
        let of_one: Vec<usize> = if speech.is_proxied() {
            Vec::new()
        } else {
            self.strangers.iter().copied().filter(of_one).collect()
        };
        let oldest = if of_one.len() >= MOST_STRANGERS_OF_ONE {
            of_one.first().copied()
        } else {
            let full = self.strangers.len() >= MOST_STRANGERS;
            self.strangers.front().copied().filter(|_| full)
        };
        if let Some(oldest) = oldest {
            self.close(oldest);
        }
        let connection = Connection {
            stream,
            local,
            remote,
            speech,
            opened: now,
            used: now,
            readable: false,
        };
        let (tuple, leg) = (connection.tuple(), connection.leg());
        let key = self.all.insert(connection);
        match leg {
            Some(leg) => self.by_leg.insert(leg, key),
            None => self.by_tuple.insert(tuple, key),
        };
        self.strangers.push_back(key);
        Some(key)
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Connection> {
        self.all.get_mut(key)
    }

    /// Where a worker's datagram leaves. A stranger's connection gets nothing, and is nobody's, until a check
    /// that came by it is `proven` by its answer: what else is for that address is for an earlier connection.
    pub(super) fn leaves_by(
        &mut self,
        now: Instant,
        tuple: &FiveTuple,
        from: usize,
        proven: bool,
    ) -> Option<usize> {
        let key = *self.by_tuple.get(tuple)?;
        let connection = self.all.get_mut(key)?;
        let Speech::Ice { worker, .. } = &mut connection.speech else {
            return None;
        };
        if worker.is_none() {
            if !proven {
                return None;
            }
            self.strangers.retain(|it| *it != key);
        }
        let own = *worker.get_or_insert(from) == from;
        if own {
            connection.used = now;
        }
        own.then_some(key)
    }

    /// The relay's client has an allocation.
    pub(super) fn allocated(&mut self, key: usize) {
        if let Some(connection) = self.all.get_mut(key)
            && let Speech::Turn { allocated, .. } = &mut connection.speech
            && !std::mem::replace(allocated, true)
        {
            self.strangers.retain(|it| *it != key);
        }
    }

    pub(super) fn of_leg(&self, leg: &Leg) -> Option<usize> {
        self.by_leg.get(leg).copied()
    }

    /// The relay's leg that has ended, if it was one. Dropping the socket closes it and ends its registration.
    pub(super) fn close(&mut self, key: usize) -> Option<Leg> {
        let gone = self.all.try_remove(key)?;
        self.strangers.retain(|it| *it != key);
        let leg = gone.leg();
        if let Some(leg) = &leg {
            self.by_leg.remove(leg);
        } else if self.by_tuple.get(&gone.tuple()) == Some(&key) {
            // Its peer may have connected anew from the same port.
            self.by_tuple.remove(&gone.tuple());
        }
        leg
    }

    /// Closes those that have been strangers, or silent, for too long, and those of the relay's clients who have
    /// nothing allocated any more.
    pub(super) fn sweep(&mut self, now: Instant, has_allocation: impl Fn(&Leg) -> bool) {
        let late = |connection: &Connection| match &connection.speech {
            speech if !speech.is_known() => {
                now.saturating_duration_since(connection.opened) >= STRANGER_FOR
            }
            Speech::Ice { .. } => now.saturating_duration_since(connection.used) >= UNUSED_FOR,
            Speech::Turn { leg, .. } => !has_allocation(leg),
        };
        let late: Vec<usize> = self
            .all
            .iter()
            .filter(|(_, connection)| late(connection))
            .map(|(key, _)| key)
            .collect();
        for key in late {
            self.close(key);
        }
    }
}

/// What one customer of a network has: an IPv4 address or an IPv6 /64.
fn prefix(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Connections over loopback that say of themselves that they come from elsewhere.
    struct World {
        listener: TcpListener,
        connections: Connections,
        peers: Vec<TcpStream>,
    }

    impl World {
        fn new() -> Self {
            Self {
                listener: TcpListener::bind("127.0.0.1:0").unwrap(),
                connections: Connections::new(&[7; 32], Instant::now()),
                peers: Vec::new(),
            }
        }

        fn open(&mut self, now: Instant, remote: &str) -> Option<(usize, FiveTuple)> {
            self.open_for(now, remote, |_, _| Speech::ice())
        }

        fn open_for(
            &mut self,
            now: Instant,
            remote: &str,
            speech: impl Fn(SocketAddr, SocketAddr) -> Speech,
        ) -> Option<(usize, FiveTuple)> {
            let local = self.listener.local_addr().unwrap();
            let peer = TcpStream::connect(local).unwrap();
            let (socket, _) = self.listener.accept().unwrap();
            self.peers.push(peer);
            let remote = remote.parse().unwrap();
            let stream = Stream::plain(mio::net::TcpStream::from_std(socket));
            let key = self
                .connections
                .open(now, stream, local, remote, speech(local, remote))?;
            Some((key, self.connections.get_mut(key)?.tuple()))
        }

        fn is_closed(&mut self, peer: usize) -> bool {
            self.peers[peer].set_nonblocking(true).unwrap();
            matches!(self.peers[peer].read(&mut [0; 1]), Ok(0))
        }
    }

    #[test]
    fn a_stranger_is_closed_after_ten_seconds_and_who_was_answered_after_thirty_of_silence() {
        let (mut world, now) = (World::new(), Instant::now());
        world.open(now, "192.0.2.1:1000").unwrap();
        let (_, answered) = world.open(now, "192.0.2.1:1001").unwrap();
        assert!(
            world
                .connections
                .leaves_by(now, &answered, 0, true)
                .is_some()
        );
        world.connections.sweep(now + STRANGER_FOR, |_| false);
        assert!(world.is_closed(0));
        assert!(!world.is_closed(1));
        world.connections.sweep(now + UNUSED_FOR, |_| false);
        assert!(world.is_closed(1));
        assert!(world.connections.is_empty());
        assert!(
            world
                .connections
                .leaves_by(now, &answered, 0, true)
                .is_none()
        );
    }

    #[test]
    fn a_connection_belongs_to_the_worker_that_answered_first() {
        let (mut world, now) = (World::new(), Instant::now());
        let (key, tuple) = world.open(now, "192.0.2.1:1000").unwrap();
        assert_eq!(world.connections.leaves_by(now, &tuple, 1, true), Some(key));
        assert_eq!(world.connections.leaves_by(now, &tuple, 0, true), None);
        assert_eq!(world.connections.leaves_by(now, &tuple, 1, true), Some(key));
    }

    #[test]
    fn one_network_may_have_so_many_strangers_and_any_number_that_were_answered() {
        let (mut world, now) = (World::new(), Instant::now());
        for port in 0..MOST_STRANGERS_OF_ONE as u16 {
            let address = format!("[2001:db8::{port:x}]:{}", 1_000 + port);
            let (_, tuple) = world.open(now, &address).unwrap();
            world.connections.leaves_by(now, &tuple, 0, true);
        }
        for port in 0..MOST_STRANGERS_OF_ONE as u16 {
            let address = format!("[2001:db8::{port:x}]:{}", 2_000 + port);
            assert!(world.open(now, &address).is_some());
        }
        let (elsewhere, _) = world.open(now, "[2001:db8:0:1::7]:3000").unwrap();
        assert!(!world.is_closed(MOST_STRANGERS_OF_ONE));
        assert!(world.open(now, "[2001:db8::7]:3000").is_some());
        // Its oldest stranger has made room, and nobody else's.
        assert!(world.is_closed(MOST_STRANGERS_OF_ONE));
        assert!(!world.is_closed(0));
        assert!(world.connections.get_mut(elsewhere).is_some());
    }

    #[test]
    fn strangers_behind_a_proxy_are_not_counted_by_its_address() {
        let (mut world, now) = (World::new(), Instant::now());
        for port in 0..=MOST_STRANGERS_OF_ONE as u16 {
            let remote = format!("192.0.2.1:{}", 1_000 + port);
            let proxied =
                |local, remote| Speech::turn(LegTransport::Proxied(port.into()), local, remote);
            world.open_for(now, &remote, proxied).unwrap();
        }
        // Who comes from there by itself has a share of its own.
        world.open(now, "192.0.2.1:1").unwrap();
        assert!((0..world.peers.len()).all(|peer| !world.is_closed(peer)));
    }

    #[test]
    fn one_network_may_have_so_many_tls_handshakes_in_a_time() {
        let (mut world, now) = (World::new(), Instant::now());
        let mut shaken = |now, hosts: std::ops::Range<u16>| {
            let host = |it: u16| -> IpAddr { format!("2001:db8::{it:x}").parse().unwrap() };
            let connections = &mut world.connections;
            hosts
                .filter(|it| connections.may_shake_hands(now, host(*it)))
                .count()
        };
        assert_eq!(shaken(now, 0..1_000), 200);
        assert_eq!(shaken(now + Duration::from_secs(1), 0..1_000), 50);
        let elsewhere = "2001:db8:0:1::1".parse().unwrap();
        assert!(world.connections.may_shake_hands(now, elsewhere));
    }

    #[test]
    fn only_the_answer_to_a_check_makes_a_connection_somebodys() {
        let (mut world, now) = (World::new(), Instant::now());
        let (key, tuple) = world.open(now, "192.0.2.1:1000").unwrap();
        assert_eq!(world.connections.leaves_by(now, &tuple, 0, false), None);
        world.connections.sweep(now + STRANGER_FOR, |_| false);
        assert!(world.is_closed(0));
        let (next, tuple) = world.open(now, "192.0.2.1:1000").unwrap();
        assert_eq!(next, key);
        assert_eq!(
            world.connections.leaves_by(now, &tuple, 0, true),
            Some(next)
        );
        assert_eq!(
            world.connections.leaves_by(now, &tuple, 0, false),
            Some(next)
        );
    }

    #[test]
    fn the_oldest_stranger_makes_room() {
        let (mut world, now) = (World::new(), Instant::now());
        let (first, _) = world.open(now, "192.0.2.1:1").unwrap();
        let (second, tuple) = world.open(now, "192.0.2.1:2").unwrap();
        let strangers = std::iter::repeat_n(first, MOST_STRANGERS - 2);
        world.connections.strangers.extend(strangers);
        world.open(now, "198.51.100.1:1").unwrap();
        assert!(world.is_closed(0));
        assert!(world.connections.get_mut(second).is_some());
        assert_eq!(
            world.connections.leaves_by(now, &tuple, 0, true),
            Some(second)
        );
    }
}
