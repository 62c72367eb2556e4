//! Encoded frames on their way to Python.

use std::sync::Arc;
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use roomful_media::client::PacketSink;
use roomful_media::io::clients::{Inbox, Notifier};
use roomful_media::track::MediaPacket;

/// A wake-up that Python gave.
pub(crate) fn waker(wake: Py<PyAny>) -> impl Fn() + Send + Sync + 'static {
    move || {
        // No interpreter any more: nobody is left to wake.
        let _ = Python::try_attach(|py| {
            if let Err(error) = wake.call0(py) {
                // The event loop is closed; what came stays queued for a last look.
                log::debug!("wake-up failed: {error}");
            }
        });
    }
}

/// An encoded frame as it was received.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct Frame {
    data: Py<PyBytes>,
    timestamp: u32,
    wall_us: i64,
    key: bool,
}

#[pymethods]
impl Frame {
    #[getter]
    fn data(&self, py: Python<'_>) -> Py<PyBytes> {
        self.data.clone_ref(py)
    }

    /// RTP time.
    #[getter]
    fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// When it was captured, in microseconds since the Unix epoch.
    #[getter]
    fn wall_us(&self) -> i64 {
        self.wall_us
    }

    #[getter]
    fn key(&self) -> bool {
        self.key
    }
}

/// A frame before Python has it.
pub(crate) struct Received {
    data: Vec<u8>,
    timestamp: u32,
    wall_us: i64,
    key: bool,
}

/// A bounded queue of encoded frames: the oldest is dropped when it is full.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct FrameSink {
    inbox: Arc<Inbox<Received>>,
}

impl FrameSink {
    /// The end of the queue that packets are put in.
    pub(crate) fn entry(&self, notifier: &Arc<Notifier>) -> Entry {
        Entry {
            inbox: Arc::clone(&self.inbox),
            notifier: Arc::clone(notifier),
        }
    }
}

#[pymethods]
impl FrameSink {
    #[new]
    fn new(wake: Py<PyAny>, capacity: usize) -> Self {
        let inbox = Inbox::new(capacity.max(1), waker(wake));
        Self {
            inbox: Arc::new(inbox),
        }
    }

    fn take(&self, py: Python<'_>) -> Vec<Frame> {
        let frame = |it: Received| Frame {
            data: PyBytes::new(py, &it.data).unbind(),
            timestamp: it.timestamp,
            wall_us: it.wall_us,
            key: it.key,
        };
        self.inbox.take().into_iter().map(frame).collect()
    }

    #[getter]
    fn dropped(&self) -> u64 {
        self.inbox.dropped()
    }

    fn close(&self) {
        self.inbox.close();
    }
}

/// See [`FrameSink::entry`].
pub(crate) struct Entry {
    inbox: Arc<Inbox<Received>>,
    notifier: Arc<Notifier>,
}

impl PacketSink for Entry {
    fn packet(&mut self, _now: Instant, packet: &Arc<MediaPacket>) {
        let frame = Received {
            data: packet.primary().to_vec(),
            timestamp: packet.timestamp,
            wall_us: packet.wall,
            key: packet.meta.keyframe,
        };
        self.notifier.deliver(&self.inbox, [frame]);
    }
}
