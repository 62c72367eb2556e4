//! Which layer a subscriber's settings ask for.

use crate::api::{LayerSpec, TrackSettings};
use crate::track::activity::MOST_LAYERS;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Layer {
    quality: u8,
    width: u32,
    height: u32,
}

/// The layers of one codec of a track, by ascending quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerTable {
    layers: [Layer; MOST_LAYERS],
    count: u8,
}

impl LayerTable {
    /// From the declared layers, in any order. None at all counts as one layer of HIGH quality.
    #[must_use]
    pub fn new(declared: &[LayerSpec]) -> Self {
        let mut sorted: Vec<&LayerSpec> = declared.iter().collect();
        sorted.sort_by_key(|layer| (layer.quality, layer.width.saturating_mul(layer.height)));
        let mut table = Self::default();
        for (slot, layer) in table.layers.iter_mut().zip(&sorted) {
            *slot = Layer {
                quality: layer.quality,
                width: layer.width,
                height: layer.height,
            };
            table.count += 1;
        }
        if table.count == 0 {
            table.layers[0] = Layer {
                quality: 2,
                width: 0,
                height: 0,
            };
            table.count = 1;
        }
        table
    }

    #[must_use]
    pub fn count(&self) -> u8 {
        self.count
    }

    /// Quality of a layer; what is above the table is as its highest one.
    #[must_use]
    pub fn quality(&self, layer: u8) -> u8 {
        let layer = layer.min(self.count.saturating_sub(1));
        self.layers
            .get(usize::from(layer))
            .map_or(2, |layer| layer.quality)
    }

    /// The layer that settings ask for; `None` when they pause the track. By size: the smallest that covers
    /// it in either direction of the picture, as a phone may turn. Without size: by quality.
    #[must_use]
    pub fn wanted(&self, settings: &TrackSettings) -> Option<u8> {
        if settings.disabled {
            return None;
        }
        let layers = self.layers.iter().take(usize::from(self.count)).zip(0u8..);
        let highest = self.count.saturating_sub(1);
        if settings.width > 0 && settings.height > 0 {
            let (long, short) = (
                settings.width.max(settings.height),
                settings.width.min(settings.height),
            );
            let covers = |layer: &Layer| {
                layer.width.max(layer.height) >= long && layer.width.min(layer.height) >= short
            };
            if layers.clone().any(|(layer, _)| layer.width > 0) {
                let found = layers.clone().find(|(layer, _)| covers(layer));
                return Some(found.map_or(highest, |(_, index)| index));
            }
            return Some(highest);
        }
        let found = layers
            .filter(|(layer, _)| layer.quality <= settings.quality)
            .last();
        Some(found.map_or(0, |(_, index)| index))
    }
}

/// Highest temporal layer for a wish in frames a second, where `highest` is the highest there is and each
/// layer doubles the rate up to 30.
#[must_use]
pub(super) fn temporal_for(fps: u32, highest: u8) -> u8 {
    if fps == 0 {
        return u8::MAX;
    }
    (0..highest)
        .find(|layer| 30 >> (highest - layer) >= fps)
        .unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(quality: u8, width: u32, height: u32) -> LayerSpec {
        LayerSpec {
            quality,
            rid: String::new(),
            width,
            height,
            bitrate: 0,
            ssrc: 0,
        }
    }

    fn table() -> LayerTable {
        LayerTable::new(&[layer(2, 1280, 720), layer(0, 320, 180), layer(1, 640, 360)])
    }

    fn wanted(width: u32, height: u32, quality: u8) -> Option<u8> {
        table().wanted(&TrackSettings {
            width,
            height,
            quality,
            ..Default::default()
        })
    }

    #[test]
    fn size_asks_for_the_smallest_layer_that_covers_it() {
        assert_eq!(wanted(320, 180, 2), Some(0));
        assert_eq!(wanted(321, 180, 2), Some(1));
        assert_eq!(wanted(360, 640, 2), Some(1));
        assert_eq!(wanted(4000, 3000, 0), Some(2));
    }

    #[test]
    fn quality_decides_without_size() {
        assert_eq!(wanted(0, 0, 0), Some(0));
        assert_eq!(wanted(0, 0, 1), Some(1));
        assert_eq!(wanted(0, 0, 2), Some(2));
        let two = LayerTable::new(&[layer(0, 320, 180), layer(2, 1280, 720)]);
        assert_eq!(
            two.wanted(&TrackSettings {
                quality: 1,
                ..Default::default()
            }),
            Some(0)
        );
    }

    #[test]
    fn a_disabled_track_asks_for_nothing_and_an_undeclared_one_for_its_only_layer() {
        assert_eq!(
            table().wanted(&TrackSettings {
                disabled: true,
                ..Default::default()
            }),
            None
        );
        assert_eq!(
            LayerTable::new(&[]).wanted(&TrackSettings {
                width: 10,
                height: 10,
                ..Default::default()
            }),
            Some(0)
        );
    }

    #[test]
    fn frame_rate_asks_for_a_temporal_layer() {
        assert_eq!(temporal_for(0, 2), u8::MAX);
        assert_eq!(temporal_for(30, 2), u8::MAX);
        assert_eq!(temporal_for(15, 2), 1);
        assert_eq!(temporal_for(7, 2), 0);
        assert_eq!(temporal_for(15, 1), 0);
        assert_eq!(temporal_for(5, 0), u8::MAX);
    }
}
