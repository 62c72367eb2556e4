//! A packet of the `_data_track` channel: only the handle changes on its way to subscribers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::data::track_packet::{Header, with_handle};

fuzz_target!(|packet: &[u8]| {
    let Ok(header) = Header::parse(packet) else {
        return;
    };
    assert!(header.payload_offset <= packet.len());
    let sent = with_handle(packet, 0x1234);
    let again = Header::parse(&sent).expect("the copy is as valid as the packet");
    assert_eq!(
        again,
        Header {
            handle: 0x1234,
            ..header
        }
    );
    assert_eq!((&sent[..2], &sent[4..]), (&packet[..2], &packet[4..]));
});
