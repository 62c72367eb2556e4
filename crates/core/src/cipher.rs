//! End-to-end encryption: the keys, and what Python encrypts by them, data packets and frames of data tracks.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use roomful_media::encryption::{Derivation, KeyOptions, Keys, SealedMessage, State, Task};

use crate::media::unknown;

/// The keys of all participants of a session, and what encrypts and decrypts by them.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct EncryptionKeys(pub(crate) Arc<Keys>);

#[pymethods]
impl EncryptionKeys {
    /// `derivation`: pbkdf2 or hkdf; `failure_tolerance`: -1 for any number.
    #[new]
    fn new(
        derivation: &str,
        salt: Vec<u8>,
        ratchet_window: usize,
        failure_tolerance: i32,
        ring_size: usize,
    ) -> PyResult<Self> {
        let derivation = match derivation {
            "pbkdf2" => Derivation::Pbkdf2,
            "hkdf" => Derivation::Hkdf,
            other => return Err(unknown("derivation", other)),
        };
        let options = KeyOptions {
            derivation,
            salt,
            ratchet_window,
            failure_tolerance: failure_tolerance.try_into().ok(),
            ring_size,
        };
        Ok(Self(Arc::new(Keys::new(options, in_a_thread))))
    }

    /// Sets a key of a participant, or of everybody.
    fn set(&self, py: Python<'_>, identity: Option<&str>, index: u32, material: &[u8]) {
        py.detach(|| self.0.set(identity, index, material));
    }

    /// A message encrypted by a participant's key, with a tag of 16 bytes behind it; None without that key.
    /// `iv` must be random.
    fn seal<'py>(
        &self,
        py: Python<'py>,
        identity: &str,
        index: u8,
        iv: [u8; 12],
        message: &[u8],
    ) -> Option<Bound<'py, PyBytes>> {
        let sealed = py.detach(|| self.0.seal_message(identity, index, iv, message));
        sealed.map(|sealed| PyBytes::new(py, &sealed))
    }

    /// Forgets how a participant has ratcheted the keys of everybody: it has left.
    fn forget(&self, identity: &str) {
        self.0.forget(identity);
    }

    /// The message that a participant has encrypted; None if none of the keys that there are fits.
    fn open<'py>(
        &self,
        py: Python<'py>,
        identity: &str,
        key_index: u8,
        iv: [u8; 12],
        sealed: &[u8],
    ) -> Option<Bound<'py, PyBytes>> {
        let sealed = SealedMessage {
            key_index,
            iv,
            message: sealed,
        };
        let opened = py.detach(|| self.0.open_message(identity, &sealed));
        opened.map(|message| PyBytes::new(py, &message))
    }

    /// As `open`, but ratchets our key as often as it may be, which takes tens of milliseconds each time.
    fn open_waiting<'py>(
        &self,
        py: Python<'py>,
        identity: &str,
        key_index: u8,
        iv: [u8; 12],
        sealed: &[u8],
    ) -> Option<Bound<'py, PyBytes>> {
        let sealed = SealedMessage {
            key_index,
            iv,
            message: sealed,
        };
        let opened = py.detach(|| self.0.open_message_waiting(identity, &sealed));
        opened.map(|message| PyBytes::new(py, &message))
    }

    /// As `open`, but our key is ratcheted meanwhile, for the messages that follow.
    fn open_lossy<'py>(
        &self,
        py: Python<'py>,
        identity: &str,
        key_index: u8,
        iv: [u8; 12],
        sealed: &[u8],
    ) -> Option<Bound<'py, PyBytes>> {
        let sealed = SealedMessage {
            key_index,
            iv,
            message: sealed,
        };
        let opened = py.detach(|| self.0.open_lossy_message(identity, &sealed));
        opened.map(|message| PyBytes::new(py, &message))
    }

    /// Whether a key may have been ratcheted to one that has not been tried yet.
    fn may_ratchet(&self, identity: &str, key_index: u8) -> bool {
        self.0.may_ratchet(identity, key_index)
    }
}

fn in_a_thread(task: Task) {
    let thread = std::thread::Builder::new().name("roomful keys".into());
    if let Err(error) = thread.spawn(task) {
        log::warn!("a key cannot be ratcheted: {error}");
    }
}

pub(crate) fn encryption_state(state: State) -> String {
    match state {
        State::Ok => "ok",
        State::EncryptionFailed => "encryption_failed",
        State::DecryptionFailed => "decryption_failed",
        State::MissingKey => "missing_key",
        State::KeyRatcheted => "key_ratcheted",
    }
    .into()
}
