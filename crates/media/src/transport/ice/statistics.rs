//! Pairs and candidates in W3C's terms.

use std::time::Instant;

use is::CandidateKind;

use super::{Health, Ice, protocol};
use crate::statistics::{Report, Traffic, timestamp};
use crate::track::clock::WallClock;
use crate::transport::statistics::TRANSPORT_ID;
use crate::transport::{FiveTuple, Protocol};

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Udp => "udp",
        Protocol::Tcp => "tcp",
        Protocol::Memory => "memory",
    }
}

fn kind_name(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Host => "host",
        CandidateKind::ServerReflexive => "srflx",
        CandidateKind::PeerReflexive => "prflx",
        CandidateKind::Relayed => "relay",
    }
}

fn candidate_id(local: bool, protocol: Protocol, address: std::net::SocketAddr) -> String {
    let side = if local { "L" } else { "R" };
    format!("I{side}{}{address}", protocol_name(protocol))
}

impl Ice {
    /// Of a 5-tuple that something was heard on.
    fn pair_id(&self, tuple: &FiveTuple) -> Option<String> {
        let known = self.tuples.iter().find(|known| known.tuple == *tuple)?;
        let local = candidate_id(true, tuple.protocol, known.candidate);
        let remote = candidate_id(false, tuple.protocol, tuple.remote);
        Some(format!("CP{local}_{remote}"))
    }

    /// Pairs that something was heard on, candidates, and what the transport says of them.
    pub(in crate::transport) fn report(
        &self,
        now: Instant,
        clock: &WallClock,
        traffic: &[(FiveTuple, Traffic, Traffic)],
        transport: &mut Report,
        out: &mut Vec<Report>,
    ) {
        let controlling = self.agent.controlling();
        transport.set(
            "iceRole",
            if controlling {
                "controlling"
            } else {
                "controlled"
            },
        );
        transport.set("iceLocalUsernameFragment", self.credentials.ufrag.clone());
        let state = match self.health(now) {
            _ if self.started.is_none() => "new",
            Health::Checking => "checking",
            Health::Connected => "connected",
            Health::Disconnected => "disconnected",
            Health::Failed => "failed",
        };
        transport.set("iceState", state);
        transport.set("selectedCandidatePairChanges", self.selections);
        if let Some(id) = self.selected().and_then(|tuple| self.pair_id(&tuple)) {
            transport.set("selectedCandidatePairId", id);
        }
        for known in &self.tuples {
            out.extend(self.report_pair(known.tuple, known.answered, clock, traffic));
        }
        let sides = [true, false];
        for local in sides {
            let candidates: Vec<is::Candidate> = if local {
                self.agent.local_candidates().collect()
            } else {
                self.agent.remote_candidates().collect()
            };
            for candidate in candidates {
                out.extend(self.report_candidate(local, &candidate));
            }
        }
    }

    fn report_pair(
        &self,
        tuple: FiveTuple,
        answered: bool,
        clock: &WallClock,
        traffic: &[(FiveTuple, Traffic, Traffic)],
    ) -> Option<Report> {
        let known = self.tuples.iter().find(|known| known.tuple == tuple)?;
        let mut report = Report::new("candidate-pair", self.pair_id(&tuple)?);
        report.set("transportId", TRANSPORT_ID);
        report.set(
            "localCandidateId",
            candidate_id(true, tuple.protocol, known.candidate),
        );
        report.set(
            "remoteCandidateId",
            candidate_id(false, tuple.protocol, tuple.remote),
        );
        let selected = self.selected() == Some(tuple);
        report.set("state", if answered { "succeeded" } else { "waiting" });
        report.set("nominated", selected);
        if let Some((_, sent, received)) = traffic.iter().find(|(of, ..)| *of == tuple) {
            report.count("packetsSent", sent.packets);
            report.count("bytesSent", sent.bytes);
            report.count("packetsReceived", received.packets);
            report.count("bytesReceived", received.bytes);
            for (name, last) in [
                ("lastPacketSentTimestamp", sent.last),
                ("lastPacketReceivedTimestamp", received.last),
            ] {
                if let Some(last) = last {
                    report.set(name, timestamp(clock, last));
                }
            }
        }
        if selected {
            // The agent counts for all pairs together; but for the first moments this one has them all.
            let agent = self.agent.stats();
            report.count("requestsSent", agent.bind_request_sent);
            report.count("requestsReceived", agent.bind_request_recv);
            report.count("responsesSent", agent.bind_request_recv);
            let responses = self.agent.nominated_pair_responses_received();
            report.count("responsesReceived", responses.unwrap_or(0));
            let total = self.agent.nominated_pair_total_rtt().unwrap_or_default();
            report.total("totalRoundTripTime", total.as_secs_f64());
            if let Some(rtt) = self.round_trip() {
                report.set("currentRoundTripTime", rtt.as_secs_f64());
            }
        }
        Some(report)
    }

    fn report_candidate(&self, local: bool, candidate: &is::Candidate) -> Option<Report> {
        let (address, protocol) = (candidate.addr(), protocol(candidate.proto())?);
        let kind = if local {
            "local-candidate"
        } else {
            "remote-candidate"
        };
        let mut report = Report::new(kind, candidate_id(local, protocol, address));
        report.set("transportId", TRANSPORT_ID);
        report.set("address", address.ip().to_string());
        report.set("port", u32::from(address.port()));
        report.set("protocol", protocol_name(protocol));
        report.set("candidateType", kind_name(candidate.kind()));
        report.set("priority", candidate.prio());
        let line = candidate.to_sdp_string();
        let foundation = line.split(' ').next().unwrap_or_default();
        report.set("foundation", foundation.trim_start_matches("candidate:"));
        let fragment = if local {
            Some(self.credentials.ufrag.as_str())
        } else {
            self.agent.remote_credentials().map(|it| it.ufrag.as_str())
        };
        report.set("usernameFragment", fragment.unwrap_or_default());
        if let Some((_, kind)) = line.split_once(" tcptype ") {
            report.set("tcpType", kind.split(' ').next().unwrap_or_default());
        }
        Some(report)
    }
}
