//! Redundant audio: split, and rebuilt packets lie between their neighbours.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::codec::red::Red;

fuzz_target!(|data: &[u8]| {
    let Some((&[number, after, t0, t1], payload)) = data.split_first_chunk() else {
        return;
    };
    let Ok(red) = Red::parse(payload) else {
        return;
    };
    let blocks: usize = red.redundant().map(|block| block.data.len()).sum();
    assert!(blocks + red.primary.len() < payload.len());
    let (number, timestamp) = (u64::from(number), u64::from(u16::from_be_bytes([t0, t1])));
    let mut last = (u64::from(after), timestamp / 2);
    for packet in red.recover(number, timestamp, last) {
        assert!(packet.number > last.0 && packet.number < number);
        assert!(packet.timestamp > last.1 && packet.timestamp < timestamp);
        last = (packet.number, packet.timestamp);
    }
});
