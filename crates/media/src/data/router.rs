//! Who in a room gets a data packet.
//!
//! Each worker keeps a replica of a room's router with the room's members; it hands packets only to its
//! own. A sender's worker [accepts](Router::accept) a packet (checks, numbers, stamp), and every worker
//! [routes](Router::route) it to its members, so that one buffer serves the whole room.

mod backlog;
mod early;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backlog::Backlog;
use bytes::Bytes;
use early::Early;
use rustc_hash::{FxHashMap, FxHashSet};

use super::MAX_MESSAGE_SIZE;
use super::packet::{self, PacketError, Sender, Summary};
use crate::api::ParticipantId;

/// Bounds of what a router keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Bytes of reliable packets kept for one member whose channels are not open yet.
    pub held_bytes: usize,
    /// Bytes of reliable packets kept of one member while an earlier one is missing.
    pub early_bytes: usize,
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
            early_bytes: 1 << 20,
            held_for: Duration::from_secs(15),
            history_bytes: 1 << 20,
            history_for: Duration::from_secs(15),
            nonces: 1_000,
        }
    }
}

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
    /// Highest number of its reliable packets up to which none is missing.
    last_sequence: u32,
    /// Those after a missing one.
    early: Early,
    held: Backlog,
}

/// What a member takes along to another room: the state of its channels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Departure {
    ready: bool,
    last_sequence: u32,
}

impl Entry {
    /// Whether a number follows the last one. Where it begins is the sender's choice.
    fn is_next(&self, sequence: u32) -> bool {
        self.last_sequence == 0 || sequence == self.last_sequence.saturating_add(1)
    }

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
    /// Kept: one before it is missing, and none was until now.
    #[error("reliable packet {0} came, and one before it did not")]
    Gap(u32),
    /// Kept as well.
    #[error("reliable packet {0} came early")]
    Early(u32),
    #[error(transparent)]
    Packet(#[from] PacketError),
}

impl Refusal {
    /// Whether a well-behaved client gets this too, so that it is not worth a report.
    pub fn is_benign(self) -> bool {
        matches!(
            self,
            Self::Repeated(_)
                | Self::Gap(_)
                | Self::Early(_)
                | Self::UnknownSender
                | Self::Packet(PacketError::Metrics)
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
                    early: Early::default(),
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
        if let Some(Entry {
            member,
            early,
            last_sequence,
            ..
        }) = self.members.get_mut(&id)
        {
            (member.hidden, member.can_publish_data, member.agent) =
                (hidden, can_publish_data, agent);
            if !can_publish_data && let Some(last) = early.last() {
                // What was kept would come after the right has gone.
                *last_sequence = last;
                *early = Early::default();
            }
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

    /// Number of `id`'s last reliable packet with nothing missing before it, as `ReconnectResponse.last_message_seq` tells it.
    pub fn last_sequence(&self, id: ParticipantId) -> u32 {
        self.members.get(&id).map_or(0, |entry| entry.last_sequence)
    }

    /// Checks and stamps a message of a member's reliable or lossy channel. Whatever comes of it, [`next_early`]
    /// may have more.
    ///
    /// [`next_early`]: Self::next_early
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
        check_size(message)?;
        let summary = Summary::parse(message)?;
        let sequence = if reliable { summary.sequence } else { 0 };
        if sequence != 0 && (sequence <= entry.last_sequence || entry.early.has(sequence)) {
            return Err(Refusal::Repeated(sequence));
        }
        let in_order = sequence == 0 || entry.is_next(sequence);
        if in_order && sequence != 0 {
            // What is refused below is not missing.
            entry.last_sequence = sequence;
        }
        let stamped = self.stamp(sender, reliable, message, &summary);
        match stamped {
            stamped if in_order => stamped,
            Ok(packet) => Err(self.keep_early(sender, packet)),
            Err(refusal) => {
                if let Some(entry) = self.members.get_mut(&sender) {
                    entry.early.keep_refused(sequence);
                }
                self.bound_early(sender);
                Err(refusal)
            }
        }
    }

    fn stamp(
        &mut self,
        sender: ParticipantId,
        reliable: bool,
        message: &[u8],
        summary: &Summary,
    ) -> Result<Arc<Packet>, Refusal> {
        let entry = self.members.get(&sender).ok_or(Refusal::UnknownSender)?;
        check_right(&entry.member)?;
        self.scratch.clear();
        packet::stamp(
            message,
            summary,
            &entry.sender(),
            reliable,
            &mut self.scratch,
        )?;
        Ok(Arc::new(Packet {
            sender: Some(sender),
            reliable,
            sequence: summary.sequence,
            destinations: self.resolve(summary),
            nonce: summary.nonce,
            data: Bytes::copy_from_slice(&self.scratch),
        }))
    }

    fn keep_early(&mut self, sender: ParticipantId, packet: Arc<Packet>) -> Refusal {
        let Some(entry) = self.members.get_mut(&sender) else {
            return Refusal::UnknownSender;
        };
        let sequence = packet.sequence;
        let first = entry.early.is_empty();
        entry.early.keep(packet);
        self.bound_early(sender);
        if first {
            Refusal::Gap(sequence)
        } else {
            Refusal::Early(sequence)
        }
    }

    fn bound_early(&mut self, sender: ParticipantId) {
        let most = self.config.early_bytes;
        if self
            .members
            .get(&sender)
            .is_some_and(|entry| entry.early.bytes > most)
        {
            self.skip_missing(sender);
        }
    }

    /// A member's next packet that was kept and has nothing missing before it any more.
    pub fn next_early(&mut self, sender: ParticipantId) -> Option<Arc<Packet>> {
        let entry = self.members.get_mut(&sender)?;
        loop {
            let first = entry.early.first().filter(|it| entry.is_next(*it))?;
            entry.last_sequence = first;
            if let Some(packet) = entry.early.take_first() {
                return Some(packet);
            }
        }
    }

    /// Gives up what is missing before the first packet that a member's was kept for; `false` when none was.
    pub fn skip_missing(&mut self, sender: ParticipantId) -> bool {
        let Some(entry) = self.members.get_mut(&sender) else {
            return false;
        };
        let first = entry.early.first();
        if let Some(first) = first {
            entry.last_sequence = first.saturating_sub(1);
        }
        first.is_some()
    }

    /// Wraps a message of a channel with a label of its own, for everybody else.
    pub fn accept_raw(
        &mut self,
        sender: ParticipantId,
        message: &[u8],
    ) -> Result<Arc<Packet>, Refusal> {
        let entry = self.members.get(&sender).ok_or(Refusal::UnknownSender)?;
        check_size(message)?;
        check_right(&entry.member)?;
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

fn check_size(message: &[u8]) -> Result<(), Refusal> {
    if message.len() > MAX_MESSAGE_SIZE {
        return Err(Refusal::TooLarge(message.len()));
    }
    Ok(())
}

fn check_right(sender: &Member) -> Result<(), Refusal> {
    if sender.can_publish_data {
        Ok(())
    } else {
        Err(Refusal::NotAllowed)
    }
}

fn sorted(mut ids: Vec<ParticipantId>) -> Box<[ParticipantId]> {
    ids.sort_unstable();
    ids.dedup();
    ids.into_boxed_slice()
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
mod tests;
