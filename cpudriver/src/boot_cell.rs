//! A static that boot alone touches, before the state is there that it makes.

#![expect(unsafe_code, reason = "a static of a single-threaded kernel")]

use core::cell::UnsafeCell;

/// A static for boot, before the state is installed.
pub(crate) struct BootCell<T>(UnsafeCell<T>);

// SAFETY: the image that holds such a static belongs to one core, which runs one
// thread that nothing interrupts; there is nobody to share with.
unsafe impl<T> Sync for BootCell<T> {}

impl<T> BootCell<T> {
    /// A cell that holds `value`.
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// A pointer to the value, for single-threaded use.
    pub(crate) const fn get(&self) -> *mut T {
        self.0.get()
    }
}
