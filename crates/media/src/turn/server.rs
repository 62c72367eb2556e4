//! The relay's state machine: requests, data and the clock in, packets out.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use rustc_hash::FxHashMap;
use slab::Slab;

use super::addresses::{MediaAddresses, relayed};
use super::allocation::{Allocation, Refused};
use super::bucket::Strangers;
use super::credentials::{Authority, Holder};
use super::message::{Class, FAMILY_IPV4, FAMILY_IPV6, Message, Writer, attribute, method};
use super::{Leg, LegTransport, ToMedia, channel, derive};

const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);
const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// What somebody unknown is answered at most, in bytes and as a multiple of the question.
const MAX_ANSWER: usize = 100;
const MAX_AMPLIFICATION: usize = 4;
/// REQUESTED-TRANSPORT: the protocol number.
const UDP: u8 = 17;
/// Longest datagram of the media that is wrapped.
const MAX_DATA: usize = 4096;
/// Answers that wait to be taken; more are dropped.
const MAX_QUEUE: usize = 256;
/// Allocations that there may be at all: relayed IPv4 addresses are many times as many.
const MAX_ALLOCATIONS: usize = 1 << 20;
/// How long what media says last to who is revoked has to get out.
const GOODBYE: Duration = Duration::from_secs(1);

/// How a relay is set up.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// At most 20 bytes, as an answer to strangers has to hold it.
    pub realm: String,
    /// What credentials and nonces are derived from: random, of this process.
    pub secret: [u8; 32],
    /// Allocations at a time, in total.
    pub allocations: usize,
    /// Allocations at a time of one participant.
    pub allocations_per_participant: usize,
    /// Bytes a second that an allocation relays each way; one second's worth may pass at once.
    pub bandwidth: u64,
}

impl ServerConfig {
    /// LiveKit's defaults, and 12.5 MB/s (100 Mbit/s) an allocation.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            realm: "livekit".into(),
            secret,
            allocations: 10_000,
            allocations_per_participant: 12,
            bandwidth: 12_500_000,
        }
    }
}

/// A TURN server without sockets. See the [module](super).
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    authority: Authority,
    media: Arc<MediaAddresses>,
    strangers: Strangers,
    allocations: Slab<Allocation>,
    by_leg: FxHashMap<Leg, usize>,
    by_relayed: FxHashMap<SocketAddr, usize>,
    /// Allocations of each participant that there is, by sid.
    participants: FxHashMap<Box<str>, Vec<usize>>,
    deadlines: BTreeSet<(Instant, usize)>,
    /// Of the next relayed address.
    number: u64,
    answers: VecDeque<(Leg, Vec<u8>)>,
}

/// What a signed request gets.
enum Granted {
    Allocation {
        relayed: SocketAddr,
        lifetime: Duration,
    },
    Lifetime(Duration),
    Nothing,
}

/// Error codes (RFC 8489 §14.8, RFC 8656 §19).
type Code = u16;

impl Server {
    #[must_use]
    pub fn new(config: ServerConfig, media: Arc<MediaAddresses>, now: Instant) -> Self {
        let [number @ .., _, _, _, _, _, _, _, _] = derive(&config.secret, "relayed");
        Self {
            authority: Authority::new(config.realm.clone(), &config.secret, now),
            strangers: Strangers::new(&derive(&config.secret, "strangers"), now),
            media,
            allocations: Slab::new(),
            by_leg: FxHashMap::default(),
            by_relayed: FxHashMap::default(),
            participants: FxHashMap::default(),
            deadlines: BTreeSet::new(),
            number: u64::from_be_bytes(*number.first_chunk().unwrap_or(&[0; 8])),
            answers: VecDeque::new(),
            config,
        }
    }

    /// From now on credentials for that participant count.
    pub fn admit(&mut self, sid: &str) {
        self.participants.entry(sid.into()).or_default();
    }

    /// The participant is gone: its credentials count no more, and what it has allocated ends in a second,
    /// whatever its lifetime.
    pub fn revoke(&mut self, now: Instant, sid: &str) {
        for index in self.participants.remove(sid).unwrap_or_default() {
            let Some(allocation) = self.allocations.get_mut(index) else {
                continue;
            };
            self.deadlines.remove(&(allocation.expires, index));
            allocation.expires = allocation.expires.min(now + GOODBYE);
            self.deadlines.insert((allocation.expires, index));
        }
    }

    /// How many allocations there are.
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Whether something is allocated over that leg.
    #[must_use]
    pub fn has_allocation(&self, leg: &Leg) -> bool {
        self.by_leg.contains_key(leg)
    }

    /// Takes one STUN message or ChannelData of a leg; `unix` is the wall clock in seconds. Returns a datagram
    /// for the media, if it was one.
    pub fn handle<'a>(
        &mut self,
        now: Instant,
        unix: u64,
        leg: Leg,
        packet: &'a [u8],
    ) -> Option<ToMedia<'a>> {
        match packet.first()? {
            0x40..=0x4f => {
                let (number, data) = channel::parse(packet).filter(|(_, it)| !it.is_empty())?;
                self.allocation(now, leg)?.channel_data(now, number, data)
            }
            0..=3 => {
                let message = Message::parse(packet)?;
                match (message.class, message.method) {
                    (Class::Indication, method::SEND) => self.send(now, leg, &message),
                    (Class::Request, method::BINDING) => {
                        self.answer_binding(now, leg, &message);
                        None
                    }
                    (Class::Request, _) => {
                        self.answer(now, unix, leg, &message);
                        None
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Wraps a datagram of the media to a relayed address, from the worker's socket `local`, into `out`, whatever
    /// that held; returns the leg that it leaves by. `None` drops it.
    pub fn from_media(
        &mut self,
        now: Instant,
        relayed: SocketAddr,
        local: SocketAddr,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Leg> {
        let allocation = self.allocations.get_mut(*self.by_relayed.get(&relayed)?)?;
        if allocation.expires <= now || data.len() > MAX_DATA {
            return None;
        }
        let leg = allocation.leg;
        let (peer, channel) = allocation.outgoing(now, local, data.len())?;
        if let Some(number) = channel {
            channel::write(out, number, data, leg.transport != LegTransport::Udp);
        } else {
            // Indications answer nothing: any number does, as nobody looks for it again.
            self.number = self.number.wrapping_add(1);
            let mut transaction = [0; 12];
            if let Some(number) = transaction.first_chunk_mut() {
                *number = self.number.to_be_bytes();
            }
            Writer::new(out, Class::Indication, method::DATA, transaction)
                .put_address(attribute::XOR_PEER_ADDRESS, peer)
                .put(attribute::DATA, data);
        }
        Some(leg)
    }

    /// The next answer, and the leg that it leaves by.
    pub fn poll_transmit(&mut self) -> Option<(Leg, Vec<u8>)> {
        self.answers.pop_front()
    }

    /// A stream has ended, and with it what was allocated over it.
    pub fn closed(&mut self, leg: Leg) {
        if let Some(index) = self.by_leg.get(&leg) {
            self.remove(*index);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Ends allocations that nobody has refreshed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, index)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.remove(index);
        }
    }

    fn allocation(&mut self, now: Instant, leg: Leg) -> Option<&mut Allocation> {
        let allocation = self.allocations.get_mut(*self.by_leg.get(&leg)?)?;
        (allocation.expires > now).then_some(allocation)
    }

    fn send<'a>(&mut self, now: Instant, leg: Leg, message: &Message<'a>) -> Option<ToMedia<'a>> {
        let mut unknown = unknown_attributes(message);
        let peer = message.address(attribute::XOR_PEER_ADDRESS)?;
        let data = message.get(attribute::DATA).filter(|it| !it.is_empty())?;
        if unknown.next().is_some() {
            return None;
        }
        let media = Arc::clone(&self.media);
        let allocation = self.allocation(now, leg)?;
        allocation.indication(now, peer, || media.route(peer), data)
    }

    fn answer_binding(&mut self, now: Instant, leg: Leg, request: &Message<'_>) {
        let mut out = Vec::new();
        let unknown: Vec<u16> = unknown_attributes(request).collect();
        if unknown.is_empty() {
            Writer::new(
                &mut out,
                Class::Success,
                request.method,
                request.transaction,
            )
            .put_address(attribute::XOR_MAPPED_ADDRESS, leg.remote);
        } else {
            write_error(&mut out, request, 420).put(attribute::UNKNOWN_ATTRIBUTES, &list(&unknown));
        }
        self.answer_stranger(now, leg, request, out);
    }

    /// Answers a request of TURN.
    fn answer(&mut self, now: Instant, unix: u64, leg: Leg, request: &Message<'_>) {
        let (holder, key) = match self.authenticate(now, leg, request) {
            Ok(known) => known,
            Err(code) => return self.challenge(now, leg, request, code),
        };
        let mut out = Vec::new();
        let unknown: Vec<u16> = unknown_attributes(request).collect();
        let granted = if unknown.is_empty() {
            self.grant(now, unix, leg, request, holder)
        } else {
            Err(420)
        };
        let success = |out| Writer::new(out, Class::Success, request.method, request.transaction);
        match granted {
            Ok(Granted::Allocation { relayed, lifetime }) => success(&mut out)
                .put_address(attribute::XOR_RELAYED_ADDRESS, relayed)
                .put(attribute::LIFETIME, &seconds(lifetime))
                .put_address(attribute::XOR_MAPPED_ADDRESS, leg.remote)
                .sign(&key),
            Ok(Granted::Lifetime(lifetime)) => success(&mut out)
                .put(attribute::LIFETIME, &seconds(lifetime))
                .sign(&key),
            Ok(Granted::Nothing) => success(&mut out).sign(&key),
            Err(code) => {
                log::debug!("TURN: {} of {} refused: {code}", request.method, holder.sid);
                let mut error = write_error(&mut out, request, code);
                if !unknown.is_empty() {
                    error.put(attribute::UNKNOWN_ATTRIBUTES, &list(&unknown));
                }
                error.sign(&key);
            }
        }
        self.queue(leg, out);
    }

    /// Whose request it is (RFC 8489 §9.2.4).
    fn authenticate<'a>(
        &self,
        now: Instant,
        leg: Leg,
        request: &Message<'a>,
    ) -> Result<(Holder<'a>, hmac::Key), Code> {
        if !request.is_signed() {
            return Err(401);
        }
        let username = request.text(attribute::USERNAME).ok_or(400_u16)?;
        let realm = request.text(attribute::REALM).ok_or(400_u16)?;
        let nonce = request.get(attribute::NONCE).ok_or(400_u16)?;
        if !self.authority.is_fresh(now, leg, nonce) {
            return Err(438);
        }
        let (holder, key) = self.authority.key(username).ok_or(401_u16)?;
        if realm != self.authority.realm() || !request.is_signed_by(&key) {
            return Err(401);
        }
        Ok((holder, key))
    }

    /// Refuses who has not proven who it is, and says with what to try again.
    fn challenge(&mut self, now: Instant, leg: Leg, request: &Message<'_>, code: Code) {
        let mut out = Vec::new();
        let mut error = write_error(&mut out, request, code);
        if code != 400 {
            error
                .put(attribute::REALM, self.authority.realm().as_bytes())
                .put(attribute::NONCE, self.authority.nonce(now, leg).as_bytes());
        }
        self.answer_stranger(now, leg, request, out);
    }

    fn answer_stranger(&mut self, now: Instant, leg: Leg, request: &Message<'_>, answer: Vec<u8>) {
        let limit = MAX_ANSWER.min(MAX_AMPLIFICATION * request.len());
        if answer.len() <= limit && self.strangers.may_answer(now, leg) {
            self.queue(leg, answer);
        }
    }

    fn queue(&mut self, leg: Leg, answer: Vec<u8>) {
        if self.answers.len() < MAX_QUEUE {
            self.answers.push_back((leg, answer));
        }
    }

    fn grant(
        &mut self,
        now: Instant,
        unix: u64,
        leg: Leg,
        request: &Message<'_>,
        holder: Holder<'_>,
    ) -> Result<Granted, Code> {
        if !self.participants.contains_key(holder.sid) {
            return Err(401);
        }
        let known = self.by_leg.get(&leg).copied();
        let known = known.filter(|it| self.allocations.get(*it).is_some_and(|it| it.expires > now));
        let Some(index) = known else {
            return match request.method {
                method::ALLOCATE => self.allocate(now, unix, leg, request, holder),
                method::REFRESH | method::CREATE_PERMISSION | method::CHANNEL_BIND => Err(437),
                _ => Err(400),
            };
        };
        let allocation = self.allocations.get_mut(index).ok_or(437_u16)?;
        let own = *allocation.sid == *holder.sid;
        match request.method {
            // By 437 clients know to try another port (RFC 8656 §7.4).
            method::ALLOCATE if !own => Err(437),
            _ if !own => Err(441),
            method::ALLOCATE if allocation.transaction == request.transaction => {
                Ok(Granted::Allocation {
                    relayed: allocation.relayed,
                    lifetime: allocation.lifetime,
                })
            }
            method::ALLOCATE => Err(437),
            method::REFRESH => self.refresh(now, index, request),
            method::CREATE_PERMISSION => permit(now, &self.media, allocation, request),
            method::CHANNEL_BIND => bind(now, &self.media, allocation, request),
            _ => Err(400),
        }
    }

    fn allocate(
        &mut self,
        now: Instant,
        unix: u64,
        leg: Leg,
        request: &Message<'_>,
        holder: Holder<'_>,
    ) -> Result<Granted, Code> {
        if holder.expiry <= unix {
            return Err(401);
        }
        match request.u8(attribute::REQUESTED_TRANSPORT) {
            None => return Err(400),
            Some(UDP) => {}
            Some(_) => return Err(442),
        }
        let even_port = request.get(attribute::EVEN_PORT);
        let family = request.get(attribute::REQUESTED_ADDRESS_FAMILY);
        if request.get(attribute::RESERVATION_TOKEN).is_some() {
            // Nothing is ever reserved.
            let contradicts = even_port.is_some() || family.is_some();
            return Err(if contradicts { 400 } else { 508 });
        }
        if even_port.is_some_and(|it| it.first().is_none_or(|flags| flags & 0x80 != 0)) {
            return Err(508);
        }
        let (has_ipv4, has_ipv6) = self.media.families();
        let ipv6 = match family.map(|_| request.u8(attribute::REQUESTED_ADDRESS_FAMILY)) {
            None => !has_ipv4 && has_ipv6,
            Some(Some(FAMILY_IPV4)) if has_ipv4 => false,
            Some(Some(FAMILY_IPV6)) if has_ipv6 => true,
            Some(_) => return Err(440),
        };
        let own = self.participants.get(holder.sid).map_or(0, Vec::len);
        if own >= self.config.allocations_per_participant {
            return Err(486);
        }
        if self.allocations.len() >= self.config.allocations.min(MAX_ALLOCATIONS) {
            return Err(508);
        }
        // A leg whose allocation has just expired, before the timer came to it.
        self.closed(leg);
        let relayed = self.next_relayed(ipv6);
        let mut allocation = Allocation::new(
            now,
            leg,
            relayed,
            holder.sid,
            request.transaction,
            self.config.bandwidth,
        );
        let lifetime = wanted_lifetime(request).max(DEFAULT_LIFETIME);
        allocation.lifetime = lifetime;
        allocation.expires = now + lifetime;
        let expires = allocation.expires;
        let index = self.allocations.insert(allocation);
        self.deadlines.insert((expires, index));
        self.by_leg.insert(leg, index);
        self.by_relayed.insert(relayed, index);
        if let Some(own) = self.participants.get_mut(holder.sid) {
            own.push(index);
        }
        log::debug!("TURN: {} is relayed as {relayed}", holder.sid);
        Ok(Granted::Allocation { relayed, lifetime })
    }

    fn next_relayed(&mut self, ipv6: bool) -> SocketAddr {
        loop {
            self.number = self.number.wrapping_add(1);
            let address = relayed(self.number, ipv6);
            if !self.by_relayed.contains_key(&address) {
                return address;
            }
        }
    }

    fn refresh(
        &mut self,
        now: Instant,
        index: usize,
        request: &Message<'_>,
    ) -> Result<Granted, Code> {
        let allocation = self.allocations.get_mut(index).ok_or(437_u16)?;
        if request.get(attribute::REQUESTED_ADDRESS_FAMILY).is_some()
            && request.u8(attribute::REQUESTED_ADDRESS_FAMILY)
                != Some(family_of(allocation.relayed))
        {
            return Err(443);
        }
        let wanted = wanted_lifetime(request);
        if wanted.is_zero() {
            self.remove(index);
            return Ok(Granted::Lifetime(wanted));
        }
        let lifetime = wanted.max(DEFAULT_LIFETIME);
        self.deadlines.remove(&(allocation.expires, index));
        allocation.expires = now + lifetime;
        self.deadlines.insert((allocation.expires, index));
        Ok(Granted::Lifetime(lifetime))
    }

    fn remove(&mut self, index: usize) {
        let Some(allocation) = self.allocations.try_remove(index) else {
            return;
        };
        self.deadlines.remove(&(allocation.expires, index));
        self.by_leg.remove(&allocation.leg);
        self.by_relayed.remove(&allocation.relayed);
        let sid = &allocation.sid;
        if let Some(own) = self.participants.get_mut(sid) {
            own.retain(|it| *it != index);
        }
        log::debug!("TURN: {sid} is no longer relayed as {}", allocation.relayed);
    }
}

/// CreatePermission: all addresses or none (RFC 8656 §10.2).
fn permit(
    now: Instant,
    media: &MediaAddresses,
    allocation: &mut Allocation,
    request: &Message<'_>,
) -> Result<Granted, Code> {
    let peers = || request.addresses(attribute::XOR_PEER_ADDRESS);
    if peers().next().is_none() {
        return Err(400);
    }
    for peer in peers() {
        let peer = peer.ok_or(400_u16)?;
        if !media.has_ip(peer.ip()) {
            return Err(403);
        }
        if peer.is_ipv4() != allocation.relayed.is_ipv4() {
            return Err(443);
        }
    }
    for peer in peers().flatten() {
        allocation.permit(now, peer.ip()).map_err(code)?;
    }
    Ok(Granted::Nothing)
}

/// ChannelBind (RFC 8656 §12.2).
fn bind(
    now: Instant,
    media: &MediaAddresses,
    allocation: &mut Allocation,
    request: &Message<'_>,
) -> Result<Granted, Code> {
    let number = request.u16(attribute::CHANNEL_NUMBER);
    let number = number
        .filter(|it| channel::NUMBERS.contains(it))
        .ok_or(400_u16)?;
    let peer = request
        .address(attribute::XOR_PEER_ADDRESS)
        .ok_or(400_u16)?;
    let route = media.route(peer).ok_or(403_u16)?;
    if peer.is_ipv4() != allocation.relayed.is_ipv4() {
        return Err(443);
    }
    allocation.bind(now, number, peer, route).map_err(code)?;
    Ok(Granted::Nothing)
}

fn code(refused: Refused) -> Code {
    match refused {
        Refused::Bound => 400,
        Refused::Full => 508,
    }
}

/// LIFETIME as asked for, or the default, at most [`MAX_LIFETIME`].
fn wanted_lifetime(request: &Message<'_>) -> Duration {
    let wanted = request.u32(attribute::LIFETIME);
    let wanted = wanted.map_or(DEFAULT_LIFETIME, |it| Duration::from_secs(it.into()));
    wanted.min(MAX_LIFETIME)
}

fn family_of(address: SocketAddr) -> u8 {
    if address.is_ipv4() {
        FAMILY_IPV4
    } else {
        FAMILY_IPV6
    }
}

fn seconds(lifetime: Duration) -> [u8; 4] {
    (lifetime.as_secs() as u32).to_be_bytes()
}

/// Attributes that would have to be understood and are not.
fn unknown_attributes(message: &Message<'_>) -> impl Iterator<Item = u16> {
    let kinds = message.attributes().map(|(kind, _)| kind);
    kinds.filter(|kind| {
        *kind < attribute::COMPREHENSION_OPTIONAL && !attribute::KNOWN.contains(kind)
    })
}

/// UNKNOWN-ATTRIBUTES, of the first few.
fn list(kinds: &[u16]) -> Vec<u8> {
    kinds
        .iter()
        .take(8)
        .flat_map(|kind| kind.to_be_bytes())
        .collect()
}

/// Begins an error response.
fn write_error<'a>(out: &'a mut Vec<u8>, request: &Message<'_>, code: Code) -> Writer<'a> {
    let reason = match code {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        420 => "Unknown Attribute",
        437 => "Allocation Mismatch",
        438 => "Stale Nonce",
        440 => "Address Family not Supported",
        441 => "Wrong Credentials",
        442 => "Unsupported Transport Protocol",
        443 => "Peer Address Family Mismatch",
        486 => "Allocation Quota Reached",
        _ => "Insufficient Capacity",
    };
    let mut writer = Writer::new(out, Class::Error, request.method, request.transaction);
    writer.put_error(code, reason);
    writer
}
