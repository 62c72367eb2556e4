//! H.264 payloads and parameter sets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::codec::{CodecKind, Meta};

fuzz_target!(|data: &[u8]| {
    let _ = Meta::parse(CodecKind::H264, data, true);
});
