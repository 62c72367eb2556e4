//! What a datagram of a stranger is taken for, and whom its STUN names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::transport::demux::{Kind, classify, stun_local_ufrag};

fuzz_target!(|data: &[u8]| {
    let kind = classify(data);
    if let Some(ufrag) = stun_local_ufrag(data) {
        assert_eq!(kind, Some(Kind::Stun));
        assert!(!ufrag.is_empty() && !ufrag.contains(':'));
    }
});
