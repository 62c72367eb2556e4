//! Data-track packets: the header of the `_data_track` channel, and who gets a packet under which handle.
//!
//! Big endian: version (3 bits), start and final flag, extension flag, 2 reserved bits; a reserved byte;
//! handle, sequence and frame number (u16 each); timestamp (u32, 90 kHz). With the extension flag a u16
//! n follows, and 4(n+1) − 2 bytes of `{tag, length, data}` elements, where tag 0 is padding.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::MAX_MESSAGE_SIZE;
use crate::api::{ParticipantId, TrackId};

const HEADER_LEN: usize = 12;
const HANDLE: std::ops::Range<usize> = 2..4;
const VERSION: u8 = 0;

/// Data older than this in a subscriber's channel is overtaken by events: what comes on top is dropped
/// (`rtc.datachannel_data_track_target_latency`).
pub const TARGET_LATENCY: Duration = Duration::from_millis(100);

/// Why a packet is not a data-track packet that can be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackPacketError {
    #[error("data-track packet is cut short")]
    Truncated,
    #[error("data-track packet of {0} bytes is larger than {MAX_MESSAGE_SIZE}")]
    TooLarge(usize),
    #[error("data-track packet of unknown version {0}")]
    Version(u8),
    #[error("extensions of a data-track packet overrun their block")]
    Extension,
    #[error("data-track handle 0 is reserved")]
    Handle,
    /// A packet before its track was announced, or after its end; no fault of the sender's.
    #[error("no data track has handle {0}")]
    UnknownHandle(u16),
}

/// The fixed header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// First and last packet of a frame.
    pub start: bool,
    pub last: bool,
    pub handle: u16,
    pub sequence: u16,
    pub frame: u16,
    /// 90 kHz.
    pub timestamp: u32,
    /// Where the payload starts, in bytes.
    pub payload_offset: usize,
}

impl Header {
    /// Reads and checks a whole packet's header, extensions included.
    pub fn parse(packet: &[u8]) -> Result<Self, TrackPacketError> {
        if packet.len() > MAX_MESSAGE_SIZE {
            return Err(TrackPacketError::TooLarge(packet.len()));
        }
        let Some((header, rest)) = packet.split_first_chunk::<HEADER_LEN>() else {
            return Err(TrackPacketError::Truncated);
        };
        let [flags, _, h0, h1, s0, s1, f0, f1, t0, t1, t2, t3] = *header;
        if flags >> 5 != VERSION {
            return Err(TrackPacketError::Version(flags >> 5));
        }
        let handle = u16::from_be_bytes([h0, h1]);
        if handle == 0 {
            return Err(TrackPacketError::Handle);
        }
        let extensions = if flags & 0x04 != 0 {
            extension_block(rest)?
        } else {
            0
        };
        Ok(Self {
            start: flags & 0x10 != 0,
            last: flags & 0x08 != 0,
            handle,
            sequence: u16::from_be_bytes([s0, s1]),
            frame: u16::from_be_bytes([f0, f1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            payload_offset: HEADER_LEN + extensions,
        })
    }
}

/// Length of the extension block that `rest` starts with, its own word count included.
fn extension_block(rest: &[u8]) -> Result<usize, TrackPacketError> {
    let Some((&[w0, w1], _)) = rest.split_first_chunk::<2>() else {
        return Err(TrackPacketError::Truncated);
    };
    let len = 4 * (usize::from(u16::from_be_bytes([w0, w1])) + 1);
    let mut elements = rest.get(2..len).ok_or(TrackPacketError::Truncated)?;
    while let Some((&tag, after)) = elements.split_first() {
        elements = if tag == 0 {
            after
        } else {
            let (&size, data) = after.split_first().ok_or(TrackPacketError::Extension)?;
            data.get(usize::from(size)..)
                .ok_or(TrackPacketError::Extension)?
        };
    }
    Ok(len)
}

/// A copy of a valid packet under another handle.
pub fn with_handle(packet: &[u8], handle: u16) -> Arc<[u8]> {
    let mut copy: Arc<[u8]> = Arc::from(packet);
    // The copy is not shared yet, and the packet was checked: both always hold.
    if let Some(bytes) = Arc::get_mut(&mut copy).and_then(|copy| copy.get_mut(HANDLE)) {
        bytes.copy_from_slice(&handle.to_be_bytes());
    }
    copy
}

struct DataTrack {
    publisher: ParticipantId,
    publisher_handle: u16,
    /// Ordered by subscriber: the fan-out has one order.
    subscribers: Vec<(ParticipantId, u16)>,
}

/// The data tracks of a room on one worker: publisher's handle → track → subscribers' handles.
#[derive(Default)]
pub struct DataTracks {
    tracks: FxHashMap<TrackId, DataTrack>,
    by_handle: FxHashMap<(ParticipantId, u16), TrackId>,
}

impl DataTracks {
    /// Announces a track, or moves it to another handle; its subscribers stay.
    pub fn publish(&mut self, track: TrackId, publisher: ParticipantId, publisher_handle: u16) {
        let subscribers = self.unpublish(track).unwrap_or_default();
        if let Some(earlier) = self.by_handle.insert((publisher, publisher_handle), track) {
            self.tracks.remove(&earlier);
        }
        self.tracks.insert(
            track,
            DataTrack {
                publisher,
                publisher_handle,
                subscribers,
            },
        );
    }

    /// Ends a track; its subscriptions, if there was one.
    pub fn unpublish(&mut self, track: TrackId) -> Option<Vec<(ParticipantId, u16)>> {
        let ended = self.tracks.remove(&track)?;
        self.by_handle
            .remove(&(ended.publisher, ended.publisher_handle));
        Some(ended.subscribers)
    }

    /// Subscribes under the subscriber's own `handle`, or with `None` unsubscribes.
    pub fn subscribe(&mut self, track: TrackId, subscriber: ParticipantId, handle: Option<u16>) {
        let Some(track) = self.tracks.get_mut(&track) else {
            return;
        };
        match (
            track
                .subscribers
                .binary_search_by_key(&subscriber, |&(id, _)| id),
            handle,
        ) {
            (Ok(at), Some(handle)) => track.subscribers[at].1 = handle,
            (Ok(at), None) => {
                track.subscribers.remove(at);
            }
            (Err(at), Some(handle)) => track.subscribers.insert(at, (subscriber, handle)),
            (Err(_), None) => {}
        }
    }

    /// Ends a participant's tracks and subscriptions.
    pub fn remove_participant(&mut self, id: ParticipantId) {
        self.tracks.retain(|_, track| track.publisher != id);
        self.by_handle.retain(|&(publisher, _), _| publisher != id);
        for track in self.tracks.values_mut() {
            track
                .subscribers
                .retain(|&(subscriber, _)| subscriber != id);
        }
    }

    /// The track that a publisher's packet belongs to.
    pub fn track_of(
        &self,
        publisher: ParticipantId,
        packet: &[u8],
    ) -> Result<TrackId, TrackPacketError> {
        let handle = Header::parse(packet)?.handle;
        self.by_handle
            .get(&(publisher, handle))
            .copied()
            .ok_or(TrackPacketError::UnknownHandle(handle))
    }

    /// Hands a publisher's packet to the track's subscribers, each under its own handle.
    ///
    /// `latency` says how long a packet to that subscriber would wait now, `None` = it cannot be sent to;
    /// above [`TARGET_LATENCY`] the packet is dropped for it.
    pub fn route(
        &self,
        publisher: ParticipantId,
        packet: &[u8],
        mut latency: impl FnMut(ParticipantId) -> Option<Duration>,
        mut deliver: impl FnMut(ParticipantId, Arc<[u8]>),
    ) -> Result<(), TrackPacketError> {
        let track = self.track_of(publisher, packet)?;
        let Some(track) = self.tracks.get(&track) else {
            return Ok(());
        };
        // Subscribers mostly share a handle, then they share the buffer.
        let mut last: Option<(u16, Arc<[u8]>)> = None;
        for &(subscriber, handle) in &track.subscribers {
            if latency(subscriber).is_none_or(|waits| waits > TARGET_LATENCY) {
                continue;
            }
            let data = match &last {
                Some((same, data)) if *same == handle => data.clone(),
                _ => with_handle(packet, handle),
            };
            last = Some((handle, data.clone()));
            deliver(subscriber, data);
        }
        Ok(())
    }
}
