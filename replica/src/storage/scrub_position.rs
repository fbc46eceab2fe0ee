//! How far the scrub has come, so that a restart need not begin again with what was just verified.
//!
//! ```text
//!  file `scrub`: slot 0 at 0, slot 1 at 4 KiB; the rest of each is zeros
//! ┌───────────┬──────────┬────────────┬────────┬─────────────────────────┐
//! │checksum 16│ "VSCRUB1"│ sequence 8 │ size 4 │ the body's name, if any │
//! │of the rest│ and 0: 8 │            │        │                         │
//! └───────────┴──────────┴────────────┴────────┴─────────────────────────┘
//! ```
//!
//! Each write replaces the older slot, so that a crash leaves the position before. Nothing is promised
//! by it: without a slot that is whole the scrub begins at the start. So nobody need end because it
//! could not be written, which happens on a full disk.

use std::io;

use bytes::Bytes;
use protocol::catalog::BodyId;
use protocol::codec::{DecodeError, Decoder, Encoder};
use protocol::types::Checksum;
use protocol::wire::Wire;

use super::disk::{Disk, DiskFile};

const NAME: &str = "scrub";
const MAGIC: &[u8; 8] = b"VSCRUB1\0";
const SLOT_SIZE: usize = 4096;
const SLOT_COUNT: u64 = 2;
const POSITION_SIZE_MAX: usize = 64;

pub struct ScrubPosition<D: Disk> {
    disk: D,
    /// None until it is first needed.
    file: Option<D::File>,
    /// Of the newest slot.
    sequence: u64,
}

impl<D: Disk> ScrubPosition<D> {
    /// The file, and the position that was kept last: none if there is none that can be read.
    pub fn open(disk: &D) -> io::Result<(ScrubPosition<D>, Option<BodyId>)> {
        let file = disk.open(NAME)?;
        let slots = file.iter().flat_map(|file| (0..SLOT_COUNT).filter_map(|slot| read_slot(file, slot)));
        let (sequence, position) = slots.max_by_key(|(sequence, _)| *sequence).unwrap_or((0, None));
        Ok((ScrubPosition { disk: disk.clone(), file, sequence }, position))
    }

    pub fn keep(&mut self, position: Option<BodyId>) -> io::Result<()> {
        let sequence = self.sequence.wrapping_add(1);
        let file = match &self.file {
            Some(file) => file,
            None => {
                let file = self.file.insert(self.disk.create(NAME)?);
                self.disk.sync_names()?;
                file
            }
        };
        file.write_at(slot_offset(sequence % SLOT_COUNT), &encode(sequence, position))?;
        file.sync()?;
        self.sequence = sequence;
        Ok(())
    }
}

fn slot_offset(slot: u64) -> u64 {
    slot * SLOT_SIZE as u64
}

/// Whatever is wrong with a slot, it does not count.
fn read_slot<F: DiskFile>(file: &F, slot: u64) -> Option<(u64, Option<BodyId>)> {
    let mut raw = vec![0; SLOT_SIZE];
    file.read_at(slot_offset(slot), &mut raw).ok()?;
    decode(Bytes::from(raw)).ok().flatten()
}

fn encode(sequence: u64, position: Option<BodyId>) -> Vec<u8> {
    let position = position.map_or_else(Bytes::new, |id| id.to_bytes());
    assert!(position.len() <= POSITION_SIZE_MAX);
    let mut rest = Encoder::with_capacity(SLOT_SIZE);
    rest.raw(MAGIC);
    rest.u64(sequence);
    rest.count(position.len());
    rest.raw(&position);
    let mut rest = rest.finish();
    rest.resize(SLOT_SIZE - size_of::<u128>(), 0);
    let mut raw = Checksum::of(&rest).get().to_le_bytes().to_vec();
    raw.extend_from_slice(&rest);
    raw
}

/// None if it is no slot of this format.
fn decode(raw: Bytes) -> Result<Option<(u64, Option<BodyId>)>, DecodeError> {
    let mut input = Decoder::new(raw.clone());
    let checksum = Checksum::new(input.u128("checksum")?);
    let magic = input.raw(MAGIC.len(), "magic")?;
    if magic.as_ref() != MAGIC || checksum != Checksum::of(&raw[size_of::<u128>()..]) {
        return Ok(None);
    }
    let sequence = input.u64("sequence")?;
    let size = input.u32("size")? as usize;
    let position = input.raw(size, "position")?;
    let position = if position.is_empty() { None } else { Some(BodyId::from_bytes(&position)?) };
    Ok(Some((sequence, position)))
}

#[cfg(test)]
mod tests {
    use protocol::types::SessionId;

    use super::*;
    use crate::storage::disk::SimulatedDisk;

    fn id(upload: u64) -> BodyId {
        BodyId { session: SessionId::new(5), upload }
    }

    fn kept(disk: &SimulatedDisk) -> Option<BodyId> {
        ScrubPosition::open(disk).unwrap().1
    }

    #[test]
    fn what_was_kept_last_is_read() {
        let disk = SimulatedDisk::new(1);
        assert_eq!(kept(&disk), None);
        for position in [Some(id(1)), Some(id(2)), None, Some(id(3))] {
            let (mut file, _) = ScrubPosition::open(&disk).unwrap();
            file.keep(position).unwrap();
            assert_eq!(kept(&disk), position);
        }
    }

    #[test]
    fn of_a_damaged_position_the_one_before_is_left_and_then_none() {
        let disk = SimulatedDisk::new(1);
        let (mut file, _) = ScrubPosition::open(&disk).unwrap();
        file.keep(Some(id(1))).unwrap();
        file.keep(Some(id(2))).unwrap();
        let raw = disk.open(NAME).unwrap().unwrap();
        raw.write_at(30, &[0xff]).unwrap();
        assert_eq!(kept(&disk), Some(id(1)));
        raw.write_at(slot_offset(1) + 4_000, &[0xff]).unwrap();
        assert_eq!(kept(&disk), None);
        file.keep(Some(id(3))).unwrap();
        assert_eq!(kept(&disk), Some(id(3)));
    }

    /// Golden: the place of every field.
    #[test]
    fn a_slot_is_as_it_is_drawn() {
        let raw = encode(7, Some(id(9)));
        assert_eq!(raw.len(), SLOT_SIZE);
        assert_eq!(&raw[..16], Checksum::of(&raw[16..]).get().to_le_bytes());
        assert_eq!(&raw[16..24], b"VSCRUB1\0");
        assert_eq!(&raw[24..32], 7u64.to_le_bytes());
        assert_eq!(&raw[32..36], 16u32.to_le_bytes());
        assert_eq!(&raw[36..44], 5u64.to_le_bytes());
        assert_eq!(&raw[44..52], 9u64.to_le_bytes());
        assert!(raw[52..].iter().all(|byte| *byte == 0));
    }
}
