//! AES-GCM for what Python encrypts from end to end: data packets and frames of data tracks.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

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
