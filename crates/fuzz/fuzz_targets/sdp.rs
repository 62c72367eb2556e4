//! Session descriptions: one after the other from a peer, offers answered and our own offers answered by it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::api::{MediaKind, TrackId};
use roomful_media::sdp::{
    Codec, CodecWish, Description, Fingerprint, Fmtp, IceCredentials, LocalTransport, Negotiator,
    NegotiatorConfig, ReceivePreferences, SendSpec,
};

fn negotiator() -> Negotiator {
    let local = LocalTransport {
        ice: IceCredentials {
            ufrag: "ufrag".into(),
            pwd: "abcdefghijklmnopqrstuv".into(),
        },
        ice_lite: false,
        fingerprint: Fingerprint {
            algorithm: "sha-256".into(),
            digest: vec![7; 32],
        },
        candidates: vec!["candidate:1 1 udp 1 192.0.2.1 7882 typ host".into()],
        end_of_candidates: true,
    };
    let mut negotiator = Negotiator::new(NegotiatorConfig::default(), local);
    negotiator.add_data();
    negotiator.add_send(SendSpec {
        key: TrackId(1),
        kind: MediaKind::Video,
        stream: "PA_x|TR_y".into(),
        track: "TR_y".into(),
        ssrc: 1,
        rtx_ssrc: Some(2),
        codecs: vec![CodecWish {
            codec: Codec::Vp8,
            fmtp: Fmtp::default(),
        }],
        stereo: false,
        rids: Vec::new(),
    });
    negotiator
}

/// What we say can be read; and what was read and written again stays as it is.
fn check(sdp: &str, sections: Option<usize>) {
    let description = Description::parse(sdp).expect("our own description can be read");
    let again = description.to_string();
    let read = Description::parse(&again).expect("it can be read again");
    assert_eq!(read.to_string(), again);
    if let Some(sections) = sections {
        assert_eq!(description.sections.len(), sections);
    }
}

fuzz_target!(|text: &str| {
    let mut negotiator = negotiator();
    // Separated by what no description holds.
    for sdp in text.split('\u{1}').take(4) {
        if negotiator.offer_outstanding() {
            if negotiator.apply_answer(sdp).is_err() {
                negotiator.rollback();
            }
        } else if let Ok(offered) = negotiator.apply_offer(sdp) {
            for section in &offered.sections {
                negotiator
                    .set_receive_preferences(&section.mid, ReceivePreferences::default())
                    .expect("an offered section can be preferred");
            }
            let answered = negotiator
                .create_answer()
                .expect("an offer that was taken can be answered");
            let sections = Description::parse(sdp)
                .expect("it was taken")
                .sections
                .len();
            check(&answered.description.sdp, Some(sections));
        } else if let Ok(offer) = negotiator.create_offer() {
            check(&offer.sdp, None);
        }
    }
});
