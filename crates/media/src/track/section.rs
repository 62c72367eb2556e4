//! What a section of the SDP says of what a publisher sends.

use crate::api::MediaKind;
use crate::codec::CodecKind;
use crate::rtp::ExtensionKind;

/// One payload type of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivePayload {
    pub payload_type: u8,
    pub codec: CodecKind,
    /// Hz.
    pub clock_rate: u32,
    /// RTX: the payload type whose packets it repeats (apt).
    pub repeats: Option<u8>,
    pub nack: bool,
    pub pli: bool,
    pub fir: bool,
    pub transport_cc: bool,
    pub remb: bool,
}

/// One stream announced by its SSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveSsrc {
    pub ssrc: u32,
    /// Its RTX stream (FID group).
    pub rtx: Option<u32>,
    /// By ascending quality, 0 when there is one only.
    pub layer: u8,
}

/// One receiving section.
#[derive(Clone, Debug)]
pub struct ReceiveSection {
    /// The caller's name for the track this section carries; comes back with each packet.
    pub tag: u32,
    pub mid: String,
    pub kind: MediaKind,
    /// SVC: the spatial id inside the packets tells the layer. Otherwise it is that of the rid or SSRC,
    /// whatever the packets say.
    pub svc: bool,
    /// Layer of each rid, by ascending quality.
    pub rids: Vec<(String, u8)>,
    pub ssrcs: Vec<ReceiveSsrc>,
    pub payloads: Vec<ReceivePayload>,
    pub extensions: Vec<(u8, ExtensionKind)>,
    pub muted: bool,
}

impl ReceiveSection {
    #[must_use]
    pub fn payload(&self, payload_type: u8) -> Option<&ReceivePayload> {
        self.payloads
            .iter()
            .find(|payload| payload.payload_type == payload_type)
    }

    pub(super) fn layer_of_rid(&self, rid: &[u8]) -> Option<u8> {
        self.rids
            .iter()
            .find(|(known, _)| known.as_bytes() == rid)
            .map(|(_, layer)| *layer)
    }

    pub(super) fn extension(&self, id: u8) -> Option<ExtensionKind> {
        self.extensions
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, kind)| *kind)
    }
}
