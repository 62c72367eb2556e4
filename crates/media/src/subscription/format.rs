//! How a track is sent to a subscriber: its side of the negotiation.

use crate::codec::CodecKind;
use crate::congestion::outgoing::{SectionId, SendExtensions};
use crate::sdp;
use crate::track::negotiated::{codec_kind, extension_kind};

/// A payload type the subscriber negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendPayload {
    pub codec: CodecKind,
    pub payload_type: u8,
    /// Of its RTX, if any.
    pub rtx: Option<u8>,
    /// Hz.
    pub clock_rate: u32,
    pub nack: bool,
}

/// How a track is sent to a subscriber: its side of the negotiation.
#[derive(Clone, Debug)]
pub struct SendFormat {
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    pub payloads: Vec<SendPayload>,
    /// From [`SendQueue::add_section`].
    pub section: SectionId,
}

impl SendFormat {
    /// From a negotiated section. Its extension ids, with its mid, are to be made known to the queue as
    /// `section`: see [`send_extensions`].
    #[must_use]
    pub fn negotiated(
        negotiated: &sdp::SendSection,
        ssrc: u32,
        rtx_ssrc: u32,
        section: SectionId,
    ) -> Self {
        let payloads = negotiated.payloads.iter().map(|format| SendPayload {
            codec: codec_kind(format.codec),
            payload_type: format.payload_type,
            rtx: format.rtx,
            clock_rate: format.clock_rate,
            nack: format.feedback.nack,
        });
        Self {
            ssrc,
            rtx_ssrc,
            payloads: payloads.collect(),
            section,
        }
    }
}

/// The extension ids to send with in a negotiated section.
#[must_use]
pub fn send_extensions(negotiated: &sdp::SendSection) -> SendExtensions {
    let ids = negotiated
        .extensions
        .iter()
        .map(|(id, extension)| (*id, extension_kind(*extension)));
    let ids = SendExtensions::new(ids);
    let repeats = negotiated
        .payloads
        .iter()
        .any(|format| format.feedback.nack && format.rtx.is_none());
    if repeats { ids.repeatable() } else { ids }
}
