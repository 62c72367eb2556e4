//! Frames that pass as they are between two ends in one process, in place of encoded ones.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A frame; what it is, its two ends know.
#[derive(Clone)]
pub struct Content(Arc<dyn Any + Send + Sync>);

impl Content {
    #[must_use]
    pub fn new(frame: impl Any + Send + Sync) -> Self {
        Self(Arc::new(frame))
    }

    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content")
    }
}

/// What is said of a section, in order with RTP.
#[derive(Clone, Debug)]
pub enum Plain {
    /// A frame of it; of sound with its level in −dBov.
    Frame {
        mid: String,
        content: Content,
        level: Option<u8>,
    },
    /// Its frames come encoded alone from here on.
    End { mid: String },
    /// To who sends it: whether somebody needs it encoded as well.
    Encode { mid: String, wanted: bool },
}

impl Plain {
    /// Whether it may be lost.
    pub(crate) fn is_frame(&self) -> bool {
        matches!(self, Self::Frame { .. })
    }
}
