//! Pictures between the forms that cameras, codecs and programs have them in. Colours are those of WebRTC:
//! BT.601 with limited range.
//!
//! Everything goes by way of two forms: 8-bit planes of any subsampling, and RGBA. Planes become other planes
//! without turning into colours.
#![forbid(unsafe_code)]

mod color;
mod planes;

use planes::Planes;

/// Pixels of a picture's side at most; more is refused.
pub const LONGEST_SIDE: usize = 16_384;

/// `livekit.proto.VideoBufferType`, with the numbers of that. RGB forms are named by the order of their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Rgba,
    Abgr,
    Argb,
    Bgra,
    Rgb24,
    I420,
    I420A,
    I422,
    I444,
    /// 10 bits in two bytes, little-endian.
    I010,
    Nv12,
}

impl Format {
    pub const ALL: [Self; 11] = [
        Self::Rgba,
        Self::Abgr,
        Self::Argb,
        Self::Bgra,
        Self::Rgb24,
        Self::I420,
        Self::I420A,
        Self::I422,
        Self::I444,
        Self::I010,
        Self::Nv12,
    ];

    #[must_use]
    pub fn from_number(number: usize) -> Option<Self> {
        Self::ALL.get(number).copied()
    }

    /// Bytes of a pixel; `None` for planes.
    fn pixel(self) -> Option<usize> {
        match self {
            Self::Rgba | Self::Abgr | Self::Argb | Self::Bgra => Some(4),
            Self::Rgb24 => Some(3),
            _ => None,
        }
    }

    /// By how much chroma is smaller, in bits: across, down.
    fn subsampling(self) -> (u32, u32) {
        match self {
            Self::I444 => (0, 0),
            Self::I422 => (1, 0),
            _ => (1, 1),
        }
    }

    /// Bytes of a picture, without gaps.
    #[must_use]
    pub fn size(self, width: usize, height: usize) -> usize {
        if let Some(bytes) = self.pixel() {
            return width * height * bytes;
        }
        let (across, down) = self.subsampling();
        let chroma = shrunk(width, across) * shrunk(height, down) * 2;
        match self {
            Self::I420A => width * height * 2 + chroma,
            Self::I010 => (width * height + chroma) * 2,
            _ => width * height + chroma,
        }
    }
}

fn shrunk(side: usize, bits: u32) -> usize {
    (side + (1 << bits) - 1) >> bits
}

/// Why a picture cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a picture of {width}x{height} in {format:?} takes {expected} bytes, not {found}")]
    Size {
        format: Format,
        width: usize,
        height: usize,
        expected: usize,
        found: usize,
    },
    #[error("pictures have sides of 1 to {LONGEST_SIDE} pixels, not {width}x{height}")]
    Sides { width: usize, height: usize },
}

fn check_sides(width: usize, height: usize) -> Result<(), Error> {
    let sides = 1..=LONGEST_SIDE;
    if sides.contains(&width) && sides.contains(&height) {
        return Ok(());
    }
    Err(Error::Sides { width, height })
}

/// Whether `data` can be a picture of that size and form.
fn check(data: &[u8], width: usize, height: usize, format: Format) -> Result<(), Error> {
    check_sides(width, height)?;
    let expected = format.size(width, height);
    if data.len() == expected {
        return Ok(());
    }
    Err(Error::Size {
        format,
        width,
        height,
        expected,
        found: data.len(),
    })
}

/// Converts a picture, upside down if asked.
///
/// # Errors
/// When `data` is not a picture of that size and form.
pub fn convert(
    data: &[u8],
    width: usize,
    height: usize,
    from: Format,
    to: Format,
    flip: bool,
) -> Result<Vec<u8>, Error> {
    check(data, width, height, from)?;
    let (across, down) = to.subsampling();
    let mut planes = match (from.pixel(), to.pixel()) {
        (Some(_), Some(pixel)) => {
            let mut out = color::reorder(data, from, to);
            if flip {
                planes::flip(&mut out, width * pixel);
            }
            return Ok(out);
        }
        (Some(_), None) => color::to_planes(
            data,
            width,
            height,
            from,
            (across, down),
            to == Format::I420A,
        ),
        (None, _) => Planes::read(data, width, height, from),
    };
    if flip {
        planes.flip();
    }
    Ok(match to.pixel() {
        Some(_) => color::from_planes(&planes, to),
        None => planes.subsample(across, down).write(to),
    })
}

/// A picture as I420 in each of `sizes`: means of what lies under each pixel, or the nearest one.
///
/// # Errors
/// When `data` is not a picture of that size and form.
pub fn fit(
    data: &[u8],
    (width, height): (usize, usize),
    from: Format,
    sizes: &[(usize, usize)],
) -> Result<Vec<Vec<u8>>, Error> {
    check(data, width, height, from)?;
    for (width, height) in sizes {
        check_sides(*width, *height)?;
    }
    let planes = Planes::in_i420(data, width, height, from);
    let fitted = sizes
        .iter()
        .map(|(width, height)| planes.scale(*width, *height).write(Format::I420));
    Ok(fitted.collect())
}

/// A picture as I420, turned clockwise by so many quarters.
///
/// # Errors
/// When `data` is not a picture of that size and form.
pub fn turn(
    data: &[u8],
    (width, height): (usize, usize),
    from: Format,
    quarters: usize,
) -> Result<Vec<u8>, Error> {
    check(data, width, height, from)?;
    let planes = Planes::in_i420(data, width, height, from);
    Ok(planes.turn(quarters).write(Format::I420))
}

#[cfg(test)]
mod tests;
