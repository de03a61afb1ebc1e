//! The device of a virtio console (Virtual I/O Device Specification 1.3, 5.3), as consoles want it
//! ([`capelin_console::uart::Uart`]).
//!
//! One port is driven, the first: no features are accepted that would bring more (`MULTIPORT`). What is written is
//! copied into buffers that the device reads, so many at most; what it writes comes in buffers that it gets
//! back when they have been read. So a device that nobody reads from holds its sender back.
//!
//! What a device says that can't be is a fault, after which it isn't used any more.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{collections::VecDeque, vec, vec::Vec};
use core::convert::Infallible;

use capelin_console::uart::Uart;
use capelin_rt::virtio::{Access, Queue};
use capelin_virtio::device;
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use virtio_drivers::{Error, Hal, transport::Transport};

/// Buffers of each queue.
const BUFFERS: usize = 4;
/// Bytes of a buffer that the device writes.
const INPUT_BYTES: usize = 256;
/// Bytes of a buffer that the device reads, at most.
const OUTPUT_BYTES: usize = 1024;

/// The device writes to this queue's buffers what was typed (5.3.2).
const RECEIVE: u16 = 0;
/// The device reads from this queue's buffers what is to be shown.
const TRANSMIT: u16 = 1;

/// Bytes that were typed, of which some may have been read.
#[derive(Debug)]
struct Typed {
    buffer: Vec<u8>,
    read: usize,
    bytes: usize,
}

/// A virtio console.
#[derive(Debug)]
pub struct VirtioUart<H: Hal, T: Transport> {
    // First, so that its end resets the device before the memory of its queues is free.
    transport: T,
    receive: Queue<H, BUFFERS>,
    transmit: Queue<H, BUFFERS>,
    typed: VecDeque<Typed>,
    fault: Option<Error>,
}

impl<H: Hal, T: Transport> VirtioUart<H, T> {
    /// Takes over the device.
    ///
    /// # Errors
    /// As [`device::begin`], [`Queue::new`], [`Queue::lend`].
    pub fn take_over(mut transport: T) -> Result<Self, Error> {
        device::begin(&mut transport)?;
        let mut receive = Queue::new(&mut transport, RECEIVE)?;
        let transmit = Queue::new(&mut transport, TRANSMIT)?;
        transport.finish_init();
        for _ in 0..BUFFERS {
            receive.lend(&mut transport, vec![0; INPUT_BYTES], Access::Write)?;
        }
        Ok(Self {
            transport,
            receive,
            transmit,
            typed: VecDeque::new(),
            fault: None,
        })
    }

    /// What was wrong with what the device has said, if something was.
    #[must_use]
    pub const fn fault(&self) -> Option<Error> {
        self.fault
    }

    /// What came of an attempt; after a fault there are no more.
    fn attempt<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R, Error>) -> Option<R> {
        if self.fault.is_some() {
            return None;
        }
        match work(self) {
            Ok(done) => Some(done),
            Err(fault) => {
                self.fault = Some(fault);
                None
            }
        }
    }

    /// Takes back what the device is done with.
    fn collect(&mut self) -> Result<(), Error> {
        device::acknowledge(&mut self.transport)?;
        while let Some((buffer, bytes)) = self.receive.take_back()? {
            if bytes == 0 {
                self.receive
                    .lend(&mut self.transport, buffer, Access::Write)?;
                // One that always answers so has its turn at the next interrupt.
                break;
            }
            self.typed.push_back(Typed {
                buffer,
                read: 0,
                bytes,
            });
        }
        while self.transmit.take_back()?.is_some() {}
        Ok(())
    }
}

impl<H: Hal, T: Transport> ErrorType for VirtioUart<H, T> {
    type Error = Infallible;
}

impl<H: Hal, T: Transport> Read for VirtioUart<H, T> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let mut count = 0;
        while let Some(typed) = self.typed.front_mut() {
            let left = typed.buffer.get(typed.read..typed.bytes);
            let left = left.unwrap_or_default();
            let rest = bytes.get_mut(count..).unwrap_or_default();
            let some = left.len().min(rest.len());
            rest[..some].copy_from_slice(&left[..some]);
            count += some;
            typed.read += some;
            if typed.read < typed.bytes {
                break;
            }
            if let Some(Typed { buffer, .. }) = self.typed.pop_front() {
                self.attempt(|it| it.receive.lend(&mut it.transport, buffer, Access::Write));
            }
        }
        Ok(count)
    }
}

impl<H: Hal, T: Transport> ReadReady for VirtioUart<H, T> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.typed.is_empty())
    }
}

impl<H: Hal, T: Transport> Write for VirtioUart<H, T> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        if bytes.is_empty() || self.transmit.lent() == BUFFERS {
            return Ok(0);
        }
        let some = &bytes[..bytes.len().min(OUTPUT_BYTES)];
        let lent = self.attempt(|it| {
            it.transmit
                .lend(&mut it.transport, some.to_vec(), Access::Read)
        });
        Ok(lent.map_or(0, |()| some.len()))
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<H: Hal, T: Transport> WriteReady for VirtioUart<H, T> {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.fault.is_none() && self.transmit.lent() < BUFFERS)
    }
}

impl<H: Hal, T: Transport> Uart for VirtioUart<H, T> {
    fn acknowledge(&mut self) {
        self.attempt(Self::collect);
    }

    /// The device interrupts for each buffer that it is done with, whether or not that is wanted.
    fn want_room(&mut self, _: bool) {}

    /// It interrupts for what it has written to a buffer; it has none while nobody reads.
    fn want_bytes(&mut self, _: bool) {}

    fn is_drained(&self) -> bool {
        self.fault.is_some() || self.transmit.lent() == 0
    }
}

#[cfg(test)]
mod tests;
