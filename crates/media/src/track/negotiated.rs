//! From a negotiated section to what the receiver needs: above all, which layer each stream is.

use super::activity::MOST_LAYERS;
use super::section::{ReceivePayload, ReceiveSection, ReceiveSsrc};
use crate::api::LayerSpec;
use crate::codec::CodecKind;
use crate::rtp::ExtensionKind;
use crate::sdp;

impl ReceiveSection {
    /// `tag` is the caller's name for the track, `layers` what AddTrack declared of this codec.
    #[must_use]
    pub fn negotiated(
        section: &sdp::ReceiveSection,
        tag: u32,
        svc: bool,
        layers: &[LayerSpec],
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
            rids: rank_rids(&section.rids, layers),
            ssrcs: rank_ssrcs(section, layers),
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

/// Layer of each rid by ascending quality: as declared, or by the names in use. The order in the SDP tells
/// nothing, as some clients list the highest first.
fn rank_rids(rids: &[String], layers: &[LayerSpec]) -> Vec<(String, u8)> {
    let quality = |rid: &String| {
        let declared = layers
            .iter()
            .find(|layer| layer.rid == *rid)
            .map(|layer| layer.quality);
        declared.unwrap_or(match rid.as_str() {
            "q" | "2" => 0,
            "h" | "1" => 1,
            _ => 2,
        })
    };
    let mut sorted: Vec<&String> = rids.iter().collect();
    sorted.sort_by_key(|rid| quality(rid));
    sorted.truncate(MOST_LAYERS);
    sorted.into_iter().cloned().zip(0..).collect()
}

/// Streams of a SIM group go from the lowest to the highest, unless AddTrack named their SSRCs.
fn rank_ssrcs(section: &sdp::ReceiveSection, layers: &[LayerSpec]) -> Vec<ReceiveSsrc> {
    let mut sorted: Vec<_> = section.ssrcs.iter().enumerate().collect();
    sorted.sort_by_key(|(index, stream)| {
        let declared = layers
            .iter()
            .find(|layer| layer.ssrc != 0 && layer.ssrc == stream.ssrc);
        declared.map_or(*index as u8, |layer| layer.quality)
    });
    sorted.truncate(MOST_LAYERS);
    let ranked = sorted.into_iter().zip(0..);
    ranked
        .map(|((_, stream), layer)| ReceiveSsrc {
            ssrc: stream.ssrc,
            rtx: stream.rtx,
            layer,
        })
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(quality: u8, rid: &str, ssrc: u32) -> LayerSpec {
        LayerSpec {
            quality,
            rid: rid.into(),
            width: 0,
            height: 0,
            bitrate: 0,
            ssrc,
        }
    }

    fn ranked(rids: &[&str], layers: &[LayerSpec]) -> Vec<(String, u8)> {
        let rids: Vec<String> = rids.iter().map(|rid| (*rid).to_owned()).collect();
        rank_rids(&rids, layers)
    }

    #[test]
    fn layers_go_by_the_rids_names_in_any_order() {
        for order in [["q", "h", "f"], ["f", "h", "q"]] {
            assert_eq!(
                ranked(&order, &[]),
                [("q".into(), 0), ("h".into(), 1), ("f".into(), 2)]
            );
        }
        assert_eq!(
            ranked(&["0", "1", "2"], &[]),
            [("2".into(), 0), ("1".into(), 1), ("0".into(), 2)]
        );
        assert_eq!(ranked(&["h", "q"], &[]), [("q".into(), 0), ("h".into(), 1)]);
    }

    #[test]
    fn declared_rids_have_the_last_word() {
        let declared = [layer(0, "small", 0), layer(2, "big", 0)];
        assert_eq!(
            ranked(&["big", "small"], &declared),
            [("small".into(), 0), ("big".into(), 1)]
        );
    }

    #[test]
    fn declared_ssrcs_rank_a_group() {
        let stream = |ssrc| sdp::StreamSsrc {
            ssrc,
            rtx: Some(ssrc + 1),
        };
        let section = sdp::ReceiveSection {
            mid: "0".into(),
            kind: crate::api::MediaKind::Video,
            msid: None,
            rids: Vec::new(),
            ssrcs: vec![stream(10), stream(20)],
            payloads: Vec::new(),
            extensions: Vec::new(),
        };
        let order = |layers: &[LayerSpec]| {
            let section = ReceiveSection::negotiated(&section, 1, false, layers, false);
            section
                .ssrcs
                .iter()
                .map(|stream| (stream.ssrc, stream.layer))
                .collect::<Vec<_>>()
        };
        assert_eq!(order(&[]), [(10, 0), (20, 1)]);
        assert_eq!(
            order(&[layer(2, "", 10), layer(0, "", 20)]),
            [(20, 0), (10, 1)]
        );
    }
}
