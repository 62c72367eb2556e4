//! Log lines of the Rust side go to Python as events.
//!
//! The `log` facade has one logger a process, so a line goes to the oldest media plane or client still running.

use std::sync::{Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use roomful_media::api;
use roomful_media::client::ClientEvent;
use roomful_media::io::EventQueue;
use roomful_media::io::clients::{Inbox, Notifier};

/// Lines passed on in a second; the others are counted and dropped.
const LINES_PER_SECOND: u32 = 100;
const MESSAGE_LIMIT: usize = 500;

static LOGGER: OnceLock<EventLogger> = OnceLock::new();

/// Who may get log lines; keeps nobody alive.
pub(crate) enum Ear {
    Server(Weak<EventQueue>),
    Client(Weak<Inbox<ClientEvent>>, Weak<Notifier>),
}

impl Ear {
    fn is_open(&self) -> bool {
        match self {
            Self::Server(queue) => queue.upgrade().is_some_and(|queue| !queue.is_closed()),
            Self::Client(inbox, _) => inbox.upgrade().is_some_and(|inbox| !inbox.is_closed()),
        }
    }

    fn tell(&self, level: Level, target: String, message: String) {
        match self {
            Self::Server(queue) => {
                let event = api::Event::Log {
                    level,
                    target,
                    message,
                };
                if let Some(queue) = queue.upgrade() {
                    queue.push([event]);
                }
            }
            Self::Client(inbox, notifier) => {
                let event = ClientEvent::Log {
                    level,
                    target,
                    message,
                };
                if let (Some(inbox), Some(notifier)) = (inbox.upgrade(), notifier.upgrade()) {
                    notifier.deliver(&inbox, [event]);
                }
            }
        }
    }
}

struct EventLogger(Mutex<State>);

struct State {
    /// With the process that each is of: those of before a fork hear nothing.
    ears: Vec<(u32, Ear)>,
    second: Instant,
    lines: u32,
    dropped: u32,
}

/// Adds one to those that may get log lines.
pub(crate) fn attach(ear: Ear) {
    let logger = LOGGER.get_or_init(|| {
        EventLogger(Mutex::new(State {
            ears: Vec::new(),
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
    let process = std::process::id();
    state
        .ears
        .retain(|(of, ear)| *of == process && ear.is_open());
    state.ears.push((process, ear));
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
        let process = std::process::id();
        let mut ears = state.ears.iter();
        if let Some((_, ear)) = ears.find(|(of, ear)| *of == process && ear.is_open()) {
            ear.tell(record.level(), record.target().to_owned(), message);
        }
    }

    fn flush(&self) {}
}
