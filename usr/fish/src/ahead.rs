//! What has been typed ahead of the command that runs.

use core::cell::RefCell;

use capelin_rt::sync::{Event, Queue};

/// Bytes that are kept; whoever has more waits ([`Ahead::room`]), so that they stay with the console,
/// which holds its sender back.
pub const MOST_BYTES: usize = 16 << 10;

/// Bytes between the task that reads them and the one that edits lines; `None` is their end.
#[derive(Debug, Default)]
pub struct Ahead {
    bytes: Queue<Option<u8>>,
    /// The reading task waits for that.
    room: RefCell<Option<Event>>,
}

impl Ahead {
    /// Waits until there is room for more.
    pub async fn room(&self) {
        while self.bytes.len() >= MOST_BYTES {
            let room = Event::new();
            *self.room.borrow_mut() = Some(room.clone());
            room.wait().await;
        }
    }

    /// Adds a byte, or the end.
    pub fn push(&self, byte: Option<u8>) {
        self.bytes.push(byte);
    }

    /// The next byte; `None` at the end.
    pub async fn next(&self) -> Option<u8> {
        let byte = self.bytes.pop().await;
        self.taken(byte)
    }

    /// The next byte that is there already.
    pub fn try_next(&self) -> Option<u8> {
        let byte = self.bytes.try_pop()?;
        self.taken(byte)
    }

    fn taken(&self, byte: Option<u8>) -> Option<u8> {
        if byte.is_none() {
            // The end stays the end.
            self.bytes.push(None);
        }
        if let Some(room) = self.room.take() {
            room.set();
        }
        byte
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use alloc::rc::Rc;
    use capelin_rt::{
        executor::{block_on, yield_now},
        spawn,
    };

    fn typed(n: usize) -> Option<u8> {
        u8::try_from(n % 251).ok()
    }

    #[test]
    fn who_types_ahead_is_held_back_and_loses_nothing() {
        block_on(async {
            let ahead = Rc::new(Ahead::default());
            const ALL: usize = 3 * MOST_BYTES;
            let writer = Rc::clone(&ahead);
            spawn(async move {
                for n in 0..ALL {
                    writer.room().await;
                    writer.push(typed(n));
                }
                writer.push(None);
            });
            for _ in 0..10 {
                yield_now().await;
            }
            assert_eq!(ahead.bytes.len(), MOST_BYTES, "no more is taken");
            for n in 0..ALL {
                let byte = if n % 2 == 0 {
                    ahead.next().await
                } else {
                    while ahead.bytes.is_empty() {
                        yield_now().await;
                    }
                    ahead.try_next()
                };
                assert_eq!(byte, typed(n));
                assert!(ahead.bytes.len() <= MOST_BYTES);
            }
            assert_eq!(ahead.next().await, None);
            assert_eq!((ahead.try_next(), ahead.next().await), (None, None));
        });
    }
}
