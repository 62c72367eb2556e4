//! Messages of data channels: encrypted as a whole, with the IV and the index of the key beside them.

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use super::keys::{Keys, Opened};

impl Keys {
    /// The message encrypted by a key of `identity`, with its tag behind it; `None` without that key. `iv` must
    /// be random.
    #[must_use]
    pub fn seal_message(
        &self,
        identity: &str,
        index: u8,
        iv: [u8; NONCE_LEN],
        message: &[u8],
    ) -> Option<Vec<u8>> {
        let key = self.key(identity, index)?;
        let mut sealed = message.to_vec();
        let nonce = Nonce::assume_unique_for_key(iv);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed)
            .ok()?;
        Some(sealed)
    }

    /// The message that `identity` has encrypted; `None` where none of the keys that there are fits. Nothing
    /// is kept of who `identity` is.
    #[must_use]
    pub fn open_message(&self, identity: &str, sealed: &SealedMessage<'_>) -> Option<Vec<u8>> {
        message(self.open_at_once(identity, sealed.key_index, |key| sealed.open(key))?)
    }

    /// As [`Keys::open_message`], but ratchets our key as often as it may be; takes tens of milliseconds each
    /// time with PBKDF2.
    #[must_use]
    pub fn open_message_waiting(
        &self,
        identity: &str,
        sealed: &SealedMessage<'_>,
    ) -> Option<Vec<u8>> {
        message(self.open_waiting(identity, sealed.key_index, |key| sealed.open(key)))
    }

    /// As [`Keys::open_message`], for what may be lost: our key is ratcheted meanwhile, for those that follow.
    #[must_use]
    pub fn open_lossy_message(
        &self,
        identity: &str,
        sealed: &SealedMessage<'_>,
    ) -> Option<Vec<u8>> {
        message(self.open(identity, sealed.key_index, |key| sealed.open(key)))
    }
}

/// An encrypted message, and what is sent beside it.
pub struct SealedMessage<'a> {
    pub key_index: u8,
    pub iv: [u8; NONCE_LEN],
    /// With its tag behind it.
    pub message: &'a [u8],
}

impl SealedMessage<'_> {
    fn open(&self, key: &LessSafeKey) -> Option<Vec<u8>> {
        let mut message = self.message.to_vec();
        let nonce = Nonce::assume_unique_for_key(self.iv);
        let opened = key.open_in_place(nonce, Aad::empty(), &mut message);
        let len = opened.ok()?.len();
        message.truncate(len);
        Some(message)
    }
}

fn message(opened: Opened<Vec<u8>>) -> Option<Vec<u8>> {
    match opened {
        Opened::By(message) | Opened::ByRatcheted(message) => Some(message),
        Opened::MissingKey | Opened::Failed => None,
    }
}
