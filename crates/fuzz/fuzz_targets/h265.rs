//! H.265 payloads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::codec::{CodecKind, Meta};

fuzz_target!(|data: &[u8]| {
    let _ = Meta::parse(CodecKind::H265, data, true);
});
