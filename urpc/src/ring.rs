//! One ring: its size, its layout in memory, how it is created and attached.
//!
//! ```text
//!  line 0        preamble     written once by the creator
//!  line 1        taken        written by the receiver, read by the sender when credits run out
//!  line 2        asleep (r)   written by the receiver, read by the sender's flush
//!  line 3        asleep (s)   written by the sender, read by the receiver's flush
//!  line 4 ..     slots        written by the sender, polled by the receiver
//! ```
//!
//! Every line has one writer. The preamble's payload words hold
//! `version | slots << 32` and `reserve | first sequence << 32`; its header word is [`MAGIC`],
//! stored last.
//!
//! The creator lays the ring out, the attacher copies the preamble once, checks it against the size
//! of the memory that it has itself, and never reads it again.

use crate::error::SetupError;
use crate::header::{Header, Label};
use crate::memory::{Line, Slots, Word};
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::{LINE_BYTES, PAYLOAD_WORDS};
use core::sync::atomic::Ordering;

/// Lines before the slots.
pub const CONTROL_LINES: usize = 4;

/// Fewest slots of a ring: one for closing, one in reserve, two for ordinary messages.
pub const MIN_SLOTS: u32 = 4;

/// Most slots of a ring (4 MiB). Far below the distance of [`CLOSE_MARK`](crate::header::CLOSE_MARK).
pub const MAX_SLOTS: u32 = 1 << 16;

/// The preamble's header word: "CplnURPC" in little-endian bytes.
pub const MAGIC: u64 = u64::from_le_bytes(*b"CplnURPC");

/// Version of the layout and of the header word.
pub const VERSION: u32 = 1;

const TAKEN_LINE: usize = 1;
const RECEIVER_SLEEP_LINE: usize = 2;
const SENDER_SLEEP_LINE: usize = 3;

/// Size and limits of one ring.
///
/// Of the slots, the last is kept for the mark of closing, and `reserve` more for
/// [reserved](Sender::try_send_reserved) messages: those that must get through when ordinary ones
/// have filled the ring, as acknowledgements and replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    slots: u32,
    reserve: u32,
    first_sequence: u32,
}

impl Default for RingConfig {
    /// 32 slots, 4 of them in reserve: 2304 bytes, so that a channel of two fits 8 KiB.
    fn default() -> Self {
        Self {
            slots: 32,
            reserve: 4,
            first_sequence: 0,
        }
    }
}

impl RingConfig {
    /// A ring of `slots` slots, an eighth of them (at least one) in reserve.
    ///
    /// # Errors
    ///
    /// [`SetupError::Slots`] unless `slots` is a power of two from [`MIN_SLOTS`] to [`MAX_SLOTS`].
    pub const fn new(slots: u32) -> Result<Self, SetupError> {
        if !slots.is_power_of_two() || slots < MIN_SLOTS || slots > MAX_SLOTS {
            return Err(SetupError::Slots);
        }
        let reserve = if slots < 16 { 1 } else { slots / 8 };
        Ok(Self {
            slots,
            reserve,
            first_sequence: 0,
        })
    }

    /// This ring with `reserve` slots that only reserved messages may use; 0 is allowed.
    ///
    /// # Errors
    ///
    /// [`SetupError::Reserve`] when no slot is left for ordinary messages.
    pub const fn with_reserve(self, reserve: u32) -> Result<Self, SetupError> {
        // One slot is kept for closing, and one ordinary one must be left.
        if reserve > self.slots - 2 {
            return Err(SetupError::Reserve);
        }
        Ok(Self { reserve, ..self })
    }

    /// This ring with messages numbered from `first_sequence` instead of 0. It makes no difference
    /// to users; tests start just before the wrap-around.
    #[must_use]
    pub const fn with_first_sequence(self, first_sequence: u32) -> Self {
        Self {
            first_sequence,
            ..self
        }
    }

    /// Number of slots.
    #[must_use]
    pub const fn slots(self) -> u32 {
        self.slots
    }

    /// Slots that ordinary messages leave free for reserved ones.
    #[must_use]
    pub const fn reserve(self) -> u32 {
        self.reserve
    }

    /// Ordinary messages that can be under way at once.
    #[must_use]
    pub const fn credits(self) -> u32 {
        self.slots - 1 - self.reserve
    }

    /// Lines of memory that the ring needs.
    #[must_use]
    pub const fn lines(self) -> usize {
        CONTROL_LINES + self.slots as usize
    }

    /// Bytes of memory that the ring needs.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.lines() * LINE_BYTES
    }

    pub(crate) const fn first_sequence(self) -> u32 {
        self.first_sequence
    }

    fn to_preamble(self) -> [u64; PAYLOAD_WORDS] {
        [
            pack(VERSION, self.slots),
            pack(self.reserve, self.first_sequence),
            0,
            0,
            0,
            0,
            0,
        ]
    }

    fn from_preamble(words: [u64; PAYLOAD_WORDS]) -> Result<Self, SetupError> {
        let [sizes, limits, ..] = words;
        let (version, slots) = unpack(sizes);
        let (reserve, first_sequence) = unpack(limits);
        if version != VERSION {
            return Err(SetupError::Version);
        }
        Ok(Self::new(slots)?
            .with_reserve(reserve)?
            .with_first_sequence(first_sequence))
    }
}

const fn pack(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const fn unpack(word: u64) -> (u32, u32) {
    ((word & 0xffff_ffff) as u32, (word >> 32) as u32)
}

/// A ring in memory, before it is known which of its ends is used here.
///
/// A ring has one sender and one receiver. To make two of either breaks the protocol (messages are
/// overwritten, and the other end sees [`Corrupt`](crate::ChannelError::Corrupt)), but not memory
/// safety.
#[derive(Debug)]
pub struct Ring<'m> {
    pub(crate) config: RingConfig,
    pub(crate) taken: &'m Word,
    pub(crate) receiver_sleep: &'m Word,
    pub(crate) sender_sleep: &'m Word,
    pub(crate) slots: Slots<'m>,
}

impl<'m> Ring<'m> {
    /// Lays a ring out at the start of `lines`, whatever they held.
    ///
    /// # Errors
    ///
    /// [`SetupError::TooSmall`] when `lines` are fewer than [`RingConfig::lines`].
    pub fn create(lines: &'m [Line], config: RingConfig) -> Result<Self, SetupError> {
        let (preamble, ring) = Self::view(lines, config)?;
        // Not a ring until all of it is written.
        preamble.header().store(0, Ordering::Relaxed);
        let first = config.first_sequence;
        ring.taken.store(u64::from(first), Ordering::Relaxed);
        ring.receiver_sleep.store(0, Ordering::Relaxed);
        ring.sender_sleep.store(0, Ordering::Relaxed);
        for index in 0..config.slots {
            // As if the slot had been used in the lap before the first.
            let previous = first.wrapping_add(index).wrapping_sub(config.slots);
            let previous = u64::from(previous);
            let header = Header::new(previous, Label::default(), 0);
            ring.slots.slot(previous).publish(header.bits());
        }
        preamble.write(&config.to_preamble());
        // Pairs with the acquiring load in `attach`.
        preamble.header().store(MAGIC, Ordering::Release);
        Ok(ring)
    }

    /// Attaches to the ring that the peer has created at the start of `lines`. To be done once,
    /// before this end has been used.
    ///
    /// # Errors
    ///
    /// [`SetupError::NotARing`], [`SetupError::Version`], [`SetupError::Slots`] or
    /// [`SetupError::Reserve`] when the preamble is not that of a ring that can be used,
    /// [`SetupError::TooSmall`] when `lines` don't hold what it promises.
    pub fn attach(lines: &'m [Line]) -> Result<Self, SetupError> {
        let preamble = lines.first().ok_or(SetupError::TooSmall)?;
        // Pairs with the last store of `create`.
        if preamble.header().load(Ordering::Acquire) != MAGIC {
            return Err(SetupError::NotARing);
        }
        let config = RingConfig::from_preamble(preamble.read())?;
        Ok(Self::view(lines, config)?.1)
    }

    /// Size and limits of the ring.
    #[must_use]
    pub fn config(&self) -> RingConfig {
        self.config
    }

    /// The sending end.
    #[must_use]
    pub fn sender(self) -> Sender<'m> {
        Sender::new(&self)
    }

    /// The receiving end.
    #[must_use]
    pub fn receiver(self) -> Receiver<'m> {
        Receiver::new(&self)
    }

    /// Both ends, for two threads of one address space.
    #[must_use]
    pub fn split(self) -> (Sender<'m>, Receiver<'m>) {
        (Sender::new(&self), Receiver::new(&self))
    }

    fn view(lines: &'m [Line], config: RingConfig) -> Result<(&'m Line, Self), SetupError> {
        let lines = lines.get(..config.lines()).ok_or(SetupError::TooSmall)?;
        let (control, slots) = lines
            .split_first_chunk::<CONTROL_LINES>()
            .ok_or(SetupError::TooSmall)?;
        let ring = Self {
            config,
            taken: control[TAKEN_LINE].header(),
            receiver_sleep: control[RECEIVER_SLEEP_LINE].header(),
            sender_sleep: control[SENDER_SLEEP_LINE].header(),
            slots: Slots::new(slots).ok_or(SetupError::Slots)?,
        };
        Ok((&control[0], ring))
    }
}
