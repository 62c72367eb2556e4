//! Participants: who has which connections, tracks and subscriptions.

use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::Plane;
use super::connection::Connection;
use super::publishing::{Awaited, Unmatched};
use crate::api::{
    ConnectionMode, ParticipantId, ParticipantSpec, Permissions, SubscriptionWish, Target, TrackId,
    TrackSettings,
};
use crate::data::router::Member;

const LOW: u8 = 0;
const HIGH: u8 = 2;

pub(super) struct Participant {
    pub(super) spec: ParticipantSpec,
    pub(super) publisher: Option<usize>,
    pub(super) subscriber: Option<usize>,
    pub(super) tracks: Vec<TrackId>,
    /// Announced by AddTrack and not yet seen in a description.
    pub(super) awaited: Vec<Awaited>,
    /// Seen in a description and not announced.
    pub(super) unmatched: Vec<Unmatched>,
    /// Exceptions from the audience.
    pub(super) wishes: FxHashMap<TrackId, SubscriptionWish>,
    pub(super) settings: FxHashMap<TrackId, TrackSettings>,
    pub(super) subs: FxHashMap<TrackId, usize>,
    /// The liveness deadline runs.
    pub(super) watched: bool,
    pub(super) data_ready: bool,
    pub(super) data_tracks: Vec<TrackId>,
    /// Callers of the server's own calls, with how many packets to each are still reported.
    pub(super) callers: FxHashMap<Arc<str>, u32>,
    /// Its connections were closed for good: a fault, or it did not read.
    pub(super) closed: bool,
    pub(super) refused_at: Option<Instant>,
}

impl Participant {
    /// The connection that media and data to the participant leave by.
    pub(super) fn receiving(&self) -> Option<usize> {
        match self.spec.mode {
            ConnectionMode::Single => self.publisher,
            ConnectionMode::Dual { .. } => self.subscriber,
        }
    }

    /// The connection whose data channels lead to the participant.
    pub(super) fn data_connection(&self) -> Option<usize> {
        match self.spec.mode {
            ConnectionMode::Dual {
                subscriber_primary: true,
            } => self.subscriber,
            _ => self.publisher,
        }
    }

    pub(super) fn is_single(&self) -> bool {
        self.spec.mode == ConnectionMode::Single
    }

    /// What it wants of a track, as long as it did not say: the best, or with adaptive stream the least.
    pub(super) fn settings_of(&self, track: TrackId) -> TrackSettings {
        let default = TrackSettings {
            quality: if self.spec.adaptive_stream { LOW } else { HIGH },
            ..TrackSettings::default()
        };
        self.settings.get(&track).copied().unwrap_or(default)
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = usize> + use<> {
        [self.publisher, self.subscriber].into_iter().flatten()
    }
}

/// Whom a room's data router knows by a participant's description.
pub(super) fn member(spec: &ParticipantSpec) -> Member {
    Member {
        identity: spec.identity.clone(),
        sid: spec.sid.clone(),
        hidden: spec.permissions.hidden,
        can_publish_data: spec.permissions.can_publish_data,
        agent: spec.permissions.agent,
        local: true,
    }
}

impl Plane {
    pub(super) fn add_participant(
        &mut self,
        now: Instant,
        id: ParticipantId,
        spec: ParticipantSpec,
    ) {
        let Some(room) = self.rooms.get_mut(&spec.room) else {
            return;
        };
        if self.participants.contains_key(&id) {
            return;
        }
        room.participants.insert(id);
        room.router.insert(id, member(&spec));
        let tracks: Vec<TrackId> = room.tracks.iter().copied().collect();
        let mode = spec.mode;
        let participant = Participant {
            spec,
            publisher: None,
            subscriber: None,
            tracks: Vec::new(),
            awaited: Vec::new(),
            unmatched: Vec::new(),
            wishes: FxHashMap::default(),
            settings: FxHashMap::default(),
            subs: FxHashMap::default(),
            watched: false,
            data_ready: false,
            data_tracks: Vec::new(),
            callers: FxHashMap::default(),
            closed: false,
            refused_at: None,
        };
        self.participants.insert(id, participant);
        match mode {
            ConnectionMode::Single => {
                self.connect(now, id, Target::Publisher);
            }
            ConnectionMode::Dual { subscriber_primary } => {
                if let Some(key) = self.connect(now, id, Target::Subscriber)
                    && subscriber_primary
                {
                    self.open_channels(now, key);
                }
            }
        }
        tracks
            .into_iter()
            .for_each(|track| self.review_subscription(now, id, track));
    }

    pub(super) fn update_permissions(
        &mut self,
        now: Instant,
        id: ParticipantId,
        permissions: Permissions,
    ) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut participant.spec.permissions, permissions);
        let Some(room) = self.rooms.get_mut(&participant.spec.room) else {
            return;
        };
        room.router.set_permissions(
            id,
            permissions.hidden,
            permissions.can_publish_data,
            permissions.agent,
        );
        if before.can_subscribe != permissions.can_subscribe {
            let tracks: Vec<TrackId> = room.tracks.iter().copied().collect();
            tracks
                .into_iter()
                .for_each(|track| self.review_subscription(now, id, track));
        }
    }

    pub(super) fn remove_participant(&mut self, now: Instant, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let room = participant.spec.room;
        let (tracks, data_tracks) = (participant.tracks.clone(), participant.data_tracks.clone());
        self.skip_missing_data(now, id);
        tracks
            .into_iter()
            .for_each(|track| self.end_track(now, track));
        data_tracks
            .into_iter()
            .for_each(|track| self.unpublish_data_track(track));
        self.close_connections(now, id, "removed");
        self.participants.remove(&id);
        if let Some(room) = self.rooms.get_mut(&room) {
            room.participants.remove(&id);
            room.quality_told.remove(&id);
            room.router.remove(id);
            room.data_tracks.remove_participant(id);
        }
    }

    /// Closes a participant's connections and all that runs over them; the participant itself stays until
    /// the control plane removes it.
    pub(super) fn close_connections(&mut self, now: Instant, id: ParticipantId, why: &str) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let subs: Vec<usize> = participant.subs.drain().map(|(_, sub)| sub).collect();
        let connections: Vec<usize> = participant.connections().collect();
        participant.closed = true;
        participant.publisher = None;
        participant.subscriber = None;
        participant.data_ready = false;
        // They name sections of connections that are no more.
        participant.awaited.clear();
        participant.unmatched.clear();
        let tracks = participant.tracks.clone();
        if let Some(room) = self.rooms.get_mut(&participant.spec.room) {
            room.router.set_ready(now, id, false, |_| {});
        }
        for sub in subs {
            self.forget_sub(now, sub);
        }
        for track in tracks {
            self.forget_variants(now, track);
        }
        for key in connections {
            if let Some(mut connection) = self.connections.try_remove(key) {
                log::debug!(
                    "connection closed ({why}): {}",
                    connection.transport.diagnosis()
                );
                self.say_goodbye(now, key, &mut connection);
            }
        }
    }

    fn say_goodbye(&mut self, now: Instant, key: usize, connection: &mut Connection) {
        connection.transport.close(now);
        while let Some(transmit) = connection.transport.poll_transmit(now) {
            self.outbox.push(transmit.tuple, &transmit.contents);
        }
        for tuple in &connection.tuples {
            if self.by_tuple.get(tuple) == Some(&key) {
                self.by_tuple.remove(tuple);
            }
        }
        self.by_ufrag
            .remove(&connection.transport.local_credentials().ufrag);
    }
}
