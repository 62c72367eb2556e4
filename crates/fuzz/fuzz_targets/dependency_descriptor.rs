//! Dependency descriptors: a stream of values, each behind its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::codec::dependency::DependencyReader;

fuzz_target!(|data: &[u8]| {
    let mut reader = DependencyReader::default();
    let mut rest = data;
    while let Some((&len, after)) = rest.split_first() {
        let (value, after) = after
            .split_at_checked(usize::from(len))
            .unwrap_or((after, &[]));
        if let Ok(frame) = reader.read(value) {
            assert!(frame.spatial < 4 && frame.temporal < 8);
            let structure = reader.structure().expect("a frame needs a structure");
            assert!(structure.targets.len() <= 32);
        }
        rest = after;
    }
});
