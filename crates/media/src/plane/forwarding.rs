//! Tracks shown in a second room: a mirror is fed by the codecs of its original, and ends with it.

use std::sync::Arc;
use std::time::Instant;

use super::Plane;
use super::publishing::Source;
use crate::api::{ParticipantId, RoomId, TrackId};
use crate::track::speakers::LevelMeter;

/// Which track a mirror shows, and as whose.
pub(super) struct Mirror {
    pub(super) original: TrackId,
    /// Of the participant that the room takes for the publisher.
    pub(super) sid: Arc<str>,
}

impl Plane {
    /// Publishes `original` in `room` as well, there as the track `mirror` of `owner`, who has no connection
    /// of its own. Nothing happens when the room or the original is on another plane.
    pub(super) fn forward_track(
        &mut self,
        now: Instant,
        original: TrackId,
        mirror: TrackId,
        room: RoomId,
        owner: ParticipantId,
        sid: Arc<str>,
    ) {
        if !self.rooms.contains_key(&room) || self.tracks.contains_key(&mirror) {
            return;
        }
        let Some(source) = self.tracks.get_mut(&original) else {
            return;
        };
        if source.mirror.is_some() {
            return;
        }
        source.mirrors.push(mirror);
        let mut spec = source.spec.clone();
        spec.track = mirror;
        let source = Source {
            owner,
            room,
            meter: spec.microphone.then(LevelMeter::new),
            spec,
            variants: Vec::new(),
            mirrors: Vec::new(),
            mirror: Some(Mirror { original, sid }),
        };
        self.tracks.insert(mirror, source);
        self.update_mirrors(now, original);
    }

    /// The codecs of a track changed: its mirrors have the same.
    pub(super) fn update_mirrors(&mut self, now: Instant, original: TrackId) {
        let Some(source) = self.tracks.get(&original) else {
            return;
        };
        let (mirrors, variants) = (source.mirrors.clone(), source.variants.clone());
        for mirror in mirrors {
            if let Some(shown) = self.tracks.get_mut(&mirror) {
                shown.variants.clone_from(&variants);
            }
            self.offer_to_room(now, mirror);
        }
    }

    /// The participant sid under which a room knows a track's publisher.
    pub(super) fn shown_sid(&self, source: &Source) -> Option<Arc<str>> {
        match &source.mirror {
            Some(mirror) => Some(mirror.sid.clone()),
            None => self.sid_of(source.owner),
        }
    }

    /// A track's real publisher.
    pub(super) fn publisher_of(&self, source: &Source) -> ParticipantId {
        source
            .mirror
            .as_ref()
            .and_then(|mirror| self.tracks.get(&mirror.original))
            .map_or(source.owner, |original| original.owner)
    }
}
