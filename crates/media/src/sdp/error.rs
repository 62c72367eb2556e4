//! Why a description was refused.

/// A description that cannot be used, or a step that the signalling state does not allow.
///
/// The text is meant for the client and the log: it names the cause and never holds credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    #[error("description of {size} bytes is larger than {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
    #[error("not a session description: {0}")]
    Syntax(String),
    #[error("invalid {attribute} attribute in section {section}")]
    Attribute {
        attribute: &'static str,
        section: usize,
    },
    #[error("section {section} has no mid")]
    MissingMid { section: usize },
    #[error("mid {mid:?} is used twice")]
    DuplicateMid { mid: String },
    #[error("no ICE credentials")]
    MissingIce,
    #[error("no DTLS fingerprint")]
    MissingFingerprint,
    #[error("the answer's setup attribute must be active or passive")]
    AnswerSetup,
    #[error("the answer has {answer} sections, the offer {offer}")]
    SectionCount { offer: usize, answer: usize },
    #[error("section {section} of the answer does not match the offer: {what}")]
    SectionMismatch { section: usize, what: &'static str },
    #[error("the offer has {now} sections, fewer than the {before} of before")]
    SectionsVanished { before: usize, now: usize },
    #[error("an answer without an outstanding offer")]
    AnswerWithoutOffer,
    #[error("an offer while another one is outstanding")]
    OfferOutstanding,
    #[error("nothing to offer")]
    NothingToOffer,
    #[error("no offer to answer")]
    NothingToAnswer,
    #[error("no section with mid {mid:?} in the offer")]
    UnknownMid { mid: String },
}
