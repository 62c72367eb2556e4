//! Log lines of the Rust side go to Python's logging, whoever made them and whatever loops run.
//!
//! They are queued, bounded, by threads that must not wait; a thread of Python's writes what is queued, and ends when
//! there is nothing left. See `roomful/media_log.py`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

use crate::interpreter;

/// Lines passed on in a second, and that may wait to be written; the others are counted and dropped.
const LINES_PER_SECOND: u32 = 100;
const LINES_WAITING: usize = 1_000;
const MESSAGE_LIMIT: usize = 500;

static LOGGER: LazyLock<Queue> = LazyLock::new(|| {
    Queue(Mutex::new(State {
        lines: VecDeque::new(),
        writing: false,
        second: Instant::now(),
        count: 0,
        dropped: 0,
    }))
});

/// Level, file, number of the line in it, module and message.
type Line = (u8, &'static str, u32, String, String);

struct Queue(Mutex<State>);

struct State {
    lines: VecDeque<Line>,
    /// A thread writes, or is about to.
    writing: bool,
    second: Instant,
    count: u32,
    dropped: u32,
}

impl State {
    fn add(&mut self, mut line: Line) {
        if self.second.elapsed() >= Duration::from_secs(1) {
            (self.second, self.count) = (Instant::now(), 0);
        }
        self.count += 1;
        if self.count > LINES_PER_SECOND || self.lines.len() >= LINES_WAITING {
            self.dropped += 1;
            return;
        }
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            line.4
                .push_str(&format!(" ({dropped} log lines dropped before)"));
        }
        self.lines.push_back(line);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody writes: the next line has somebody begin.
    fn not_written(&self) {
        self.lock().writing = false;
    }
}

thread_local! {
    /// The queue, while this thread forks: a copy that another thread held would be held for ever.
    static FORKING: RefCell<Option<MutexGuard<'static, State>>> = const { RefCell::new(None) };
}

#[pyfunction]
fn before_fork() {
    FORKING.set(Some(LOGGER.lock()));
}

#[pyfunction]
fn forked_in_parent() {
    FORKING.take();
}

#[pyfunction]
fn forked_in_child() {
    interpreter::forked();
    if let Some(mut state) = FORKING.take() {
        // The parent writes them.
        state.lines.clear();
        state.writing = false;
    }
}

/// From here on lines are queued.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    // Fails when another logger is installed, by an earlier call or by the host: both are fine.
    if log::set_logger(&*LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    if cfg!(unix) {
        interpreter::around_forks(
            wrap_pyfunction!(before_fork, py)?.into_any(),
            wrap_pyfunction!(forked_in_parent, py)?.into_any(),
            wrap_pyfunction!(forked_in_child, py)?.into_any(),
        )?;
    }
    Ok(())
}

/// What waits to be written. Who gets nothing is to end: somebody else is called for the next line.
#[pyfunction]
pub(crate) fn take_log_lines() -> Vec<Line> {
    let mut state = LOGGER.lock();
    state.writing = !state.lines.is_empty();
    state.lines.drain(..).collect()
}

/// Calls for somebody to write, from a thread of its own: a line is no reason to wait for the interpreter.
fn call_writer() {
    let call = || {
        let begun = interpreter::enter(|py| {
            let writer = py.import("roomful.media_log")?;
            writer.call_method0("start").map(drop)
        });
        // The interpreter ends.
        if !matches!(begun, Some(Ok(()))) {
            LOGGER.not_written();
        }
    };
    let thread = std::thread::Builder::new().name("roomful-log".into());
    if thread.spawn(call).is_err() {
        LOGGER.not_written();
    }
}

/// As Python's logging counts.
fn number(level: Level) -> u8 {
    match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug | Level::Trace => 10,
    }
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Dependencies speak of single packets at info level.
        let limit = if metadata.target().starts_with("roomful") {
            LevelFilter::Info
        } else {
            LevelFilter::Warn
        };
        metadata.level() <= limit
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut message = record.args().to_string();
        if message.len() > MESSAGE_LIMIT {
            message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
        }
        let line = (
            number(record.level()),
            record.file_static().unwrap_or_default(),
            record.line().unwrap_or_default(),
            record.target().to_owned(),
            message,
        );
        let mut state = self.lock();
        state.add(line);
        let begin = !std::mem::replace(&mut state.writing, true);
        drop(state);
        if begin {
            call_writer();
        }
    }

    fn flush(&self) {}
}
