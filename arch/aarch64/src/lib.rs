//! Everything that issues an instruction or touches a register of the processor.
#![no_std]
