//! Between the vocabularies of descriptions, transports and tracks.

use crate::codec::CodecKind;
use crate::congestion::SendExtensions;
use crate::rtp::ExtensionKind;
use crate::subscription::SendPayload;
use crate::track::ReceivePayload;
use crate::{sdp, transport};

pub(super) fn codec(codec: sdp::Codec) -> CodecKind {
    match codec {
        sdp::Codec::Opus => CodecKind::Opus,
        sdp::Codec::Red => CodecKind::Red,
        sdp::Codec::Pcmu => CodecKind::Pcmu,
        sdp::Codec::Pcma => CodecKind::Pcma,
        sdp::Codec::Vp8 => CodecKind::Vp8,
        sdp::Codec::Vp9 => CodecKind::Vp9,
        sdp::Codec::H264 => CodecKind::H264,
        sdp::Codec::H265 => CodecKind::H265,
        sdp::Codec::Av1 => CodecKind::Av1,
    }
}

fn extension(extension: sdp::Extension) -> ExtensionKind {
    match extension {
        sdp::Extension::Mid => ExtensionKind::Mid,
        sdp::Extension::Rid => ExtensionKind::Rid,
        sdp::Extension::RepairedRid => ExtensionKind::RepairedRid,
        sdp::Extension::AudioLevel => ExtensionKind::AudioLevel,
        sdp::Extension::AbsCaptureTime => ExtensionKind::AbsCaptureTime,
        sdp::Extension::AbsSendTime => ExtensionKind::AbsSendTime,
        sdp::Extension::TransportCc => ExtensionKind::TransportCc,
        sdp::Extension::FrameMarking => ExtensionKind::FrameMarking,
        sdp::Extension::DependencyDescriptor => ExtensionKind::DependencyDescriptor,
        sdp::Extension::PlayoutDelay => ExtensionKind::PlayoutDelay,
        sdp::Extension::VideoOrientation => ExtensionKind::VideoOrientation,
    }
}

pub(super) fn extensions(negotiated: &[(u8, sdp::Extension)]) -> Vec<(u8, ExtensionKind)> {
    negotiated.iter().map(|(id, kind)| (*id, extension(*kind))).collect()
}

/// Each format, and its RTX as a payload type of its own.
pub(super) fn receive_payloads(formats: &[sdp::PayloadFormat]) -> Vec<ReceivePayload> {
    let mut payloads = Vec::with_capacity(formats.len() * 2);
    for format in formats {
        let payload = ReceivePayload {
            payload_type: format.payload_type,
            codec: codec(format.codec),
            clock_rate: format.clock_rate,
            repeats: None,
            nack: format.feedback.nack,
            pli: format.feedback.pli,
            fir: format.feedback.fir,
            transport_cc: format.feedback.transport_cc,
            remb: format.feedback.remb,
        };
        payloads.push(payload);
        if let Some(rtx) = format.rtx {
            payloads.push(ReceivePayload {
                payload_type: rtx,
                codec: CodecKind::Rtx,
                repeats: Some(format.payload_type),
                ..payload
            });
        }
    }
    payloads
}

pub(super) fn send_payloads(formats: &[sdp::PayloadFormat]) -> Vec<SendPayload> {
    let send = |format: &sdp::PayloadFormat| SendPayload {
        codec: codec(format.codec),
        payload_type: format.payload_type,
        rtx: format.rtx,
        clock_rate: format.clock_rate,
        nack: format.feedback.nack,
    };
    formats.iter().map(send).collect()
}

pub(super) fn send_extensions(section: &sdp::SendSection) -> SendExtensions {
    let ids = SendExtensions::new(extensions(&section.extensions));
    if section.payloads.iter().any(|format| format.rtx.is_some()) { ids } else { ids.repeatable() }
}

pub(super) fn local_credentials(ice: &transport::IceCredentials) -> sdp::IceCredentials {
    sdp::IceCredentials { ufrag: ice.ufrag.clone(), pwd: ice.password.clone() }
}

pub(super) fn local_fingerprint(fingerprint: &transport::Fingerprint) -> sdp::Fingerprint {
    sdp::Fingerprint { algorithm: fingerprint.algorithm.clone(), digest: fingerprint.digest.clone() }
}

pub(super) fn remote_parameters(
    remote: &sdp::RemoteTransport,
    data: Option<&sdp::DataSection>,
) -> transport::RemoteParameters {
    let fingerprint = |it: &sdp::Fingerprint| transport::Fingerprint {
        algorithm: it.algorithm.clone(),
        digest: it.digest.clone(),
    };
    transport::RemoteParameters {
        ice: transport::IceCredentials { ufrag: remote.ice.ufrag.clone(), password: remote.ice.pwd.clone() },
        ice_lite: remote.ice_lite,
        fingerprints: remote.fingerprints.iter().map(fingerprint).collect(),
        dtls: match remote.role {
            sdp::DtlsRole::Client => transport::DtlsRole::Client,
            sdp::DtlsRole::Server => transport::DtlsRole::Server,
        },
        data: data.is_some(),
        max_message_size: data.map(|data| u32::try_from(data.max_message_size).unwrap_or(u32::MAX)),
    }
}
