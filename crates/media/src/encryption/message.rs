//! Messages of data channels: encrypted as a whole, with the IV and the index of the key beside them.

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};

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

    /// The message that `identity` has encrypted; `None` where our key is another.
    #[must_use]
    pub fn open_message(
        &self,
        identity: &str,
        index: u8,
        iv: [u8; NONCE_LEN],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let opened = self.open_waiting(identity, index, |key| {
            let mut message = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(iv);
            let opened = key.open_in_place(nonce, Aad::empty(), &mut message);
            let len = opened.ok()?.len();
            message.truncate(len);
            Some(message)
        });
        match opened {
            Opened::By(message) | Opened::ByRatcheted(message) => Some(message),
            Opened::MissingKey | Opened::Failed => None,
        }
    }
}
