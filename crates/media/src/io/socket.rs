//! One UDP socket: datagrams in batches, both ways.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Socket, Type};

/// A burst of key frames to many subscribers must fit.
const BUFFER: usize = 4 << 20;
/// With GRO one buffer takes several datagrams of a sender.
const RECEIVE_BUFFER: usize = 64 << 10;

pub(super) struct UdpSocket {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    address: SocketAddr,
    /// Not read dry since it last became readable.
    pub(super) readable: bool,
}

/// Room for one batch of datagrams; shared by the sockets of a worker.
pub(super) struct ReceiveBuffers(Vec<u8>);

impl ReceiveBuffers {
    pub(super) fn new() -> Self {
        Self(vec![0; RECEIVE_BUFFER * BATCH_SIZE])
    }
}

impl UdpSocket {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        // The kernel may grant less; what it grants has to do.
        let _ = socket.set_recv_buffer_size(BUFFER);
        let _ = socket.set_send_buffer_size(BUFFER);
        socket.bind(&address.into())?;
        let socket = mio::net::UdpSocket::from_std(socket.into());
        let state = UdpSocketState::new((&socket).into())?;
        let address = socket.local_addr()?;
        Ok(Self {
            socket,
            state,
            address,
            readable: false,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn source(&mut self) -> &mut impl mio::event::Source {
        &mut self.socket
    }

    /// Hands over one batch of datagrams as (local, remote, contents); clears `readable` at the end.
    pub(super) fn receive(
        &mut self,
        buffers: &mut ReceiveBuffers,
        mut take: impl FnMut(SocketAddr, SocketAddr, &mut [u8]),
    ) -> io::Result<()> {
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let received = {
            let mut chunks = buffers.0.chunks_exact_mut(RECEIVE_BUFFER);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            self.state
                .recv((&self.socket).into(), &mut slices, &mut meta)
        };
        let count = match received {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(());
            }
            // The answer to an earlier datagram of ours (ICMP): nothing to do with this one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => {
                self.readable = false;
                return Err(error);
            }
        };
        for (meta, buffer) in meta
            .iter()
            .zip(buffers.0.chunks_exact_mut(RECEIVE_BUFFER))
            .take(count)
        {
            let ip = meta.dst_ip.unwrap_or_else(|| self.address.ip());
            let local = SocketAddr::new(ip, self.address.port());
            let Some(datagrams) = buffer.get_mut(..meta.len) else {
                continue;
            };
            for datagram in datagrams.chunks_mut(meta.stride.max(1)) {
                take(local, meta.addr, datagram);
            }
        }
        Ok(())
    }

    /// Sends datagrams of `segment` bytes each (the last may be shorter) to one destination.
    pub(super) fn send(
        &self,
        source: IpAddr,
        destination: SocketAddr,
        contents: &[u8],
        segment: usize,
    ) {
        let segment = segment.max(1);
        let most = segment.saturating_mul(self.state.max_gso_segments().max(1));
        for chunk in contents.chunks(most) {
            let transmit = Transmit {
                destination,
                ecn: None,
                contents: chunk,
                segment_size: (chunk.len() > segment).then_some(segment),
                src_ip: (self.address.ip().is_unspecified() && !source.is_unspecified())
                    .then_some(source),
            };
            if let Err(error) = self.state.try_send((&self.socket).into(), &transmit) {
                // A full socket buffer or an unreachable peer is loss, which the protocols above mend.
                log::trace!("not sent to {destination}: {error}");
                if segment < chunk.len() && error.kind() != io::ErrorKind::WouldBlock {
                    // The card refuses segmentation: one by one.
                    self.send_single(&transmit, segment);
                }
            }
        }
    }

    fn send_single(&self, batch: &Transmit<'_>, segment: usize) {
        for contents in batch.contents.chunks(segment) {
            let transmit = Transmit {
                contents,
                segment_size: None,
                ..batch.clone()
            };
            if let Err(error) = self.state.try_send((&self.socket).into(), &transmit) {
                log::trace!("not sent to {}: {error}", batch.destination);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive_all(socket: &mut UdpSocket, wanted: usize) -> Vec<(SocketAddr, SocketAddr, usize)> {
        let mut buffers = ReceiveBuffers::new();
        let mut got = Vec::new();
        let mut poll = mio::Poll::new().unwrap();
        poll.registry()
            .register(socket.source(), mio::Token(0), mio::Interest::READABLE)
            .unwrap();
        let mut events = mio::Events::with_capacity(4);
        while got.len() < wanted {
            poll.poll(&mut events, Some(std::time::Duration::from_secs(5)))
                .unwrap();
            assert!(
                !events.is_empty(),
                "only {} of {wanted} datagrams came",
                got.len()
            );
            socket.readable = true;
            while socket.readable {
                socket
                    .receive(&mut buffers, |local, remote, data| {
                        got.push((local, remote, data.len()))
                    })
                    .unwrap();
            }
        }
        got
    }

    #[test]
    fn a_batch_arrives_as_the_datagrams_it_was_made_of() {
        let sender = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let mut receiver = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap();
        let to = SocketAddr::from(([127, 0, 0, 1], receiver.address().port()));
        sender.send(sender.address().ip(), to, &[7; 3 * 1_000 + 10], 1_000);
        let got = receive_all(&mut receiver, 4);
        let sizes: Vec<_> = got.iter().map(|it| it.2).collect();
        assert_eq!(sizes, [1_000, 1_000, 1_000, 10]);
        assert!(got.iter().all(|it| it.0 == to && it.1 == sender.address()));
    }

    #[test]
    fn a_wildcard_socket_answers_from_the_address_it_was_asked_at() {
        let sender = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap();
        let mut receiver = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        sender.send(IpAddr::from([127, 0, 0, 9]), receiver.address(), b"x", 1);
        let got = receive_all(&mut receiver, 1);
        assert_eq!(
            got[0].1,
            SocketAddr::from(([127, 0, 0, 9], sender.address().port()))
        );
    }
}
