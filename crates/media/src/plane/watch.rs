//! What is watched over time: who is alive, who speaks, how good connections are, which layers are wanted.

use std::time::{Duration, Instant};

use super::Plane;
use super::publishing::Source;
use super::room::QUALITY_INTERVAL;
use super::timers::Timer;
use crate::api::{CodecQualities, Event, MediaKind, ParticipantId, RoomId, SpeakerLevel, TrackId};
use crate::track::dynacast;
use crate::track::quality::{Impairment, Quality, mean_opinion, quality, score};

/// Without a sign of life for so long, a participant is taken to be gone.
const LIVENESS: Duration = Duration::from_secs(15);
const SHORTEST_SPEAKER_INTERVAL: Duration = Duration::from_millis(50);

impl Plane {
    fn last_sign_of_life(&self, now: Instant, id: ParticipantId) -> Option<Instant> {
        let connections = self.participants.get(&id)?.connections();
        connections
            .filter_map(|key| {
                let transport = &self.connections.get(key)?.transport;
                // Who is in this process says goodbye.
                let there = transport.is_in_memory() && transport.destination().is_some();
                there.then_some(now).or(transport.last_authenticated())
            })
            .max()
    }

    pub(super) fn watch_liveness(&mut self, now: Instant, id: ParticipantId) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if !participant.watched {
            participant.watched = true;
            self.timers.arm(now + LIVENESS, Timer::Liveness(id));
        }
    }

    pub(super) fn liveness_due(&mut self, now: Instant, id: ParticipantId) {
        let last = self.last_sign_of_life(now, id);
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.watched = false;
        let Some(last) = last else { return };
        if now.saturating_duration_since(last) < LIVENESS {
            participant.watched = true;
            self.timers.arm(last + LIVENESS, Timer::Liveness(id));
            return;
        }
        for key in participant.connections() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.silent = true;
            }
        }
        self.events.push_back(Event::Liveness {
            participant: id,
            alive: false,
        });
    }

    /// Something came from a participant that was silent; it counts when it was authentic.
    pub(super) fn heard(&mut self, now: Instant, key: usize) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let id = connection.participant;
        let authentic = connection
            .transport
            .last_authenticated()
            .is_some_and(|at| now.saturating_duration_since(at) < LIVENESS);
        if !authentic {
            return;
        }
        if let Some(participant) = self.participants.get(&id) {
            for key in participant.connections() {
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.silent = false;
                }
            }
        }
        self.events.push_back(Event::Liveness {
            participant: id,
            alive: true,
        });
        self.watch_liveness(now, id);
    }

    /// An audio packet told its level.
    pub(super) fn hear(&mut self, now: Instant, tag: usize, level: u8) {
        let Some(track) = self.variants.get(tag).map(|variant| variant.track) else {
            return;
        };
        self.hear_track(now, track, level);
        for index in 0.. {
            let mirrors = self.tracks.get(&track).map(|source| &source.mirrors);
            let Some(mirror) = mirrors.and_then(|all| all.get(index)).copied() else {
                return;
            };
            self.hear_track(now, mirror, level);
        }
    }

    fn hear_track(&mut self, now: Instant, track: TrackId, level: u8) {
        let Some(source) = self.tracks.get_mut(&track) else {
            return;
        };
        let Some(meter) = source.meter.as_mut() else {
            return;
        };
        let Some(room) = self.rooms.get_mut(&source.room) else {
            return;
        };
        meter.observe(now, level, &room.spec.speakers);
        room.sounding.insert(track);
        if !room.speakers_armed {
            room.speakers_armed = true;
            self.timers
                .arm(now + room.speaker_interval(), Timer::Speakers(source.room));
        }
    }

    pub(super) fn speakers_due(&mut self, now: Instant, id: RoomId) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.speakers_armed = false;
        let settings = room.spec.speakers;
        let mut speakers = Vec::new();
        room.sounding.retain(|track| {
            let Some(source) = self.tracks.get_mut(track) else {
                return false;
            };
            let Some(meter) = source.meter.as_mut() else {
                return false;
            };
            if let Some(loudness) = meter.tick(&settings) {
                speakers.push(SpeakerLevel {
                    participant: source.owner,
                    level: loudness.level,
                    active: loudness.active,
                });
            }
            !meter.is_idle()
        });
        if !room.sounding.is_empty() {
            room.speakers_armed = true;
            self.timers
                .arm(now + room.speaker_interval(), Timer::Speakers(id));
        }
        if !speakers.is_empty() {
            self.events
                .push_back(Event::Speakers { room: id, speakers });
        }
    }

    /// A track that was heard has ended: listeners must not show its publisher as speaking for ever.
    pub(super) fn hush(&mut self, track: TrackId) {
        let Some(source) = self.tracks.get(&track) else {
            return;
        };
        let Some(meter) = &source.meter else { return };
        let loudness = meter.loudness();
        if loudness.active || loudness.level > 0.0 {
            let speakers = vec![SpeakerLevel {
                participant: source.owner,
                level: 0.0,
                active: false,
            }];
            self.events.push_back(Event::Speakers {
                room: source.room,
                speakers,
            });
        }
    }

    pub(super) fn quality_due(&mut self, now: Instant, id: RoomId) {
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        self.timers.arm(now + QUALITY_INTERVAL, Timer::Quality(id));
        if room.tracks.is_empty() && room.quality_told.is_empty() {
            return;
        }
        for participant in room.participants.iter().copied().collect::<Vec<_>>() {
            let score = self.worst_score(now, participant);
            let number = match quality(score) {
                Quality::Poor => 0,
                Quality::Good => 1,
                Quality::Excellent => 2,
                Quality::Lost => 3,
            };
            let Some(room) = self.rooms.get_mut(&id) else {
                return;
            };
            if room.quality_told.insert(participant, number) != Some(number) {
                let score = mean_opinion(score);
                self.events.push_back(Event::Quality {
                    participant,
                    quality: number,
                    score,
                });
            }
        }
    }

    /// 0..=100 of the worst of a participant's tracks and subscriptions.
    fn worst_score(&mut self, now: Instant, id: ParticipantId) -> f32 {
        let Some(participant) = self.participants.get(&id) else {
            return 100.0;
        };
        let mut worst: f32 = 100.0;
        let mut judge = |impairment: &Impairment| worst = worst.min(score(impairment));
        for track in &participant.tracks {
            let Some(source) = self.tracks.get(track) else {
                continue;
            };
            for key in &source.variants {
                let Some(variant) = self.variants.get(*key) else {
                    continue;
                };
                // A backup codec is silent by right while nobody wants it.
                if variant.connection.is_none() || source.variants.first() != Some(key) {
                    continue;
                }
                // So is a picture that nobody watches.
                let unwatched =
                    source.spec.kind == MediaKind::Video && variant.dynacast.wanted().is_none();
                let Some(connection) = variant
                    .connection
                    .and_then(|connection| self.connections.get_mut(connection))
                else {
                    continue;
                };
                let mut impairment = connection.receiver.impairment(now, *key as u32);
                impairment.silent &= !unwatched && variant.passed.is_none();
                judge(&impairment);
            }
        }
        for sub in participant.subs.values() {
            if let Some(forward) = self.subs.get_mut(*sub).and_then(|sub| sub.forward.as_mut()) {
                judge(&forward.impairment());
            }
        }
        worst
    }

    pub(super) fn arm_dynacast(&mut self, now: Instant, key: usize) {
        let Some(variant) = self.variants.get_mut(key) else {
            return;
        };
        let Some(due) = variant.dynacast.deadline() else {
            return;
        };
        // Audio is stopped for nobody: its publishers only ask which backup codec is needed.
        let chosen = |source: &Source| source.variants.len() > 1;
        if variant.codec.kind() == MediaKind::Video
            || self.tracks.get(&variant.track).is_some_and(chosen)
        {
            self.timers.arm_owned(
                &mut variant.dynacast_armed,
                due.max(now),
                Timer::Dynacast(key),
            );
        }
    }

    pub(super) fn dynacast_due(&mut self, now: Instant, key: usize, at: Instant) {
        let Some(variant) = self.variants.get_mut(key) else {
            return;
        };
        if !variant.dynacast_armed.fired(at) {
            return;
        }
        let track = variant.track;
        let told = variant.dynacast.poll(now).is_some();
        if variant.dynacast.deadline().is_some_and(|due| due > now) {
            self.arm_dynacast(now, key);
        }
        let Some(source) = self.tracks.get(&track) else {
            return;
        };
        if !told {
            return;
        }
        let variants = source
            .variants
            .iter()
            .filter_map(|key| self.variants.get(*key));
        let told = variants.map(|it| (it.codec.mime(), it.dynacast.told()));
        self.events.push_back(match source.spec.kind {
            MediaKind::Audio => Event::AudioCodecs {
                track,
                codecs: told
                    .map(|(mime, wanted)| (mime.to_owned(), wanted.is_some()))
                    .collect(),
            },
            MediaKind::Video => Event::Qualities {
                track,
                codecs: told
                    .map(|(mime, wanted)| CodecQualities {
                        codec: mime.trim_start_matches("video/").to_owned(),
                        enabled: dynacast::enabled(wanted),
                    })
                    .collect(),
            },
        });
    }
}

impl super::room::Room {
    fn speaker_interval(&self) -> Duration {
        let interval = Duration::from_millis(self.spec.speakers.update_interval_ms.into());
        interval.max(SHORTEST_SPEAKER_INTERVAL)
    }
}
