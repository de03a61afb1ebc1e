//! A capability on its way to another kernel: 64 bytes that the monitors pass.
//!
//! | word | holds |
//! | --- | --- |
//! | 0 | type in bits 7:0, rights in 15:8, mode in 23:16, flags in 31:24, owner in 47:32, version in 63:48 |
//! | 1, 2 | base and size |
//! | 3, 4 | data |
//! | 5–7 | zero |

use capelin_abi::{KernelId, ObjectType, Rights, SysError};

use crate::create::check_range;
use crate::slot::Capability;

/// The version of the record, in bits 63:48 of its first word.
pub const RECORD_VERSION: u64 = 1;

/// In the flags: [`CapRecord::has_ancestors`].
const HAS_ANCESTORS: u64 = 0b001;
/// In the flags: [`CapRecord::is_in_frame`].
const IN_FRAME: u64 = 0b010;
/// In the flags: [`CapRecord::is_executable`].
const EXECUTABLE: u64 = 0b100;

/// How a capability goes to another kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ExportMode {
    /// The receiver owns it afterwards; here remains a tombstone.
    Move = 1,
    /// The receiver gets a foreign copy.
    Copy = 2,
    /// Nothing travels: the sender says that it owns the object.
    Claim = 3,
    /// A move to a kernel that has a foreign copy, and others may have, too: they keep
    /// theirs.
    HandOver = 4,
}

impl ExportMode {
    /// Whether capabilities of this type travel in this mode.
    #[must_use]
    pub const fn takes(self, kind: ObjectType) -> bool {
        match self {
            Self::Move | Self::Claim => matches!(
                kind,
                ObjectType::Ram
                    | ObjectType::Frame
                    | ObjectType::DevFrame
                    | ObjectType::PhysAddr
                    | ObjectType::EndpointUmp
                    | ObjectType::IrqSource
            ),
            Self::HandOver => matches!(kind, ObjectType::Frame | ObjectType::EndpointUmp),
            Self::Copy => {
                matches!(
                    kind,
                    ObjectType::Frame | ObjectType::EndpointUmp | ObjectType::Notify
                )
            }
        }
    }
}

/// A capability between two kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapRecord {
    /// Type, rights, range and data.
    pub capability: Capability,
    /// Who owns the object after the transfer.
    pub owner: KernelId,
    /// How it travels.
    pub mode: ExportMode,
    /// Whether what it was made from stays behind.
    pub has_ancestors: bool,
    /// Whether a frame around it stays behind, through which it can be mapped.
    pub is_in_frame: bool,
    /// Whether it is a frame that may be mapped executable, and nobody can write to.
    pub is_executable: bool,
}

impl CapRecord {
    /// As a message.
    #[must_use]
    pub const fn to_words(&self) -> [u64; 8] {
        let Capability {
            kind,
            rights,
            base,
            size,
            data,
        } = self.capability;
        let mut flags = 0;
        if self.has_ancestors {
            flags |= HAS_ANCESTORS;
        }
        if self.is_in_frame {
            flags |= IN_FRAME;
        }
        if self.is_executable {
            flags |= EXECUTABLE;
        }
        let head = kind as u64
            | (rights.bits() as u64) << 8
            | (self.mode as u64) << 16
            | flags << 24
            | (self.owner.0 as u64) << 32
            | RECORD_VERSION << 48;
        [head, base, size, data[0], data[1], 0, 0, 0]
    }

    /// From a message; all of it is checked that can be without the database.
    ///
    /// # Errors
    /// `Unsupported` for another version; `InvalidArgument` for bits that have
    /// no meaning, an impossible owner or mode; `WrongType` for a type that
    /// doesn't travel so; `OutOfRange` or `Unaligned` for the range.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fields are cut out on purpose"
    )]
    pub fn parse(words: &[u64; 8]) -> Result<Self, SysError> {
        let [head, base, size, data0, data1, rest @ ..] = *words;
        if head >> 48 != RECORD_VERSION {
            return Err(SysError::Unsupported);
        }
        let kind = ObjectType::try_from(head as u8).map_err(|_| SysError::WrongType)?;
        let rights = Rights::from_bits((head >> 8) as u8).ok_or(SysError::InvalidArgument)?;
        let mode = match (head >> 16) as u8 {
            1 => ExportMode::Move,
            2 => ExportMode::Copy,
            3 => ExportMode::Claim,
            4 => ExportMode::HandOver,
            _ => return Err(SysError::InvalidArgument),
        };
        let flags = head >> 24 & 0xff;
        let owner = KernelId((head >> 32) as u16);
        if flags & !(HAS_ANCESTORS | IN_FRAME | EXECUTABLE) != 0
            || owner.0 >= KernelId::LIMIT
            || rest != [0; 3]
        {
            return Err(SysError::InvalidArgument);
        }
        let capability = Capability {
            kind,
            rights,
            base,
            size,
            data: [data0, data1],
        };
        if !mode.takes(kind) {
            return Err(SysError::WrongType);
        }
        check_range(&capability)?;
        let is_executable = flags & EXECUTABLE != 0;
        if is_executable && (kind != ObjectType::Frame || rights.contains(Rights::WRITE)) {
            return Err(SysError::InvalidArgument);
        }
        Ok(Self {
            capability,
            owner,
            mode,
            has_ancestors: flags & HAS_ANCESTORS != 0,
            is_in_frame: flags & IN_FRAME != 0,
            is_executable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_abi::PhysAddr;

    fn record() -> CapRecord {
        let frame = Capability::memory(ObjectType::Frame, PhysAddr(0x8000), 0x2000, Rights::READ);
        CapRecord {
            capability: frame.with_data([3, 4]),
            owner: KernelId(511),
            mode: ExportMode::Copy,
            has_ancestors: true,
            is_in_frame: false,
            is_executable: true,
        }
    }

    #[test]
    fn records_survive_the_message() {
        assert_eq!(CapRecord::parse(&record().to_words()), Ok(record()));
        let moved = CapRecord {
            mode: ExportMode::Move,
            has_ancestors: false,
            is_in_frame: true,
            is_executable: false,
            ..record()
        };
        assert_eq!(CapRecord::parse(&moved.to_words()), Ok(moved));
        for mode in [ExportMode::Claim, ExportMode::HandOver] {
            let other = CapRecord { mode, ..moved };
            assert_eq!(CapRecord::parse(&other.to_words()), Ok(other));
        }
    }

    #[test]
    fn each_malformed_field_is_refused() {
        let good = record().to_words();
        let with = |word: usize, value: u64| {
            let mut words = good;
            words[word] = value;
            CapRecord::parse(&words)
        };
        let head = good[0];
        assert_eq!(with(0, head ^ 3 << 48), Err(SysError::Unsupported));
        assert_eq!(with(0, head | 0xff), Err(SysError::WrongType));
        assert_eq!(with(0, head | 0x80 << 8), Err(SysError::InvalidArgument));
        assert_eq!(with(0, head | 0xf << 16), Err(SysError::InvalidArgument));
        for none in [0, 5] {
            let word = head & !(0xff << 16) | none << 16;
            assert_eq!(with(0, word), Err(SysError::InvalidArgument));
        }
        assert_eq!(with(0, head | 8 << 24), Err(SysError::InvalidArgument));
        assert_eq!(with(0, head | 512 << 32), Err(SysError::InvalidArgument));
        assert_eq!(
            with(0, head & !0xff | ObjectType::Ram as u64),
            Err(SysError::WrongType)
        );
        // What can be executed can't be written to, and is a frame.
        let writable = u64::from(Rights::WRITE.bits()) << 8;
        assert_eq!(with(0, head | writable), Err(SysError::InvalidArgument));
        let ring = head & !0xff | ObjectType::EndpointUmp as u64;
        assert_eq!(with(0, ring), Err(SysError::InvalidArgument));
        assert!(with(0, ring & !(4 << 24)).is_ok());
        assert_eq!(with(1, 0x8001), Err(SysError::Unaligned));
        assert_eq!(with(2, 0), Err(SysError::OutOfRange));
        assert_eq!(with(2, !0xfff), Err(SysError::OutOfRange));
        assert_eq!(with(7, 1), Err(SysError::InvalidArgument));
    }
}
