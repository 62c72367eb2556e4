//! Encoded frames on their way to Python.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use roomful_media::client::{Decryption, FrameReader, PacketSink, ReceivedFrame, Synchronization};
use roomful_media::io::clients::{Inbox, Notifier};
use roomful_media::plain::Content;
use roomful_media::statistics::Report;
use roomful_media::track::MediaPacket;

use crate::interpreter;

/// A wake-up that Python gave.
pub(crate) fn waker(wake: Py<PyAny>) -> impl Fn() + Send + Sync + 'static {
    move || {
        // No interpreter any more: nobody is left to wake.
        let _ = interpreter::enter(|py| {
            if let Err(error) = wake.call0(py) {
                // The event loop is closed; what came stays queued for a last look.
                log::debug!("wake-up failed: {error}");
            }
        });
    }
}

/// A bounded queue of encoded frames. When it is full, what lies before the newest key frame is dropped; without
/// one everything, and a key frame is asked for.
#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct FrameSink {
    inbox: Arc<Inbox<Item>>,
    decoded: Arc<Decoded>,
}

/// What is queued.
enum Item {
    Encoded(ReceivedFrame),
    /// A Python object, as its sender gave it.
    Plain(Content),
}

impl Item {
    fn is_key(&self) -> bool {
        match self {
            Self::Encoded(frame) => frame.frame.key,
            Self::Plain(_) => true,
        }
    }
}

/// What became of its frames.
#[derive(Default)]
struct Decoded(Mutex<Decoding>);

#[derive(Clone, Copy, Default)]
struct Decoding {
    frames: u64,
    key_frames: u64,
    dropped: u64,
    width: u32,
    height: u32,
    seconds: f64,
    last: Option<Instant>,
    /// Seconds between frames, and the sum of their squares.
    between: (f64, f64),
}

impl Decoded {
    fn lock(&self) -> MutexGuard<'_, Decoding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts frames together, and takes those that come whole; with what Python says of them.
struct Entry<R> {
    reader: R,
    inbox: Arc<Inbox<Item>>,
    notifier: Arc<Notifier>,
    decoded: Arc<Decoded>,
}

impl<R: PacketSink> PacketSink for Entry<R> {
    fn packet(&mut self, now: Instant, packet: &Arc<MediaPacket>) {
        self.reader.packet(now, packet);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.reader.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.reader.handle_timeout(now);
    }

    fn plain(&mut self, _: Instant, frame: &Content) {
        if frame.get::<Py<PyAny>>().is_some() {
            self.notifier
                .deliver(&self.inbox, [Item::Plain(frame.clone())]);
        }
    }

    fn decrypt(&mut self, by: Option<Decryption>) {
        self.reader.decrypt(by);
    }

    fn synchronize(&mut self, with: Option<Synchronization>) {
        self.reader.synchronize(with);
    }

    fn needs_keyframe(&mut self, now: Instant) -> bool {
        self.reader.needs_keyframe(now)
    }

    fn describe(&self, now: Instant, report: &mut Report) {
        self.reader.describe(now, report);
        let decoded = *self.decoded.lock();
        report.count("framesDecoded", decoded.frames);
        report.count("keyFramesDecoded", decoded.key_frames);
        report.count("framesDropped", decoded.dropped);
        report.total("totalDecodeTime", decoded.seconds);
        report.total("totalProcessingDelay", decoded.seconds);
        report.total("totalInterFrameDelay", decoded.between.0);
        report.total("totalSquaredInterFrameDelay", decoded.between.1);
        report.set("frameWidth", decoded.width);
        report.set("frameHeight", decoded.height);
        if decoded.frames > 0 {
            report.set("decoderImplementation", "FFmpeg");
        }
    }
}

impl FrameSink {
    /// The end of the queue that packets are put in.
    pub(crate) fn entry(&self, notifier: Arc<Notifier>) -> Box<dyn PacketSink> {
        let inbox = Arc::clone(&self.inbox);
        let capacity = inbox.capacity();
        let mut starved = false;
        let decoded = Arc::clone(&self.decoded);
        let (own, waking) = (Arc::clone(&inbox), Arc::clone(&notifier));
        let reader = FrameReader::new(move |frame| {
            waking.change(&own, |queue| {
                let before = queue.len() + 1;
                starved = !enqueue(queue, capacity, starved, Item::Encoded(frame));
                decoded.lock().dropped += (before - queue.len()) as u64;
            });
            !starved
        });
        Box::new(Entry {
            reader,
            inbox,
            notifier,
            decoded: Arc::clone(&self.decoded),
        })
    }

    /// Tells sinks apart.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.inbox) as usize
    }
}

/// Whether decoding can go on after it.
fn enqueue(queue: &mut VecDeque<Item>, capacity: usize, starved: bool, frame: Item) -> bool {
    let key = frame.is_key();
    if starved && !key {
        return false;
    }
    if queue.len() >= capacity {
        let newest = queue.iter().rposition(Item::is_key);
        match newest.filter(|at| *at > 0 && !key) {
            Some(at) => drop(queue.drain(..at)),
            None => queue.clear(),
        }
        if queue.is_empty() && !key {
            return false;
        }
    }
    queue.push_back(frame);
    true
}

type Taken<'py> = (Bound<'py, PyAny>, u64, bool, &'static str, u16);

#[pymethods]
impl FrameSink {
    #[new]
    fn new(wake: Py<PyAny>, capacity: usize) -> Self {
        let inbox = Inbox::new(capacity.max(1), waker(wake));
        Self {
            inbox: Arc::new(inbox),
            decoded: Arc::default(),
        }
    }

    /// (frame, RTP time without wraps, whether it is a key frame, codec, clockwise degrees that it is to be
    /// turned by) of each. Of those that were passed as they are, what was given to `Peer.send_plain`, 0, true,
    /// "plain" and 0.
    fn take<'py>(&self, py: Python<'py>) -> Vec<Taken<'py>> {
        let frames = self.inbox.take().into_iter();
        frames
            .filter_map(|it| match it {
                Item::Encoded(it) => {
                    let data = PyBytes::new(py, &it.frame.data).into_any();
                    let codec = it.frame.codec.name();
                    Some((data, it.timestamp, it.frame.key, codec, it.rotation))
                }
                Item::Plain(content) => {
                    let frame = content.get::<Py<PyAny>>()?;
                    Some((frame.bind(py).clone(), 0, true, "plain", 0))
                }
            })
            .collect()
    }

    /// Tells of a picture, for statistics: its size, and the seconds that decoding it took.
    fn decoded(&self, width: u32, height: u32, key: bool, seconds: f64) {
        let mut decoded = self.decoded.lock();
        decoded.frames += 1;
        decoded.key_frames += u64::from(key);
        (decoded.width, decoded.height) = (width, height);
        decoded.seconds += seconds;
        let now = Instant::now();
        if let Some(last) = decoded.last.replace(now) {
            let between = now.saturating_duration_since(last).as_secs_f64();
            decoded.between.0 += between;
            decoded.between.1 += between * between;
        }
    }

    fn close(&self) {
        self.inbox.close();
    }
}
