use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const IV: [u8; NONCE_LEN] = [7; NONCE_LEN];

/// "secret" ratcheted once, by HKDF, as livekit.rtc says.
const ONCE: [u8; 32] = [
    0xaa, 0x17, 0x1d, 0xcc, 0x57, 0x06, 0xc0, 0xca, 0x29, 0xb3, 0x98, 0x46, 0x25, 0x8a, 0xf8, 0x4b,
    0xa5, 0xc6, 0x96, 0x2c, 0x0e, 0x6c, 0x92, 0xcf, 0xe0, 0xb1, 0x7f, 0x03, 0x56, 0xfe, 0xb5, 0xc6,
];

/// And once more.
const TWICE: [u8; 32] = [
    0xe9, 0xa0, 0x64, 0xcf, 0x14, 0xd3, 0x82, 0x2f, 0x99, 0xa5, 0xe0, 0x23, 0x5b, 0x52, 0xca, 0xf8,
    0x91, 0xe3, 0xe8, 0xc6, 0x04, 0xe0, 0x22, 0x9f, 0x4b, 0x37, 0xaa, 0xe7, 0xe8, 0xe2, 0xe8, 0xf4,
];

fn keys(window: usize) -> Arc<Keys> {
    let options = KeyOptions {
        derivation: Derivation::Hkdf,
        salt: b"LKFrameEncryptionKey".to_vec(),
        ratchet_window: window,
        failure_tolerance: None,
        ring_size: 16,
    };
    Arc::new(Keys::new(options, |task| task()))
}

fn shared(material: &[u8]) -> Arc<Keys> {
    let keys = keys(4);
    keys.set(None, 0, material);
    keys
}

fn sealed(keys: &Arc<Keys>, form: Form, frame: &[u8]) -> Vec<u8> {
    let (sealed, _) = Sealer::new(Arc::clone(keys), "ada", 0).seal(Some(form), frame, IV);
    sealed.unwrap()
}

fn picture(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 251) as u8).collect()
}

#[test]
fn frames_are_opened_by_the_same_key_and_only_what_servers_need_is_clear() {
    let keys = shared(b"secret");
    for (form, clear) in [
        (Form::Audio, 1),
        (Form::Vp8 { key: true }, 10),
        (Form::Vp8 { key: false }, 3),
        (Form::Vp9, 0),
    ] {
        let frame = picture(100);
        let sealed = sealed(&keys, form, &frame);
        assert_eq!(sealed.len(), frame.len() + 16 + 12 + 2);
        assert_eq!(sealed[..clear], frame[..clear]);
        assert!(!sealed.windows(8).any(|it| it == &frame[clear..clear + 8]));
        assert_eq!(sealed[sealed.len() - 14..], [&IV[..], &[12, 0]].concat());
        let mut opener = Opener::new(Arc::clone(&keys), "ada", b"");
        assert_eq!(opener.open(form, &sealed), (Some(frame), vec![State::Ok]));
        assert_eq!(opener.open(form, &sealed).1, vec![]);
    }
}

#[test]
fn h264_is_still_a_byte_stream_of_the_same_units() {
    let keys = shared(b"secret");
    let mut frame = vec![0, 0, 1, 9, 0xF0]; // A delimiter, which no packet carries.
    frame.extend([0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65]);
    frame.extend(picture(50));
    frame.extend([0, 0, 1, 0x65]);
    frame.extend([0, 0, 0, 5, 6, 7].repeat(40));
    let sealed = sealed(&keys, Form::H264, &frame);
    let start_codes = sealed.windows(3).filter(|it| *it == [0, 0, 1]).count();
    assert_eq!(start_codes, 3);
    let (opened, _) = Opener::new(keys, "ada", b"").open(Form::H264, &sealed);
    let mut normal = vec![
        0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65,
    ];
    normal.extend(picture(50));
    normal.extend([0, 0, 0, 1, 0x65]);
    normal.extend([0, 0, 0, 5, 6, 7].repeat(40));
    assert_eq!(opened.unwrap(), normal);
}

#[test]
fn another_key_opens_nothing_and_a_missing_one_is_told() {
    let frame = sealed(&shared(b"secret"), Form::Audio, &picture(40));
    let mut wrong = Opener::new(shared(b"other"), "ada", b"");
    assert_eq!(
        wrong.open(Form::Audio, &frame),
        (None, vec![State::DecryptionFailed])
    );
    assert_eq!(wrong.open(Form::Audio, &frame), (None, vec![]));
    let mut missing = Opener::new(keys(4), "ada", b"");
    assert_eq!(
        missing.open(Form::Audio, &frame),
        (None, vec![State::MissingKey])
    );
    let (sent, state) = Sealer::new(keys(4), "ada", 0).seal(Some(Form::Audio), &frame, IV);
    assert_eq!((sent, state), (None, Some(State::MissingKey)));
}

#[test]
fn what_has_no_form_is_not_opened_and_that_is_told() {
    let keys = shared(b"secret");
    let frame = sealed(&keys, Form::Audio, &picture(40));
    let mut opener = Opener::new(keys, "ada", b"mark");
    let failed = (None, vec![State::DecryptionFailed]);
    assert_eq!(opener.open(None, &frame), failed);
    assert_eq!(opener.open(None, b"marked mark"), (None, vec![]));
}

#[test]
fn without_a_random_number_nothing_is_encrypted() {
    let mut sealer = Sealer::new(shared(b"secret"), "ada", 0);
    let failed = (None, Some(State::EncryptionFailed));
    assert_eq!(sealer.seal(Some(Form::Audio), &picture(40), None), failed);
}

#[test]
fn each_participant_may_have_keys_of_its_own() {
    let keys = shared(b"secret");
    keys.set(Some("ada"), 17, b"hers");
    let mut ada = Sealer::new(Arc::clone(&keys), "ada", 1);
    let (frame, _) = ada.seal(Some(Form::Audio), &picture(40), IV);
    let frame = frame.unwrap();
    assert_eq!(frame.last(), Some(&1));
    let open = |identity| Opener::new(Arc::clone(&keys), identity, b"").open(Form::Audio, &frame);
    assert_eq!(open("ada").0, Some(picture(40)));
    assert_eq!(open("ben"), (None, vec![State::MissingKey]));
}

#[test]
fn a_key_that_its_sender_has_ratcheted_is_found_within_some_frames() {
    let keys = shared(b"secret");
    let frame = sealed(&shared(&ONCE), Form::Audio, &picture(40));
    let mut opener = Opener::new(Arc::clone(&keys), "ada", b"");
    // The key to try is made meanwhile.
    let expected = (None, vec![State::DecryptionFailed]);
    assert_eq!(opener.open(Form::Audio, &frame), expected);
    let expected = (Some(picture(40)), vec![State::KeyRatcheted, State::Ok]);
    assert_eq!(opener.open(Form::Audio, &frame), expected);
    assert_eq!(
        opener.open(Form::Audio, &frame),
        (Some(picture(40)), vec![])
    );
    // The others' have stayed.
    let of_ben = sealed(&shared(b"secret"), Form::Audio, &picture(40));
    let mut ben = Opener::new(keys, "ben", b"");
    assert_eq!(ben.open(Form::Audio, &of_ben).1, vec![State::Ok]);
}

#[test]
fn too_many_failures_wait_for_another_key() {
    let options = KeyOptions {
        derivation: Derivation::Hkdf,
        salt: Vec::new(),
        ratchet_window: 0,
        failure_tolerance: Some(1),
        ring_size: 16,
    };
    let (right, mine) = (
        Arc::new(Keys::new(options.clone(), |task| task())),
        Arc::new(Keys::new(options, |task| task())),
    );
    right.set(None, 0, b"secret");
    mine.set(None, 0, b"secret");
    let frame = sealed(&right, Form::Audio, &picture(40));
    let mut broken = frame.clone();
    broken[5] ^= 1;
    let mut opener = Opener::new(Arc::clone(&mine), "ada", b"");
    for _ in 0..2 {
        assert_eq!(opener.open(Form::Audio, &broken).0, None);
    }
    assert_eq!(opener.open(Form::Audio, &frame).0, None);
    mine.set(None, 0, b"secret");
    assert_eq!(opener.open(Form::Audio, &frame).0, Some(picture(40)));
}

#[test]
fn of_the_server_only_blanks_are_taken() {
    let mut opener = Opener::new(shared(b"secret"), "ada", b"mark");
    let marked = |frame: &[u8]| [frame, b"mark"].concat();
    let mut silence = vec![0xF8, 0xFF, 0xFE];
    silence.resize(80, 0);
    let taken = opener.open(Form::Audio, &marked(&silence));
    assert_eq!(taken, (Some(silence), vec![]));
    let blank = opener.open(Form::Vp8 { key: true }, &marked(&VP8_BLANK));
    assert_eq!(blank.0, Some(VP8_BLANK.to_vec()));
    assert_eq!(
        opener.open(Form::Audio, &marked(b"invented")),
        (None, vec![])
    );
}

#[test]
fn garbage_is_not_opened() {
    let mut opener = Opener::new(shared(b"secret"), "ada", b"");
    let mut random = 1_u32;
    for len in 0..200 {
        let frame: Vec<u8> = (0..len)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8 & 0x0F
            })
            .collect();
        for form in [Form::Audio, Form::Vp8 { key: true }, Form::Vp9, Form::H264] {
            assert_eq!(opener.open(form, &frame).0, None);
        }
    }
}

#[test]
fn a_message_is_opened_however_often_its_sender_has_ratcheted() {
    let theirs = [shared(b"secret"), shared(&ONCE), shared(&TWICE)];
    let sealed = theirs.map(|keys| keys.seal_message("ada", 0, IV, b"message").unwrap());
    let message = |key_index, message| SealedMessage {
        key_index,
        iv: IV,
        message,
    };
    let [now, once, twice] = &sealed;
    let mine = shared(b"secret");
    assert_eq!(mine.open_message("ada", &message(0, twice)), None);
    assert!(mine.may_ratchet("ada", 0) && !mine.may_ratchet("ada", 1));
    let opened = mine.open_message_waiting("ada", &message(0, twice));
    assert_eq!(opened.unwrap(), b"message");
    assert_eq!(mine.open_message("ada", &message(0, now)), None);
    mine.forget("ada");
    assert!(mine.open_message("ada", &message(0, now)).is_some());
    // What may be lost is, until the key to try has been made.
    assert_eq!(mine.open_lossy_message("ada", &message(0, once)), None);
    assert!(mine.open_lossy_message("ada", &message(0, once)).is_some());
    assert_eq!(mine.open_message_waiting("ada", &message(1, once)), None);
    assert_eq!(
        mine.open_message_waiting("ada", &message(0, b"short")),
        None
    );
    assert!(!mine.may_ratchet("ada", 0));
}

#[test]
fn keys_to_try_are_made_one_after_another_up_to_the_window() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let options = KeyOptions {
        derivation: Derivation::Hkdf,
        salt: Vec::new(),
        ratchet_window: 3,
        failure_tolerance: None,
        ring_size: 16,
    };
    let keys = Arc::new(Keys::new(options, move |task| {
        count.fetch_add(1, Ordering::Relaxed);
        task();
    }));
    keys.set(None, 0, b"other");
    let frame = sealed(&shared(b"secret"), Form::Audio, &picture(40));
    let mut opener = Opener::new(keys, "ada", b"");
    for expected in [1, 2, 3, 3] {
        for _ in 0..11 {
            assert_eq!(opener.open(Form::Audio, &frame).0, None);
        }
        assert_eq!(made.load(Ordering::Relaxed), expected);
    }
}

#[test]
fn metadata_stays_readable_behind_a_picture() {
    let keys = shared(b"secret");
    for (form, metadata) in [
        (Form::Vp8 { key: true }, &b"\xFE\xFE\x06\xF7LKTS"[..]),
        (Form::Vp9, b"\xFALKTS"),
        (Form::H264, b"\xFE\xFE\x06\xF7LKTS"),
    ] {
        let frame = [&[0, 0, 0, 1, 0x65][..], &picture(60), metadata].concat();
        let sealed = sealed(&keys, form, &frame);
        assert!(sealed.ends_with(metadata));
        let mut opener = Opener::new(Arc::clone(&keys), "ada", b"");
        assert_eq!(opener.open(form, &sealed).0, Some(frame.clone()));
        // The server may take it off.
        let without = sealed.len() - metadata.len();
        let bare = frame[..frame.len() - metadata.len()].to_vec();
        assert_eq!(opener.open(form, &sealed[..without]).0, Some(bare));
    }
    for nonsense in [&b"LKTS"[..], b"\xFBLKTS", b"\x00LKTS"] {
        assert_eq!(split_metadata(Some(Form::Vp9), nonsense).1, b"");
    }
}
