//! `Media`: one method per [`api::Command`], and the way back for events.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use roomful_media::api::{self, Command, ParticipantId, RoomId, TrackId};
use roomful_media::io::{self, Engine, EngineConfig, EventQueue, Network, TurnConfig, worker_of};

use crate::event::Event;
use crate::frames::waker;

/// One declared layer of a simulcast or SVC track.
#[pyclass(frozen, from_py_object, module = "roomful._core")]
#[derive(Clone)]
pub(crate) struct Layer(api::LayerSpec);

#[pymethods]
impl Layer {
    #[new]
    #[pyo3(signature = (*, quality, rid = String::new(), width = 0, height = 0, bitrate = 0, ssrc = 0))]
    fn new(quality: u8, rid: String, width: u32, height: u32, bitrate: u32, ssrc: u32) -> Self {
        Self(api::LayerSpec {
            quality,
            rid,
            width,
            height,
            bitrate,
            ssrc,
        })
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// One codec variant of a track.
#[pyclass(frozen, from_py_object, module = "roomful._core")]
#[derive(Clone)]
pub(crate) struct Codec(api::CodecSpec);

#[pymethods]
impl Codec {
    #[new]
    #[pyo3(signature = (*, mime = String::new(), cid = String::new(), layer_mode = "unused", layers = Vec::new()))]
    fn new(mime: String, cid: String, layer_mode: &str, layers: Vec<Layer>) -> PyResult<Self> {
        let layer_mode = match layer_mode {
            "unused" => api::LayerMode::Unused,
            "one_spatial_layer_per_stream" => api::LayerMode::OneSpatialLayerPerStream,
            "multiple_spatial_layers_per_stream" => api::LayerMode::MultipleSpatialLayersPerStream,
            other => return Err(unknown("layer_mode", other)),
        };
        let layers = layers.into_iter().map(|layer| layer.0).collect();
        Ok(Self(api::CodecSpec {
            mime,
            cid,
            layer_mode,
            layers,
        }))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

pub(crate) fn unknown(what: &str, value: &str) -> PyErr {
    PyValueError::new_err(format!("unknown {what} {value:?}"))
}

pub(crate) fn parse_target(target: &str) -> PyResult<api::Target> {
    match target {
        "publisher" => Ok(api::Target::Publisher),
        "subscriber" => Ok(api::Target::Subscriber),
        other => Err(unknown("target", other)),
    }
}

pub(crate) fn parse_kind(kind: &str) -> PyResult<api::SdpKind> {
    match kind {
        "offer" => Ok(api::SdpKind::Offer),
        "answer" => Ok(api::SdpKind::Answer),
        other => Err(unknown("kind", other)),
    }
}

fn parse_address(address: &str) -> PyResult<IpAddr> {
    address
        .parse()
        .map_err(|_| PyValueError::new_err(format!("{address:?} is not an IP address")))
}

fn parse_networks(networks: &[String]) -> PyResult<Vec<Network>> {
    networks
        .iter()
        .map(|it| it.parse().map_err(PyValueError::new_err))
        .collect()
}

/// Asks STUN servers for the addresses that ours are mapped to.
#[pyclass(frozen, from_py_object, module = "roomful._core")]
#[derive(Clone)]
pub(crate) struct ExternalAddresses(io::ExternalAddresses);

#[pymethods]
impl ExternalAddresses {
    #[new]
    #[pyo3(signature = (*, stun_servers, only, advertise_internal, validate))]
    fn new(
        stun_servers: Vec<String>,
        only: bool,
        advertise_internal: bool,
        validate: bool,
    ) -> Self {
        Self(io::ExternalAddresses {
            stun_servers,
            only,
            advertise_internal,
            validate,
        })
    }
}

/// Where a media plane and the peers of the same process find each other.
#[pyclass(frozen, module = "roomful._core")]
#[derive(Default)]
pub(crate) struct Exchange(pub(crate) Arc<io::Exchange>);

#[pymethods]
impl Exchange {
    #[new]
    fn new() -> Self {
        Self::default()
    }
}

/// A running media plane. Methods queue commands and return at once; commands on unknown ids are ignored.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct Media {
    engine: Mutex<Engine>,
    /// Beside the engine: taking events, which holds the interpreter, must not wait for one that closes and
    /// waits for the notifier, which waits for the interpreter.
    events: Arc<EventQueue>,
    ports: Vec<u16>,
    tcp_port: Option<u16>,
    turn_ports: (Option<u16>, Option<u16>),
    addresses: Vec<String>,
    fingerprint: String,
}

impl Media {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, py: Python<'_>, command: Command) {
        py.detach(|| self.engine().send(command));
    }
}

impl Drop for Media {
    /// The notifier thread may be waiting for the interpreter that we hold: let go while joining it.
    fn drop(&mut self) {
        let engine = self
            .engine
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if Python::try_attach(|py| py.detach(|| engine.close())).is_none() {
            engine.close();
        }
    }
}

// Each method mirrors one command with all its fields as keyword arguments.
#[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)]
#[pymethods]
impl Media {
    #[new]
    #[pyo3(signature = (
        *, udp_ports, wake, tcp_port = None, tcp_optional = false, turn_secret = None, turn_port = None,
        turn_tls_port = None, turn_bind = Vec::new(), turn_certificate = None, turn_allocations = 12,
        turn_optional = false, bind = Vec::new(), node_addresses = Vec::new(), allow_loopback = false,
        interfaces_include = Vec::new(), interfaces_exclude = Vec::new(), networks_include = Vec::new(),
        networks_exclude = Vec::new(), external = None, seed = None, offline = false, exchange = None
    ))]
    fn new(
        py: Python<'_>,
        udp_ports: Vec<u16>,
        wake: Py<PyAny>,
        tcp_port: Option<u16>,
        tcp_optional: bool,
        turn_secret: Option<[u8; 32]>,
        turn_port: Option<u16>,
        turn_tls_port: Option<u16>,
        turn_bind: Vec<String>,
        turn_certificate: Option<(PathBuf, PathBuf)>,
        turn_allocations: usize,
        turn_optional: bool,
        bind: Vec<String>,
        node_addresses: Vec<String>,
        allow_loopback: bool,
        interfaces_include: Vec<String>,
        interfaces_exclude: Vec<String>,
        networks_include: Vec<String>,
        networks_exclude: Vec<String>,
        external: Option<ExternalAddresses>,
        seed: Option<u64>,
        offline: bool,
        exchange: Option<&Exchange>,
    ) -> PyResult<Self> {
        let parse = |addresses: Vec<String>| {
            addresses
                .iter()
                .map(|it| parse_address(it))
                .collect::<PyResult<_>>()
        };
        let turn = match turn_secret {
            Some(secret) => Some(TurnConfig {
                bind: parse(turn_bind)?,
                udp_port: turn_port,
                tls_port: turn_tls_port,
                certificate: turn_certificate,
                secret,
                allocations_per_participant: turn_allocations,
                optional: turn_optional,
            }),
            None => None,
        };
        let config = EngineConfig {
            udp_ports,
            offline,
            exchange: exchange.map(|it| Arc::clone(&it.0)),
            tcp_port,
            tcp_optional,
            turn,
            bind: parse(bind)?,
            node_addresses: parse(node_addresses)?,
            allow_loopback,
            interfaces_include,
            interfaces_exclude,
            networks_include: parse_networks(&networks_include)?,
            networks_exclude: parse_networks(&networks_exclude)?,
            external: external.map(|it| it.0),
            seed,
        };
        let events = Arc::new(EventQueue::default());
        let engine = py
            .detach(|| Engine::start(config, Arc::clone(&events), waker(wake)))
            .map_err(PyOSError::new_err)?;
        let (ports, tcp_port) = (engine.ports().to_vec(), engine.tcp_port());
        let fingerprint = engine.fingerprint().to_owned();
        let turn_ports = engine.turn_ports();
        let addresses = engine.addresses().iter().map(IpAddr::to_string).collect();
        Ok(Self {
            engine: Mutex::new(engine),
            events,
            ports,
            tcp_port,
            turn_ports,
            addresses,
            fingerprint,
        })
    }

    #[getter]
    fn ports(&self) -> Vec<u16> {
        self.ports.clone()
    }

    #[getter]
    fn tcp_port(&self) -> Option<u16> {
        self.tcp_port
    }

    #[getter]
    fn turn_ports(&self) -> (Option<u16>, Option<u16>) {
        self.turn_ports
    }

    #[getter]
    fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    #[getter]
    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn take_events(&self) -> Vec<Event> {
        self.events.take().into_iter().map(Event::from).collect()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.engine().close());
    }

    #[pyo3(signature = (
        *, room, sid, codecs, sync_streams = false, active_level = 35, min_percentile = 40,
        update_interval_ms = 400, smooth_intervals = 2
    ))]
    fn open_room(
        &self,
        py: Python<'_>,
        room: u64,
        sid: &str,
        codecs: Vec<String>,
        sync_streams: bool,
        active_level: u8,
        min_percentile: u8,
        update_interval_ms: u32,
        smooth_intervals: u32,
    ) {
        let speakers = api::SpeakerSettings {
            active_level,
            min_percentile,
            update_interval_ms,
            smooth_intervals,
        };
        let spec = api::RoomSpec {
            room: RoomId(room),
            sid: sid.into(),
            codecs,
            speakers,
            sync_streams,
        };
        self.send(py, Command::OpenRoom(spec));
    }

    #[pyo3(signature = (*, room))]
    fn close_room(&self, py: Python<'_>, room: u64) {
        self.send(py, Command::CloseRoom(RoomId(room)));
    }

    #[pyo3(signature = (
        *, participant, room, identity, sid, mode, subscriber_primary = true, hidden = false, can_publish = true,
        can_subscribe = true, can_publish_data = true, agent = false, auto_subscribe = true,
        adaptive_stream = false, ice_lite = false, sdk = String::new(), protocol = 0, browser = String::new(),
        disabled_publish_codecs = Vec::new(), disabled_codecs = Vec::new(), extra_address = None,
        tcp_only = false, in_process = false
    ))]
    fn add_participant(
        &self,
        py: Python<'_>,
        participant: u64,
        room: u64,
        identity: &str,
        sid: &str,
        mode: &str,
        subscriber_primary: bool,
        hidden: bool,
        can_publish: bool,
        can_subscribe: bool,
        can_publish_data: bool,
        agent: bool,
        auto_subscribe: bool,
        adaptive_stream: bool,
        ice_lite: bool,
        sdk: String,
        protocol: u32,
        browser: String,
        disabled_publish_codecs: Vec<String>,
        disabled_codecs: Vec<String>,
        extra_address: Option<&str>,
        tcp_only: bool,
        in_process: bool,
    ) -> PyResult<()> {
        let mode = match mode {
            "single" => api::ConnectionMode::Single,
            "dual" => api::ConnectionMode::Dual { subscriber_primary },
            other => return Err(unknown("mode", other)),
        };
        let spec = api::ParticipantSpec {
            room: RoomId(room),
            identity: identity.into(),
            sid: sid.into(),
            mode,
            permissions: api::Permissions {
                hidden,
                can_publish,
                can_subscribe,
                can_publish_data,
                agent,
            },
            auto_subscribe,
            adaptive_stream,
            ice_lite,
            client: api::ClientTraits {
                sdk,
                protocol,
                browser,
                disabled_publish_codecs,
                disabled_codecs,
            },
            extra_address: extra_address.map(parse_address).transpose()?,
            tcp_only,
            in_process,
        };
        self.send(
            py,
            Command::AddParticipant {
                participant: ParticipantId(participant),
                spec,
            },
        );
        Ok(())
    }

    #[pyo3(signature = (*, participant, hidden, can_publish, can_subscribe, can_publish_data, agent))]
    fn update_permissions(
        &self,
        py: Python<'_>,
        participant: u64,
        hidden: bool,
        can_publish: bool,
        can_subscribe: bool,
        can_publish_data: bool,
        agent: bool,
    ) {
        let permissions = api::Permissions {
            hidden,
            can_publish,
            can_subscribe,
            can_publish_data,
            agent,
        };
        self.send(
            py,
            Command::UpdatePermissions {
                participant: ParticipantId(participant),
                permissions,
            },
        );
    }

    #[pyo3(signature = (*, room))]
    fn worker_of(&self, room: u64) -> usize {
        worker_of(RoomId(room), self.ports.len())
    }

    #[pyo3(signature = (*, participant, room, sid))]
    fn move_participant(&self, py: Python<'_>, participant: u64, room: u64, sid: &str) {
        self.send(
            py,
            Command::MoveParticipant {
                participant: ParticipantId(participant),
                room: RoomId(room),
                sid: sid.into(),
            },
        );
    }

    #[pyo3(signature = (*, participant))]
    fn remove_participant(&self, py: Python<'_>, participant: u64) {
        self.send(py, Command::RemoveParticipant(ParticipantId(participant)));
    }

    #[pyo3(signature = (*, participant, target, kind, sdp, id))]
    fn remote_description(
        &self,
        py: Python<'_>,
        participant: u64,
        target: &str,
        kind: &str,
        sdp: String,
        id: u32,
    ) -> PyResult<()> {
        let kind = parse_kind(kind)?;
        let (participant, target) = (ParticipantId(participant), parse_target(target)?);
        self.send(
            py,
            Command::RemoteDescription {
                participant,
                target,
                kind,
                sdp,
                id,
            },
        );
        Ok(())
    }

    #[pyo3(signature = (*, participant, target, candidate))]
    fn remote_candidate(
        &self,
        py: Python<'_>,
        participant: u64,
        target: &str,
        candidate: String,
    ) -> PyResult<()> {
        let (participant, target) = (ParticipantId(participant), parse_target(target)?);
        self.send(
            py,
            Command::RemoteCandidate {
                participant,
                target,
                candidate,
            },
        );
        Ok(())
    }

    #[pyo3(signature = (*, participant, target))]
    fn restart_ice(&self, py: Python<'_>, participant: u64, target: &str) -> PyResult<()> {
        let (participant, target) = (ParticipantId(participant), parse_target(target)?);
        self.send(
            py,
            Command::RestartIce {
                participant,
                target,
            },
        );
        Ok(())
    }

    #[pyo3(signature = (*, participant, tcp_only))]
    fn set_tcp_only(&self, py: Python<'_>, participant: u64, tcp_only: bool) {
        self.send(
            py,
            Command::SetTcpOnly {
                participant: ParticipantId(participant),
                tcp_only,
            },
        );
    }

    #[pyo3(signature = (*, participant))]
    fn resume(&self, py: Python<'_>, participant: u64) {
        self.send(py, Command::Resume(ParticipantId(participant)));
    }

    #[pyo3(signature = (*, participant))]
    fn skip_missing_data(&self, py: Python<'_>, participant: u64) {
        self.send(py, Command::SkipMissingData(ParticipantId(participant)));
    }

    #[pyo3(signature = (*, participant, received))]
    fn replay_data(&self, py: Python<'_>, participant: u64, received: Vec<(String, u32)>) {
        let received = received
            .into_iter()
            .map(|(sid, sequence)| (sid.into(), sequence))
            .collect();
        self.send(
            py,
            Command::ReplayData {
                participant: ParticipantId(participant),
                received,
            },
        );
    }

    #[pyo3(signature = (
        *, participant, track, sid, stream, kind, cid, codecs = Vec::new(), microphone = false, stereo = false,
        dtx = true, red = false, encrypted = false, muted = false
    ))]
    fn expect_track(
        &self,
        py: Python<'_>,
        participant: u64,
        track: u64,
        sid: &str,
        stream: &str,
        kind: &str,
        cid: String,
        codecs: Vec<Codec>,
        microphone: bool,
        stereo: bool,
        dtx: bool,
        red: bool,
        encrypted: bool,
        muted: bool,
    ) -> PyResult<()> {
        let kind = match kind {
            "audio" => api::MediaKind::Audio,
            "video" => api::MediaKind::Video,
            other => return Err(unknown("kind", other)),
        };
        let spec = api::TrackSpec {
            track: TrackId(track),
            sid: sid.into(),
            stream: stream.into(),
            kind,
            microphone,
            cid,
            codecs: codecs.into_iter().map(|codec| codec.0).collect(),
            stereo,
            dtx,
            red,
            encrypted,
            muted,
        };
        self.send(
            py,
            Command::ExpectTrack {
                participant: ParticipantId(participant),
                spec,
            },
        );
        Ok(())
    }

    #[pyo3(signature = (*, track, muted))]
    fn mute_track(&self, py: Python<'_>, track: u64, muted: bool) {
        self.send(
            py,
            Command::MuteTrack {
                track: TrackId(track),
                muted,
            },
        );
    }

    #[pyo3(signature = (*, track))]
    fn remove_track(&self, py: Python<'_>, track: u64) {
        self.send(py, Command::RemoveTrack(TrackId(track)));
    }

    #[pyo3(signature = (*, track, mirror, room, owner, sid))]
    fn forward_track(
        &self,
        py: Python<'_>,
        track: u64,
        mirror: u64,
        room: u64,
        owner: u64,
        sid: &str,
    ) {
        self.send(
            py,
            Command::ForwardTrack {
                track: TrackId(track),
                mirror: TrackId(mirror),
                room: RoomId(room),
                owner: ParticipantId(owner),
                sid: sid.into(),
            },
        );
    }

    #[pyo3(signature = (*, participant, track, wish))]
    fn set_subscription(
        &self,
        py: Python<'_>,
        participant: u64,
        track: u64,
        wish: &str,
    ) -> PyResult<()> {
        let wish = match wish {
            "default" => api::SubscriptionWish::Default,
            "subscribed" => api::SubscriptionWish::Subscribed,
            "unsubscribed" => api::SubscriptionWish::Unsubscribed,
            other => return Err(unknown("wish", other)),
        };
        let (participant, track) = (ParticipantId(participant), TrackId(track));
        self.send(
            py,
            Command::SetSubscription {
                participant,
                track,
                wish,
            },
        );
        Ok(())
    }

    #[pyo3(signature = (*, participant, track, disabled = false, quality = 2, width = 0, height = 0, fps = 0))]
    fn set_track_settings(
        &self,
        py: Python<'_>,
        participant: u64,
        track: u64,
        disabled: bool,
        quality: u8,
        width: u32,
        height: u32,
        fps: u32,
    ) {
        let settings = api::TrackSettings {
            disabled,
            quality,
            width,
            height,
            fps,
        };
        let (participant, track) = (ParticipantId(participant), TrackId(track));
        self.send(
            py,
            Command::SetTrackSettings {
                participant,
                track,
                settings,
            },
        );
    }

    #[pyo3(signature = (*, participant, track, sid, publisher_handle))]
    fn publish_data_track(
        &self,
        py: Python<'_>,
        participant: u64,
        track: u64,
        sid: &str,
        publisher_handle: u16,
    ) {
        let spec = api::DataTrackSpec {
            track: TrackId(track),
            sid: sid.into(),
            publisher_handle,
        };
        self.send(
            py,
            Command::PublishDataTrack {
                participant: ParticipantId(participant),
                spec,
            },
        );
    }

    #[pyo3(signature = (*, track))]
    fn unpublish_data_track(&self, py: Python<'_>, track: u64) {
        self.send(py, Command::UnpublishDataTrack(TrackId(track)));
    }

    #[pyo3(signature = (*, participant, track, handle))]
    fn set_data_subscription(
        &self,
        py: Python<'_>,
        participant: u64,
        track: u64,
        handle: Option<u16>,
    ) {
        let (participant, track) = (ParticipantId(participant), TrackId(track));
        self.send(
            py,
            Command::SetDataSubscription {
                participant,
                track,
                handle,
            },
        );
    }

    #[pyo3(signature = (*, room, packet, reliable, destinations = Vec::new()))]
    fn send_data(
        &self,
        py: Python<'_>,
        room: u64,
        packet: Vec<u8>,
        reliable: bool,
        destinations: Vec<u64>,
    ) {
        let destinations = destinations.into_iter().map(ParticipantId).collect();
        self.send(
            py,
            Command::SendData {
                room: RoomId(room),
                packet,
                reliable,
                destinations,
            },
        );
    }
    #[pyo3(signature = (*, participant, caller, packets))]
    fn call(&self, py: Python<'_>, participant: u64, caller: &str, packets: Vec<Vec<u8>>) {
        self.send(
            py,
            Command::Call {
                participant: ParticipantId(participant),
                caller: caller.into(),
                packets,
            },
        );
    }

    #[pyo3(signature = (*, participant, caller))]
    fn end_call(&self, py: Python<'_>, participant: u64, caller: &str) {
        self.send(
            py,
            Command::EndCall {
                participant: ParticipantId(participant),
                caller: caller.into(),
            },
        );
    }
}
