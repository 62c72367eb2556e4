//! The media packet as it goes from a track to its subscriptions, maybe on other threads.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use super::clock::WallMicros;
use crate::codec::{CodecKind, Meta};
use crate::rtp::ExtensionKind;

/// Extensions that are passed on byte for byte, but for the frame number of the dependency descriptor, in the order of their bits in an [`ExtensionSet`].
pub const FORWARDED: [ExtensionKind; 9] = [
    ExtensionKind::AudioLevel,
    ExtensionKind::VideoOrientation,
    ExtensionKind::DependencyDescriptor,
    ExtensionKind::AbsCaptureTime,
    ExtensionKind::PlayoutDelay,
    ExtensionKind::FrameMarking,
    ExtensionKind::VideoContentType,
    ExtensionKind::ColorSpace,
    ExtensionKind::VideoTiming,
];

/// Where the dependency descriptor stands in [`FORWARDED`].
pub const DEPENDENCY: u8 = 2;

/// Where an extension kind stands in [`FORWARDED`].
#[must_use]
pub fn forwarded_index(kind: ExtensionKind) -> Option<u8> {
    FORWARDED
        .iter()
        .position(|known| *known == kind)
        .map(|index| index as u8)
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExtensionSlice {
    pub(crate) index: u8,
    pub(crate) start: u16,
    pub(crate) len: u8,
}

/// One received packet: parsed once, shared by every subscription, never changed.
#[derive(Debug)]
pub struct MediaPacket {
    /// Names the incoming stream within its track: changes when a publisher starts a new SSRC, or comes
    /// back from a pause that its RTP time did not count.
    pub epoch: u32,
    /// Layer of the stream, by ascending quality; 0 for audio and for SVC.
    pub layer: u8,
    /// Layers of the track that are arriving now, bit by layer. For SVC bits of spatial ids.
    pub active_layers: u8,
    pub codec: CodecKind,
    /// Extended sequence number of the primary stream.
    pub sequence: u64,
    /// No packet of its stream with a higher number came before it.
    pub newest: bool,
    pub timestamp: u32,
    pub marker: bool,
    pub arrival: Instant,
    /// Capture time on the server's clock.
    pub wall: WallMicros,
    /// `wall` rests on a sender report.
    pub synced: bool,
    pub meta: Meta,
    /// −dBov (RFC 6464).
    pub audio_level: Option<u8>,
    pub(crate) extensions: [ExtensionSlice; 6],
    pub(crate) extension_count: u8,
    /// The packet as it was read and decrypted.
    pub(crate) data: Bytes,
    pub(crate) payload: Range<u16>,
    /// The newest block of a RED payload.
    pub(crate) primary: Range<u16>,
}

impl MediaPacket {
    /// Nothing but padding: it counts in the stream's numbers and is of no other use.
    #[must_use]
    pub fn is_padding(&self) -> bool {
        self.payload.is_empty()
    }

    /// The payload without padding.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.slice(&self.payload)
    }

    /// [`Self::payload`], sharing the packet's memory.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        self.data.slice_ref(self.payload())
    }

    /// The newest block of a RED payload, the payload itself otherwise.
    #[must_use]
    pub fn primary(&self) -> &[u8] {
        self.slice(&self.primary)
    }

    /// Forwarded extensions: (index in [`FORWARDED`], value).
    pub fn extensions(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.extensions
            .iter()
            .take(usize::from(self.extension_count))
            .map(|extension| {
                let start = extension.start;
                (
                    extension.index,
                    self.slice(&(start..start + u16::from(extension.len))),
                )
            })
    }

    fn slice(&self, range: &Range<u16>) -> &[u8] {
        self.data
            .get(usize::from(range.start)..usize::from(range.end))
            .unwrap_or_default()
    }
}

const _: () = assert!(matches!(
    FORWARDED[DEPENDENCY as usize],
    ExtensionKind::DependencyDescriptor
));

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<MediaPacket>();
};
