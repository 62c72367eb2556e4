//! Asks the system for the addresses of servers, which may take seconds: on one thread a process, which is there while
//! somebody asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lines::{Found, Url, resolve};

type Answer = Box<dyn FnOnce(Found) + Send>;

#[derive(Default)]
pub(super) struct Resolver(Mutex<Asked>);

#[derive(Default)]
struct Asked {
    /// By client: the last question counts.
    waiting: BTreeMap<u64, (Vec<Url>, Answer)>,
    running: bool,
}

impl Resolver {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ask(self: &Arc<Self>, client: u64, urls: Vec<Url>, answer: Answer) {
        let mut asked = self.lock();
        asked.waiting.insert(client, (urls, answer));
        if asked.running {
            return;
        }
        let thread = std::thread::Builder::new().name("roomful-rtc-dns".into());
        let this = Arc::clone(self);
        match thread.spawn(move || this.run()) {
            Ok(_) => asked.running = true,
            Err(error) => log::warn!("cannot ask for the addresses of ICE servers: {error}"),
        }
    }

    fn next(&self) -> Option<(Vec<Url>, Answer)> {
        let mut asked = self.lock();
        let next = asked.waiting.pop_first();
        asked.running = next.is_some();
        next.map(|(_, question)| question)
    }

    fn run(&self) {
        while let Some((urls, answer)) = self.next() {
            let found = resolve(&urls);
            if !found.is_empty() {
                answer(found);
            }
        }
    }
}
