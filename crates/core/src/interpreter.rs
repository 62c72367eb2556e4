//! Python, for threads that are not its own.
//!
//! CPython up to 3.13 unwinds a thread that wants the interpreter while that ends, which no Rust frame survives: the
//! process would abort. So none asks for it from then on, and those that have it are waited for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

// Atomics, as a lock might be held by another thread while the process forks.
static CLOSED: AtomicBool = AtomicBool::new(false);
static INSIDE: AtomicUsize = AtomicUsize::new(0);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Counts one who is inside.
struct Visit;

impl Visit {
    fn begin() -> Self {
        INSIDE.fetch_add(1, SeqCst);
        Self
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, SeqCst);
    }
}

/// Does something in the interpreter, from a thread of ours; None when it ends.
pub(crate) fn enter<R>(act: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    let _visit = Visit::begin();
    if CLOSED.load(SeqCst) {
        return None;
    }
    Python::try_attach(act)
}

/// Nobody is inside any more, nor will be.
#[pyfunction]
fn close(py: Python<'_>) {
    CLOSED.store(true, SeqCst);
    py.detach(|| {
        while INSIDE.load(SeqCst) > 0 {
            thread::sleep(LOOK_AGAIN);
        }
    });
}

/// Who was inside in the parent is not here.
pub(crate) fn forked() {
    INSIDE.store(0, SeqCst);
}

/// Has the interpreter tell of its end.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let close = wrap_pyfunction!(close, py)?;
    py.import("atexit")?.call_method1("register", (close,))?;
    Ok(())
}

/// Has the interpreter call these around a fork, in the thread that forks.
pub(crate) fn around_forks(
    before: Bound<'_, PyAny>,
    in_parent: Bound<'_, PyAny>,
    in_child: Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = before.py();
    let calls = PyDict::new(py);
    calls.set_item("before", before)?;
    calls.set_item("after_in_parent", in_parent)?;
    calls.set_item("after_in_child", in_child)?;
    py.import("os")?
        .call_method("register_at_fork", (), Some(&calls))?;
    Ok(())
}
