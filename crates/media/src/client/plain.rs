//! Frames of a client that is in one process with its server, passed as they are.
//!
//! Whoever needs them encoded gets them so: where both ends are in the process, encoders and decoders rest.

use std::collections::VecDeque;
use std::time::Instant;

use super::sending::Sending;
use super::{Client, ClientEvent, index};
use crate::api::{MediaKind, Target, TrackId};
use crate::plain::{Content, Plain};
use crate::transport::FiveTuple;

/// What waits to be passed on, and by which path.
pub(super) type Passing = VecDeque<(FiveTuple, Plain)>;

impl Client {
    /// Passes a frame of a track as it is, where that can be: beside encoded ones, which go to whoever needs
    /// them.
    pub fn send_plain(&mut self, track: TrackId, content: Content) {
        if let Some(path) = self.plain_path()
            && let Some(sending) = self.sending.get_mut(&track)
        {
            sending.pass(path, content, None, &mut self.passing);
        }
    }

    /// Takes what the server passes.
    pub fn handle_plain(&mut self, now: Instant, target: Target, plain: Plain) {
        match plain {
            Plain::Frame { mid, content, .. } => {
                if let Some((_, received)) = self.received(target, &mid) {
                    received.plain(now, &content);
                }
            }
            Plain::Encode { mid, wanted } => self.encode(now, &mid, wanted),
            Plain::End { .. } => {}
        }
    }

    /// Others than those in this process take a track, or no longer.
    fn encode(&mut self, now: Instant, mid: &str, wanted: bool) {
        let mut all = self.sending.iter_mut();
        let Some((track, sending)) = all.find(|(_, it)| it.mid == mid) else {
            return;
        };
        sending.encoded_wanted = wanted;
        if sending.kind == MediaKind::Audio {
            return;
        }
        for (layer, stream) in (0..).zip(&mut sending.streams) {
            stream.bitrate = None;
            if !wanted {
                self.events.push_back(ClientEvent::Bitrate {
                    track: *track,
                    layer,
                    bits: 0,
                });
            }
        }
        if wanted {
            self.share(now);
        }
    }

    /// What is to be passed on, after [`Client::drain`].
    pub fn poll_plain(&mut self) -> Option<(FiveTuple, Plain)> {
        self.passing.pop_front()
    }

    /// The way to the server, if it is in this process.
    pub(super) fn plain_path(&self) -> Option<FiveTuple> {
        let connection = self.connections.get(index(Target::Publisher))?;
        let transport = &connection.transport;
        let there = connection.connected && transport.is_in_memory();
        transport.destination().filter(|_| there)
    }
}

impl Sending {
    /// Encrypted frames are for those alone who have a key.
    pub(super) fn may_pass(&self) -> bool {
        self.sealer.is_none()
    }

    pub(super) fn pass(
        &mut self,
        path: FiveTuple,
        content: Content,
        level: Option<u8>,
        passing: &mut Passing,
    ) {
        if self.muted || !self.may_pass() {
            return;
        }
        if !self.mid.is_empty() {
            self.passed = true;
            let frame = Plain::Frame {
                mid: self.mid.clone(),
                content,
                level,
            };
            passing.push_back((path, frame));
        }
    }

    /// No more are passed.
    pub(super) fn end_passing(&mut self, path: Option<FiveTuple>, passing: &mut Passing) {
        if std::mem::take(&mut self.passed)
            && let Some(path) = path
        {
            let mid = self.mid.clone();
            passing.push_back((path, Plain::End { mid }));
        }
    }
}
