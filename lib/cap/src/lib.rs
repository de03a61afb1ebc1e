//! Capability slots, the mapping database and the local capability operations.
#![no_std]
