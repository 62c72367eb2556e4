//! Log lines of the Rust side go to Python's logging, whoever made them and whatever loops run.
//!
//! They are queued, bounded, by threads that must not wait; a thread of Python's writes what is queued, and ends when
//! there is nothing left. See `roomful/media_log.py`.

use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

/// Lines passed on in a second, and that may wait to be written; the others are counted and dropped.
const LINES_PER_SECOND: u32 = 100;
const LINES_WAITING: usize = 1_000;
const MESSAGE_LIMIT: usize = 500;
/// A lock that is held for longer than so many turns of others was held as the process forked, and stays so.
const TURNS: u32 = 10_000;

static LOGGER: LazyLock<Queue> = LazyLock::new(|| {
    Queue(Mutex::new(State {
        lines: VecDeque::new(),
        writing: None,
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
    /// The process in which a thread writes, or is about to: after a fork the child's is another.
    writing: Option<u32>,
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
    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        for _ in 0..TURNS {
            match self.0.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(state)) => return Some(state.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
        None
    }

    /// Nobody writes: the next line has somebody begin.
    fn not_written(&self) {
        if let Some(mut state) = self.lock() {
            state.writing = None;
        }
    }
}

/// From here on lines are queued.
pub(crate) fn install() {
    // Fails when another logger is installed, by an earlier call or by the host: both are fine.
    if log::set_logger(&*LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// What waits to be written. Who gets nothing is to end: somebody else is called for the next line.
#[pyfunction]
pub(crate) fn take_log_lines() -> Vec<Line> {
    let Some(mut state) = LOGGER.lock() else {
        return Vec::new();
    };
    if state.lines.is_empty() {
        state.writing = None;
    }
    state.lines.drain(..).collect()
}

/// Calls for somebody to write, from a thread of its own: a line is no reason to wait for the interpreter.
fn call_writer() {
    let call = || {
        let begun = Python::try_attach(|py| {
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
        let Some(mut state) = self.lock() else {
            return;
        };
        let process = std::process::id();
        let begin = state.writing != Some(process);
        if state.writing.is_some() && begin {
            // Of before a fork: the parent writes them.
            state.lines.clear();
        }
        state.add(line);
        state.writing = Some(process);
        drop(state);
        if begin {
            call_writer();
        }
    }

    fn flush(&self) {}
}
