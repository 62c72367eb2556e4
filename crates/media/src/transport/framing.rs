//! RFC 4571 framing: each packet on a stream follows its length, two octets in network order.

/// The largest packet taken or sent, in octets: what a UDP datagram within the MTU would carry.
pub(crate) const MAX_PACKET: usize = 1500;

/// A frame whose length is over [`MAX_PACKET`], or a packet that none can be made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLength(pub(crate) usize);

/// Cuts a stream into packets, without the empty ones that RFC 4571 §2 allows. It holds at most one frame that
/// is not whole.
#[derive(Debug, Default)]
pub(crate) struct Unframer {
    partial: Vec<u8>,
}

impl Unframer {
    /// Takes what was read and gives each whole packet to `packet`, in order.
    ///
    /// # Errors
    /// [`BadLength`] for a length refused; the connection is then to be closed.
    pub(crate) fn push(
        &mut self,
        mut read: &[u8],
        mut packet: impl FnMut(&[u8]),
    ) -> Result<(), BadLength> {
        loop {
            let wanted = match self.partial.first_chunk::<2>() {
                None => 2,
                Some(length) => {
                    let length = usize::from(u16::from_be_bytes(*length));
                    if length > MAX_PACKET {
                        return Err(BadLength(length));
                    }
                    if length == 0 {
                        self.partial.clear();
                        continue;
                    }
                    2 + length
                }
            };
            let missing = wanted.saturating_sub(self.partial.len());
            let Some((taken, rest)) = read.split_at_checked(missing) else {
                self.partial.extend_from_slice(read);
                return Ok(());
            };
            self.partial.extend_from_slice(taken);
            read = rest;
            if let Some(whole) = self.partial.get(2..).filter(|_| wanted > 2) {
                packet(whole);
                self.partial.clear();
            }
        }
    }
}

/// Appends `packet` to `stream` as one frame.
///
/// # Errors
/// [`BadLength`] for a packet that is empty or over [`MAX_PACKET`]; nothing is appended.
pub(crate) fn frame(packet: &[u8], stream: &mut Vec<u8>) -> Result<(), BadLength> {
    let length = u16::try_from(packet.len())
        .ok()
        .filter(|length| (1..=MAX_PACKET).contains(&usize::from(*length)))
        .ok_or(BadLength(packet.len()))?;
    stream.extend_from_slice(&length.to_be_bytes());
    stream.extend_from_slice(packet);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunk: usize, stream: &[u8]) -> (Vec<Vec<u8>>, Result<(), BadLength>) {
        let (mut unframer, mut packets) = (Unframer::default(), Vec::new());
        for read in stream.chunks(chunk) {
            if let Err(bad) = unframer.push(read, |packet| packets.push(packet.to_vec())) {
                return (packets, Err(bad));
            }
        }
        (packets, Ok(()))
    }

    #[test]
    fn packets_come_out_whole_however_the_stream_is_read() {
        let sent = [vec![1], vec![2; MAX_PACKET], vec![3, 4]];
        let mut stream = Vec::new();
        for packet in &sent {
            frame(packet, &mut stream).unwrap();
        }
        for chunk in [1, 2, 3, 700, stream.len()] {
            assert_eq!(cut(chunk, &stream), (sent.to_vec(), Ok(())));
        }
    }

    #[test]
    fn an_unfinished_frame_is_kept_back() {
        assert_eq!(cut(8, &[0, 3, 1, 2]), (vec![], Ok(())));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_after_what_came_before() {
        let refused = (vec![vec![7]], Err(BadLength(1501)));
        assert_eq!(cut(9, &[0, 1, 7, 5, 221]), refused);
    }

    #[test]
    fn null_packets_are_passed_over() {
        let stream = [0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 2, 8, 9, 0, 0];
        for chunk in 1..=stream.len() {
            assert_eq!(cut(chunk, &stream), (vec![vec![7], vec![8, 9]], Ok(())));
        }
    }

    #[test]
    fn a_packet_empty_or_too_large_is_not_framed() {
        let mut stream = Vec::new();
        assert_eq!(frame(&[], &mut stream), Err(BadLength(0)));
        assert_eq!(frame(&[0; 1501], &mut stream), Err(BadLength(1501)));
        assert!(stream.is_empty());
    }
}
