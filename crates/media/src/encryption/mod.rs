//! End-to-end encryption of frames, in the form that livekit-client and libwebrtc in LiveKit's SDKs have.

mod form;
mod keys;
mod message;

use std::sync::Arc;

use aws_lc_rs::aead::NONCE_LEN;

pub use form::Form;
use keys::Opened;
pub use keys::{Derivation, KeyOptions, Keys, Task};
pub use message::SealedMessage;

/// What a silent server sends in a track, unencrypted: Opus silence and the smallest VP8 picture.
const OPUS_SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];
const OPUS_SILENCE_LEN: usize = 80;
const VP8_BLANK: [u8; 31] = [
    0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x08, 0x00, 0x08, 0x00, 0x00, 0x47, 0x08, 0x85, 0x85, 0x88,
    0x85, 0x84, 0x88, 0x02, 0x02, 0x00, 0x0C, 0x0D, 0x60, 0x00, 0xFE, 0xFF, 0xAB, 0x50, 0x80,
];

const METADATA_END: &[u8] = b"LKTS";

/// How a track's encryption fares; told when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    EncryptionFailed,
    DecryptionFailed,
    MissingKey,
    KeyRatcheted,
}

/// Encrypts the frames of a track.
pub struct Sealer {
    keys: Arc<Keys>,
    identity: String,
    key_index: u8,
    state: Option<State>,
}

impl Sealer {
    #[must_use]
    pub fn new(keys: Arc<Keys>, identity: &str, key_index: u8) -> Self {
        Self {
            keys,
            identity: identity.to_owned(),
            key_index,
            state: None,
        }
    }

    pub fn set_key_index(&mut self, key_index: u8) {
        self.key_index = key_index;
    }

    /// The frame encrypted, `None` where it can't be (as with `form`) and so must not be sent; and the state if it changed.
    /// `iv` must be random; without one nothing is encrypted.
    pub fn seal(
        &mut self,
        form: Option<Form>,
        frame: &[u8],
        iv: impl Into<Option<[u8; NONCE_LEN]>>,
    ) -> (Option<Vec<u8>>, Option<State>) {
        let (sealed, state) = match self.keys.key(&self.identity, self.key_index) {
            None => (None, State::MissingKey),
            Some(key) => {
                let (picture, metadata) = split_metadata(form, frame);
                let sealed = form
                    .zip(iv.into())
                    .and_then(|(form, iv)| form.seal(picture, &key, self.key_index, iv));
                match sealed {
                    None => (None, State::EncryptionFailed),
                    Some(sealed) => (Some([&sealed, metadata].concat()), State::Ok),
                }
            }
        };
        let changed = self.state.replace(state) != Some(state);
        (sealed, changed.then_some(state))
    }
}

/// Decrypts the frames of a track.
pub struct Opener {
    keys: Arc<Keys>,
    identity: String,
    /// By which the server marks what it puts into a track.
    server_trailer: Vec<u8>,
    state: Option<State>,
}

impl Opener {
    #[must_use]
    pub fn new(keys: Arc<Keys>, identity: &str, server_trailer: &[u8]) -> Self {
        Self {
            keys,
            identity: identity.to_owned(),
            server_trailer: server_trailer.to_vec(),
            state: None,
        }
    }

    /// The frame decrypted, `None` where it can't be, as without a `form`; and the states that it changed to.
    pub fn open(
        &mut self,
        form: impl Into<Option<Form>>,
        frame: &[u8],
    ) -> (Option<Vec<u8>>, Vec<State>) {
        let form = form.into();
        if let Some(blank) = self.put_in_by_server(frame) {
            let taken = form.is_some_and(|form| is_blank(form, blank));
            return (taken.then(|| blank.to_vec()), Vec::new());
        }
        let (frame, metadata) = split_metadata(form, frame);
        let opened = form.and_then(|form| form.take_apart(frame)).map(|sealed| {
            self.keys.open(&self.identity, sealed.key_index, |key| {
                let opened = sealed.open(key).ok()?;
                Some([&opened, metadata].concat())
            })
        });
        let (opened, states) = match opened {
            None | Some(Opened::Failed) => (None, vec![State::DecryptionFailed]),
            Some(Opened::MissingKey) => (None, vec![State::MissingKey]),
            Some(Opened::By(frame)) => (Some(frame), vec![State::Ok]),
            Some(Opened::ByRatcheted(frame)) => (Some(frame), vec![State::KeyRatcheted, State::Ok]),
        };
        let changed = states
            .into_iter()
            .filter(|state| self.state.replace(*state) != Some(*state));
        (opened, changed.collect())
    }

    /// What the server has put into the track, without its mark.
    fn put_in_by_server<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        (!self.server_trailer.is_empty())
            .then(|| frame.strip_suffix(self.server_trailer.as_slice()))
            .flatten()
    }
}

/// What other clients put behind a picture, where servers find it and take it off for those who do not know it:
/// fields, the inverted length of all, and four letters.
fn split_metadata(form: Option<Form>, frame: &[u8]) -> (&[u8], &[u8]) {
    let len = frame
        .strip_suffix(METADATA_END)
        .filter(|_| form != Some(Form::Audio))
        .and_then(|fields| fields.last())
        .map(|inverted| usize::from(!inverted))
        .filter(|len| *len > METADATA_END.len());
    let picture = len.and_then(|len| frame.len().checked_sub(len));
    frame.split_at(picture.unwrap_or(frame.len()))
}

/// Only that may come unencrypted: anything else could be the server's invention.
fn is_blank(form: Form, frame: &[u8]) -> bool {
    match form {
        Form::Audio => {
            frame.len() == OPUS_SILENCE_LEN
                && frame
                    .strip_prefix(&OPUS_SILENCE)
                    .is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
        }
        Form::Vp8 { .. } => frame == VP8_BLANK,
        Form::Vp9 | Form::H264 => false,
    }
}

#[cfg(test)]
mod tests;
