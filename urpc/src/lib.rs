//! Shared-memory message rings between cores.
#![no_std]
