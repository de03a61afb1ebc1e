//! What the device tree of QEMU virt cannot say, and how to run it.
#![no_std]
