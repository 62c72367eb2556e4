//! Which layers of a track are really arriving.
//!
//! A layer has stopped when the other layers went on without it, not when time passed: a screen share may
//! send one frame in many seconds.

use std::time::{Duration, Instant};

/// Frames the others send meanwhile.
const FRAMES: u16 = 6;
const SILENCE: Duration = Duration::from_millis(500);
pub const MOST_LAYERS: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Layer {
    last: Option<Instant>,
    timestamp: u32,
    frames_without: u16,
}

/// See the module. Layers by ascending quality.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerActivity {
    layers: [Layer; MOST_LAYERS],
    active: u8,
}

impl LayerActivity {
    /// A packet of `layer` arrived. Returns the active layers, bit by layer.
    pub fn observe(&mut self, now: Instant, layer: u8, timestamp: u32) -> u8 {
        let Some(own) = self.layers.get_mut(usize::from(layer)) else {
            return self.active;
        };
        let new_frame = own.timestamp != timestamp || own.last.is_none();
        *own = Layer {
            last: Some(now),
            timestamp,
            frames_without: 0,
        };
        self.active |= 1 << layer;
        if new_frame && self.active != 1 << layer {
            for (index, other) in self.layers.iter_mut().enumerate() {
                if index == usize::from(layer) || self.active & 1 << index == 0 {
                    continue;
                }
                other.frames_without = other.frames_without.saturating_add(1);
                let silent = other
                    .last
                    .is_none_or(|last| now.saturating_duration_since(last) >= SILENCE);
                if silent && other.frames_without >= FRAMES {
                    self.active &= !(1 << index);
                }
            }
        }
        self.active
    }

    #[must_use]
    pub fn active(&self) -> u8 {
        self.active
    }

    /// The track was muted: what arrives next counts anew.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_stops_when_others_go_on_and_returns_with_its_first_packet() {
        let mut now = Instant::now();
        let mut activity = LayerActivity::default();
        for frame in 0..3 {
            for layer in 0..3 {
                activity.observe(now, layer, frame * 3000);
            }
            now += Duration::from_millis(33);
        }
        assert_eq!(activity.active(), 0b111);
        for frame in 3..40 {
            activity.observe(now, 0, frame * 3000);
            activity.observe(now, 1, frame * 3000);
            now += Duration::from_millis(33);
        }
        assert_eq!(activity.active(), 0b011);
        assert_eq!(activity.observe(now, 2, 40 * 3000), 0b111);
    }

    #[test]
    fn a_still_screen_loses_no_layer() {
        let mut now = Instant::now();
        let mut activity = LayerActivity::default();
        for frame in 0..20 {
            activity.observe(now, 0, frame * 90_000);
            activity.observe(now + Duration::from_millis(10), 1, frame * 90_000);
            assert_eq!(activity.active() & 1, 1);
            now += Duration::from_secs(4);
        }
        assert_eq!(activity.active(), 0b11);
    }
}
