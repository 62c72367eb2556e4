//! The loads, step by step. Each prints JSON lines and waits for newlines as `--help` says.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Result;
use crate::client::{Client, Kind, Messages, Role};
use crate::options::Scenario;
use crate::report;
use crate::swarm::Swarm;

/// Runs a scenario to its end.
pub(crate) fn run(swarm: &mut Swarm, scenario: &Scenario) -> Result<()> {
    match scenario {
        Scenario::Media(media) => run_media(swarm, media),
        Scenario::Data(data) => run_data(swarm, data),
        Scenario::Joins { count, interval } => run_joins(swarm, *count, *interval),
        Scenario::Idle { count, step } => run_idle(swarm, *count, *step),
    }
}

/// Publishers and subscribers of tracks.
pub(crate) struct Media {
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    /// Everybody publishes and hears all others.
    pub(crate) mutual: bool,
    pub(crate) kinds: Vec<Kind>,
    /// Subscribers that join before each newline.
    pub(crate) step: Option<usize>,
    pub(crate) time: Duration,
}

/// One publisher of messages, and who gets them.
pub(crate) struct Data {
    pub(crate) subscribers: usize,
    pub(crate) messages: Messages,
    pub(crate) time: Duration,
}

fn subscriber() -> Role {
    Role {
        subscribes: true,
        ..Role::default()
    }
}

fn run_media(swarm: &mut Swarm, media: &Media) -> Result<()> {
    let mut tracks = 0..;
    let mut publishers = Vec::new();
    for _ in 0..media.publishers {
        publishers.push(Role {
            subscribes: media.mutual,
            tracks: media
                .kinds
                .iter()
                .map_while(|&kind| Some((tracks.next()?, kind)))
                .collect(),
            messages: None,
        });
    }
    swarm.join_all("publisher", publishers)?;
    swarm.run_until("every publisher to send", |swarm| {
        swarm.clients.iter().all(Client::is_sending)
    })?;
    let listeners = if media.mutual {
        media.publishers.saturating_sub(1)
    } else {
        let step = media.step.unwrap_or(media.subscribers).max(1);
        let mut left = media.subscribers;
        while left > 0 {
            let count = left.min(step);
            left -= count;
            swarm.join_all("subscriber", vec![subscriber(); count])?;
            hear_everything(swarm)?;
            if media.step.is_some() {
                joined(swarm, media.subscribers - left)?;
            }
        }
        media.subscribers
    };
    hear_everything(swarm)?;
    measure(swarm, listeners, media.time, "packets")
}

/// Runs until each subscriber heard each track of the others, key frames of videos included.
fn hear_everything(swarm: &mut Swarm) -> Result<()> {
    swarm.run_until("every subscriber to hear every track", |swarm| {
        let tracks = || swarm.clients.iter().flat_map(Client::tracks);
        let mut listeners = swarm.clients.iter().filter(|c| c.subscribes());
        listeners.all(|client| {
            tracks().all(|(track, kind)| {
                let heard = client.heard(track);
                client.publishes(track)
                    || match kind {
                        Kind::Audio => heard.first.is_some(),
                        Kind::Video => heard.first_key.is_some(),
                    }
            })
        })
    })
}

fn run_data(swarm: &mut Swarm, data: &Data) -> Result<()> {
    let publisher = Role {
        messages: Some(data.messages),
        ..Role::default()
    };
    swarm.join_all("subscriber", vec![subscriber(); data.subscribers])?;
    swarm.join_all("publisher", vec![publisher])?;
    swarm.run_until("the publisher's data channel to open", |swarm| {
        swarm.clients.iter().all(Client::is_sending)
    })?;
    swarm.run_until("every subscriber to get a message", |swarm| {
        let mut subscribers = swarm.clients.iter().filter(|c| c.subscribes());
        subscribers.all(|client| client.heard(0).first.is_some())
    })?;
    measure(swarm, data.subscribers, data.time, "messages")
}

/// From `ready` to `left`.
fn measure(swarm: &mut Swarm, listeners: usize, time: Duration, unit: &str) -> Result<()> {
    for client in &mut swarm.clients {
        client.listeners = listeners as u64;
    }
    report::event("ready", Map::new())?;
    swarm.wait_for_newline()?;
    report::event("measuring", Map::new())?;
    swarm.meter.start(std::time::Instant::now(), time);
    swarm.run_for(time)?;
    let mut measured = swarm.meter.finish(unit);
    measured.insert("seconds".into(), time.as_secs_f64().into());
    report::event("measured", measured)?;
    leave(swarm)
}

fn leave(swarm: &mut Swarm) -> Result<()> {
    swarm.wait_for_newline()?;
    swarm.leave()?;
    report::event("left", Map::new())
}

fn joined(swarm: &mut Swarm, count: usize) -> Result<()> {
    report::event("joined", object(json!({"count": count})))?;
    swarm.wait_for_newline()
}

fn run_joins(swarm: &mut Swarm, count: usize, interval: Duration) -> Result<()> {
    const AUDIO: u16 = 0;
    const VIDEO: u16 = 1;
    let publisher = Role {
        tracks: vec![(AUDIO, Kind::Audio), (VIDEO, Kind::Video)],
        ..Role::default()
    };
    swarm.join_all("publisher", vec![publisher])?;
    swarm.run_until("the publisher to send", |swarm| {
        swarm.clients.iter().all(Client::is_sending)
    })?;
    report::event("ready", Map::new())?;
    swarm.wait_for_newline()?;
    let mut joins = Vec::new();
    for _ in 0..count {
        // Not in step with the publisher's frames.
        let jitter = Duration::from_micros(fastrand::u64(..33_333));
        swarm.run_for(interval + jitter)?;
        let index = swarm.join("subscriber", subscriber())?;
        swarm.run_until("audio and a key frame after a join", |swarm| {
            let client = &swarm.clients[index];
            client.heard(AUDIO).first.is_some() && client.heard(VIDEO).first_key.is_some()
        })?;
        let client = &swarm.clients[index];
        let millis = |at: Option<std::time::Instant>| {
            at.map(|at| at.saturating_duration_since(client.started).as_secs_f64() * 1_000.0)
        };
        let join = json!({
            "signal_ms": millis(client.joined),
            "first_audio_ms": millis(client.heard(AUDIO).first),
            "first_keyframe_ms": millis(client.heard(VIDEO).first_key),
        });
        report::event("join", object(join.clone()))?;
        joins.push(join);
    }
    report::event("joins", object(json!({"joins": joins})))?;
    leave(swarm)
}

fn run_idle(swarm: &mut Swarm, count: usize, step: usize) -> Result<()> {
    let mut present = 0;
    while present < count {
        let more = step.clamp(1, count - present);
        swarm.join_all("idle", vec![subscriber(); more])?;
        present += more;
        joined(swarm, present)?;
    }
    swarm.leave()?;
    report::event("left", Map::new())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
