//! What Capelin needs to know from a device tree.
#![no_std]
