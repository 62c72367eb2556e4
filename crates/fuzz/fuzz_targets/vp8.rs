//! VP8 payload descriptors and their rewriting.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::codec::vp8::{Descriptor, MAX_DESCRIPTOR_LEN, Rewrite};
use roomful_media::codec::{CodecKind, Meta};

fuzz_target!(|data: &[u8]| {
    let _ = Meta::parse(CodecKind::Vp8, data, true);
    let Ok(descriptor) = Descriptor::parse(data) else {
        return;
    };
    let new = Rewrite {
        picture_id: 0x7FFF,
        tl0_picture_index: 1,
        key_index: 2,
    };
    let mut out = Vec::new();
    let len = descriptor.rewrite(&mut out, data, new);
    assert!(len <= MAX_DESCRIPTOR_LEN);
    assert_eq!(out[len..], data[usize::from(descriptor.len)..]);
    let again = Descriptor::parse(&out).expect("what was written can be read");
    assert_eq!(usize::from(again.len), len);
    assert_eq!(again.picture_id, descriptor.picture_id.map(|_| 0x7FFF));
    assert_eq!(again.temporal, descriptor.temporal);
});
