//! The command line.

use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use lexopt::prelude::*;

use crate::Result;
use crate::client::{Kind, Messages, Server};
use crate::scenario::{Data, Media};

pub(crate) const HELP: &str = "\
Load for a LiveKit server, from one thread, by clients on a WebRTC implementation of their own.

Usage: roomful-load [OPTIONS] SCENARIO [OPTIONS]

Prints JSON lines on standard output and waits for a newline on standard input where this says <newline>, so that an
orchestrator can look at the server at exactly known moments. What goes wrong is said on standard error.

Options:
  --url URL           The server [default: ws://127.0.0.1:7880]
  --key KEY           API key [default: devkey]
  --secret SECRET     Its secret [default: secret]
  --room NAME         [default: a new one]
  --dual              Two peer connections (/rtc) instead of one (/rtc/v1)
  --timeout SECONDS   Fail when anything takes longer [default: 30]
  -h, --help

Scenarios:
  media --publishers P (--subscribers S | --mutual) [--video] [--audio] [--step K] --seconds N
      P clients publish, S others subscribe to everything; with --mutual P clients do both. Video is shaped as VP8 of
      2 Mbit/s and 30 frames/s, audio as Opus of 32 kbit/s and 50 packets/s. With --step, subscribers join by K:
        {\"event\":\"joined\",\"count\":K} <newline> and so on for each step
      {\"event\":\"ready\"} <newline> {\"event\":\"measuring\"} {\"event\":\"measured\",...} <newline> {\"event\":\"left\"}
  data --subscribers S [--rate R] [--size BYTES] [--lossy] --seconds N
      One more client sends R user packets a second [default: 100] of BYTES payload [default: 1000]. Events as above.
  joins [--count N] [--interval-ms MS]
      One publisher of audio and video; N clients [default: 30] join one after another, MS after the one before got
      media [default: 500], and stay. Times are from the start of a client's WebSocket connection.
      {\"event\":\"ready\"} <newline> {\"event\":\"join\",\"signal_ms\",\"first_audio_ms\",\"first_keyframe_ms\"} for each
      {\"event\":\"joins\",\"joins\":[...]} <newline> {\"event\":\"left\"}
  idle [--count N] [--step K]
      N clients [default: 100] that publish nothing join by K [default: 50], connected but silent.
      {\"event\":\"joined\",\"count\":K} <newline> and so on, {\"event\":\"left\"} after the last newline

What `measured` says, of packets or messages:
  ..._sent, ..._received    in the N seconds
  ..._expected              what was sent, times those who are to receive it
  ..._lost                  of what was sent until 0.2 s before the end: not received by then (can be below 0: duplicates)
  bytes_received            payload
  latency_p50_us, latency_p99_us, latency_max_us
                            from handing over to this process's WebRTC to reading from the socket, one way
  key_frames_requested, refused
                            key frames asked of publishers; messages that the publisher's channel had no room for
  own_cpu_s                 CPU time this generator took in the N seconds (Linux)
";

pub(crate) enum Scenario {
    Media(Media),
    Data(Data),
    Joins { count: usize, interval: Duration },
    Idle { count: usize, step: usize },
}

/// What the command line asks for.
pub(crate) struct Options {
    url: String,
    key: String,
    secret: String,
    room: String,
    dual: bool,
    pub(crate) timeout: Duration,
    pub(crate) scenario: Scenario,
}

impl Options {
    /// Reads the command line; none where help is asked for.
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Option<Self>> {
        let mut url = "ws://127.0.0.1:7880".to_owned();
        let (mut key, mut secret) = ("devkey".to_owned(), "secret".to_owned());
        let mut room = format!("load-{:08x}", fastrand::u32(..));
        let (mut dual, mut timeout) = (false, Duration::from_secs(30));
        let mut name = None;
        let (mut publishers, mut subscribers, mut mutual) = (None, None, false);
        let (mut audio, mut video) = (false, false);
        let (mut step, mut count, mut seconds) = (None, None, None);
        let (mut rate, mut size, mut lossy) = (100.0, 1_000, false);
        let mut interval = Duration::from_millis(500);
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(None),
                Long("url") => url = parser.value()?.string()?,
                Long("key") => key = parser.value()?.string()?,
                Long("secret") => secret = parser.value()?.string()?,
                Long("room") => room = parser.value()?.string()?,
                Long("dual") => dual = true,
                Long("timeout") => timeout = Duration::from_secs(parser.value()?.parse()?),
                Long("publishers") => publishers = Some(parser.value()?.parse()?),
                Long("subscribers") => subscribers = Some(parser.value()?.parse()?),
                Long("mutual") => mutual = true,
                Long("audio") => audio = true,
                Long("video") => video = true,
                Long("step") => step = Some(parser.value()?.parse()?),
                Long("count") => count = Some(parser.value()?.parse()?),
                Long("seconds") => {
                    seconds = Some(Duration::try_from_secs_f64(parser.value()?.parse()?)?);
                }
                Long("rate") => rate = parser.value()?.parse()?,
                Long("size") => size = parser.value()?.parse()?,
                Long("lossy") => lossy = true,
                Long("interval-ms") => interval = Duration::from_millis(parser.value()?.parse()?),
                Value(value) if name.is_none() => name = Some(value.string()?),
                argument => return Err(argument.unexpected().into()),
            }
        }
        let seconds = || seconds.ok_or("--seconds is missing");
        let scenario = match name.as_deref() {
            Some("media") => {
                let mut kinds = Vec::new();
                kinds.extend(audio.then_some(Kind::Audio));
                kinds.extend(video.then_some(Kind::Video));
                if kinds.is_empty() {
                    return Err("media needs --audio, --video or both".into());
                }
                let subscribers = match mutual {
                    true => 0,
                    false => subscribers.ok_or("media needs --subscribers or --mutual")?,
                };
                Scenario::Media(Media {
                    publishers: publishers.ok_or("media needs --publishers")?,
                    subscribers,
                    mutual,
                    kinds,
                    step,
                    time: seconds()?,
                })
            }
            Some("data") => Scenario::Data(Data {
                subscribers: subscribers.ok_or("data needs --subscribers")?,
                messages: Messages {
                    lossy,
                    interval: Duration::try_from_secs_f64(1.0 / rate)?,
                    size,
                },
                time: seconds()?,
            }),
            Some("joins") => Scenario::Joins {
                count: count.unwrap_or(30),
                interval,
            },
            Some("idle") => Scenario::Idle {
                count: count.unwrap_or(100),
                step: step.unwrap_or(50),
            },
            Some(other) => return Err(format!("no scenario is called {other}").into()),
            None => return Err("a scenario is missing: media, data, joins or idle".into()),
        };
        Ok(Some(Self {
            url,
            key,
            secret,
            room,
            dual,
            timeout,
            scenario,
        }))
    }

    /// The server, with names resolved and this side's address found.
    pub(crate) fn server(&self) -> Result<Server> {
        let rest = self
            .url
            .strip_prefix("ws://")
            .or_else(|| self.url.strip_prefix("http://"))
            .ok_or("the URL must start with ws:// or http://")?
            .trim_end_matches('/');
        let host = rest.split('/').next().unwrap_or_default();
        let address = resolve(host)?;
        // Connecting a UDP socket sends nothing, and says which address leads there.
        let unspecified: SocketAddr = match address {
            SocketAddr::V4(_) => ([0; 4], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let probe = UdpSocket::bind(unspecified)?;
        probe.connect(address)?;
        let provider = str0m::crypto::from_feature_flags();
        let cert = provider.dtls_provider.generate_certificate();
        Ok(Server {
            address,
            url: format!("ws://{rest}"),
            key: self.key.clone(),
            secret: self.secret.clone(),
            room: self.room.clone(),
            dual: self.dual,
            local_ip: probe.local_addr()?.ip(),
            cert: cert.ok_or("no DTLS certificate could be made")?,
        })
    }
}

fn resolve(host: &str) -> Result<SocketAddr> {
    // An IPv6 address in brackets has colons of its own.
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.ends_with(']'));
    let host = match has_port {
        true => host.to_owned(),
        false => format!("{host}:80"),
    };
    let mut addresses = host
        .to_socket_addrs()
        .map_err(|error| format!("{host}: {error}"))?;
    Ok(addresses.next().ok_or("the host has no address")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(lexopt::Parser::from_args(line.split_whitespace()))
    }

    fn error_of(line: &str) -> String {
        parse(line).err().unwrap().to_string()
    }

    #[test]
    fn options_stand_before_and_behind_the_scenario() {
        let line = "--key k media --publishers 5 --audio --subscribers 40 --dual --seconds 2.5";
        let options = parse(line).unwrap().unwrap();
        assert_eq!((options.key.as_str(), options.dual), ("k", true));
        let Scenario::Media(media) = options.scenario else {
            panic!("another scenario");
        };
        assert_eq!((media.publishers, media.subscribers), (5, 40));
        assert_eq!(media.kinds, [Kind::Audio]);
        assert_eq!(media.time, Duration::from_millis(2_500));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        assert!(error_of("").contains("a scenario is missing"));
        assert!(error_of("dance").contains("dance"));
        assert!(error_of("idle --speed 3").contains("--speed"));
        assert!(error_of("media --publishers 1 --video --subscribers 1").contains("--seconds"));
        assert!(error_of("media --publishers 1 --subscribers 1 --seconds 1").contains("--audio"));
        assert!(error_of("data --subscribers 1 --rate 0 --seconds 1").contains("float"));
        assert!(parse("media --help").unwrap().is_none());
    }

    #[test]
    fn a_url_without_a_port_means_port_80() {
        assert_eq!(resolve("127.0.0.1").unwrap().port(), 80);
        assert_eq!(resolve("127.0.0.1:7880").unwrap().port(), 7880);
        assert_eq!(resolve("[::1]").unwrap().port(), 80);
        assert_eq!(resolve("[::1]:7880").unwrap().port(), 7880);
    }
}
