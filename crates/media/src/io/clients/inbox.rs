//! The way of what a client has to tell to its owners, who are woken once a batch.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Wake = Box<dyn Fn() + Send + Sync>;

/// A queue that wakes its reader once until it is taken.
pub struct Inbox<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    wake: Wake,
}

struct State<T> {
    items: VecDeque<T>,
    /// The reader was woken, or will be, and has not taken the items yet.
    notified: bool,
    closed: bool,
}

impl<T> Inbox<T> {
    /// `wake` is called from a thread of its own. Above `capacity` the oldest items are dropped.
    pub fn new(capacity: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                notified: false,
                closed: false,
            }),
            capacity,
            wake: Box::new(wake),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic while pushing to a queue leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the reader is to be woken for these.
    fn push(&self, items: impl IntoIterator<Item = T>) -> bool {
        let capacity = self.capacity;
        self.change(|queue| {
            for item in items {
                if queue.len() >= capacity {
                    queue.pop_front();
                }
                queue.push_back(item);
            }
        })
    }

    /// Whether the reader is to be woken after a change of what is queued.
    fn change(&self, change: impl FnOnce(&mut VecDeque<T>)) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        change(&mut state.items);
        !state.items.is_empty() && !std::mem::replace(&mut state.notified, true)
    }

    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Everything that came, in order.
    pub fn take(&self) -> VecDeque<T> {
        let mut state = self.lock();
        state.notified = false;
        std::mem::take(&mut state.items)
    }

    /// Whether nothing follows.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// What is there can still be taken; nothing follows.
    pub fn close(&self) {
        self.lock().closed = true;
    }
}

/// Somebody who can be woken.
trait Reader: Send + Sync {
    fn wake(&self);
}

impl<T: Send> Reader for Inbox<T> {
    fn wake(&self) {
        if !self.lock().closed {
            (self.wake)();
        }
    }
}

/// Wakes readers, from a thread of its own: foreign code is never called from the clients' thread.
#[derive(Default)]
pub struct Notifier {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    readers: Vec<Arc<dyn Reader>>,
    closed: bool,
}

impl Notifier {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts items into a queue and has its reader woken.
    pub fn deliver<T: Send + 'static>(
        &self,
        inbox: &Arc<Inbox<T>>,
        items: impl IntoIterator<Item = T>,
    ) {
        if inbox.push(items) {
            self.wake(inbox);
        }
    }

    /// Changes what is queued, whatever the capacity, and has its reader woken.
    pub fn change<T: Send + 'static>(
        &self,
        inbox: &Arc<Inbox<T>>,
        change: impl FnOnce(&mut VecDeque<T>),
    ) {
        if inbox.change(change) {
            self.wake(inbox);
        }
    }

    fn wake<T: Send + 'static>(&self, inbox: &Arc<Inbox<T>>) {
        let reader: Arc<dyn Reader> = Arc::<Inbox<T>>::clone(inbox);
        self.lock().readers.push(reader);
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The thread's body: wakes until closed.
    pub(super) fn run(&self) {
        let mut waiting = self.lock();
        while !waiting.closed {
            let readers = std::mem::take(&mut waiting.readers);
            if readers.is_empty() {
                waiting = self
                    .changed
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(waiting);
            readers.iter().for_each(|reader| reader.wake());
            drop(readers);
            waiting = self.lock();
        }
    }
}
