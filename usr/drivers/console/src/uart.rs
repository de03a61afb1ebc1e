//! What the console asks of a device.
//!
//! The driver side of it is [`embedded_io`]'s: a read or write moves as many bytes as the FIFOs
//! allow now, and `ReadReady`/`WriteReady` tell beforehand, so that nothing waits.

use core::convert::Infallible;

use embedded_io::{Read, ReadReady, Write, WriteReady};

/// What a UART's interrupt is about, beyond the bytes that it moves.
pub trait Uart:
    Read<Error = Infallible> + Write<Error = Infallible> + ReadReady + WriteReady
{
    /// Takes note of the interrupts that stand, so that the device drops its line.
    fn acknowledge(&mut self);
    /// Whether there is to be an interrupt when room for more bytes comes.
    fn want_room(&mut self, want: bool);
    /// Whether there is to be an interrupt when bytes arrive. Those that arrived meanwhile have
    /// to be asked for.
    fn want_bytes(&mut self, want: bool);
    /// Whether all bytes have left the device.
    fn is_drained(&self) -> bool;
}
