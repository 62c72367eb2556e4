//! One peer connection: str0m and a UDP socket of its own.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::config::DtlsCert;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::Result;
use crate::wire::SessionDescription;

/// Asked of the kernel, which may grant less: bursts of key frames must fit.
const SOCKET_BUFFER: usize = 4 << 20;
/// With GRO a buffer takes several datagrams.
const RECEIVE_BUFFER: usize = 64 << 10;

/// Room for one batch of datagrams; shared by all connections.
pub(crate) struct Buffers(Vec<u8>);

impl Buffers {
    pub(crate) fn new() -> Self {
        Self(vec![0; RECEIVE_BUFFER * BATCH_SIZE])
    }
}

/// A change to offer; those asked while an offer is out go into the next.
enum Change {
    Receive(MediaKind),
    /// A section to send in, with the track's msid.
    Send(MediaKind, String),
}

/// A data channel of LiveKit's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Reliable,
    Lossy,
}

pub(crate) struct Connection {
    rtc: Rtc,
    socket: UdpSocket,
    state: UdpSocketState,
    address: SocketAddr,
    timeout: Instant,
    changes: Vec<Change>,
    /// The server asked for an offer, whether or not there is something to change.
    must_offer: bool,
    pending: Option<SdpPendingOffer>,
    offer_id: u32,
    /// Reliable and lossy, where this side opened them.
    channels: Option<[ChannelId; 2]>,
    connected: bool,
    /// Sections that only receive.
    receivers: Vec<Mid>,
    /// Sections to send in, by the msid of their tracks.
    senders: Vec<(String, Mid)>,
}

impl Connection {
    /// A connection on a new socket of `ip`.
    pub(crate) fn new(
        ip: IpAddr,
        cert: &DtlsCert,
        registry: &Registry,
        id: Token,
        now: Instant,
    ) -> Result<Self> {
        let bound = std::net::UdpSocket::bind((ip, 0))?;
        bound.set_nonblocking(true)?;
        let options = socket2::SockRef::from(&bound);
        let _ = options.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = options.set_send_buffer_size(SOCKET_BUFFER);
        let mut socket = UdpSocket::from_std(bound);
        let state = UdpSocketState::new((&socket).into())?;
        let address = socket.local_addr()?;
        registry.register(&mut socket, id, Interest::READABLE)?;

        let mut rtc = Rtc::builder()
            .set_dtls_cert(cert.clone())
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .set_rtp_mode(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp")?);
        Ok(Self {
            rtc,
            socket,
            state,
            address,
            timeout: now,
            changes: Vec::new(),
            must_offer: false,
            pending: None,
            offer_id: 0,
            channels: None,
            connected: false,
            receivers: Vec::new(),
            senders: Vec::new(),
        })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// When it wants to be woken.
    pub(crate) fn timeout(&self) -> Instant {
        self.timeout
    }

    /// Sections to receive in go into the next offer.
    pub(crate) fn add_receivers(&mut self, audios: u32, videos: u32) {
        for (kind, count) in [(MediaKind::Audio, audios), (MediaKind::Video, videos)] {
            (0..count).for_each(|_| self.changes.push(Change::Receive(kind)));
        }
        self.must_offer = true;
    }

    /// A section to send in goes into the next offer.
    pub(crate) fn add_sender(&mut self, kind: MediaKind, cid: &str) {
        self.changes.push(Change::Send(kind, cid.into()));
        self.must_offer = true;
    }

    /// An offer of all changes, unless one is out or nothing is to be offered.
    pub(crate) fn offer(&mut self) -> Option<SessionDescription> {
        if self.pending.is_some() || !(self.must_offer || self.offer_id == 0) {
            return None;
        }
        let first = self.channels.is_none();
        let mut api = self.rtc.sdp_api();
        let mut channels = self.channels;
        if first {
            let mut ids = ["_reliable", "_lossy", "_data_track"]
                .map(|label| api.add_channel_with_config(channel_config(label)))
                .into_iter();
            channels = ids.next().zip(ids.next()).map(|(a, b)| [a, b]);
        }
        // A browser's transceiver wants to receive whatever the last answer said; str0m's remembers.
        for mid in &self.receivers {
            api.set_direction(*mid, Direction::RecvOnly);
        }
        for change in self.changes.drain(..) {
            match change {
                Change::Receive(kind) => {
                    let mid = api.add_media(kind, Direction::RecvOnly, None, None, None);
                    self.receivers.push(mid);
                }
                Change::Send(kind, cid) => {
                    let stream = Some("stream".to_owned());
                    let mid =
                        api.add_media(kind, Direction::SendOnly, stream, Some(cid.clone()), None);
                    self.senders.push((cid, mid));
                }
            }
        }
        if !api.has_changes()
            && let Some(mid) = self.receivers.last()
        {
            // str0m has no offer without a change: there and back is one.
            api.set_direction(*mid, Direction::Inactive);
            api.set_direction(*mid, Direction::RecvOnly);
        }
        let (offer, pending) = api.apply()?;
        self.channels = channels;
        self.must_offer = false;
        self.pending = Some(pending);
        self.offer_id += 1;
        Some(SessionDescription {
            kind: "offer".into(),
            sdp: offer.to_sdp_string(),
            id: self.offer_id,
            ..SessionDescription::default()
        })
    }

    pub(crate) fn handle_answer(&mut self, answer: &SessionDescription) -> Result<()> {
        if answer.id != 0 && answer.id != self.offer_id {
            return Err(format!("an answer to offer {}, not {}", answer.id, self.offer_id).into());
        }
        let pending = self.pending.take().ok_or("an answer without an offer")?;
        let answer = SdpAnswer::from_sdp_string(&answer.sdp)?;
        self.rtc.sdp_api().accept_answer(pending, answer)?;
        Ok(())
    }

    pub(crate) fn handle_offer(
        &mut self,
        offer: &SessionDescription,
    ) -> Result<SessionDescription> {
        let sdp = SdpOffer::from_sdp_string(&offer.sdp)?;
        let answer = self.rtc.sdp_api().accept_offer(sdp)?;
        Ok(SessionDescription {
            kind: "answer".into(),
            sdp: answer.to_sdp_string(),
            id: offer.id,
            ..SessionDescription::default()
        })
    }

    /// A candidate of the server's; those str0m can't use (mDNS, say) are left out.
    pub(crate) fn handle_candidate(&mut self, line: &str) {
        if let Ok(candidate) = Candidate::from_sdp_string(line) {
            self.rtc.add_remote_candidate(candidate);
        }
    }

    /// The section of a track and the payload type in it, once both are negotiated and connected.
    pub(crate) fn sender(&self, cid: &str, codec: Codec) -> Option<(Mid, Pt)> {
        if self.pending.is_some() || !self.connected {
            return None;
        }
        let mid = self.senders.iter().find(|(known, _)| known == cid)?.1;
        let codec = self.rtc.codec_config().find(|p| p.spec().codec == codec)?;
        Some((mid, codec.pt()))
    }

    /// Queues a packet; [`drive`](Self::drive) sends it.
    pub(crate) fn write_rtp(&mut self, mid: Mid, rtp: RtpWrite) {
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.write_rtp(rtp);
        }
    }

    pub(crate) fn is_open(&mut self, channel: Channel) -> bool {
        self.channels.is_some_and(|[reliable, lossy]| {
            self.rtc.channel(pick(channel, reliable, lossy)).is_some()
        })
    }

    /// Queues a message; false if the channel takes no more now.
    pub(crate) fn write_message(&mut self, channel: Channel, data: &[u8]) -> Result<bool> {
        let Some([reliable, lossy]) = self.channels else {
            return Ok(false);
        };
        match self.rtc.channel(pick(channel, reliable, lossy)) {
            Some(mut channel) => Ok(channel.write(true, data)?),
            None => Ok(false),
        }
    }

    /// Reads the socket dry.
    pub(crate) fn receive(
        &mut self,
        buffers: &mut Buffers,
        on: &mut dyn FnMut(Instant, Event),
    ) -> Result<()> {
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        loop {
            let received = {
                let mut chunks = buffers.0.chunks_exact_mut(RECEIVE_BUFFER);
                let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                    std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
                self.state
                    .recv((&self.socket).into(), &mut slices, &mut meta)
            };
            let count = match received {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The server is gone or not there yet (ICMP); ICE decides.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error.into()),
            };
            let now = Instant::now();
            for (meta, buffer) in meta
                .iter()
                .zip(buffers.0.chunks_exact(RECEIVE_BUFFER))
                .take(count)
            {
                for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    let receive = Receive::new(Protocol::Udp, meta.addr, self.address, datagram);
                    if let Ok(receive) = receive {
                        self.rtc.handle_input(Input::Receive(now, receive))?;
                        self.poll(now, on)?;
                    }
                }
            }
        }
    }

    /// Lets time pass, and sends what is queued.
    pub(crate) fn drive(&mut self, now: Instant, on: &mut dyn FnMut(Instant, Event)) -> Result<()> {
        self.rtc.handle_input(Input::Timeout(now))?;
        self.poll(now, on)
    }

    /// Takes all that str0m has to say, as it wants after each input.
    fn poll(&mut self, now: Instant, on: &mut dyn FnMut(Instant, Event)) -> Result<()> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    let transmit = Transmit {
                        destination: transmit.destination,
                        ecn: None,
                        contents: &transmit.contents,
                        segment_size: None,
                        src_ip: None,
                    };
                    // A full buffer or an unreachable peer is loss, which the protocols above mend.
                    let _ = self.state.try_send((&self.socket).into(), &transmit);
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(event) => on(now, event),
            }
        }
    }

    /// Says goodbye (DTLS close_notify).
    pub(crate) fn close(&mut self, now: Instant) -> Result<()> {
        self.connected = false;
        // Data channels that were not open yet can't be closed: then without a word.
        if self.rtc.close().is_err() {
            self.rtc.disconnect();
        }
        self.poll(now, &mut |_, _| {})
    }
}

fn pick(channel: Channel, reliable: ChannelId, lossy: ChannelId) -> ChannelId {
    match channel {
        Channel::Reliable => reliable,
        Channel::Lossy => lossy,
    }
}

/// LiveKit's data channels, by their labels.
fn channel_config(label: &str) -> ChannelConfig {
    let reliable = label == "_reliable";
    ChannelConfig {
        label: label.into(),
        ordered: reliable,
        reliability: match reliable {
            true => Reliability::Reliable,
            false => Reliability::MaxRetransmits { retransmits: 0 },
        },
        ..ChannelConfig::default()
    }
}
