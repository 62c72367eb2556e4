//! Data channels and data tracks: from a participant's channel to those of the room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use slab::Slab;

use super::Plane;
use super::connection::Connection;
use super::participant::Participant;
use super::timers::Timer;
use crate::api::{DataTrackSpec, Event, ParticipantId, RoomId, TrackId};
use crate::data::Channel;
use crate::data::packet::Summary;
use crate::data::router::{Packet, Refusal, Router};
use crate::transport::{ChannelId, SendError};

/// One refusal a participant is reported in this time; the others are only dropped.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);
/// Packets to a caller that are reported: an acknowledgement and an answer, and some that are neither.
const MOST_ANSWERS: u32 = 8;
/// The rate at which a channel's queue is taken to drain, in bytes a second, when judging its latency.
const ASSUMED_RATE: f64 = 1_250_000.0;

/// Sends to one participant after the other; notes whom it touched and who is full.
struct Sender<'a> {
    now: Instant,
    participants: &'a FxHashMap<ParticipantId, Participant>,
    connections: &'a mut Slab<Connection>,
    touched: &'a mut Vec<usize>,
    overflowed: Vec<ParticipantId>,
}

impl Sender<'_> {
    fn send(&mut self, to: ParticipantId, channel: Channel, data: &Bytes) {
        let Some(key) = self
            .participants
            .get(&to)
            .and_then(Participant::data_connection)
        else {
            return;
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(id) = connection.channel(channel) else {
            return;
        };
        match connection
            .transport
            .send_data(self.now, id, data.clone(), true)
        {
            // What is too large for one receiver, or comes while it closes, is lost for it alone.
            Ok(()) | Err(SendError::NoChannel | SendError::TooLarge) => {}
            Err(SendError::Overflow) => self.overflowed.push(to),
        }
        if !connection.touched {
            connection.touched = true;
            self.touched.push(key);
        }
    }

    /// How long a message to a participant would wait in its channel.
    fn latency(
        participants: &FxHashMap<ParticipantId, Participant>,
        connections: &Slab<Connection>,
        to: ParticipantId,
    ) -> Option<Duration> {
        let connection = connections.get(participants.get(&to)?.data_connection()?)?;
        let channel = connection.channel(Channel::DataTrack)?;
        Some(Duration::from_secs_f64(
            connection.transport.buffered(channel) as f64 / ASSUMED_RATE,
        ))
    }
}

fn of(reliable: bool) -> Channel {
    if reliable {
        Channel::Reliable
    } else {
        Channel::Lossy
    }
}

impl Plane {
    /// Lets `work` send within a room; whoever did not read is closed afterwards.
    fn with_sender(
        &mut self,
        now: Instant,
        room: RoomId,
        work: impl FnOnce(&mut super::room::Room, &mut Sender<'_>),
    ) {
        let Some(room) = self.rooms.get_mut(&room) else {
            return;
        };
        let mut sender = Sender {
            now,
            participants: &self.participants,
            connections: &mut self.connections,
            touched: &mut self.touched,
            overflowed: Vec::new(),
        };
        work(room, &mut sender);
        for id in sender.overflowed {
            self.overflow(now, id, "reliable data is not read");
        }
    }

    pub(super) fn channel_open(
        &mut self,
        now: Instant,
        key: usize,
        channel: ChannelId,
        label: &str,
    ) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection
            .channels
            .insert(channel, Channel::from_label(label));
        let id = connection.participant;
        let complete = [Channel::Reliable, Channel::Lossy]
            .iter()
            .all(|kind| connection.channel(*kind).is_some());
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if !complete || participant.data_ready || participant.data_connection() != Some(key) {
            return;
        }
        participant.data_ready = true;
        let room = participant.spec.room;
        self.events.push_back(Event::DataReady(id));
        self.with_sender(now, room, |room, sender| {
            room.router.set_ready(now, id, true, |it| {
                sender.send(it.to, of(it.reliable), it.data)
            });
        });
    }

    pub(super) fn channel_closed(&mut self, now: Instant, key: usize, channel: ChannelId) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let closed = connection.channels.remove(&channel);
        let id = connection.participant;
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if participant.data_connection() == Some(key)
            && matches!(closed, Some(Channel::Reliable | Channel::Lossy))
        {
            participant.data_ready = false;
            if let Some(room) = self.rooms.get_mut(&participant.spec.room) {
                room.router.set_ready(now, id, false, |_| {});
            }
        }
    }

    pub(super) fn channel_message(
        &mut self,
        now: Instant,
        key: usize,
        channel: ChannelId,
        data: &Bytes,
    ) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let id = connection.participant;
        let kind = connection
            .channels
            .get(&channel)
            .copied()
            .unwrap_or(Channel::Unlabelled);
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let room_id = participant.spec.room;
        let Some(room) = self.rooms.get_mut(&room_id) else {
            return;
        };
        let accepted = match kind {
            Channel::Reliable => room.router.accept(id, true, data),
            Channel::Lossy => room.router.accept(id, false, data),
            Channel::Unlabelled => room.router.accept_raw(id, data),
            Channel::DataTrack => return self.data_track_packet(now, id, room_id, data),
        };
        match accepted {
            Ok(packet) => self.pass_on(now, id, room_id, &packet),
            Err(Refusal::Gap(_)) => self.events.push_back(Event::DataMissing(id)),
            Err(refusal) => self.refuse_data(now, id, refusal),
        }
        self.pass_on_early(now, id, room_id);
    }

    fn pass_on(&mut self, now: Instant, id: ParticipantId, room: RoomId, packet: &Arc<Packet>) {
        self.report_answer(id, packet);
        self.route(now, room, packet);
    }

    /// What waited for a packet that is there now.
    fn pass_on_early(&mut self, now: Instant, id: ParticipantId, room: RoomId) {
        let next = |plane: &mut Self| plane.rooms.get_mut(&room)?.router.next_early(id);
        while let Some(packet) = next(self) {
            self.pass_on(now, id, room, &packet);
        }
    }

    /// What waits for packets that will not come.
    pub(super) fn skip_missing_data(&mut self, now: Instant, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let room = participant.spec.room;
        let skip = |plane: &mut Self| {
            let room = plane.rooms.get_mut(&room);
            room.is_some_and(|it| it.router.skip_missing(id))
        };
        while skip(self) {
            self.pass_on_early(now, id, room);
        }
    }

    fn refuse_data(&mut self, now: Instant, id: ParticipantId, refusal: Refusal) {
        if !refusal.is_benign() {
            self.refuse(now, id, format!("data packet refused: {refusal}"));
        }
    }

    fn route(&mut self, now: Instant, room: RoomId, packet: &Arc<Packet>) {
        self.with_sender(now, room, |room, sender| {
            room.router.route(now, packet, |it| {
                sender.send(it.to, of(it.reliable), it.data)
            });
        });
        if packet.reliable {
            self.arm_data(now, room);
        }
    }

    /// What a client that resumed has not received.
    pub(super) fn replay_data(
        &mut self,
        now: Instant,
        id: ParticipantId,
        received: &[(Arc<str>, u32)],
    ) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        self.with_sender(now, participant.spec.room, |room, sender| {
            room.router.replay(now, id, received, |it| {
                sender.send(it.to, of(it.reliable), it.data)
            });
        });
    }

    /// A server's own packet.
    pub(super) fn send_data(
        &mut self,
        now: Instant,
        room: RoomId,
        packet: Vec<u8>,
        reliable: bool,
        destinations: &[ParticipantId],
    ) {
        match Router::accept_server(packet, reliable, destinations) {
            Ok(packet) => self.route(now, room, &packet),
            Err(refusal) => log::warn!("a data packet of the server was refused: {refusal}"),
        }
    }

    /// Sends the server's own call to one participant and listens for what it sends to the caller.
    pub(super) fn call(
        &mut self,
        now: Instant,
        id: ParticipantId,
        caller: Arc<str>,
        packets: Vec<Vec<u8>>,
    ) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.callers.insert(caller, MOST_ANSWERS);
        let room = participant.spec.room;
        for packet in packets {
            self.send_data(now, room, packet, true, &[id]);
        }
    }

    pub(super) fn end_call(&mut self, id: ParticipantId, caller: &str) {
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.callers.remove(caller);
        }
    }

    /// Tells the control plane of a packet for a caller of its own.
    fn report_answer(&mut self, id: ParticipantId, packet: &Packet) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if participant.callers.is_empty() || packet.destinations.is_none() {
            return;
        }
        let Ok(summary) = Summary::parse(&packet.data) else {
            return;
        };
        for identity in summary.identities {
            if let Some((caller, left)) = participant.callers.get_key_value(identity)
                && *left > 0
            {
                let (caller, left) = (caller.clone(), left - 1);
                participant.callers.insert(caller.clone(), left);
                self.events.push_back(Event::Answered {
                    participant: id,
                    caller,
                    packet: packet.data.to_vec(),
                });
                return;
            }
        }
    }

    fn arm_data(&mut self, now: Instant, id: RoomId) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if !room.data_armed
            && let Some(due) = room.router.poll_timeout()
        {
            room.data_armed = true;
            self.timers
                .arm(due.max(now + super::SHORTEST_TIMER), Timer::Data(id));
        }
    }

    pub(super) fn data_due(&mut self, now: Instant, id: RoomId) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.data_armed = false;
        room.router.handle_timeout(now);
        self.arm_data(now, id);
    }

    pub(super) fn publish_data_track(&mut self, id: ParticipantId, spec: &DataTrackSpec) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(room) = self.rooms.get_mut(&participant.spec.room) else {
            return;
        };
        room.data_tracks
            .publish(spec.track, id, spec.publisher_handle);
        self.data_tracks.insert(spec.track, participant.spec.room);
        participant.data_tracks.push(spec.track);
    }

    pub(super) fn unpublish_data_track(&mut self, track: TrackId) {
        let Some(room) = self.data_tracks.remove(&track) else {
            return;
        };
        let owner = self
            .rooms
            .get_mut(&room)
            .and_then(|room| room.data_tracks.unpublish(track));
        if let Some(participant) = owner.and_then(|id| self.participants.get_mut(&id)) {
            participant.data_tracks.retain(|known| *known != track);
        }
    }

    pub(super) fn set_data_subscription(
        &mut self,
        id: ParticipantId,
        track: TrackId,
        handle: Option<u16>,
    ) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        if let Some(room) = self.rooms.get_mut(&participant.spec.room) {
            room.data_tracks.subscribe(track, id, handle);
        }
    }

    fn data_track_packet(&mut self, now: Instant, id: ParticipantId, room: RoomId, data: &Bytes) {
        let mut refused = None;
        let allowed = |plane: &Self| {
            plane
                .participants
                .get(&id)
                .is_some_and(|it| it.spec.permissions.can_publish_data)
        };
        if !allowed(self) {
            return self.refuse(
                now,
                id,
                "data track packet refused: may not publish data".into(),
            );
        }
        self.with_sender(now, room, |room, sender| {
            // Who gets the packet is known before any of it is sent, as sending changes the queues.
            let mut deliveries = Vec::new();
            let (participants, connections) = (sender.participants, &*sender.connections);
            let outcome = room.data_tracks.route(
                id,
                data,
                |to| Sender::latency(participants, connections, to),
                |to, data| deliveries.push((to, data)),
            );
            refused = outcome.err();
            for (to, data) in deliveries {
                sender.send(to, Channel::DataTrack, &data);
            }
        });
        if let Some(error) = refused {
            self.refuse(now, id, format!("data track packet refused: {error}"));
        }
    }

    /// Tells the control plane of something refused, at most once a second for each participant.
    pub(super) fn refuse(&mut self, now: Instant, id: ParticipantId, detail: String) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let recent = |at: Instant| now.saturating_duration_since(at) < REFUSAL_INTERVAL;
        if !participant.refused_at.is_some_and(recent) {
            participant.refused_at = Some(now);
            self.events.push_back(Event::Refused {
                participant: id,
                detail,
            });
        }
    }

    /// Closes a participant that does not read what it is sent.
    fn overflow(&mut self, now: Instant, id: ParticipantId, detail: &str) {
        if self.participants.get(&id).is_some_and(|it| !it.closed) {
            self.events.push_back(Event::Overflow {
                participant: id,
                detail: detail.into(),
            });
            self.close_connections(now, id, detail);
        }
    }
}
