//! What a stream has been through, in the terms of WebRTC's statistics (`RTCInboundRtpStreamStats`).

use roomful_media::statistics::Report;

/// Sums since the buffer was made. Samples are of one channel; seconds are of them, so that a mean delay is
/// `jitter_buffer_delay / jitter_buffer_emitted_count`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JitterStats {
    /// Seconds that samples waited, from their packet's arrival until they were played.
    pub jitter_buffer_delay: f64,
    /// Seconds that were aimed at for them.
    pub jitter_buffer_target_delay: f64,
    /// Seconds that would have been aimed at without a wish for more.
    pub jitter_buffer_minimum_delay: f64,
    /// Samples that came out of packets.
    pub jitter_buffer_emitted_count: u64,
    /// Samples played, concealed ones and comfort noise among them.
    pub total_samples_received: u64,
    /// Samples made up for packets that were lost or late.
    pub concealed_samples: u64,
    /// Of these, those that were silence.
    pub silent_concealed_samples: u64,
    /// Stretches of concealment.
    pub concealment_events: u64,
    pub inserted_samples_for_deceleration: u64,
    pub removed_samples_for_acceleration: u64,
    /// Loudest sample of the last 10 ms, 0 to 1.
    pub audio_level: f64,
    /// Sum of the squared level times its duration.
    pub total_audio_energy: f64,
    /// Seconds.
    pub total_samples_duration: f64,
    pub packets_received: u64,
    /// Came too late, twice, or when there was no room.
    pub packets_discarded: u64,
    /// Of these, those that came after their time.
    pub late_packets: u64,
    /// Rebuilt from redundancy (RFC 2198) or from the packet after them (in-band FEC), and played.
    pub fec_packets_received: u64,
    /// Redundancy that was not needed.
    pub fec_packets_discarded: u64,
    /// That could not be parsed.
    pub malformed_packets: u64,
    /// Times that it began anew: another source, or a leap in time.
    pub restarts: u64,
}

impl JitterStats {
    /// Adds them to a dictionary.
    pub fn describe(&self, report: &mut Report) {
        report.set("audioLevel", self.audio_level);
        for (name, total) in [
            ("jitterBufferDelay", self.jitter_buffer_delay),
            ("totalProcessingDelay", self.jitter_buffer_delay),
            ("jitterBufferTargetDelay", self.jitter_buffer_target_delay),
            ("jitterBufferMinimumDelay", self.jitter_buffer_minimum_delay),
            ("totalAudioEnergy", self.total_audio_energy),
            ("totalSamplesDuration", self.total_samples_duration),
        ] {
            report.total(name, total);
        }
        for (name, count) in [
            ("jitterBufferEmittedCount", self.jitter_buffer_emitted_count),
            ("totalSamplesReceived", self.total_samples_received),
            ("concealedSamples", self.concealed_samples),
            ("silentConcealedSamples", self.silent_concealed_samples),
            ("concealmentEvents", self.concealment_events),
            (
                "insertedSamplesForDeceleration",
                self.inserted_samples_for_deceleration,
            ),
            (
                "removedSamplesForAcceleration",
                self.removed_samples_for_acceleration,
            ),
            ("packetsDiscarded", self.packets_discarded),
            ("fecPacketsReceived", self.fec_packets_received),
            ("fecPacketsDiscarded", self.fec_packets_discarded),
        ] {
            report.count(name, count);
        }
    }
}
