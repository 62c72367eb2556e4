//! Who in a room gets a data packet.
//!
//! Each worker keeps a replica of a room's router with the room's members; it hands packets only to its
//! own. A sender's worker [accepts](Router::accept) a packet (checks, numbers, stamp), and every worker
//! [routes](Router::route) it to its members, so that one buffer serves the whole room.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};

use super::MAX_MESSAGE_SIZE;
use super::packet::{self, PacketError, Sender, Summary};
use crate::api::ParticipantId;

/// Bounds of what a router keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Bytes of reliable packets kept for one member whose channels are not open yet.
    pub held_bytes: usize,
    /// How long they are kept for it.
    pub held_for: Duration,
    /// Bytes of reliable packets kept for members that resume.
    pub history_bytes: usize,
    /// How long they are kept.
    pub history_for: Duration,
    /// Nonces of user packets remembered.
    pub nonces: usize,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            held_bytes: 1 << 20,
            held_for: Duration::from_secs(15),
            history_bytes: 1 << 20,
            history_for: Duration::from_secs(15),
            nonces: 1_000,
        }
    }
}

/// Bookkeeping of a kept packet, counted against the byte bounds beside its payload.
const PACKET_OVERHEAD: usize = 128;

/// A participant of the room.
#[derive(Clone, Debug)]
pub struct Member {
    pub identity: Arc<str>,
    pub sid: Arc<str>,
    pub hidden: bool,
    pub can_publish_data: bool,
    pub agent: bool,
    /// Its transports are on this router's worker.
    pub local: bool,
}

struct Entry {
    member: Member,
    /// Both channels to it are open.
    ready: bool,
    /// Highest number of its reliable packets.
    last_sequence: u32,
    held: Backlog,
}

/// What a member takes along to another room: the state of its channels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Departure {
    ready: bool,
    last_sequence: u32,
}

impl Entry {
    fn sender(&self) -> Sender<'_> {
        Sender {
            sid: &self.member.sid,
            identity: &self.member.identity,
            hidden: self.member.hidden,
            agent: self.member.agent,
        }
    }
}

/// A packet as all receivers get it, with what routing needs.
#[derive(Clone, Debug)]
pub struct Packet {
    /// `None`: the server itself.
    pub sender: Option<ParticipantId>,
    pub reliable: bool,
    /// The sender's number, 0 = none.
    pub sequence: u32,
    /// `None`: everybody but the sender.
    pub destinations: Option<Box<[ParticipantId]>>,
    pub nonce: Option<[u8; 16]>,
    /// The serialised `livekit.DataPacket`.
    pub data: Bytes,
}

impl Packet {
    fn is_for(&self, id: ParticipantId) -> bool {
        self.sender != Some(id)
            && self
                .destinations
                .as_ref()
                .is_none_or(|ids| ids.binary_search(&id).is_ok())
    }
}

/// One packet on its way to one member.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    pub to: ParticipantId,
    pub reliable: bool,
    pub data: &'a Bytes,
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("not a member of the room")]
    UnknownSender,
    #[error("may not publish data")]
    NotAllowed,
    #[error("data packet of {0} bytes is larger than {MAX_MESSAGE_SIZE}")]
    TooLarge(usize),
    /// A number already passed: sent again after a resume, or twice.
    #[error("reliable packet {0} came already")]
    Repeated(u32),
    #[error(transparent)]
    Packet(#[from] PacketError),
}

impl Refusal {
    /// Whether a well-behaved client gets this too, so that it is not worth a report.
    pub fn is_benign(self) -> bool {
        matches!(
            self,
            Self::Repeated(_) | Self::UnknownSender | Self::Packet(PacketError::Metrics)
        )
    }
}

/// The data side of one room on one worker.
pub struct Router {
    config: RouterConfig,
    /// Ordered, so that the same room always fans out in the same order.
    members: BTreeMap<ParticipantId, Entry>,
    by_identity: FxHashMap<Arc<str>, ParticipantId>,
    by_sid: FxHashMap<Arc<str>, ParticipantId>,
    history: Backlog,
    nonces: Nonces,
    /// Stamping buffer, kept for its capacity.
    scratch: Vec<u8>,
}

impl Router {
    pub fn new(config: RouterConfig) -> Self {
        Self {
            config,
            members: BTreeMap::new(),
            by_identity: FxHashMap::default(),
            by_sid: FxHashMap::default(),
            history: Backlog::default(),
            nonces: Nonces::default(),
            scratch: Vec::new(),
        }
    }

    /// Adds a member, or changes its flags. From now on reliable packets are kept for it.
    pub fn insert(&mut self, id: ParticipantId, member: Member) {
        self.by_identity.insert(member.identity.clone(), id);
        self.by_sid.insert(member.sid.clone(), id);
        match self.members.get_mut(&id) {
            Some(entry) => entry.member = member,
            None => {
                let entry = Entry {
                    member,
                    ready: false,
                    last_sequence: 0,
                    held: Backlog::default(),
                };
                self.members.insert(id, entry);
            }
        }
    }

    pub fn remove(&mut self, id: ParticipantId) {
        let Some(Entry { member, .. }) = self.members.remove(&id) else {
            return;
        };
        // A newer session of the identity may have taken the name already.
        if self.by_identity.get(&member.identity) == Some(&id) {
            self.by_identity.remove(&member.identity);
        }
        if self.by_sid.get(&member.sid) == Some(&id) {
            self.by_sid.remove(&member.sid);
        }
    }

    /// Removes a member that goes on in another room. What was kept for it is of this room.
    pub fn leave(&mut self, id: ParticipantId) -> Option<Departure> {
        let entry = self.members.get(&id)?;
        let departure = Departure {
            ready: entry.ready,
            last_sequence: entry.last_sequence,
        };
        self.remove(id);
        Some(departure)
    }

    /// Adds a member that comes from another room.
    pub fn arrive(&mut self, id: ParticipantId, member: Member, from: Departure) {
        self.insert(id, member);
        if let Some(entry) = self.members.get_mut(&id) {
            entry.ready = from.ready;
            entry.last_sequence = from.last_sequence;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Changes what a member may do and how it appears.
    pub fn set_permissions(
        &mut self,
        id: ParticipantId,
        hidden: bool,
        can_publish_data: bool,
        agent: bool,
    ) {
        if let Some(Entry { member, .. }) = self.members.get_mut(&id) {
            (member.hidden, member.can_publish_data, member.agent) =
                (hidden, can_publish_data, agent);
        }
    }

    /// Both channels to a member opened: what was kept for it goes out, in order. Or they closed.
    pub fn set_ready(
        &mut self,
        now: Instant,
        id: ParticipantId,
        ready: bool,
        mut deliver: impl FnMut(Delivery<'_>),
    ) {
        let held_for = self.config.held_for;
        let Some(entry) = self.members.get_mut(&id) else {
            return;
        };
        entry.ready = ready;
        if ready {
            let mut held = std::mem::take(&mut entry.held);
            held.expire(now, held_for);
            for packet in held.iter() {
                deliver(Delivery {
                    to: id,
                    reliable: true,
                    data: &packet.data,
                });
            }
        }
    }

    /// Highest number of `id`'s reliable packets, as `ReconnectResponse.last_message_seq` tells it.
    pub fn last_sequence(&self, id: ParticipantId) -> u32 {
        self.members.get(&id).map_or(0, |entry| entry.last_sequence)
    }

    /// Checks and stamps a message of a member's reliable or lossy channel.
    pub fn accept(
        &mut self,
        sender: ParticipantId,
        reliable: bool,
        message: &[u8],
    ) -> Result<Arc<Packet>, Refusal> {
        let entry = self
            .members
            .get_mut(&sender)
            .ok_or(Refusal::UnknownSender)?;
        check_message(&entry.member, message)?;
        let summary = Summary::parse(message)?;
        self.scratch.clear();
        packet::stamp(
            message,
            &summary,
            &entry.sender(),
            reliable,
            &mut self.scratch,
        )?;
        if reliable && summary.sequence != 0 {
            if summary.sequence <= entry.last_sequence {
                return Err(Refusal::Repeated(summary.sequence));
            }
            entry.last_sequence = summary.sequence;
        }
        Ok(Arc::new(Packet {
            sender: Some(sender),
            reliable,
            sequence: summary.sequence,
            destinations: self.resolve(&summary),
            nonce: summary.nonce,
            data: Bytes::copy_from_slice(&self.scratch),
        }))
    }

    /// Wraps a message of a channel with a label of its own, for everybody else.
    pub fn accept_raw(
        &mut self,
        sender: ParticipantId,
        message: &[u8],
    ) -> Result<Arc<Packet>, Refusal> {
        let entry = self.members.get(&sender).ok_or(Refusal::UnknownSender)?;
        check_message(&entry.member, message)?;
        self.scratch.clear();
        packet::wrap_raw(message, &entry.sender(), &mut self.scratch);
        Ok(Arc::new(Packet {
            sender: Some(sender),
            reliable: true,
            sequence: 0,
            destinations: None,
            nonce: None,
            data: Bytes::copy_from_slice(&self.scratch),
        }))
    }

    /// Takes a packet of the server's own, sent as it is. No `destinations` = everybody.
    pub fn accept_server(
        message: Vec<u8>,
        reliable: bool,
        destinations: &[ParticipantId],
    ) -> Result<Arc<Packet>, Refusal> {
        let nonce = Summary::parse(&message)?.nonce;
        let destinations = (!destinations.is_empty()).then(|| sorted(destinations.to_vec()));
        Ok(Arc::new(Packet {
            sender: None,
            reliable,
            sequence: 0,
            destinations,
            nonce,
            data: message.into(),
        }))
    }

    fn resolve(&self, summary: &Summary<'_>) -> Option<Box<[ParticipantId]>> {
        (!summary.is_broadcast()).then(|| {
            let identities = summary
                .identities
                .iter()
                .filter_map(|&identity| self.by_identity.get(identity));
            let sids = summary.sids.iter().filter_map(|&sid| self.by_sid.get(sid));
            sorted(identities.chain(sids).copied().collect())
        })
    }

    /// Hands `packet` to this worker's members. Lossy ones only reach members that are ready, reliable
    /// ones are kept for the others. A user packet whose nonce was seen is dropped.
    pub fn route(
        &mut self,
        now: Instant,
        packet: &Arc<Packet>,
        mut deliver: impl FnMut(Delivery<'_>),
    ) {
        if packet
            .nonce
            .is_some_and(|nonce| !self.nonces.insert(nonce, self.config.nonces))
        {
            return;
        }
        if packet.reliable {
            self.history.push(
                now,
                packet,
                self.config.history_bytes,
                self.config.history_for,
            );
        }
        let config = self.config;
        let mut hand = |id: ParticipantId, entry: &mut Entry| {
            if !entry.member.local || packet.sender == Some(id) {
                return;
            }
            if entry.ready {
                deliver(Delivery {
                    to: id,
                    reliable: packet.reliable,
                    data: &packet.data,
                });
            } else if packet.reliable {
                entry
                    .held
                    .push(now, packet, config.held_bytes, config.held_for);
            }
        };
        match &packet.destinations {
            None => self
                .members
                .iter_mut()
                .for_each(|(&id, entry)| hand(id, entry)),
            Some(ids) => {
                for &id in ids {
                    if let Some(entry) = self.members.get_mut(&id) {
                        hand(id, entry);
                    }
                }
            }
        }
    }

    /// Sends `id`, whose client resumes on a new connection, the reliable packets it has not received.
    /// `received` has the highest number it got of each sender, by sid
    /// (`SyncState.datachannel_receive_states`); of other senders it gets all that is kept. Clients drop
    /// duplicates by number, so only numbered packets are sent again.
    pub fn replay(
        &mut self,
        now: Instant,
        id: ParticipantId,
        received: &[(Arc<str>, u32)],
        mut deliver: impl FnMut(Delivery<'_>),
    ) {
        self.history.expire(now, self.config.history_for);
        let received: FxHashMap<ParticipantId, u32> = received
            .iter()
            .filter_map(|(sid, sequence)| Some((*self.by_sid.get(sid)?, *sequence)))
            .collect();
        for packet in self
            .history
            .iter()
            .filter(|packet| packet.sequence != 0 && packet.is_for(id))
        {
            let has = packet
                .sender
                .and_then(|sender| received.get(&sender))
                .copied()
                .unwrap_or(0);
            if packet.sequence > has {
                deliver(Delivery {
                    to: id,
                    reliable: true,
                    data: &packet.data,
                });
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to forget.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let held = self
            .members
            .values()
            .filter_map(|entry| entry.held.expiry(self.config.held_for))
            .min();
        [held, self.history.expiry(self.config.history_for)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Forgets packets that were kept long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.history.expire(now, self.config.history_for);
        for entry in self.members.values_mut() {
            entry.held.expire(now, self.config.held_for);
        }
    }
}

fn check_message(sender: &Member, message: &[u8]) -> Result<(), Refusal> {
    if !sender.can_publish_data {
        return Err(Refusal::NotAllowed);
    }
    if message.len() > MAX_MESSAGE_SIZE {
        return Err(Refusal::TooLarge(message.len()));
    }
    Ok(())
}

fn sorted(mut ids: Vec<ParticipantId>) -> Box<[ParticipantId]> {
    ids.sort_unstable();
    ids.dedup();
    ids.into_boxed_slice()
}

/// Packets in order, bounded in bytes and time; the oldest go first.
#[derive(Default)]
struct Backlog {
    packets: VecDeque<(Instant, Arc<Packet>)>,
    bytes: usize,
}

impl Backlog {
    fn push(&mut self, now: Instant, packet: &Arc<Packet>, max_bytes: usize, keep: Duration) {
        self.expire(now, keep);
        self.packets.push_back((now, packet.clone()));
        self.bytes += size(packet);
        while self.bytes > max_bytes && self.drop_oldest() {}
    }

    fn expire(&mut self, now: Instant, keep: Duration) {
        while self.expiry(keep).is_some_and(|expiry| expiry <= now) && self.drop_oldest() {}
    }

    fn expiry(&self, keep: Duration) -> Option<Instant> {
        self.packets.front().map(|(at, _)| *at + keep)
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, packet)) = self.packets.pop_front() else {
            return false;
        };
        self.bytes -= size(&packet);
        if self.packets.is_empty() {
            // Memory goes back when a burst is over.
            self.packets = VecDeque::new();
        }
        true
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Packet>> {
        self.packets.iter().map(|(_, packet)| packet)
    }
}

fn size(packet: &Packet) -> usize {
    packet.data.len()
        + PACKET_OVERHEAD
        + packet.destinations.as_ref().map_or(0, |ids| ids.len() * 8)
}

/// The last nonces seen.
#[derive(Default)]
struct Nonces {
    seen: FxHashSet<[u8; 16]>,
    order: VecDeque<[u8; 16]>,
}

impl Nonces {
    /// Whether the nonce is new.
    fn insert(&mut self, nonce: [u8; 16], most: usize) -> bool {
        if !self.seen.insert(nonce) {
            return false;
        }
        self.order.push_back(nonce);
        if self.order.len() > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::wire;

    const ALICE: ParticipantId = ParticipantId(1);
    const BOB: ParticipantId = ParticipantId(2);
    const CAROL: ParticipantId = ParticipantId(3);
    const DAVE: ParticipantId = ParticipantId(4);

    fn member(name: &str) -> Member {
        Member {
            identity: name.into(),
            sid: format!("PA_{name}").into(),
            hidden: false,
            can_publish_data: true,
            agent: false,
            local: true,
        }
    }

    /// Three ready members on a clock that starts at zero.
    struct Room {
        router: Router,
        start: Instant,
        now: Instant,
    }

    impl Room {
        fn new() -> Self {
            let start = Instant::now();
            let mut room = Self {
                router: Router::new(RouterConfig::default()),
                start,
                now: start,
            };
            for (id, name) in [(ALICE, "alice"), (BOB, "bob"), (CAROL, "carol")] {
                room.router.insert(id, member(name));
                room.ready(id);
            }
            room
        }

        fn at(&mut self, seconds: u64) {
            self.now = self.start + Duration::from_secs(seconds);
        }

        fn ready(&mut self, id: ParticipantId) -> Vec<Vec<u8>> {
            let mut got = Vec::new();
            self.router.set_ready(self.now, id, true, |d| {
                assert!(d.to == id && d.reliable);
                got.push(payload(d.data));
            });
            got
        }

        fn route(&mut self, packet: &Arc<Packet>) -> Vec<ParticipantId> {
            let mut to = Vec::new();
            self.router.route(self.now, packet, |d| to.push(d.to));
            to
        }

        fn send(
            &mut self,
            from: ParticipantId,
            reliable: bool,
            message: &[u8],
        ) -> Vec<ParticipantId> {
            match self.router.accept(from, reliable, message) {
                Ok(packet) => self.route(&packet),
                Err(_) => Vec::new(),
            }
        }

        fn replay(&mut self, to: ParticipantId, received: &[(&str, u32)]) -> Vec<u32> {
            let received: Vec<_> = received
                .iter()
                .map(|&(sid, seq)| (Arc::from(sid), seq))
                .collect();
            let mut got = Vec::new();
            self.router.replay(self.now, to, &received, |d| {
                got.push(Summary::parse(d.data).unwrap().sequence)
            });
            got
        }
    }

    /// A user packet to `to` with a number.
    fn data(sequence: u32, payload: &[u8], to: &[&str]) -> Vec<u8> {
        let (mut out, mut user) = (Vec::new(), Vec::new());
        wire::put_bytes(&mut user, 2, payload);
        wire::put_bytes(&mut out, 2, &user);
        to.iter()
            .for_each(|identity| wire::put_string(&mut out, 5, identity));
        wire::put_number(&mut out, 16, sequence.into());
        out
    }

    fn payload(packet: &[u8]) -> Vec<u8> {
        let user = wire::fields(packet)
            .flatten()
            .find(|f| f.number == 2)
            .and_then(|f| f.value.bytes())
            .unwrap();
        wire::fields(user)
            .flatten()
            .find(|f| f.number == 2)
            .and_then(|f| f.value.bytes())
            .unwrap()
            .to_vec()
    }

    #[test]
    fn a_broadcast_reaches_all_but_its_sender() {
        let mut room = Room::new();
        assert_eq!(room.send(BOB, true, &data(1, b"x", &[])), [ALICE, CAROL]);
        assert_eq!(room.send(BOB, false, &data(0, b"x", &[])), [ALICE, CAROL]);
    }

    #[test]
    fn destinations_are_identities_or_legacy_sids_and_never_the_sender() {
        let mut room = Room::new();
        assert_eq!(
            room.send(
                ALICE,
                true,
                &data(1, b"x", &["carol", "carol", "alice", "nobody"])
            ),
            [CAROL]
        );
        let mut user = Vec::new();
        wire::put_string(&mut user, 3, "PA_bob");
        let mut packet = Vec::new();
        wire::put_bytes(&mut packet, 2, &user);
        assert_eq!(room.send(ALICE, true, &packet), [BOB]);
    }

    #[test]
    fn unknown_destinations_do_not_turn_into_a_broadcast() {
        let mut room = Room::new();
        assert!(
            room.send(ALICE, true, &data(1, b"x", &["nobody"]))
                .is_empty()
        );
    }

    #[test]
    fn all_receivers_share_one_buffer() {
        let mut room = Room::new();
        let packet = room
            .router
            .accept(ALICE, true, &data(1, b"x", &[]))
            .unwrap();
        let mut shared = 0;
        room.router.route(room.now, &packet, |d| {
            shared += usize::from(d.data.as_ptr() == packet.data.as_ptr())
        });
        assert_eq!(shared, 2);
    }

    #[test]
    fn who_may_not_publish_data_is_refused() {
        let mut room = Room::new();
        room.router.set_permissions(ALICE, false, false, false);
        assert_eq!(
            room.router
                .accept(ALICE, true, &data(1, b"x", &[]))
                .unwrap_err(),
            Refusal::NotAllowed
        );
        assert_eq!(
            room.router.accept_raw(ALICE, b"x").unwrap_err(),
            Refusal::NotAllowed
        );
        assert_eq!(
            room.router.accept(DAVE, true, b"").unwrap_err(),
            Refusal::UnknownSender
        );
        assert_eq!(room.router.last_sequence(ALICE), 0);
    }

    #[test]
    fn messages_over_the_limit_are_refused() {
        let mut room = Room::new();
        let refused = room
            .router
            .accept(ALICE, true, &data(1, &[0; 65_536], &[]))
            .unwrap_err();
        assert!(matches!(refused, Refusal::TooLarge(_)));
        assert_eq!(room.send(ALICE, true, &data(1, &[0; 64_000], &[])).len(), 2);
    }

    #[test]
    fn a_number_passes_once() {
        let mut room = Room::new();
        let accepted: Vec<bool> = [1, 2, 2, 1, 5, 4, 6]
            .map(|sequence| {
                !room
                    .send(ALICE, true, &data(sequence, b"x", &[]))
                    .is_empty()
            })
            .into();
        assert_eq!(accepted, [true, true, false, false, true, false, true]);
        assert_eq!(
            (
                room.router.last_sequence(ALICE),
                room.router.last_sequence(BOB)
            ),
            (6, 0)
        );
        assert_eq!(room.send(BOB, true, &data(1, b"x", &[])).len(), 2);
    }

    #[test]
    fn unnumbered_and_lossy_packets_pass_the_gate() {
        let mut room = Room::new();
        room.send(ALICE, true, &data(9, b"x", &[]));
        assert_eq!(room.send(ALICE, true, &data(0, b"x", &[])).len(), 2);
        assert_eq!(room.send(ALICE, false, &data(3, b"x", &[])).len(), 2);
        assert_eq!(room.router.last_sequence(ALICE), 9);
    }

    #[test]
    fn a_refused_packet_uses_up_no_number() {
        let mut room = Room::new();
        let mut transcription = data(4, b"x", &[]);
        wire::put_bytes(&mut transcription, 7, b"");
        assert!(room.router.accept(ALICE, true, &transcription).is_err());
        assert_eq!(room.router.last_sequence(ALICE), 0);
    }

    #[test]
    fn reliable_packets_wait_for_a_member_whose_channels_open_late() {
        let mut room = Room::new();
        room.send(ALICE, true, &data(1, b"before it joined", &[]));
        room.router.insert(DAVE, member("dave"));
        room.send(ALICE, true, &data(2, b"one", &[]));
        room.send(ALICE, false, &data(0, b"lossy", &[]));
        room.send(BOB, true, &data(1, b"not for dave", &["carol"]));
        let server = Router::accept_server(data(0, b"two", &[]), true, &[]).unwrap();
        assert_eq!(room.route(&server), [ALICE, BOB, CAROL]);
        room.send(BOB, true, &data(2, b"three", &["dave"]));
        room.at(14);
        assert_eq!(
            room.ready(DAVE),
            [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]
        );
        assert!(room.ready(DAVE).is_empty());
        assert!(
            room.send(ALICE, false, &data(0, b"lossy", &[]))
                .contains(&DAVE)
        );
    }

    #[test]
    fn what_is_kept_is_bounded_in_time() {
        let mut room = Room::new();
        room.router.insert(DAVE, member("dave"));
        room.send(ALICE, true, &data(1, b"old", &[]));
        room.at(10);
        room.send(ALICE, true, &data(2, b"new", &[]));
        room.at(15);
        assert_eq!(room.ready(DAVE), [b"new".to_vec()]);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let mut room = Room::new();
        room.router.insert(DAVE, member("dave"));
        for sequence in 1..=100 {
            room.send(ALICE, true, &data(sequence, &[sequence as u8; 60_000], &[]));
        }
        let held = &room.router.members[&DAVE].held;
        assert!(held.bytes <= 1 << 20 && room.router.history.bytes <= 1 << 20);
        let got = room.ready(DAVE);
        assert_eq!(got.len(), 17);
        assert_eq!(got.last().unwrap()[0], 100);
    }

    #[test]
    fn what_is_kept_is_forgotten_on_time() {
        let mut room = Room::new();
        assert_eq!(room.router.poll_timeout(), None);
        room.router.insert(DAVE, member("dave"));
        room.send(ALICE, true, &data(1, b"x", &[]));
        let due = room.router.poll_timeout().unwrap();
        assert_eq!(due, room.start + Duration::from_secs(15));
        room.router.handle_timeout(due);
        assert_eq!(room.router.poll_timeout(), None);
        assert_eq!(
            room.router.history.bytes + room.router.members[&DAVE].held.bytes,
            0
        );
    }

    #[test]
    fn a_member_that_loses_its_channels_gets_what_came_meanwhile() {
        let mut room = Room::new();
        room.router
            .set_ready(room.now, BOB, false, |_| unreachable!());
        assert_eq!(room.send(ALICE, true, &data(1, b"x", &[])), [CAROL]);
        assert_eq!(room.ready(BOB), [b"x".to_vec()]);
    }

    #[test]
    fn a_resuming_member_gets_what_it_has_not() {
        let mut room = Room::new();
        for sequence in 1..=5 {
            room.send(ALICE, true, &data(sequence, b"x", &[]));
            room.send(BOB, true, &data(10 + sequence, b"x", &[]));
        }
        room.send(ALICE, true, &data(6, b"x", &["bob"]));
        room.send(CAROL, true, &data(99, b"x", &[]));
        assert_eq!(
            room.replay(CAROL, &[("PA_alice", 3), ("PA_bob", 15)]),
            [4, 5]
        );
        assert_eq!(
            room.replay(CAROL, &[("PA_alice", 3)]),
            [11, 12, 13, 4, 14, 5, 15]
        );
        room.at(15);
        assert!(room.replay(CAROL, &[]).is_empty());
    }

    #[test]
    fn a_nonce_is_heard_once_in_a_room() {
        let mut room = Room::new();
        let with_nonce = |nonce: u16| {
            let (mut user, mut out) = (Vec::new(), Vec::new());
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&nonce.to_be_bytes());
            wire::put_bytes(&mut user, 11, &bytes);
            wire::put_bytes(&mut out, 2, &user);
            out
        };
        assert_eq!(room.send(ALICE, true, &with_nonce(0)).len(), 2);
        assert!(room.send(BOB, false, &with_nonce(0)).is_empty());
        let server = Router::accept_server(with_nonce(0), true, &[]).unwrap();
        assert!(room.route(&server).is_empty());
        for nonce in 1..=1_000 {
            assert_eq!(room.send(ALICE, true, &with_nonce(nonce)).len(), 2);
        }
        assert_eq!(room.router.nonces.seen.len(), 1_000);
        assert_eq!(
            room.send(ALICE, true, &with_nonce(0)).len(),
            2,
            "long forgotten"
        );
    }

    #[test]
    fn the_server_reaches_named_members() {
        let mut room = Room::new();
        let packet =
            Router::accept_server(data(0, b"x", &[]), true, &[CAROL, ALICE, CAROL]).unwrap();
        assert_eq!(room.route(&packet), [ALICE, CAROL]);
        assert_eq!(payload(&packet.data), b"x");
    }

    #[test]
    fn members_of_another_worker_are_left_to_it() {
        let mut room = Room::new();
        room.router.insert(
            CAROL,
            Member {
                local: false,
                ..member("carol")
            },
        );
        let packet = room
            .router
            .accept(ALICE, true, &data(1, b"x", &["bob", "carol"]))
            .unwrap();
        assert_eq!(room.route(&packet), [BOB]);
        let mut other = Router::new(RouterConfig::default());
        other.insert(CAROL, member("carol"));
        other.set_ready(room.now, CAROL, true, |_| {});
        let mut to = Vec::new();
        other.route(room.now, &packet, |d| to.push(d.to));
        assert_eq!(to, [CAROL]);
    }

    #[test]
    fn a_newer_session_keeps_its_identity_when_the_older_leaves() {
        let mut room = Room::new();
        room.router.insert(
            DAVE,
            Member {
                sid: "PA_bob2".into(),
                ..member("bob")
            },
        );
        room.ready(DAVE);
        room.router.remove(BOB);
        assert_eq!(room.send(ALICE, true, &data(1, b"x", &["bob"])), [DAVE]);
    }

    #[test]
    fn a_raw_message_goes_to_everybody() {
        let mut room = Room::new();
        let packet = room.router.accept_raw(ALICE, b"raw").unwrap();
        assert_eq!(room.route(&packet), [BOB, CAROL]);
        assert_eq!(payload(&packet.data), b"raw");
    }
}
