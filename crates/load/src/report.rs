//! JSON lines on standard output, and the newlines on standard input by which an orchestrator lets a run go on.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use mio::Waker;
use serde_json::{Map, Value};

use crate::Result;

/// Prints an event with what else is to be said of it.
pub(crate) fn event(name: &str, more: Map<String, Value>) -> Result<()> {
    let mut line = Map::new();
    line.insert("event".into(), name.into());
    line.extend(more);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", Value::Object(line))?;
    out.flush()?;
    Ok(())
}

/// Lines of standard input, read on a thread of their own.
pub(crate) struct Lines(Receiver<()>);

impl Lines {
    /// Wakes the loop for each line and at the end.
    pub(crate) fn listen(waker: Arc<Waker>) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                if line.is_err() || sender.send(()).is_err() || waker.wake().is_err() {
                    return;
                }
            }
            drop(sender);
            let _ = waker.wake();
        });
        Self(receiver)
    }

    /// Takes a line, if one came; an error once there can be none.
    pub(crate) fn take(&self) -> Result<bool> {
        match self.0.try_recv() {
            Ok(()) => Ok(true),
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => {
                Err("standard input ended while a newline was waited for".into())
            }
        }
    }
}
