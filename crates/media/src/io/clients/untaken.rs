//! What a client tells and its program has not taken yet: it must not grow for as long as that does nothing.

use std::collections::VecDeque;

use crate::client::ClientEvent;
use crate::data::Channel;

/// Bytes from which on messages are dropped that may be lost anyway.
const MAY_WAIT: usize = 16 << 20;
/// Bytes that end the client. Its program has missed too much, and begins anew.
const MUST_FIT: usize = 256 << 20;
/// Bytes of an event beside its message.
const OVERHEAD: usize = 256;

#[derive(Default)]
pub(super) struct Untaken {
    bytes: usize,
}

impl Untaken {
    /// Queues events. `false` when the client has ended by them.
    pub(super) fn add(
        &mut self,
        queue: &mut VecDeque<ClientEvent>,
        events: impl Iterator<Item = ClientEvent>,
    ) -> bool {
        if queue.is_empty() {
            // All is taken at once.
            self.bytes = 0;
        }
        for event in events {
            let size = match &event {
                ClientEvent::Data { data, .. } => data.len(),
                _ => 0,
            };
            let after = self.bytes.saturating_add(size + OVERHEAD);
            if after > MUST_FIT {
                let detail = "the program does not take what comes".into();
                queue.push_back(ClientEvent::Fault { detail });
                return false;
            }
            let may_be_lost = match &event {
                ClientEvent::Data { channel, .. } => *channel != Channel::Reliable,
                _ => false,
            };
            if !may_be_lost || after <= MAY_WAIT {
                self.bytes = after;
                queue.push_back(event);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn data(channel: Channel, bytes: usize) -> impl Iterator<Item = ClientEvent> {
        let data = Bytes::from(vec![0; bytes]);
        std::iter::once(ClientEvent::Data { channel, data })
    }

    #[test]
    fn what_is_not_taken_is_dropped_where_it_may_be_and_ends_the_client_where_not() {
        let (mut untaken, mut queue) = (Untaken::default(), VecDeque::new());
        let piece = 1 << 20;
        for _ in 0..40 {
            assert!(untaken.add(&mut queue, data(Channel::Lossy, piece)));
            assert!(untaken.add(&mut queue, data(Channel::DataTrack, piece)));
        }
        assert!((14..=16).contains(&queue.len()), "{}", queue.len());
        queue.clear();
        for _ in 0..200 {
            assert!(untaken.add(&mut queue, data(Channel::Reliable, piece)));
        }
        assert!(untaken.add(&mut queue, data(Channel::Lossy, piece)));
        assert_eq!(queue.len(), 200);
        let mut sound = true;
        while sound {
            assert!(queue.len() < 300);
            sound = untaken.add(&mut queue, data(Channel::Reliable, piece));
        }
        assert!(matches!(queue.back(), Some(ClientEvent::Fault { .. })));
        queue.clear();
        assert!(untaken.add(&mut queue, data(Channel::Lossy, piece)));
        assert_eq!(queue.len(), 1);
    }
}
