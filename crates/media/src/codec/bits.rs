//! Reading of bit strings, most significant bit first.

use super::CodecError;

/// A cursor over bits. Reading past the end is an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    #[inline]
    pub(super) fn bit(&mut self) -> Result<bool, CodecError> {
        let byte = *self
            .bytes
            .get(self.position / 8)
            .ok_or(CodecError::Truncated)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Ok(bit == 1)
    }

    /// Up to 32 bits.
    #[inline]
    pub(super) fn bits(&mut self, count: u32) -> Result<u32, CodecError> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Ok(value)
    }

    /// Up to 8 bits.
    #[inline]
    pub(super) fn byte(&mut self, count: u32) -> Result<u8, CodecError> {
        self.bits(count.min(8)).map(|value| value as u8)
    }

    /// A value below `limit` in as few bits as it takes: `ns(n)` of the AV1 specification.
    pub(super) fn non_symmetric(&mut self, limit: u32) -> Result<u32, CodecError> {
        let width = 32 - limit.leading_zeros();
        let short = (1 << width) - limit;
        let value = self.bits(width.saturating_sub(1))?;
        if value < short {
            return Ok(value);
        }
        Ok((value << 1 | u32::from(self.bit()?)) - short)
    }

    /// An unsigned Exp-Golomb code: `ue(v)` of H.264 and H.265.
    pub(super) fn exp_golomb(&mut self) -> Result<u32, CodecError> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return Err(CodecError::Malformed);
            }
        }
        Ok(((1 << zeros) - 1) + self.bits(zeros)?)
    }

    /// A signed Exp-Golomb code: `se(v)`.
    pub(super) fn signed_exp_golomb(&mut self) -> Result<i32, CodecError> {
        let code = self.exp_golomb()?;
        let magnitude = (code / 2 + code % 2) as i32;
        Ok(if code % 2 == 1 { magnitude } else { -magnitude })
    }
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read() {
        let mut reader = BitReader::new(&[0b1_010_011_0, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<_> = (0..4).map(|_| reader.exp_golomb().unwrap()).collect();
        assert_eq!(codes, [0, 1, 2, 3]);
        let mut signed = BitReader::new(&[0b1_010_011_0, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<_> = (0..4)
            .map(|_| signed.signed_exp_golomb().unwrap())
            .collect();
        assert_eq!(codes, [0, 1, -1, 2]);
        assert_eq!(
            BitReader::new(&[0; 8]).exp_golomb(),
            Err(CodecError::Malformed)
        );
        assert_eq!(BitReader::new(&[0xFF]).bits(9), Err(CodecError::Truncated));
    }

    #[test]
    fn non_symmetric_values_use_few_bits() {
        // n = 5: 0, 1, 2 take two bits; 3 and 4 take three.
        let mut reader = BitReader::new(&[0b00_01_10_11, 0b0_111_0000]);
        let values: Vec<_> = (0..5).map(|_| reader.non_symmetric(5).unwrap()).collect();
        assert_eq!(values, [0, 1, 2, 3, 4]);
        assert_eq!(BitReader::new(&[0xFF]).non_symmetric(1), Ok(0));
    }
}
