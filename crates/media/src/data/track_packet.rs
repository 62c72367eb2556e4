//! Data-track packets: the header of the `_data_track` channel, and who gets a packet under which handle.
//!
//! Big endian: version (3 bits), start and final flag, extension flag, 2 reserved bits; a reserved byte;
//! handle, sequence and frame number (u16 each); timestamp (u32, 90 kHz). With the extension flag a u16
//! n follows, and 4(n+1) − 2 bytes of `{tag, length, data}` elements, where tag 0 is padding.

use std::time::Duration;

use bytes::Bytes;
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
pub fn with_handle(packet: &[u8], handle: u16) -> Bytes {
    let mut copy = packet.to_vec();
    if let Some(bytes) = copy.get_mut(HANDLE) {
        bytes.copy_from_slice(&handle.to_be_bytes());
    }
    copy.into()
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
        let subscribers = self
            .remove(track)
            .map(|ended| ended.subscribers)
            .unwrap_or_default();
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

    /// Ends a track; its publisher, if there was one.
    pub fn unpublish(&mut self, track: TrackId) -> Option<ParticipantId> {
        self.remove(track).map(|ended| ended.publisher)
    }

    /// The handle in its publisher's packets.
    #[must_use]
    pub fn handle_of(&self, track: TrackId) -> Option<u16> {
        self.tracks.get(&track).map(|track| track.publisher_handle)
    }

    fn remove(&mut self, track: TrackId) -> Option<DataTrack> {
        let ended = self.tracks.remove(&track)?;
        self.by_handle
            .remove(&(ended.publisher, ended.publisher_handle));
        Some(ended)
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
        mut deliver: impl FnMut(ParticipantId, Bytes),
    ) -> Result<(), TrackPacketError> {
        let track = self.track_of(publisher, packet)?;
        let Some(track) = self.tracks.get(&track) else {
            return Ok(());
        };
        // Subscribers mostly share a handle, then they share the buffer.
        let mut last: Option<(u16, Bytes)> = None;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALICE: ParticipantId = ParticipantId(1);
    const BOB: ParticipantId = ParticipantId(2);
    const CAROL: ParticipantId = ParticipantId(3);

    fn packet(flags: u8, handle: u16, rest: &[u8]) -> Vec<u8> {
        let [h0, h1] = handle.to_be_bytes();
        let mut out = vec![flags, 0, h0, h1, 0, 5, 0, 6, 0, 1, 0, 0];
        out.extend_from_slice(rest);
        out
    }

    fn delivered(
        tracks: &DataTracks,
        from: ParticipantId,
        packet: &[u8],
    ) -> Vec<(ParticipantId, Vec<u8>)> {
        let mut out = Vec::new();
        let _ = tracks.route(
            from,
            packet,
            |_| Some(Duration::ZERO),
            |to, data| out.push((to, data.to_vec())),
        );
        out
    }

    #[test]
    fn header_is_read() {
        let header = Header::parse(&packet(0x18, 7, b"payload")).unwrap();
        assert_eq!((header.start, header.last, header.handle), (true, true, 7));
        assert_eq!(
            (header.sequence, header.frame, header.timestamp),
            (5, 6, 65_536)
        );
        assert_eq!(header.payload_offset, 12);
    }

    #[test]
    fn extensions_stay_within_their_block() {
        let ok = packet(0x04, 7, &[0, 2, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, b'x']);
        assert_eq!(Header::parse(&ok).unwrap().payload_offset, 24);
        let padded = packet(0x04, 7, &[0, 1, 2, 2, 1, 2, 0, 0]);
        assert_eq!(Header::parse(&padded).unwrap().payload_offset, 20);
        let overrun = packet(0x04, 7, &[0, 0, 1, 1, 9, 9]);
        assert_eq!(Header::parse(&overrun), Err(TrackPacketError::Extension));
        let no_length = packet(0x04, 7, &[0, 0, 0, 1]);
        assert_eq!(Header::parse(&no_length), Err(TrackPacketError::Extension));
        for cut in [&[][..], &[0], &[0, 1, 1, 0], &[0xff, 0xff, 0, 0, 0, 0]] {
            assert_eq!(
                Header::parse(&packet(0x04, 7, cut)),
                Err(TrackPacketError::Truncated)
            );
        }
    }

    #[test]
    fn foreign_versions_short_packets_and_handle_zero_are_refused() {
        assert_eq!(
            Header::parse(&packet(0x20, 7, b"")),
            Err(TrackPacketError::Version(1))
        );
        assert_eq!(
            Header::parse(&packet(0, 7, b"")[..11]),
            Err(TrackPacketError::Truncated)
        );
        assert_eq!(
            Header::parse(&packet(0, 0, b"")),
            Err(TrackPacketError::Handle)
        );
        assert_eq!(
            Header::parse(&vec![0; 65_536]),
            Err(TrackPacketError::TooLarge(65_536))
        );
    }

    #[test]
    fn only_the_handle_changes_on_the_way() {
        let mut tracks = DataTracks::default();
        tracks.publish(TrackId(1), ALICE, 7);
        tracks.subscribe(TrackId(1), CAROL, Some(300));
        tracks.subscribe(TrackId(1), BOB, Some(1));
        let sent = packet(0x1c, 7, &[0, 0, 0, 0, b'x']);
        let received = delivered(&tracks, ALICE, &sent);
        assert_eq!(
            received,
            [
                (BOB, packet(0x1c, 1, &sent[12..])),
                (CAROL, packet(0x1c, 300, &sent[12..]))
            ]
        );
    }

    #[test]
    fn a_handle_belongs_to_its_publisher() {
        let mut tracks = DataTracks::default();
        tracks.publish(TrackId(1), ALICE, 7);
        tracks.subscribe(TrackId(1), BOB, Some(1));
        assert_eq!(
            tracks.track_of(BOB, &packet(0, 7, b"")),
            Err(TrackPacketError::UnknownHandle(7))
        );
        assert!(delivered(&tracks, BOB, &packet(0, 7, b"")).is_empty());
    }

    #[test]
    fn unsubscribed_ended_and_departed_get_nothing() {
        let mut tracks = DataTracks::default();
        tracks.publish(TrackId(1), ALICE, 7);
        tracks.subscribe(TrackId(1), BOB, Some(1));
        tracks.subscribe(TrackId(1), CAROL, Some(1));
        tracks.subscribe(TrackId(1), BOB, None);
        assert_eq!(delivered(&tracks, ALICE, &packet(0, 7, b"")).len(), 1);
        tracks.remove_participant(CAROL);
        assert!(delivered(&tracks, ALICE, &packet(0, 7, b"")).is_empty());
        tracks.unpublish(TrackId(1));
        tracks.subscribe(TrackId(1), BOB, Some(1));
        assert!(delivered(&tracks, ALICE, &packet(0, 7, b"")).is_empty());
    }

    #[test]
    fn a_handle_used_again_names_the_new_track() {
        let mut tracks = DataTracks::default();
        tracks.publish(TrackId(1), ALICE, 7);
        tracks.publish(TrackId(2), ALICE, 7);
        assert_eq!(tracks.track_of(ALICE, &packet(0, 7, b"")), Ok(TrackId(2)));
        assert!(tracks.unpublish(TrackId(1)).is_none());
        assert_eq!(tracks.track_of(ALICE, &packet(0, 7, b"")), Ok(TrackId(2)));
        tracks.publish(TrackId(2), ALICE, 8);
        assert_eq!(
            tracks.track_of(ALICE, &packet(0, 7, b"")),
            Err(TrackPacketError::UnknownHandle(7))
        );
    }

    #[test]
    fn a_slow_or_closed_subscriber_is_passed_over() {
        let mut tracks = DataTracks::default();
        tracks.publish(TrackId(1), ALICE, 7);
        tracks.subscribe(TrackId(1), BOB, Some(1));
        tracks.subscribe(TrackId(1), CAROL, Some(1));
        for waits in [None, Some(TARGET_LATENCY + Duration::from_millis(1))] {
            let mut got = Vec::new();
            let latency = |id| {
                if id == BOB {
                    waits
                } else {
                    Some(TARGET_LATENCY)
                }
            };
            tracks
                .route(ALICE, &packet(0, 7, b""), latency, |to, _| got.push(to))
                .unwrap();
            assert_eq!(got, [CAROL]);
        }
    }

    #[test]
    fn subscribers_with_one_handle_share_one_buffer() {
        let mut tracks = DataTracks::default();
        tracks.publish(TrackId(1), ALICE, 7);
        tracks.subscribe(TrackId(1), BOB, Some(4));
        tracks.subscribe(TrackId(1), CAROL, Some(4));
        let mut got = Vec::new();
        tracks
            .route(
                ALICE,
                &packet(0, 7, b""),
                |_| Some(Duration::ZERO),
                |_, data| got.push(data),
            )
            .unwrap();
        assert!(got[0].as_ptr() == got[1].as_ptr());
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert!(header.payload_offset <= bytes.len());
            }
        }
    }
}
