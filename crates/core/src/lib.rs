//! Python bindings of roomful's media plane: commands in, events out, nothing decided here.

mod audio;
mod cipher;
mod event;
mod frames;
mod interpreter;
mod logging;
mod mailbox;
mod media;
mod peer;
mod probe;
mod sound;
mod statistics;
mod video;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::audio::{AudioProcessor, OpusDecoder, OpusEncoder, Resampler, mix};
    #[pymodule_export]
    use crate::cipher::EncryptionKeys;
    #[pymodule_export]
    use crate::event::Event;
    #[pymodule_export]
    use crate::frames::FrameSink;
    #[pymodule_export]
    use crate::logging::take_log_lines;
    #[pymodule_export]
    use crate::mailbox::Mailbox;
    #[pymodule_export]
    use crate::media::{Codec, Exchange, ExternalAddresses, Layer, Media};
    #[pymodule_export]
    use crate::peer::{Peer, PeerEvent};
    #[pymodule_export]
    use crate::probe::Probe;
    #[pymodule_export]
    use crate::sound::{AudioQueue, AudioSink};
    #[pymodule_export]
    use crate::video::{convert_video, fit_video, turn_video};

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        crate::interpreter::install(module.py())?;
        crate::logging::install(module.py())
    }
}
