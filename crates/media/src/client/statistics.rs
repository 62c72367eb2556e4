//! Statistics of a client's connections, in W3C's terms.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::receiving::Received;
use super::sending::{Sending, Stream};
use super::{Client, index};
use crate::api::{MediaKind, Target, TrackId};
use crate::rtp::rtcp::ReportBlock;
use crate::sdp::{Codec, PayloadFormat};
use crate::statistics::{Rate, Report, Traffic, timestamp};
use crate::track::WallClock;
use crate::track::receiver::StreamStatistics;
use crate::transport::FiveTuple;
use crate::transport::demux::{Kind, classify};
use crate::transport::statistics::TRANSPORT_ID;

/// 5-tuples whose traffic is counted.
const MOST_PATHS: usize = 16;

/// What an encoder tells of a frame that [`Client::send_frame`] sends.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameDetails {
    pub width: u32,
    pub height: u32,
    /// What encoding it took.
    pub time: Duration,
    /// Width and height of what was captured last, and how many pictures were so far.
    pub captured: (u32, u32, u64),
}

/// What the server said of a stream of ours.
#[derive(Clone, Copy, Debug)]
struct Remote {
    at: Instant,
    block: ReportBlock,
    rtt: Option<Duration>,
}

/// What is counted of a stream that we send.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamTally {
    pub(super) nacks: u32,
    pub(super) plis: u32,
    pub(super) firs: u32,
    frames: u64,
    key_frames: u64,
    frame_rate: Rate,
    details: FrameDetails,
    encode_time: Duration,
    remote: Option<Remote>,
    round_trips: u64,
    total_round_trip: Duration,
}

impl StreamTally {
    pub(super) fn framed(&mut self, now: Instant, key: bool) {
        self.frames += 1;
        self.key_frames += u64::from(key);
        self.frame_rate.happened(now);
    }

    pub(super) fn described(&mut self, details: FrameDetails) {
        self.details = details;
        self.encode_time += details.time;
    }

    pub(super) fn reported(&mut self, now: Instant, clock: &WallClock, block: &ReportBlock) {
        let ticks = block.round_trip(clock.ntp(now));
        let rtt = ticks.map(|ticks| Duration::from_micros(u64::from(ticks) * 1_000_000 / 65_536));
        if let Some(rtt) = rtt {
            self.round_trips += 1;
            self.total_round_trip += rtt;
        }
        self.remote = Some(Remote {
            at: now,
            block: *block,
            rtt: rtt.or(self.remote.and_then(|before| before.rtt)),
        });
    }
}

/// What is counted of a connection.
#[derive(Debug, Default)]
pub(super) struct ConnectionTally {
    /// Sent and received on each 5-tuple.
    paths: Vec<(FiveTuple, Traffic, Traffic)>,
    pub(super) channels_opened: u32,
    pub(super) channels_closed: u32,
}

impl ConnectionTally {
    fn path(&mut self, tuple: &FiveTuple) -> Option<&mut (FiveTuple, Traffic, Traffic)> {
        let known = self.paths.iter().position(|(known, ..)| known == tuple);
        let at = match known {
            Some(at) => at,
            None if self.paths.len() < MOST_PATHS => {
                self.paths
                    .push((*tuple, Traffic::default(), Traffic::default()));
                self.paths.len() - 1
            }
            None => return None,
        };
        self.paths.get_mut(at)
    }

    /// Takes datagrams of `segment` bytes each. Connectivity checks do not count.
    pub(super) fn sent(
        &mut self,
        now: Instant,
        tuple: &FiveTuple,
        contents: &[u8],
        segment: usize,
    ) {
        if classify(contents) != Some(Kind::Stun)
            && let Some((_, sent, _)) = self.path(tuple)
        {
            let packets = contents.len().div_ceil(segment.max(1));
            sent.add(now, packets as u64, contents.len() as u64);
        }
    }

    pub(super) fn received(&mut self, now: Instant, tuple: &FiveTuple, datagram: &[u8]) {
        if classify(datagram) != Some(Kind::Stun)
            && let Some((_, _, received)) = self.path(tuple)
        {
            received.add(now, 1, datagram.len() as u64);
        }
    }
}

fn letter(kind: MediaKind) -> char {
    match kind {
        MediaKind::Audio => 'A',
        MediaKind::Video => 'V',
    }
}

fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

/// The codec in use: what RED repeats is what is heard.
fn format_in_use(formats: &[PayloadFormat]) -> Option<&PayloadFormat> {
    let mut known = formats.iter();
    known.find(|format| format.codec != Codec::Red)
}

/// One codec of a direction.
fn codec(direction: char, format: &PayloadFormat) -> Report {
    let fmtp = format.fmtp.as_str();
    let separator = if fmtp.is_empty() { "" } else { "_" };
    let id = format!(
        "C{direction}{TRANSPORT_ID}_{}{separator}{fmtp}",
        format.payload_type
    );
    let mut report = Report::new("codec", id);
    report.set("payloadType", u32::from(format.payload_type));
    report.set("transportId", TRANSPORT_ID);
    let mime = format.codec.mime();
    match mime.split_once('/') {
        // As browsers write them.
        Some(("video", name)) => report.set("mimeType", format!("video/{}", name.to_uppercase())),
        _ => report.set("mimeType", mime),
    }
    report.set("clockRate", format.clock_rate);
    if format.codec.kind() == MediaKind::Audio {
        report.set("channels", u32::from(format.channels));
    }
    report.set("sdpFmtpLine", fmtp);
    report
}

/// A dictionary of a stream, with what all of these have.
fn stream(
    kind: &'static str,
    id: String,
    ssrc: u32,
    media: MediaKind,
    codec: Option<&Report>,
) -> Report {
    let mut report = Report::new(kind, id);
    report.set("ssrc", ssrc);
    report.set("kind", kind_name(media));
    report.set("transportId", TRANSPORT_ID);
    if let Some(codec) = codec {
        report.set("codecId", codec.id.clone());
    }
    report
}

impl Client {
    /// All of a connection's dictionaries; none where there is no such connection. Each has its `timestamp`, in
    /// microseconds since 1970.
    #[must_use]
    pub fn statistics(&self, now: Instant, target: Target) -> Vec<Report> {
        let Some(connection) = self.connections.get(index(target)) else {
            return Vec::new();
        };
        let clock = &self.clock;
        let paths = &connection.tally.paths;
        let mut out = connection.transport.statistics(now, clock, paths);
        if target == Target::Publisher {
            let bits = connection.estimator.target() as f64;
            for pair in out.iter_mut().filter(|it| it.kind == "candidate-pair") {
                if pair.get("nominated") == Some(&true.into()) {
                    pair.set("availableOutgoingBitrate", bits);
                }
            }
            for (track, sending) in &self.sending {
                report_sending(now, clock, connection, *track, sending, &mut out);
            }
        }
        for (tag, received) in &connection.received {
            for stream in connection.receiver.statistics(*tag) {
                report_received(now, clock, received, &stream, &mut out);
            }
        }
        report_channels(connection, &mut out);
        let micros = clock.micros(now);
        for report in &mut out {
            if report.get("timestamp").is_none() {
                report.set("timestamp", micros);
            }
        }
        let mut known = BTreeSet::new();
        out.retain(|report| known.insert(report.id.clone()));
        out.sort_by(|a, b| a.id.cmp(&b.id));
        out
    }
}

fn report_channels(connection: &Connection, out: &mut Vec<Report>) {
    let mut all = Report::new("peer-connection", "P".into());
    all.set("dataChannelsOpened", connection.tally.channels_opened);
    all.set("dataChannelsClosed", connection.tally.channels_closed);
    out.push(all);
    for (id, (channel, sent, received)) in &connection.channels {
        let mut report = Report::new("data-channel", format!("D{}", id.0));
        report.set("label", channel.label());
        let (stream, open) = connection.transport.channel_stream(*id);
        if let Some(stream) = stream {
            report.set("dataChannelIdentifier", u32::from(stream));
        }
        report.set("state", if open { "open" } else { "connecting" });
        report.count("messagesSent", sent.packets);
        report.count("bytesSent", sent.bytes);
        report.count("messagesReceived", received.packets);
        report.count("bytesReceived", received.bytes);
        out.push(report);
    }
}

fn report_sending(
    now: Instant,
    clock: &WallClock,
    connection: &Connection,
    track: TrackId,
    sending: &Sending,
    out: &mut Vec<Report>,
) {
    let source_id = format!("S{}{}", letter(sending.kind), track.0);
    let mut source = Report::new("media-source", source_id);
    source.set("trackIdentifier", sending.cid.as_str());
    source.set("kind", kind_name(sending.kind));
    if let Some(audio) = &sending.source {
        audio.describe(&mut source);
    }
    if sending.kind == MediaKind::Video {
        let (width, height, frames) = sending.captured;
        source.set("width", width);
        source.set("height", height);
        source.count("frames", frames);
        source.set("framesPerSecond", sending.capture_rate.per_second(now));
    }
    out.push(source);
    let Some(format) = format_in_use(&sending.formats) else {
        return;
    };
    let codec = codec('O', format);
    for stream in sending.streams.iter().filter(|it| it.section.is_some()) {
        report_sent(now, clock, connection, track, sending, stream, &codec, out);
    }
    out.push(codec);
}

#[allow(clippy::too_many_arguments)]
fn report_sent(
    now: Instant,
    clock: &WallClock,
    connection: &Connection,
    track: TrackId,
    sending: &Sending,
    of: &Stream,
    codec: &Report,
    out: &mut Vec<Report>,
) {
    let (kind, tally) = (sending.kind, &of.tally);
    let media = letter(kind);
    let id = format!("O{TRANSPORT_ID}{media}{}", of.ssrc);
    let remote_id = format!("RI{media}{}", of.ssrc);
    let mut report = stream("outbound-rtp", id.clone(), of.ssrc, kind, Some(codec));
    report.set("mid", sending.mid.as_str());
    report.set("mediaSourceId", format!("S{media}{}", track.0));
    let sent = of
        .section
        .map(|section| connection.queue.sent(section))
        .unwrap_or_default();
    report.count("packetsSent", sent.packets);
    report.count("bytesSent", sent.bytes);
    report.count("headerBytesSent", sent.header_bytes);
    report.count("retransmittedPacketsSent", sent.resent_packets);
    report.count("retransmittedBytesSent", sent.resent_bytes);
    report.set("nackCount", tally.nacks);
    report.set("active", !sending.muted && of.wanted);
    if kind == MediaKind::Audio {
        let bits = sending.source.as_ref().and_then(|it| it.bitrate());
        report.set("targetBitrate", f64::from(bits.unwrap_or_default()));
    } else {
        report.set("rid", of.rid.as_str());
        report.set("rtxSsrc", of.rtx_ssrc);
        report.set("pliCount", tally.plis);
        report.set("firCount", tally.firs);
        let bits = of.bitrate.unwrap_or(of.max_bitrate);
        report.set("targetBitrate", bits as f64);
        let limited = bits < of.max_bitrate;
        report.set(
            "qualityLimitationReason",
            if limited { "bandwidth" } else { "none" },
        );
        report.count("framesSent", tally.frames);
        report.count("framesEncoded", tally.frames);
        report.count("keyFramesEncoded", tally.key_frames);
        report.set("frameWidth", tally.details.width);
        report.set("frameHeight", tally.details.height);
        report.set("framesPerSecond", tally.frame_rate.per_second(now));
        if !tally.encode_time.is_zero() {
            report.set("encoderImplementation", "FFmpeg");
        }
        report.total("totalEncodeTime", tally.encode_time.as_secs_f64());
    }
    if let Some(remote) = tally.remote {
        report.set("remoteId", remote_id.clone());
        let mut theirs = stream("remote-inbound-rtp", remote_id, of.ssrc, kind, Some(codec));
        theirs.set("localId", id);
        theirs.set("timestamp", clock.micros(remote.at));
        theirs.set("packetsLost", i64::from(remote.block.cumulative_lost));
        let rate = match codec.get("clockRate") {
            Some(crate::statistics::Value::Whole(rate)) => *rate as f64,
            _ => 1.0,
        };
        theirs.set("jitter", f64::from(remote.block.jitter) / rate);
        theirs.set(
            "fractionLost",
            f64::from(remote.block.fraction_lost) / 256.0,
        );
        if let Some(rtt) = remote.rtt {
            theirs.set("roundTripTime", rtt.as_secs_f64());
        }
        theirs.total("totalRoundTripTime", tally.total_round_trip.as_secs_f64());
        theirs.count("roundTripTimeMeasurements", tally.round_trips);
        out.push(theirs);
    }
    out.push(report);
}

fn report_received(
    now: Instant,
    clock: &WallClock,
    of: &Received,
    got: &StreamStatistics,
    out: &mut Vec<Report>,
) {
    let media = letter(of.kind);
    let codec = format_in_use(&of.formats).map(|format| codec('I', format));
    let id = format!("I{TRANSPORT_ID}{media}{}", got.ssrc);
    let remote_id = format!("RO{media}{}", got.ssrc);
    let mut report = stream("inbound-rtp", id.clone(), got.ssrc, of.kind, codec.as_ref());
    report.set("mid", of.mid.as_str());
    report.set("trackIdentifier", of.track.as_str());
    report.count("packetsReceived", got.packets);
    report.set("packetsLost", got.lost);
    report.set("jitter", got.jitter);
    report.count("bytesReceived", got.payload_bytes);
    report.count("headerBytesReceived", got.header_bytes);
    report.count("retransmittedPacketsReceived", got.resent_packets);
    report.count("retransmittedBytesReceived", got.resent_bytes);
    report.set("nackCount", got.nacks);
    report.set(
        "lastPacketReceivedTimestamp",
        timestamp(clock, got.last_arrival),
    );
    if of.kind == MediaKind::Video {
        report.set("pliCount", got.plis);
        report.set("firCount", got.firs);
        report.set("rtxSsrc", got.rtx_ssrc.unwrap_or_default());
    }
    report.values.extend(of.before.values.iter().cloned());
    if let Some(sink) = &of.sink {
        sink.describe(now, &mut report);
    }
    if let Some(sender) = got.sender {
        report.set("remoteId", remote_id.clone());
        let codec = codec.as_ref();
        let mut theirs = stream("remote-outbound-rtp", remote_id, got.ssrc, of.kind, codec);
        theirs.set("localId", id);
        theirs.set("timestamp", clock.micros(sender.arrived));
        theirs.set("remoteTimestamp", sender.wall as f64 / 1_000.0);
        theirs.count("packetsSent", sender.packets.into());
        theirs.count("bytesSent", sender.octets.into());
        theirs.count("reportsSent", sender.count);
        out.push(theirs);
    }
    out.push(report);
    out.extend(codec);
}
