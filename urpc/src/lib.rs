//! URPC: shared-memory message rings between cores.
//!
//! A [`Channel`] is a pair of single-producer single-consumer rings of 64-byte messages, one cache
//! line each, in memory that two domains share. Sending and receiving never enter a kernel; only
//! waking a peer that has announced sleep does, and that call is left to the user of this crate.
//!
//! ```text
//!   Channel ── tx: Sender ───▶ ring 0 ───▶ rx: Receiver ── Channel
//!   (creator)  rx: Receiver ◀─ ring 1 ◀─── tx: Sender     (attacher)
//! ```
//!
//! | module | concept |
//! | --- | --- |
//! | [`memory`] | a cache line as atomic words, the slots of a ring; the only `unsafe` code |
//! | [`header`] | the header word: sequence, tag, kind, length |
//! | [`message`] | a message that has been copied out of the ring |
//! | [`ring`] | sizes, layout, creation and attachment of one ring |
//! | [`sender`], [`receiver`] | the two ends of one ring |
//! | [`sleep`] | announcements of sleep, and the barrier that makes them safe |
//! | [`channel`] | the pair of rings |
//! | [`error`] | what can go wrong |
//!
//! The memory-order argument, the layout and the list of tests are in `docs/060-urpc.md`.
//!
//! # A peer that misbehaves
//!
//! The peer can write any word of the shared memory at any time. What this crate reads from it is
//! read once, as atomic words, into private memory, and checked there: a sequence that can't be, or
//! an index that runs backwards or past what was sent, is a [`ChannelError`] of that channel. It
//! stays with the end that saw it. Addresses and loop bounds come from private state only.
//!
//! # Example
//!
//! ```
//! use capelin_urpc::{Channel, Flush, Label, Line, RingConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = RingConfig::default();
//! let lines: Vec<Line> = (0..2 * config.lines()).map(|_| Line::new()).collect();
//! let mut server = Channel::create(&lines, config, config)?;
//! let mut client = Channel::attach(&lines)?;
//!
//! client.tx.try_send(Label::new(7), &[1, 2, 3])?;
//! assert_eq!(client.flush(), Flush::Quiet); // the server is awake: nobody to notify
//!
//! let message = server.rx.try_recv()?.expect("a message was sent");
//! assert_eq!((message.tag(), message.words()), (7, &[1, 2, 3][..]));
//! # Ok(())
//! # }
//! ```
#![cfg_attr(not(any(test, loom)), no_std)]

pub mod channel;
pub mod error;
pub mod header;
#[expect(
    unsafe_code,
    reason = "views a frame as atomic cache lines, indexes slots without a bounds check, copies by asm"
)]
pub mod memory;
pub mod message;
pub mod receiver;
pub mod ring;
pub mod sender;
pub mod sleep;

pub use channel::Channel;
pub use error::{ChannelError, SendError, SetupError, Violation};
pub use header::Label;
pub use memory::Line;
pub use message::Message;
pub use receiver::Receiver;
pub use ring::{Ring, RingConfig};
pub use sender::{Class, Sender};
pub use sleep::{Flush, full_barrier, take_rung};

/// Bytes of a cache line, of a slot and of a message with its header.
pub const LINE_BYTES: usize = 64;

/// Payload words of 8 bytes that one message carries.
pub const PAYLOAD_WORDS: usize = 7;

/// Payload bytes that one message carries.
pub const PAYLOAD_BYTES: usize = PAYLOAD_WORDS * 8;
