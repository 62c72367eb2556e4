//! Which sections there are, and their formats.

use super::*;
use crate::sdp::{Codec, Fingerprint, Fmtp};

pub(super) fn negotiator(config: NegotiatorConfig) -> Negotiator {
    let local = LocalTransport {
        ice: IceCredentials {
            ufrag: "server".into(),
            pwd: "serverpasswordserverpassword".into(),
        },
        ice_lite: false,
        fingerprint: Fingerprint {
            algorithm: "sha-256".into(),
            digest: vec![7; 32],
        },
        candidates: Vec::new(),
        end_of_candidates: false,
    };
    Negotiator::new(config, local)
}

fn track(key: u64, codec: Codec) -> SendSpec {
    SendSpec {
        key: TrackId(key),
        kind: codec.kind(),
        stream: format!("PA_a|TR_{key}"),
        track: format!("TR_{key}"),
        ssrc: key as u32,
        rtx_ssrc: None,
        codecs: vec![CodecWish {
            codec,
            fmtp: Fmtp::default(),
        }],
        stereo: false,
        rids: Vec::new(),
    }
}

/// The codecs of each section, in order.
fn codecs(sdp: &str) -> Vec<Vec<Codec>> {
    let description = Description::parse(sdp).unwrap();
    let media = description.sections.iter().filter_map(Section::media);
    media
        .map(|media| {
            let mut codecs: Vec<Codec> = media.payloads.iter().map(|it| it.codec).collect();
            codecs.dedup();
            codecs
        })
        .collect()
}

/// An offer of one video section for each direction, with VP8 and H.264.
fn offer(directions: &[&str]) -> String {
    let digest = ["07"; 32].join(":");
    let mids: Vec<String> = (0..directions.len()).map(|mid| mid.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n",
        mids.join(" ")
    );
    for (mid, direction) in mids.iter().zip(directions) {
        sdp += &format!(
            "m=video 9 UDP/TLS/RTP/SAVPF 96 108\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n\
             a=ice-ufrag:peer\r\na=ice-pwd:peerpasswordpeerpassword\r\n\
             a=fingerprint:sha-256 {digest}\r\na=setup:actpass\r\na=rtcp-mux\r\n\
             a={direction}\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:108 H264/90000\r\n\
             a=fmtp:108 packetization-mode=1;profile-level-id=42e01f\r\n"
        );
    }
    sdp
}

fn answer(negotiator: &mut Negotiator, directions: &[&str]) -> Vec<Vec<Codec>> {
    negotiator.apply_offer(&offer(directions)).unwrap();
    codecs(&negotiator.create_answer().unwrap().description.sdp)
}

#[test]
fn the_first_section_of_an_offer_tells_all_codecs_that_may_be_sent_later() {
    let enabled = vec![Codec::Vp8, Codec::H264, Codec::Vp9];
    let mut negotiator = negotiator(NegotiatorConfig {
        codecs: enabled,
        ..NegotiatorConfig::default()
    });
    negotiator.add_send(track(1, Codec::H264));
    negotiator.add_send(track(2, Codec::Vp8));
    let offered = negotiator.create_offer().unwrap();
    assert_eq!(
        codecs(&offered.sdp),
        [vec![Codec::H264, Codec::Vp8, Codec::Vp9], vec![Codec::Vp8]]
    );
}

#[test]
fn the_first_section_of_an_answer_takes_all_codecs_that_may_be_sent_later() {
    let mut negotiator = negotiator(NegotiatorConfig::default());
    negotiator.add_send(track(1, Codec::H264));
    negotiator.add_send(track(2, Codec::Vp8));
    assert_eq!(
        answer(&mut negotiator, &["recvonly", "recvonly"]),
        [vec![Codec::H264, Codec::Vp8], vec![Codec::Vp8]]
    );
}

#[test]
fn what_a_peer_may_not_send_it_still_receives() {
    let mut negotiator = negotiator(NegotiatorConfig {
        never_received: vec![Codec::H264],
        ..NegotiatorConfig::default()
    });
    negotiator.add_send(track(1, Codec::H264));
    assert_eq!(
        answer(&mut negotiator, &["sendonly", "sendrecv", "recvonly"]),
        [vec![Codec::Vp8], vec![Codec::Vp8], vec![Codec::H264]]
    );
}

/// The server's answer to the client's next offer, and how many sections the client began and stopped to send in.
fn answered(client: &mut Negotiator, server: &mut Negotiator) -> (String, usize, usize) {
    server
        .apply_offer(&client.create_offer().unwrap().sdp)
        .unwrap();
    let answered = server.create_answer().unwrap();
    let changes = &answered.negotiated.receive;
    let started = |change: &&ReceiveChange| matches!(change, ReceiveChange::Started(_));
    let started = changes.iter().filter(started).count();
    (answered.description.sdp, started, changes.len() - started)
}

#[test]
fn what_an_offer_added_stays_where_its_answer_was_lost() {
    let mut server = negotiator(NegotiatorConfig::default());
    let mut client = negotiator(NegotiatorConfig {
        publishing: true,
        ..NegotiatorConfig::default()
    });
    client.add_receive(MediaKind::Audio, 2);
    let (sdp, ..) = answered(&mut client, &mut server);
    client.apply_answer(&sdp).unwrap();

    client.add_send(track(1, Codec::Opus));
    assert_eq!(answered(&mut client, &mut server).1, 1);
    // Its answer never comes; the track has gone meanwhile, and another has come.
    assert!(client.remove_send(TrackId(1)));
    client.add_send(track(2, Codec::Opus));
    client.withdraw_offer();
    let (sdp, started, stopped) = answered(&mut client, &mut server);
    assert_eq!((started, stopped), (1, 1));
    assert_eq!(client.apply_answer(&sdp).unwrap().send.len(), 1);

    client.add_send(track(3, Codec::Opus));
    assert_eq!(answered(&mut client, &mut server).1, 1);
    client.withdraw_offer();
    let (sdp, started, stopped) = answered(&mut client, &mut server);
    assert_eq!((started, stopped), (0, 0));
    assert_eq!(client.apply_answer(&sdp).unwrap().send.len(), 1);
}
