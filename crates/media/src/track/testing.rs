//! Packets for tests.

use std::time::{Duration, Instant};

use super::clock::WallClock;
use super::receiver::{Ingress, Receiver};
use super::section::{ReceivePayload, ReceiveSection, ReceiveSsrc};
use crate::api::MediaKind;
use crate::codec::CodecKind;
use crate::rtp::rtcp::{RtcpPacket, parse_compound};
use crate::rtp::{ExtensionKind, HeaderFields};

pub(crate) const OPUS: u8 = 111;
pub(crate) const RED: u8 = 63;
pub(crate) const VP8: u8 = 96;
pub(crate) const VP8_RTX: u8 = 97;
pub(crate) const VP9: u8 = 98;
pub(crate) const H264: u8 = 102;
pub(crate) const MID_ID: u8 = 1;
pub(crate) const RID_ID: u8 = 2;
pub(crate) const REPAIRED_ID: u8 = 3;
pub(crate) const TWCC_ID: u8 = 4;
pub(crate) const LEVEL_ID: u8 = 5;
pub(crate) const ORIENTATION_ID: u8 = 6;
pub(crate) const DEPENDENCY_ID: u8 = 7;

pub(crate) fn payload(payload_type: u8, codec: CodecKind, repeats: Option<u8>) -> ReceivePayload {
    let video = codec.is_video();
    ReceivePayload {
        payload_type,
        codec,
        clock_rate: codec.clock_rate(),
        repeats,
        nack: true,
        pli: video,
        fir: video,
        transport_cc: video,
        remb: video,
    }
}

fn section(tag: u32, mid: &str, kind: MediaKind, payloads: Vec<ReceivePayload>) -> ReceiveSection {
    ReceiveSection {
        tag,
        mid: mid.into(),
        kind,
        svc: false,
        rids: Vec::new(),
        ssrcs: Vec::new(),
        payloads,
        extensions: vec![
            (MID_ID, ExtensionKind::Mid),
            (RID_ID, ExtensionKind::Rid),
            (REPAIRED_ID, ExtensionKind::RepairedRid),
            (TWCC_ID, ExtensionKind::TransportCc),
            (LEVEL_ID, ExtensionKind::AudioLevel),
            (ORIENTATION_ID, ExtensionKind::VideoOrientation),
            (DEPENDENCY_ID, ExtensionKind::DependencyDescriptor),
        ],
        muted: false,
    }
}

pub(crate) fn audio_section(tag: u32, mid: &str, ssrc: u32) -> ReceiveSection {
    ReceiveSection {
        ssrcs: vec![ReceiveSsrc {
            ssrc,
            rtx: None,
            layer: 0,
        }],
        ..section(
            tag,
            mid,
            MediaKind::Audio,
            vec![
                payload(OPUS, CodecKind::Opus, None),
                payload(RED, CodecKind::Red, None),
            ],
        )
    }
}

pub(crate) fn video_section(tag: u32, mid: &str) -> ReceiveSection {
    let payloads = vec![
        payload(VP8, CodecKind::Vp8, None),
        payload(VP8_RTX, CodecKind::Rtx, Some(VP8)),
        payload(VP9, CodecKind::Vp9, None),
        payload(H264, CodecKind::H264, None),
    ];
    section(tag, mid, MediaKind::Video, payloads)
}

pub(crate) fn simulcast_section(tag: u32, mid: &str) -> ReceiveSection {
    ReceiveSection {
        // The highest first, as some clients list them: the layer goes with the name.
        rids: vec![("f".into(), 2), ("h".into(), 1), ("q".into(), 0)],
        ..video_section(tag, mid)
    }
}

/// A packet to be built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rtp {
    pub(crate) header: HeaderFields,
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    pub(crate) payload: Vec<u8>,
}

impl Rtp {
    pub(crate) fn new(payload_type: u8, ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        let header = HeaderFields {
            marker: false,
            payload_type,
            sequence,
            timestamp,
            ssrc,
        };
        Self {
            header,
            extensions: Vec::new(),
            payload: vec![0xAB; 20],
        }
    }

    pub(crate) fn with(mut self, id: u8, value: &[u8]) -> Self {
        self.extensions.push((id, value.to_vec()));
        self
    }

    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(crate) fn marker(mut self) -> Self {
        self.header.marker = true;
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let extensions: Vec<(u8, &[u8])> = self
            .extensions
            .iter()
            .map(|(id, value)| (*id, value.as_slice()))
            .collect();
        let mut out = Vec::new();
        self.header.write(&mut out, &[], &extensions).unwrap();
        out.extend_from_slice(&self.payload);
        out
    }
}

/// A VP8 payload: picture id of 15 bits, TL0PICIDX, temporal layer with sync bit, KEYIDX.
pub(crate) fn vp8(start: bool, key: bool, picture: u16, tl0: u8, temporal: u8) -> Vec<u8> {
    let [high, low] = (picture | 0x8000).to_be_bytes();
    let mut payload = vec![
        0x80 | if start { 0x10 } else { 0 },
        0xF0,
        high,
        low,
        tl0,
        temporal << 6 | 0x20 | 1,
    ];
    payload.extend_from_slice(&[if key { 0 } else { 1 }; 100]);
    payload
}

pub(crate) struct Bench {
    pub(crate) now: Instant,
    pub(crate) clock: WallClock,
    pub(crate) receiver: Receiver,
}

impl Bench {
    pub(crate) fn new(sections: Vec<ReceiveSection>) -> Self {
        let now = Instant::now();
        let clock = WallClock::new(now, Duration::from_secs(1_700_000_000));
        let mut receiver = Receiver::new(clock, 0xFEED, "roomful".into());
        for section in sections {
            receiver.set_section(now, section, &mut Vec::new());
        }
        Self {
            now,
            clock,
            receiver,
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(crate) fn receive(&mut self, rtp: &Rtp) -> Vec<Ingress> {
        let mut out = Vec::new();
        let _ = self.receiver.handle_rtp(self.now, &rtp.bytes(), &mut out);
        out
    }

    /// Runs timers until `end` and returns what was sent: SSRC and kind of each request.
    pub(crate) fn run_until(&mut self, end: Instant) -> Vec<(Instant, Asked)> {
        let mut asked = Vec::new();
        while let Some(deadline) = self
            .receiver
            .deadline(self.now)
            .filter(|deadline| *deadline <= end)
        {
            self.now = self.now.max(deadline);
            let mut out = Vec::new();
            self.receiver.write_rtcp(self.now, &mut out, |_, _| {});
            if out.is_empty() {
                continue;
            }
            for packet in parse_compound(&out).unwrap() {
                let one = match packet.unwrap() {
                    RtcpPacket::Nack(nack) => Asked::Nack(nack.media, nack.sequences().collect()),
                    RtcpPacket::Pli { media, .. } => Asked::Pli(media),
                    RtcpPacket::Remb(remb) => Asked::Remb(remb.bitrate),
                    RtcpPacket::TransportFeedback(feedback) => {
                        Asked::Feedback(feedback.received().count())
                    }
                    RtcpPacket::ReceiverReport { blocks, .. } if blocks.iter().count() > 0 => {
                        Asked::Report(
                            blocks
                                .iter()
                                .map(|block| (block.ssrc, block.fraction_lost))
                                .collect(),
                        )
                    }
                    _ => continue,
                };
                asked.push((self.now, one));
            }
        }
        self.now = self.now.max(end);
        asked
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Nack(u32, Vec<u16>),
    Pli(u32),
    Remb(u64),
    Feedback(usize),
    Report(Vec<(u32, u8)>),
}
