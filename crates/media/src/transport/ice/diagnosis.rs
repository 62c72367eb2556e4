//! What a person is told of a connection that does not come about.

use std::fmt::Write as _;

use super::{Ice, Protocol};

impl Ice {
    /// Sentences for a person: what was offered, tried and heard.
    pub(in crate::transport) fn describe(&self, out: &mut String) {
        let kind = if self.lite() { "lite" } else { "full" };
        let role = if self.agent.controlling() {
            "controlling"
        } else {
            "controlled"
        };
        let _ = write!(out, "ICE {kind} {role}; offered");
        for local in &self.candidates {
            if !self.tcp_only || local.protocol == Protocol::Tcp {
                let _ = write!(out, " {:?}/{}", local.protocol, local.address);
            }
        }
        if self.candidates.is_empty() {
            out.push_str(" nothing");
        }
        let counters = &self.counters;
        let _ = write!(
            out,
            "; the peer offered {} usable candidates ({} ignored)",
            counters.candidates_taken, counters.candidates_ignored
        );
        if self.agent.remote_credentials().is_none() {
            out.push_str(", its description is missing");
        }
        let _ = write!(
            out,
            "; {} checks sent ({} withheld), {} STUN received ({} rejected, {} from too many addresses)",
            counters.checks_sent,
            counters.checks_withheld,
            counters.stun_received,
            counters.stun_rejected,
            counters.tuples_refused
        );
        if !self.unanswered.is_empty() {
            out.push_str("; no answer from");
            for address in &self.unanswered {
                let _ = write!(out, " {} ({})", address.remote, address.checks);
            }
        }
        if !self.tuples.is_empty() {
            out.push_str("; heard");
            for known in &self.tuples {
                let _ = write!(out, " {:?}/{}", known.tuple.protocol, known.tuple.remote);
            }
        }
        match self.selected {
            Some(tuple) => {
                let _ = write!(out, "; selected {} -> {}", tuple.local, tuple.remote);
            }
            None => out.push_str("; nothing selected"),
        }
    }

    /// Why there is no path, as far as what came tells, and what mends it. `None` once there was one.
    pub(in crate::transport) fn hint(&self) -> Option<&'static str> {
        if self.selected.is_some() {
            return None;
        }
        let heard = self.counters.stun_received;
        Some(if self.candidates.is_empty() {
            "no address is offered: rtc.interfaces and rtc.ips leave none"
        } else if self.agent.remote_credentials().is_none() {
            "the client's description has not come: signalling is at fault, not the network"
        } else if heard == 0 {
            "nothing of the client came: it cannot reach what is offered. Open these ports in the firewall, or \
             name the address that it can reach by rtc.node_ip or rtc.use_external_ip; where UDP is blocked, \
             rtc.tcp_port and turn are other ways"
        } else if self.tuples.is_empty() {
            "what came names other credentials: it belongs to an older connection, or was changed on its way"
        } else {
            "the client is heard and hears nothing: what we send does not reach it. Let UDP out, and answers by \
             the way that questions came"
        })
    }
}
