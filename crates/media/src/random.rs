//! The plane's randomness: the system's, or a reproducible one from a seed.

/// Source of all random choices of a plane.
#[derive(Clone, Debug)]
pub(crate) enum Random {
    System,
    /// SplitMix64: for simulations only, as its output can be guessed.
    Seeded(u64),
}

impl Random {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        seed.map_or(Self::System, Self::Seeded)
    }

    /// Zeros where the generator fails, before the system has seeded it: not for what must not repeat.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        self.try_bytes().unwrap_or([0; N])
    }

    /// `None` where the generator fails.
    pub(crate) fn try_bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        match self {
            Self::System => aws_lc_rs::rand::fill(&mut bytes).ok()?,
            Self::Seeded(state) => {
                for chunk in bytes.chunks_mut(8) {
                    let word = split_mix(state).to_le_bytes();
                    chunk
                        .iter_mut()
                        .zip(word)
                        .for_each(|(into, from)| *into = from);
                }
            }
        }
        Some(bytes)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again() {
        let (mut one, mut other) = (Random::new(Some(7)), Random::new(Some(7)));
        assert_eq!(one.bytes::<24>(), other.bytes::<24>());
        assert_ne!(one.u64(), other.u32().into());
    }

    #[test]
    fn the_systems_numbers_differ() {
        assert_ne!(Random::System.u64(), Random::System.u64());
    }
}
