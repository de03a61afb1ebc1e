//! The System Knowledge Base.
#![no_std]
