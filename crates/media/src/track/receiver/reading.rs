//! From the bytes of a packet to what subscriptions share of it.

use std::time::Instant;

use bytes::Bytes;

use super::{Discard, Section};
use crate::codec::red::Red;
use crate::codec::{CodecKind, Meta};
use crate::rtp::{ExtensionKind, RtpHeader, extension};
use crate::track::clock::WallClock;
use crate::track::packet::{ExtensionSlice, MediaPacket, forwarded_index};
use crate::track::section::ReceivePayload;
use crate::track::stream::Stream;

/// Reads a packet's payload and extensions, once.
#[expect(
    clippy::too_many_arguments,
    reason = "parts of the receiver that are borrowed apart"
)]
pub(super) fn packet(
    now: Instant,
    clock: WallClock,
    header: &RtpHeader,
    data: Bytes,
    range: std::ops::Range<usize>,
    (sequence, newest): (u64, bool),
    payload: &ReceivePayload,
    stream: &mut Stream,
    section: &mut Section,
) -> Result<MediaPacket, Discard> {
    let bytes = data.get(range.clone()).ok_or(Discard::Malformed)?;
    let mut meta =
        Meta::parse(payload.codec, bytes, header.marker).map_err(|_| Discard::BadPayload)?;
    let mut extensions = [ExtensionSlice::default(); 6];
    let mut count = 0;
    let mut audio_level = None;
    let base = data.as_ptr() as usize;
    for (id, value) in header.extensions(&data) {
        let Some(kind) = section.description.extension(id) else {
            continue;
        };
        match kind {
            ExtensionKind::AudioLevel => {
                audio_level = extension::AudioLevel::parse(value).map(|level| level.level)
            }
            ExtensionKind::DependencyDescriptor => {
                if let Ok(frame) = stream.dependency.read(value) {
                    meta = meta.with_dependency(frame);
                }
            }
            _ => {}
        }
        let Some(index) = forwarded_index(kind) else {
            continue;
        };
        // Values lie in the packet: only their place is kept.
        let start = value.as_ptr() as usize - base;
        if let (Some(slot), Ok(start), Ok(len)) = (
            extensions.get_mut(count),
            u16::try_from(start),
            u8::try_from(value.len()),
        ) {
            *slot = ExtensionSlice { index, start, len };
            count += 1;
        }
    }
    if !section.description.svc {
        // One layer a stream: what the packet says of layers inside it is not about ours.
        meta.spatial = 0;
    }
    let primary = match payload.codec {
        // The newest block is the end of the payload.
        CodecKind::Red => {
            let red = Red::parse(bytes).map_err(|_| Discard::BadPayload)?;
            range.end - red.primary.len()..range.end
        }
        _ => range.clone(),
    };
    let layer = if section.description.svc {
        meta.spatial
    } else {
        stream.layer
    };
    let active_layers = section.activity.observe(now, layer, header.timestamp);
    if payload.codec.is_video() {
        meta.keyframe = stream.starts_decoding(&meta);
        if newest {
            let before = stream.picture(sequence, header.timestamp);
            if meta.keyframe {
                stream.keyframes.arrived();
                stream.nack.forget_before(before);
            }
        }
    }
    let (wall, synced) = stream.clock.wall(header.timestamp, clock.micros(now));
    let short = |range: std::ops::Range<usize>| -> Result<std::ops::Range<u16>, Discard> {
        let narrow = |at| u16::try_from(at).map_err(|_| Discard::Malformed);
        Ok(narrow(range.start)?..narrow(range.end)?)
    };
    Ok(MediaPacket {
        epoch: stream.epoch,
        layer: stream.layer,
        active_layers,
        codec: payload.codec,
        sequence,
        newest,
        timestamp: header.timestamp,
        marker: header.marker,
        arrival: now,
        wall,
        synced,
        meta,
        audio_level,
        extensions,
        extension_count: count as u8,
        payload: short(range)?,
        primary: short(primary)?,
        data,
    })
}

/// A packet of padding only.
pub(super) fn padding(
    now: Instant,
    header: &RtpHeader,
    data: Bytes,
    (sequence, newest): (u64, bool),
    stream: &Stream,
    section: &Section,
) -> MediaPacket {
    MediaPacket {
        epoch: stream.epoch,
        layer: stream.layer,
        active_layers: section.activity.active(),
        newest,
        timestamp: header.timestamp,
        data,
        ..MediaPacket::empty(stream.codec, sequence, now)
    }
}
