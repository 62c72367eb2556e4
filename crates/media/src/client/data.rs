//! Data channels: ours on the publisher connection, and the server's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;

use super::{Client, ClientEvent};
use crate::api::Target;
use crate::data::Channel;
use crate::statistics::Traffic;

/// The channels that a client opens.
pub(super) const OWN: [Channel; 3] = [Channel::Reliable, Channel::Lossy, Channel::DataTrack];

/// Bytes that may wait in a channel, and at which there is room again.
fn bounds(channel: Channel) -> (u64, u64) {
    match channel {
        Channel::Reliable => (2 << 20, 1 << 20),
        // What is not sent again is of no use when it is late.
        _ => (64 << 10, 16 << 10),
    }
}

/// What waits in a channel, as those see it who write to it from other threads.
#[derive(Debug)]
pub struct Backlog {
    channel: Channel,
    /// Bytes that were let in, and that left, since the beginning.
    taken: AtomicU64,
    left: AtomicU64,
    /// Somebody was refused.
    refused: AtomicBool,
}

impl Backlog {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            taken: AtomicU64::new(0),
            left: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        }
    }

    /// Bytes that wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let left = self.left.load(Ordering::Acquire);
        self.taken.load(Ordering::Acquire).saturating_sub(left)
    }

    /// Makes room for a message that [`Client::send_data`] then gets; `false` when there is none:
    /// [`ClientEvent::BufferLow`] follows. One message always finds room in an empty channel.
    pub fn reserve(&self, bytes: usize) -> bool {
        let full = || {
            let waiting = self.waiting();
            waiting > 0 && waiting + bytes as u64 > bounds(self.channel).0
        };
        if full() {
            self.refused.store(true, Ordering::SeqCst);
            // What drained before that was seen is told by nobody.
            if full() || !self.refused.swap(false, Ordering::SeqCst) {
                return false;
            }
        }
        self.taken.fetch_add(bytes as u64, Ordering::AcqRel);
        true
    }
}

/// One of our channels.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) backlog: Arc<Backlog>,
    /// Bytes given to the transport so far.
    given: u64,
}

impl Outlet {
    pub(super) fn all() -> [Self; 3] {
        OWN.map(|channel| Self {
            backlog: Arc::new(Backlog::new(channel)),
            given: 0,
        })
    }
}

impl Client {
    /// Opens the channels on the publisher connection; before its first offer.
    pub fn open_channels(&mut self, now: Instant) {
        let Some(connection) = self.connection(Target::Publisher) else {
            return;
        };
        connection.negotiator.add_data();
        for channel in OWN {
            match connection.transport.open_channel(now, channel.spec()) {
                Ok(id) => {
                    let fresh = (channel, Traffic::default(), Traffic::default());
                    connection.channels.insert(id, fresh);
                }
                Err(error) => log::warn!("cannot open a data channel: {error}"),
            }
        }
    }

    /// What waits in one of our channels; `None` for those that we do not open.
    #[must_use]
    pub fn backlog(&self, channel: Channel) -> Option<Arc<Backlog>> {
        let at = OWN.iter().position(|own| *own == channel)?;
        let outlet = self.outlets.get(at)?;
        Some(Arc::clone(&outlet.backlog))
    }

    /// Sends a message that [`Backlog::reserve`] made room for.
    pub fn send_data(&mut self, now: Instant, channel: Channel, data: Bytes) {
        let outlet = OWN
            .iter()
            .position(|own| *own == channel)
            .and_then(|at| self.outlets.get_mut(at));
        let (Some(outlet), Some(connection)) = (outlet, self.connections.first_mut()) else {
            return;
        };
        outlet.given += data.len() as u64;
        let sent = match connection.channel(channel) {
            Some(id) => {
                if let Some((_, sent, _)) = connection.channels.get_mut(&id) {
                    sent.add(now, 1, data.len() as u64);
                }
                connection
                    .transport
                    .send_data(now, id, data, true)
                    .map_err(|error| error.to_string())
            }
            None => Err("it was not opened".into()),
        };
        if let Err(error) = sent {
            log::debug!("message for {} dropped: {error}", channel.label());
        }
    }

    /// Has [`ClientEvent::Flushed`] follow when the server has acknowledged all messages.
    pub fn flush(&mut self) {
        self.flushes += 1;
    }

    pub(super) fn tell_flushed(&mut self) {
        if self.flushes == 0 {
            return;
        }
        let on_its_way = self.connections.first_mut().is_some_and(|connection| {
            let own = OWN.into_iter().filter_map(|it| connection.channel(it));
            let own: Vec<_> = own.collect();
            own.into_iter()
                .any(|id| connection.transport.undelivered(id) > 0)
        });
        if !on_its_way {
            let flushes = std::mem::take(&mut self.flushes);
            let flushed = std::iter::repeat_n(ClientEvent::Flushed, flushes);
            self.events.extend(flushed);
        }
    }

    /// Whoever was refused learns that there is room again.
    pub(super) fn tell_room(&mut self) {
        let Some(connection) = self.connections.first() else {
            return;
        };
        for (channel, outlet) in OWN.into_iter().zip(&self.outlets) {
            let buffered = connection
                .channel(channel)
                .map_or(0, |id| connection.transport.buffered(id));
            let left = outlet.given.saturating_sub(buffered as u64);
            let backlog = &outlet.backlog;
            backlog.left.store(left, Ordering::Release);
            if backlog.refused.load(Ordering::Acquire)
                && backlog.waiting() <= bounds(channel).1
                && backlog.refused.swap(false, Ordering::AcqRel)
            {
                self.events.push_back(ClientEvent::BufferLow(channel));
            }
        }
    }
}
