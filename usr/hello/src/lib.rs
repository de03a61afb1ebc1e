//! Says where it runs.
#![no_std]
