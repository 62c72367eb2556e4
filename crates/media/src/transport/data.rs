//! Messages of a transport: channels over SCTP over DTLS.

use std::time::Instant;

use bytes::Bytes;

use super::sctp::{Sctp, SctpEvent};
use super::{
    ChannelId, ChannelSpec, DtlsRole, RemoteParameters, SendError, Transport, TransportError,
    TransportState,
};

/// The largest message we send, whatever the peer says it takes.
const MAX_SEND_MESSAGE: u32 = 1 << 20;
/// What a peer takes that does not say (RFC 8841 §6.1).
const DEFAULT_MAX_MESSAGE: u32 = 65_536;
/// The largest message that peer takes of us.
pub(super) fn max_send_message(remote: &RemoteParameters) -> u32 {
    match remote.max_message_size {
        None => DEFAULT_MAX_MESSAGE,
        Some(0) => MAX_SEND_MESSAGE,
        Some(size) => size.min(MAX_SEND_MESSAGE),
    }
}

impl Transport {
    /// Moves data: DTLS to SCTP to channels, and back.
    pub(super) fn run_data(&mut self, now: Instant) -> Result<(), String> {
        let (Some(session), Some(remote), true) = (&mut self.session, &self.remote, self.secured)
        else {
            return Ok(());
        };
        if self.sctp.is_none() {
            let wanted = match session.role() {
                DtlsRole::Client => remote.data || !self.channels.is_empty(),
                DtlsRole::Server => !session.inbox.is_empty(),
            };
            if !wanted {
                return Ok(());
            }
            let max_send = max_send_message(remote);
            let max_receive = u32::try_from(self.limits.receive_message).unwrap_or(u32::MAX);
            self.sctp = Some(Sctp::new(session.role(), max_send, max_receive)?);
        }
        let Some(sctp) = &mut self.sctp else {
            return Ok(());
        };
        while let Some(packet) = session.inbox.pop_front() {
            sctp.handle_packet(now, packet);
        }
        while let Some(event) = sctp.poll_event() {
            match event {
                SctpEvent::Connected => self.channels.connected(session.role()),
                SctpEvent::Message { stream, ppid, data } => {
                    self.channels
                        .receive(sctp.as_mut(), stream, ppid, data, &mut self.events)?;
                }
                SctpEvent::StreamClosed(stream) => {
                    self.channels.stream_closed(stream, &mut self.events)
                }
                SctpEvent::Lost(reason) => return Err(reason),
            }
        }
        self.channels.pump(sctp.as_mut());
        while let Some(packets) = sctp.poll_packets(now) {
            for packet in packets {
                session.send(&packet)?;
            }
        }
        Ok(())
    }

    /// Opens a channel in band (RFC 8832), now or as soon as the association is up.
    pub fn open_channel(
        &mut self,
        now: Instant,
        spec: ChannelSpec,
    ) -> Result<ChannelId, TransportError> {
        if self.state == TransportState::Closed {
            return Err(TransportError::Closed);
        }
        let channel = self
            .channels
            .open(spec)
            .ok_or(TransportError::TooManyChannels)?;
        self.advance(now);
        Ok(channel)
    }

    /// Queues a message. Lossy channels drop their oldest messages above their budget.
    pub fn send_data(
        &mut self,
        now: Instant,
        channel: ChannelId,
        data: Bytes,
        binary: bool,
    ) -> Result<(), SendError> {
        if self.state == TransportState::Closed {
            return Err(SendError::NoChannel);
        }
        self.channels.send(channel, data, binary)?;
        self.advance(now);
        Ok(())
    }

    /// Bytes queued on a channel and not yet handed to SCTP.
    pub fn buffered(&self, channel: ChannelId) -> usize {
        self.channels.buffered(channel)
    }

    /// Bytes of a channel that the peer has not acknowledged.
    pub fn undelivered(&mut self, channel: ChannelId) -> usize {
        match &mut self.memory {
            Some(memory) => self.channels.undelivered(Some(memory.as_mut()), channel),
            None => self.channels.undelivered(self.sctp.as_deref_mut(), channel),
        }
    }

    /// Messages that a lossy channel dropped above its budget.
    pub fn dropped(&self, channel: ChannelId) -> u64 {
        self.channels.dropped(channel)
    }

    /// The SCTP stream of a channel once it is known, and whether it is open.
    pub fn channel_stream(&self, channel: ChannelId) -> (Option<u16>, bool) {
        self.channels.stream(channel)
    }

    /// Closes a channel of either side; no event follows.
    pub fn close_channel(&mut self, now: Instant, channel: ChannelId) {
        match &mut self.memory {
            Some(memory) => self.channels.close(Some(memory.as_mut()), channel),
            None => self.channels.close(self.sctp.as_deref_mut(), channel),
        }
        self.advance(now);
    }
}
