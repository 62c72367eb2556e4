//! Media shaped as encoders and their pacers shape it, with a [`Mark`] in each packet.

use std::time::{Duration, Instant};

use crate::mark::{self, Mark};

/// Time between two packets of audio.
const OPUS_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of a 32 kbit/s packet of audio.
const OPUS_SIZE: usize = 80;
/// Ticks of the 48 kHz clock in a packet of audio.
const OPUS_TICKS: u32 = 960;

/// Frames a second.
const FRAME_RATE: u32 = 30;
/// Ticks of the 90 kHz clock in a frame.
const FRAME_TICKS: u32 = 90_000 / FRAME_RATE;
/// Bits a second of a video.
pub(crate) const VIDEO_BITRATE: u32 = 2_000_000;
/// Bytes of a frame that is no key frame.
const FRAME_SIZE: usize = (VIDEO_BITRATE / FRAME_RATE / 8) as usize;
/// A key frame is this many times as large.
const KEY_FACTOR: usize = 4;
/// Bytes of payload in the largest packet of video.
const PACKET_SIZE: usize = 1_100;
/// A pacer sends a burst this often, at 2.5 times the bitrate: three packets.
const BURST_INTERVAL: Duration = Duration::from_millis(5);
const BURST_PACKETS: usize = 3;

pub(crate) const WIDTH: u16 = 1_280;
pub(crate) const HEIGHT: u16 = 720;

/// A packet to send now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// RTP time.
    pub(crate) timestamp: u32,
    /// The last of a frame.
    pub(crate) marker: bool,
    pub(crate) payload: Vec<u8>,
}

/// What a track sends.
pub(crate) trait Source {
    /// When the next packets are to be sent.
    fn due(&self) -> Instant;
    /// Hands over the packets of the moment that was due; `track` and `now` go into their marks.
    fn send(&mut self, now: Instant, track: u16, each: &mut dyn FnMut(Packet));
    /// The next frame is to be a key frame.
    fn request_key_frame(&mut self) {}
}

/// Opus: 50 packets a second, 32 kbit/s.
pub(crate) struct Opus {
    due: Instant,
    timestamp: u32,
}

impl Opus {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            due: start,
            timestamp: 0,
        }
    }
}

impl Source for Opus {
    fn due(&self) -> Instant {
        self.due
    }

    fn send(&mut self, now: Instant, track: u16, each: &mut dyn FnMut(Packet)) {
        // 20 ms, one channel, CELT.
        let mut payload = Vec::with_capacity(OPUS_SIZE);
        payload.push(0xe0);
        payload.resize(OPUS_SIZE - mark::LEN, 0xaa);
        let mark = Mark {
            track,
            key: false,
            sent: mark::nanos(now),
        };
        mark.append(&mut payload);
        each(Packet {
            timestamp: self.timestamp,
            marker: false,
            payload,
        });
        self.due += OPUS_INTERVAL;
        self.timestamp = self.timestamp.wrapping_add(OPUS_TICKS);
    }
}

/// VP8: 30 frames a second, 2 Mbit/s, each frame sent in bursts as a pacer does.
pub(crate) struct Vp8 {
    /// Next frame.
    frame_due: Instant,
    /// The pacer's next burst.
    burst_due: Instant,
    timestamp: u32,
    picture_id: u16,
    tl0: u8,
    wants_key: bool,
    /// Of the frame that is being sent: whether a key frame, whether its first packet is still to come, bytes left.
    key: bool,
    first: bool,
    left: usize,
}

impl Vp8 {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            frame_due: start,
            burst_due: start,
            timestamp: 0,
            picture_id: 0,
            tl0: 0,
            wants_key: true,
            key: false,
            first: true,
            left: 0,
        }
    }

    fn start_frame(&mut self) {
        self.key = std::mem::take(&mut self.wants_key);
        self.first = true;
        self.left = FRAME_SIZE * if self.key { KEY_FACTOR } else { 1 };
        self.frame_due += Duration::from_secs(1) / FRAME_RATE;
        self.timestamp = self.timestamp.wrapping_add(FRAME_TICKS);
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.tl0 = self.tl0.wrapping_add(1);
    }

    /// The next packet of the frame: RFC 7741's descriptor, VP8's header in the first one, filling, mark.
    fn packet(&mut self, now: Instant, track: u16) -> Packet {
        // Encoders split a frame about equally.
        let size = self.left.div_ceil(self.left.div_ceil(PACKET_SIZE));
        self.left -= size;
        let mut payload = Vec::with_capacity(size);
        let [p0, p1] = (self.picture_id | 0x8000).to_be_bytes();
        // X, and S in the first packet; I, L, T; 15 bits of picture id, TL0PICIDX, TID 0 with Y.
        let start = if self.first { 0x90 } else { 0x80 };
        payload.extend_from_slice(&[start, 0xe0, p0, p1, self.tl0, 0x20]);
        if self.first {
            // RFC 6386, 9.1: a shown frame of version 0; bit 0 is clear in key frames.
            payload.extend_from_slice(&[if self.key { 0x10 } else { 0x11 }, 0, 0]);
            if self.key {
                let ([w0, w1], [h0, h1]) = (WIDTH.to_le_bytes(), HEIGHT.to_le_bytes());
                payload.extend_from_slice(&[0x9d, 0x01, 0x2a, w0, w1, h0, h1]);
            }
        }
        payload.resize(size - mark::LEN, 0x55);
        let mark = Mark {
            track,
            key: self.key,
            sent: mark::nanos(now),
        };
        mark.append(&mut payload);
        self.first = false;
        Packet {
            timestamp: self.timestamp,
            marker: self.left == 0,
            payload,
        }
    }
}

impl Source for Vp8 {
    fn due(&self) -> Instant {
        match self.left {
            0 => self.frame_due.max(self.burst_due),
            _ => self.burst_due,
        }
    }

    fn send(&mut self, now: Instant, track: u16, each: &mut dyn FnMut(Packet)) {
        if self.left == 0 {
            self.start_frame();
        }
        for _ in 0..BURST_PACKETS {
            each(self.packet(now, track));
            if self.left == 0 {
                break;
            }
        }
        self.burst_due = now + BURST_INTERVAL;
    }

    fn request_key_frame(&mut self) {
        self.wants_key = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of a time, with the moments they were due at.
    fn run(source: &mut dyn Source, start: Instant, time: Duration) -> Vec<(Duration, Packet)> {
        let mut sent = Vec::new();
        while source.due() < start + time {
            let due = source.due();
            source.send(due, 7, &mut |packet| sent.push((due - start, packet)));
        }
        sent
    }

    #[test]
    fn audio_is_50_packets_and_32_kbit_a_second() {
        let start = Instant::now();
        let sent = run(&mut Opus::new(start), start, Duration::from_secs(1));
        assert_eq!(sent.len(), 50);
        let bytes: usize = sent.iter().map(|(_, packet)| packet.payload.len()).sum();
        assert_eq!(bytes * 8, 32_000);
        assert_eq!(sent[49].1.timestamp, 49 * 960);
        assert_eq!(Mark::read(&sent[0].1.payload).map(|m| m.track), Some(7));
    }

    #[test]
    fn video_is_30_frames_and_2_mbit_a_second() {
        let start = Instant::now();
        let mut video = Vp8::new(start);
        run(&mut video, start, Duration::from_secs(1));
        let sent = run(&mut video, start, Duration::from_secs(2));
        let frames = sent.iter().filter(|(_, packet)| packet.marker).count();
        assert_eq!(frames, 30);
        let bytes: usize = sent.iter().map(|(_, packet)| packet.payload.len()).sum();
        assert!((1_990_000..=2_000_000).contains(&(bytes * 8)), "{bytes}");
        let mut sizes = sent.iter().map(|(_, packet)| packet.payload.len());
        assert!(sizes.all(|size| (1_000..=PACKET_SIZE).contains(&size)));
    }

    #[test]
    fn a_frame_is_sent_in_bursts_5_ms_apart() {
        let start = Instant::now();
        let mut video = Vp8::new(start);
        run(&mut video, start, Duration::from_millis(199));
        let sent = run(&mut video, start, Duration::from_millis(230));
        let offsets: Vec<_> = sent
            .iter()
            .map(|(due, _)| (*due - sent[0].0).as_millis())
            .collect();
        assert_eq!(offsets, [0, 0, 0, 5, 5, 5, 10, 10]);
    }

    #[test]
    fn frames_behind_a_key_frame_wait_for_the_pacer() {
        let start = Instant::now();
        let sent = run(&mut Vp8::new(start), start, Duration::from_millis(200));
        let mut bursts: Vec<_> = sent.iter().map(|(due, _)| *due).collect();
        assert!(bursts.chunk_by(|a, b| a == b).all(|burst| burst.len() <= 3));
        bursts.dedup();
        assert!(bursts.windows(2).all(|w| w[1] - w[0] >= BURST_INTERVAL));
    }

    #[test]
    fn the_first_frame_and_each_that_was_asked_for_are_key_frames_with_a_header_of_vp8() {
        let start = Instant::now();
        let mut video = Vp8::new(start);
        let sent = run(&mut video, start, Duration::from_millis(199));
        let frames: Vec<_> = sent
            .chunk_by(|a, b| !a.1.marker && b.1.timestamp == a.1.timestamp)
            .collect();
        assert_eq!(frames.len(), 6);
        assert_eq!((frames[0].len(), frames[1].len()), (31, 8));
        let header = &frames[0][0].1.payload[..16];
        assert_eq!(header[0], 0x90, "the start of a partition");
        assert_eq!(header[6] & 1, 0, "a key frame");
        assert_eq!(header[9..12], [0x9d, 0x01, 0x2a]);
        let is_key = |frame: &[(Duration, Packet)]| {
            frame
                .iter()
                .all(|(_, packet)| Mark::read(&packet.payload).is_some_and(|mark| mark.key))
        };
        assert!(is_key(frames[0]) && !is_key(frames[1]));
        assert_eq!(frames[1][0].1.payload[6] & 1, 1, "no key frame");

        video.request_key_frame();
        let key = run(&mut video, start, Duration::from_millis(260));
        assert!(is_key(&key[..31]));
        assert_eq!(key[0].1.payload[2..4], [0x80, 7], "the seventh picture");
    }
}
