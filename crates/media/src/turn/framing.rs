//! TURN on a byte stream: messages one after another, ChannelData padded to four bytes (RFC 8656 §12.5).

use super::channel;

/// Longest message that a client may send: a datagram of the media and its wrapping fit several times.
const MAX_FRAME: usize = 8192;

/// The stream is not TURN, or its next message too long: nothing after it can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a TURN message, or one of more than {MAX_FRAME} bytes")]
pub struct FramingError;

/// Cuts a stream into the packets for [`Server::handle`](super::Server::handle).
///
/// It keeps at most one read and one unfinished message: take all packets out before more is put in.
#[derive(Debug, Default)]
pub struct Framing {
    buffer: Vec<u8>,
    taken: usize,
}

impl Framing {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole packet, without padding.
    ///
    /// # Errors
    /// When what follows is neither STUN nor ChannelData: the stream is to be closed.
    pub fn next_packet(&mut self) -> Result<Option<&[u8]>, FramingError> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some([kind, _, high, low]) = rest.first_chunk() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (length, padded) = match kind {
            0..=3 => (
                super::message::HEADER + length,
                super::message::HEADER + length,
            ),
            0x40..=0x4f => (
                channel::HEADER + length,
                channel::HEADER + length.next_multiple_of(4),
            ),
            _ => return Err(FramingError),
        };
        if padded > MAX_FRAME || kind < &4 && length % 4 != 0 {
            return Err(FramingError);
        }
        if rest.len() < padded {
            return Ok(None);
        }
        let start = self.taken;
        self.taken += padded;
        Ok(self.buffer.get(start..start + length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A binding request, ChannelData with padding, one without.
    fn stream() -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut request = vec![0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42];
        request.resize(28, 7);
        let packets = vec![
            request,
            b"\x40\0\0\x05hello".to_vec(),
            b"\x40\x01\0\x04full".to_vec(),
            b"\x40\x02\0\0".to_vec(),
        ];
        let mut stream = Vec::new();
        for packet in &packets {
            stream.extend_from_slice(packet);
            stream.resize(stream.len().next_multiple_of(4), 0);
        }
        (stream, packets)
    }

    fn cut(chunk: usize) -> Vec<Vec<u8>> {
        let mut framing = Framing::default();
        let mut packets = Vec::new();
        for part in stream().0.chunks(chunk) {
            framing.push(part);
            while let Some(packet) = framing.next_packet().unwrap() {
                packets.push(packet.to_vec());
            }
        }
        packets
    }

    #[test]
    fn packets_come_out_whole_however_the_stream_is_cut() {
        for chunk in 1..=64 {
            assert_eq!(cut(chunk), stream().1, "{chunk}");
        }
    }

    #[test]
    fn what_is_not_turn_ends_the_stream() {
        for start in [
            &b"GET / HT"[..],
            &[22, 3, 1, 2],
            &[0x50, 0, 0, 0],
            &[0x80, 0, 0, 0],
            &[0, 1, 0, 3],
        ] {
            let mut framing = Framing::default();
            framing.push(start);
            assert_eq!(framing.next_packet(), Err(FramingError), "{start:?}");
        }
    }

    #[test]
    fn a_packet_too_long_to_keep_ends_the_stream_before_it_has_come() {
        for start in [[0, 1, 0xff, 0xfc], [0x40, 0, 0xff, 0xff]] {
            let mut framing = Framing::default();
            framing.push(&start);
            assert_eq!(framing.next_packet(), Err(FramingError));
        }
    }
}
