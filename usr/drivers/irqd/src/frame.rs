//! Frames of registers that make interrupts of messages: GICv2m (Arm Server Base System Architecture, appendix E).
//!
//! A device writes a number to the frame, and the shared peripheral interrupt of that number becomes pending, as by an
//! edge. Which ones are its own, the frame's type register says, unless firmware says otherwise.

use capelin_interfaces::interrupts::{FrameInfo, Message};

use crate::distributor::FIRST_SPI;

/// Offsets of the registers, in bytes.
pub mod offset {
    /// The frame's interrupts (`V2M_MSI_TYPER`).
    pub const TYPE: usize = 0x008;
    /// Where messages are written (`V2M_MSI_SETSPI_NS`).
    pub const SET: u64 = 0x040;
}
/// Bytes of registers.
pub const BYTES: u64 = 0x1000;
/// The fields of the type register have 10 bits.
const FIELD: u32 = 0x3ff;
/// Interrupts from here on are no shared peripheral ones.
const LIMIT: u32 = 1020;

/// A frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Where messages are written, as devices see it.
    doorbell: u64,
    first: u32,
    count: u32,
}

impl Frame {
    /// The frame whose registers start at the physical address `base` and whose type register reads `kind`; `None` if it
    /// has no interrupts that could be.
    #[must_use]
    pub fn new(base: u64, kind: u32, info: FrameInfo) -> Option<Self> {
        let said = |of_tree: u32, own: u32| if of_tree == 0 { own } else { of_tree };
        let first = said(info.first, kind >> 16 & FIELD);
        let count = said(info.count, kind & FIELD);
        let end = first.checked_add(count)?;
        let can_be = first >= FIRST_SPI && count > 0 && end <= LIMIT;
        can_be.then_some(Self {
            doorbell: base.checked_add(offset::SET)?,
            first,
            count,
        })
    }

    /// The messages that a device may be given, lowest interrupt first.
    pub fn messages(self) -> impl Iterator<Item = Message> {
        (self.first..self.first + self.count).map(move |intid| Message {
            intid,
            address: self.doorbell,
            data: intid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const NOTHING: FrameInfo = FrameInfo {
        offset: 0,
        first: 0,
        count: 0,
    };

    #[test]
    fn messages_are_the_frames_own_unless_the_tree_says_otherwise() {
        // QEMU's board: 64 from 80 on.
        let frame = Frame::new(0x802_0000, 80 << 16 | 64, NOTHING).unwrap();
        let all: Vec<_> = frame.messages().collect();
        let message = |intid| Message {
            intid,
            address: 0x802_0040,
            data: intid,
        };
        assert_eq!(all.len(), 64);
        assert_eq!((all[0], all[63]), (message(80), message(143)));
        let info = FrameInfo {
            first: 96,
            count: 2,
            ..NOTHING
        };
        let frame = Frame::new(0x802_0000, 80 << 16 | 64, info).unwrap();
        let intids: Vec<_> = frame.messages().map(|it| it.intid).collect();
        assert_eq!(intids, [96, 97]);
    }

    #[test]
    fn frames_that_cannot_be_are_none() {
        for kind in [0, 80 << 16, 64, 31 << 16 | 4, 1000 << 16 | 21] {
            assert_eq!(Frame::new(0, kind, NOTHING), None, "{kind:#x}");
        }
        assert!(Frame::new(0, 1000 << 16 | 20, NOTHING).is_some());
        assert_eq!(Frame::new(u64::MAX - 0x3f, 80 << 16 | 64, NOTHING), None);
        let info = FrameInfo {
            first: u32::MAX,
            count: u32::MAX,
            ..NOTHING
        };
        assert_eq!(Frame::new(0, 0, info), None);
    }
}
