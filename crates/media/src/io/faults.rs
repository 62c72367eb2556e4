//! What a panic may end: one turn of a thread's loop, not the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Turns that may fault one after the other before the thread gives up.
const IN_A_ROW: u32 = 16;

pub(super) struct Faults {
    /// Whose, for the log.
    thread: &'static str,
    in_a_row: u32,
}

impl Faults {
    pub(super) fn of(thread: &'static str) -> Self {
        Self {
            thread,
            in_a_row: 0,
        }
    }

    /// Runs a turn that says whether there shall be another; false also when each one faults.
    pub(super) fn guard(&mut self, turn: impl FnOnce() -> bool) -> bool {
        if let Ok(more) = catch_unwind(AssertUnwindSafe(turn)) {
            self.in_a_row = 0;
            return more;
        }
        self.in_a_row += 1;
        log::error!("a fault in the {} ended one turn of its loop", self.thread);
        if self.in_a_row >= IN_A_ROW {
            log::error!("the {} faults at every turn and stops", self.thread);
        }
        self.in_a_row < IN_A_ROW
    }
}
