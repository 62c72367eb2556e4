//! Log lines of the media plane go to the control plane's logger as events.
//!
//! The `log` facade has one logger a process, so a line goes to the oldest media plane still running.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record};
use roomful_media::api;
use roomful_media::io::EventQueue;

/// Lines passed on in a second; the others are counted and dropped.
const LINES_PER_SECOND: u32 = 100;
const MESSAGE_LIMIT: usize = 500;

static LOGGER: OnceLock<EventLogger> = OnceLock::new();

struct EventLogger(Mutex<State>);

struct State {
    queues: Vec<Weak<EventQueue>>,
    second: Instant,
    lines: u32,
    dropped: u32,
}

/// Adds a media plane to those that may get log lines.
pub(crate) fn attach(queue: &Arc<EventQueue>) {
    let logger = LOGGER.get_or_init(|| {
        EventLogger(Mutex::new(State {
            queues: Vec::new(),
            second: Instant::now(),
            lines: 0,
            dropped: 0,
        }))
    });
    // Fails when another logger is installed, by an earlier call or by the host: both are fine.
    if log::set_logger(logger).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    let mut state = logger.0.lock().unwrap_or_else(PoisonError::into_inner);
    state.queues.retain(|queue| queue.strong_count() > 0);
    state.queues.push(Arc::downgrade(queue));
}

impl Log for EventLogger {
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
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.second.elapsed() >= Duration::from_secs(1) {
            (state.second, state.lines) = (Instant::now(), 0);
            let dropped = std::mem::take(&mut state.dropped);
            if dropped > 0 {
                message.push_str(&format!(" ({dropped} log lines dropped before)"));
            }
        }
        state.lines += 1;
        if state.lines > LINES_PER_SECOND {
            state.dropped += 1;
            return;
        }
        let Some(queue) = state
            .queues
            .iter()
            .filter_map(Weak::upgrade)
            .find(|queue| !queue.is_closed())
        else {
            return;
        };
        drop(state);
        queue.push([api::Event::Log {
            level: record.level(),
            target: record.target().to_owned(),
            message,
        }]);
    }

    fn flush(&self) {}
}
