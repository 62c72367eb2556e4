//! From a negotiated section to what the receiver needs.

use super::section::{ReceivePayload, ReceiveSection, ReceiveSsrc};
use crate::codec::CodecKind;
use crate::rtp::ExtensionKind;
use crate::sdp;

impl ReceiveSection {
    /// `tag` is the caller's name for the track; `rids` and `ssrcs` say which layer each stream is.
    #[must_use]
    pub fn negotiated(
        section: &sdp::ReceiveSection,
        tag: u32,
        svc: bool,
        rids: Vec<(String, u8)>,
        ssrcs: Vec<ReceiveSsrc>,
        muted: bool,
    ) -> Self {
        let payloads = section.payloads.iter().flat_map(|format| {
            let feedback = format.feedback;
            let primary = ReceivePayload {
                payload_type: format.payload_type,
                codec: codec_kind(format.codec),
                clock_rate: format.clock_rate,
                repeats: None,
                nack: feedback.nack,
                pli: feedback.pli,
                fir: feedback.fir,
                transport_cc: feedback.transport_cc,
                remb: feedback.remb,
            };
            let rtx = format.rtx.map(|payload_type| ReceivePayload {
                payload_type,
                codec: CodecKind::Rtx,
                repeats: Some(format.payload_type),
                ..primary
            });
            [Some(primary), rtx].into_iter().flatten()
        });
        Self {
            tag,
            mid: section.mid.clone(),
            kind: section.kind,
            svc,
            rids,
            ssrcs,
            payloads: payloads.collect(),
            extensions: section
                .extensions
                .iter()
                .map(|(id, extension)| (*id, extension_kind(*extension)))
                .collect(),
            muted,
        }
    }
}

/// The codec whose payloads a negotiated format carries.
#[must_use]
pub fn codec_kind(codec: sdp::Codec) -> CodecKind {
    CodecKind::from_mime(codec.mime())
}

/// The extension of a negotiated id.
#[must_use]
pub fn extension_kind(extension: sdp::Extension) -> ExtensionKind {
    ExtensionKind::from_uri(extension.uri())
}
