//! Datagrams to be sent, gathered by destination so that one system call takes several.

use std::time::Instant;

use crate::congestion::SendQueue;
use crate::congestion::pacer::Released;
use crate::rtp::rtcp::SenderInfo;
use crate::rtp::rtcp::report::{write_cname, write_sender_report};
use crate::track::receiver::Receiver;
use crate::transport::{FiveTuple, Protocol, Transport, demux};

/// Sender reports in one datagram: 28 bytes each and a name.
const REPORTS_A_COMPOUND: usize = 10;

/// The kernel takes at most 64 segments and 64 KiB a call (UDP_SEGMENT).
const MOST_SEGMENTS: usize = 64;
const MOST_BYTES: usize = 65_000;
/// A buffer that one burst made larger is given back.
const KEPT_CAPACITY: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Batch {
    tuple: FiveTuple,
    start: usize,
    end: usize,
    /// Size of all datagrams but the last, which may be shorter.
    segment: usize,
    count: usize,
    /// The last one was shorter: nothing may follow.
    closed: bool,
    /// Within the process all or nothing of a batch arrives: what must is not with what may be lost.
    reliable: bool,
}

/// One or more datagrams to one destination.
#[derive(Clone, Copy, Debug)]
pub struct Datagrams<'a> {
    pub tuple: FiveTuple,
    pub contents: &'a [u8],
    /// Size of each datagram; only the last may be shorter. The whole when there is one.
    pub segment: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    buffer: Vec<u8>,
    batches: Vec<Batch>,
    ends: Vec<usize>,
}

impl Outbox {
    pub(crate) fn push(&mut self, tuple: FiveTuple, contents: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(contents);
        self.add(tuple, start, self.buffer.len());
    }

    /// Lets `write` append datagrams to the buffer and note where each ends.
    pub(crate) fn write<R>(
        &mut self,
        tuple: FiveTuple,
        write: impl FnOnce(&mut Vec<u8>, &mut Vec<usize>) -> R,
    ) -> R {
        let mut start = self.buffer.len();
        let mut ends = std::mem::take(&mut self.ends);
        let result = write(&mut self.buffer, &mut ends);
        for end in ends.drain(..) {
            if end > start {
                self.add(tuple, start, end);
                start = end;
            }
        }
        self.buffer.truncate(start);
        self.ends = ends;
        result
    }

    /// Writes what a connection has to say in RTP and RTCP: sender reports, what its receiver reports and asks
    /// for, and what its queue releases.
    pub(crate) fn write_media(
        &mut self,
        now: Instant,
        tuple: FiveTuple,
        transport: &mut Transport,
        receiver: &mut Receiver,
        queue: &mut SendQueue,
        reports: &[(u32, SenderInfo)],
    ) -> Released {
        self.write(tuple, |buffer, ends| {
            for reports in reports.chunks(REPORTS_A_COMPOUND) {
                let start = buffer.len();
                for (ssrc, info) in reports {
                    write_sender_report(buffer, *ssrc, info, &[]);
                }
                for (ssrc, _) in reports {
                    write_cname(buffer, *ssrc, receiver.cname());
                }
                let _ = transport.seal_rtcp_at(buffer, start);
                ends.push(buffer.len());
            }
            receiver.write_rtcp(now, buffer, |buffer, start| {
                // Unsealed, it is cut off again.
                let _ = transport.seal_rtcp_at(buffer, start);
                ends.push(buffer.len());
            });
            queue.release(now, buffer, |buffer, packet| {
                let _ = if packet.repeated {
                    transport.seal_rtp_again_at(buffer, packet.start, packet.header)
                } else {
                    transport.seal_rtp_at(buffer, packet.start, packet.header)
                };
                ends.push(buffer.len());
            })
        })
    }

    fn add(&mut self, tuple: FiveTuple, start: usize, end: usize) {
        let size = end - start;
        let contents = self.buffer.get(start..end).unwrap_or_default();
        let reliable = tuple.protocol == Protocol::Memory && !demux::is_media(contents);
        if let Some(batch) = self.batches.last_mut()
            && batch.tuple == tuple
            && batch.end == start
            && !batch.closed
            && batch.reliable == reliable
            && size <= batch.segment
            && batch.count < MOST_SEGMENTS
            && end - batch.start <= MOST_BYTES
        {
            batch.end = end;
            batch.count += 1;
            batch.closed = size < batch.segment;
            return;
        }
        self.batches.push(Batch {
            tuple,
            start,
            end,
            segment: size,
            count: 1,
            closed: false,
            reliable,
        });
    }

    /// Hands out everything in order and forgets it.
    pub(crate) fn drain(&mut self, mut send: impl FnMut(Datagrams<'_>)) {
        for batch in self.batches.drain(..) {
            if let Some(contents) = self.buffer.get(batch.start..batch.end) {
                send(Datagrams {
                    tuple: batch.tuple,
                    contents,
                    segment: batch.segment,
                });
            }
        }
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_CAPACITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(port: u16) -> FiveTuple {
        let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        FiveTuple {
            protocol: Protocol::Udp,
            local: address(7882),
            remote: address(port),
        }
    }

    fn sent(outbox: &mut Outbox) -> Vec<(u16, usize, usize)> {
        let mut sent = Vec::new();
        outbox.drain(|it| sent.push((it.tuple.remote.port(), it.contents.len(), it.segment)));
        sent
    }

    #[test]
    fn gathers_equal_sizes_to_one_destination_and_one_shorter_at_the_end() {
        let mut outbox = Outbox::default();
        for size in [100, 100, 60, 100] {
            outbox.push(tuple(1), &vec![0; size]);
        }
        outbox.push(tuple(2), &[0; 100]);
        assert_eq!(
            sent(&mut outbox),
            [(1, 260, 100), (1, 100, 100), (2, 100, 100)]
        );
        assert!(sent(&mut outbox).is_empty());
    }

    #[test]
    fn what_may_be_lost_within_the_process_takes_nothing_along() {
        const RTP: [u8; 12] = [0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        const RECEIVER_REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 3];
        const MESSAGE: [u8; 8] = [22; 8];
        const TAKEN: [u8; 7] = [23; 7];
        let batches = |protocol| {
            let mut outbox = Outbox::default();
            let tuple = FiveTuple {
                protocol,
                ..tuple(1)
            };
            let packets: [&[u8]; 6] = [&RTP, &RTP, &MESSAGE, &TAKEN, &RECEIVER_REPORT, &RTP];
            for packet in packets {
                outbox.push(tuple, packet);
            }
            let mut batches: Vec<Vec<u8>> = Vec::new();
            outbox
                .drain(|it| batches.push(it.contents.chunks(it.segment).map(|it| it[0]).collect()));
            batches
        };
        assert_eq!(
            batches(Protocol::Memory),
            [vec![0x80, 0x80], vec![22, 23], vec![0x80], vec![0x80]]
        );
        assert_eq!(
            batches(Protocol::Udp),
            [vec![0x80, 0x80, 22], vec![23], vec![0x80], vec![0x80]]
        );
    }

    #[test]
    fn keeps_to_the_kernels_limits() {
        let mut outbox = Outbox::default();
        for _ in 0..65 {
            outbox.push(tuple(1), &[0; 10]);
        }
        assert_eq!(sent(&mut outbox), [(1, 640, 10), (1, 10, 10)]);
        for _ in 0..60 {
            outbox.push(tuple(1), &[0; 1_200]);
        }
        assert_eq!(
            sent(&mut outbox),
            [(1, 54 * 1_200, 1_200), (1, 6 * 1_200, 1_200)]
        );
    }

    #[test]
    fn leaves_out_what_could_not_be_written() {
        let mut outbox = Outbox::default();
        outbox.write(tuple(1), |buffer, ends| {
            ends.push(buffer.len());
            buffer.extend_from_slice(&[1; 5]);
            ends.push(buffer.len());
            buffer.extend_from_slice(&[2; 5]);
        });
        assert_eq!(sent(&mut outbox), [(1, 5, 5)]);
    }
}
