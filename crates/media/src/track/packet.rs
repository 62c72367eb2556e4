//! The media packet as it goes from a track to its subscriptions, maybe on other threads.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use super::clock::WallMicros;
use crate::codec::{CodecKind, Meta};
use crate::rtp::ExtensionKind;
use crate::rtp::extension::AudioLevel;

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

/// Where the video orientation stands in [`FORWARDED`].
pub const ORIENTATION: u8 = 1;

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
#[derive(Clone, Debug)]
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

/// What a packet of our own is made of.
pub(crate) struct Authored<'a> {
    pub(crate) codec: CodecKind,
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// A decoder can begin with it.
    pub(crate) keyframe: bool,
    pub(crate) now: Instant,
    /// When it was captured.
    pub(crate) wall: WallMicros,
    /// −dBov, and whether it is a voice.
    pub(crate) audio_level: Option<(u8, bool)>,
    pub(crate) payload: &'a [u8],
    /// How many of the payload's last bytes are the newest block of RED; of other codecs all.
    pub(crate) primary: usize,
}

impl MediaPacket {
    /// A packet of our own with nothing in it.
    pub(crate) fn empty(codec: CodecKind, sequence: u64, now: Instant) -> Self {
        Self {
            epoch: 0,
            layer: 0,
            active_layers: 0,
            codec,
            sequence,
            newest: true,
            timestamp: 0,
            marker: false,
            arrival: now,
            wall: 0,
            synced: false,
            meta: Meta {
                keyframe: false,
                ..Meta::opaque(false)
            },
            audio_level: None,
            extensions: [ExtensionSlice::default(); 6],
            extension_count: 0,
            data: Bytes::new(),
            payload: 0..0,
            primary: 0..0,
        }
    }

    /// A packet that we send ourselves; `None` when its payload is not of its codec or too long.
    pub(crate) fn authored(authored: Authored<'_>) -> Option<Self> {
        let Authored { payload, .. } = authored;
        let mut meta = Meta::parse(authored.codec, payload, authored.marker).ok()?;
        meta.keyframe = authored.keyframe;
        let mut data = Vec::with_capacity(1 + payload.len());
        let mut extensions = [ExtensionSlice::default(); 6];
        let level = authored
            .audio_level
            .zip(forwarded_index(ExtensionKind::AudioLevel));
        if let Some(((level, voice), index)) = level {
            data.extend_from_slice(&AudioLevel { voice, level }.to_bytes());
            extensions[0] = ExtensionSlice {
                index,
                start: 0,
                len: 1,
            };
        }
        let start = u16::try_from(data.len()).ok()?;
        data.extend_from_slice(payload);
        let end = u16::try_from(data.len()).ok()?;
        let primary = u16::try_from(data.len().checked_sub(authored.primary)?).ok()?;
        Some(Self {
            epoch: 0,
            layer: 0,
            active_layers: 1,
            codec: authored.codec,
            sequence: authored.sequence,
            newest: true,
            timestamp: authored.timestamp,
            marker: authored.marker,
            arrival: authored.now,
            wall: authored.wall,
            synced: true,
            meta,
            audio_level: authored.audio_level.map(|(level, _)| level),
            extensions,
            extension_count: u8::from(level.is_some()),
            data: data.into(),
            payload: start..end,
            primary: primary..end,
        })
    }

    /// The same with another payload, and without header extensions.
    pub(crate) fn with_payload(&self, payload: Vec<u8>) -> Self {
        let whole = 0..payload.len() as u16;
        Self {
            extension_count: 0,
            data: payload.into(),
            payload: whole.clone(),
            primary: whole,
            ..self.clone()
        }
    }

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

const _: () = assert!(matches!(
    FORWARDED[ORIENTATION as usize],
    ExtensionKind::VideoOrientation
));

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<MediaPacket>();
};
