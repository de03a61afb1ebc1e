//! Protocol state machines of the monitors.
#![no_std]
