//! Luma and chroma as planes of bytes.

use crate::{Format, color, shrunk};

/// A picture of planes without gaps.
pub(crate) struct Planes {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Chroma is that much smaller, in bits: across, down.
    pub(crate) across: u32,
    pub(crate) down: u32,
    pub(crate) luma: Vec<u8>,
    pub(crate) blue: Vec<u8>,
    pub(crate) red: Vec<u8>,
    pub(crate) alpha: Option<Vec<u8>>,
}

/// Swaps the lines of `line` bytes.
pub(crate) fn flip(plane: &mut [u8], line: usize) {
    let lines = plane.len() / line.max(1);
    let (top, bottom) = plane.split_at_mut(lines / 2 * line);
    for (above, below) in top
        .chunks_exact_mut(line)
        .zip(bottom.chunks_exact_mut(line).rev())
    {
        above.swap_with_slice(below);
    }
}

impl Planes {
    pub(crate) fn chroma_width(&self) -> usize {
        shrunk(self.width, self.across)
    }

    fn chroma_height(&self) -> usize {
        shrunk(self.height, self.down)
    }

    /// `data` has the form's size.
    pub(crate) fn read(data: &[u8], width: usize, height: usize, format: Format) -> Self {
        let narrow;
        let data = if format == Format::I010 {
            narrow = narrowed(data);
            &narrow
        } else {
            data
        };
        let (across, down) = format.subsampling();
        let chroma = shrunk(width, across) * shrunk(height, down);
        let (luma, rest) = data.split_at(width * height);
        let (blue, red, alpha) = if format == Format::Nv12 {
            let pairs = || rest.as_chunks::<2>().0.iter();
            (
                pairs().map(|pair| pair[0]).collect(),
                pairs().map(|pair| pair[1]).collect(),
                None,
            )
        } else {
            let (blue, rest) = rest.split_at(chroma);
            let (red, alpha) = rest.split_at(chroma);
            let alpha = (format == Format::I420A).then(|| alpha.to_vec());
            (blue.to_vec(), red.to_vec(), alpha)
        };
        Self {
            width,
            height,
            across,
            down,
            luma: luma.to_vec(),
            blue,
            red,
            alpha,
        }
    }

    /// With the subsampling of I420; `data` has the form's size.
    pub(crate) fn in_i420(data: &[u8], width: usize, height: usize, format: Format) -> Self {
        match format.pixel() {
            Some(_) => color::to_planes(data, width, height, format, (1, 1), false),
            None => Self::read(data, width, height, format).subsample(1, 1),
        }
    }

    /// In a form of the same subsampling.
    pub(crate) fn write(self, format: Format) -> Vec<u8> {
        let alpha = (format == Format::I420A).then(|| {
            let opaque = vec![255; self.width * self.height];
            self.alpha.unwrap_or(opaque)
        });
        let mut out = self.luma;
        if format == Format::Nv12 {
            let pairs = self.blue.iter().zip(&self.red);
            out.extend(pairs.flat_map(|(blue, red)| [*blue, *red]));
        } else {
            out.extend_from_slice(&self.blue);
            out.extend_from_slice(&self.red);
        }
        out.extend(alpha.into_iter().flatten());
        if format == Format::I010 {
            return out
                .into_iter()
                .flat_map(|byte| (u16::from(byte) << 2).to_le_bytes())
                .collect();
        }
        out
    }

    pub(crate) fn flip(&mut self) {
        let chroma = self.chroma_width();
        flip(&mut self.luma, self.width);
        flip(&mut self.blue, chroma);
        flip(&mut self.red, chroma);
        if let Some(alpha) = &mut self.alpha {
            flip(alpha, self.width);
        }
    }

    /// Clockwise. Chroma is as much smaller across as down.
    pub(crate) fn turn(self, quarters: usize) -> Self {
        let chroma = self.chroma_width();
        let (width, height) = match quarters % 2 {
            0 => (self.width, self.height),
            _ => (self.height, self.width),
        };
        Self {
            luma: turned(&self.luma, self.width, quarters),
            blue: turned(&self.blue, chroma, quarters),
            red: turned(&self.red, chroma, quarters),
            alpha: self.alpha.map(|it| turned(&it, self.width, quarters)),
            width,
            height,
            ..self
        }
    }

    /// With chroma of another size.
    pub(crate) fn subsample(self, across: u32, down: u32) -> Self {
        if (across, down) == (self.across, self.down) {
            return self;
        }
        let from = (self.chroma_width(), self.chroma_height());
        let to = (shrunk(self.width, across), shrunk(self.height, down));
        Self {
            blue: resized(&self.blue, from, to),
            red: resized(&self.red, from, to),
            across,
            down,
            ..self
        }
    }

    pub(crate) fn scale(&self, width: usize, height: usize) -> Self {
        let luma = (self.width, self.height);
        let chroma = (self.chroma_width(), self.chroma_height());
        let to = (width, height);
        let to_chroma = (shrunk(width, self.across), shrunk(height, self.down));
        Self {
            luma: resized(&self.luma, luma, to),
            blue: resized(&self.blue, chroma, to_chroma),
            red: resized(&self.red, chroma, to_chroma),
            alpha: self.alpha.as_ref().map(|it| resized(it, luma, to)),
            width,
            height,
            ..*self
        }
    }
}

/// Clockwise, by so many quarters; lines are of `width`.
fn turned(plane: &[u8], width: usize, quarters: usize) -> Vec<u8> {
    let column = |at: usize| plane.iter().skip(at).step_by(width).copied();
    let mut out = Vec::with_capacity(plane.len());
    match quarters % 4 {
        0 => out.extend_from_slice(plane),
        1 => (0..width).for_each(|at| out.extend(column(at).rev())),
        2 => out.extend(plane.iter().rev()),
        _ => (0..width).rev().for_each(|at| out.extend(column(at))),
    }
    out
}

/// Eight of ten bits.
fn narrowed(data: &[u8]) -> Vec<u8> {
    let values = data.as_chunks().0.iter();
    values
        .map(|value| (u16::from_le_bytes(*value) >> 2).min(255) as u8)
        .collect()
}

/// The source pixels under each pixel of a side.
fn spans(from: usize, to: usize) -> Vec<std::ops::Range<usize>> {
    (0..to)
        .map(|at| {
            let start = at * from / to;
            start..((at + 1) * from / to).clamp(start + 1, from.max(start + 1))
        })
        .collect()
}

fn resized(plane: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    if from == to {
        return plane.to_vec();
    }
    let half = (from.0 / 2, from.1 / 2);
    if (half.0 * 2, half.1 * 2) == from
        && half.0.is_multiple_of(to.0)
        && half.1.is_multiple_of(to.1)
    {
        return resized(&halved(plane, from.0), half, to);
    }
    let columns = spans(from.0, to.0);
    let mut out = Vec::with_capacity(to.0 * to.1);
    let mut sums = vec![0u32; from.0];
    for rows in spans(from.1, to.1) {
        sums.fill(0);
        let lines = plane.chunks_exact(from.0);
        for line in lines.skip(rows.start).take(rows.len()) {
            for (sum, pixel) in sums.iter_mut().zip(line) {
                *sum += u32::from(*pixel);
            }
        }
        out.extend(columns.iter().map(|columns| {
            let count = (columns.len() * rows.len()) as u32;
            let under = sums.get(columns.clone()).unwrap_or_default();
            ((under.iter().sum::<u32>() + count / 2) / count) as u8
        }));
    }
    out
}

/// Of lines of `width`, which is even as is their number.
fn halved(plane: &[u8], width: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(plane.len() / 4);
    for lines in plane.chunks_exact(2 * width) {
        let (above, below) = lines.split_at(width);
        let (above, below) = (above.as_chunks().0, below.as_chunks().0);
        out.extend(above.iter().zip(below).map(|([a, b], [c, d])| {
            let sum = [a, b, c, d].map(|it| u16::from(*it)).iter().sum::<u16>();
            ((sum + 2) >> 2) as u8
        }));
    }
    out
}
