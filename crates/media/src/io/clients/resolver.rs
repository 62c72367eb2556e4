//! Asks the system for the addresses of servers, which may take seconds: on one thread a process, which is there while
//! somebody asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lines::{Found, Url};

type Answer = Box<dyn FnOnce(Found) + Send>;

pub(super) struct Resolver {
    asked: Mutex<Asked>,
    resolve: fn(&[Url]) -> Found,
}

#[derive(Default)]
struct Asked {
    /// By client: the last question counts.
    waiting: BTreeMap<u64, (Vec<Url>, Answer)>,
    /// Whose question is under way, as long as its answer is wanted.
    current: Option<u64>,
    running: bool,
}

impl Asked {
    fn forget(&mut self, client: u64) {
        self.waiting.remove(&client);
        self.current = self.current.filter(|it| *it != client);
    }
}

impl Resolver {
    pub(super) fn new(resolve: fn(&[Url]) -> Found) -> Self {
        Self {
            asked: Mutex::default(),
            resolve,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a client asked is not to be answered any more.
    pub(super) fn forget(&self, client: u64) {
        self.lock().forget(client);
    }

    /// In place of what the client asked before. Where there is nothing to ask for, the answer comes at once.
    pub(super) fn ask(self: &Arc<Self>, client: u64, urls: Vec<Url>, answer: Answer) {
        let mut asked = self.lock();
        asked.forget(client);
        if urls.is_empty() {
            return answer(Found::default());
        }
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

    fn next(&self) -> Option<(u64, Vec<Url>, Answer)> {
        let mut asked = self.lock();
        let next = asked.waiting.pop_first();
        asked.running = next.is_some();
        asked.current = next.as_ref().map(|(client, _)| *client);
        next.map(|(client, (urls, answer))| (client, urls, answer))
    }

    fn run(&self) {
        while let Some((client, urls, answer)) = self.next() {
            let found = (self.resolve)(&urls);
            // Locked, or it could overtake that of the next question.
            let mut asked = self.lock();
            if asked.current.take() == Some(client) {
                answer(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::super::lines::urls;
    use super::*;

    /// Held while names are not to be answered.
    static BUSY: Mutex<()> = Mutex::new(());

    fn slowly(urls: &[Url]) -> Found {
        let _free = BUSY.lock();
        super::super::lines::resolve(urls)
    }

    fn answer(to: &Sender<usize>) -> Answer {
        let to = to.clone();
        Box::new(move |found| to.send(found.turn.len()).unwrap())
    }

    #[test]
    fn only_the_last_question_of_a_client_is_answered_though_an_older_one_is_under_way() {
        let one = || urls(&[(vec!["turn:192.0.2.1".into()], String::new(), String::new())]);
        let resolver = Arc::new(Resolver::new(slowly));
        for last in [one(), Vec::new()] {
            let expected = last.len();
            let (old, olds) = channel();
            let (new, news) = channel();
            let busy = BUSY.lock().unwrap();
            resolver.ask(1, one(), answer(&old));
            resolver.ask(2, one(), answer(&new));
            resolver.ask(1, last, answer(&new));
            drop((busy, old, new));
            assert!(olds.recv().is_err());
            let answers: Vec<usize> = news.iter().collect();
            assert_eq!(answers.iter().sum::<usize>(), 1 + expected);
            assert_eq!(answers.len(), 2);
        }
    }

    #[test]
    fn a_client_that_is_gone_gets_no_answer() {
        let resolver = Arc::new(Resolver::new(slowly));
        let one = urls(&[(vec!["turn:192.0.2.1".into()], String::new(), String::new())]);
        let (gone, answers) = channel();
        let busy = BUSY.lock().unwrap();
        resolver.ask(1, one, answer(&gone));
        resolver.forget(1);
        drop((busy, gone));
        assert!(answers.recv().is_err());
    }
}
