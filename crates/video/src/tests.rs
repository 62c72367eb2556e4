use super::*;

/// A smooth picture with odd sides.
fn picture(width: usize, height: usize) -> Vec<u8> {
    let mut data = Vec::new();
    for y in 0..height {
        for x in 0..width {
            data.extend([
                (255 * x / width) as u8,
                (255 * y / height) as u8,
                (128 + 64 * (x + y) / (width + height)) as u8,
                255,
            ]);
        }
    }
    data
}

fn furthest(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    differences.max().unwrap_or(0)
}

#[test]
fn every_form_turns_into_every_other_with_the_same_picture() {
    let (width, height) = (99, 65);
    let original = picture(width, height);
    for from in Format::ALL {
        let first = convert(&original, width, height, Format::Rgba, from, false).unwrap();
        assert_eq!(first.len(), from.size(width, height), "{from:?}");
        for to in Format::ALL {
            let second = convert(&first, width, height, from, to, false).unwrap();
            let back = convert(&second, width, height, to, Format::Rgba, false).unwrap();
            let off = furthest(&back, &original);
            assert!(off <= 10, "{from:?} to {to:?}: {off}");
        }
    }
}

#[test]
fn colours_are_those_of_limited_range() {
    let pixel = |color: [u8; 3]| convert(&color, 1, 1, Format::Rgb24, Format::I420, false).unwrap();
    assert_eq!(pixel([255, 255, 255]), [235, 128, 128]);
    assert_eq!(pixel([0, 0, 0]), [16, 128, 128]);
    assert_eq!(pixel([255, 0, 0]), [82, 90, 240]);
    assert_eq!(pixel([0, 0, 255]), [41, 240, 110]);
    let white = convert(&[235, 128, 128], 1, 1, Format::I420, Format::Bgra, false).unwrap();
    assert_eq!(white, [255, 255, 255, 255]);
}

#[test]
fn bytes_are_where_the_name_says() {
    let rgba = [1, 2, 3, 4];
    let to = |format| convert(&rgba, 1, 1, Format::Rgba, format, false).unwrap();
    assert_eq!(to(Format::Abgr), [4, 3, 2, 1]);
    assert_eq!(to(Format::Argb), [4, 1, 2, 3]);
    assert_eq!(to(Format::Bgra), [3, 2, 1, 4]);
    assert_eq!(to(Format::Rgb24), [1, 2, 3]);
    let opaque = convert(&[1, 2, 3], 1, 1, Format::Rgb24, Format::Argb, false).unwrap();
    assert_eq!(opaque, [255, 1, 2, 3]);
}

#[test]
fn transparency_survives_in_the_forms_that_have_it() {
    let mut data = picture(8, 8);
    data.iter_mut()
        .skip(3)
        .step_by(4)
        .enumerate()
        .for_each(|(n, alpha)| *alpha = n as u8);
    let planes = convert(&data, 8, 8, Format::Rgba, Format::I420A, false).unwrap();
    let back = convert(&planes, 8, 8, Format::I420A, Format::Rgba, false).unwrap();
    let alphas: Vec<u8> = back.into_iter().skip(3).step_by(4).collect();
    assert!(alphas.into_iter().eq(0..64));
}

#[test]
fn flipping_twice_changes_nothing_in_any_form() {
    let original = picture(6, 5);
    for format in Format::ALL {
        let once = convert(&original, 6, 5, Format::Rgba, format, false).unwrap();
        let flipped = convert(&once, 6, 5, format, format, true).unwrap();
        assert_ne!(flipped, once, "{format:?}");
        assert_eq!(convert(&flipped, 6, 5, format, format, true).unwrap(), once);
    }
}

#[test]
fn a_picture_keeps_its_looks_when_scaled() {
    let original = convert(
        &picture(640, 360),
        640,
        360,
        Format::Rgba,
        Format::I420,
        false,
    )
    .unwrap();
    let sizes = [(320, 180), (213, 121), (1, 1), (800, 450)];
    let fitted = fit(&original, (640, 360), Format::I420, &sizes).unwrap();
    for ((width, height), scaled) in sizes.into_iter().zip(fitted) {
        assert_eq!(scaled.len(), Format::I420.size(width, height));
        let mean =
            |plane: &[u8]| plane.iter().map(|it| u64::from(*it)).sum::<u64>() / plane.len() as u64;
        let (before, after) = (
            mean(&original[..640 * 360]),
            mean(&scaled[..width * height]),
        );
        assert!(
            before.abs_diff(after) <= 2,
            "{width}x{height}: {before} {after}"
        );
    }
}

#[test]
fn a_picture_of_any_form_fits_every_size_at_once() {
    let original = picture(64, 36);
    let as_i420 = convert(&original, 64, 36, Format::Rgba, Format::I420, false).unwrap();
    let sizes = [(64, 36), (32, 18)];
    let expected = fit(&as_i420, (64, 36), Format::I420, &sizes).unwrap();
    assert_eq!(expected[0], as_i420);
    assert_eq!(
        fit(&original, (64, 36), Format::Rgba, &sizes).unwrap(),
        expected
    );
}

#[test]
fn a_picture_is_turned_clockwise() {
    let size = (3, 2);
    let data = [1, 2, 3, 4, 5, 6, 10, 20, 30, 40];
    let turned = |quarters| turn(&data, size, Format::I420, quarters).unwrap();
    assert_eq!(turned(0), data);
    assert_eq!(turned(1), [4, 1, 5, 2, 6, 3, 10, 20, 30, 40]);
    assert_eq!(turned(2), [6, 5, 4, 3, 2, 1, 20, 10, 40, 30]);
    assert_eq!(turned(3), [3, 6, 2, 5, 1, 4, 20, 10, 40, 30]);
}

#[test]
fn a_picture_of_any_form_is_turned_by_every_quarter() {
    let original = picture(99, 65);
    for format in Format::ALL {
        let data = convert(&original, 99, 65, Format::Rgba, format, false).unwrap();
        let mut once = turn(&data, (99, 65), format, 1).unwrap();
        assert_eq!(
            turn(&once, (65, 99), Format::I420, 1),
            turn(&data, (99, 65), format, 2)
        );
        once = turn(&once, (65, 99), Format::I420, 3).unwrap();
        assert_eq!(Ok(once), turn(&data, (99, 65), format, 0), "{format:?}");
    }
}

#[test]
fn what_is_no_picture_is_refused() {
    let refused = convert(&[0; 11], 2, 2, Format::Rgb24, Format::I420, false);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "a picture of 2x2 in Rgb24 takes 12 bytes, not 11"
    );
    for (width, height) in [(0, 5), (5, 0), (usize::MAX, 2), (16_385, 1)] {
        assert!(convert(&[], width, height, Format::I420, Format::Rgba, false).is_err());
        assert!(fit(&[0; 6], (2, 2), Format::I420, &[(1, 1), (width, height)]).is_err());
    }
}
