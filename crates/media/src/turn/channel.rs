//! ChannelData: four bytes before the data instead of 36 (RFC 8656 §12.4).

pub(super) const HEADER: usize = 4;
/// Numbers that a client may bind.
pub(super) const NUMBERS: std::ops::RangeInclusive<u16> = 0x4000..=0x4fff;

/// Number and data; what is behind the data is padding.
pub(super) fn parse(packet: &[u8]) -> Option<(u16, &[u8])> {
    let ([a, b, c, d], rest) = packet.split_first_chunk()?;
    let number = u16::from_be_bytes([*a, *b]);
    let length = usize::from(u16::from_be_bytes([*c, *d]));
    let data = rest.get(..length)?;
    NUMBERS.contains(&number).then_some((number, data))
}

/// Writes ChannelData into an emptied buffer, padded where it goes on a stream.
pub(super) fn write(out: &mut Vec<u8>, number: u16, data: &[u8], padded: bool) {
    out.clear();
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
    if padded {
        out.resize(out.len().next_multiple_of(4), 0);
    }
}
