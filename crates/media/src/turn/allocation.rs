//! What one client has been granted: a relayed address, and the media addresses that it may reach.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::addresses::Route;
use super::bucket::Bucket;
use super::message::Transaction;
use super::{Leg, ToMedia};

const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// Permissions, and peers, of one allocation: more than a worker has addresses.
const MAX_PEERS: usize = 32;
/// How much may pass at once, as the time in which so much passes.
const BURST: Duration = Duration::from_secs(1);
/// What the shortest message costs, in bytes: each takes a worker's time, whatever it holds.
const SHORTEST: usize = 500;

#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) leg: Leg,
    pub(super) relayed: SocketAddr,
    /// Whose it is, by whichever of the participant's credentials.
    pub(super) sid: Box<str>,
    /// Of the Allocate request that made it: that one's copies are answered alike.
    pub(super) transaction: Transaction,
    pub(super) lifetime: Duration,
    pub(super) expires: Instant,
    /// What a byte costs of the buckets.
    per_byte: f64,
    upstream: Bucket,
    downstream: Bucket,
    permissions: Vec<(IpAddr, Instant)>,
    peers: Vec<Peer>,
}

/// One of our media's addresses that the client has sent to or bound a channel to.
#[derive(Debug)]
struct Peer {
    address: SocketAddr,
    route: Route,
    channel: Option<Channel>,
    /// When the client last sent to it: of two addresses of one socket the media answers from that one.
    used: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    number: u16,
    expires: Instant,
}

impl Peer {
    fn channel(&self, now: Instant) -> Option<u16> {
        self.channel
            .filter(|it| it.expires > now)
            .map(|it| it.number)
    }
}

/// Why a permission or a channel is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The channel is another peer's, or the peer has another channel.
    Bound,
    Full,
}

impl Allocation {
    pub(super) fn new(
        now: Instant,
        leg: Leg,
        relayed: SocketAddr,
        sid: &str,
        transaction: Transaction,
        bandwidth: u64,
    ) -> Self {
        Self {
            leg,
            relayed,
            sid: sid.into(),
            transaction,
            lifetime: Duration::ZERO,
            expires: now,
            per_byte: 1.0 / bandwidth.max(1) as f64,
            upstream: Bucket::full(now),
            downstream: Bucket::full(now),
            permissions: Vec::new(),
            peers: Vec::new(),
        }
    }

    /// Permits an address, or goes on permitting it.
    pub(super) fn permit(&mut self, now: Instant, ip: IpAddr) -> Result<(), Refused> {
        let expires = now + PERMISSION_LIFETIME;
        if let Some((_, known)) = self.permissions.iter_mut().find(|(it, _)| *it == ip) {
            *known = expires;
            return Ok(());
        }
        self.permissions.retain(|(_, expires)| *expires > now);
        if self.permissions.len() >= MAX_PEERS {
            return Err(Refused::Full);
        }
        self.permissions.push((ip, expires));
        Ok(())
    }

    /// Binds a channel, or goes on binding it; permits its address too.
    pub(super) fn bind(
        &mut self,
        now: Instant,
        number: u16,
        address: SocketAddr,
        route: Route,
    ) -> Result<(), Refused> {
        let taken = self.peers.iter().any(|peer| {
            let bound = peer.channel(now);
            bound.is_some() && (bound == Some(number)) != (peer.address == address)
        });
        if taken {
            return Err(Refused::Bound);
        }
        self.permit(now, address.ip())?;
        let peer = self.peer(now, address, route).ok_or(Refused::Full)?;
        peer.channel = Some(Channel {
            number,
            expires: now + CHANNEL_LIFETIME,
        });
        Ok(())
    }

    /// Data that came by ChannelData.
    pub(super) fn channel_data<'a>(
        &mut self,
        now: Instant,
        number: u16,
        data: &'a [u8],
    ) -> Option<ToMedia<'a>> {
        let peer = self
            .peers
            .iter_mut()
            .find(|it| it.channel(now) == Some(number))?;
        peer.used = now;
        let route = peer.route;
        self.forward(now, route, data)
    }

    /// Data that came by a Send indication; `route` looks an address up that was not sent to before.
    pub(super) fn indication<'a>(
        &mut self,
        now: Instant,
        address: SocketAddr,
        route: impl FnOnce() -> Option<Route>,
        data: &'a [u8],
    ) -> Option<ToMedia<'a>> {
        if !self.is_permitted(now, address.ip()) {
            return None;
        }
        let known = self.peers.iter().find(|it| it.address == address);
        let route = known.map(|it| it.route).or_else(route)?;
        self.peer(now, address, route)?.used = now;
        self.forward(now, route, data)
    }

    fn forward<'a>(&mut self, now: Instant, route: Route, data: &'a [u8]) -> Option<ToMedia<'a>> {
        let cost = self.cost(data.len());
        self.upstream.take(now, cost, BURST).then_some(ToMedia {
            worker: route.worker,
            local: route.local,
            relayed: self.relayed,
            data,
        })
    }

    /// Data from one of our sockets: from which of its addresses, and by which channel it goes. `None` if the
    /// client may not have it, or has not sent there first.
    pub(super) fn outgoing(
        &mut self,
        now: Instant,
        local: SocketAddr,
        length: usize,
    ) -> Option<(SocketAddr, Option<u16>)> {
        let peer = self
            .peers
            .iter()
            .filter(|it| it.route.local == local)
            .max_by_key(|it| it.used)?;
        let (address, channel) = (peer.address, peer.channel(now));
        if channel.is_none() && !self.is_permitted(now, address.ip()) {
            return None;
        }
        let cost = self.cost(length);
        self.downstream
            .take(now, cost, BURST)
            .then_some((address, channel))
    }

    fn is_permitted(&self, now: Instant, ip: IpAddr) -> bool {
        self.permissions
            .iter()
            .any(|(it, expires)| *it == ip && *expires > now)
    }

    fn cost(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes.max(SHORTEST) as f64 * self.per_byte)
    }

    /// A peer, made if it is new: in place of the one unused for longest if there are too many.
    fn peer(&mut self, now: Instant, address: SocketAddr, route: Route) -> Option<&mut Peer> {
        let known = self.peers.iter().position(|it| it.address == address);
        let index = known.or_else(|| {
            if self.peers.len() >= MAX_PEERS {
                let idle = self.peers.iter().enumerate();
                let idle = idle.filter(|(_, it)| it.channel(now).is_none());
                let (index, _) = idle.min_by_key(|(_, it)| it.used)?;
                self.peers.swap_remove(index);
            }
            self.peers.push(Peer {
                address,
                route,
                channel: None,
                used: now,
            });
            Some(self.peers.len() - 1)
        })?;
        self.peers.get_mut(index)
    }
}
