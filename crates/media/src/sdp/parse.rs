//! From text to [`Description`].
use super::{Description, SdpError};

pub(super) fn description(_text: &str) -> Result<Description, SdpError> {
    todo!()
}
