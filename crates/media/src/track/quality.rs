//! Connection quality: a score per track in the manner of the E-model (ITU-T G.107), from loss, jitter
//! and round trip, and for video also from the layers that are missing.

/// What one track went through since the last score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Packets that were expected, and of them lost for good.
    pub expected: u64,
    pub lost: u64,
    pub jitter_ms: f32,
    pub rtt_ms: f32,
    /// Video: layers below the wanted one that are forwarded instead (0 = as wanted).
    pub missing_layers: u8,
    pub video: bool,
    /// Audio with redundancy takes more loss.
    pub redundant: bool,
    /// An unmuted published track from which nothing came.
    pub silent: bool,
}

/// `livekit.ConnectionQuality`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quality {
    Poor = 0,
    Good = 1,
    Excellent = 2,
    Lost = 3,
}

/// 0 (lost) to 100 (nothing to complain of).
#[must_use]
pub fn score(track: &Impairment) -> f32 {
    if track.silent {
        return 0.0;
    }
    if track.expected == 0 {
        return 100.0;
    }
    let loss = 100.0 * track.lost as f32 / track.expected as f32;
    // One-way delay with the jitter buffer it takes; beyond 160 ms each millisecond weighs more.
    let delay = track.rtt_ms / 2.0 + 2.0 * track.jitter_ms;
    let delay_impairment = if delay < 160.0 {
        delay / 40.0
    } else {
        (delay - 120.0) / 10.0
    };
    // Effective loss: redundancy and concealment hide some of audio's, retransmission most of video's.
    let weight = match (track.video, track.redundant) {
        (true, _) => 3.0,
        (false, true) => 1.0,
        (false, false) => 2.5,
    };
    let layers = 25.0 * f32::from(track.missing_layers);
    (100.0 - delay_impairment - weight * loss - layers).clamp(0.0, 100.0)
}

/// The quality a score stands for.
#[must_use]
pub fn quality(score: f32) -> Quality {
    match score {
        score if score < 20.0 => Quality::Lost,
        score if score < 40.0 => Quality::Poor,
        score if score < 80.0 => Quality::Good,
        _ => Quality::Excellent,
    }
}

/// The mean opinion score, 1..=4.5, for an E-model rating.
#[must_use]
pub fn mean_opinion(score: f32) -> f32 {
    let rating = score * 0.932;
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_loss(lost: u64, video: bool) -> Impairment {
        Impairment {
            expected: 1000,
            lost,
            rtt_ms: 40.0,
            jitter_ms: 5.0,
            video,
            ..Default::default()
        }
    }

    #[test]
    fn a_clean_connection_is_excellent() {
        assert_eq!(quality(score(&with_loss(0, false))), Quality::Excellent);
        assert_eq!(quality(score(&with_loss(10, true))), Quality::Excellent);
        assert!(mean_opinion(score(&with_loss(0, false))) > 4.2);
    }

    #[test]
    fn loss_lowers_it_step_by_step() {
        assert_eq!(quality(score(&with_loss(100, true))), Quality::Good);
        assert_eq!(quality(score(&with_loss(220, true))), Quality::Poor);
        assert_eq!(quality(score(&with_loss(500, true))), Quality::Lost);
    }

    #[test]
    fn redundant_audio_bears_more_loss() {
        let plain = with_loss(100, false);
        assert_eq!(quality(score(&plain)), Quality::Good);
        assert_eq!(
            quality(score(&Impairment {
                redundant: true,
                ..plain
            })),
            Quality::Excellent
        );
    }

    #[test]
    fn nothing_to_judge_is_excellent_and_no_packets_from_a_publisher_is_lost() {
        assert_eq!(quality(score(&Impairment::default())), Quality::Excellent);
        assert_eq!(
            quality(score(&Impairment {
                silent: true,
                ..Default::default()
            })),
            Quality::Lost
        );
    }

    #[test]
    fn a_long_round_trip_and_missing_layers_weigh() {
        let far = Impairment {
            rtt_ms: 700.0,
            ..with_loss(0, false)
        };
        assert_eq!(quality(score(&far)), Quality::Good);
        let reduced = Impairment {
            missing_layers: 1,
            ..with_loss(0, true)
        };
        assert_eq!(quality(score(&reduced)), Quality::Good);
    }
}
