//! What all console drivers share (`docs/085-console-and-interrupts.md`).
//!
//! ```text
//! write → output (lines of clients kept apart) → uart → device
//! device → uart → input (session, line discipline) → read
//! ```
//!
//! A UART's driver is its device's [`uart::Uart`], and a call of [`driver::run`]; that of another device
//! learns by itself when the device has done something, and has [`driver::register`] serve.
//!
//! | module | concept |
//! | --- | --- |
//! | [`uart`] | what is asked of a device |
//! | [`output`] | bytes of many writers, in order, lines unmixed |
//! | [`rest`] | when a device may be switched over without losing a byte |
//! | [`input`] | who gets the input, and whether it is edited first |
//! | [`console`] | the three together; what an interrupt does |
//! | [`service`] | the interface, one session a client |
//! | [`driver`] | the program: its registers, its interrupt, its name |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod console;
pub mod driver;
pub mod input;
pub mod output;
pub mod rest;
pub mod service;
pub mod uart;

/// Names a client: the number of its connection.
pub type ClientId = u64;
