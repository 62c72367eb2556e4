//! The dependency descriptor (RTP Payload Format for AV1, appendix A): layers and decode targets of each
//! frame, independent of the codec.
//!
//! A key frame brings a structure of templates; later frames refer to one of them. The structure is kept
//! by a [`DependencyReader`] for each stream.

use std::sync::Arc;

use super::bits::BitReader;
use super::{CodecError, Resolution};

pub const MAX_DECODE_TARGETS: usize = 32;
const MAX_TEMPLATES: usize = 64;
const MAX_SPATIAL_LAYERS: usize = 4;
const MAX_TEMPORAL: u8 = 7;
/// Chains whose distances are kept. More are read and forgotten.
pub const MAX_CHAINS: usize = 8;
/// References of one frame. More than any encoder has; a hostile list ends there.
const MAX_REFERENCES: usize = 64;

/// How a frame matters to a decode target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// Not part of the target.
    NotPresent,
    /// Part of it, and nothing else of it depends on the frame.
    Discardable,
    /// Part of it, and the target can be switched to here.
    Switch,
    Required,
}

/// Indications of all decode targets, two bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indications(u64);

impl Indications {
    fn read(reader: &mut BitReader<'_>, targets: u8) -> Result<Self, CodecError> {
        let mut packed = 0;
        for target in 0..targets.min(MAX_DECODE_TARGETS as u8) {
            packed |= u64::from(reader.bits(2)?) << (2 * target);
        }
        Ok(Self(packed))
    }

    /// For a target that does not exist, [`Indication::NotPresent`].
    #[inline]
    pub fn of(self, target: u8) -> Indication {
        match self.0.checked_shr(2 * u32::from(target)).unwrap_or(0) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    indications: Indications,
    chain_distances: [u8; MAX_CHAINS],
    /// Refers to no other frame.
    intra: bool,
}

/// A decode target: the layers a receiver gets that decodes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeTarget {
    pub spatial: u8,
    pub temporal: u8,
    /// The chain that must be unbroken for it to be decodable.
    pub chain: Option<u8>,
}

/// The structure a key frame brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    template_offset: u8,
    templates: Vec<Template>,
    pub targets: Vec<DecodeTarget>,
    pub chain_count: u8,
    pub max_spatial: u8,
    pub max_temporal: u8,
    /// By spatial layer; empty when the encoder does not tell.
    pub resolutions: Vec<Resolution>,
}

/// What the descriptor of one packet tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub start_of_frame: bool,
    pub end_of_frame: bool,
    pub frame_number: u16,
    pub spatial: u8,
    pub temporal: u8,
    /// The packet brings a structure: it belongs to a key frame.
    pub has_structure: bool,
    /// The bitmask of active decode targets, when this packet changes it.
    pub active_targets: Option<u32>,
    pub indications: Indications,
    /// Distance to the previous frame of each chain, in frame numbers; 0 starts the chain anew.
    pub chain_distances: [u8; MAX_CHAINS],
    /// How many of the distances are set.
    pub chain_count: u8,
    /// The frame refers to no other frame.
    pub intra: bool,
    pub resolution: Option<Resolution>,
}

impl Frame {
    /// Some decode target can be switched to at this frame.
    pub fn is_switch(&self) -> bool {
        // A pair of bits that is 0b10.
        let high = self.indications.0 >> 1 & 0x5555_5555_5555_5555;
        high & !self.indications.0 != 0
    }

    /// No decode target needs the frame for another one.
    pub fn is_discardable(&self) -> bool {
        let high = self.indications.0 >> 1 & 0x5555_5555_5555_5555;
        high == 0
    }
}

/// Reads the descriptors of one stream.
#[derive(Clone, Debug, Default)]
pub struct DependencyReader {
    structure: Option<Arc<Structure>>,
    active_targets: u32,
}

impl DependencyReader {
    /// The structure of the newest key frame.
    pub fn structure(&self) -> Option<&Arc<Structure>> {
        self.structure.as_ref()
    }

    /// The decode targets the encoder now sends, one bit each.
    pub fn active_targets(&self) -> u32 {
        self.active_targets
    }

    /// Reads the value of the header extension. State changes only when all of it is well-formed.
    pub fn read(&mut self, value: &[u8]) -> Result<Frame, CodecError> {
        let mut reader = BitReader::new(value);
        let start_of_frame = reader.bit()?;
        let end_of_frame = reader.bit()?;
        let template_id = reader.byte(6)?;
        let frame_number = reader.bits(16)? as u16;
        let mut extended = [false; 5];
        if value.len() > 3 {
            for flag in &mut extended {
                *flag = reader.bit()?;
            }
        }
        let [
            has_structure,
            has_active,
            custom_indications,
            custom_references,
            custom_chains,
        ] = extended;
        let brought = if has_structure {
            Some(Structure::read(&mut reader)?)
        } else {
            None
        };
        let structure = brought
            .as_ref()
            .or(self.structure.as_deref())
            .ok_or(CodecError::NoStructure)?;
        let target_count = structure.targets.len() as u8;
        let mut active_targets = has_structure.then(|| all_targets(target_count));
        if has_active {
            active_targets = Some(reader.bits(u32::from(target_count))?);
        }
        let template = structure.template(template_id)?;
        let indications = if custom_indications {
            Indications::read(&mut reader, target_count)?
        } else {
            template.indications
        };
        let intra = if custom_references {
            read_references(&mut reader)? == 0
        } else {
            template.intra
        };
        let mut chain_distances = template.chain_distances;
        if custom_chains {
            for chain in 0..usize::from(structure.chain_count) {
                let distance = reader.byte(8)?;
                if let Some(slot) = chain_distances.get_mut(chain) {
                    *slot = distance;
                }
            }
        }
        let spatial = template.spatial;
        let frame = Frame {
            start_of_frame,
            end_of_frame,
            frame_number,
            spatial,
            temporal: template.temporal,
            has_structure,
            active_targets,
            indications,
            chain_distances,
            chain_count: structure.chain_count.min(MAX_CHAINS as u8),
            intra,
            resolution: structure.resolutions.get(usize::from(spatial)).copied(),
        };
        if let Some(active) = active_targets {
            self.active_targets = active;
        }
        if let Some(structure) = brought {
            self.structure = Some(Arc::new(structure));
        }
        Ok(frame)
    }
}

impl Structure {
    fn read(reader: &mut BitReader<'_>) -> Result<Self, CodecError> {
        let template_offset = reader.byte(6)?;
        let target_count = reader.byte(5)? + 1;
        let mut templates = read_layers(reader)?;
        for template in &mut templates {
            template.indications = Indications::read(reader, target_count)?;
        }
        for template in &mut templates {
            template.intra = !reader.bit()?;
            let mut follows = !template.intra;
            let mut references = 0;
            while follows {
                references += 1;
                if references > MAX_REFERENCES {
                    return Err(CodecError::Malformed);
                }
                reader.bits(4)?;
                follows = reader.bit()?;
            }
        }
        let mut targets = vec![DecodeTarget::default(); usize::from(target_count)];
        let chain_count = reader.non_symmetric(u32::from(target_count) + 1)? as u8;
        if chain_count > 0 {
            for target in &mut targets {
                target.chain = Some(reader.non_symmetric(u32::from(chain_count))? as u8);
            }
            for template in &mut templates {
                for chain in 0..usize::from(chain_count) {
                    let distance = reader.byte(4)?;
                    if let Some(slot) = template.chain_distances.get_mut(chain) {
                        *slot = distance;
                    }
                }
            }
        }
        for (target, index) in targets.iter_mut().zip(0..) {
            for template in &templates {
                if template.indications.of(index) != Indication::NotPresent {
                    target.spatial = target.spatial.max(template.spatial);
                    target.temporal = target.temporal.max(template.temporal);
                }
            }
        }
        let max_spatial = templates
            .iter()
            .map(|template| template.spatial)
            .max()
            .unwrap_or(0);
        let max_temporal = templates
            .iter()
            .map(|template| template.temporal)
            .max()
            .unwrap_or(0);
        let mut resolutions = Vec::new();
        if reader.bit()? {
            for _ in 0..=max_spatial {
                let mut side = || Ok((reader.bits(16)? as u16).saturating_add(1));
                resolutions.push(Resolution {
                    width: side()?,
                    height: side()?,
                });
            }
        }
        Ok(Self {
            template_offset,
            templates,
            targets,
            chain_count,
            max_spatial,
            max_temporal,
            resolutions,
        })
    }

    fn template(&self, id: u8) -> Result<&Template, CodecError> {
        let index = id.wrapping_sub(self.template_offset) & 63;
        self.templates
            .get(usize::from(index))
            .ok_or(CodecError::Malformed)
    }
}

fn read_layers(reader: &mut BitReader<'_>) -> Result<Vec<Template>, CodecError> {
    let mut templates = Vec::new();
    let (mut spatial, mut temporal) = (0, 0);
    loop {
        if templates.len() == MAX_TEMPLATES {
            return Err(CodecError::Malformed);
        }
        templates.push(Template {
            spatial,
            temporal,
            indications: Indications::default(),
            chain_distances: [0; MAX_CHAINS],
            intra: false,
        });
        match reader.bits(2)? {
            0 => {}
            1 => temporal += 1,
            2 => {
                temporal = 0;
                spatial += 1;
            }
            _ => return Ok(templates),
        }
        if temporal > MAX_TEMPORAL || usize::from(spatial) >= MAX_SPATIAL_LAYERS {
            return Err(CodecError::Malformed);
        }
    }
}

/// The number of references a frame lists itself.
fn read_references(reader: &mut BitReader<'_>) -> Result<usize, CodecError> {
    let mut count = 0;
    loop {
        let size = reader.bits(2)?;
        if size == 0 {
            return Ok(count);
        }
        if count == MAX_REFERENCES {
            return Err(CodecError::Malformed);
        }
        reader.bits(4 * size)?;
        count += 1;
    }
}

fn all_targets(count: u8) -> u32 {
    u32::MAX
        .checked_shr(u32::BITS - u32::from(count))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bit strings for the tests.
    #[derive(Default)]
    struct Writer {
        bits: Vec<bool>,
    }

    impl Writer {
        fn put(&mut self, count: u32, value: u32) -> &mut Self {
            self.bits
                .extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
            self
        }

        fn bytes(&self) -> Vec<u8> {
            self.bits
                .chunks(8)
                .map(|bits| {
                    bits.iter()
                        .zip(0..)
                        .fold(0, |byte, (bit, at)| byte | u8::from(*bit) << (7 - at))
                })
                .collect()
        }
    }

    /// Two spatial and two temporal layers: templates S0T0 (key), S0T0, S0T1, S1T0, S1T1; targets S0T0,
    /// S0T1, S1T0, S1T1; a chain for each spatial layer.
    fn key_frame(active: Option<u32>) -> Vec<u8> {
        let mut w = Writer::default();
        w.put(1, 1).put(1, 0).put(6, 10).put(16, 500);
        w.put(1, 1).put(1, u32::from(active.is_some())).put(3, 0);
        w.put(6, 10).put(5, 3);
        w.put(2, 0).put(2, 1).put(2, 2).put(2, 1).put(2, 3);
        for row in [
            [2, 2, 2, 2],
            [3, 3, 3, 3],
            [0, 1, 0, 1],
            [0, 0, 3, 3],
            [0, 0, 0, 1],
        ] {
            for indication in row {
                w.put(2, indication);
            }
        }
        // References: none, then one each at distances 4, 2, 1, 2 (minus one).
        w.put(1, 0);
        for distance in [3, 1, 0, 1] {
            w.put(1, 1).put(4, distance).put(1, 0);
        }
        // ns(5) = 2 chains; protected by chain 0, 0, 1, 1, as ns(2): one bit each.
        w.put(2, 2);
        for chain in [0, 0, 1, 1] {
            w.put(1, chain);
        }
        for row in [[0, 0], [4, 3], [2, 1], [1, 1], [3, 2]] {
            w.put(4, row[0]).put(4, row[1]);
        }
        w.put(1, 1);
        for side in [319, 179, 639, 359] {
            w.put(16, side);
        }
        if let Some(active) = active {
            w.put(4, active);
        }
        w.bytes()
    }

    fn mandatory(template: u8, number: u16) -> Vec<u8> {
        let [high, low] = number.to_be_bytes();
        vec![0x40 | template, high, low]
    }

    #[test]
    fn key_frame_brings_the_structure() {
        let mut reader = DependencyReader::default();
        let frame = reader.read(&key_frame(None)).unwrap();
        assert!(frame.start_of_frame && !frame.end_of_frame && frame.has_structure && frame.intra);
        assert_eq!(
            (frame.frame_number, frame.spatial, frame.temporal),
            (500, 0, 0)
        );
        assert_eq!(
            (frame.active_targets, reader.active_targets()),
            (Some(0b1111), 0b1111)
        );
        assert_eq!(
            frame.resolution,
            Some(Resolution {
                width: 320,
                height: 180
            })
        );
        assert!(frame.is_switch() && !frame.is_discardable());
        let structure = reader.structure().unwrap();
        let targets: Vec<_> = structure
            .targets
            .iter()
            .map(|t| (t.spatial, t.temporal, t.chain))
            .collect();
        assert_eq!(
            targets,
            [
                (0, 0, Some(0)),
                (0, 1, Some(0)),
                (1, 0, Some(1)),
                (1, 1, Some(1))
            ]
        );
        assert_eq!(
            (
                structure.max_spatial,
                structure.max_temporal,
                structure.chain_count
            ),
            (1, 1, 2)
        );
    }

    #[test]
    fn later_frames_refer_to_templates() {
        let mut reader = DependencyReader::default();
        assert_eq!(reader.read(&mandatory(10, 1)), Err(CodecError::NoStructure));
        reader.read(&key_frame(None)).unwrap();
        let frame = reader.read(&mandatory(14, 501)).unwrap();
        assert_eq!(
            (frame.spatial, frame.temporal, frame.has_structure),
            (1, 1, false)
        );
        assert!(frame.is_discardable() && !frame.intra && frame.end_of_frame);
        assert_eq!(frame.indications.of(3), Indication::Discardable);
        assert_eq!(frame.indications.of(2), Indication::NotPresent);
        assert_eq!(frame.indications.of(200), Indication::NotPresent);
        assert_eq!(&frame.chain_distances[..2], [3, 2]);
        assert_eq!(
            frame.resolution,
            Some(Resolution {
                width: 640,
                height: 360
            })
        );
        // Templates end at 14; their numbers count modulo 64.
        assert_eq!(reader.read(&mandatory(15, 502)), Err(CodecError::Malformed));
        assert_eq!(reader.read(&mandatory(9, 502)), Err(CodecError::Malformed));
    }

    #[test]
    fn active_targets_and_custom_fields_are_read() {
        let mut reader = DependencyReader::default();
        assert_eq!(
            reader
                .read(&key_frame(Some(0b0011)))
                .unwrap()
                .active_targets,
            Some(0b0011)
        );
        let mut w = Writer::default();
        w.put(2, 3).put(6, 11).put(16, 600);
        w.put(1, 0).put(4, 0b1111).put(4, 0b0111);
        w.put(8, 0b10_01_00_11);
        w.put(2, 1).put(4, 5).put(2, 2).put(8, 99).put(2, 0);
        w.put(8, 7).put(8, 200);
        let frame = reader.read(&w.bytes()).unwrap();
        assert_eq!(
            (frame.active_targets, reader.active_targets()),
            (Some(0b0111), 0b0111)
        );
        let indications: Vec<_> = (0..4).map(|target| frame.indications.of(target)).collect();
        use Indication::{Discardable, NotPresent, Required, Switch};
        assert_eq!(indications, [Switch, Discardable, NotPresent, Required]);
        assert_eq!(
            (&frame.chain_distances[..2], frame.intra),
            (&[7, 200][..], false)
        );
    }

    #[test]
    fn truncated_structure_leaves_the_old_one() {
        let mut reader = DependencyReader::default();
        let key = key_frame(None);
        for len in 0..key.len() {
            assert!(reader.read(&key[..len]).is_err(), "{len}");
            assert!(reader.structure().is_none());
        }
        reader.read(&key).unwrap();
        for len in 4..key.len() {
            assert!(reader.read(&key[..len]).is_err());
        }
        assert!(reader.read(&mandatory(14, 501)).is_ok());
    }

    #[test]
    fn endless_lists_are_refused() {
        // A structure whose layer list never ends, one whose references never end.
        let mut layers = vec![0x8A, 0, 1, 0x80, 0];
        layers.extend_from_slice(&[0; 300]);
        assert_eq!(
            DependencyReader::default().read(&layers),
            Err(CodecError::Malformed)
        );
        let mut w = Writer::default();
        w.put(8, 0x8A)
            .put(16, 1)
            .put(5, 0b10000)
            .put(6, 10)
            .put(5, 0)
            .put(2, 3)
            .put(2, 2);
        for _ in 0..500 {
            w.put(1, 1).put(4, 0);
        }
        assert_eq!(
            DependencyReader::default().read(&w.bytes()),
            Err(CodecError::Malformed)
        );
        assert_eq!(
            (all_targets(32), all_targets(1), all_targets(0)),
            (u32::MAX, 1, 0)
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(values in proptest::collection::vec(proptest::collection::vec(0u8.., 0..255), 1..8)) {
            let mut reader = DependencyReader::default();
            let _ = reader.read(&key_frame(None));
            for value in values {
                if let Ok(frame) = reader.read(&value) {
                    proptest::prop_assert!(usize::from(frame.spatial) < MAX_SPATIAL_LAYERS);
                    proptest::prop_assert!(frame.temporal <= MAX_TEMPORAL);
                }
            }
        }

        #[test]
        fn any_structure_is_parsed_or_refused(mut value in proptest::collection::vec(0u8.., 8..255)) {
            value[3] |= 0x80;
            let _ = DependencyReader::default().read(&value);
        }
    }
}
