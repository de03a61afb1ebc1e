//! A channel: two rings, one in each direction.
//!
//! In one frame the first ring carries messages from the creator to the attacher, the second one
//! the other way:
//!
//! ```text
//!  line 0                  lines of ring 0                      + lines of ring 1
//!  ┌───────────────────────┬─────────────────────────────────────┐
//!  │ ring 0: creator sends │ ring 1: attacher sends              │
//!  └───────────────────────┴─────────────────────────────────────┘
//! ```
//!
//! Rings that lie in frames of different NUMA nodes are created one by one with [`Ring`] and put
//! together from their ends.

use crate::error::SetupError;
use crate::memory::Line;
use crate::receiver::Receiver;
use crate::ring::{Ring, RingConfig};
use crate::sender::Sender;
use crate::sleep::{Flush, full_barrier};

/// One side of a channel. The two ends may be moved out and used by different threads.
#[derive(Debug)]
pub struct Channel<'m> {
    /// Sends to the peer.
    pub tx: Sender<'m>,
    /// Receives from the peer.
    pub rx: Receiver<'m>,
}

impl<'m> Channel<'m> {
    /// Lines of memory that a channel needs whose creator sends on `outgoing` and receives on
    /// `incoming`.
    #[must_use]
    pub const fn lines(outgoing: RingConfig, incoming: RingConfig) -> usize {
        outgoing.lines() + incoming.lines()
    }

    /// The same in bytes.
    #[must_use]
    pub const fn bytes(outgoing: RingConfig, incoming: RingConfig) -> usize {
        outgoing.bytes() + incoming.bytes()
    }

    /// Lays a channel out at the start of `lines`, and gives the creator's side.
    ///
    /// # Errors
    ///
    /// [`SetupError::TooSmall`] when `lines` are fewer than [`Channel::lines`].
    pub fn create(
        lines: &'m [Line],
        outgoing: RingConfig,
        incoming: RingConfig,
    ) -> Result<Self, SetupError> {
        let (first, rest) = lines
            .split_at_checked(outgoing.lines())
            .ok_or(SetupError::TooSmall)?;
        // The second first: an attacher that sees the first then finds both.
        let rx = Ring::create(rest, incoming)?.receiver();
        let tx = Ring::create(first, outgoing)?.sender();
        Ok(Self { tx, rx })
    }

    /// Attaches to the channel that the peer has created at the start of `lines`. To be done once.
    ///
    /// # Errors
    ///
    /// As [`Ring::attach`].
    pub fn attach(lines: &'m [Line]) -> Result<Self, SetupError> {
        let first = Ring::attach(lines)?;
        let rest = lines
            .get(first.config().lines()..)
            .ok_or(SetupError::TooSmall)?;
        let tx = Ring::attach(rest)?.sender();
        Ok(Self {
            tx,
            rx: first.receiver(),
        })
    }

    /// Both ends' flush with one barrier: whether the peer must be notified of messages or of
    /// credits. To be called once per batch, and before this domain waits for anything.
    #[inline]
    pub fn flush(&mut self) -> Flush {
        full_barrier();
        let messages = self.tx.check_receiver();
        messages.or(self.rx.check_sender())
    }

    /// Closes both directions. Asks to notify the peer, as [`flush`](Self::flush).
    pub fn close(&mut self) -> Flush {
        let messages = self.tx.close();
        messages.or(self.rx.close())
    }
}
