//! Lost audio packets rebuilt from the redundant blocks of those that came (RFC 2198), once for all
//! subscribers.

use std::ops::Range;
use std::sync::Arc;

use super::packet::{ExtensionSlice, MediaPacket};
use super::receiver::Ingress;
use super::section::ReceiveSection;
use super::stream::Stream;
use crate::codec::red::Red;
use crate::codec::{CodecKind, Meta};

/// Appends the packets that are missing right before `packet`, as far as it holds them. It must be the
/// newest of its stream.
pub(super) fn recover(
    stream: &mut Stream,
    section: &ReceiveSection,
    packet: &MediaPacket,
    out: &mut Vec<Ingress>,
) {
    let timestamp = stream.timestamps.extend(packet.timestamp);
    let before = stream.newest_audio.replace((packet.sequence, timestamp));
    let Some(before) = before
        .filter(|(sequence, _)| packet.codec == CodecKind::Red && sequence + 1 < packet.sequence)
    else {
        return;
    };
    let Ok(red) = Red::parse(packet.payload()) else {
        return;
    };
    let base = packet.data.as_ptr() as usize;
    for rebuilt in red.recover(packet.sequence, timestamp, before) {
        let codec = section
            .payload(rebuilt.payload_type)
            .map(|payload| payload.codec);
        let start = (rebuilt.data.as_ptr() as usize).wrapping_sub(base);
        let range: Option<Range<u16>> = u16::try_from(start).ok().and_then(|start| {
            Some(start..start.checked_add(u16::try_from(rebuilt.data.len()).ok()?)?)
        });
        let (Some(codec), Some(range)) = (codec, range) else {
            continue;
        };
        stream.rebuilt(rebuilt.number);
        let behind = (timestamp - rebuilt.timestamp) as i64;
        let rebuilt = MediaPacket {
            epoch: packet.epoch,
            layer: packet.layer,
            active_layers: packet.active_layers,
            codec,
            sequence: rebuilt.number,
            newest: true,
            timestamp: rebuilt.timestamp as u32,
            marker: false,
            arrival: packet.arrival,
            wall: packet.wall - behind * 1_000_000 / i64::from(codec.clock_rate()),
            synced: packet.synced,
            meta: Meta::opaque(false),
            audio_level: None,
            extensions: [ExtensionSlice::default(); 6],
            extension_count: 0,
            data: packet.data.clone(),
            payload: range.clone(),
            primary: range,
        };
        out.push(Ingress {
            tag: section.tag,
            packet: Arc::new(rebuilt),
        });
    }
}
