//! Several sounds as one.

/// Adds streams up, sample by sample. What is shorter than the longest is silent after its end; sums
/// beyond 16 bits saturate.
pub fn mix<S: AsRef<[i16]>>(streams: &[S]) -> Vec<i16> {
    let len = streams
        .iter()
        .map(|stream| stream.as_ref().len())
        .max()
        .unwrap_or(0);
    let mut sums = vec![0i32; len];
    for stream in streams {
        for (sum, &sample) in sums.iter_mut().zip(stream.as_ref()) {
            *sum = sum.saturating_add(i32::from(sample));
        }
    }
    sums.into_iter()
        .map(|sum| sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_and_short_streams_end_early() {
        let streams: [&[i16]; 3] = [&[1, 30_000, -30_000, 4], &[2, 30_000, -30_000], &[]];
        assert_eq!(mix(&streams), [3, i16::MAX, i16::MIN, 4]);
        assert!(mix::<Vec<i16>>(&[]).is_empty());
    }
}
