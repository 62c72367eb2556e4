//! What goes back to a publisher: reports, requests and the feedback its bandwidth estimate lives on.

use std::time::{Duration, Instant};

use super::{REPORT_INTERVAL, Receiver, Source};
use crate::api::MediaKind;
use crate::codec::CodecKind;
use crate::rtp::rtcp::feedback::{write_fir, write_nack, write_pli, write_remb};
use crate::rtp::rtcp::report::{MAX_BLOCKS, middle_ntp, write_cname, write_receiver_report};
use crate::rtp::rtcp::{ReportBlock, RtcpPacket, is_receiver_report, split_first_packet};
use crate::track::clock::ntp_to_micros;
use crate::track::quality::Impairment;

/// High enough that a browser without transport-wide feedback climbs to the most its camera needs; its
/// own loss-based control stays below what the path takes.
const REMB_BITRATE: u64 = 20_000_000;
/// Longest compound: sealed and with all headers it fits IPv6's 1,280.
const MOST_BYTES: usize = 1_100;

impl Receiver {
    /// Takes what a publisher reports of its streams. Feedback on what we send is the subscriptions' matter.
    pub fn handle_rtcp(&mut self, now: Instant, packet: &RtcpPacket<'_>) {
        match packet {
            RtcpPacket::SenderReport { ssrc, info, .. } => {
                let Some(Source { stream, rtx: false }) = self.by_ssrc.get(ssrc).copied() else {
                    return;
                };
                let Some(stream) = self.streams.get_mut(stream) else {
                    return;
                };
                let wall = self.peer.observe(info.ntp, self.clock.micros(now));
                stream.clock.report(info.rtp_timestamp, wall);
                stream.last_report = Some((middle_ntp(info.ntp), now));
                stream.tally.sender = Some((ntp_to_micros(info.ntp), info.packets, info.octets));
                stream.tally.sender_reports += 1;
            }
            RtcpPacket::Bye(bye) => {
                for ssrc in bye.sources() {
                    if let Some(Source { stream, rtx: false }) = self.by_ssrc.get(&ssrc).copied()
                        && let Some(stream) = self.streams.get_mut(stream)
                    {
                        stream.nack.clear();
                        stream.keyframes.stop();
                    }
                }
            }
            _ => {}
        }
    }

    /// When [`Self::write_rtcp`] has something to say.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let asking = self
            .asking
            .iter()
            .filter_map(|key| self.streams.get(*key))
            .filter_map(|stream| {
                let keyframe = stream.keyframes.deadline(now, stream.layer);
                [stream.nack.deadline(), keyframe]
                    .into_iter()
                    .flatten()
                    .min()
            });
        [self.arrivals.deadline(), self.report_due]
            .into_iter()
            .flatten()
            .chain(asking)
            .min()
    }

    /// Appends the RTCP that is due, as compounds that fit a datagram each. `finish` is called at the end of
    /// each with the place where it begins; it may append to it, but not change what lies before.
    pub fn write_rtcp(
        &mut self,
        now: Instant,
        out: &mut Vec<u8>,
        finish: impl FnMut(&mut Vec<u8>, usize),
    ) {
        if self.deadline(now).is_none_or(|deadline| now < deadline) {
            return;
        }
        let mut packets = std::mem::take(&mut self.packets);
        packets.clear();
        if self.report_due.is_some_and(|due| now >= due) {
            self.write_reports(now, &mut packets);
        }
        self.write_requests(now, &mut packets);
        let media = self
            .video_ssrcs()
            .next()
            .or_else(|| self.streams.iter().next().map(|(_, stream)| stream.ssrc));
        self.arrivals
            .write(now, self.ssrc, media.unwrap_or(0), &mut packets);
        self.write_compounds(&packets, out, finish);
        self.packets = packets;
    }

    /// Each compound begins with a report and our name (RFC 3550, 6.1).
    fn write_compounds(
        &self,
        mut packets: &[u8],
        out: &mut Vec<u8>,
        mut finish: impl FnMut(&mut Vec<u8>, usize),
    ) {
        let mut open: Option<usize> = None;
        while let Some((packet, rest)) = split_first_packet(packets) {
            packets = rest;
            let begun = open.filter(|start| out.len() - start + packet.len() <= MOST_BYTES);
            if begun.is_some() {
                out.extend_from_slice(packet);
                continue;
            }
            if let Some(full) = open.replace(out.len()) {
                finish(out, full);
                open = Some(out.len());
            }
            if is_receiver_report(packet) {
                out.extend_from_slice(packet);
                write_cname(out, self.ssrc, &self.cname);
            } else {
                write_receiver_report(out, self.ssrc, &[]);
                write_cname(out, self.ssrc, &self.cname);
                out.extend_from_slice(packet);
            }
        }
        if let Some(last) = open {
            finish(out, last);
        }
    }

    fn video_ssrcs(&self) -> impl Iterator<Item = u32> {
        self.streams
            .iter()
            .filter(|(_, stream)| stream.codec.is_video())
            .map(|(_, stream)| stream.ssrc)
    }

    fn write_reports(&mut self, now: Instant, out: &mut Vec<u8>) {
        let mut blocks = Vec::new();
        for (_, stream) in self.streams.iter_mut().filter(|(_, stream)| stream.heard) {
            stream.heard = false;
            let report = stream.statistics.report();
            let (last_sr, delay) = stream.last_report.map_or((0, 0), |(ntp, at)| {
                let delay = now.saturating_duration_since(at);
                (
                    ntp,
                    (delay.as_micros() * 65_536 / 1_000_000).min(u128::from(u32::MAX)) as u32,
                )
            });
            blocks.push(ReportBlock {
                ssrc: stream.ssrc,
                fraction_lost: report.fraction_lost,
                cumulative_lost: report.cumulative_lost,
                highest_sequence: report.highest_sequence,
                jitter: report.jitter,
                last_sr,
                delay_since_last_sr: delay,
            });
        }
        let mut chunks = blocks.chunks(MAX_BLOCKS);
        write_receiver_report(out, self.ssrc, chunks.next().unwrap_or_default());
        chunks.for_each(|chunk| write_receiver_report(out, self.ssrc, chunk));
        let heard = self
            .streams
            .iter()
            .any(|(_, stream)| !stream.silent_for(now, 2 * REPORT_INTERVAL));
        self.report_due = heard.then_some(now + REPORT_INTERVAL);
        if self.remb && heard {
            let ssrcs: Vec<u32> = self.video_ssrcs().collect();
            let estimate = match &mut self.estimate {
                Some(estimate) => estimate.tell(),
                None => Some(REMB_BITRATE),
            };
            if let Some(bits) = estimate.filter(|_| !ssrcs.is_empty()) {
                write_remb(out, self.ssrc, bits, &ssrcs);
            }
        }
    }

    fn write_requests(&mut self, now: Instant, out: &mut Vec<u8>) {
        let asking = std::mem::take(&mut self.asking);
        for key in asking {
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            self.numbers.clear();
            stream.nack.poll(now, self.rtt, &mut self.numbers);
            stream.tally.nacks += u32::from(!self.numbers.is_empty());
            write_nack(out, self.ssrc, stream.ssrc, self.numbers.drain(..));
            if stream.keyframes.poll(now, stream.layer) {
                let description = self
                    .sections
                    .get(stream.section)
                    .map(|section| &section.description);
                let payload = description.and_then(|section| {
                    section
                        .payloads
                        .iter()
                        .find(|payload| payload.codec == stream.codec)
                });
                if payload.is_some_and(|payload| payload.fir && !payload.pli) {
                    stream.command = stream.command.wrapping_add(1);
                    stream.tally.firs += 1;
                    write_fir(out, self.ssrc, stream.ssrc, stream.command);
                } else {
                    stream.tally.plis += 1;
                    write_pli(out, self.ssrc, stream.ssrc);
                }
            }
            if stream.nack.deadline().is_some()
                || stream.keyframes.deadline(now, stream.layer).is_some()
            {
                self.asking.push(key);
            }
        }
    }

    /// Bits a second of a track's layer, 0 for one that is not there.
    #[must_use]
    pub fn bitrate(&self, now: Instant, tag: u32, layer: u8) -> u64 {
        let section = self
            .sections
            .iter()
            .find(|(_, section)| section.description.tag == tag && !section.muted);
        section
            .and_then(|(_, section)| *section.streams.get(usize::from(layer))?)
            .and_then(|key| self.streams.get(key))
            .filter(|stream| !stream.silent_for(now, 2 * REPORT_INTERVAL))
            .map_or(0, |stream| stream.statistics.bitrate())
    }

    /// What a track went through since it was asked last, all its streams taken together.
    pub fn impairment(&mut self, now: Instant, tag: u32) -> Impairment {
        let rtt_ms = self.rtt.as_secs_f32() * 1000.0;
        let mut total = Impairment {
            rtt_ms,
            silent: true,
            ..Impairment::default()
        };
        for (_, section) in self
            .sections
            .iter()
            .filter(|(_, section)| section.description.tag == tag)
        {
            total.video = section.description.kind == MediaKind::Video;
            if section.muted {
                total.silent = false;
            }
            for key in section.streams.iter().flatten() {
                let Some(stream) = self.streams.get_mut(*key) else {
                    continue;
                };
                let (expected, lost) = stream.statistics.since_scored();
                total.expected += expected;
                total.lost += lost;
                total.jitter_ms = total.jitter_ms.max(stream.statistics.jitter_ms());
                total.redundant |= stream.codec == CodecKind::Red;
                total.silent &= stream.silent_for(now, Duration::from_secs(5));
            }
        }
        total
    }
}
