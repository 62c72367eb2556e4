//! A simulated participant: signalling, its peer connections, what it sends and hears.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL;
use mio::{Registry, Token};
use prost::Message as _;
use str0m::Event;
use str0m::config::DtlsCert;
use str0m::format::Codec;
use str0m::media::{MediaKind, Mid, Pt};
use str0m::rtp::{ExtensionValues, RtpWrite};

use crate::Result;
use crate::connection::{Buffers, Channel, Connection};
use crate::mark::{self, Mark};
use crate::media::{self, Opus, Source, Vp8};
use crate::meter::Meter;
use crate::signal::Signal;
use crate::token;
use crate::wire::{self, Request, Response, SessionDescription};

/// Sections a client of single peer connection offers to receive in, of each kind, as the SDKs do.
const FIRST_RECEIVERS: u32 = 3;

/// The server, and how to join there.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// `ws://host:port`, without a slash at the end.
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) room: String,
    /// Two peer connections (`/rtc`) instead of one (`/rtc/v1`).
    pub(crate) dual: bool,
    /// Our address towards the server.
    pub(crate) local_ip: IpAddr,
    pub(crate) cert: DtlsCert,
}

/// What a client does in the room.
#[derive(Clone, Default)]
pub(crate) struct Role {
    pub(crate) subscribes: bool,
    /// Tracks it publishes, with their numbers in marks.
    pub(crate) tracks: Vec<(u16, Kind)>,
    pub(crate) messages: Option<Messages>,
}

/// A kind of track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Audio,
    Video,
}

/// Data packets to send.
#[derive(Clone, Copy)]
pub(crate) struct Messages {
    pub(crate) lossy: bool,
    pub(crate) interval: Duration,
    /// Bytes of payload.
    pub(crate) size: usize,
}

/// Which of a client's sockets is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Socket {
    Signal,
    Publisher,
    Subscriber,
}

impl Socket {
    const ALL: [Self; 3] = [Self::Signal, Self::Publisher, Self::Subscriber];

    /// The token of a client's socket.
    fn token(self, client: usize) -> Token {
        Token(client * Self::ALL.len() + self as usize)
    }

    /// The client and socket of a token.
    pub(crate) fn of(token: Token) -> (usize, Self) {
        let count = Self::ALL.len();
        (token.0 / count, Self::ALL[token.0 % count])
    }
}

/// What a client heard of one track.
#[derive(Clone, Copy, Default)]
pub(crate) struct Heard {
    /// The first packet.
    pub(crate) first: Option<Instant>,
    /// The first packet of a key frame.
    pub(crate) first_key: Option<Instant>,
}

struct Publication {
    track: u16,
    kind: Kind,
    cid: String,
    /// Once its section is negotiated and connected.
    sending: Option<Sending>,
}

struct Sending {
    mid: Mid,
    payload_type: Pt,
    sequence: u64,
    source: Box<dyn Source>,
}

pub(crate) struct Client {
    index: usize,
    pub(crate) identity: String,
    role: Role,
    dual: bool,
    local_ip: IpAddr,
    cert: DtlsCert,
    signal: Signal,
    publisher: Connection,
    /// In dual mode, from the server's first offer on.
    subscriber: Option<Connection>,
    publications: Vec<Publication>,
    /// The next message, once the channel is open.
    message_due: Option<Instant>,
    message_count: u32,
    /// Clients that hear what this one sends.
    pub(crate) listeners: u64,
    /// When its WebSocket started to connect.
    pub(crate) started: Instant,
    /// When JoinResponse came.
    pub(crate) joined: Option<Instant>,
    subscriber_primary: bool,
    ping_interval: Duration,
    ping_due: Option<Instant>,
    leaving: bool,
    /// By numbers of tracks.
    heard: Vec<Heard>,
}

impl Client {
    /// Starts to join.
    pub(crate) fn join(
        server: &Server,
        registry: &Registry,
        index: usize,
        identity: String,
        role: Role,
    ) -> Result<Self> {
        let now = Instant::now();
        let mut publisher = Connection::new(
            server.local_ip,
            &server.cert,
            registry,
            Socket::Publisher.token(index),
            now,
        )?;
        let token = token::sign(&server.key, &server.secret, &server.room, &identity);
        let url = if server.dual {
            format!(
                "{}/rtc?auto_subscribe={}&sdk=js&version=2.23.0&protocol={}",
                server.url,
                u8::from(role.subscribes),
                wire::PROTOCOL,
            )
        } else {
            publisher.add_receivers(FIRST_RECEIVERS, FIRST_RECEIVERS);
            let request = join_request(role.subscribes, publisher.offer());
            format!("{}/rtc/v1?join_request={request}", server.url)
        };
        let started = Instant::now();
        let signal = Signal::connect(
            server.address,
            &url,
            &token,
            registry,
            Socket::Signal.token(index),
        )?;
        let publications = role
            .tracks
            .iter()
            .map(|&(track, kind)| Publication {
                track,
                kind,
                cid: format!("{identity}-{track}"),
                sending: None,
            })
            .collect();
        Ok(Self {
            index,
            identity,
            role,
            dual: server.dual,
            local_ip: server.local_ip,
            cert: server.cert.clone(),
            signal,
            publisher,
            subscriber: None,
            publications,
            message_due: None,
            message_count: 0,
            listeners: 0,
            started,
            joined: None,
            subscriber_primary: false,
            ping_interval: Duration::from_secs(5),
            ping_due: None,
            leaving: false,
            heard: Vec::new(),
        })
    }

    /// Every peer connection of it is up.
    pub(crate) fn is_connected(&self) -> bool {
        let subscriber = self.subscriber.as_ref();
        self.joined.is_some()
            && self.publisher.is_connected()
            && subscriber.map_or(!self.subscriber_primary, Connection::is_connected)
    }

    /// It sends all that it is to send.
    pub(crate) fn is_sending(&self) -> bool {
        self.publications.iter().all(|p| p.sending.is_some())
            && (self.role.messages.is_none() || self.message_due.is_some())
    }

    /// What it heard of a track.
    pub(crate) fn heard(&self, track: u16) -> Heard {
        self.heard
            .get(usize::from(track))
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn subscribes(&self) -> bool {
        self.role.subscribes
    }

    /// Tracks it publishes.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = (u16, Kind)> {
        self.publications.iter().map(|p| (p.track, p.kind))
    }

    /// It publishes that track itself.
    pub(crate) fn publishes(&self, track: u16) -> bool {
        self.publications.iter().any(|p| p.track == track)
    }

    /// When it wants [`drive`](Self::drive) called.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let sources = self.publications.iter().filter_map(|p| p.sending.as_ref());
        let timeouts = sources
            .map(|sending| sending.source.due())
            .chain(self.message_due)
            .chain(self.ping_due)
            .chain([self.publisher.timeout()])
            .chain(self.subscriber.as_ref().map(Connection::timeout));
        timeouts.min()
    }

    /// A socket of it can be read or written.
    pub(crate) fn ready(
        &mut self,
        socket: Socket,
        registry: &Registry,
        buffers: &mut Buffers,
        meter: &mut Meter,
    ) -> Result<()> {
        let mut ears = Ears {
            heard: &mut self.heard,
            publications: &mut self.publications,
            meter,
        };
        match socket {
            Socket::Signal => return self.read_signals(registry, meter),
            Socket::Publisher => self
                .publisher
                .receive(buffers, &mut |now, event| ears.handle(now, event))?,
            Socket::Subscriber => {
                if let Some(subscriber) = &mut self.subscriber {
                    subscriber.receive(buffers, &mut |now, event| ears.handle(now, event))?;
                }
            }
        }
        self.start_sending();
        Ok(())
    }

    fn read_signals(&mut self, registry: &Registry, meter: &mut Meter) -> Result<()> {
        let mut responses = Vec::new();
        let result = self.signal.ready(&mut responses);
        for response in responses {
            self.handle_response(response, registry)?;
        }
        if self.leaving {
            return Ok(());
        }
        result?;
        if self.signal.is_closed() {
            return Err("the server closed the signalling connection".into());
        }
        self.drive(Instant::now(), meter)
    }

    fn handle_response(&mut self, response: Response, registry: &Registry) -> Result<()> {
        match response {
            Response::Join(join) => self.handle_join(&join)?,
            Response::Answer(answer) => {
                self.publisher.handle_answer(&answer)?;
                self.negotiate()?;
                self.start_sending();
            }
            Response::Offer(offer) => {
                if self.subscriber.is_none() {
                    let id = Socket::Subscriber.token(self.index);
                    let now = Instant::now();
                    let connection = Connection::new(self.local_ip, &self.cert, registry, id, now)?;
                    self.subscriber = Some(connection);
                }
                if let Some(subscriber) = &mut self.subscriber {
                    let answer = subscriber.handle_offer(&offer)?;
                    self.signal.send(Request::Answer(answer))?;
                }
            }
            Response::Trickle(trickle) => {
                let candidate: serde_json::Value = serde_json::from_str(&trickle.candidate_init)?;
                let line = candidate["candidate"].as_str().unwrap_or_default();
                match trickle.target {
                    wire::SUBSCRIBER => {
                        if let Some(subscriber) = &mut self.subscriber {
                            subscriber.handle_candidate(line);
                        }
                    }
                    _ => self.publisher.handle_candidate(line),
                }
            }
            Response::TrackPublished(published) => {
                let publication = self.publications.iter().find(|p| p.cid == published.cid);
                if let Some(publication) = publication {
                    let kind = match publication.kind {
                        Kind::Audio => MediaKind::Audio,
                        Kind::Video => MediaKind::Video,
                    };
                    self.publisher.add_sender(kind, &publication.cid);
                    self.negotiate()?;
                }
            }
            Response::MediaSectionsRequirement(more) => {
                self.publisher
                    .add_receivers(more.num_audios, more.num_videos);
                self.negotiate()?;
            }
            Response::RequestResponse(response) if response.reason != 0 => {
                let wire::RequestResponse { reason, message } = response;
                return Err(format!("the server refused a request: {reason} {message}").into());
            }
            Response::RequestResponse(_) => {}
            Response::Leave(leave) if !self.leaving => {
                let reason = leave.reason;
                return Err(format!("the server made it leave (DisconnectReason {reason})").into());
            }
            Response::Leave(_) => {}
        }
        Ok(())
    }

    fn handle_join(&mut self, join: &wire::Join) -> Result<()> {
        let now = Instant::now();
        self.joined = Some(now);
        self.subscriber_primary = self.dual && join.subscriber_primary;
        if let Ok(seconds @ 1..) = u64::try_from(join.ping_interval) {
            self.ping_interval = Duration::from_secs(seconds);
        }
        self.ping_due = Some(now + self.ping_interval);
        for publication in &self.publications {
            let request = add_track(publication.kind, &publication.cid);
            self.signal.send(Request::AddTrack(request))?;
        }
        // Single: the answer to the offer in the request follows. Dual: as SDKs negotiate the publisher at join.
        if self.dual {
            self.negotiate()?;
        }
        Ok(())
    }

    /// Offers what is to be offered.
    fn negotiate(&mut self) -> Result<()> {
        match self.publisher.offer() {
            Some(offer) => self.signal.send(Request::Offer(offer)),
            None => Ok(()),
        }
    }

    /// Starts what can be sent from now on.
    fn start_sending(&mut self) {
        if self.is_sending() {
            return;
        }
        let now = Instant::now();
        for publication in self.publications.iter_mut().filter(|p| p.sending.is_none()) {
            let codec = match publication.kind {
                Kind::Audio => Codec::Opus,
                Kind::Video => Codec::Vp8,
            };
            let Some((mid, payload_type)) = self.publisher.sender(&publication.cid, codec) else {
                continue;
            };
            // Encoders of several clients are not in step.
            let start = now + Duration::from_micros(u64::from(publication.track) * 7_300 % 33_000);
            publication.sending = Some(Sending {
                mid,
                payload_type,
                sequence: 1,
                source: match publication.kind {
                    Kind::Audio => Box::new(Opus::new(start)),
                    Kind::Video => Box::new(Vp8::new(start)),
                },
            });
        }
        if let Some(messages) = &self.role.messages
            && self.message_due.is_none()
            && self.publisher.is_open(channel_of(messages))
        {
            self.message_due = Some(now);
        }
    }

    /// Sends what is due, and lets the connections' time pass.
    pub(crate) fn drive(&mut self, now: Instant, meter: &mut Meter) -> Result<()> {
        if self.leaving {
            return Ok(());
        }
        let mut written = self.send_media(now, meter);
        written |= self.send_messages(now, meter)?;
        let mut ears = Ears {
            heard: &mut self.heard,
            publications: &mut self.publications,
            meter,
        };
        if written || self.publisher.timeout() <= now {
            self.publisher
                .drive(now, &mut |now, event| ears.handle(now, event))?;
        }
        if let Some(subscriber) = &mut self.subscriber
            && subscriber.timeout() <= now
        {
            subscriber.drive(now, &mut |now, event| ears.handle(now, event))?;
        }
        if self.ping_due.is_some_and(|due| due <= now) {
            self.ping_due = Some(now + self.ping_interval);
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
            self.signal.send(Request::Ping(wire::Ping {
                timestamp: since_1970.as_millis() as i64,
                rtt: 0,
            }))?;
        }
        Ok(())
    }

    fn send_media(&mut self, now: Instant, meter: &mut Meter) -> bool {
        let mut written = false;
        for publication in &mut self.publications {
            let Some(sending) = &mut publication.sending else {
                continue;
            };
            while sending.source.due() <= now {
                written = true;
                let (mid, payload_type) = (sending.mid, sending.payload_type);
                let sequence = &mut sending.sequence;
                let publisher = &mut self.publisher;
                let kind = publication.kind;
                sending.source.send(now, publication.track, &mut |packet| {
                    meter.sent(mark::nanos(now), self.listeners);
                    let (video, ext) = match kind {
                        Kind::Video => (true, ExtensionValues::default()),
                        Kind::Audio => (false, voice()),
                    };
                    let rtp = RtpWrite::new(
                        payload_type,
                        (*sequence).into(),
                        packet.timestamp,
                        now,
                        packet.payload,
                    );
                    publisher
                        .write_rtp(mid, rtp.marker(packet.marker).nackable(video).ext_vals(ext));
                    *sequence += 1;
                });
            }
        }
        written
    }

    fn send_messages(&mut self, now: Instant, meter: &mut Meter) -> Result<bool> {
        let (Some(messages), Some(mut due)) = (self.role.messages, self.message_due) else {
            return Ok(false);
        };
        let mut written = false;
        while due <= now {
            due += messages.interval;
            let mut payload = Vec::with_capacity(messages.size);
            payload.resize(messages.size.saturating_sub(mark::LEN), 0x55);
            let sent = mark::nanos(now);
            let mark = Mark {
                track: 0,
                key: false,
                sent,
            };
            mark.append(&mut payload);
            let packet = wire::DataPacket {
                kind: i32::from(messages.lossy),
                user: Some(wire::UserPacket { payload }),
                sequence: match messages.lossy {
                    true => 0,
                    false => self.message_count + 1,
                },
            };
            let channel = channel_of(&messages);
            if self
                .publisher
                .write_message(channel, &packet.encode_to_vec())?
            {
                self.message_count += 1;
                meter.sent(sent, self.listeners);
            } else {
                meter.refused += 1;
            }
            written = true;
        }
        self.message_due = Some(due);
        Ok(written)
    }

    /// Leaves as SDKs do; the server closes the WebSocket.
    pub(crate) fn leave(&mut self, now: Instant) -> Result<()> {
        self.leaving = true;
        self.signal.send(Request::Leave(wire::Leave {
            reason: wire::CLIENT_INITIATED,
            action: 0,
        }))?;
        self.signal.close()?;
        self.publisher.close(now)?;
        if let Some(subscriber) = &mut self.subscriber {
            subscriber.close(now)?;
        }
        Ok(())
    }

    pub(crate) fn has_left(&self) -> bool {
        self.leaving && self.signal.is_closed()
    }
}

/// Where the events of a client's connections go.
struct Ears<'a> {
    heard: &'a mut Vec<Heard>,
    publications: &'a mut [Publication],
    meter: &'a mut Meter,
}

impl Ears<'_> {
    fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::RtpPacket(packet) => self.hear(now, &packet.payload),
            Event::ChannelData(data) => {
                let packet = wire::DataPacket::decode(data.data.as_slice()).ok();
                if let Some(user) = packet.and_then(|packet| packet.user) {
                    self.hear(now, &user.payload);
                }
            }
            Event::KeyframeRequest(request) => {
                let sending = self
                    .publications
                    .iter_mut()
                    .filter_map(|p| p.sending.as_mut());
                for sending in sending.filter(|sending| sending.mid == request.mid) {
                    sending.source.request_key_frame();
                    self.meter.key_frame_requested();
                }
            }
            _ => {}
        }
    }

    fn hear(&mut self, now: Instant, payload: &[u8]) {
        let Some(mark) = Mark::read(payload) else {
            return;
        };
        self.meter.received(now, mark, payload.len());
        let track = usize::from(mark.track);
        if self.heard.len() <= track {
            self.heard.resize(track + 1, Heard::default());
        }
        let heard = &mut self.heard[track];
        heard.first.get_or_insert(now);
        if mark.key {
            heard.first_key.get_or_insert(now);
        }
    }
}

fn channel_of(messages: &Messages) -> Channel {
    match messages.lossy {
        true => Channel::Lossy,
        false => Channel::Reliable,
    }
}

/// The audio level of somebody speaking.
fn voice() -> ExtensionValues {
    ExtensionValues {
        audio_level: Some(-20),
        voice_activity: Some(true),
        ..ExtensionValues::default()
    }
}

fn join_request(subscribes: bool, publisher_offer: Option<SessionDescription>) -> String {
    let request = wire::JoinRequest {
        client_info: Some(wire::ClientInfo {
            sdk: wire::SDK_JS,
            version: "2.23.0".into(),
            protocol: wire::PROTOCOL,
        }),
        connection_settings: Some(wire::ConnectionSettings {
            auto_subscribe: subscribes,
        }),
        publisher_offer,
    };
    let wrapped = wire::WrappedJoinRequest {
        join_request: request.encode_to_vec(),
    };
    BASE64URL.encode(&wrapped.encode_to_vec())
}

fn add_track(kind: Kind, cid: &str) -> wire::AddTrack {
    let codec = match kind {
        Kind::Audio => "opus",
        Kind::Video => "vp8",
    };
    let codecs = vec![wire::SimulcastCodec {
        codec: codec.into(),
        cid: cid.into(),
    }];
    match kind {
        Kind::Audio => wire::AddTrack {
            cid: cid.into(),
            name: "microphone".into(),
            kind: wire::TRACK_AUDIO,
            source: wire::SOURCE_MICROPHONE,
            disable_red: true,
            codecs,
            ..wire::AddTrack::default()
        },
        Kind::Video => wire::AddTrack {
            cid: cid.into(),
            name: "camera".into(),
            kind: wire::TRACK_VIDEO,
            source: wire::SOURCE_CAMERA,
            width: media::WIDTH.into(),
            height: media::HEIGHT.into(),
            layers: vec![wire::VideoLayer {
                quality: wire::QUALITY_HIGH,
                width: media::WIDTH.into(),
                height: media::HEIGHT.into(),
                bitrate: media::VIDEO_BITRATE,
            }],
            codecs,
            ..wire::AddTrack::default()
        },
    }
}
