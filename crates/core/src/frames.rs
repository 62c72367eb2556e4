//! Encoded frames on their way to Python.

use std::collections::VecDeque;
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

/// A bounded queue of encoded frames. When it is full, what lies before the newest key frame is dropped; without
/// one everything, and a key frame is asked for.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct FrameSink {
    inbox: Arc<Inbox<ReceivedFrame>>,
}

impl FrameSink {
    /// The end of the queue that packets are put in.
    pub(crate) fn entry(&self, notifier: Arc<Notifier>) -> Box<dyn PacketSink> {
        let inbox = Arc::clone(&self.inbox);
        let capacity = inbox.capacity();
        let mut starved = false;
        Box::new(FrameReader::new(move |frame| {
            notifier.change(&inbox, |queue| {
                starved = !enqueue(queue, capacity, starved, frame)
            });
            !starved
        }))
    }

    /// Tells sinks apart.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.inbox) as usize
    }
}

/// Whether decoding can go on after it.
fn enqueue(
    queue: &mut VecDeque<ReceivedFrame>,
    capacity: usize,
    starved: bool,
    frame: ReceivedFrame,
) -> bool {
    let key = frame.frame.key;
    if starved && !key {
        return false;
    }
    if queue.len() >= capacity {
        let newest = queue.iter().rposition(|it| it.frame.key);
        match newest.filter(|at| *at > 0 && !key) {
            Some(at) => drop(queue.drain(..at)),
            None => queue.clear(),
        }
        if queue.is_empty() && !key {
            return false;
        }
    }
    queue.push_back(frame);
    true
}

type Taken<'py> = (Bound<'py, PyBytes>, u64, bool, &'static str, u16);

#[pymethods]
impl FrameSink {
    #[new]
    fn new(wake: Py<PyAny>, capacity: usize) -> Self {
        let inbox = Inbox::new(capacity.max(1), waker(wake));
        Self {
            inbox: Arc::new(inbox),
        }
    }

    /// (frame, RTP time without wraps, whether it is a key frame, codec, clockwise degrees that it is to be
    /// turned by) of each.
    fn take<'py>(&self, py: Python<'py>) -> Vec<Taken<'py>> {
        let frames = self.inbox.take().into_iter();
        frames
            .map(|it| {
                let data = PyBytes::new(py, &it.frame.data);
                let codec = it.frame.codec.name();
                (data, it.timestamp, it.frame.key, codec, it.rotation)
            })
            .collect()
    }

    fn close(&self) {
        self.inbox.close();
    }
}
