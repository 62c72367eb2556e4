//! Media streams of a section: msid (RFC 8830), SSRCs (RFC 5576), rids (RFC 8851), simulcast (RFC 8853).

/// `a=msid`: which stream and which track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msid {
    /// "-" for none.
    pub stream: String,
    /// May be empty: Firefox and newer browsers may leave it out.
    pub track: String,
}

/// All `a=ssrc` lines of one SSRC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcInfo {
    pub ssrc: u32,
    pub cname: Option<String>,
    pub msid: Option<Msid>,
}

/// `a=ssrc-group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcGroup {
    /// "FID", "SIM", "FEC-FR", …
    pub semantics: String,
    pub ssrcs: Vec<u32>,
}

/// `a=rid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rid {
    pub id: String,
    /// Whether the writer of the description sends it.
    pub send: bool,
    /// What follows the direction, as it came ("pt=97;max-width=1280").
    pub restrictions: String,
}

/// `a=simulcast`: rids in the writer's order of preference, the first alternative of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulcast {
    pub send: Vec<String>,
    pub recv: Vec<String>,
    /// The form of the early drafts: `a=simulcast: send rid=q;h;f`.
    pub draft: bool,
}

/// One RTP stream with its retransmission stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSsrc {
    pub ssrc: u32,
    pub rtx: Option<u32>,
}
