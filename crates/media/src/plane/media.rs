//! The way of media: in from a publisher's transport, out to the queues of its subscribers, and the
//! feedback of both.

use std::sync::Arc;
use std::time::Instant;

use super::Plane;
use super::timers::Timer;
use crate::rtp::rtcp::{ReportBlock, RtcpPacket, parse_compound};
use crate::subscription::Forwarded;
use crate::track::MediaPacket;
use crate::track::receiver::Ingress;
use crate::transport::{FiveTuple, Received};

impl Plane {
    pub(super) fn receive(
        &mut self,
        now: Instant,
        key: usize,
        tuple: &FiveTuple,
        datagram: &mut [u8],
    ) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let received = connection.transport.handle_datagram(now, tuple, datagram);
        let silent = connection.silent;
        match received {
            Received::Rtp(range) => {
                if let Some(packet) = datagram.get(range) {
                    self.take_rtp(now, key, packet);
                }
            }
            Received::Rtcp(range) => {
                if let Some(compound) = datagram.get(range) {
                    self.take_rtcp(now, key, compound);
                }
                self.touch(key);
            }
            Received::Consumed => {
                self.claim(now, key, *tuple);
                self.touch(key);
            }
            Received::Dropped(_) => self.touch(key),
        }
        if silent {
            self.heard(now, key);
        }
    }

    fn take_rtp(&mut self, now: Instant, key: usize, packet: &[u8]) {
        let mut ingress = std::mem::take(&mut self.ingress);
        if let Some(connection) = self.connections.get_mut(key) {
            // A discarded packet is the publisher's loss alone.
            let _ = connection.receiver.handle_rtp(now, packet, &mut ingress);
            while connection.receiver.poll_event().is_some() {}
            // Nothing but the feedback's deadline can have changed.
            if let Some(due) = connection.receiver.deadline(now)
                && !connection.armed.covers(due)
            {
                self.touch(key);
            }
        }
        self.forward(now, &mut ingress);
        self.ingress = ingress;
    }

    /// Hands packets to all who subscribe to their track.
    pub(super) fn forward(&mut self, now: Instant, ingress: &mut Vec<Ingress>) {
        for Ingress { tag, packet } in ingress.drain(..) {
            let tag = tag as usize;
            if let Some(level) = packet.audio_level {
                self.hear(now, tag, level);
            }
            self.fan_out(now, tag, &packet);
        }
    }

    fn fan_out(&mut self, now: Instant, tag: usize, packet: &Arc<MediaPacket>) {
        let Some(variant) = self.variants.get(tag) else {
            return;
        };
        let mut wish: Option<crate::subscription::KeyframeWish> = None;
        for key in &variant.subs {
            let Some(sub) = self.subs.get_mut(*key) else {
                continue;
            };
            let Some(forward) = sub.forward.as_mut() else {
                continue;
            };
            let Some(connection) = self.connections.get_mut(sub.connection) else {
                continue;
            };
            if variant.passed.is_some() && connection.transport.is_in_memory() {
                continue;
            }
            if forward.forward(now, packet, &mut connection.queue) == Forwarded::Queued {
                if !connection.touched {
                    connection.touched = true;
                    self.touched.push(sub.connection);
                }
                if sub.report.is_empty()
                    && let Some(due) = forward.deadline()
                {
                    self.timers
                        .arm_owned(&mut sub.report, due, Timer::Report(*key));
                }
            }
            if let Some(new) = forward.poll_wish() {
                match &mut wish {
                    Some(known) if known.layer == new.layer => known.urgent |= new.urgent,
                    Some(known) => {
                        let (layer, urgent) = (new.layer, new.urgent);
                        self.wishes.push((tag, known.layer, known.urgent));
                        *known = crate::subscription::KeyframeWish { layer, urgent };
                    }
                    None => wish = Some(new),
                }
            }
        }
        if let Some(wish) = wish {
            self.wishes.push((tag, wish.layer, wish.urgent));
        }
        while let Some((tag, layer, urgent)) = self.wishes.pop() {
            self.request_keyframe(tag, layer, urgent);
        }
    }

    fn take_rtcp(&mut self, now: Instant, key: usize, compound: &[u8]) {
        let Ok(packets) = parse_compound(compound) else {
            return;
        };
        for packet in packets.flatten() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.receiver.handle_rtcp(now, &packet);
            }
            match packet {
                RtcpPacket::SenderReport { blocks, .. }
                | RtcpPacket::ReceiverReport { blocks, .. } => {
                    for block in blocks.iter() {
                        self.take_report(now, key, &block);
                    }
                }
                RtcpPacket::Nack(nack) => {
                    let Some(sub) = self.sub_of(key, nack.media) else {
                        continue;
                    };
                    let Some(connection) = self.connections.get_mut(key) else {
                        continue;
                    };
                    if let Some(forward) =
                        self.subs.get_mut(sub).and_then(|sub| sub.forward.as_mut())
                    {
                        forward.handle_nack(now, nack.sequences(), &mut connection.queue);
                    }
                }
                RtcpPacket::Remb(remb) => self.take_estimate(now, key, remb.bitrate),
                RtcpPacket::Pli { media, .. } => self.picture_lost(now, key, media),
                RtcpPacket::Fir(fir) => {
                    for (media, _) in fir.entries() {
                        self.picture_lost(now, key, media);
                    }
                }
                _ => {}
            }
        }
    }

    fn sub_of(&self, connection: usize, ssrc: u32) -> Option<usize> {
        self.connections
            .get(connection)?
            .by_ssrc
            .get(&ssrc)
            .copied()
    }

    fn take_report(&mut self, now: Instant, key: usize, block: &ReportBlock) {
        let Some(sub) = self.sub_of(key, block.ssrc) else {
            return;
        };
        let Some(forward) = self.subs.get_mut(sub).and_then(|sub| sub.forward.as_mut()) else {
            return;
        };
        forward.handle_report(now, &self.clock, block);
        let rtt = forward.rtt();
        if let Some(connection) = self.connections.get_mut(key) {
            connection.allowance.lost(now, block.fraction_lost);
            connection.receiver.set_rtt(rtt);
        }
    }

    fn picture_lost(&mut self, now: Instant, key: usize, media: u32) {
        let Some(sub) = self.sub_of(key, media) else {
            return;
        };
        if let Some(forward) = self.subs.get_mut(sub).and_then(|sub| sub.forward.as_mut()) {
            forward.handle_keyframe_request();
        }
        self.follow_wishes(now, sub);
    }

    /// A sender report is due: it leaves with whatever else its connection has to say.
    pub(super) fn report_due(&mut self, now: Instant, key: usize, at: Instant) {
        let Some(sub) = self.subs.get_mut(key) else {
            return;
        };
        if !sub.report.fired(at) {
            return;
        }
        let Some(forward) = sub.forward.as_mut() else {
            return;
        };
        let report = forward.poll_report(now, &self.clock);
        if let Some(due) = forward.deadline() {
            let due = due.max(now + super::SHORTEST_TIMER);
            self.timers
                .arm_owned(&mut sub.report, due, Timer::Report(key));
        }
        let connection = sub.connection;
        if let Some(report) = report
            && let Some(connection) = self.connections.get_mut(connection)
        {
            connection.reports.push(report);
        }
        self.touch(connection);
    }
}
