//! The shell: what can be tested without a machine (`docs/090-shell.md`).
//!
//! ```text
//! bytes → keys → editor ─┐
//!                        ├→ line → words → command → (main.rs: services) → report
//! capelin.exec → percent ┘
//! ```
//!
//! | module | concept |
//! | --- | --- |
//! | [`keys`] | bytes from a terminal to keys |
//! | [`editor`], [`history`] | a line being edited; lines entered before |
//! | [`words`] | a line to commands, a command to words |
//! | [`command`], [`usage`] | words to typed commands, what is wrong with them; how each is used |
//! | [`spelling`] | what a misspelt name was likely meant for |
//! | [`arguments`], [`percent`] | the `capelin.exec` argument |
//! | [`ahead`] | what is typed while a command runs |
//! | [`machine`] | what memory there should be |
//! | [`report`], [`board`], [`files`] | results as text |
//! | [`plain`] | nothing in them commands the terminal |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod ahead;
pub mod arguments;
pub mod board;
pub mod command;
pub mod editor;
pub mod files;
pub mod history;
pub mod keys;
pub mod machine;
pub mod percent;
pub mod plain;
pub mod report;
pub mod spelling;
pub mod usage;
pub mod words;

/// What the shell shows when it is ready for a command.
pub const PROMPT: &str = "capelin> ";
