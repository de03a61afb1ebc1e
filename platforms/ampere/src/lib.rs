//! What the description of Ampere servers cannot say.
#![no_std]
