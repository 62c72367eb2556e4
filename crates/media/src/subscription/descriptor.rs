//! Picture ids, layer indices and frame numbers that go on over layer switches (VP8: RFC 7741, VP9: RFC
//! 9628, dependency descriptor: RTP Payload Format for AV1, appendix A).

use crate::codec::{Detail, Meta, vp8, vp9};
use crate::congestion::outgoing::Patch;

/// Extends the counters of the stream that is forwarded, and what they are shifted by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    /// Newest incoming picture id, extended beyond its width.
    picture: Option<i32>,
    /// Newest outgoing ones.
    last_picture: u16,
    last_tl0: u8,
    last_key: u8,
    tl0_offset: u8,
    key_offset: u8,
    started: bool,
    /// Newest outgoing frame number of a dependency descriptor, and what incoming ones are shifted by: a
    /// decoder drops frames whose numbers go back.
    last_frame: Option<u16>,
    frame_offset: u16,
}

impl Counters {
    /// Another stream begins with this packet. Returns its picture offset, outgoing minus incoming.
    pub(super) fn switch(&mut self, meta: &Meta) -> u16 {
        self.frame_offset = match (self.last_frame, meta.frame_number) {
            (Some(last), Some(number)) => last.wrapping_add(1).wrapping_sub(number),
            _ => 0,
        };
        let (picture, tl0, key) = values(&meta.detail);
        self.picture = None;
        let mut offset = 0;
        if self.started {
            self.tl0_offset = self.last_tl0.wrapping_add(1).wrapping_sub(tl0.unwrap_or(0));
            self.key_offset = self.last_key.wrapping_add(1).wrapping_sub(key.unwrap_or(0));
            if let Some((picture, _)) = picture {
                offset = self.last_picture.wrapping_add(1).wrapping_sub(picture);
            }
        }
        offset
    }

    /// What to add to the frame number of a packet's dependency descriptor.
    #[inline]
    pub(super) fn frame_offset(&mut self, meta: &Meta, newest: bool) -> u16 {
        if let Some(number) = meta.frame_number.filter(|_| newest) {
            self.last_frame = Some(number.wrapping_add(self.frame_offset));
        }
        self.frame_offset
    }

    /// The rewritten descriptor of a packet.
    #[inline]
    pub(super) fn patch(
        &mut self,
        detail: &Detail,
        payload: &[u8],
        offset: u16,
        newest: bool,
    ) -> Patch {
        let (Some((picture, bits)), tl0, key) = values(detail) else {
            return Patch::default();
        };
        let extended = self.extend(picture, bits, newest);
        let outgoing_picture = (extended as u16).wrapping_add(offset) & 0x7FFF;
        let outgoing_tl0 = tl0.unwrap_or(0).wrapping_add(self.tl0_offset);
        let outgoing_key = key.unwrap_or(0).wrapping_add(self.key_offset) & 0x1F;
        if newest {
            self.started = true;
            self.last_picture = outgoing_picture;
            if tl0.is_some() {
                self.last_tl0 = outgoing_tl0;
            }
            if key.is_some() {
                self.last_key = outgoing_key;
            }
        }
        match detail {
            Detail::Vp8(descriptor) => patch_vp8(
                descriptor,
                payload,
                outgoing_picture,
                outgoing_tl0,
                outgoing_key,
            ),
            Detail::Vp9(descriptor) => {
                patch_vp9(descriptor, payload, outgoing_picture, outgoing_tl0)
            }
            _ => Patch::default(),
        }
    }

    /// The incoming picture id beyond its 7 or 15 bits, next to the newest one.
    fn extend(&mut self, picture: u16, bits: u8, newest: bool) -> i32 {
        let Some(last) = self.picture else {
            self.picture = Some(i32::from(picture));
            return i32::from(picture);
        };
        let span = 1i32 << bits;
        let mut ahead = (i32::from(picture) - last).rem_euclid(span);
        if ahead >= span / 2 {
            ahead -= span;
        }
        let extended = last + ahead;
        if newest && ahead > 0 {
            self.picture = Some(extended);
        }
        extended
    }
}

/// Picture id with its width, TL0PICIDX and KEYIDX.
fn values(detail: &Detail) -> (Option<(u16, u8)>, Option<u8>, Option<u8>) {
    match detail {
        Detail::Vp8(vp8::Descriptor {
            picture_id,
            picture_id_bits,
            tl0_picture_index,
            key_index,
            ..
        }) => (
            picture_id.map(|id| (id, *picture_id_bits)),
            *tl0_picture_index,
            *key_index,
        ),
        Detail::Vp9(vp9::Descriptor {
            picture_id,
            picture_id_bits,
            tl0_picture_index,
            ..
        }) => (
            picture_id.map(|id| (id, *picture_id_bits)),
            *tl0_picture_index,
            None,
        ),
        _ => (None, None, None),
    }
}

/// Picture id of a packet, to tell pictures apart.
pub(super) fn picture_id(detail: &Detail) -> Option<u16> {
    values(detail).0.map(|(id, _)| id)
}

fn patch_vp8(
    descriptor: &vp8::Descriptor,
    payload: &[u8],
    picture: u16,
    tl0: u8,
    key: u8,
) -> Patch {
    let Some([first, present, ..]) = payload.first_chunk::<2>() else {
        return Patch::default();
    };
    let [high, low] = (picture | 0x8000).to_be_bytes();
    let mut bytes = [*first, *present, high, low, 0, 0];
    let mut len = 4;
    if descriptor.tl0_picture_index.is_some() {
        bytes[len] = tl0;
        len += 1;
    }
    if descriptor.temporal.is_some() || descriptor.key_index.is_some() {
        let (temporal, sync) = descriptor.temporal.unwrap_or_default();
        let key = if descriptor.key_index.is_some() {
            key
        } else {
            0
        };
        bytes[len] = temporal << 6 | u8::from(sync) << 5 | key;
        len += 1;
    }
    Patch::new(bytes.get(..len).unwrap_or_default(), descriptor.len)
}

/// Only what stands before the references and the structure is replaced: the picture id, and behind the
/// layer byte the TL0PICIDX.
fn patch_vp9(descriptor: &vp9::Descriptor, payload: &[u8], picture: u16, tl0: u8) -> Patch {
    let Some(first) = payload.first() else {
        return Patch::default();
    };
    let [high, low] = (picture | 0x8000).to_be_bytes();
    let mut bytes = [*first, high, low, 0, 0];
    let (mut len, mut skip) = (
        3,
        if descriptor.picture_id_bits == 15 {
            3
        } else {
            2
        },
    );
    if let Some(index) = descriptor.tl0_picture_index.map(|_| tl0) {
        let Some(layers) = payload.get(skip) else {
            return Patch::default();
        };
        bytes[3] = *layers;
        bytes[4] = index;
        len = 5;
        skip += 2;
    }
    Patch::new(bytes.get(..len).unwrap_or_default(), skip as u8)
}
