//! Registers that keep what is written, and tell of it.

use alloc::{rc::Rc, vec, vec::Vec};
use core::cell::RefCell;

use capelin_driver::Registers;

/// Registers, whose clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Fake(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    written: Vec<(usize, usize, u32)>,
    read: Vec<(usize, usize)>,
    fixed: Vec<usize>,
}

impl Fake {
    /// As many bytes of zeros.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            bytes: vec![0; bytes],
            written: Vec::new(),
            read: Vec::new(),
            fixed: Vec::new(),
        })))
    }

    /// Has them be something, which nobody wrote.
    pub(crate) fn set(&self, offset: usize, bytes: &[u8]) {
        self.0.borrow_mut().bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// The same for a register of 32 bits.
    pub(crate) fn set32(&self, offset: usize, value: u32) {
        self.set(offset, &value.to_le_bytes());
    }

    /// From now on what is written there changes nothing.
    pub(crate) fn fix(&self, offset: usize) {
        self.0.borrow_mut().fixed.push(offset);
    }

    /// From now on there are no more than so many.
    pub(crate) fn truncate(&self, bytes: usize) {
        self.0.borrow_mut().bytes.truncate(bytes);
    }

    /// What was written since it was last asked: where, how wide, what.
    pub(crate) fn written(&self) -> Vec<(usize, usize, u32)> {
        core::mem::take(&mut self.0.borrow_mut().written)
    }

    /// What was read since it was last asked: where, how wide.
    pub(crate) fn was_read(&self) -> Vec<(usize, usize)> {
        core::mem::take(&mut self.0.borrow_mut().read)
    }

    fn load(&self, offset: usize, width: usize) -> u32 {
        let mut inner = self.0.borrow_mut();
        inner.read.push((offset, width));
        let mut value = [0; 4];
        value[..width].copy_from_slice(&inner.bytes[offset..offset + width]);
        u32::from_le_bytes(value)
    }

    fn store(&self, offset: usize, width: usize, value: u32) {
        self.0.borrow_mut().written.push((offset, width, value));
        if !self.0.borrow().fixed.contains(&offset) {
            self.set(offset, &value.to_le_bytes()[..width]);
        }
    }
}

impl Registers for Fake {
    fn bytes(&self) -> usize {
        self.0.borrow().bytes.len()
    }

    fn read8(&self, offset: usize) -> u8 {
        u8::try_from(self.load(offset, 1)).unwrap()
    }

    fn read16(&self, offset: usize) -> u16 {
        u16::try_from(self.load(offset, 2)).unwrap()
    }

    fn read32(&self, offset: usize) -> u32 {
        self.load(offset, 4)
    }

    fn write8(&self, offset: usize, value: u8) {
        self.store(offset, 1, value.into());
    }

    fn write16(&self, offset: usize, value: u16) {
        self.store(offset, 2, value.into());
    }

    fn write32(&self, offset: usize, value: u32) {
        self.store(offset, 4, value);
    }
}
