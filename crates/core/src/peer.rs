//! `Peer`: the media of one session of a client, and what it tells.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use roomful_audio::opus::{Application, EncoderConfig};
use roomful_audio::playout::{Audience, Listener, Playout};
use roomful_audio::source::Source;
use roomful_media::api::{MediaKind, Target, TrackId};
use roomful_media::client::{
    AudioSpec, Client, ClientEvent, EncodedFrame, FrameDetails, OpusFrame, VideoLayer, VideoSpec,
};
use roomful_media::data::Channel;
use roomful_media::encryption::{Opener, Sealer};
use roomful_media::frame::is_supported;
use roomful_media::io::clients::{ClientHandle, ClientSetup, Inbox};
use roomful_media::plain::Content;
use roomful_media::sdp::Codec;
use roomful_media::track::negotiated::codec_kind;

use crate::cipher::{EncryptionKeys, encryption_state};
use crate::event::{kind_name, state_name, target_name, way_name};
use crate::frames::{FrameSink, waker};
use crate::media::{Exchange, parse_kind, parse_target, unknown};
use crate::sound::{AudioQueue, AudioSink};
use crate::statistics::dictionaries;

/// Percent of packets that in-band FEC is made for, until reports say better.
const EXPECTED_LOSS: u8 = 5;
/// For an answer of the thread that runs the client, which is never busy for long.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client's media → its session.
#[pyclass(frozen, module = "roomful._core")]
#[derive(Clone, Debug)]
pub(crate) enum PeerEvent {
    Description {
        target: String,
        kind: String,
        sdp: String,
        id: u32,
    },
    Candidate {
        target: String,
        candidate: String,
        mid: String,
        mline: u16,
    },
    #[pyo3(constructor = (target, state, detail, way = None))]
    Connection {
        target: String,
        state: String,
        detail: String,
        way: Option<String>,
    },
    ChannelOpen {
        channel: String,
    },
    Data {
        channel: String,
        data: Vec<u8>,
    },
    BufferLow {
        channel: String,
    },
    Flushed(),
    Track {
        target: String,
        mid: String,
        kind: String,
        stream: String,
        track: String,
        mime: String,
    },
    TrackEnded {
        target: String,
        mid: String,
    },
    KeyFrame {
        track: u64,
        layer: u8,
    },
    Bitrate {
        track: u64,
        layer: u8,
        bits: u64,
    },
    Sealing {
        track: u64,
        state: String,
    },
    Opening {
        target: String,
        mid: String,
        state: String,
    },
    Rejected {
        target: String,
        id: u32,
        reason: String,
    },
    Fault {
        detail: String,
    },
}

fn channel_name(channel: Channel) -> String {
    match channel {
        Channel::Reliable => "reliable",
        Channel::Lossy => "lossy",
        Channel::DataTrack => "data_track",
        Channel::Unlabelled => "unlabelled",
    }
    .into()
}

fn parse_channel(channel: &str) -> PyResult<Channel> {
    match channel {
        "reliable" => Ok(Channel::Reliable),
        "lossy" => Ok(Channel::Lossy),
        "data_track" => Ok(Channel::DataTrack),
        other => Err(unknown("channel", other)),
    }
}

impl From<ClientEvent> for PeerEvent {
    fn from(event: ClientEvent) -> Self {
        match event {
            ClientEvent::Description {
                target,
                kind,
                sdp,
                id,
            } => Self::Description {
                target: target_name(target),
                kind: kind_name(kind),
                sdp,
                id,
            },
            ClientEvent::Candidate {
                target,
                candidate,
                mid,
                mline,
            } => Self::Candidate {
                target: target_name(target),
                candidate,
                mid,
                mline,
            },
            ClientEvent::Connection {
                target,
                state,
                detail,
                way,
            } => Self::Connection {
                target: target_name(target),
                state: state_name(state),
                detail,
                way: way.map(way_name),
            },
            ClientEvent::ChannelOpen(channel) => Self::ChannelOpen {
                channel: channel_name(channel),
            },
            ClientEvent::Data { channel, data } => Self::Data {
                channel: channel_name(channel),
                data: data.to_vec(),
            },
            ClientEvent::Flushed => Self::Flushed(),
            ClientEvent::BufferLow(channel) => Self::BufferLow {
                channel: channel_name(channel),
            },
            ClientEvent::Track {
                target,
                mid,
                kind,
                stream,
                track,
                mime,
            } => Self::Track {
                target: target_name(target),
                mid,
                kind: match kind {
                    MediaKind::Audio => "audio",
                    MediaKind::Video => "video",
                }
                .into(),
                stream,
                track,
                mime: mime.into(),
            },
            ClientEvent::TrackEnded { target, mid } => Self::TrackEnded {
                target: target_name(target),
                mid,
            },
            ClientEvent::KeyFrame { track, layer } => Self::KeyFrame {
                track: track.0,
                layer,
            },
            ClientEvent::Bitrate { track, layer, bits } => Self::Bitrate {
                track: track.0,
                layer,
                bits,
            },
            ClientEvent::Sealing { track, state } => Self::Sealing {
                track: track.0,
                state: encryption_state(state),
            },
            ClientEvent::Opening { target, mid, state } => Self::Opening {
                target: target_name(target),
                mid,
                state: encryption_state(state),
            },
            ClientEvent::Rejected { target, id, reason } => Self::Rejected {
                target: target_name(target),
                id,
                reason,
            },
            ClientEvent::Fault { detail } => Self::Fault { detail },
        }
    }
}

#[pymethods]
impl PeerEvent {
    fn __repr__(&self) -> String {
        let mut shown = self.clone();
        // It holds the passwords of ICE.
        if let Self::Description { sdp, .. } = &mut shown {
            *sdp = format!("{} bytes", sdp.len());
        }
        format!("PeerEvent.{shown:?}")
    }
}

/// The peer connections, tracks and data channels of one session. Methods queue and return at once; after
/// `close` they do nothing.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct Peer {
    handle: Mutex<Option<ClientHandle>>,
    /// Beside the handle: taking events, which holds the interpreter, must not wait for a close that waits for
    /// the thread.
    inbox: Arc<Inbox<ClientEvent>>,
    hearing: Mutex<Vec<Hearing>>,
}

/// Who hears a section.
struct Hearing {
    target: Target,
    mid: String,
    audience: Audience,
    /// By their sinks' identities.
    listeners: Vec<(usize, Arc<Listener>)>,
}

impl Hearing {
    fn is_of(&self, target: Target, mid: &str) -> bool {
        self.target == target && self.mid == mid
    }

    /// Whether somebody is left.
    fn remove(&mut self, sink: usize) -> bool {
        for (_, listener) in self.listeners.extract_if(.., |(id, _)| *id == sink) {
            self.audience.remove(&listener);
        }
        !self.listeners.is_empty()
    }
}

/// Either kind of sink.
#[derive(FromPyObject)]
enum Sink<'py> {
    Audio(Bound<'py, AudioSink>),
    Frames(Bound<'py, FrameSink>),
}

impl Peer {
    fn hearing(&self) -> MutexGuard<'_, Vec<Hearing>> {
        self.hearing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> MutexGuard<'_, Option<ClientHandle>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Self::call`], without letting go of the interpreter: for who holds `hearing`, so that calls are queued in
    /// the order in which it changes, and for who would wait long to get it back.
    fn call_at_once(&self, act: impl FnOnce(&mut Client, Instant) + Send + 'static) {
        if let Some(handle) = &*self.handle() {
            handle.call(act);
        }
    }

    fn call(&self, py: Python<'_>, act: impl FnOnce(&mut Client, Instant) + Send + 'static) {
        py.detach(|| {
            if let Some(handle) = &*self.handle() {
                handle.call(act);
            }
        });
    }
}

impl Drop for Peer {
    /// The thread that wakes may be waiting for the interpreter that we hold: let go while it is joined.
    fn drop(&mut self) {
        let handle = self.handle.get_mut();
        let handle = handle.unwrap_or_else(PoisonError::into_inner).take();
        let mut handle = Some(handle);
        if Python::try_attach(|py| py.detach(|| drop(handle.take()))).is_none() {
            drop(handle);
        }
    }
}

// Fields of tracks are keyword arguments.
#[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)]
#[pymethods]
impl Peer {
    #[new]
    #[pyo3(signature = (*, single, wake, exchange = None))]
    fn new(
        py: Python<'_>,
        single: bool,
        wake: Py<PyAny>,
        exchange: Option<&Exchange>,
    ) -> PyResult<Self> {
        let exchange = exchange.map(|it| Arc::clone(&it.0));
        let setup = ClientSetup { single, exchange };
        let handle = py
            .detach(|| ClientHandle::open(&setup, waker(wake)))
            .map_err(PyOSError::new_err)?;
        Ok(Self {
            inbox: Arc::clone(handle.inbox()),
            handle: Mutex::new(Some(handle)),
            hearing: Mutex::default(),
        })
    }

    fn take_events(&self) -> Vec<PeerEvent> {
        let events = self.inbox.take();
        for event in &events {
            // The name of its section may be another track's soon.
            if let ClientEvent::TrackEnded { target, mid } = event {
                self.hearing().retain(|it| !it.is_of(*target, mid));
            }
        }
        events.into_iter().map(PeerEvent::from).collect()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            let handle = self.handle().take();
            drop(handle);
        });
    }

    #[pyo3(signature = (servers, relay_only = false))]
    fn set_ice_servers(
        &self,
        py: Python<'_>,
        servers: Vec<(Vec<String>, String, String)>,
        relay_only: bool,
    ) {
        py.detach(|| {
            if let Some(handle) = &*self.handle() {
                handle.set_ice_servers(servers, relay_only);
            }
        });
    }

    fn add_receivers(&self, py: Python<'_>, audio: usize, video: usize) {
        self.call(py, move |client, _| client.add_receivers(audio, video));
    }

    fn negotiate(&self, py: Python<'_>) {
        self.call(py, |client, _| client.negotiate());
    }

    fn remote_description(
        &self,
        py: Python<'_>,
        target: &str,
        kind: &str,
        sdp: String,
        id: u32,
    ) -> PyResult<()> {
        let (target, kind) = (parse_target(target)?, parse_kind(kind)?);
        self.call(py, move |client, now| {
            client.remote_description(now, target, kind, &sdp, id);
        });
        Ok(())
    }

    fn remote_candidate(&self, py: Python<'_>, target: &str, candidate: String) -> PyResult<()> {
        let target = parse_target(target)?;
        self.call(py, move |client, now| {
            client.remote_candidate(now, target, &candidate);
        });
        Ok(())
    }

    fn restart_ice(&self, py: Python<'_>, target: &str) -> PyResult<()> {
        let target = parse_target(target)?;
        py.detach(|| {
            if let Some(handle) = &*self.handle() {
                handle.restart_ice(target);
            }
        });
        Ok(())
    }

    fn open_channels(&self, py: Python<'_>) {
        self.call(py, |client, now| client.open_channels(now));
    }

    fn send(&self, py: Python<'_>, channel: &str, message: &[u8]) -> PyResult<bool> {
        let channel = parse_channel(channel)?;
        Ok(py.detach(|| {
            let handle = self.handle();
            handle.as_ref().is_some_and(|it| it.send(channel, message))
        }))
    }

    fn buffered(&self, py: Python<'_>, channel: &str) -> PyResult<u64> {
        let channel = parse_channel(channel)?;
        Ok(py.detach(|| self.handle().as_ref().map_or(0, |it| it.buffered(channel))))
    }

    fn flush(&self, py: Python<'_>) {
        self.call(py, |client, _| client.flush());
    }

    /// Sends what comes through a queue.
    #[pyo3(signature = (
        track, source, *, cid, stream, bitrate = None, dtx = true, red = true, stereo = false
    ))]
    fn publish_audio(
        &self,
        py: Python<'_>,
        track: u64,
        source: &AudioQueue,
        cid: String,
        stream: String,
        bitrate: Option<u32>,
        dtx: bool,
        red: bool,
        stereo: bool,
    ) -> PyResult<()> {
        let caller = self.handle().as_ref().map(ClientHandle::caller);
        let Some(caller) = caller else {
            return Ok(());
        };
        let config = EncoderConfig {
            bitrate,
            dtx,
            expected_loss: EXPECTED_LOSS,
            application: if stereo {
                Application::Audio
            } else {
                Application::Voip
            },
            ..EncoderConfig::default()
        };
        let ring = move || caller.call(|_, _| ());
        let source = Source::new(Instant::now(), Arc::clone(&source.0), config, ring)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let spec = AudioSpec {
            track: TrackId(track),
            cid,
            stream,
            red,
            stereo,
        };
        self.call(py, move |client, _| {
            client.publish_audio(spec, Some(Box::new(source)));
        });
        Ok(())
    }

    #[pyo3(signature = (track, *, cid, stream, red = true, stereo = false))]
    fn publish_opus(
        &self,
        py: Python<'_>,
        track: u64,
        cid: String,
        stream: String,
        red: bool,
        stereo: bool,
    ) {
        let spec = AudioSpec {
            track: TrackId(track),
            cid,
            stream,
            red,
            stereo,
        };
        self.call(py, move |client, _| client.publish_audio(spec, None));
    }

    #[pyo3(signature = (track, payload, *, timestamp, level = 127, voice = false))]
    fn send_opus(
        &self,
        py: Python<'_>,
        track: u64,
        payload: Vec<u8>,
        timestamp: u32,
        level: u8,
        voice: bool,
    ) {
        let frame = OpusFrame {
            payload: payload.into(),
            timestamp,
            captured: Instant::now(),
            level,
            voice,
            begins: false,
            plain: None,
        };
        self.call(py, move |client, now| {
            client.send_opus(now, TrackId(track), frame);
        });
    }

    /// `codec`: a MIME type; `layers`: rid and highest bitrate of each, by ascending quality.
    #[pyo3(signature = (track, *, cid, stream, codec, layers))]
    fn publish_video(
        &self,
        py: Python<'_>,
        track: u64,
        cid: String,
        stream: String,
        codec: &str,
        layers: Vec<(String, u64)>,
    ) -> PyResult<()> {
        let mime = match codec.contains('/') {
            true => codec.to_owned(),
            false => format!("video/{codec}"),
        };
        let known = Codec::from_mime(&mime).filter(|codec| is_supported(codec_kind(*codec)));
        let spec = VideoSpec {
            track: TrackId(track),
            cid,
            stream,
            codec: known.ok_or_else(|| unknown("codec", codec))?,
            layers: layers
                .into_iter()
                .map(|(rid, max_bitrate)| VideoLayer { rid, max_bitrate })
                .collect(),
        };
        self.call(py, move |client, _| client.publish_video(spec));
        Ok(())
    }

    /// `age`: seconds since it was captured, 0 for what comes encoded. `size`, `seconds` and `captured` (size and
    /// number of what was captured) are for statistics.
    #[pyo3(signature = (
        track, layer, frame, *, timestamp_us, key, age = 0.0, size = (0, 0), seconds = 0.0, captured = (0, 0, 0)
    ))]
    fn send_frame(
        &self,
        track: u64,
        layer: usize,
        frame: Vec<u8>,
        timestamp_us: i64,
        key: bool,
        age: f64,
        size: (u32, u32),
        seconds: f64,
        captured: (u32, u32, u64),
    ) {
        let details = FrameDetails {
            width: size.0,
            height: size.1,
            time: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            captured,
        };
        let now = Instant::now();
        let age = Duration::try_from_secs_f64(age).unwrap_or_default();
        let captured = now.checked_sub(age).unwrap_or(now);
        self.call_at_once(move |client, now| {
            let id = TrackId(track);
            client.describe_frame(now, id, layer, details);
            let frame = EncodedFrame {
                data: &frame,
                timestamp_us,
                captured,
                key,
            };
            client.send_frame(now, id, layer, frame);
        });
    }

    /// Passes a picture as it is to those in this process; a peer over a network has nobody to pass it to.
    fn send_plain(&self, py: Python<'_>, track: u64, frame: Py<PyAny>) {
        let local = self.handle().as_ref().is_some_and(ClientHandle::is_local);
        if local {
            let content = Content::new(frame);
            self.call(py, move |client, _| {
                client.send_plain(TrackId(track), content)
            });
        }
    }

    /// Gives what is received in a section to a sink instead of whoever had it before.
    fn see(&self, py: Python<'_>, target: &str, mid: String, sink: &FrameSink) -> PyResult<()> {
        let target = parse_target(target)?;
        let notifier = self.handle().as_ref().map(|it| Arc::clone(it.notifier()));
        if let Some(notifier) = notifier {
            let (id, entry) = (sink.identity(), sink.entry(notifier));
            self.call(py, move |client, now| {
                client.set_sink(now, target, &mid, id, entry);
            });
        }
        Ok(())
    }

    /// Plays what is received in a section to a sink, beside others that hear it already.
    fn hear(&self, target: &str, mid: String, sink: &AudioSink) -> PyResult<()> {
        let target = parse_target(target)?;
        let notifier = self.handle().as_ref().map(|it| Arc::clone(it.notifier()));
        let Some(notifier) = notifier else {
            return Ok(());
        };
        let listener = sink.listener(notifier)?;
        let listening = (sink.identity(), Arc::clone(&listener));
        let mut hearing = self.hearing();
        let known = hearing.iter_mut().find(|it| it.is_of(target, &mid));
        if let Some(known) = known {
            // Once is enough.
            if known.listeners.iter().all(|(id, _)| *id != listening.0) {
                known.audience.add(listener);
                known.listeners.push(listening);
            }
            return Ok(());
        }
        let audience = Audience::default();
        let playout = Playout::new(audience.clone(), listener.channels())
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        audience.add(listener);
        hearing.push(Hearing {
            target,
            mid: mid.clone(),
            audience,
            listeners: vec![listening],
        });
        self.call_at_once(move |client, now| {
            client.set_sink(now, target, &mid, 0, Box::new(playout));
        });
        Ok(())
    }

    /// What is received in a section is played in step with what is received in others of that stream.
    fn synchronize(
        &self,
        py: Python<'_>,
        target: &str,
        mid: String,
        stream: String,
    ) -> PyResult<()> {
        let target = parse_target(target)?;
        self.call(py, move |client, now| {
            client.synchronize(now, target, &mid, &stream);
        });
        Ok(())
    }

    /// Asks for a key frame of a video section.
    fn want_key_frame(&self, py: Python<'_>, target: &str, mid: String) -> PyResult<()> {
        let target = parse_target(target)?;
        self.call(py, move |client, _| client.request_keyframe(target, &mid));
        Ok(())
    }

    /// Ends what `hear` or `see` began; without a sink for all of a section's.
    #[pyo3(signature = (target, mid, sink = None))]
    fn stop(&self, target: &str, mid: String, sink: Option<Sink<'_>>) -> PyResult<()> {
        let target = parse_target(target)?;
        let mut hearing = self.hearing();
        let id = match &sink {
            Some(Sink::Audio(sink)) => {
                if let Some(known) = hearing.iter_mut().find(|it| it.is_of(target, &mid))
                    && known.remove(sink.get().identity())
                {
                    return Ok(());
                }
                Some(0)
            }
            Some(Sink::Frames(sink)) => Some(sink.get().identity()),
            None => None,
        };
        hearing.retain(|it| !it.is_of(target, &mid));
        self.call_at_once(move |client, now| {
            client.remove_sink(now, target, &mid, id);
        });
        Ok(())
    }

    /// Encrypts what is sent of a track from now on, or no longer.
    #[pyo3(signature = (track, keys, identity = "", key_index = 0))]
    fn encrypt(
        &self,
        py: Python<'_>,
        track: u64,
        keys: Option<&EncryptionKeys>,
        identity: &str,
        key_index: u8,
    ) {
        let by = keys.map(|keys| Sealer::new(Arc::clone(&keys.0), identity, key_index));
        self.call(py, move |client, _| client.encrypt(TrackId(track), by));
    }

    /// Decrypts what is received in a section from now on, or no longer. `server_trailer` marks what the server
    /// puts in.
    #[pyo3(signature = (target, mid, keys, identity = "", server_trailer = vec![]))]
    fn decrypt(
        &self,
        py: Python<'_>,
        target: &str,
        mid: String,
        keys: Option<&EncryptionKeys>,
        identity: &str,
        server_trailer: Vec<u8>,
    ) -> PyResult<()> {
        let target = parse_target(target)?;
        let by = keys.map(|keys| Opener::new(Arc::clone(&keys.0), identity, &server_trailer));
        self.call(py, move |client, _| client.decrypt(target, &mid, by));
        Ok(())
    }

    /// W3C's dictionaries of the publisher's and the subscriber's connection.
    fn statistics<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        let (publisher, subscriber) = py.detach(|| {
            let caller = self.handle().as_ref().map(ClientHandle::caller);
            let (tell, told) = channel();
            if let Some(caller) = caller {
                caller.call(move |client, now| {
                    let of = |target| client.statistics(now, target);
                    // Whoever asked waits.
                    let _ = tell.send((of(Target::Publisher), of(Target::Subscriber)));
                });
            }
            // Fails when it was closed meanwhile; a forked child waits in vain.
            told.recv_timeout(PATIENCE).unwrap_or_default()
        });
        Ok((
            dictionaries(py, &publisher)?,
            dictionaries(py, &subscriber)?,
        ))
    }

    fn unpublish(&self, py: Python<'_>, track: u64) {
        self.call(py, move |client, _| client.unpublish(TrackId(track)));
    }

    fn set_muted(&self, py: Python<'_>, track: u64, muted: bool) {
        self.call(py, move |client, now| {
            client.set_muted(now, TrackId(track), muted);
        });
    }

    /// Only these layers of a video track are of use.
    fn use_layers(&self, py: Python<'_>, track: u64, layers: Vec<usize>) {
        self.call(py, move |client, now| {
            client.use_layers(now, TrackId(track), &layers);
        });
    }
}
