//! One packet of a queue: what is shared of it, what is different for its receiver, and how it is written.

use std::sync::Arc;

use crate::rtp::ExtensionKind;
use crate::track::clock::WallMicros;
use crate::track::packet::{DEPENDENCY, FORWARDED, MediaPacket, forwarded_index};

/// What replaces the beginning of a payload: a codec's payload descriptor, rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    bytes: [u8; 8],
    len: u8,
    skip: u8,
    hollow: bool,
}

impl Patch {
    /// `bytes` (at most 8) instead of the first `skip` bytes.
    #[must_use]
    pub fn new(bytes: &[u8], skip: u8) -> Self {
        let mut patch = Self {
            len: bytes.len().min(8) as u8,
            skip,
            ..Self::default()
        };
        for (into, from) in patch.bytes.iter_mut().zip(bytes) {
            *into = *from;
        }
        patch
    }

    /// Nothing instead of the whole payload.
    #[must_use]
    pub fn hollow() -> Self {
        Self {
            hollow: true,
            ..Self::default()
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// A mid, or rid, short enough to go into each packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mid {
    bytes: [u8; 8],
    len: u8,
}

impl Mid {
    /// `None` for a mid longer than 8 bytes; those receivers go by SSRC alone.
    #[must_use]
    pub fn new(mid: &str) -> Option<Self> {
        let mut bytes = [0; 8];
        bytes.get_mut(..mid.len())?.copy_from_slice(mid.as_bytes());
        Some(Self {
            bytes,
            len: mid.len() as u8,
        })
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Ids of the extensions a section negotiated, 0 where it did not. Within a transport one id means one
/// thing (RFC 9143, 8.2), but a section may have fewer of them than another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendExtensions {
    forwarded: [u8; FORWARDED.len()],
    mid: u8,
    rid: u8,
    repaired_rid: u8,
    abs_send_time: u8,
    transport_cc: u8,
    repeatable: bool,
}

impl SendExtensions {
    /// From the (id, kind) pairs of the negotiation; kinds that are not sent are left out.
    pub fn new(negotiated: impl IntoIterator<Item = (u8, ExtensionKind)>) -> Self {
        let mut ids = Self::default();
        for (id, kind) in negotiated {
            match kind {
                ExtensionKind::Mid => ids.mid = id,
                ExtensionKind::Rid => ids.rid = id,
                ExtensionKind::RepairedRid => ids.repaired_rid = id,
                ExtensionKind::AbsSendTime => ids.abs_send_time = id,
                ExtensionKind::TransportCc => ids.transport_cc = id,
                kind => {
                    if let Some(slot) = forwarded_index(kind)
                        .and_then(|index| ids.forwarded.get_mut(usize::from(index)))
                    {
                        *slot = id;
                    }
                }
            }
        }
        ids
    }

    /// For a section without RTX: a packet sent again must be the same to the last byte, as it is sealed
    /// with the same nonce. So nothing is written into it that depends on when it leaves.
    #[must_use]
    pub fn repeatable(self) -> Self {
        Self {
            abs_send_time: 0,
            transport_cc: 0,
            repeatable: true,
            ..self
        }
    }
}

/// Names a section's extension ids within a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SectionId(pub(super) u32);

/// What a section's packets carry besides their content: who they belong to, by which ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) ids: SendExtensions,
    pub(super) mid: Mid,
    /// Of a simulcast layer.
    pub(super) rid: Mid,
}

impl Labels {
    /// Whether its packets get a transport-wide number.
    pub(super) fn numbered(&self) -> bool {
        self.ids.transport_cc != 0
    }

    pub(super) fn repeatable(&self) -> bool {
        self.ids.repeatable
    }
}

/// What is known only as a packet leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) micros: WallMicros,
    pub(super) sequence: u16,
}

/// One packet to be sent: a shared packet and what is different in it for this receiver.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub packet: Arc<MediaPacket>,
    pub ssrc: u32,
    pub timestamp: u32,
    pub sequence: u16,
    pub payload_type: u8,
    pub marker: bool,
    /// Only the newest block of a RED payload.
    pub primary_only: bool,
    pub patch: Patch,
    /// Added to the frame number of the dependency descriptor.
    pub frame_offset: u16,
    /// The packet is a retransmission of this number (RFC 4588).
    pub original_sequence: Option<u16>,
    /// Index of the section's extension ids, from [`SendQueue::add_section`].
    pub section: SectionId,
    pub with_mid: bool,
}

impl Outgoing {
    fn payload(&self) -> &[u8] {
        let payload = if self.patch.hollow {
            &[]
        } else if self.primary_only {
            self.packet.primary()
        } else {
            self.packet.payload()
        };
        payload
            .get(usize::from(self.patch.skip)..)
            .unwrap_or_default()
    }

    /// Bytes on the wire, about: without header extensions and the seal.
    #[must_use]
    pub fn size(&self) -> usize {
        12 + usize::from(self.patch.len) + self.payload().len()
    }

    /// Bytes of the extension block it will have.
    pub(super) fn block(&self, labels: &Labels) -> usize {
        let mut layout = Layout::default();
        each_extension(labels, self, |_, id, len| layout.add(id, len));
        layout.block()
    }

    /// Appends it to the buffer, and returns the length of its header.
    pub(super) fn write(&self, labels: &Labels, stamp: Stamp, buffer: &mut Vec<u8>) -> usize {
        let start = buffer.len();
        let mut layout = Layout::default();
        each_extension(labels, self, |_, id, len| layout.add(id, len));
        let mut fixed = [0u8; 12];
        fixed[0] = 0x80 | if layout.values > 0 { 0x10 } else { 0 };
        fixed[1] = self.payload_type | if self.marker { 0x80 } else { 0 };
        fixed[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        buffer.extend_from_slice(&fixed);
        if layout.values > 0 {
            let profile: u16 = if layout.long { 0x1000 } else { 0xBEDE };
            buffer.extend_from_slice(&profile.to_be_bytes());
            buffer.extend_from_slice(&((layout.block() / 4 - 1) as u16).to_be_bytes());
            let block = buffer.len();
            each_extension(labels, self, |element, id, len| {
                if layout.long {
                    buffer.extend_from_slice(&[id, len as u8]);
                } else {
                    buffer.push(id << 4 | (len as u8).wrapping_sub(1));
                }
                match element {
                    Element::Value(value) => buffer.extend_from_slice(value),
                    Element::Dependency(value, offset) => {
                        let start = buffer.len();
                        buffer.extend_from_slice(value);
                        // Behind the frame's bounds and its template.
                        if let Some([high, low]) = buffer
                            .get_mut(start + 1..start + 3)
                            .and_then(|number| number.first_chunk_mut())
                        {
                            let number = u16::from_be_bytes([*high, *low]).wrapping_add(offset);
                            [*high, *low] = number.to_be_bytes();
                        }
                    }
                    Element::SendTime => {
                        let ticks = ((stamp.micros as u128) << 18) / 1_000_000;
                        buffer.extend_from_slice(&(ticks as u32).to_be_bytes()[1..]);
                    }
                    Element::TransportSequence => {
                        buffer.extend_from_slice(&stamp.sequence.to_be_bytes());
                    }
                }
            });
            buffer.resize(block + layout.block() - 4, 0);
        }
        let header = buffer.len() - start;
        if let Some(original) = self.original_sequence {
            buffer.extend_from_slice(&original.to_be_bytes());
        }
        buffer.extend_from_slice(self.patch.bytes());
        buffer.extend_from_slice(self.payload());
        header
    }
}

#[derive(Clone, Copy)]
enum Element<'a> {
    Value(&'a [u8]),
    /// A dependency descriptor, and what is added to its frame number.
    Dependency(&'a [u8], u16),
    SendTime,
    TransportSequence,
}

/// Calls back with each extension a packet takes along: its value, id and length.
#[inline]
fn each_extension(
    labels: &Labels,
    outgoing: &Outgoing,
    mut each: impl FnMut(Element<'_>, u8, usize),
) {
    let Labels { ids, mid, rid } = labels;
    if ids.transport_cc != 0 {
        each(Element::TransportSequence, ids.transport_cc, 2);
    }
    if ids.abs_send_time != 0 {
        each(Element::SendTime, ids.abs_send_time, 3);
    }
    if outgoing.with_mid && ids.mid != 0 && mid.len > 0 {
        each(Element::Value(mid.bytes()), ids.mid, usize::from(mid.len));
    }
    if outgoing.with_mid && rid.len > 0 {
        let id = match outgoing.original_sequence {
            Some(_) => ids.repaired_rid,
            None => ids.rid,
        };
        if id != 0 {
            each(Element::Value(rid.bytes()), id, usize::from(rid.len));
        }
    }
    for (index, value) in outgoing.packet.extensions() {
        let id = ids.forwarded.get(usize::from(index)).copied().unwrap_or(0);
        if id != 0 {
            let element = if outgoing.frame_offset != 0 && index == DEPENDENCY {
                Element::Dependency(value, outgoing.frame_offset)
            } else {
                Element::Value(value)
            };
            each(element, id, value.len());
        }
    }
}

/// Sums up an extension block before it is written.
#[derive(Default)]
struct Layout {
    elements: usize,
    values: usize,
    long: bool,
}

impl Layout {
    fn add(&mut self, id: u8, len: usize) {
        self.elements += 1;
        self.values += len;
        self.long |= id > 14 || len > 16 || len == 0;
    }

    /// Bytes with the four of its header, 0 without elements.
    fn block(&self) -> usize {
        if self.values == 0 {
            return 0;
        }
        let overhead = if self.long { 2 } else { 1 };
        4 + (self.values + overhead * self.elements).next_multiple_of(4)
    }
}
