//! Rooms: an audience, its data router and its clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Plane;
use super::timers::Timer;
use crate::api::{ParticipantId, RoomId, RoomSpec, TrackId};
use crate::data::router::{Router, RouterConfig};
use crate::data::track_packet::DataTracks;
use crate::sdp::Codec;

/// How often connection quality is judged.
pub(super) const QUALITY_INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct Room {
    pub(super) spec: RoomSpec,
    pub(super) codecs: Vec<Codec>,
    /// Ordered, so that the same room always does things in the same order.
    pub(super) participants: BTreeSet<ParticipantId>,
    pub(super) tracks: BTreeSet<TrackId>,
    pub(super) router: Router,
    pub(super) data_tracks: DataTracks,
    /// Deadlines that are armed.
    pub(super) speakers_armed: bool,
    pub(super) data_armed: bool,
    /// Microphones with something to say at the next tick.
    pub(super) sounding: BTreeSet<TrackId>,
    pub(super) quality_told: BTreeMap<ParticipantId, u8>,
}

impl Plane {
    pub(super) fn open_room(&mut self, now: Instant, spec: RoomSpec) {
        let id = spec.room;
        if self.rooms.contains_key(&id) {
            return;
        }
        let mut codecs: Vec<Codec> = spec
            .codecs
            .iter()
            .filter_map(|mime| Codec::from_mime(mime))
            .collect();
        if codecs.is_empty() {
            codecs = Codec::ALL.to_vec();
        }
        let room = Room {
            codecs,
            spec,
            participants: BTreeSet::new(),
            tracks: BTreeSet::new(),
            router: Router::new(RouterConfig::default()),
            data_tracks: DataTracks::default(),
            speakers_armed: false,
            data_armed: false,
            sounding: BTreeSet::new(),
            quality_told: BTreeMap::new(),
        };
        self.rooms.insert(id, room);
        self.timers.arm(now + QUALITY_INTERVAL, Timer::Quality(id));
    }

    pub(super) fn close_room(&mut self, now: Instant, room: RoomId) {
        let Some(known) = self.rooms.get(&room) else {
            return;
        };
        let participants: Vec<ParticipantId> = known.participants.iter().copied().collect();
        participants
            .into_iter()
            .for_each(|participant| self.remove_participant(now, participant));
        let mirrors = self.rooms.remove(&room).map(|room| room.tracks);
        mirrors
            .into_iter()
            .flatten()
            .for_each(|track| self.end_track(now, track));
    }
}
