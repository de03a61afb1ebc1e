//! Typed interfaces over LMP and URPC.
#![no_std]
