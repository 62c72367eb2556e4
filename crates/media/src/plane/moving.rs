//! A participant goes from one room to another of the same plane, with its connections and tracks.

use std::sync::Arc;
use std::time::Instant;

use super::Plane;
use super::participant::member;
use crate::api::{ParticipantId, RoomId, TrackId};
use crate::data::router::Member;
use crate::track::speakers::LevelMeter;

impl Plane {
    /// For both rooms it is as if the participant left and joined; its own media does not stop. It is
    /// somebody else there (`sid`), and what it and others wished of each other counts no more.
    pub(super) fn move_participant(
        &mut self,
        now: Instant,
        id: ParticipantId,
        room: RoomId,
        sid: Arc<str>,
    ) {
        if !self.rooms.contains_key(&room) {
            return;
        }
        self.skip_missing_data(now, id);
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut participant.spec.room, room);
        if before == room {
            return;
        }
        participant.spec.sid = sid;
        participant.wishes.clear();
        participant.settings.clear();
        let member = member(&participant.spec);
        let mut received: Vec<TrackId> = participant.subs.keys().copied().collect();
        received.sort_unstable();
        let (tracks, data_tracks) = (participant.tracks.clone(), participant.data_tracks.clone());
        for track in received {
            self.drop_subscription(now, id, track);
        }
        for track in &tracks {
            self.take_out(now, *track);
        }
        self.move_data(id, before, room, member, &data_tracks);
        if let Some(left) = self.rooms.get_mut(&before) {
            left.participants.remove(&id);
            left.quality_told.remove(&id);
        }
        let Some(entered) = self.rooms.get_mut(&room) else {
            return;
        };
        entered.participants.insert(id);
        let there: Vec<TrackId> = entered.tracks.iter().copied().collect();
        for track in tracks {
            if let Some(source) = self.tracks.get_mut(&track) {
                source.room = room;
            }
            self.offer_to_room(now, track);
        }
        for track in there {
            self.review_subscription(now, id, track);
        }
    }

    /// Ends what a room has of a track that goes on elsewhere.
    fn take_out(&mut self, now: Instant, track: TrackId) {
        let Some(source) = self.tracks.get_mut(&track) else {
            return;
        };
        // Listeners of the next room have heard nothing yet.
        source.meter = source.meter.take().map(|_| LevelMeter::new());
        let Some(room) = self.rooms.get_mut(&source.room) else {
            return;
        };
        room.tracks.remove(&track);
        room.sounding.remove(&track);
        for id in room.participants.iter().copied().collect::<Vec<_>>() {
            self.drop_subscription(now, id, track);
            if let Some(participant) = self.participants.get_mut(&id) {
                participant.wishes.remove(&track);
                participant.settings.remove(&track);
            }
        }
    }

    fn move_data(
        &mut self,
        id: ParticipantId,
        from: RoomId,
        to: RoomId,
        member: Member,
        data_tracks: &[TrackId],
    ) {
        let Some(left) = self.rooms.get_mut(&from) else {
            return;
        };
        let departure = left.router.leave(id);
        let handles: Vec<(TrackId, u16)> = data_tracks
            .iter()
            .filter_map(|track| Some((*track, left.data_tracks.handle_of(*track)?)))
            .collect();
        left.data_tracks.remove_participant(id);
        let Some(entered) = self.rooms.get_mut(&to) else {
            return;
        };
        entered
            .router
            .arrive(id, member, departure.unwrap_or_default());
        for (track, handle) in handles {
            entered.data_tracks.publish(track, id, handle);
            self.data_tracks.insert(track, to);
        }
    }
}
