//! What the device tree of the Raspberry Pi 4 cannot say.
#![no_std]
