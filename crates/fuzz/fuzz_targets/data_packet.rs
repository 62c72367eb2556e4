//! A `livekit.DataPacket` from anybody: stamped, it names the sender the server knows; or it is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::data::packet::{Sender, Summary, stamp};

fuzz_target!(|packet: &[u8]| {
    let Ok(summary) = Summary::parse(packet) else {
        return;
    };
    for (agent, hidden) in [(false, false), (true, false), (false, true)] {
        let sender = Sender {
            sid: "PA_sender",
            identity: "sender",
            hidden,
            agent,
        };
        let mut out = Vec::new();
        if stamp(packet, &summary, &sender, true, &mut out).is_err() {
            continue;
        }
        // An agent's chat messages are marked, each of them.
        assert!(out.len() <= if agent { 4 } else { 2 } * packet.len() + 128);
        let again = Summary::parse(&out).expect("a stamped packet is well-formed");
        assert_eq!(again.identities, summary.identities);
        assert_eq!(
            (again.sequence, again.value),
            (summary.sequence, summary.value)
        );
        if !agent {
            // What is stamped once stays as it is.
            let mut twice = Vec::new();
            stamp(&out, &again, &sender, true, &mut twice).expect("a stamped packet is forwarded");
            let third = Summary::parse(&twice).expect("a stamped packet is well-formed");
            assert_eq!(
                third,
                Summary::parse(&out).expect("a stamped packet is well-formed")
            );
        }
    }
});
