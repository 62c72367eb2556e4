//! RTP headers and their extensions, read and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::rtp::{HeaderFields, RtpHeader};

fuzz_target!(|data: &[u8]| {
    let Ok(header) = RtpHeader::parse(data) else {
        return;
    };
    let payload = header.payload(data);
    assert_eq!(
        usize::from(header.header_len) + payload.len() + usize::from(header.padding_len),
        data.len()
    );
    let extensions: Vec<_> = header.extensions(data).collect();
    for (id, value) in &extensions {
        let range = header
            .extension_range(data, *id)
            .expect("an element has a place");
        assert!(range.end <= usize::from(header.header_len) && value.len() <= 255);
    }
    let csrcs: Vec<_> = header.csrcs(data).collect();
    let fields = HeaderFields {
        marker: header.marker,
        payload_type: header.payload_type,
        sequence: header.sequence,
        timestamp: header.timestamp,
        ssrc: header.ssrc,
    };
    let mut out = Vec::new();
    fields
        .write(&mut out, &csrcs, &extensions)
        .expect("what was read can be written");
    let again = RtpHeader::parse(&out).expect("what was written can be read");
    assert!(again.extensions(&out).eq(extensions.iter().copied()));
    assert!(again.csrcs(&out).eq(csrcs));
});
