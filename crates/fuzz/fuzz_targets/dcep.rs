//! Data channel establishment: what was read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::transport::{parse_dcep, write_dcep};

fuzz_target!(|data: &[u8]| {
    let Ok(message) = parse_dcep(data) else {
        return;
    };
    assert_eq!(parse_dcep(&write_dcep(&message)), Ok(message));
});
