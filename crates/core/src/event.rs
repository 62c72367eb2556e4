//! [`api::Event`] as a Python class with one subclass a variant, for `match` statements.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use roomful_media::api;

/// Media plane → control plane. Ids are the numbers that the control plane gave.
#[pyclass(frozen, module = "roomful._core")]
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Description {
        participant: u64,
        target: String,
        kind: String,
        sdp: String,
        id: u32,
        mids: BTreeMap<String, String>,
    },
    DescriptionRejected {
        participant: u64,
        target: String,
        id: u32,
        reason: String,
    },
    Candidate {
        participant: u64,
        target: String,
        candidate: String,
        mid: String,
        mline: u16,
        last: bool,
    },
    #[pyo3(constructor = (participant, target, state, detail, way = None))]
    Connection {
        participant: u64,
        target: String,
        state: String,
        detail: String,
        way: Option<String>,
    },
    DataReady {
        participant: u64,
    },
    DataMissing {
        participant: u64,
    },
    Resumed {
        participant: u64,
        last_sequence: u32,
    },
    Answered {
        participant: u64,
        caller: String,
        packet: Vec<u8>,
    },
    MediaSections {
        participant: u64,
        audios: u32,
        videos: u32,
    },
    TrackBound {
        track: u64,
        mid: String,
        mime: String,
        layers: Vec<(String, u8, u32)>,
    },
    TrackEnded {
        track: u64,
    },
    Subscribed {
        participant: u64,
        track: u64,
        mime: String,
    },
    Unsubscribed {
        participant: u64,
        track: u64,
    },
    SubscriptionFailed {
        participant: u64,
        track: u64,
        reason: String,
    },
    Qualities {
        track: u64,
        codecs: Vec<(String, (bool, bool, bool))>,
    },
    AudioCodecs {
        track: u64,
        codecs: Vec<(String, bool)>,
    },
    Speakers {
        room: u64,
        speakers: Vec<(u64, f32, bool)>,
    },
    Quality {
        participant: u64,
        quality: u8,
        score: f32,
    },
    Liveness {
        participant: u64,
        alive: bool,
    },
    Overflow {
        participant: u64,
        detail: String,
    },
    Refused {
        participant: u64,
        detail: String,
    },
    Fault {
        participant: u64,
        detail: String,
    },
}

pub(crate) fn target_name(target: api::Target) -> String {
    match target {
        api::Target::Publisher => "publisher",
        api::Target::Subscriber => "subscriber",
    }
    .into()
}

pub(crate) fn kind_name(kind: api::SdpKind) -> String {
    match kind {
        api::SdpKind::Offer => "offer",
        api::SdpKind::Answer => "answer",
    }
    .into()
}

pub(crate) fn state_name(state: api::ConnectionState) -> String {
    match state {
        api::ConnectionState::Connecting => "connecting",
        api::ConnectionState::Connected => "connected",
        api::ConnectionState::Disconnected => "disconnected",
        api::ConnectionState::Failed => "failed",
        api::ConnectionState::Closed => "closed",
    }
    .into()
}

pub(crate) fn way_name(way: api::Way) -> String {
    match way {
        api::Way::Udp => "udp",
        api::Way::Tcp => "tcp",
        api::Way::Relay => "relay",
    }
    .into()
}

impl From<api::Event> for Event {
    fn from(event: api::Event) -> Self {
        match event {
            api::Event::Description {
                participant,
                target,
                kind,
                sdp,
                id,
                mids,
            } => Self::Description {
                participant: participant.0,
                target: target_name(target),
                kind: kind_name(kind),
                sdp,
                id,
                mids: mids
                    .into_iter()
                    .map(|(mid, sid)| (mid, sid.to_string()))
                    .collect(),
            },
            api::Event::DescriptionRejected {
                participant,
                target,
                id,
                reason,
            } => Self::DescriptionRejected {
                participant: participant.0,
                target: target_name(target),
                id,
                reason,
            },
            api::Event::Candidate {
                participant,
                target,
                candidate,
                mid,
                mline,
                last,
            } => Self::Candidate {
                participant: participant.0,
                target: target_name(target),
                candidate,
                mid,
                mline,
                last,
            },
            api::Event::Connection {
                participant,
                target,
                state,
                detail,
                way,
            } => Self::Connection {
                participant: participant.0,
                target: target_name(target),
                state: state_name(state),
                detail,
                way: way.map(way_name),
            },
            api::Event::DataReady(participant) => Self::DataReady {
                participant: participant.0,
            },
            api::Event::DataMissing(participant) => Self::DataMissing {
                participant: participant.0,
            },
            api::Event::Resumed {
                participant,
                last_sequence,
            } => Self::Resumed {
                participant: participant.0,
                last_sequence,
            },
            api::Event::Answered {
                participant,
                caller,
                packet,
            } => Self::Answered {
                participant: participant.0,
                caller: caller.to_string(),
                packet,
            },
            api::Event::MediaSections {
                participant,
                audios,
                videos,
            } => Self::MediaSections {
                participant: participant.0,
                audios,
                videos,
            },
            api::Event::TrackBound {
                track,
                mid,
                mime,
                layers,
            } => Self::TrackBound {
                track: track.0,
                mid,
                mime,
                layers: layers
                    .into_iter()
                    .map(|layer| (layer.rid, layer.quality, layer.ssrc))
                    .collect(),
            },
            api::Event::TrackEnded(track) => Self::TrackEnded { track: track.0 },
            api::Event::Subscribed {
                participant,
                track,
                mime,
            } => Self::Subscribed {
                participant: participant.0,
                track: track.0,
                mime,
            },
            api::Event::Unsubscribed { participant, track } => Self::Unsubscribed {
                participant: participant.0,
                track: track.0,
            },
            api::Event::SubscriptionFailed {
                participant,
                track,
                reason,
            } => Self::SubscriptionFailed {
                participant: participant.0,
                track: track.0,
                reason: match reason {
                    api::SubscriptionFailure::CodecUnsupported => "codec_unsupported".into(),
                },
            },
            api::Event::Qualities { track, codecs } => Self::Qualities {
                track: track.0,
                codecs: codecs
                    .into_iter()
                    .map(|codec| (codec.codec, codec.enabled.into()))
                    .collect(),
            },
            api::Event::AudioCodecs { track, codecs } => Self::AudioCodecs {
                track: track.0,
                codecs,
            },
            api::Event::Speakers { room, speakers } => Self::Speakers {
                room: room.0,
                speakers: speakers
                    .into_iter()
                    .map(|speaker| (speaker.participant.0, speaker.level, speaker.active))
                    .collect(),
            },
            api::Event::Quality {
                participant,
                quality,
                score,
            } => Self::Quality {
                participant: participant.0,
                quality,
                score,
            },
            api::Event::Liveness { participant, alive } => Self::Liveness {
                participant: participant.0,
                alive,
            },
            api::Event::Overflow {
                participant,
                detail,
            } => Self::Overflow {
                participant: participant.0,
                detail,
            },
            api::Event::Refused {
                participant,
                detail,
            } => Self::Refused {
                participant: participant.0,
                detail,
            },
            api::Event::Fault {
                participant,
                detail,
            } => Self::Fault {
                participant: participant.0,
                detail,
            },
        }
    }
}

#[pymethods]
impl Event {
    fn __repr__(&self) -> String {
        format!("Event.{self:?}")
    }
}
