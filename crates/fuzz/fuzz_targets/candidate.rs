//! A peer's candidate lines and fingerprints.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::transport::{Fingerprint, parse_candidate};

fuzz_target!(|line: &str| {
    if let Ok(Some(candidate)) = parse_candidate(line) {
        assert!(!candidate.addr().ip().is_unspecified() && !candidate.addr().ip().is_multicast());
        // What the agent writes of it is a candidate again.
        assert!(matches!(
            parse_candidate(&candidate.to_sdp_string()),
            Ok(Some(_))
        ));
    }
    if let Ok(fingerprint) = line.parse::<Fingerprint>() {
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }
});
