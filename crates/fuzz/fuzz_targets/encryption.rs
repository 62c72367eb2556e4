//! Frames encrypted from end to end: what is sealed opens again, and nothing else does.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use roomful_media::encryption::{Derivation, Form, KeyOptions, Keys, Opener, Sealer};

static KEYS: LazyLock<Arc<Keys>> = LazyLock::new(|| {
    let options = KeyOptions {
        derivation: Derivation::Hkdf,
        salt: Vec::new(),
        ratchet_window: 0,
        failure_tolerance: None,
        ring_size: 16,
    };
    let keys = Keys::new(options, |task| task());
    keys.set(None, 0, b"secret");
    Arc::new(keys)
});

const FORMS: [Form; 5] = [
    Form::Audio,
    Form::Vp8 { key: true },
    Form::Vp8 { key: false },
    Form::Vp9,
    Form::H264,
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let form = FORMS[usize::from(choice % 5)];
    let Some((iv, frame)) = rest.split_first_chunk::<12>() else {
        return;
    };
    let mut opener = Opener::new(Arc::clone(&KEYS), "ada", b"");
    assert_eq!(opener.open(form, frame).0, None);
    let (sealed, _) = Sealer::new(Arc::clone(&KEYS), "ada", 0).seal(Some(form), frame, *iv);
    let opened = sealed.map(|sealed| opener.open(form, &sealed).0.expect("the same key"));
    // H.264 comes back in its normal form.
    if let Some(opened) = opened.filter(|_| form != Form::H264) {
        assert_eq!(opened, frame);
    }
});
