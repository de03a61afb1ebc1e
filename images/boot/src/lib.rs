//! The boot driver: an arm64 Image that places the first CPU driver.
#![no_std]
