use std::sync::Arc;

use super::super::outgoing::Patch;
use super::*;
use crate::rtp::{ExtensionKind, RtpHeader};
use crate::track::testing::*;

struct Link {
    now: Instant,
    queue: SendQueue,
    section: SectionId,
    bench: Bench,
    number: u16,
}

const IDS: [(u8, ExtensionKind); 4] = [
    (3, ExtensionKind::TransportCc),
    (4, ExtensionKind::AbsSendTime),
    (5, ExtensionKind::Mid),
    (20, ExtensionKind::VideoOrientation),
];

impl Link {
    fn new(ids: &[(u8, ExtensionKind)]) -> Self {
        let bench = Bench::new(vec![video_section(1, "1"), audio_section(2, "0", 10)]);
        let mut queue = SendQueue::new(SendQueueConfig::default(), bench.clock);
        let section = queue.add_section(SendExtensions::new(ids.iter().copied()), "v");
        Self {
            now: bench.now,
            queue,
            section,
            bench,
            number: 0,
        }
    }

    fn outgoing(&mut self, timestamp: u32, size: usize, marker: bool) -> Outgoing {
        self.number += 1;
        let mut payload = vp8(true, true, 1, 1, 0);
        payload.resize(size, 7);
        let packet = self
            .bench
            .receive(&Rtp::new(VP8, 77, self.number, timestamp).payload(&payload));
        Outgoing {
            packet: Arc::clone(&packet[0].packet),
            ssrc: 5,
            timestamp,
            sequence: self.number,
            payload_type: 100,
            marker,
            primary_only: false,
            patch: Patch::default(),
            frame_offset: 0,
            original_sequence: None,
            section: self.section,
            with_mid: false,
        }
    }

    fn push(&mut self, timestamp: u32, size: usize, marker: bool) {
        let outgoing = self.outgoing(timestamp, size, marker);
        assert!(self.queue.push(self.now, Priority::Video, outgoing));
    }

    fn release(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = Vec::new();
        let mut starts = Vec::new();
        self.queue.release(self.now, &mut buffer, |buffer, packet| {
            assert!(packet.header >= 12 && packet.start + packet.header < buffer.len());
            starts.push(packet.start);
        });
        starts.push(buffer.len());
        starts
            .windows(2)
            .map(|ends| buffer[ends[0]..ends[1]].to_vec())
            .collect()
    }
}

#[test]
fn a_frame_leaves_by_four_packets_of_one_size_a_release() {
    let mut link = Link::new(&[]);
    for index in 0..6 {
        link.push(0, 1000 - index, index == 5);
    }
    let first = link.release();
    assert_eq!(first.len(), 4);
    assert!(first.iter().all(|packet| packet.len() == first[0].len()));
    for (packet, size) in first.iter().zip([1000usize, 999, 998, 997]) {
        let header = RtpHeader::parse(packet).unwrap();
        assert_eq!(header.payload(packet).len(), size);
        assert_eq!(usize::from(header.padding_len), 1000 - size);
    }
    assert!(link.release().is_empty());
    let next = link.queue.deadline(link.now).unwrap();
    assert_eq!(next, link.now + Duration::from_millis(1));
    link.now = next;
    assert_eq!(link.release().len(), 2);
    assert_eq!(link.queue.deadline(link.now), None);
    assert_eq!(link.queue.queued_bytes(), 0);
}

#[test]
fn a_short_last_packet_is_not_blown_up() {
    let mut link = Link::new(&[]);
    link.push(0, 1000, false);
    link.push(0, 200, true);
    let sizes: Vec<_> = link.release().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1012, 212]);
}

#[test]
fn a_lonely_packet_waits_for_company_but_not_longer_than_a_millisecond() {
    let mut link = Link::new(&[]);
    link.push(0, 1000, false);
    assert!(link.release().is_empty());
    let due = link.queue.deadline(link.now).unwrap();
    assert_eq!(due - link.now, Duration::from_millis(1));
    link.now = due;
    assert_eq!(link.release().len(), 1);
    // The end of a frame waits for nothing.
    link.push(0, 1000, true);
    assert_eq!(link.queue.deadline(link.now), Some(link.now));
    assert_eq!(link.release().len(), 1);
}

#[test]
fn audio_and_resent_packets_go_before_video() {
    let mut link = Link::new(&[]);
    link.push(0, 1000, true);
    let mut resent = link.outgoing(0, 500, true);
    resent.original_sequence = Some(0x0102);
    link.queue.push(link.now, Priority::Resend, resent);
    let audio = link.outgoing(0, 120, true);
    link.queue.push(link.now, Priority::Audio, audio);
    let released = link.release();
    let sizes: Vec<_> = released.iter().map(Vec::len).collect();
    assert_eq!(sizes, [132, 514, 1012]);
    assert_eq!(released[1][12..14], [1, 2]);
}

#[test]
fn frames_of_two_tracks_that_take_turns_leave_in_groups() {
    let mut link = Link::new(&[]);
    let second = link.queue.add_section(SendExtensions::default(), "w");
    for index in 0..4 {
        for (ssrc, section) in [(5, link.section), (6, second)] {
            let mut outgoing = link.outgoing(0, 900 + index, index == 3);
            (outgoing.ssrc, outgoing.section) = (ssrc, section);
            link.queue.push(link.now, Priority::Video, outgoing);
        }
    }
    let released = link.release();
    let ssrcs: Vec<_> = released
        .iter()
        .map(|packet| RtpHeader::parse(packet).unwrap().ssrc)
        .collect();
    assert_eq!(ssrcs, [5, 5, 5, 5, 6, 6, 6, 6]);
}

#[test]
fn numbers_and_times_are_written_at_release() {
    let mut link = Link::new(&IDS);
    link.push(0, 1000, false);
    link.push(0, 1000, true);
    link.now += Duration::from_millis(250);
    let released = link.release();
    for (index, packet) in released.iter().enumerate() {
        let header = RtpHeader::parse(packet).unwrap();
        let found: Vec<_> = header.extensions(packet).collect();
        assert_eq!(found[0], (3, &(index as u16).to_be_bytes()[..]));
        let quarter = crate::rtp::extension::AbsSendTime::parse(found[1].1).unwrap();
        let origin = crate::rtp::extension::AbsSendTime::from_micros(1_700_000_000_000_000);
        assert!((quarter.micros_since(origin) - 250_000).abs() < 10);
        assert_eq!(found.len(), 2);
    }
    let sent = link.queue.ledger().news(1, true).unwrap();
    assert_eq!(
        (sent.at, usize::from(sent.size)),
        (link.now, released[1].len())
    );
}

#[test]
fn forwarded_extensions_get_the_subscribers_ids_and_two_bytes_where_needed() {
    let mut link = Link::new(&IDS);
    link.number += 1;
    let rtp = Rtp::new(VP8, 77, link.number, 0)
        .payload(&vp8(true, true, 1, 1, 0))
        .with(ORIENTATION_ID, &[3]);
    let packet = Arc::clone(&link.bench.receive(&rtp)[0].packet);
    let mut outgoing = link.outgoing(0, 100, true);
    outgoing.packet = packet;
    outgoing.with_mid = true;
    link.queue.push(link.now, Priority::Video, outgoing);
    let released = link.release();
    let header = RtpHeader::parse(&released[0]).unwrap();
    let found: Vec<_> = header.extensions(&released[0]).skip(2).collect();
    assert_eq!(found, [(5, &b"v"[..]), (20, &[3][..])]);
    assert_eq!(header.payload(&released[0]), vp8(true, true, 1, 1, 0));
}

#[test]
fn a_section_that_repeats_packets_as_they_were_writes_nothing_that_changes() {
    let mut link = Link::new(&IDS);
    let ids = SendExtensions::new(IDS).repeatable();
    link.queue.set_section(link.section, ids, "v");
    for index in 0..2 {
        link.push(0, 1000 + index, index == 1);
    }
    let released = link.release();
    assert_eq!((released[0].len(), released[1].len()), (1012, 1013));
}

#[test]
fn a_rate_spaces_releases_by_their_bytes() {
    let mut link = Link::new(&[]);
    link.queue.set_rate(Some(1_000_000));
    for _ in 0..12 {
        link.push(0, 988, false);
    }
    let mut at = Vec::new();
    let start = link.now;
    while let Some(deadline) = link.queue.deadline(link.now) {
        link.now = link.now.max(deadline);
        if !link.release().is_empty() {
            at.push(link.now - start);
        }
    }
    assert_eq!(
        at,
        [
            Duration::ZERO,
            Duration::from_millis(4),
            Duration::from_millis(8)
        ]
    );
}

#[test]
fn the_byte_budget_refuses_video_and_never_audio() {
    let mut link = Link::new(&[]);
    link.queue.config.budget = 2000;
    link.push(0, 1000, false);
    let refused = link.outgoing(0, 1000, false);
    assert!(!link.queue.push(link.now, Priority::Video, refused));
    let audio = link.outgoing(0, 1000, false);
    assert!(link.queue.push(link.now, Priority::Audio, audio));
    let section = link.section;
    link.queue.remove_section(section);
    assert_eq!(
        (link.queue.queued_bytes(), link.queue.deadline(link.now)),
        (0, None)
    );
}

#[test]
fn a_track_that_floods_holds_up_no_other() {
    let mut link = Link::new(&[]);
    let calm = link.queue.add_section(SendExtensions::default(), "w");
    link.queue.config.budget = 100_000;
    let mut refused = 0;
    for _ in 0..200 {
        let outgoing = link.outgoing(0, 1000, false);
        refused += usize::from(!link.queue.push(link.now, Priority::Video, outgoing));
    }
    assert!(refused > 100);
    link.release();
    let mut outgoing = link.outgoing(0, 1000, true);
    (outgoing.ssrc, outgoing.section) = (6, calm);
    // Less waits for it than its share of the budget.
    assert!(link.queue.push(link.now, Priority::Video, outgoing));
    let released = link.release();
    assert_eq!(released.len(), 1);
    assert_eq!(RtpHeader::parse(&released[0]).unwrap().ssrc, 6);
    let mut resent = link.outgoing(0, 500, true);
    resent.original_sequence = Some(1);
    assert!(link.queue.push(link.now, Priority::Resend, resent));
    assert!(link.queue.queued_bytes() <= 2 * link.queue.config.budget);
    link.queue.clear();
    assert_eq!(link.queue.queued_bytes(), 0);
    assert_eq!(link.queue.deadline(link.now), None);
}
