//! Sound between Python and tracks: queues of samples to be sent, and sinks for those that are heard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use roomful_audio::playout::Listener;
use roomful_audio::source::Queue;
use roomful_media::io::clients::{Inbox, Notifier};

use crate::audio::{in_range, samples};
use crate::frames::waker;

/// Of what is heard, no frame is longer.
const MAX_FRAME_MS: u64 = 60_000;

/// Samples to be sent by a published track. It drains by the clock, whether somebody sends from it or not.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct AudioQueue(pub(crate) Arc<Queue>);

#[pymethods]
impl AudioQueue {
    #[new]
    fn new(
        #[pyo3(from_py_with = in_range)] sample_rate: u32,
        #[pyo3(from_py_with = in_range)] channels: usize,
        #[pyo3(from_py_with = in_range)] capacity_ms: u64,
    ) -> PyResult<Self> {
        if sample_rate == 0 || channels == 0 {
            return Err(PyValueError::new_err("no rate or no channels"));
        }
        let capacity = Duration::from_millis(capacity_ms);
        Ok(Self(Queue::new(sample_rate, channels, capacity)))
    }

    /// Queues samples; seconds to wait before trying again when they do not fit, else 0.
    fn push(&self, py: Python<'_>, data: PyBuffer<u8>) -> PyResult<f64> {
        let samples = samples(py, &data)?;
        Ok(py.detach(|| {
            let taken = self.0.push(Instant::now(), &samples);
            taken.map_or_else(|wait| wait.as_secs_f64(), |()| 0.0)
        }))
    }

    /// Seconds of what waits.
    #[getter]
    fn queued(&self, py: Python<'_>) -> f64 {
        py.detach(|| self.0.queued(Instant::now()).as_secs_f64())
    }

    fn clear(&self, py: Python<'_>) {
        py.detach(|| self.0.clear());
    }
}

/// A bounded queue of frames of samples that were heard: the oldest is dropped when it is full.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct AudioSink {
    inbox: Arc<Inbox<Vec<i16>>>,
    format: (u32, usize, Duration),
}

impl AudioSink {
    /// Somebody who listens for it, the same for the same sink.
    pub(crate) fn listener(&self, notifier: Arc<Notifier>) -> PyResult<Arc<Listener>> {
        let (rate, channels, frame) = self.format;
        let inbox = Arc::clone(&self.inbox);
        let take = move |frame| notifier.deliver(&inbox, [frame]);
        Listener::new(rate, channels, frame, take)
            .map(Arc::new)
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Tells sinks apart.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.inbox) as usize
    }
}

#[pymethods]
impl AudioSink {
    #[new]
    #[pyo3(signature = (wake, sample_rate, channels, capacity, frame_ms = 10))]
    fn new(
        wake: Py<PyAny>,
        #[pyo3(from_py_with = in_range)] sample_rate: u32,
        #[pyo3(from_py_with = in_range)] channels: usize,
        #[pyo3(from_py_with = in_range)] capacity: usize,
        #[pyo3(from_py_with = in_range)] frame_ms: u64,
    ) -> PyResult<Self> {
        if frame_ms > MAX_FRAME_MS {
            let error = format!("a frame of {frame_ms} ms is longer than {MAX_FRAME_MS}");
            return Err(PyValueError::new_err(error));
        }
        let frame = Duration::from_millis(frame_ms.max(1));
        // A format that cannot be had is refused here, not when it is heard.
        Listener::new(sample_rate, channels, frame, |_| ())
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self {
            inbox: Arc::new(Inbox::new(capacity.max(1), waker(wake))),
            format: (sample_rate, channels, frame),
        })
    }

    /// Frames of native 16-bit samples, interleaved.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let bytes = |frame: Vec<i16>| {
            PyBytes::new_with(py, frame.len() * 2, |bytes| {
                let pairs = bytes.as_chunks_mut::<2>().0.iter_mut();
                for (pair, sample) in pairs.zip(&frame) {
                    *pair = sample.to_ne_bytes();
                }
                Ok(())
            })
        };
        self.inbox.take().into_iter().map(bytes).collect()
    }

    fn close(&self) {
        self.inbox.close();
    }
}
