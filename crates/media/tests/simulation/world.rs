//! A room on a simulated clock: the media plane, its peers, the links between them, and a control plane
//! that is just enough.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roomful_media::api::{
    ClientTraits, CodecSpec, Command, ConnectionMode, Event, LayerMode, LayerSpec, MediaKind,
    ParticipantId, ParticipantSpec, Permissions, RoomId, RoomSpec, SdpKind, SpeakerSettings,
    Target, TrackId, TrackSpec,
};

use str0m::format::Codec;

use crate::clip::{Clip, Format, PLAIN};
use crate::join::CAMERA;
use crate::link::{Link, LinkConfig, LinkCount};
use crate::media::{self, Layer, OPUS, VP8, Video};
use crate::peer::{Datagram, Peer, Signal};
use crate::server::Server;

/// How long a message between a client and the control plane takes.
const SIGNALLING_DELAY: Duration = Duration::from_millis(5);
pub const ROOM: RoomId = RoomId(1);

/// Which client of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who(usize);

/// How a client joins.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    pub single: bool,
    pub formats: &'static [Format],
    pub permissions: Permissions,
    pub up: LinkConfig,
    pub down: LinkConfig,
}

impl Join {
    fn with_mode(single: bool) -> Self {
        Self {
            single,
            formats: PLAIN,
            permissions: Permissions {
                hidden: false,
                can_publish: true,
                can_subscribe: true,
                can_publish_data: true,
                agent: false,
            },
            up: LinkConfig::default(),
            down: LinkConfig::default(),
        }
    }

    /// One peer connection.
    pub fn single() -> Self {
        Self::with_mode(true)
    }

    /// Two, the server offers on the subscriber one.
    pub fn dual() -> Self {
        Self::with_mode(false)
    }
}

/// Something under way.
enum Cargo {
    ToServer(Datagram),
    ToPeer(Datagram),
    Signal(Who, Signal),
    Description(Who, Signal, Vec<(String, String)>),
    Candidate(Who, Target, String),
    Sections(Who, u32, u32),
}

struct Arrival {
    at: Instant,
    /// Keeps what arrives at once in the order it left.
    order: u64,
    cargo: Cargo,
}

impl PartialEq for Arrival {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Arrival {}
impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Arrival {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

struct Path {
    up: Link,
    down: Link,
    /// The last connectivity check that the client sent.
    check: Vec<u8>,
}

pub struct World {
    start: Instant,
    now: Instant,
    server: Server,
    peers: Vec<Peer>,
    paths: Vec<Path>,
    under_way: BinaryHeap<Reverse<Arrival>>,
    sent: u64,
    tracks: u64,
    sids: BTreeMap<TrackId, Arc<str>>,
    seed: u64,
    /// What the server reported, when.
    pub events: Vec<(Duration, Event)>,
    /// All that happened, one line each; the same from the same seed.
    pub log: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        // str0m's numbers that are not secret; its secret ones show nowhere in the log.
        fastrand::seed(seed);
        let start = Instant::now();
        let mut world = Self {
            start,
            now: start,
            server: Server::new(start, seed),
            peers: Vec::new(),
            paths: Vec::new(),
            under_way: BinaryHeap::new(),
            sent: 0,
            tracks: 0,
            sids: BTreeMap::new(),
            seed,
            events: Vec::new(),
            log: Vec::new(),
        };
        world.open(ROOM);
        world
    }

    pub fn open(&mut self, room: RoomId) {
        self.command(Command::OpenRoom(RoomSpec {
            room,
            sid: "RM_simulation".into(),
            codecs: [
                "audio/opus",
                "audio/pcmu",
                "audio/pcma",
                "video/vp8",
                "video/h264",
                "video/h265",
            ]
            .map(Into::into)
            .to_vec(),
            speakers: SpeakerSettings::default(),
            sync_streams: false,
        }));
    }

    pub fn now(&self) -> Duration {
        self.now - self.start
    }

    pub fn join(&mut self, name: &str, join: Join) -> Who {
        self.join_in(ROOM, name, join)
    }

    pub fn join_in(&mut self, room: RoomId, name: &str, join: Join) -> Who {
        let who = Who(self.peers.len());
        let id = ParticipantId(who.0 as u64 + 1);
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(id.0 * 10);
        self.paths.push(Path {
            up: Link::new(join.up, seed),
            down: Link::new(join.down, seed + 1),
            check: Vec::new(),
        });
        self.peers
            .push(Peer::new(name, id, &join, self.now, seed + 2));
        self.command(Command::AddParticipant {
            participant: id,
            spec: ParticipantSpec {
                room,
                identity: name.into(),
                sid: format!("PA_{name}").into(),
                mode: if join.single {
                    ConnectionMode::Single
                } else {
                    ConnectionMode::Dual {
                        subscriber_primary: true,
                    }
                },
                permissions: join.permissions,
                auto_subscribe: true,
                adaptive_stream: false,
                ice_lite: false,
                client: ClientTraits {
                    // str0m sends again in a section it had stopped, as clients on pion do.
                    sdk: "go".into(),
                    protocol: 17,
                    ..ClientTraits::default()
                },
                extra_address: None,
                tcp_only: false,
                in_process: false,
            },
        });
        who
    }

    pub fn leave(&mut self, who: Who) {
        let participant = self.peers[who.0].id;
        self.command(Command::RemoveParticipant(participant));
        self.cut(who);
    }

    /// Nothing comes from this client nor reaches it any more.
    pub fn cut(&mut self, who: Who) {
        self.paths[who.0].up.cut = true;
        self.paths[who.0].down.cut = true;
    }

    pub fn mend(&mut self, who: Who) {
        self.paths[who.0].up.cut = false;
        self.paths[who.0].down.cut = false;
    }

    /// Other settings for both directions of a client's path.
    pub fn set_links(&mut self, who: Who, config: LinkConfig) {
        self.paths[who.0].up.config = config;
        self.paths[who.0].down.config = config;
    }

    /// What the client's link up and the link down did.
    pub fn link_counts(&self, who: Who) -> (LinkCount, LinkCount) {
        (self.paths[who.0].up.count, self.paths[who.0].down.count)
    }

    pub fn peer(&self, who: Who) -> &Peer {
        &self.peers[who.0]
    }

    /// Lets a client act now.
    pub fn act<R>(&mut self, who: Who, act: impl FnOnce(&mut Peer, Instant) -> R) -> R {
        let result = act(&mut self.peers[who.0], self.now);
        self.settle();
        result
    }

    fn new_track(&mut self, who: Who, mime: &str, layers: &[Layer]) -> (TrackId, String) {
        self.tracks += 1;
        let track = TrackId(self.tracks);
        let cid = format!("cid-{}", self.tracks);
        self.expect_track(who, track, mime, &cid, layers);
        (track, cid)
    }

    /// What AddTrack does.
    fn expect_track(&mut self, who: Who, track: TrackId, mime: &str, cid: &str, layers: &[Layer]) {
        let sid: Arc<str> = format!("TR_{}", track.0).into();
        self.sids.insert(track, sid.clone());
        let video = mime.starts_with("video/");
        let layer = |(quality, layer): (usize, &Layer)| LayerSpec {
            quality: quality as u8,
            rid: layer.rid.unwrap_or_default().into(),
            width: layer.width.into(),
            height: layer.height.into(),
            bitrate: layer.bitrate,
            ssrc: 0,
        };
        let codec = CodecSpec {
            mime: mime.into(),
            cid: cid.into(),
            layer_mode: if video {
                LayerMode::OneSpatialLayerPerStream
            } else {
                LayerMode::Unused
            },
            layers: layers.iter().enumerate().map(layer).collect(),
        };
        self.command(Command::ExpectTrack {
            participant: self.peers[who.0].id,
            spec: TrackSpec {
                track,
                sid,
                stream: if video { "camera" } else { "microphone" }.into(),
                kind: if video {
                    MediaKind::Video
                } else {
                    MediaKind::Audio
                },
                microphone: !video,
                cid: cid.into(),
                codecs: vec![codec],
                stereo: false,
                dtx: false,
                red: false,
                encrypted: false,
                muted: false,
            },
        });
    }

    pub fn publish_audio(&mut self, who: Who) -> TrackId {
        let (track, cid) = self.new_track(who, OPUS, &[]);
        self.act(who, |peer, now| peer.publish_audio(now, track, &cid, -20));
        track
    }

    pub fn publish_video(&mut self, who: Who, layers: &[Layer]) -> TrackId {
        let (track, cid) = self.new_track(who, VP8, layers);
        self.act(who, |peer, now| {
            peer.publish_video(now, track, &cid, layers)
        });
        track
    }

    /// Publishes one stream of any codec.
    pub fn publish_clip(&mut self, who: Who, codec: Codec) -> TrackId {
        let clip = Clip::new(codec);
        let kind = if codec.is_video() { "video" } else { "audio" };
        let layers = if codec.is_video() { &CAMERA[..] } else { &[] };
        let (track, cid) = self.new_track(who, &format!("{kind}/{codec}").to_lowercase(), layers);
        self.act(who, |peer, now| peer.publish_clip(now, track, &cid, clip));
        track
    }

    pub fn unpublish(&mut self, who: Who, track: TrackId) {
        let index = self.publication(who, track);
        self.act(who, |peer, now| peer.unpublish(now, index));
    }

    /// Publishes the source of an unpublished track as a new one, in the same section.
    pub fn republish(&mut self, who: Who, track: TrackId, mime: &str) -> TrackId {
        let index = self.publication(who, track);
        let cid = self.peers[who.0].publications[index].cid.clone();
        self.tracks += 1;
        let new = TrackId(self.tracks);
        self.expect_track(who, new, mime, &cid, &[]);
        self.act(who, |peer, now| peer.republish(now, index, new));
        new
    }

    fn publication(&self, who: Who, track: TrackId) -> usize {
        let found = self.peers[who.0]
            .publications
            .iter()
            .position(|p| p.track == track);
        found.expect("a track this client publishes")
    }

    /// Packets of a track that a client heard.
    pub fn heard(&self, who: Who, track: TrackId) -> &[media::Heard] {
        let heard = self
            .sids
            .get(&track)
            .and_then(|sid| self.peers[who.0].heard.get(&**sid));
        heard.map_or(&[], Vec::as_slice)
    }

    /// Numbers of the Opus frames a client heard of a track.
    pub fn listen(&self, who: Who, track: TrackId) -> Vec<u32> {
        media::listen(self.heard(who, track))
    }

    pub fn watch(&self, who: Who, track: TrackId) -> Video {
        media::watch(self.heard(who, track))
    }

    /// Datagrams the server sent, and the batches they went in.
    pub fn server_sent(&self) -> (u64, u64) {
        (self.server.datagrams, self.server.batches)
    }

    /// Times that the server's timers woke it.
    pub fn server_wake_ups(&self) -> u64 {
        self.server.wake_ups
    }

    pub fn sid(&self, track: TrackId) -> String {
        self.sids[&track].to_string()
    }

    /// Sends a datagram to the server as if from `source`, past all links.
    pub fn inject(&mut self, source: SocketAddr, contents: Vec<u8>) {
        let datagram = Datagram {
            source,
            destination: Server::address(),
            contents,
        };
        self.push(self.now, Cargo::ToServer(datagram));
    }

    /// Sends the client's last connectivity check to the server as if from `source`.
    pub fn check_as(&mut self, who: Who, source: SocketAddr) {
        let check = self.paths[who.0].check.clone();
        assert!(!check.is_empty(), "a client that has checked something");
        self.inject(source, check);
    }

    pub fn command(&mut self, command: Command) {
        self.server.handle_command(self.now, command);
        self.settle();
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Runs until `done`, at most `limit`; says whether it came to be.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                return done(self);
            }
        }
    }

    /// Goes to the next thing that happens, not beyond `end`.
    fn step(&mut self, end: Instant) -> bool {
        let arrival = self.under_way.peek().map(|Reverse(arrival)| arrival.at);
        let timeouts = self
            .peers
            .iter()
            .map(Peer::poll_timeout)
            .chain(self.server.poll_timeout());
        let next = timeouts.chain(arrival).min().unwrap_or(end);
        if next > end {
            self.now = end;
            return false;
        }
        self.now = self.now.max(next);
        let arrived = self
            .under_way
            .peek()
            .is_some_and(|Reverse(first)| first.at <= self.now);
        if arrived && let Some(Reverse(arrival)) = self.under_way.pop() {
            self.arrive(arrival.cargo);
        } else {
            for peer in &mut self.peers {
                if peer.poll_timeout() <= self.now {
                    peer.handle_timeout(self.now);
                }
            }
            if self.server.poll_timeout().is_some_and(|at| at <= self.now) {
                self.server.handle_timeout(self.now);
            }
        }
        self.settle();
        true
    }

    fn arrive(&mut self, cargo: Cargo) {
        match cargo {
            Cargo::ToServer(datagram) => self.server.handle_datagram(self.now, datagram),
            Cargo::ToPeer(datagram) => {
                if let Some(peer) = self
                    .peers
                    .iter_mut()
                    .find(|p| p.has_address(datagram.destination))
                {
                    peer.handle_datagram(self.now, &datagram);
                }
            }
            Cargo::Signal(who, signal) => {
                let participant = self.peers[who.0].id;
                let Signal {
                    target,
                    kind,
                    sdp,
                    id,
                } = signal;
                self.server.handle_command(
                    self.now,
                    Command::RemoteDescription {
                        participant,
                        target,
                        kind,
                        sdp,
                        id,
                    },
                );
            }
            Cargo::Description(who, signal, mids) => {
                self.peers[who.0].handle_description(self.now, &signal, &mids);
            }
            Cargo::Candidate(who, target, line) => {
                self.peers[who.0].handle_candidate(self.now, target, &line);
            }
            Cargo::Sections(who, audios, videos) => {
                self.peers[who.0].add_receivers(audios, videos);
                self.peers[who.0].offer_again(self.now);
            }
        }
    }

    fn push(&mut self, at: Instant, cargo: Cargo) {
        self.sent += 1;
        self.under_way.push(Reverse(Arrival {
            at,
            order: self.sent,
            cargo,
        }));
    }

    /// Moves what peers and server have to send onto the links, and reads what the server reports.
    fn settle(&mut self) {
        for index in 0..self.peers.len() {
            let peer = &mut self.peers[index];
            let (notes, signals) = (
                std::mem::take(&mut peer.notes),
                std::mem::take(&mut peer.signals),
            );
            let datagrams = std::mem::take(&mut peer.datagrams);
            for note in notes {
                self.note(&format!("{}: {note}", self.peers[index].name));
            }
            for signal in signals {
                self.push(
                    self.now + SIGNALLING_DELAY,
                    Cargo::Signal(Who(index), signal),
                );
            }
            for datagram in datagrams {
                if datagram.contents.starts_with(&[0, 1]) {
                    self.paths[index].check.clone_from(&datagram.contents);
                }
                let arrivals = self.paths[index].up.send(self.now, datagram.contents.len());
                for at in arrivals {
                    self.push(at, Cargo::ToServer(datagram.clone()));
                }
            }
        }
        while let Some(datagram) = self.server.poll_transmit() {
            let to = self
                .peers
                .iter()
                .position(|p| p.has_address(datagram.destination));
            let Some(index) = to else { continue };
            let arrivals = self.paths[index]
                .down
                .send(self.now, datagram.contents.len());
            for at in arrivals {
                self.push(at, Cargo::ToPeer(datagram.clone()));
            }
        }
        while let Some(event) = self.server.poll_event() {
            self.note(&format!("server: {}", describe(&event)));
            self.react(&event);
            self.events.push((self.now - self.start, event));
        }
    }

    fn who(&self, participant: ParticipantId) -> Option<Who> {
        self.peers.iter().position(|p| p.id == participant).map(Who)
    }

    /// Relays what the control plane would relay.
    fn react(&mut self, event: &Event) {
        let at = self.now + SIGNALLING_DELAY;
        match event {
            Event::Description {
                participant,
                target,
                kind,
                sdp,
                id,
                mids,
            } => {
                let Some(who) = self.who(*participant) else {
                    return;
                };
                let signal = Signal {
                    target: *target,
                    kind: *kind,
                    sdp: sdp.clone(),
                    id: *id,
                };
                let mids = mids
                    .iter()
                    .map(|(mid, sid)| (mid.clone(), sid.to_string()))
                    .collect();
                self.push(at, Cargo::Description(who, signal, mids));
            }
            Event::Candidate {
                participant,
                target,
                candidate,
                ..
            } => {
                let Some(who) = self.who(*participant) else {
                    return;
                };
                self.push(at, Cargo::Candidate(who, *target, candidate.clone()));
            }
            Event::MediaSections {
                participant,
                audios,
                videos,
            } => {
                let Some(who) = self.who(*participant) else {
                    return;
                };
                self.push(at, Cargo::Sections(who, *audios, *videos));
            }
            _ => {}
        }
    }

    /// The end of the log.
    pub fn tail(&self, lines: usize) -> String {
        self.log[self.log.len().saturating_sub(lines)..].join("\n")
    }

    fn note(&mut self, line: &str) {
        self.log.push(format!(
            "{:10.3} {line}",
            self.now().as_secs_f64() * 1_000.0
        ));
    }
}

/// An event without what differs from run to run.
fn describe(event: &Event) -> String {
    match event {
        Event::Description {
            participant,
            target,
            kind,
            id,
            mids,
            sdp,
            ..
        } => {
            let sections = sdp.lines().filter(|line| line.starts_with("m=")).count();
            let kind = if *kind == SdpKind::Offer {
                "offer"
            } else {
                "answer"
            };
            format!(
                "{kind} {id} for {} {target:?}: {sections} sections, sends {mids:?}",
                participant.0
            )
        }
        Event::Candidate {
            participant,
            target,
            candidate,
            mid,
            ..
        } => {
            format!(
                "candidate for {} {target:?} {mid}: {candidate}",
                participant.0
            )
        }
        Event::TrackBound {
            track,
            mid,
            mime,
            layers,
        } => {
            let rids: Vec<_> = layers.iter().map(|l| (l.rid.as_str(), l.quality)).collect();
            format!("track {} bound to {mid} as {mime} {rids:?}", track.0)
        }
        other => format!("{other:?}"),
    }
}
