//! Makes a domain from an ELF or flat image.
#![no_std]
