//! Every system call, with typed arguments and results, and this dispatcher's frame: what stands
//! between a program, or a test of the kernel, and the kernel.
//!
//! | module | holds |
//! | --- | --- |
//! | here | messages and waiting: [`send`], [`call`], [`wait`], [`yield_now`] |
//! | [`cspace`] | operations on slots: copy, mint, retype, delete, revoke, identify |
//! | [`vnode`] | mapping and unmapping |
//! | [`dispatcher`] | this and other dispatchers, endpoints, Notify, interrupts |
//! | [`kernel`] | the Kernel capability |
//! | [`frame`] | the words that this dispatcher shares with the kernel |
//! | [`entry`] | a program's first instructions, and where its upcalls go |
//! | [`log`] | text for the kernel's log |
//! | [`raw`] | the calls with any registers |
//! | [`mod@local`], [`convert`] | state of a dispatcher's own; sizes |
//!
//! Arguments are those of `docs/010-system-calls.md`; each function names its invocation, and the
//! errors that are its own. Any that takes capabilities may say, besides, [`SysError::NoSuchSlot`],
//! [`SysError::EmptySlot`], [`SysError::WrongType`] and [`SysError::MissingRight`] of what it was
//! given, and [`SysError::Dying`] or [`SysError::Locked`] while that is being deleted, revoked or
//! moved.
//!
//! It is as far outside of Rust's promises as `/proc/self/mem` is: a program that unmaps its own
//! heap, by guessing a capability address, breaks itself. It can't break anyone else.
//!
//! On the host the crate builds; its calls fail with [`SysError::Unsupported`].
#![cfg_attr(target_os = "none", no_std)]

pub mod convert;
pub mod cspace;
pub mod dispatcher;
pub mod entry;
pub mod frame;
pub mod kernel;
pub mod local;
pub mod log;
pub mod raw;
pub mod vnode;

use capelin_abi::{
    CapAddress, CapRef, SysError, error,
    lmp::{MESSAGE_WORDS, MessageHeader},
    syscall::{DIRECT_MESSAGE, Invocation, SendFlags, invoke_word, send_word},
};

pub use raw::{counter, counter_frequency, device_fence};

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// The version of the ABI that the kernel speaks ([`capelin_abi::ABI_VERSION`]).
#[must_use]
pub fn abi_version() -> u64 {
    let mut registers = raw::Registers::default();
    raw::nop(&mut registers);
    registers[0]
}

/// Invokes a capability. Gives the three result words.
///
/// # Errors
/// Those of the invocation.
#[inline]
pub fn invoke(
    capability: CapRef,
    invocation: Invocation,
    arguments: &[u64],
) -> Result<[u64; 3], SysError> {
    let mut registers = raw::Registers::default();
    registers[0] = invoke_word(capability, invocation);
    for (register, argument) in registers[1..8].iter_mut().zip(arguments) {
        *register = *argument;
    }
    raw::invoke(&mut registers);
    error::from_word(registers[0])?;
    Ok([registers[1], registers[2], registers[3]])
}

/// A message that came in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectMessage {
    /// Length, endpoint, whether a capability came.
    pub header: MessageHeader,
    /// The badge of the capability that it was sent through.
    pub badge: u64,
    /// The payload.
    pub words: [u64; MESSAGE_WORDS],
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// Something was delivered: look at the rings and the Notify bits.
    Delivered,
    /// The deadline has passed.
    TimedOut,
    /// A message came.
    Message(DirectMessage),
}

/// The registers of a send, or of a call but for what it waits for.
#[inline]
pub fn message_registers(
    endpoint: CapAddress,
    capability: Option<CapAddress>,
    flags: SendFlags,
    words: &[u64],
) -> raw::Registers {
    let words = &words[..words.len().min(MESSAGE_WORDS)];
    let mut registers = raw::Registers::default();
    registers[0] = send_word(CapRef::l2(endpoint), flags, words.len());
    registers[1] = capability.map_or(0, |address| CapRef::l2(address).to_word());
    registers[2..2 + words.len()].copy_from_slice(words);
    registers
}

#[inline]
fn wake(registers: &raw::Registers) -> Result<Wake, SysError> {
    const TIMED_OUT: u64 = SysError::TimedOut as u64;
    match registers[0] {
        0 => Ok(Wake::Delivered),
        TIMED_OUT => Ok(Wake::TimedOut),
        DIRECT_MESSAGE => {
            let mut words = [0; MESSAGE_WORDS];
            words.copy_from_slice(&registers[2..2 + MESSAGE_WORDS]);
            Ok(Wake::Message(DirectMessage {
                header: MessageHeader(registers[10]),
                badge: registers[1],
                words,
            }))
        }
        other => Err(SysError::try_from(other).unwrap_or(SysError::UnknownOperation)),
    }
}

/// Sends up to eight words, and a capability, to `endpoint`.
///
/// # Errors
/// [`SysError::EndpointFull`] and [`SysError::NoReceiveSlot`], which pass;
/// [`SysError::NotRunnable`] where nobody is behind the endpoint; of the capability, as
/// [`cspace::copy`].
#[inline]
pub fn send(
    endpoint: CapAddress,
    capability: Option<CapAddress>,
    flags: SendFlags,
    words: &[u64],
) -> Result<(), SysError> {
    let mut registers = message_registers(endpoint, capability, flags, words);
    raw::send(&mut registers);
    error::from_word(registers[0])
}

/// [`send`] and [`wait`] in one system call. `seen` and `deadline` as for `wait`.
///
/// # Errors
/// As [`send`]: then it hasn't waited.
#[inline]
pub fn call(
    endpoint: CapAddress,
    capability: Option<CapAddress>,
    flags: SendFlags,
    words: &[u64],
    seen: u64,
    deadline: u64,
) -> Result<Wake, SysError> {
    let mut registers = message_registers(endpoint, capability, flags, words);
    registers[10] = seen;
    registers[11] = deadline;
    raw::call(&mut registers);
    wake(&registers)
}

/// Waits until something is delivered and the count of deliveries isn't `seen`, or until the
/// counter reaches `deadline` (ticks; [`NEVER`]). With `accept_direct` a message may come in the
/// result instead of an endpoint's ring.
///
/// # Errors
/// [`SysError::InvalidArgument`] for a flag that is none.
#[inline]
pub fn wait(accept_direct: bool, seen: u64, deadline: u64) -> Result<Wake, SysError> {
    let mut registers = raw::Registers::default();
    registers[0] = u64::from(accept_direct);
    registers[10] = seen;
    registers[11] = deadline;
    raw::wait(&mut registers);
    wake(&registers)
}

/// Deliveries to this dispatcher so far, for [`wait`] and [`call`].
#[inline]
#[must_use]
pub fn delivered() -> u64 {
    frame::read(capelin_abi::dispatcher::offset::DELIVERED)
}

/// Gives up the rest of the time slice, in favour of whoever is next.
///
/// # Errors
/// None of its own.
pub fn yield_now() -> Result<(), SysError> {
    let mut registers = raw::Registers::default();
    raw::yield_to(&mut registers);
    error::from_word(registers[0])
}

/// Gives up the rest of the time slice in favour of `dispatcher`.
///
/// # Errors
/// [`SysError::NotRunnable`].
pub fn yield_to(dispatcher: CapAddress) -> Result<(), SysError> {
    let mut registers = raw::Registers::default();
    registers[0] = CapRef::l2(dispatcher).to_word();
    raw::yield_to(&mut registers);
    error::from_word(registers[0])
}

/// Continues from a save area; returns only on error.
pub fn resume(area: capelin_abi::dispatcher::SaveArea) -> SysError {
    let mut registers = raw::Registers::default();
    registers[0] = area as u64;
    raw::resume(&mut registers);
    SysError::try_from(registers[0]).unwrap_or(SysError::UnknownOperation)
}
