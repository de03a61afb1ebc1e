//! The interfaces of the system services.
#![no_std]
