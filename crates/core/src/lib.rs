//! Python bindings of roomful's media plane: commands in, events out, nothing decided here.

mod cipher;
mod event;
mod logging;
mod media;
mod probe;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::cipher::{aes_gcm_open, aes_gcm_seal};
    #[pymodule_export]
    use crate::event::Event;
    #[pymodule_export]
    use crate::media::{Codec, ExternalAddresses, Layer, Media};
    #[pymodule_export]
    use crate::probe::Probe;
}
