//! Colours to luma and chroma and back, in fixed point: BT.601, limited range.
//!
//! Loops are compiled for each layout of a pixel: `R`, `G`, `B` and `A` say where its bytes lie among `N`;
//! an `A` of `N` means that there is none.

use crate::planes::Planes;
use crate::{Format, shrunk};

/// Calls a function with the layout of a format.
macro_rules! with_layout {
    ($format:expr, $function:ident($($argument:expr),*)) => {
        match $format {
            Format::Abgr => $function::<3, 2, 1, 0, 4>($($argument),*),
            Format::Argb => $function::<1, 2, 3, 0, 4>($($argument),*),
            Format::Bgra => $function::<2, 1, 0, 3, 4>($($argument),*),
            Format::Rgb24 => $function::<0, 1, 2, 3, 3>($($argument),*),
            _ => $function::<0, 1, 2, 3, 4>($($argument),*),
        }
    };
}

/// From one format of colours to another.
pub(crate) fn reorder(data: &[u8], from: Format, to: Format) -> Vec<u8> {
    if from == to {
        return data.to_vec();
    }
    let rgba = with_layout!(from, to_rgba(data));
    match to {
        Format::Rgba => rgba.into_flattened(),
        _ => with_layout!(to, from_rgba(&rgba)),
    }
}

fn to_rgba<const R: usize, const G: usize, const B: usize, const A: usize, const N: usize>(
    data: &[u8],
) -> Vec<[u8; 4]> {
    let pixels = data.as_chunks::<N>().0.iter();
    pixels
        .map(|pixel| {
            [
                pixel[R],
                pixel[G],
                pixel[B],
                if A < N { pixel[A] } else { 255 },
            ]
        })
        .collect()
}

fn from_rgba<const R: usize, const G: usize, const B: usize, const A: usize, const N: usize>(
    rgba: &[[u8; 4]],
) -> Vec<u8> {
    let pixels = rgba.iter().map(|[red, green, blue, alpha]| {
        let mut pixel = [0; N];
        if A < N {
            pixel[A] = *alpha;
        }
        (pixel[R], pixel[G], pixel[B]) = (*red, *green, *blue);
        pixel
    });
    pixels.collect::<Vec<[u8; N]>>().into_flattened()
}

pub(crate) fn to_planes(
    data: &[u8],
    width: usize,
    height: usize,
    format: Format,
    (across, down): (u32, u32),
    with_alpha: bool,
) -> Planes {
    with_layout!(
        format,
        planes_of(data, width, height, (across, down), with_alpha)
    )
}

fn planes_of<const R: usize, const G: usize, const B: usize, const A: usize, const N: usize>(
    data: &[u8],
    width: usize,
    height: usize,
    (across, down): (u32, u32),
    with_alpha: bool,
) -> Planes {
    let pixels = data.as_chunks::<N>().0;
    // Sixteen bits are enough for all of it, and many of them are added at once.
    let luma = |pixel: &[u8; N]| {
        let [red, green, blue] = [R, G, B].map(|at| u16::from(pixel[at]));
        ((66 * red + 129 * green + 25 * blue + 0x1080) >> 8) as u8
    };
    // Chroma is that of the mean of the pixels under it; of four, where there are fewer the same ones again.
    let chroma = |under: [&[u8; N]; 4]| {
        let mean = |at: usize| (under.iter().map(|it| u16::from(it[at])).sum::<u16>() + 2) >> 2;
        let (red, green, blue) = (mean(R), mean(G), mean(B));
        (
            ((112 * blue + 0x8080 - 74 * green - 38 * red) >> 8) as u8,
            ((112 * red + 0x8080 - 94 * green - 18 * blue) >> 8) as u8,
        )
    };
    let chroma_width = shrunk(width, across);
    let chroma_size = chroma_width * shrunk(height, down);
    let (mut blues, mut reds) = (vec![0; chroma_size], vec![0; chroma_size]);
    let out = blues
        .chunks_mut(chroma_width)
        .zip(reds.chunks_mut(chroma_width));
    for (lines, (blues, reds)) in pixels.chunks(width << down).zip(out) {
        let above = &lines[..width];
        let below = &lines[lines.len() - width..];
        let out = blues.iter_mut().zip(reds);
        if across == 0 {
            for ((above, below), (blue, red)) in above.iter().zip(below).zip(out) {
                (*blue, *red) = chroma([above, above, below, below]);
            }
            continue;
        }
        let (above, above_last) = above.as_chunks();
        let (below, below_last) = below.as_chunks();
        let mut out = out;
        for (([a, b], [c, d]), (blue, red)) in above.iter().zip(below).zip(&mut out) {
            (*blue, *red) = chroma([a, b, c, d]);
        }
        if let ([a], [b], Some((blue, red))) = (above_last, below_last, out.next()) {
            (*blue, *red) = chroma([a, a, b, b]);
        }
    }
    Planes {
        width,
        height,
        across,
        down,
        luma: pixels.iter().map(luma).collect(),
        blue: blues,
        red: reds,
        alpha: (with_alpha && A < N).then(|| pixels.iter().map(|pixel| pixel[A]).collect()),
    }
}

pub(crate) fn from_planes(planes: &Planes, format: Format) -> Vec<u8> {
    with_layout!(format, colors_of(planes))
}

fn colors_of<const R: usize, const G: usize, const B: usize, const A: usize, const N: usize>(
    planes: &Planes,
) -> Vec<u8> {
    let mut out = vec![[255; N]; planes.width * planes.height];
    let chroma_width = planes.chroma_width();
    // What chroma adds to red, green and blue, for a line.
    let mut shifts = vec![[0i32; 3]; planes.width];
    let lines = out
        .chunks_mut(planes.width)
        .zip(planes.luma.chunks(planes.width));
    for (y, (line, lumas)) in lines.enumerate() {
        if y & ((1 << planes.down) - 1) == 0 {
            let start = (y >> planes.down) * chroma_width;
            let blues = planes.blue.iter().skip(start);
            let reds = planes.red.iter().skip(start);
            let under = shifts.chunks_mut(1 << planes.across);
            for (under, (blue, red)) in under.zip(blues.zip(reds)) {
                let (u, v) = (i32::from(*blue) - 128, i32::from(*red) - 128);
                under.fill([409 * v, -100 * u - 208 * v, 516 * u]);
            }
        }
        for ((pixel, luma), shift) in line.iter_mut().zip(lumas).zip(&shifts) {
            let base = 298 * (i32::from(*luma) - 16) + 128;
            let [red, green, blue] = shift.map(|shift| ((base + shift) >> 8).clamp(0, 255) as u8);
            (pixel[R], pixel[G], pixel[B]) = (red, green, blue);
        }
    }
    if A < N
        && let Some(alphas) = &planes.alpha
    {
        for (pixel, alpha) in out.iter_mut().zip(alphas) {
            pixel[A] = *alpha;
        }
    }
    out.into_flattened()
}
