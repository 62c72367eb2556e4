//! Frames that pass as they are, from publishers in this process to subscribers in it.
//!
//! Who subscribes to what, and what is muted or paused, is as for packets.

use std::time::Instant;

use super::Plane;
use crate::plain::{Content, Plain};
use crate::transport::FiveTuple;

impl Plane {
    /// Takes what a client of this process passes.
    pub fn handle_plain(&mut self, now: Instant, tuple: FiveTuple, plain: Plain) {
        let Some(key) = self.by_tuple.get(&tuple).copied() else {
            return;
        };
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let participant = Some(connection.participant);
        self.guard(now, participant, |plane| match plain {
            Plain::Frame {
                mid,
                content,
                level,
            } => plane.pass(now, key, &mid, &content, level),
            Plain::End { mid } => plane.end_passing(key, &mid),
            Plain::Encode { .. } => {}
        });
    }

    /// What is to be passed on, after [`Plane::drain`].
    pub fn poll_plain(&mut self) -> Option<(FiveTuple, Plain)> {
        self.passing.pop_front()
    }

    fn pass(&mut self, now: Instant, key: usize, mid: &str, content: &Content, level: Option<u8>) {
        let Some(tag) = self.variant_of(key, mid) else {
            return;
        };
        let Some(variant) = self.variants.get_mut(tag) else {
            return;
        };
        let Some(source) = self.tracks.get(&variant.track) else {
            return;
        };
        if source.spec.muted {
            return;
        }
        let mut encoded = false;
        for sub in variant.subs.iter().filter_map(|key| self.subs.get(*key)) {
            let wants =
                |sub: &super::Sub| sub.forward.as_ref().is_some_and(|it| it.wanted().is_some());
            let Some(to) = self.connections.get(sub.connection).filter(|_| wants(sub)) else {
                continue;
            };
            if !to.transport.is_in_memory() {
                encoded = true;
            } else if let Some(path) = to.transport.destination().filter(|_| to.connected) {
                let frame = Plain::Frame {
                    mid: sub.mid.clone(),
                    content: content.clone(),
                    level: None,
                };
                self.passing.push_back((path, frame));
            }
        }
        let before = variant.passed.replace(encoded);
        if before != Some(encoded)
            && let Some(path) = self
                .connections
                .get(key)
                .and_then(|it| it.transport.destination())
        {
            let encode = Plain::Encode {
                mid: mid.to_owned(),
                wanted: encoded,
            };
            self.passing.push_back((path, encode));
        }
        if let Some(level) = level {
            self.hear(now, tag, level);
        }
    }

    fn end_passing(&mut self, key: usize, mid: &str) {
        if let Some(tag) = self.variant_of(key, mid)
            && let Some(variant) = self.variants.get_mut(tag)
        {
            variant.passed = None;
        }
    }
}
