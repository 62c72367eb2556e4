//! The messages of LiveKit's signalling and data channels that a client needs, with the official field numbers.
//!
//! Declared here because building the whole of `livekit-protocol` takes minutes and this is a twentieth of it. Fields
//! left out are skipped when read.

use std::collections::HashMap;

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SignalRequest {
    #[prost(oneof = "Request", tags = "1, 2, 3, 4, 8, 16")]
    pub(crate) message: Option<Request>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Request {
    #[prost(message, tag = "1")]
    Offer(SessionDescription),
    #[prost(message, tag = "2")]
    Answer(SessionDescription),
    #[prost(message, tag = "3")]
    Trickle(Trickle),
    #[prost(message, tag = "4")]
    AddTrack(AddTrack),
    #[prost(message, tag = "8")]
    Leave(Leave),
    #[prost(message, tag = "16")]
    Ping(Ping),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SignalResponse {
    #[prost(oneof = "Response", tags = "1, 2, 3, 4, 6, 8, 22, 25")]
    pub(crate) message: Option<Response>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Response {
    #[prost(message, tag = "1")]
    Join(Join),
    #[prost(message, tag = "2")]
    Answer(SessionDescription),
    #[prost(message, tag = "3")]
    Offer(SessionDescription),
    #[prost(message, tag = "4")]
    Trickle(Trickle),
    #[prost(message, tag = "6")]
    TrackPublished(TrackPublished),
    #[prost(message, tag = "8")]
    Leave(Leave),
    #[prost(message, tag = "22")]
    RequestResponse(RequestResponse),
    #[prost(message, tag = "25")]
    MediaSectionsRequirement(MediaSectionsRequirement),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SessionDescription {
    /// `offer` or `answer`.
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) sdp: String,
    #[prost(uint32, tag = "3")]
    pub(crate) id: u32,
    #[prost(map = "string, string", tag = "4")]
    pub(crate) mid_to_track_id: HashMap<String, String>,
}

/// The peer connection by which the server sends, as a target.
pub(crate) const SUBSCRIBER: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Trickle {
    /// JSON of an RTCIceCandidateInit.
    #[prost(string, tag = "1")]
    pub(crate) candidate_init: String,
    #[prost(int32, tag = "2")]
    pub(crate) target: i32,
    #[prost(bool, tag = "3")]
    pub(crate) last: bool,
}

pub(crate) const TRACK_AUDIO: i32 = 0;
pub(crate) const TRACK_VIDEO: i32 = 1;
pub(crate) const SOURCE_CAMERA: i32 = 1;
pub(crate) const SOURCE_MICROPHONE: i32 = 2;
pub(crate) const QUALITY_HIGH: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AddTrack {
    #[prost(string, tag = "1")]
    pub(crate) cid: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(int32, tag = "3")]
    pub(crate) kind: i32,
    #[prost(uint32, tag = "4")]
    pub(crate) width: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) height: u32,
    #[prost(int32, tag = "8")]
    pub(crate) source: i32,
    #[prost(message, repeated, tag = "9")]
    pub(crate) layers: Vec<VideoLayer>,
    #[prost(message, repeated, tag = "10")]
    pub(crate) codecs: Vec<SimulcastCodec>,
    #[prost(bool, tag = "13")]
    pub(crate) disable_red: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VideoLayer {
    #[prost(int32, tag = "1")]
    pub(crate) quality: i32,
    #[prost(uint32, tag = "2")]
    pub(crate) width: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) height: u32,
    /// Bits a second.
    #[prost(uint32, tag = "4")]
    pub(crate) bitrate: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SimulcastCodec {
    #[prost(string, tag = "1")]
    pub(crate) codec: String,
    #[prost(string, tag = "2")]
    pub(crate) cid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TrackPublished {
    #[prost(string, tag = "1")]
    pub(crate) cid: String,
}

pub(crate) const CLIENT_INITIATED: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Leave {
    #[prost(int32, tag = "2")]
    pub(crate) reason: i32,
    #[prost(int32, tag = "3")]
    pub(crate) action: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestResponse {
    /// 0 is success.
    #[prost(int32, tag = "2")]
    pub(crate) reason: i32,
    #[prost(string, tag = "3")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MediaSectionsRequirement {
    #[prost(uint32, tag = "1")]
    pub(crate) num_audios: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) num_videos: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Join {
    #[prost(bool, tag = "6")]
    pub(crate) subscriber_primary: bool,
    #[prost(int32, tag = "11")]
    pub(crate) ping_interval: i32,
    #[prost(bool, tag = "15")]
    pub(crate) fast_publish: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ping {
    /// Milliseconds since 1970.
    #[prost(int64, tag = "1")]
    pub(crate) timestamp: i64,
    #[prost(int64, tag = "2")]
    pub(crate) rtt: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WrappedJoinRequest {
    /// A [`JoinRequest`], not compressed.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) join_request: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct JoinRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) client_info: Option<ClientInfo>,
    #[prost(message, optional, tag = "2")]
    pub(crate) connection_settings: Option<ConnectionSettings>,
    #[prost(message, optional, tag = "6")]
    pub(crate) publisher_offer: Option<SessionDescription>,
}

/// The SDK this generator behaves as: livekit-client.
pub(crate) const SDK_JS: i32 = 1;
/// Version of the signalling protocol it speaks.
pub(crate) const PROTOCOL: i32 = 16;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ClientInfo {
    #[prost(int32, tag = "1")]
    pub(crate) sdk: i32,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(int32, tag = "3")]
    pub(crate) protocol: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConnectionSettings {
    #[prost(bool, tag = "1")]
    pub(crate) auto_subscribe: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DataPacket {
    /// 0 reliable, 1 lossy.
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) user: Option<UserPacket>,
    /// Counts reliable packets, from 1.
    #[prost(uint32, tag = "16")]
    pub(crate) sequence: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UserPacket {
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) payload: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_a_kind_left_out_reads_as_none() {
        // Field 13 (connection quality), length-delimited and empty.
        let response = SignalResponse::decode(&[0x6a, 0][..]).unwrap();
        assert_eq!(response.message, None);
    }

    #[test]
    fn an_offer_is_field_one_of_a_request() {
        let offer = SessionDescription {
            kind: "offer".into(),
            id: 3,
            ..SessionDescription::default()
        };
        let request = SignalRequest {
            message: Some(Request::Offer(offer)),
        };
        assert_eq!(
            request.encode_to_vec(),
            b"\x0a\x09\x0a\x05offer\x18\x03".to_vec()
        );
    }
}
