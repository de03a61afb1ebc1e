//! A structure of registers, in those that were handed over.

use alloc::rc::Rc;

use capelin_driver::Registers;
use virtio_drivers::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::layout::{LayoutError, Piece, Structure};

/// How often the status is read after a reset until it is believed that the device hangs.
const RESET_READS: usize = 100_000;
/// Bytes of the largest value that a driver reads of a device's own structure.
const LARGEST: usize = 64;

/// A structure of registers.
#[derive(Debug)]
pub(crate) struct Reach<R> {
    registers: Rc<R>,
    start: usize,
    bytes: usize,
}

impl<R: Registers> Reach<R> {
    /// The structure at `piece`, of which `least` bytes are used.
    pub(crate) fn new(
        registers: Option<Rc<R>>,
        piece: Piece,
        least: usize,
        what: Structure,
    ) -> Result<Self, LayoutError> {
        let out = LayoutError::OutOfReach(what);
        let registers = registers.ok_or(out)?;
        let number = |value: u32| usize::try_from(value).map_err(|_| out);
        let (start, bytes) = (number(piece.offset)?, number(piece.bytes)?);
        let end = start.checked_add(bytes).ok_or(out)?;
        if end > registers.bytes() || bytes < least || !start.is_multiple_of(4) {
            return Err(out);
        }
        Ok(Self {
            registers,
            start,
            bytes,
        })
    }

    pub(crate) fn has(&self, offset: usize, bytes: usize) -> bool {
        let end = offset.checked_add(bytes);
        end.is_some_and(|end| end <= self.bytes)
    }

    pub(crate) fn read8(&self, offset: usize) -> u8 {
        self.registers.read8(self.start + offset)
    }

    pub(crate) fn read16(&self, offset: usize) -> u16 {
        self.registers.read16(self.start + offset)
    }

    pub(crate) fn read32(&self, offset: usize) -> u32 {
        self.registers.read32(self.start + offset)
    }

    pub(crate) fn write8(&self, offset: usize, value: u8) {
        self.registers.write8(self.start + offset, value);
    }

    pub(crate) fn write16(&self, offset: usize, value: u16) {
        self.registers.write16(self.start + offset, value);
    }

    pub(crate) fn write32(&self, offset: usize, value: u32) {
        self.registers.write32(self.start + offset, value);
    }

    /// 64 bits, by halves, as 4.1.3.1 allows.
    pub(crate) fn write64(&self, offset: usize, value: u64) {
        let [low, high] = halves(value);
        self.write32(offset, low);
        self.write32(offset + 4, high);
    }

    /// 64 bits that a register of 32 shows one half of at a time: which, `select` says.
    pub(crate) fn read_halves(&self, select: usize, register: usize) -> u64 {
        let half = |index| {
            self.write32(select, index);
            u64::from(self.read32(register))
        };
        half(0) | half(1) << 32
    }

    /// Writes such.
    pub(crate) fn write_halves(&self, select: usize, register: usize, value: u64) {
        for (index, half) in (0..).zip(halves(value)) {
            self.write32(select, index);
            self.write32(register, half);
        }
    }

    /// A value, each field of it read as wide as it is (4.1.3.1).
    pub(crate) fn read_value<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        let mut bytes = [0; LARGEST];
        let all = bytes.get_mut(..size_of::<T>());
        let all = all.filter(|all| self.has(offset, all.len()));
        let all = all.ok_or(Error::ConfigSpaceTooSmall)?;
        let mut rest = &mut *all;
        let mut at = offset;
        while !rest.is_empty() {
            let width = width(at, rest.len());
            let value = match width {
                4 => self.read32(at),
                2 => self.read16(at).into(),
                _ => self.read8(at).into(),
            };
            let (now, later) = rest.split_at_mut(width);
            now.copy_from_slice(&value.to_le_bytes()[..width]);
            rest = later;
            at += width;
        }
        T::read_from_bytes(all).map_err(|_| Error::ConfigSpaceTooSmall)
    }

    /// Writes one likewise.
    pub(crate) fn write_value<T: IntoBytes + Immutable>(
        &self,
        offset: usize,
        value: &T,
    ) -> Result<(), Error> {
        let mut rest = value.as_bytes();
        if !self.has(offset, rest.len()) {
            return Err(Error::ConfigSpaceTooSmall);
        }
        let mut at = offset;
        while !rest.is_empty() {
            let width = width(at, rest.len());
            let (now, later) = rest.split_at(width);
            match *now {
                [a, b, c, d] => self.write32(at, u32::from_le_bytes([a, b, c, d])),
                [a, b] => self.write16(at, u16::from_le_bytes([a, b])),
                _ => now.iter().for_each(|byte| self.write8(at, *byte)),
            }
            rest = later;
            at += width;
        }
        Ok(())
    }
}

/// Waits until a reset is over: the status reads as 0 then (2.4.2, 4.1.4.3.2). One that hangs isn't
/// waited for.
pub(crate) fn until_reset(status: impl Fn() -> u32) {
    let mut reads = 0..RESET_READS;
    let _ = reads.find(|_| status() == 0);
}

/// Bytes of the widest access at `at`, of at most `left`: a field is read and written as wide as it is
/// (4.1.3.1).
const fn width(at: usize, left: usize) -> usize {
    if left >= 4 && at.is_multiple_of(4) {
        4
    } else if left >= 2 && at.is_multiple_of(2) {
        2
    } else {
        1
    }
}

/// The low and the high 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is asked for"
)]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}
