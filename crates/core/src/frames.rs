//! Encoded frames on their way to Python.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use roomful_media::client::{FrameReader, PacketSink, ReceivedFrame};
use roomful_media::io::clients::{Inbox, Notifier};

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
    codec: &'static str,
    timestamp: u32,
    wall_us: i64,
    rotation: u16,
    key: bool,
}

#[pymethods]
impl Frame {
    #[getter]
    fn data(&self, py: Python<'_>) -> Py<PyBytes> {
        self.data.clone_ref(py)
    }

    /// "vp8", "h264", "opus", …
    #[getter]
    fn codec(&self) -> &str {
        self.codec
    }

    /// Clockwise degrees that it is to be turned by.
    #[getter]
    fn rotation(&self) -> u16 {
        self.rotation
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

/// A bounded queue of encoded frames: the oldest is dropped when it is full.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct FrameSink {
    inbox: Arc<Inbox<ReceivedFrame>>,
}

impl FrameSink {
    /// The end of the queue that packets are put in.
    pub(crate) fn entry(&self, notifier: Arc<Notifier>) -> Box<dyn PacketSink> {
        let inbox = Arc::clone(&self.inbox);
        Box::new(FrameReader::new(move |frame| {
            notifier.deliver(&inbox, [frame]);
        }))
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
        let frame = |it: ReceivedFrame| Frame {
            data: PyBytes::new(py, &it.frame.data).unbind(),
            codec: it.frame.codec.name(),
            timestamp: it.frame.timestamp,
            wall_us: it.wall,
            rotation: it.rotation,
            key: it.frame.key,
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
