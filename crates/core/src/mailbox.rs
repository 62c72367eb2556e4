//! Objects of Python between its threads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// Long enough for a thread that waits for the interpreter to wake up.
const BREAK: Duration = Duration::from_micros(200);

/// A place for one object. A newer one takes its place.
#[pyclass(frozen, module = "roomful._core")]
#[derive(Default)]
pub(crate) struct Mailbox {
    content: Mutex<Content>,
    changed: Condvar,
}

#[derive(Default)]
struct Content {
    item: Option<Py<PyAny>>,
    closed: bool,
}

impl Content {
    fn is_empty(&self) -> bool {
        self.item.is_none() && !self.closed
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until there is something, or no longer.
    fn wait(&self, timeout: Option<Duration>) -> Option<Py<PyAny>> {
        let content = self.lock();
        let mut content = match timeout {
            Some(timeout) => {
                let waiting = self
                    .changed
                    .wait_timeout_while(content, timeout, |it| it.is_empty());
                waiting.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waiting = self.changed.wait_while(content, |it| it.is_empty());
                waiting.unwrap_or_else(PoisonError::into_inner)
            }
        };
        content.item.take()
    }
}

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Whether there was one that nobody took.
    fn put(&self, item: Py<PyAny>) -> bool {
        // What happens when the older one is freed is Python's.
        let older = self.lock().item.replace(item);
        self.changed.notify_one();
        older.is_some()
    }

    /// Waits for an object, for so many seconds at most; None after that, and when the box is closed. With it the
    /// seconds that the interpreter was then waited for: others who want it get it, even if there is no waiting.
    fn take(&self, py: Python<'_>, timeout: Option<f64>) -> (Option<Py<PyAny>>, f64) {
        let timeout = timeout.map(|it| Duration::try_from_secs_f64(it).unwrap_or_default());
        let (item, came) = py.detach(|| {
            let began = Instant::now();
            let item = self.wait(timeout);
            thread::sleep(BREAK.saturating_sub(began.elapsed()));
            (item, Instant::now())
        });
        (item, came.elapsed().as_secs_f64())
    }

    /// Ends the waiting.
    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}
