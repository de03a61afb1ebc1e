//! A whole message, cut into fragments and put together again.
//!
//! The first fragment's payload begins with the length of the body in two bytes,
//! little-endian; the body follows, on into the fragments after it. All
//! fragments carry the same header but for its `first` and `more` bits. A
//! transport that sends whole words pads the last one; the length tells.
//!
//! The fragments of one message follow each other without others between them,
//! so a receiver puts one message together at a time and needs no more memory
//! than one body for it.

use alloc::vec::Vec;

use zerocopy::IntoBytes;

use crate::{Cap, RemoteError, WireHeader};

const _: () = assert!(cfg!(target_endian = "little"));

/// Bytes in the longest body.
pub const MAX_BODY_BYTES: usize = 65_535;
/// Bytes of payload that the largest fragment has: seven words.
pub const MAX_FRAGMENT_BYTES: usize = 56;
/// Bytes at the front of a body that give its length.
const LENGTH_BYTES: usize = 2;

/// Words of payload that the largest fragment has.
const FRAGMENT_WORDS: usize = MAX_FRAGMENT_BYTES / 8;

/// What a transport carries at once.
///
/// All words, so that it is copied by words: that happens often on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    header: WireHeader,
    /// Little-endian, as all of Capelin's machines are; zeros after the end.
    words: [u64; FRAGMENT_WORDS],
    /// Bytes of payload, at most [`MAX_FRAGMENT_BYTES`].
    length: usize,
}

/// What arrived: a fragment, and the capability that came with it.
#[derive(Debug)]
pub struct Arrival {
    /// The fragment.
    pub fragment: Fragment,
    /// The capability, which the receiver owns.
    pub cap: Option<Cap>,
}

impl Fragment {
    /// A fragment with `payload`, of which only the first
    /// [`MAX_FRAGMENT_BYTES`] are taken.
    #[must_use]
    pub fn new(header: WireHeader, payload: &[u8]) -> Self {
        Self::of_parts(header, &[], payload)
    }

    /// A fragment whose payload is `front` and then `rest`.
    fn of_parts(header: WireHeader, front: &[u8], rest: &[u8]) -> Self {
        let mut words = [0u64; FRAGMENT_WORDS];
        let bytes = words.as_mut_bytes();
        let start = front.len().min(MAX_FRAGMENT_BYTES);
        let end = (start + rest.len()).min(MAX_FRAGMENT_BYTES);
        bytes[..start].copy_from_slice(&front[..start]);
        bytes[start..end].copy_from_slice(&rest[..end - start]);
        Self {
            header,
            words,
            length: end,
        }
    }

    /// The header word.
    #[must_use]
    pub const fn header(&self) -> WireHeader {
        self.header
    }

    /// The bytes after the header.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.words.as_bytes()[..self.length]
    }

    /// The bytes after the header as words, the last filled up with zeros, and
    /// how many words there are.
    #[must_use]
    pub fn payload_words(&self) -> (&[u64; FRAGMENT_WORDS], usize) {
        (&self.words, self.length.div_ceil(8))
    }

    /// A fragment from words as they came, of which only the first seven are
    /// taken.
    #[must_use]
    pub fn from_words(header: WireHeader, payload: &[u64]) -> Self {
        let mut words = [0; FRAGMENT_WORDS];
        let count = payload.len().min(FRAGMENT_WORDS);
        words[..count].copy_from_slice(&payload[..count]);
        Self {
            header,
            words,
            length: count * 8,
        }
    }
}

/// One message.
#[derive(PartialEq, Eq, Debug)]
pub struct Message {
    /// Header of all its fragments.
    pub header: WireHeader,
    /// Encoded arguments or results, at most [`MAX_BODY_BYTES`].
    pub body: Vec<u8>,
    /// The capability that goes along.
    pub cap: Option<Cap>,
}

/// A message on its way out.
#[derive(Debug)]
pub struct Outgoing {
    message: Message,
    sent: usize,
    started: bool,
}

impl Outgoing {
    /// Nothing of `message` has been sent yet.
    #[must_use]
    pub fn new(message: Message) -> Self {
        Self {
            message,
            sent: 0,
            started: false,
        }
    }

    /// Which message this is.
    #[must_use]
    pub const fn header(&self) -> WireHeader {
        self.message.header
    }

    /// Bytes of its body.
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        self.message.body.len()
    }

    /// The capability that hasn't been sent yet: it goes with the first fragment.
    #[must_use]
    pub const fn unsent_cap(&self) -> Option<&Cap> {
        self.message.cap.as_ref()
    }

    /// Whether a fragment has gone out.
    #[must_use]
    pub const fn has_started(&self) -> bool {
        self.started
    }

    /// The next fragment, with up to `size` bytes of payload (8 to
    /// [`MAX_FRAGMENT_BYTES`]).
    #[must_use]
    pub fn fragment(&self, size: usize) -> Fragment {
        let size = size.clamp(8, MAX_FRAGMENT_BYTES);
        let body = &self.message.body;
        let (prefix, room) = if self.started {
            (0, size)
        } else {
            (LENGTH_BYTES, size - LENGTH_BYTES)
        };
        let part = &body[self.sent..body.len().min(self.sent + room)];
        // `encode` keeps bodies within 16 bits; a longer one would be cut.
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes();
        let more = self.sent + part.len() < body.len();
        let header = self.message.header.at(!self.started, more);
        Fragment::of_parts(header, &length[..prefix], part)
    }

    /// Counts the fragment that [`Self::fragment`] gave for the same `size` as
    /// sent, and the capability with it. Returns whether it was the last.
    pub fn advance(&mut self, size: usize) -> bool {
        let size = size.clamp(8, MAX_FRAGMENT_BYTES);
        let room = if self.started {
            size
        } else {
            size - LENGTH_BYTES
        };
        self.started = true;
        self.message.cap.take().map(Cap::leak);
        self.sent = self.message.body.len().min(self.sent + room);
        self.sent == self.message.body.len()
    }
}

/// A message that was lost because its fragments don't fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The header of the message that was lost.
    pub header: WireHeader,
    /// Why.
    pub error: RemoteError,
}

/// What became of a fragment.
#[derive(Debug, Default)]
pub struct Progress {
    /// Messages that can't be completed any more; at most two.
    pub broken: Vec<Broken>,
    /// A message that is complete.
    pub complete: Option<Message>,
}

impl Progress {
    fn breaks(&mut self, header: WireHeader) {
        self.fails(header, RemoteError::Malformed);
    }

    fn fails(&mut self, header: WireHeader, error: RemoteError) {
        self.broken.push(Broken { header, error });
    }
}

/// Puts the fragments of one sender together.
#[derive(Debug, Default)]
pub struct Reassembler {
    partial: Option<Partial>,
    /// The message for which there was no memory: what is left of it is passed over.
    refused: Option<WireHeader>,
}

#[derive(Debug)]
struct Partial {
    message: Message,
    length: usize,
}

impl Reassembler {
    /// Takes the next fragment.
    pub fn push(&mut self, arrival: Arrival) -> Progress {
        self.push_if(arrival, |_| Ok(()))
    }

    /// Bytes that are kept for the message that isn't whole yet.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.length)
    }

    /// As [`Self::push`]; a message of several fragments for whose body, of so many bytes,
    /// `admit` has an error is passed over, and fails with that.
    pub fn push_if(
        &mut self,
        arrival: Arrival,
        admit: impl FnOnce(usize) -> Result<(), RemoteError>,
    ) -> Progress {
        let mut progress = Progress::default();
        let Arrival { fragment, cap } = arrival;
        let header = fragment.header;
        if header.is_first() {
            if let Some(old) = self.partial.take() {
                progress.breaks(old.message.header);
            }
            self.refused = None;
            match fragment.payload().split_first_chunk() {
                Some((length, bytes)) => {
                    let length = usize::from(u16::from_le_bytes(*length));
                    let mut body = Vec::new();
                    let admitted = if header.has_more() {
                        admit(length)
                    } else {
                        Ok(())
                    };
                    let reserved = admitted.and_then(|()| {
                        let reserved = body.try_reserve_exact(length);
                        reserved.map_err(|_| RemoteError::Busy)
                    });
                    if let Err(error) = reserved {
                        self.refused = header.has_more().then_some(header);
                        progress.fails(header, error);
                        return progress;
                    }
                    let partial = Partial {
                        message: Message {
                            header: header.at(true, false),
                            body,
                            cap,
                        },
                        length,
                    };
                    self.extend(partial, bytes, header.has_more(), &mut progress);
                }
                None => progress.breaks(header),
            }
            return progress;
        }
        match self
            .partial
            .take_if(|partial| header.is_of_same_message(partial.message.header) && cap.is_none())
        {
            Some(partial) => self.extend(
                partial,
                fragment.payload(),
                header.has_more(),
                &mut progress,
            ),
            None if cap.is_none()
                && self
                    .refused
                    .is_some_and(|refused| header.is_of_same_message(refused)) => {}
            // What is under way stays: this fragment belongs to nothing.
            None => progress.breaks(header),
        }
        progress
    }

    fn extend(&mut self, mut partial: Partial, bytes: &[u8], more: bool, progress: &mut Progress) {
        let body = &mut partial.message.body;
        let wanted = partial.length - body.len();
        body.extend_from_slice(&bytes[..bytes.len().min(wanted)]);
        let is_whole = body.len() == partial.length;
        // Beyond the body, only the padding of its last word may follow. A
        // sender may not go on forever with fragments that bring nothing.
        let is_stray = bytes.len() >= wanted + 8 || (more && bytes.is_empty());
        if is_stray || is_whole == more {
            progress.breaks(partial.message.header);
        } else if is_whole {
            progress.complete = Some(partial.message);
        } else {
            self.partial = Some(partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cap::tests::{disposed, owned};
    use crate::{InterfaceId, Kind};
    use proptest::prelude::*;

    const ID: InterfaceId = InterfaceId {
        hash: 1,
        version: 1,
    };

    fn message(body: Vec<u8>, cap: Option<Cap>) -> Message {
        Message {
            header: WireHeader::new(ID, Kind::Request, 3, 9),
            body,
            cap,
        }
    }

    fn cut(message: Message, size: usize) -> Vec<Arrival> {
        let mut outgoing = Outgoing::new(message);
        let mut fragments = Vec::new();
        loop {
            fragments.push(Arrival {
                fragment: outgoing.fragment(size),
                cap: outgoing.unsent_cap().map(Cap::twin),
            });
            if outgoing.advance(size) {
                return fragments;
            }
        }
    }

    proptest! {
        #[test]
        fn fragments_make_the_message_again(
            body in proptest::collection::vec(any::<u8>(), 0..500),
            size in 8usize..=56,
            as_words: bool,
        ) {
            let sent = || message(body.clone(), Some(owned(77)));
            // Transports of whole words have room for whole words.
            let size = if as_words { size / 8 * 8 } else { size };
            let mut receiver = Reassembler::default();
            let fragments = cut(sent(), size);
            let last = fragments.len() - 1;
            for (index, mut arrival) in fragments.into_iter().enumerate() {
                prop_assert!(arrival.fragment.payload().len() <= size);
                if as_words {
                    let (words, count) = arrival.fragment.payload_words();
                    arrival.fragment =
                        Fragment::from_words(arrival.fragment.header, &words[..count]);
                }
                let progress = receiver.push(arrival);
                prop_assert!(progress.broken.is_empty());
                if index == last {
                    // The message has the capability; on its way it was disposed of by nobody.
                    prop_assert_eq!(disposed(), [0; 0]);
                    prop_assert_eq!(progress.complete.as_ref(), Some(&sent()));
                    prop_assert_eq!(disposed(), [77]);
                    drop(progress);
                    prop_assert_eq!(disposed(), [77]);
                } else {
                    prop_assert!(progress.complete.is_none());
                }
            }
        }

        #[test]
        fn no_fragments_make_it_panic_or_grow(
            fragments in proptest::collection::vec(
                (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..200),
        ) {
            let mut receiver = Reassembler::default();
            for (word, payload) in fragments {
                if let Some(header) = WireHeader::from_word(word & !0xe0) {
                    let fragment = Fragment::new(header, &payload);
                    let progress = receiver.push(Arrival { fragment, cap: None });
                    prop_assert!(progress.broken.len() <= 2);
                    if let Some(partial) = &receiver.partial {
                        prop_assert!(partial.message.body.len() < partial.length);
                    }
                }
            }
        }
    }

    #[test]
    fn a_message_cut_off_by_another_is_reported_and_its_cap_disposed_of() {
        let mut receiver = Reassembler::default();
        let mut long = cut(message(alloc::vec![1; 200], Some(owned(5))), 48).into_iter();
        assert!(receiver.push(long.next().unwrap()).broken.is_empty());
        let short = cut(message(alloc::vec![2], None), 48).remove(0);
        let progress = receiver.push(short);
        assert_eq!(progress.broken.len(), 1);
        assert_eq!(disposed(), [5]);
        assert_eq!(progress.complete.unwrap().body, [2]);
        // The rest of the first belongs to nothing now.
        assert_eq!(receiver.push(long.next().unwrap()).broken.len(), 1);
    }

    #[test]
    fn a_cap_that_came_with_another_than_the_first_fragment_is_disposed_of() {
        let mut fragments = cut(message(alloc::vec![7; 60], None), 48);
        fragments[1].cap = Some(owned(6));
        let mut receiver = Reassembler::default();
        let broken = fragments
            .into_iter()
            .map(|it| receiver.push(it).broken.len());
        assert_eq!(broken.collect::<Vec<_>>(), [0, 1]);
        assert_eq!(disposed(), [6]);
    }

    #[test]
    fn a_cap_that_was_not_sent_goes_with_its_message() {
        let mut outgoing = Outgoing::new(message(alloc::vec![7; 60], Some(owned(8))));
        assert!(!outgoing.advance(48));
        assert!(outgoing.unsent_cap().is_none());
        drop(outgoing);
        assert_eq!(disposed(), [0; 0]);
        drop(Outgoing::new(message(Vec::new(), Some(owned(9)))));
        assert_eq!(disposed(), [9]);
    }

    #[test]
    fn a_body_that_ends_early_or_runs_over_is_broken() {
        let arrival = |fragment| Arrival {
            fragment,
            cap: None,
        };
        let fragments = cut(message(alloc::vec![7; 60], None), 48);
        let mut early = fragments[0].fragment;
        early.header = early.header.at(true, false);
        assert_eq!(Reassembler::default().push(arrival(early)).broken.len(), 1);
        let mut receiver = Reassembler::default();
        receiver.push(arrival(fragments[0].fragment));
        let over = Fragment::new(fragments[1].fragment.header, &[7; 40]);
        assert_eq!(receiver.push(arrival(over)).broken.len(), 1);
    }
}
