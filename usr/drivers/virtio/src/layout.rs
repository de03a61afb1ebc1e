//! Where a virtio device's structures are (4.1.4): capabilities in the first 256 bytes of its
//! configuration space name a BAR and a place in it.

use core::fmt;

use virtio_drivers::transport::DeviceType;

/// Registers of 32 bits in the first 256 bytes.
pub const REGISTERS: usize = 64;
/// Who makes virtio devices (4.1.2).
const VENDOR: u32 = 0x1af4;
/// What a device of type 0 would be called; those before have numbers of their own.
const FIRST_DEVICE: u32 = 0x1040;
/// A capability that is its vendor's.
const VENDOR_CAPABILITY: u8 = 9;
/// A capability for message interrupts by a table (MSI-X).
const MESSAGE_CAPABILITY: u8 = 0x11;

/// A structure of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Structure {
    /// Features, status, queues.
    Common,
    /// Where queues are told that there is something in them.
    Notify,
    /// Which interrupts there are.
    Isr,
    /// What is the device type's own.
    Device,
}

/// Why a device can't be driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// It isn't a virtio device.
    NotVirtio,
    /// It is of a type that nobody knows.
    UnknownType,
    /// It has no such structure: it is of the time before version 1, for example.
    Missing(Structure),
    /// The structure isn't in registers that were handed over, or is too short.
    OutOfReach(Structure),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVirtio => f.write_str("not a virtio device"),
            Self::UnknownType => f.write_str("a virtio device of an unknown type"),
            Self::Missing(what) => write!(f, "the device lacks a structure ({what:?})"),
            Self::OutOfReach(what) => {
                write!(f, "a structure of the device is out of reach ({what:?})")
            }
        }
    }
}

/// Where a structure is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The BAR that it is in.
    pub bar: u8,
    /// Bytes from the BAR's start.
    pub offset: u32,
    /// Bytes.
    pub bytes: u32,
}

/// Where all of them are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// What the device is.
    pub kind: DeviceType,
    /// [`Structure::Common`].
    pub common: Piece,
    /// [`Structure::Notify`].
    pub notify: Piece,
    /// Bytes between the places of two queues in it.
    pub notify_stride: u32,
    /// [`Structure::Isr`].
    pub isr: Piece,
    /// [`Structure::Device`], which not all have.
    pub device: Option<Piece>,
    /// Whether it can interrupt by messages.
    pub has_messages: bool,
}

impl Layout {
    /// Reads what the first registers of configuration space say. Of several structures of a kind the
    /// first counts (4.1.4: "the driver SHOULD use the first").
    ///
    /// # Errors
    /// [`LayoutError`], but for [`LayoutError::OutOfReach`].
    pub fn read(space: &[u32; REGISTERS]) -> Result<Self, LayoutError> {
        let kind = kind(space[0])?;
        let (mut common, mut notify, mut isr, mut device) = (None, None, None, None);
        let mut has_messages = false;
        for (at, header) in capabilities(space) {
            let [id, _, length, structure] = header.to_le_bytes();
            has_messages |= id == MESSAGE_CAPABILITY;
            let word = |index: usize| space.get(at + index).copied();
            let (Some(place), Some(offset), Some(bytes)) = (word(1), word(2), word(3)) else {
                continue;
            };
            let [bar, ..] = place.to_le_bytes();
            if id != VENDOR_CAPABILITY || length < 16 || bar > 5 {
                continue;
            }
            let piece = Piece { bar, offset, bytes };
            match structure {
                1 => common = common.or(Some(piece)),
                2 if length >= 20 => notify = notify.or_else(|| Some((piece, word(4)?))),
                3 => isr = isr.or(Some(piece)),
                4 => device = device.or(Some(piece)),
                _ => {}
            }
        }
        let missing = LayoutError::Missing;
        let (notify, notify_stride) = notify.ok_or(missing(Structure::Notify))?;
        Ok(Self {
            kind,
            common: common.ok_or(missing(Structure::Common))?,
            notify,
            notify_stride,
            isr: isr.ok_or(missing(Structure::Isr))?,
            device,
            has_messages,
        })
    }
}

/// What a device with that first register is (4.1.2.1).
fn kind(id: u32) -> Result<DeviceType, LayoutError> {
    if id & 0xffff != VENDOR {
        return Err(LayoutError::NotVirtio);
    }
    let device = id >> 16;
    let number = match device {
        // Transitional devices.
        0x1000 => 1,
        0x1001 => 2,
        0x1002 => 5,
        0x1003 => 3,
        0x1004 => 8,
        0x1005 => 4,
        0x1009 => 9,
        modern => modern.saturating_sub(FIRST_DEVICE),
    };
    DeviceType::try_from(number).map_err(|_| LayoutError::UnknownType)
}

/// The list of capabilities: where each is, in registers, and its first register. One that leads in a
/// circle ends.
fn capabilities(space: &[u32; REGISTERS]) -> impl Iterator<Item = (usize, u32)> {
    const HAS_LIST: u32 = 1 << 20;
    let first = if space[1] & HAS_LIST == 0 {
        0
    } else {
        space[0x34 / 4]
    };
    let mut next = first.to_le_bytes()[0];
    let steps = core::iter::from_fn(move || {
        let at = usize::from(next / 4);
        if next < 0x40 {
            return None;
        }
        let header = *space.get(at)?;
        next = header.to_le_bytes()[1];
        Some((at, header))
    });
    steps.take(REGISTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device with these capabilities, one behind the other: structure, BAR, offset, bytes, and
    /// the distance of notifications.
    fn space(id: u32, structures: &[(u32, u32, u32, u32, u32)]) -> [u32; REGISTERS] {
        let mut space = [0; REGISTERS];
        space[0] = id;
        space[1] = 1 << 20;
        space[13] = 0x40;
        for (index, &(structure, bar, offset, bytes, stride)) in structures.iter().enumerate() {
            let at = 16 + 5 * index;
            let next = if index + 1 < structures.len() {
                u32::try_from(4 * (at + 5)).unwrap()
            } else {
                0
            };
            space[at] = structure << 24 | 20 << 16 | next << 8 | 9;
            space[at + 1..at + 5].copy_from_slice(&[bar, offset, bytes, stride]);
        }
        space
    }

    const WHOLE: [(u32, u32, u32, u32, u32); 4] = [
        (1, 4, 0, 0x1000, 0),
        (3, 4, 0x1000, 0x1000, 0),
        (4, 4, 0x2000, 0x1000, 0),
        (2, 2, 0x3000, 0x1000, 4),
    ];

    #[test]
    fn structures_are_where_the_first_capabilities_say() {
        let mut structures = WHOLE.to_vec();
        // One more of a kind, for another BAR.
        structures.push((1, 0, 0x800, 64, 0));
        let layout = Layout::read(&space(0x1044_1af4, &structures)).unwrap();
        let piece = |bar, offset| Piece {
            bar,
            offset,
            bytes: 0x1000,
        };
        let expected = Layout {
            kind: DeviceType::EntropySource,
            common: piece(4, 0),
            notify: piece(2, 0x3000),
            notify_stride: 4,
            isr: piece(4, 0x1000),
            device: Some(piece(4, 0x2000)),
            has_messages: false,
        };
        assert_eq!(layout, expected);
        let mut with_table = space(0x1044_1af4, &structures);
        // What was the last one is MSI-X.
        *with_table.iter_mut().rfind(|it| **it & 0xff == 9).unwrap() = 0x8001_0011;
        let has_messages = true;
        let expected = Layout {
            has_messages,
            ..expected
        };
        assert_eq!(Layout::read(&with_table), Ok(expected));
        let transitional = Layout::read(&space(0x1005_1af4, &WHOLE)).unwrap();
        assert_eq!(transitional.kind, DeviceType::EntropySource);
        let console = Layout::read(&space(0x1003_1af4, &WHOLE)).unwrap();
        assert_eq!(console.kind, DeviceType::Console);
    }

    #[test]
    fn what_is_missing_or_of_others_is_told() {
        let read = |id, structures: &[_]| Layout::read(&space(id, structures)).map(|it| it.kind);
        assert_eq!(read(0x1044_8086, &WHOLE), Err(LayoutError::NotVirtio));
        assert_eq!(read(0x10ff_1af4, &WHOLE), Err(LayoutError::UnknownType));
        assert_eq!(read(0x1010_1af4, &WHOLE), Err(LayoutError::UnknownType));
        for (without, what) in [
            (0, Structure::Common),
            (1, Structure::Isr),
            (3, Structure::Notify),
        ] {
            let mut structures = WHOLE.to_vec();
            structures.remove(without);
            assert_eq!(
                read(0x1044_1af4, &structures),
                Err(LayoutError::Missing(what))
            );
        }
        let mut bad_bar = WHOLE;
        bad_bar[0].1 = 6;
        let missing = Err(LayoutError::Missing(Structure::Common));
        assert_eq!(read(0x1044_1af4, &bad_bar), missing);
        // Not all have one of their own.
        assert!(read(0x1044_1af4, &[WHOLE[0], WHOLE[1], WHOLE[3]]).is_ok());
    }

    #[test]
    fn a_list_in_a_circle_or_past_the_end_ends() {
        let mut circle = space(0x1044_1af4, &WHOLE);
        circle[31] |= 0x40 << 8;
        assert!(Layout::read(&circle).is_ok());
        let mut end = [0; REGISTERS];
        end[0] = 0x1044_1af4;
        end[1] = 1 << 20;
        end[13] = 0xfc;
        end[63] = 1 << 24 | 20 << 16 | 9;
        assert!(Layout::read(&end).is_err());
    }
}
