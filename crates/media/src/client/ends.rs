//! Where what is sent comes from, and where what is received goes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{Decryption, Synchronization};
use crate::plain::Content;
use crate::statistics::Report;
use crate::track::MediaPacket;

/// One encoded Opus frame.
#[derive(Clone, Debug)]
pub struct OpusFrame {
    pub payload: Bytes,
    /// In samples of 48 kHz, from any start; goes on while nothing is sent.
    pub timestamp: u32,
    /// When its sound began to be played, as who captured it knows.
    pub captured: Instant,
    /// −dBov (RFC 6464): 0 is loudest, 127 silence.
    pub level: u8,
    pub voice: bool,
    /// The first after a silence that was not sent.
    pub begins: bool,
    /// The frame as it was, where that was wanted.
    pub plain: Option<Content>,
}

/// An encoded frame of a published video track.
#[derive(Clone, Copy, Debug)]
pub struct EncodedFrame<'a> {
    pub data: &'a [u8],
    /// When it was captured, on any steady clock, and on ours.
    pub timestamp_us: i64,
    pub captured: Instant,
    pub key: bool,
}

/// What a published audio track is made of. It keeps its own time.
pub trait AudioSource: Send {
    /// When the next frame is due; `None` while there is nothing to send.
    fn poll_timeout(&self) -> Option<Instant>;

    /// How frames are wanted from now on: as they are, encoded, or both. Until then encoded; who has no others
    /// goes on so.
    fn set_forms(&mut self, _plain: bool, _encoded: bool) {}

    /// The frame that is due, until there is none. Without a payload it is not encoded.
    fn poll_frame(&mut self, now: Instant) -> Option<OpusFrame>;

    /// What is aimed at, in bits a second.
    fn bitrate(&self) -> Option<u32> {
        None
    }

    /// Adds what it knows to its `RTCAudioSourceStats`.
    fn describe(&self, _report: &mut Report) {}

    /// How the way is now: bits a second that frames may take, and percent of the packets that get lost.
    fn adapt(&mut self, _bits: u64, _loss: u8) {}
}

/// Who takes the packets of a received track.
pub trait PacketSink: Send {
    fn packet(&mut self, now: Instant, packet: &Arc<MediaPacket>);

    /// When [`Self::handle_timeout`] has something to do.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    /// A frame as it was, in place of packets.
    fn plain(&mut self, _now: Instant, _frame: &Content) {}

    /// Pictures, which are whole only here, are opened by this from now on.
    fn decrypt(&mut self, _by: Option<Decryption>) {}

    /// With what it is to be played in step from now on.
    fn synchronize(&mut self, _with: Option<Synchronization>) {}

    /// Whether nothing can be shown until a key frame comes; asked after each call.
    fn needs_keyframe(&mut self, _now: Instant) -> bool {
        false
    }

    /// Adds what it knows to the stream's `RTCInboundRtpStreamStats`.
    fn describe(&self, _now: Instant, _report: &mut Report) {}
}
