//! End-to-end encryption: the keys of media, and AES-GCM for what Python encrypts, data packets and frames of
//! data tracks.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use roomful_media::encryption::{Derivation, KeyOptions, Keys, State};

use crate::media::unknown;

/// The keys of all participants of a session, for what encrypts and decrypts their media.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct FrameKeys(pub(crate) Arc<Keys>);

#[pymethods]
impl FrameKeys {
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
        Ok(Self(Arc::new(Keys::new(KeyOptions {
            derivation,
            salt,
            ratchet_window,
            failure_tolerance: failure_tolerance.try_into().ok(),
            ring_size,
        }))))
    }

    /// Sets a key of a participant, or of everybody.
    fn set(&self, py: Python<'_>, identity: Option<&str>, index: u32, material: &[u8]) {
        py.detach(|| self.0.set(identity, index, material));
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

/// Encrypts; the result ends in a tag of 16 bytes. An IV must never be used again with its key.
#[pyfunction]
pub(crate) fn aes_gcm_seal<'py>(
    py: Python<'py>,
    key: &[u8],
    iv: &[u8],
    plain: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let (key, nonce) = prepared(key, iv)?;
    let mut sealed = plain.to_vec();
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed)
        .map_err(|_| PyValueError::new_err("too long to encrypt"))?;
    Ok(PyBytes::new(py, &sealed))
}

/// Decrypts; None if the key is another or a bit has changed.
#[pyfunction]
pub(crate) fn aes_gcm_open<'py>(
    py: Python<'py>,
    key: &[u8],
    iv: &[u8],
    sealed: &[u8],
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let (key, nonce) = prepared(key, iv)?;
    let mut opened = sealed.to_vec();
    let plain = key.open_in_place(nonce, Aad::empty(), &mut opened).ok();
    Ok(plain.map(|plain| PyBytes::new(py, plain)))
}

fn prepared(key: &[u8], iv: &[u8]) -> PyResult<(LessSafeKey, Nonce)> {
    let algorithm = match key.len() {
        16 => &AES_128_GCM,
        32 => &AES_256_GCM,
        _ => return Err(PyValueError::new_err("a key has 16 or 32 bytes")),
    };
    let key =
        UnboundKey::new(algorithm, key).map_err(|_| PyValueError::new_err("no key for AES"))?;
    let nonce = Nonce::try_assume_unique_for_key(iv)
        .map_err(|_| PyValueError::new_err(format!("an IV has {NONCE_LEN} bytes")))?;
    Ok((LessSafeKey::new(key), nonce))
}
