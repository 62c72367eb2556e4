//! Data channels: establishment in band, and the outgoing queues that keep SCTP's own short.
//!
//! SCTP gets at most [`GATE`] bytes of reliable and as many of lossy messages ahead of acknowledgement
//! (and always one message, however large). What waits, waits here, each channel for itself: lossy
//! messages go before reliable ones and the oldest are dropped above the channel's budget; a reliable
//! channel above its budget is an overflow, which ends this peer alone.

use std::collections::VecDeque;

use bytes::Bytes;

use super::dcep::{self, Dcep};
use super::sctp::{MessageTransport, Ppid};
use super::{ChannelId, ChannelSpec, DtlsRole, Limits, Reliability, SendError, TransportEvent};

/// Bytes handed to SCTP and not yet acknowledged, for reliable and for lossy channels each.
const GATE: usize = 64 * 1_024;
/// The stand-in for an empty message, which SCTP cannot carry (RFC 8831 §6.6).
const EMPTY: Bytes = Bytes::from_static(&[0]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Our OPEN waits for the association.
    Waiting,
    /// Our OPEN is sent.
    Opening,
    Open,
}

struct Channel {
    id: ChannelId,
    /// SCTP stream; known once the DTLS roles are.
    stream: Option<u16>,
    spec: ChannelSpec,
    phase: Phase,
    queue: VecDeque<(Bytes, Ppid)>,
    queued: usize,
    dropped: u64,
}

impl Channel {
    fn lossy(&self) -> bool {
        self.spec.reliability != Reliability::Reliable
    }
}

pub(super) struct Channels {
    limits: Limits,
    channels: Vec<Channel>,
    next_id: u16,
    role: Option<DtlsRole>,
    max_message: usize,
    /// Streams that we closed: not used again.
    retired: Vec<u16>,
    malformed: u64,
}

impl Channels {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            channels: Vec::new(),
            next_id: 0,
            role: None,
            max_message: 65_536,
            retired: Vec::new(),
            malformed: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// The peer's `a=max-message-size`.
    pub(super) fn set_max_message(&mut self, bytes: usize) {
        self.max_message = bytes;
    }

    pub(super) fn open(&mut self, spec: ChannelSpec) -> Option<ChannelId> {
        if self.channels.len() >= self.limits.channels {
            return None;
        }
        Some(self.add(spec, None, Phase::Waiting))
    }

    fn add(&mut self, spec: ChannelSpec, stream: Option<u16>, phase: Phase) -> ChannelId {
        while self
            .channels
            .iter()
            .any(|channel| channel.id.0 == self.next_id)
        {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = ChannelId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.channels.push(Channel {
            id,
            stream,
            spec,
            phase,
            queue: VecDeque::new(),
            queued: 0,
            dropped: 0,
        });
        id
    }

    pub(super) fn buffered(&self, id: ChannelId) -> usize {
        self.channels
            .iter()
            .find(|channel| channel.id == id)
            .map_or(0, |channel| channel.queued)
    }

    /// Bytes that the peer has not acknowledged.
    pub(super) fn undelivered(
        &self,
        transport: Option<&mut impl MessageTransport>,
        id: ChannelId,
    ) -> usize {
        let stream = self.stream(id).0;
        let in_flight = transport.zip(stream).map(|(it, id)| it.in_flight(id));
        self.buffered(id) + in_flight.unwrap_or_default()
    }

    pub(super) fn stream(&self, id: ChannelId) -> (Option<u16>, bool) {
        let mut channels = self.channels.iter();
        let channel = channels.find(|channel| channel.id == id);
        channel.map_or((None, false), |it| (it.stream, it.phase == Phase::Open))
    }

    pub(super) fn dropped(&self, id: ChannelId) -> u64 {
        self.channels
            .iter()
            .find(|channel| channel.id == id)
            .map_or(0, |channel| channel.dropped)
    }

    /// Queues a message.
    pub(super) fn send(
        &mut self,
        id: ChannelId,
        data: Bytes,
        binary: bool,
    ) -> Result<(), SendError> {
        if data.len() > self.max_message {
            return Err(SendError::TooLarge);
        }
        let channel = self
            .channels
            .iter_mut()
            .find(|channel| channel.id == id)
            .ok_or(SendError::NoChannel)?;
        let (ppid, data) = match (data.is_empty(), binary) {
            (true, true) => (Ppid::BinaryEmpty, EMPTY),
            (true, false) => (Ppid::TextEmpty, EMPTY),
            (false, true) => (Ppid::Binary, data),
            (false, false) => (Ppid::Text, data),
        };
        if channel.lossy() {
            while channel.queued + data.len() > self.limits.lossy_queue
                && let Some((oldest, _)) = channel.queue.pop_front()
            {
                channel.queued -= oldest.len();
                channel.dropped += 1;
            }
        } else if channel.queued + data.len() > self.limits.reliable_queue {
            return Err(SendError::Overflow);
        }
        channel.queued += data.len();
        channel.queue.push_back((data, ppid));
        Ok(())
    }

    /// The association is up: our channels get their streams (even numbers for the DTLS client, odd for the
    /// server, RFC 8832 §6).
    pub(super) fn connected(&mut self, role: DtlsRole) {
        self.role = Some(role);
    }

    /// Takes a message of the peer. `Err` ends the association: the peer holds more channels than it may.
    pub(super) fn receive(
        &mut self,
        sctp: &mut impl MessageTransport,
        stream: u16,
        ppid: Ppid,
        data: Bytes,
        events: &mut VecDeque<TransportEvent>,
    ) -> Result<(), String> {
        if ppid == Ppid::Dcep {
            return self.receive_dcep(sctp, stream, &data, events);
        }
        let Some(channel) = self
            .channels
            .iter_mut()
            .find(|channel| channel.stream == Some(stream))
        else {
            self.malformed += 1;
            return Ok(());
        };
        if channel.phase != Phase::Open {
            // Its ACK comes after its data: the peer took our OPEN all the same.
            channel.phase = Phase::Open;
            events.push_back(TransportEvent::ChannelOpen {
                channel: channel.id,
                spec: channel.spec.clone(),
            });
        }
        let (data, binary) = match ppid {
            Ppid::TextEmpty => (Bytes::new(), false),
            Ppid::BinaryEmpty => (Bytes::new(), true),
            Ppid::Text => (data, false),
            Ppid::Binary | Ppid::Dcep => (data, true),
        };
        events.push_back(TransportEvent::ChannelMessage {
            channel: channel.id,
            data,
            binary,
        });
        Ok(())
    }

    fn receive_dcep(
        &mut self,
        sctp: &mut impl MessageTransport,
        stream: u16,
        message: &[u8],
        events: &mut VecDeque<TransportEvent>,
    ) -> Result<(), String> {
        let known = self
            .channels
            .iter_mut()
            .find(|channel| channel.stream == Some(stream));
        match (dcep::parse(message), known) {
            (Ok(Dcep::Ack), Some(channel)) if channel.phase == Phase::Opening => {
                channel.phase = Phase::Open;
                events.push_back(TransportEvent::ChannelOpen {
                    channel: channel.id,
                    spec: channel.spec.clone(),
                });
                Ok(())
            }
            (Ok(Dcep::Open(spec)), None) => {
                if self.channels.len() >= self.limits.channels {
                    return Err(format!("more than {} data channels", self.limits.channels));
                }
                if sctp
                    .send(
                        stream,
                        Ppid::Dcep,
                        &Bytes::from(dcep::write(&Dcep::Ack)),
                        &spec,
                    )
                    .is_err()
                {
                    self.malformed += 1;
                    return Ok(());
                }
                let id = self.add(spec.clone(), Some(stream), Phase::Open);
                events.push_back(TransportEvent::ChannelOpen { channel: id, spec });
                Ok(())
            }
            // An ACK nobody waits for, an OPEN for an open channel, nonsense: of no consequence.
            _ => {
                self.malformed += 1;
                Ok(())
            }
        }
    }

    /// The stream was reset: the channel is gone.
    pub(super) fn stream_closed(&mut self, stream: u16, events: &mut VecDeque<TransportEvent>) {
        if let Some(index) = self
            .channels
            .iter()
            .position(|channel| channel.stream == Some(stream))
        {
            let channel = self.channels.swap_remove(index);
            events.push_back(TransportEvent::ChannelClosed {
                channel: channel.id,
            });
        }
    }

    /// Closes a channel of either side.
    pub(super) fn close(&mut self, sctp: Option<&mut impl MessageTransport>, id: ChannelId) {
        let Some(index) = self.channels.iter().position(|channel| channel.id == id) else {
            return;
        };
        let channel = self.channels.swap_remove(index);
        if let (Some(sctp), Some(stream)) = (sctp, channel.stream) {
            sctp.close_stream(stream);
            self.retired.push(stream);
        }
    }

    /// Hands over what the gate lets through.
    pub(super) fn pump(&mut self, sctp: &mut impl MessageTransport) {
        let Some(role) = self.role.filter(|_| sctp.connected()) else {
            return;
        };
        self.establish(sctp, role);
        for lossy in [true, false] {
            self.pump_class(sctp, lossy);
        }
    }

    fn establish(&mut self, sctp: &mut impl MessageTransport, role: DtlsRole) {
        for index in 0..self.channels.len() {
            if self
                .channels
                .get(index)
                .is_none_or(|channel| channel.phase != Phase::Waiting)
            {
                continue;
            }
            let first = match role {
                DtlsRole::Client => 0,
                DtlsRole::Server => 1,
            };
            let free = (first..1_024_u16).step_by(2).find(|stream| {
                !self.retired.contains(stream)
                    && self
                        .channels
                        .iter()
                        .all(|channel| channel.stream != Some(*stream))
            });
            let (Some(free), Some(channel)) = (free, self.channels.get_mut(index)) else {
                return;
            };
            let open = Bytes::from(dcep::write(&Dcep::Open(channel.spec.clone())));
            if sctp.send(free, Ppid::Dcep, &open, &channel.spec).is_ok() {
                channel.stream = Some(free);
                channel.phase = Phase::Opening;
            } else {
                self.retired.push(free);
            }
        }
    }

    fn pump_class(&mut self, sctp: &mut impl MessageTransport, lossy: bool) {
        if !self
            .channels
            .iter()
            .any(|channel| channel.lossy() == lossy && !channel.queue.is_empty())
        {
            return;
        }
        let mut in_flight: usize = self
            .channels
            .iter()
            .filter(|channel| channel.lossy() == lossy)
            .filter_map(|channel| channel.stream)
            .map(|stream| sctp.in_flight(stream))
            .sum();
        // Round by round, one message a channel, so that none of them starves the others.
        loop {
            let mut sent = false;
            for channel in self
                .channels
                .iter_mut()
                .filter(|channel| channel.lossy() == lossy)
            {
                let (Phase::Open, Some(stream), Some((data, ppid))) =
                    (channel.phase, channel.stream, channel.queue.front())
                else {
                    continue;
                };
                if in_flight > 0 && in_flight + data.len() > GATE {
                    continue;
                }
                if sctp.send(stream, *ppid, data, &channel.spec).is_err() {
                    // The peer is resetting the stream: what waits for it has nowhere to go.
                    channel.queue.clear();
                    channel.queued = 0;
                    continue;
                }
                in_flight += data.len();
                channel.queued -= data.len();
                channel.queue.pop_front();
                sent = true;
            }
            if !sent {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An association that acknowledges when told.
    #[derive(Default)]
    struct Fake {
        sent: Vec<(u16, Ppid, usize)>,
        in_flight: std::collections::BTreeMap<u16, usize>,
    }

    impl MessageTransport for Fake {
        fn connected(&self) -> bool {
            true
        }
        fn send(
            &mut self,
            stream: u16,
            ppid: Ppid,
            data: &Bytes,
            _: &ChannelSpec,
        ) -> Result<(), String> {
            self.sent.push((stream, ppid, data.len()));
            *self.in_flight.entry(stream).or_default() += data.len();
            Ok(())
        }
        fn in_flight(&mut self, stream: u16) -> usize {
            self.in_flight.get(&stream).copied().unwrap_or(0)
        }
        fn close_stream(&mut self, _: u16) {}
    }

    fn limits() -> Limits {
        Limits {
            reliable_queue: 300_000,
            lossy_queue: 100_000,
            channels: 4,
            ..Limits::default()
        }
    }

    fn reliable() -> ChannelSpec {
        ChannelSpec::reliable("_reliable")
    }

    fn lossy() -> ChannelSpec {
        ChannelSpec::lossy("_lossy")
    }

    fn opened(specs: &[ChannelSpec]) -> (Channels, Fake, Vec<ChannelId>) {
        let mut channels = Channels::new(limits());
        let mut fake = Fake::default();
        let ids: Vec<_> = specs
            .iter()
            .map(|spec| channels.open(spec.clone()).unwrap())
            .collect();
        channels.connected(DtlsRole::Server);
        channels.pump(&mut fake);
        let mut events = VecDeque::new();
        for stream in fake
            .sent
            .drain(..)
            .map(|(stream, ..)| stream)
            .collect::<Vec<_>>()
        {
            channels
                .receive(
                    &mut fake,
                    stream,
                    Ppid::Dcep,
                    Bytes::from_static(&[2]),
                    &mut events,
                )
                .unwrap();
        }
        assert_eq!(events.len(), specs.len());
        fake.in_flight.clear();
        (channels, fake, ids)
    }

    #[test]
    fn streams_are_odd_for_the_server_and_even_for_the_client() {
        for (role, expected) in [(DtlsRole::Server, [1, 3]), (DtlsRole::Client, [0, 2])] {
            let mut channels = Channels::new(limits());
            let mut fake = Fake::default();
            channels.open(reliable());
            channels.open(lossy());
            channels.connected(role);
            channels.pump(&mut fake);
            assert_eq!(
                fake.sent.iter().map(|sent| sent.0).collect::<Vec<_>>(),
                expected
            );
        }
    }

    #[test]
    fn the_gate_holds_reliable_data_back_and_lossy_data_passes_it() {
        let (mut channels, mut fake, ids) = opened(&[reliable(), lossy()]);
        for _ in 0..20 {
            channels
                .send(ids[0], Bytes::from(vec![0; 15_000]), true)
                .unwrap();
        }
        channels.pump(&mut fake);
        assert_eq!(fake.sent.len(), 4, "60,000 of 65,536 bytes");
        assert_eq!(channels.buffered(ids[0]), 16 * 15_000);
        channels
            .send(ids[1], Bytes::from(vec![0; 1_000]), true)
            .unwrap();
        channels.pump(&mut fake);
        assert_eq!(fake.sent.last(), Some(&(3, Ppid::Binary, 1_000)));
        fake.in_flight.clear();
        channels.pump(&mut fake);
        assert_eq!(channels.buffered(ids[0]), 12 * 15_000);
    }

    #[test]
    fn lossy_channels_drop_their_oldest_and_reliable_ones_overflow() {
        let (mut channels, mut fake, ids) = opened(&[reliable(), lossy()]);
        channels
            .send(ids[1], Bytes::from(vec![9; 65_535]), true)
            .unwrap();
        channels.pump(&mut fake);
        for size in 1..=30 {
            channels
                .send(ids[1], Bytes::from(vec![0; 10_000 + size]), true)
                .unwrap();
        }
        assert!(channels.buffered(ids[1]) <= 100_000);
        assert_eq!(channels.dropped(ids[1]), 21);
        fake.sent.clear();
        fake.in_flight.clear();
        channels.pump(&mut fake);
        assert_eq!(
            fake.sent.first(),
            Some(&(3, Ppid::Binary, 10_022)),
            "the oldest went, the newest stay"
        );
        for _ in 0..20 {
            channels
                .send(ids[0], Bytes::from(vec![0; 15_000]), true)
                .unwrap();
        }
        assert_eq!(
            channels.send(ids[0], Bytes::from(vec![0; 15_000]), true),
            Err(SendError::Overflow)
        );
    }

    #[test]
    fn a_message_above_the_gate_goes_alone() {
        let (mut channels, mut fake, ids) = opened(&[reliable()]);
        channels.set_max_message(256 * 1_024);
        channels
            .send(ids[0], Bytes::from(vec![0; 200_000]), true)
            .unwrap();
        channels
            .send(ids[0], Bytes::from(vec![0; 10]), true)
            .unwrap();
        channels.pump(&mut fake);
        assert_eq!(fake.sent.len(), 1);
        fake.in_flight.clear();
        channels.pump(&mut fake);
        assert_eq!(fake.sent.len(), 2);
    }

    #[test]
    fn empty_messages_keep_their_kind() {
        let (mut channels, mut fake, ids) = opened(&[reliable()]);
        channels.send(ids[0], Bytes::new(), true).unwrap();
        channels.send(ids[0], Bytes::new(), false).unwrap();
        channels.pump(&mut fake);
        assert_eq!(
            fake.sent,
            [(1, Ppid::BinaryEmpty, 1), (1, Ppid::TextEmpty, 1)]
        );
        let mut events = VecDeque::new();
        channels
            .receive(&mut fake, 1, Ppid::TextEmpty, EMPTY, &mut events)
            .unwrap();
        assert_eq!(
            events.pop_front(),
            Some(TransportEvent::ChannelMessage {
                channel: ids[0],
                data: Bytes::new(),
                binary: false
            })
        );
    }

    #[test]
    fn too_many_channels_of_the_peer_are_an_error_and_strays_are_not() {
        let mut channels = Channels::new(limits());
        let mut fake = Fake::default();
        let mut events = VecDeque::new();
        let open = Bytes::from(dcep::write(&Dcep::Open(reliable())));
        for stream in 0..4 {
            channels
                .receive(&mut fake, stream, Ppid::Dcep, open.clone(), &mut events)
                .unwrap();
        }
        assert!(
            channels
                .receive(&mut fake, 8, Ppid::Dcep, open.clone(), &mut events)
                .is_err()
        );
        channels
            .receive(&mut fake, 0, Ppid::Dcep, open, &mut events)
            .unwrap();
        channels
            .receive(
                &mut fake,
                99,
                Ppid::Text,
                Bytes::from_static(b"x"),
                &mut events,
            )
            .unwrap();
        channels
            .receive(
                &mut fake,
                0,
                Ppid::Dcep,
                Bytes::from_static(&[7]),
                &mut events,
            )
            .unwrap();
        assert_eq!(events.len(), 4);
        assert_eq!(channels.malformed, 3);
    }

    #[test]
    fn a_closed_stream_takes_its_channel_along() {
        let (mut channels, _, ids) = opened(&[reliable()]);
        let mut events = VecDeque::new();
        channels.stream_closed(1, &mut events);
        assert_eq!(
            events.pop_front(),
            Some(TransportEvent::ChannelClosed { channel: ids[0] })
        );
        assert_eq!(
            channels.send(ids[0], Bytes::new(), true),
            Err(SendError::NoChannel)
        );
    }
}
