//! Which layer a stream of a publisher is: by rid name or place in its SSRC group, and what AddTrack said.

use crate::api::{BoundLayer, LayerMode, LayerSpec};
use crate::sdp::{Codec, ReceiveSection};
use crate::track::ReceiveSsrc;

/// The layers of one codec variant as it is really sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BoundLayers {
    /// By ascending quality; a stream's layer is an index into these.
    pub(super) table: Vec<LayerSpec>,
    pub(super) rids: Vec<(String, u8)>,
    pub(super) ssrcs: Vec<ReceiveSsrc>,
    pub(super) svc: bool,
}

/// Names of simulcast streams from the lowest to the highest.
fn rank(rid: &str) -> Option<usize> {
    match rid {
        "q" | "2" => Some(0),
        "h" | "1" => Some(1),
        "f" | "0" => Some(2),
        _ => None,
    }
}

impl BoundLayers {
    pub(super) fn new(
        declared: &[LayerSpec],
        mode: LayerMode,
        codec: Option<Codec>,
        section: &ReceiveSection,
    ) -> Self {
        let mut table = declared.to_vec();
        table.sort_by_key(|layer| {
            (
                layer.quality,
                u64::from(layer.width) * u64::from(layer.height),
            )
        });
        let streams = section.rids.len().max(section.ssrcs.len());
        let svc = streams <= 1
            && match mode {
                LayerMode::MultipleSpatialLayersPerStream => true,
                LayerMode::OneSpatialLayerPerStream => false,
                LayerMode::Unused => {
                    table.len() > 1 && matches!(codec, Some(Codec::Vp9 | Codec::Av1))
                }
            };
        if streams <= 1 && !svc {
            // Layers that were declared and are not sent: what comes is the best of them.
            table.drain(..table.len().saturating_sub(1));
        } else if table.len() < streams {
            table = (0u8..)
                .take(streams)
                .map(|quality| undeclared(quality.min(2)))
                .collect();
        }
        let rids = rid_layers(&table, &section.rids);
        let ssrcs = section.ssrcs.iter().enumerate().map(|(index, stream)| {
            // A group goes from the lowest to the highest, unless AddTrack named its streams.
            let declared = table
                .iter()
                .position(|layer| layer.ssrc != 0 && layer.ssrc == stream.ssrc);
            let layer = declared.unwrap_or(index).min(table.len().saturating_sub(1));
            ReceiveSsrc {
                ssrc: stream.ssrc,
                rtx: stream.rtx,
                layer: layer as u8,
            }
        });
        Self {
            ssrcs: ssrcs.collect(),
            rids,
            svc,
            table,
        }
    }

    /// For the control plane: what each stream is.
    pub(super) fn describe(&self) -> Vec<BoundLayer> {
        let quality = |layer: u8| {
            self.table
                .get(usize::from(layer))
                .map_or(2, |layer| layer.quality)
        };
        let by_rid = self.rids.iter().map(|(rid, layer)| BoundLayer {
            rid: rid.clone(),
            quality: quality(*layer),
            ssrc: 0,
        });
        if !self.rids.is_empty() {
            return by_rid.collect();
        }
        let by_ssrc = self.ssrcs.iter().map(|stream| BoundLayer {
            rid: String::new(),
            quality: quality(stream.layer),
            ssrc: stream.ssrc,
        });
        by_ssrc.collect()
    }
}

fn undeclared(quality: u8) -> LayerSpec {
    LayerSpec {
        quality,
        rid: String::new(),
        width: 0,
        height: 0,
        bitrate: 0,
        ssrc: 0,
    }
}

/// The layer of each rid: as declared, else by the usual names, else by the order in the description.
fn rid_layers(table: &[LayerSpec], rids: &[String]) -> Vec<(String, u8)> {
    let highest = table.len().saturating_sub(1);
    if rids
        .iter()
        .any(|rid| table.iter().any(|layer| layer.rid == *rid))
    {
        let declared = |rid: &String| table.iter().position(|layer| layer.rid == *rid);
        let by_name = |rid: &String| rank(rid).map(|rank| rank.min(highest));
        let layer = |rid: &String| declared(rid).or_else(|| by_name(rid)).unwrap_or(0);
        return rids
            .iter()
            .map(|rid| (rid.clone(), layer(rid) as u8))
            .collect();
    }
    let mut sorted: Vec<&String> = rids.iter().collect();
    if rids.iter().all(|rid| rank(rid).is_some()) {
        sorted.sort_by_key(|rid| rank(rid));
    }
    let layer = |rid: &String| match rank(rid) {
        // "f" of q, h, f is the third layer even when "h" was left out.
        Some(rank) if table.len() > 2 || rids.len() < 2 => rank.min(highest),
        _ => sorted
            .iter()
            .position(|known| *known == rid)
            .unwrap_or(0)
            .min(highest),
    };
    rids.iter()
        .map(|rid| (rid.clone(), layer(rid) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::MediaKind;
    use crate::sdp::StreamSsrc;

    fn section(rids: &[&str], ssrcs: &[u32]) -> ReceiveSection {
        ReceiveSection {
            mid: "0".into(),
            kind: MediaKind::Video,
            msid: None,
            rids: rids.iter().map(|rid| (*rid).into()).collect(),
            ssrcs: ssrcs
                .iter()
                .map(|ssrc| StreamSsrc {
                    ssrc: *ssrc,
                    rtx: None,
                })
                .collect(),
            payloads: Vec::new(),
            extensions: Vec::new(),
        }
    }

    fn declared(layers: &[(u8, &str)]) -> Vec<LayerSpec> {
        layers
            .iter()
            .map(|(quality, rid)| LayerSpec {
                rid: (*rid).into(),
                ..undeclared(*quality)
            })
            .collect()
    }

    fn layers(declared_layers: &[(u8, &str)], rids: &[&str]) -> Vec<(String, u8)> {
        let section = section(rids, &[]);
        BoundLayers::new(
            &declared(declared_layers),
            LayerMode::Unused,
            Some(Codec::Vp8),
            &section,
        )
        .rids
    }

    fn named(pairs: &[(&str, u8)]) -> Vec<(String, u8)> {
        pairs
            .iter()
            .map(|(rid, layer)| ((*rid).into(), *layer))
            .collect()
    }

    #[test]
    fn goes_by_rid_name_and_never_by_order() {
        let three = [(0, ""), (1, ""), (2, "")];
        assert_eq!(
            layers(&three, &["f", "h", "q"]),
            named(&[("f", 2), ("h", 1), ("q", 0)])
        );
        assert_eq!(
            layers(&three, &["q", "h", "f"]),
            named(&[("q", 0), ("h", 1), ("f", 2)])
        );
        assert_eq!(
            layers(&three, &["2", "1", "0"]),
            named(&[("2", 0), ("1", 1), ("0", 2)])
        );
    }

    #[test]
    fn two_layers_are_the_lower_and_the_higher_declared_quality() {
        let section = section(&["h", "q"], &[]);
        let bound = BoundLayers::new(
            &declared(&[(1, ""), (2, "")]),
            LayerMode::Unused,
            None,
            &section,
        );
        assert_eq!(bound.rids, named(&[("h", 1), ("q", 0)]));
        let qualities: Vec<_> = bound.describe().iter().map(|layer| layer.quality).collect();
        assert_eq!(qualities, [2, 1]);
    }

    #[test]
    fn declared_rids_win() {
        assert_eq!(
            layers(&[(0, "low"), (2, "high")], &["high", "low"]),
            named(&[("high", 1), ("low", 0)])
        );
    }

    #[test]
    fn a_group_of_ssrcs_goes_from_low_to_high() {
        let bound = BoundLayers::new(&[], LayerMode::Unused, None, &section(&[], &[10, 20, 30]));
        let layers: Vec<_> = bound
            .ssrcs
            .iter()
            .map(|stream| (stream.ssrc, stream.layer))
            .collect();
        assert_eq!(layers, [(10, 0), (20, 1), (30, 2)]);
        assert_eq!(bound.table.len(), 3);
    }

    #[test]
    fn declared_ssrcs_win_over_the_order_of_their_group() {
        let layer = |quality, ssrc| LayerSpec {
            ssrc,
            ..undeclared(quality)
        };
        let declared = [layer(2, 10), layer(0, 20)];
        let section = section(&[], &[10, 20]);
        let bound = BoundLayers::new(&declared, LayerMode::Unused, None, &section);
        let layers: Vec<_> = bound
            .ssrcs
            .iter()
            .map(|stream| (stream.ssrc, stream.layer))
            .collect();
        assert_eq!(layers, [(10, 1), (20, 0)]);
    }

    #[test]
    fn one_stream_of_several_declared_layers_is_the_best_of_them() {
        let three = declared(&[(0, ""), (1, ""), (2, "")]);
        let single = BoundLayers::new(
            &three,
            LayerMode::Unused,
            Some(Codec::Vp8),
            &section(&[], &[10]),
        );
        assert_eq!(single.table, declared(&[(2, "")]));
        let svc = BoundLayers::new(
            &three,
            LayerMode::Unused,
            Some(Codec::Vp9),
            &section(&[], &[10]),
        );
        assert!(svc.svc);
        assert_eq!(svc.table.len(), 3);
    }
}
