//! How threads that sleep in a poll are handed things: bounded queues with a wake-up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mio::{Poll, Token, Waker};

/// The token of wake-ups.
pub(super) const WAKE: Token = Token(usize::MAX);

/// Wakes a thread once until it has answered.
#[derive(Clone)]
pub(super) struct Bell {
    waker: Arc<Waker>,
    /// A wake-up is under way that the thread has not seen yet.
    rung: Arc<AtomicBool>,
}

impl Bell {
    /// Rings as [`WAKE`].
    pub(super) fn new(poll: &Poll) -> io::Result<Self> {
        Ok(Self {
            waker: Arc::new(Waker::new(poll.registry(), WAKE)?),
            rung: Arc::default(),
        })
    }

    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let _ = self.waker.wake();
        }
    }

    /// Before the queues are read: what is put into them from here on rings again.
    pub(super) fn answer(&self) {
        // With a plain store, what follows could be read before it.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

/// The way into a bounded queue. It may lose what is put in, as a network does, and never blocks.
pub(super) struct Mailbox<T> {
    queue: SyncSender<T>,
    bell: Bell,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            bell: self.bell.clone(),
        }
    }
}

impl<T> Mailbox<T> {
    pub(super) fn new(size: usize, bell: &Bell) -> (Self, Receiver<T>) {
        let (queue, receiver) = sync_channel(size);
        let bell = bell.clone();
        (Self { queue, bell }, receiver)
    }

    /// Dropped when the queue is full or its reader has ended.
    pub(super) fn put(&self, item: T) {
        if self.queue.try_send(item).is_ok() {
            self.bell.ring();
        }
    }
}
