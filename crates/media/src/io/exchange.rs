//! The way between a media plane and clients of the same process: queues instead of a network.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};

use super::bell::Bell;
use crate::outbox::Datagrams;
use crate::plain::Plain;
use crate::transport::memory::{
    client_address, client_number, goodbye, worker_address, worker_index,
};
use crate::transport::{FiveTuple, Protocol, demux};

/// Batches of RTP, and frames, that may wait for a thread; above it they are lost, as in a network. What else waits is
/// bounded by its senders.
const MOST_MEDIA: usize = 2_048;

/// Packets on the way, as the end that gets them sees their path.
pub(super) struct Parcel {
    pub(super) tuple: FiveTuple,
    pub(super) contents: Contents,
}

pub(super) enum Contents {
    /// Each of that size; only the last may be shorter. All RTP and RTCP, or none.
    Packets(Vec<u8>, usize),
    Plain(Plain),
}

impl Parcel {
    fn is_media(&self) -> bool {
        match &self.contents {
            Contents::Packets(packets, _) => demux::is_media(packets),
            Contents::Plain(plain) => plain.is_frame(),
        }
    }
}

/// The way to a thread.
#[derive(Clone)]
pub(super) struct Postbox {
    queue: Sender<Parcel>,
    media: Arc<AtomicUsize>,
    bell: Bell,
}

/// What came for a thread.
pub(super) struct Mail {
    queue: Receiver<Parcel>,
    media: Arc<AtomicUsize>,
}

impl Postbox {
    pub(super) fn new(bell: &Bell) -> (Self, Mail) {
        let (sender, receiver) = channel();
        let media = Arc::<AtomicUsize>::default();
        let mail = Mail {
            queue: receiver,
            media: Arc::clone(&media),
        };
        let bell = bell.clone();
        let postbox = Self {
            queue: sender,
            media,
            bell,
        };
        (postbox, mail)
    }

    fn put(&self, parcel: Parcel) {
        if parcel.is_media() && self.media.fetch_add(1, Ordering::AcqRel) >= MOST_MEDIA {
            self.media.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        // Fails when the thread has ended.
        if self.queue.send(parcel).is_ok() {
            self.bell.ring();
        }
    }
}

impl Mail {
    pub(super) fn take(&self) -> Option<Parcel> {
        let parcel = self.queue.try_recv().ok()?;
        if parcel.is_media() {
            self.media.fetch_sub(1, Ordering::AcqRel);
        }
        Some(parcel)
    }
}

/// Where a plane's workers and the clients of this process find each other.
#[derive(Default)]
pub struct Exchange {
    workers: RwLock<Vec<Postbox>>,
    clients: RwLock<HashMap<u64, Postbox>>,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    /// These take part, in the order of their numbers; none when the plane has ended.
    pub(super) fn set_workers(&self, workers: Vec<Postbox>) {
        *self.workers.write().unwrap_or_else(PoisonError::into_inner) = workers;
    }

    /// The connections with these numbers are of the thread that has the mail.
    pub(super) fn enter(self: &Arc<Self>, numbers: [u64; 2], postbox: &Postbox) -> Seat {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        for number in numbers {
            clients.insert(number, postbox.clone());
        }
        Seat {
            exchange: Arc::clone(self),
            numbers,
        }
    }

    /// A worker's thread has ended, for whatever reason.
    pub(super) fn worker_gone(&self, index: u16) {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        for (number, postbox) in &*clients {
            let tuple = FiveTuple {
                protocol: Protocol::Memory,
                local: client_address(*number),
                remote: worker_address(Some(index)),
            };
            let contents = Contents::one(goodbye());
            postbox.put(Parcel { tuple, contents });
        }
    }

    /// What a client's connection sends.
    pub(super) fn send_to_plane(&self, tuple: FiveTuple, contents: impl Fn() -> Contents) {
        let workers = self.workers.read().unwrap_or_else(PoisonError::into_inner);
        let only = worker_index(tuple.remote);
        for (index, postbox) in (0..).zip(workers.iter()) {
            if only.is_none_or(|only| only == index) {
                let tuple = FiveTuple {
                    protocol: Protocol::Memory,
                    local: worker_address(Some(index)),
                    remote: tuple.local,
                };
                let contents = contents();
                postbox.put(Parcel { tuple, contents });
            }
        }
    }

    /// What the plane sends to a client.
    pub(super) fn send_to_client(&self, tuple: FiveTuple, contents: Contents) {
        let FiveTuple { local, remote, .. } = tuple;
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(postbox) = client_number(remote).and_then(|number| clients.get(&number)) {
            let tuple = FiveTuple {
                protocol: Protocol::Memory,
                local: remote,
                remote: local,
            };
            postbox.put(Parcel { tuple, contents });
        }
    }
}

/// A client's place at the exchange. Whoever gives it up, or is ended with it, says goodbye thereby.
pub(super) struct Seat {
    exchange: Arc<Exchange>,
    numbers: [u64; 2],
}

impl Seat {
    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let exchange = &self.exchange;
        let clients = exchange.clients.write();
        let mut clients = clients.unwrap_or_else(PoisonError::into_inner);
        for number in &self.numbers {
            clients.remove(number);
        }
        drop(clients);
        for number in self.numbers {
            let tuple = FiveTuple {
                protocol: Protocol::Memory,
                local: client_address(number),
                remote: worker_address(None),
            };
            exchange.send_to_plane(tuple, || Contents::one(goodbye()));
        }
    }
}

impl Contents {
    fn one(packet: Vec<u8>) -> Self {
        let size = packet.len().max(1);
        Self::Packets(packet, size)
    }
}

impl From<&Datagrams<'_>> for Contents {
    fn from(datagrams: &Datagrams<'_>) -> Self {
        Self::Packets(datagrams.contents.to_vec(), datagrams.segment.max(1))
    }
}

#[cfg(test)]
mod tests {
    use mio::Poll;

    use super::*;
    use crate::outbox::Outbox;
    use crate::transport::memory::client_address;

    #[test]
    fn where_media_is_lost_messages_arrive() {
        const RTP: [u8; 12] = [0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        const MESSAGE: [u8; 8] = [22; 8];
        let poll = Poll::new().unwrap();
        let (postbox, mail) = Postbox::new(&Bell::new(&poll).unwrap());
        let exchange = Arc::<Exchange>::default();
        let _seat = exchange.enter([7, 8], &postbox);
        let tuple = FiveTuple {
            protocol: Protocol::Memory,
            local: worker_address(Some(0)),
            remote: client_address(7),
        };
        let mut outbox = Outbox::default();
        for _ in 0..3_000 {
            outbox.push(tuple, &RTP);
            outbox.push(tuple, &MESSAGE);
            outbox.drain(|it| exchange.send_to_client(tuple, Contents::from(&it)));
        }
        let (mut media, mut messages) = (0, 0);
        while let Some(parcel) = mail.take() {
            match &parcel.contents {
                Contents::Packets(packets, 8) => messages += packets.len() / 8,
                _ => media += 1,
            }
        }
        assert_eq!((media, messages), (MOST_MEDIA, 3_000));
        // Whoever catches up is sent media again.
        outbox.push(tuple, &RTP);
        outbox.drain(|it| exchange.send_to_client(tuple, Contents::from(&it)));
        assert!(mail.take().is_some_and(|it| it.is_media()));
    }

    #[test]
    fn an_end_that_vanishes_has_said_goodbye() {
        let postbox = || Postbox::new(&Bell::new(&Poll::new().unwrap()).unwrap());
        let goodbyes = |mail: &Mail| {
            let taken = std::iter::from_fn(|| mail.take());
            let goodbye = |it: Parcel| match it.contents {
                Contents::Packets(packets, _) if packets == goodbye() => {
                    (it.tuple.local, it.tuple.remote)
                }
                _ => panic!("no goodbye"),
            };
            taken.map(goodbye).collect::<Vec<_>>()
        };
        let (workers, of_workers): (Vec<_>, Vec<_>) = (0..2).map(|_| postbox()).unzip();
        let exchange = Arc::<Exchange>::default();
        exchange.set_workers(workers);
        let (client, of_client) = postbox();
        let seat = exchange.enter([6, 7], &client);
        exchange.worker_gone(1);
        let mut heard = goodbyes(&of_client);
        heard.sort();
        let gone = worker_address(Some(1));
        assert_eq!(heard, [6, 7].map(|it| (client_address(it), gone)));
        drop(seat);
        for (index, mail) in (0..).zip(&of_workers) {
            let worker = worker_address(Some(index));
            assert_eq!(
                goodbyes(mail),
                [6, 7].map(|it| (worker, client_address(it)))
            );
        }
        exchange.worker_gone(0);
        assert_eq!(goodbyes(&of_client), []);
    }
}
