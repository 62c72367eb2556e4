//! The peers and links themselves, against a plain str0m at the other end: what fails here is no fault of
//! the media plane's.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use roomful_media::api::{ParticipantId, SdpKind, TrackId};
use roomful_media::data::Channel;
use str0m::change::SdpOffer;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::link::{Link, LinkConfig};
use crate::media::SIMULCAST;
use crate::peer::{Datagram, Peer, Signal};
use crate::world::Join;

#[test]
fn a_peer_connects_over_a_bad_link_and_sends_media_and_data() {
    fastrand::seed(1);
    let start = Instant::now();
    let mut peer = Peer::new("alice", ParticipantId(1), &Join::single(), start, 1);
    peer.publish_audio(start, TrackId(1), "mic", -20);
    peer.publish_video(start, TrackId(2), "cam", &SIMULCAST);
    let address = SocketAddr::from(([192, 0, 2, 1], 7_882));
    let mut other = Rtc::builder().set_rtp_mode(true).build(start);
    other.add_local_candidate(Candidate::host(address, "udp").unwrap());
    let config = LinkConfig {
        loss: 0.05,
        ..LinkConfig::default()
    };
    let mut links = [Link::new(config, 1), Link::new(config, 2)];
    let mut under_way: Vec<(Instant, Datagram)> = Vec::new();
    let mut seen = Seen::default();
    let mut sent = false;
    for millisecond in 0..10_000 {
        let now = start + Duration::from_millis(millisecond);
        for signal in std::mem::take(&mut peer.signals) {
            let offer = SdpOffer::from_sdp_string(&signal.sdp).unwrap();
            let answer = other.sdp_api().accept_offer(offer).unwrap();
            let (sdp, kind) = (answer.to_sdp_string(), SdpKind::Answer);
            peer.handle_description(
                now,
                &Signal {
                    sdp,
                    kind,
                    ..signal
                },
                &[],
            );
        }
        if peer.poll_timeout() <= now {
            peer.handle_timeout(now);
        }
        let mut datagrams = seen.drain(&mut other);
        other.handle_input(Input::Timeout(now)).unwrap();
        datagrams.extend(seen.drain(&mut other));
        while let Some(at) = under_way.iter().position(|(at, _)| *at <= now) {
            let (_, d) = under_way.remove(at);
            if d.destination == address {
                let receive =
                    Receive::new(Protocol::Udp, d.source, d.destination, &d.contents).unwrap();
                other.handle_input(Input::Receive(now, receive)).unwrap();
                datagrams.extend(seen.drain(&mut other));
            } else {
                peer.handle_datagram(now, &d);
            }
        }
        if !sent && peer.is_connected() {
            sent = peer.send(now, Channel::Reliable, &[7; 60_000]);
        }
        datagrams.append(&mut peer.datagrams);
        for d in datagrams {
            let link = &mut links[usize::from(d.source == address)];
            under_way.extend(link.send(now, d.contents.len()).map(|at| (at, d.clone())));
        }
        under_way.sort_by_key(|(at, _)| *at);
    }
    assert!(peer.is_connected(), "{:?}", peer.notes);
    assert_eq!((seen.messages, sent), (1, true), "{:?}", peer.notes);
    assert_eq!(
        seen.rids.len(),
        4,
        "audio and three layers: {:?}",
        seen.rids
    );
    assert!(links[0].count.lost > 50);
}

/// What came at the other end.
#[derive(Default)]
struct Seen {
    rids: BTreeSet<Option<String>>,
    messages: u32,
}

impl Seen {
    fn drain(&mut self, other: &mut Rtc) -> Vec<Datagram> {
        let mut datagrams = Vec::new();
        loop {
            match other.poll_output().expect("str0m goes on") {
                Output::Timeout(_) => return datagrams,
                Output::Transmit(t) => datagrams.push(Datagram {
                    source: t.source,
                    destination: t.destination,
                    contents: t.contents.to_vec(),
                }),
                Output::Event(Event::RtpPacket(packet)) => {
                    let (ssrc, level) = (packet.header.ssrc, packet.header.ext_vals.audio_level);
                    let mut api = other.direct_api();
                    let rid = api
                        .stream_rx(&ssrc)
                        .and_then(|s| s.rid())
                        .map(|rid| rid.to_string());
                    assert!(rid.is_some() || level == Some(-20));
                    self.rids.insert(rid);
                }
                Output::Event(Event::ChannelData(_)) => self.messages += 1,
                Output::Event(_) => {}
            }
        }
    }
}
