//! Our own clients in a room of our own server, on a simulated clock.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use roomful_media::api::{
    ClientTraits, CodecSpec, Command, ConnectionMode, ConnectionState, Event, LayerMode, LayerSpec,
    MediaKind, ParticipantId, ParticipantSpec, Permissions, RoomSpec, SpeakerSettings, Target,
    TrackId, TrackSpec,
};
use roomful_media::client::{
    AudioSource, AudioSpec, Client, ClientConfig, ClientEvent, EncodedFrame, FrameReader, LinkId,
    OpusFrame, Outgoing, PacketSink, ReceivedFrame, VideoLayer, VideoSpec,
};
use roomful_media::data::Channel;
use roomful_media::sdp::Codec;
use roomful_media::track::MediaPacket;
use roomful_media::transport::{FiveTuple, Identity, LocalCandidate, Protocol};
use roomful_media::turn::is_relayed;

use crate::link::{Link, LinkConfig};
use crate::peer::Datagram;
use crate::relay::Relay;
use crate::server::Server;
use crate::world::ROOM;

/// Between two pictures.
pub const PICTURE: Duration = Duration::from_micros(33_333);
pub const FRAME: Duration = Duration::from_millis(20);

/// Says its frames' numbers.
struct Counter {
    next: u32,
    due: Instant,
}

impl AudioSource for Counter {
    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.due)
    }

    fn poll_frame(&mut self, now: Instant) -> Option<OpusFrame> {
        if self.due > now {
            return None;
        }
        let captured = self.due;
        self.due += FRAME;
        self.next += 1;
        let mut payload = vec![0xFC];
        payload.extend_from_slice(&self.next.to_be_bytes());
        payload.resize(60, 1);
        Some(OpusFrame {
            payload: payload.into(),
            timestamp: self.next * 960,
            captured,
            level: 20,
            voice: true,
            begins: self.next == 1,
            plain: None,
        })
    }
}

/// A picture of VP8, as far as packets show: numbered, of `size` bytes.
fn picture(number: u32, key: bool, size: usize) -> Vec<u8> {
    let mut frame = if key {
        // Key frame, 320 by 180.
        vec![0x10, 0, 0, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xB4, 0x00]
    } else {
        vec![0x11, 0, 0]
    };
    frame.extend_from_slice(&number.to_be_bytes());
    frame.resize(size, number as u8);
    frame
}

/// Frames of each layer, when the client is asked for them.
pub struct Camera {
    pub track: TrackId,
    /// Bytes of a frame of each layer.
    sizes: Vec<usize>,
    due: Instant,
    number: u32,
    keys: Vec<bool>,
    /// What each layer may use, once it is heeded.
    rates: Vec<u64>,
}

/// Numbers that came, with the levels told beside them.
type Heard = Arc<Mutex<Vec<(u32, Option<u8>)>>>;

struct Ear(Heard);

impl PacketSink for Ear {
    fn packet(&mut self, _now: Instant, packet: &Arc<MediaPacket>) {
        if let Some(number) = packet.primary().get(1..5) {
            let number = u32::from_be_bytes(number.try_into().expect("four bytes"));
            self.0
                .lock()
                .expect("one thread")
                .push((number, packet.audio_level));
        }
    }
}

pub struct Guest {
    pub client: Client,
    id: ParticipantId,
    up: Link,
    down: Link,
    pub events: Vec<ClientEvent>,
    /// By the msid's track part.
    heard: BTreeMap<String, Heard>,
    seen: BTreeMap<String, Seen>,
    cameras: Vec<Camera>,
    /// Its cameras heed what they are told to use.
    pub obedient: bool,
    /// Only the relay can be reached.
    pub walled: bool,
    /// Where others see it, behind a NAT.
    pub outside: Option<SocketAddr>,
    /// What its client wrote to streams.
    pub written: Vec<(LinkId, Vec<u8>)>,
}

type Seen = Arc<Mutex<Vec<ReceivedFrame>>>;

impl Guest {
    fn address(&self, target: Target) -> SocketAddr {
        let port = match target {
            Target::Publisher => 5_000,
            Target::Subscriber => 6_000,
        };
        SocketAddr::from(([198, 51, 100, self.id.0 as u8], port))
    }

    /// Frames of a video track.
    pub fn seen(&self, track: TrackId) -> Vec<ReceivedFrame> {
        let seen = self.seen.get(&sid(track));
        seen.map_or_else(Vec::new, |it| it.lock().expect("one thread").clone())
    }

    /// What a layer may use, as told last.
    pub fn bitrate(&self, track: TrackId, layer: u8) -> Option<u64> {
        let told = |event: &ClientEvent| match event {
            ClientEvent::Bitrate {
                track: of,
                layer: which,
                bits,
            } if (*of, *which) == (track, layer) => Some(*bits),
            _ => None,
        };
        self.events.iter().rev().find_map(told)
    }

    fn camera(&mut self, track: TrackId) -> Option<&mut Camera> {
        self.cameras.iter_mut().find(|it| it.track == track)
    }

    fn shoot(&mut self, now: Instant) {
        for camera in &mut self.cameras {
            if camera.due > now {
                continue;
            }
            camera.due += PICTURE;
            camera.number += 1;
            for (layer, size) in camera.sizes.iter().enumerate() {
                let room = (camera.rates[layer] / 8 / 30) as usize;
                let size = if self.obedient {
                    (*size).min(room)
                } else {
                    *size
                };
                if size == 0 {
                    continue;
                }
                let key = std::mem::take(&mut camera.keys[layer]);
                let frame = EncodedFrame {
                    data: &picture(camera.number, key, if key { 6 * size } else { size }),
                    timestamp_us: i64::from(camera.number) * 33_333,
                    captured: now,
                    key,
                };
                self.client.send_frame(now, camera.track, layer, frame);
            }
        }
    }

    /// Numbers and levels of a track's frames.
    pub fn heard(&self, track: TrackId) -> Vec<(u32, Option<u8>)> {
        let heard = self.heard.get(&sid(track));
        heard.map_or_else(Vec::new, |it| it.lock().expect("one thread").clone())
    }

    pub fn states(&self, target: Target) -> Vec<ConnectionState> {
        let state = |event: &ClientEvent| match event {
            ClientEvent::Connection {
                target: of, state, ..
            } if *of == target => Some(*state),
            _ => None,
        };
        self.events.iter().filter_map(state).collect()
    }

    pub fn messages(&self) -> Vec<(Channel, Bytes)> {
        let message = |event: &ClientEvent| match event {
            ClientEvent::Data { channel, data } => Some((*channel, data.clone())),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }

    fn has(&self, wanted: impl Fn(&ClientEvent) -> bool) -> bool {
        self.events.iter().any(wanted)
    }

    pub fn channels_open(&self) -> bool {
        [Channel::Reliable, Channel::Lossy, Channel::DataTrack]
            .into_iter()
            .all(|of| self.has(|event| matches!(event, ClientEvent::ChannelOpen(it) if *it == of)))
    }
}

fn sid(track: TrackId) -> String {
    format!("TR_{}", track.0)
}

enum Cargo {
    ToServer(Datagram),
    ToGuest(usize, Target, Datagram),
}

pub struct Meeting {
    pub now: Instant,
    pub server: Server,
    pub relay: Relay,
    pub guests: Vec<Guest>,
    under_way: std::collections::BinaryHeap<Reverse<(Instant, u64, usize)>>,
    cargo: BTreeMap<usize, Cargo>,
    order: u64,
    tracks: u64,
    seed: u64,
    pub events: Vec<Event>,
}

impl Meeting {
    pub fn new(seed: u64) -> Self {
        let now = Instant::now();
        let mut server = Server::new(now, seed);
        let room = RoomSpec {
            room: ROOM,
            sid: "RM_meeting".into(),
            codecs: ["audio/opus", "audio/red", "video/vp8", "video/h264"]
                .map(Into::into)
                .to_vec(),
            speakers: SpeakerSettings::default(),
            sync_streams: false,
        };
        server.handle_command(now, Command::OpenRoom(room));
        Self {
            now,
            server,
            relay: Relay::new(now),
            guests: Vec::new(),
            under_way: std::collections::BinaryHeap::new(),
            cargo: BTreeMap::new(),
            order: 0,
            tracks: 0,
            seed,
            events: Vec::new(),
        }
    }

    pub fn join(&mut self, single: bool, links: LinkConfig) -> usize {
        let index = self.guests.len();
        let id = ParticipantId(index as u64 + 1);
        let mode = if single {
            ConnectionMode::Single
        } else {
            ConnectionMode::Dual {
                subscriber_primary: true,
            }
        };
        let spec = ParticipantSpec {
            room: ROOM,
            identity: format!("guest-{index}").into(),
            sid: format!("PA_{index}").into(),
            mode,
            permissions: Permissions {
                hidden: false,
                can_publish: true,
                can_subscribe: true,
                can_publish_data: true,
                agent: false,
            },
            auto_subscribe: true,
            adaptive_stream: false,
            ice_lite: false,
            client: ClientTraits {
                sdk: "python".into(),
                protocol: 17,
                ..ClientTraits::default()
            },
            extra_address: None,
            tcp_only: false,
            in_process: false,
        };
        self.server.handle_command(
            self.now,
            Command::AddParticipant {
                participant: id,
                spec,
            },
        );
        let seed = self.seed * 1_000 + id.0 * 10;
        let config = ClientConfig {
            identity: Identity::for_simulation(seed).expect("a certificate"),
            single,
            in_memory: None,
            seed: Some(seed + 1),
            unix_time: Some(Duration::from_secs(1_800_000_000)),
        };
        let mut guest = Guest {
            client: Client::new(config, self.now),
            id,
            up: Link::new(links, seed + 2),
            down: Link::new(links, seed + 3),
            events: Vec::new(),
            heard: BTreeMap::new(),
            seen: BTreeMap::new(),
            cameras: Vec::new(),
            obedient: false,
            walled: false,
            outside: None,
            written: Vec::new(),
        };
        let targets: Vec<Target> = guest.client.targets().collect();
        for target in targets {
            let candidate = LocalCandidate {
                protocol: Protocol::Udp,
                address: guest.address(target),
                base: None,
            };
            guest.client.add_address(self.now, target, candidate);
        }
        guest.client.open_channels(self.now);
        if single {
            guest.client.add_receivers(3, 3);
        }
        guest.client.negotiate();
        self.guests.push(guest);
        self.settle();
        index
    }

    /// Announces a microphone and publishes it.
    pub fn publish(&mut self, guest: usize, red: bool) -> TrackId {
        self.tracks += 1;
        let track = TrackId(self.tracks);
        let cid = format!("cid-{}", self.tracks);
        let spec = TrackSpec {
            track,
            sid: sid(track).into(),
            stream: "microphone".into(),
            kind: MediaKind::Audio,
            microphone: true,
            cid: cid.clone(),
            codecs: vec![CodecSpec {
                mime: "audio/opus".into(),
                cid: cid.clone(),
                layer_mode: LayerMode::Unused,
                layers: Vec::new(),
            }],
            stereo: false,
            dtx: true,
            red,
            encrypted: false,
            muted: false,
        };
        let participant = self.guests[guest].id;
        self.server
            .handle_command(self.now, Command::ExpectTrack { participant, spec });
        let source = Counter {
            next: 0,
            due: self.now,
        };
        let spec = AudioSpec {
            track,
            cid,
            stream: "microphone".into(),
            red,
            stereo: false,
        };
        self.act(guest, |client, _| {
            client.publish_audio(spec, Some(Box::new(source)));
            client.negotiate();
        });
        track
    }

    /// Announces a camera and publishes it, with a frame size and highest rate of each layer.
    pub fn publish_video(&mut self, guest: usize, layers: &[(&str, usize, u64)]) -> TrackId {
        self.tracks += 1;
        let track = TrackId(self.tracks);
        let cid = format!("cid-{}", self.tracks);
        let layer = |(quality, (rid, _, bitrate)): (usize, &(&str, usize, u64))| LayerSpec {
            quality: quality as u8,
            rid: (*rid).into(),
            width: 320 << quality,
            height: 180 << quality,
            bitrate: *bitrate as u32,
            ssrc: 0,
        };
        let spec = TrackSpec {
            track,
            sid: sid(track).into(),
            stream: "camera".into(),
            kind: MediaKind::Video,
            microphone: false,
            cid: cid.clone(),
            codecs: vec![CodecSpec {
                mime: "video/vp8".into(),
                cid: cid.clone(),
                layer_mode: LayerMode::OneSpatialLayerPerStream,
                layers: layers.iter().enumerate().map(layer).collect(),
            }],
            stereo: false,
            dtx: false,
            red: false,
            encrypted: false,
            muted: false,
        };
        let participant = self.guests[guest].id;
        self.server
            .handle_command(self.now, Command::ExpectTrack { participant, spec });
        self.guests[guest].cameras.push(Camera {
            track,
            sizes: layers.iter().map(|(_, size, _)| *size).collect(),
            due: self.now,
            number: 0,
            keys: vec![false; layers.len()],
            rates: layers.iter().map(|(_, _, bitrate)| *bitrate).collect(),
        });
        let spec = VideoSpec {
            track,
            cid,
            stream: "camera".into(),
            codec: Codec::Vp8,
            layers: layers
                .iter()
                .map(|(rid, _, max_bitrate)| VideoLayer {
                    rid: (*rid).into(),
                    max_bitrate: *max_bitrate,
                })
                .collect(),
        };
        self.act(guest, |client, _| {
            client.publish_video(spec);
            client.negotiate();
        });
        track
    }

    /// What the guest's link up and the one down take from now on.
    pub fn set_links(&mut self, guest: usize, links: LinkConfig) {
        self.guests[guest].up.config = links;
        self.guests[guest].down.config = links;
    }

    pub fn act<R>(&mut self, guest: usize, act: impl FnOnce(&mut Client, Instant) -> R) -> R {
        let result = act(&mut self.guests[guest].client, self.now);
        self.settle();
        result
    }

    /// Nothing comes from this guest nor reaches it, or everything again.
    pub fn cut(&mut self, guest: usize, cut: bool) {
        self.guests[guest].up.cut = cut;
        self.guests[guest].down.cut = cut;
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
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

    fn step(&mut self, end: Instant) -> bool {
        let now = self.now;
        let arrival = self.under_way.peek().map(|Reverse((at, ..))| *at);
        let guests = self.guests.iter_mut();
        let next = guests
            .flat_map(|it| {
                let shots = it.cameras.iter().map(|it| it.due).min();
                [it.client.poll_timeout(now), shots]
            })
            .flatten()
            .chain(self.server.poll_timeout())
            .chain(arrival)
            .min()
            .unwrap_or(end);
        if next > end {
            self.now = end;
            return false;
        }
        self.now = self.now.max(next);
        let now = self.now;
        if arrival.is_some_and(|at| at <= now)
            && let Some(Reverse((_, _, key))) = self.under_way.pop()
        {
            match self.cargo.remove(&key) {
                Some(Cargo::ToServer(datagram)) => self.reach(datagram),
                Some(Cargo::ToGuest(guest, target, mut datagram)) => {
                    let tuple = FiveTuple {
                        protocol: Protocol::Udp,
                        local: datagram.destination,
                        remote: datagram.source,
                    };
                    let client = &mut self.guests[guest].client;
                    client.handle_datagram(now, target, &tuple, &mut datagram.contents);
                }
                None => {}
            }
        } else {
            for guest in &mut self.guests {
                guest.shoot(now);
                if guest.client.poll_timeout(now).is_some_and(|at| at <= now) {
                    guest.client.handle_timeout(now);
                }
            }
            if self.server.poll_timeout().is_some_and(|at| at <= now) {
                self.server.handle_timeout(now);
            }
        }
        self.settle();
        true
    }

    fn push(&mut self, at: Instant, cargo: Cargo) {
        self.order += 1;
        let key = self.order as usize;
        self.cargo.insert(key, cargo);
        self.under_way.push(Reverse((at, self.order, key)));
    }

    /// Moves what both sides have to send, until nobody has anything to say.
    pub fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for index in 0..self.guests.len() {
                quiet &= !self.settle_guest(index);
            }
            while let Some(datagram) = self.server.poll_transmit() {
                let wrapped = match is_relayed(datagram.destination) {
                    true => self.relay.wrap(self.now, &datagram),
                    false => Some(datagram),
                };
                if let Some(datagram) = wrapped {
                    self.send_down(&datagram);
                }
            }
            while let Some(event) = self.server.poll_event() {
                quiet = false;
                self.relay(&event);
                self.events.push(event);
            }
            if quiet {
                return;
            }
        }
    }

    /// A datagram has come to the server, or to the relay.
    fn reach(&mut self, datagram: Datagram) {
        let now = self.now;
        if datagram.destination != Relay::address() {
            return self.server.handle_datagram(now, datagram);
        }
        for datagram in self.relay.handle(now, &datagram) {
            if datagram.destination == Server::address() {
                self.server.handle_datagram(now, datagram);
            } else {
                self.send_down(&datagram);
            }
        }
    }

    fn send_down(&mut self, datagram: &Datagram) {
        let targets = [Target::Publisher, Target::Subscriber];
        let to = self.guests.iter().enumerate().find_map(|(index, guest)| {
            let seen = |target| guest.outside.unwrap_or_else(|| guest.address(target));
            let is = |target: &Target| seen(*target) == datagram.destination;
            Some((index, targets.into_iter().find(is)?))
        });
        let Some((index, target)) = to else { return };
        let datagram = &Datagram {
            destination: self.guests[index].address(target),
            ..datagram.clone()
        };
        if self.guests[index].walled && datagram.source != Relay::address() {
            return;
        }
        let size = datagram.contents.len();
        for at in self.guests[index].down.send(self.now, size) {
            self.push(at, Cargo::ToGuest(index, target, datagram.clone()));
        }
    }

    fn settle_guest(&mut self, index: usize) -> bool {
        let now = self.now;
        let guest = &mut self.guests[index];
        let mut datagrams = Vec::new();
        let addresses = [Target::Publisher, Target::Subscriber].map(|it| guest.address(it));
        guest.client.drain(now, |target, outgoing| {
            let batch = match outgoing {
                Outgoing::Datagrams(batch) => batch,
                Outgoing::Stream { link, bytes } => {
                    return guest.written.push((link, bytes.to_vec()));
                }
            };
            let own = addresses[usize::from(target == Target::Subscriber)];
            let named = batch.tuple.local;
            let source = if named.port() == 0 { own } else { named };
            let source = guest.outside.filter(|_| source == own).unwrap_or(source);
            for contents in batch.contents.chunks(batch.segment.max(1)) {
                datagrams.push(Datagram {
                    source,
                    destination: batch.tuple.remote,
                    contents: contents.to_vec(),
                });
            }
        });
        if guest.walled {
            datagrams.retain(|it| it.destination == Relay::address());
        }
        for datagram in datagrams {
            for at in self.guests[index].up.send(now, datagram.contents.len()) {
                self.push(at, Cargo::ToServer(datagram.clone()));
            }
        }
        let mut any = false;
        while let Some(event) = self.guests[index].client.poll_event() {
            any = true;
            let guest = &mut self.guests[index];
            let participant = guest.id;
            match &event {
                ClientEvent::Description {
                    target,
                    kind,
                    sdp,
                    id,
                } => self.server.handle_command(
                    now,
                    Command::RemoteDescription {
                        participant,
                        target: *target,
                        kind: *kind,
                        sdp: sdp.clone(),
                        id: *id,
                    },
                ),
                ClientEvent::KeyFrame { track, layer } => {
                    if let Some(camera) = guest.camera(*track) {
                        camera.keys[usize::from(*layer)] = true;
                    }
                }
                ClientEvent::Bitrate { track, layer, bits } => {
                    if let Some(camera) = guest.camera(*track) {
                        camera.rates[usize::from(*layer)] = *bits;
                    }
                }
                ClientEvent::Track {
                    target,
                    mid,
                    track,
                    kind: MediaKind::Video,
                    ..
                } => {
                    let seen = Arc::clone(guest.seen.entry(track.clone()).or_default());
                    let eye = FrameReader::new(move |frame| {
                        seen.lock().expect("one thread").push(frame);
                        true
                    });
                    guest.client.set_sink(now, *target, mid, 1, Box::new(eye));
                }
                ClientEvent::Track {
                    target, mid, track, ..
                } => {
                    let heard = guest.heard.entry(track.clone()).or_default();
                    let ear = Box::new(Ear(Arc::clone(heard)));
                    guest.client.set_sink(now, *target, mid, 0, ear);
                }
                _ => {}
            }
            self.guests[index].events.push(event);
        }
        any
    }

    fn client_of(&mut self, participant: ParticipantId) -> &mut Client {
        &mut self.guests[participant.0 as usize - 1].client
    }

    fn relay(&mut self, event: &Event) {
        let now = self.now;
        match event {
            Event::Description {
                participant,
                target,
                kind,
                sdp,
                id,
                ..
            } => self
                .client_of(*participant)
                .remote_description(now, *target, *kind, sdp, *id),
            Event::Candidate {
                participant,
                target,
                candidate,
                ..
            } => self
                .client_of(*participant)
                .remote_candidate(now, *target, candidate),
            Event::MediaSections {
                participant,
                audios,
                videos,
            } => {
                let client = self.client_of(*participant);
                client.add_receivers(*audios as usize, *videos as usize);
                client.negotiate();
            }
            _ => {}
        }
    }
}
