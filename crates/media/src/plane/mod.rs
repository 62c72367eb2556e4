//! A whole media plane without I/O: commands, datagrams and time in; events and datagrams out.
//!
//! Drive it in turns: any number of [`Plane::handle_command`], [`Plane::handle_datagram`] and
//! [`Plane::handle_timeout`], then [`Plane::drain`] once, then [`Plane::poll_event`] until it is empty and
//! [`Plane::poll_timeout`]. What a turn sends is gathered by destination.
//!
//! A fault (panic) in the work of one participant closes that participant and leaves the others alone.

mod allocation;
mod connection;
mod data;
mod forwarding;
mod layers;
mod media;
mod moving;
mod negotiation;
mod participant;
mod plain;
mod publishing;
mod room;
mod subscribing;
mod timers;
mod watch;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;
use slab::Slab;

use self::connection::Connection;
use self::participant::Participant;
use self::publishing::{Source, Variant};
use self::room::Room;
use self::subscribing::Sub;
use self::timers::{Timer, Timers};
use crate::api::{Command, Event, ParticipantId, RoomId, TrackId};
pub use crate::outbox::Datagrams;
use crate::outbox::Outbox;
use crate::plain::Plain;
use crate::random::Random;
use crate::track::clock::WallClock;
use crate::track::receiver::Ingress;
use crate::transport::{FiveTuple, Identity, LocalCandidate, Protocol, demux, memory};

/// No timer is armed closer than this, whatever is due already.
const SHORTEST_TIMER: Duration = Duration::from_micros(100);

/// How a plane is set up.
#[derive(Clone)]
pub struct PlaneConfig {
    /// Certificate and DTLS configuration, shared by all planes of a process.
    pub identity: Arc<Identity>,
    /// Host candidates of every connection.
    pub candidates: Vec<LocalCandidate>,
    /// Makes random choices reproducible; for simulations only.
    pub seed: Option<u64>,
    /// Time since the Unix epoch when the plane starts; `None` reads the system's clock.
    pub unix_time: Option<Duration>,
}

/// See the module.
pub struct Plane {
    config: PlaneConfig,
    clock: WallClock,
    random: Random,
    rooms: FxHashMap<RoomId, Room>,
    participants: FxHashMap<ParticipantId, Participant>,
    connections: Slab<Connection>,
    /// Published tracks.
    tracks: FxHashMap<TrackId, Source>,
    /// One codec of a track, as it is really sent; its key is the receiver's tag.
    variants: Slab<Variant>,
    subs: Slab<Sub>,
    by_tuple: FxHashMap<FiveTuple, usize>,
    by_ufrag: FxHashMap<String, usize>,
    timers: Timers,
    /// Connections that something happened to in this turn.
    touched: Vec<usize>,
    outbox: Outbox,
    events: VecDeque<Event>,
    ingress: Vec<Ingress>,
    /// Key frames to be asked for: tag, layer, urgent.
    wishes: Vec<(usize, u8, bool)>,
    /// Rooms of the data tracks.
    data_tracks: FxHashMap<TrackId, RoomId>,
    /// To pass as it is to clients of this process.
    passing: VecDeque<(FiveTuple, Plain)>,
}

impl Plane {
    #[must_use]
    pub fn new(config: PlaneConfig, now: Instant) -> Self {
        let unix = config.unix_time.unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
        });
        Self {
            random: Random::new(config.seed),
            clock: WallClock::new(now, unix),
            config,
            rooms: FxHashMap::default(),
            participants: FxHashMap::default(),
            connections: Slab::new(),
            tracks: FxHashMap::default(),
            variants: Slab::new(),
            subs: Slab::new(),
            by_tuple: FxHashMap::default(),
            by_ufrag: FxHashMap::default(),
            timers: Timers::default(),
            touched: Vec::new(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            ingress: Vec::new(),
            wishes: Vec::new(),
            data_tracks: FxHashMap::default(),
            passing: VecDeque::new(),
        }
    }

    /// Takes a command of the control plane. Those on unknown ids are ignored: the thing ended meanwhile.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        let whose = self.participant_of(&command);
        self.guard(now, whose, |plane| plane.run(now, command));
    }

    fn run(&mut self, now: Instant, command: Command) {
        match command {
            Command::OpenRoom(spec) => self.open_room(now, spec),
            Command::CloseRoom(room) => self.close_room(now, room),
            Command::AddParticipant { participant, spec } => {
                self.add_participant(now, participant, spec)
            }
            Command::UpdatePermissions {
                participant,
                permissions,
            } => {
                self.update_permissions(now, participant, permissions);
            }
            Command::MoveParticipant {
                participant,
                room,
                sid,
            } => self.move_participant(now, participant, room, sid),
            Command::RemoveParticipant(participant) => self.remove_participant(now, participant),
            Command::RemoteDescription {
                participant,
                target,
                kind,
                sdp,
                id,
            } => {
                self.remote_description(now, participant, target, kind, &sdp, id);
            }
            Command::RemoteCandidate {
                participant,
                target,
                candidate,
            } => {
                self.remote_candidate(now, participant, target, &candidate);
            }
            Command::SetTcpOnly {
                participant,
                tcp_only,
            } => self.set_tcp_only(participant, tcp_only),
            Command::RestartIce {
                participant,
                target,
            } => self.restart_ice(now, participant, target),
            Command::Resume(participant) => self.resume(participant),
            Command::ReplayData {
                participant,
                received,
            } => self.replay_data(now, participant, &received),
            Command::SkipMissingData(participant) => self.skip_missing_data(now, participant),
            Command::ExpectTrack { participant, spec } => self.expect_track(now, participant, spec),
            Command::MuteTrack { track, muted } => self.mute_track(now, track, muted),
            Command::RemoveTrack(track) => self.end_track(now, track),
            Command::ForwardTrack {
                track,
                mirror,
                room,
                owner,
                sid,
            } => self.forward_track(now, track, mirror, room, owner, sid),
            Command::SetSubscription {
                participant,
                track,
                wish,
            } => {
                self.set_subscription(now, participant, track, wish);
            }
            Command::SetTrackSettings {
                participant,
                track,
                settings,
            } => {
                self.set_track_settings(now, participant, track, settings);
            }
            Command::PublishDataTrack { participant, spec } => {
                self.publish_data_track(participant, &spec)
            }
            Command::UnpublishDataTrack(track) => self.unpublish_data_track(track),
            Command::SetDataSubscription {
                participant,
                track,
                handle,
            } => {
                self.set_data_subscription(participant, track, handle);
            }
            Command::SendData {
                room,
                packet,
                reliable,
                destinations,
            } => {
                self.send_data(now, room, packet, reliable, &destinations);
            }
            Command::Call {
                participant,
                caller,
                packets,
            } => self.call(now, participant, caller, packets),
            Command::EndCall {
                participant,
                caller,
            } => self.end_call(participant, &caller),
            Command::Shutdown => {
                let rooms: Vec<RoomId> = self.rooms.keys().copied().collect();
                rooms
                    .into_iter()
                    .for_each(|room| self.close_room(now, room));
            }
        }
    }

    fn participant_of(&self, command: &Command) -> Option<ParticipantId> {
        match command {
            Command::AddParticipant { participant, .. }
            | Command::UpdatePermissions { participant, .. }
            | Command::MoveParticipant { participant, .. }
            | Command::RemoveParticipant(participant)
            | Command::RemoteDescription { participant, .. }
            | Command::RemoteCandidate { participant, .. }
            | Command::SetTcpOnly { participant, .. }
            | Command::RestartIce { participant, .. }
            | Command::Resume(participant)
            | Command::ReplayData { participant, .. }
            | Command::SkipMissingData(participant)
            | Command::ExpectTrack { participant, .. }
            | Command::SetSubscription { participant, .. }
            | Command::SetTrackSettings { participant, .. }
            | Command::PublishDataTrack { participant, .. }
            | Command::SetDataSubscription { participant, .. }
            | Command::Call { participant, .. }
            | Command::EndCall { participant, .. } => Some(*participant),
            Command::MuteTrack { track, .. }
            | Command::RemoveTrack(track)
            | Command::ForwardTrack { track, .. } => self
                .tracks
                .get(track)
                .map(|source| self.publisher_of(source)),
            _ => None,
        }
    }

    /// Takes one datagram; it is decrypted in place.
    pub fn handle_datagram(&mut self, now: Instant, tuple: FiveTuple, datagram: &mut [u8]) {
        // A check names its connection: peers may have two on one socket.
        let ufrag = match tuple.protocol {
            Protocol::Memory => memory::called(datagram),
            _ => demux::stun_local_ufrag(datagram),
        };
        let named = ufrag.and_then(|ufrag| self.by_ufrag.get(ufrag));
        let Some(key) = named.or_else(|| self.by_tuple.get(&tuple)).copied() else {
            return;
        };
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let participant = Some(connection.participant);
        self.guard(now, participant, |plane| {
            plane.receive(now, key, &tuple, datagram)
        });
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, timer)) = self.timers.pop(now) {
            let whose = match timer {
                Timer::Connection(key) => self.connections.get(key).map(|it| it.participant),
                Timer::Report(key) => self.subs.get(key).map(|it| it.participant),
                Timer::Liveness(participant) => Some(participant),
                Timer::Dynacast(_) | Timer::Speakers(_) | Timer::Quality(_) | Timer::Data(_) => {
                    None
                }
            };
            self.guard(now, whose, |plane| match timer {
                Timer::Connection(key) => plane.connection_due(now, key, at),
                Timer::Report(key) => plane.report_due(now, key, at),
                Timer::Dynacast(key) => plane.dynacast_due(now, key, at),
                Timer::Speakers(room) => plane.speakers_due(now, room),
                Timer::Quality(room) => plane.quality_due(now, room),
                Timer::Data(room) => plane.data_due(now, room),
                Timer::Liveness(participant) => plane.liveness_due(now, participant),
            });
        }
    }

    /// When [`Self::handle_timeout`] wants to be called; valid after [`Self::drain`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends a turn: finishes what was touched in it and hands out all datagrams.
    pub fn drain(&mut self, now: Instant, send: impl FnMut(Datagrams<'_>)) {
        while let Some(key) = self.touched.pop() {
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            connection.touched = false;
            let participant = Some(connection.participant);
            self.guard(now, participant, |plane| plane.settle(now, key));
        }
        self.outbox.drain(send);
    }

    /// Notes that a connection has something to finish at the end of the turn.
    fn touch(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.touched
        {
            connection.touched = true;
            self.touched.push(key);
        }
    }

    /// Runs work of one participant; a panic ends that participant only.
    fn guard(
        &mut self,
        now: Instant,
        participant: Option<ParticipantId>,
        work: impl FnOnce(&mut Self),
    ) {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(self))) else {
            return;
        };
        let text = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown panic".into());
        log::error!("fault in the media plane: {text}");
        let Some(participant) = participant else {
            return;
        };
        self.events.push_back(Event::Fault {
            participant,
            detail: text,
        });
        // What faulted may fault again when it is closed.
        let closing = catch_unwind(AssertUnwindSafe(|| {
            self.close_connections(now, participant, "fault")
        }));
        if closing.is_err() {
            log::error!("the faulty participant's transports could not be closed");
        }
    }
}

#[cfg(test)]
mod tests;
