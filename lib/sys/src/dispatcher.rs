//! Dispatchers, endpoints, Notify and interrupts.

use capelin_abi::{
    CapAddress, CapRef, SysError, VirtAddr,
    layout::slot,
    syscall::{DispatcherFlags, DispatcherState, Invocation},
};

use super::invoke;

/// This dispatcher.
pub const OWN: CapRef = CapRef::l2(slot::DISPATCHER);

/// Bytes that one [`print()`] takes at most.
pub const PRINT_BYTES: usize = 256;

/// Gives `dispatcher` its frame (mapped at `frame_address` in its VSpace), CSpace and VSpace
/// ([`Invocation::Configure`]).
///
/// # Errors
/// [`SysError::AlreadyBound`] if it was before; [`SysError::OutOfRange`] for a frame that is too
/// small or not home memory; [`SysError::Unaligned`] for its address; [`SysError::InvalidArgument`]
/// for unknown flags.
pub fn configure(
    dispatcher: CapRef,
    frame: CapRef,
    frame_address: VirtAddr,
    l1_cnode: CapRef,
    vspace_root: CapRef,
    flags: DispatcherFlags,
) -> Result<(), SysError> {
    let arguments = [
        frame.to_word(),
        frame_address.0,
        l1_cnode.to_word(),
        vspace_root.to_word(),
        u64::from(flags.bits()),
    ];
    invoke(dispatcher, Invocation::Configure, &arguments).map(drop)
}

/// Lets `dispatcher` run ([`Invocation::Run`]).
///
/// # Errors
/// [`SysError::NotRunnable`] unless it was configured, and hasn't ended.
pub fn run(dispatcher: CapRef) -> Result<(), SysError> {
    invoke(dispatcher, Invocation::Run, &[]).map(drop)
}

/// Stops `dispatcher` ([`Invocation::Stop`]).
///
/// # Errors
/// [`SysError::NotRunnable`] as for [`run`].
pub fn stop(dispatcher: CapRef) -> Result<(), SysError> {
    invoke(dispatcher, Invocation::Stop, &[]).map(drop)
}

/// Writes the first [`PRINT_BYTES`] of `text` to the kernel's log ([`Invocation::Print`]).
///
/// # Errors
/// [`SysError::BadPointer`].
pub fn print(text: &[u8]) -> Result<(), SysError> {
    let text = &text[..text.len().min(PRINT_BYTES)];
    let arguments = [text.as_ptr().expose_provenance() as u64, text.len() as u64];
    invoke(OWN, Invocation::Print, &arguments).map(drop)
}

/// Makes an endpoint whose ring lies `ring` bytes into this dispatcher's frame; gives its index
/// ([`Invocation::MakeEndpoint`]).
///
/// # Errors
/// [`SysError::InvalidArgument`] for the capacity; [`SysError::Unaligned`] or
/// [`SysError::OutOfRange`] for the ring; [`SysError::NoResources`] when it has as many as it can;
/// [`SysError::SlotInUse`].
pub fn make_endpoint(ring: usize, capacity: usize, slot: CapAddress) -> Result<u16, SysError> {
    let arguments = [ring as u64, capacity as u64, CapRef::l2(slot).to_word()];
    let [index, ..] = invoke(OWN, Invocation::MakeEndpoint, &arguments)?;
    u16::try_from(index).map_err(|_| SysError::OutOfRange)
}

/// Makes a Notify that sets `bit` (0–63) of this dispatcher ([`Invocation::MakeNotify`]).
///
/// # Errors
/// [`SysError::InvalidArgument`] above 63; [`SysError::SlotInUse`]; [`SysError::NoResources`] when
/// this core has no more doorbell words.
pub fn make_notify(bit: u8, slot: CapAddress) -> Result<(), SysError> {
    let arguments = [u64::from(bit), CapRef::l2(slot).to_word()];
    invoke(OWN, Invocation::MakeNotify, &arguments).map(drop)
}

/// Rings a Notify ([`Invocation::Ring`]).
///
/// # Errors
/// None of its own; a Notify whose dispatcher is gone rings nobody.
#[inline]
pub fn ring(notify: CapAddress) -> Result<(), SysError> {
    invoke(notify.into(), Invocation::Ring, &[]).map(drop)
}

/// Has `endpoint` told when `dispatcher` ends ([`Invocation::BindDeath`]).
///
/// # Errors
/// [`SysError::AlreadyBound`]; [`SysError::NotRunnable`] where nobody is behind the endpoint.
pub fn bind_death(dispatcher: CapRef, endpoint: CapRef) -> Result<(), SysError> {
    invoke(dispatcher, Invocation::BindDeath, &[endpoint.to_word()]).map(drop)
}

/// Ends this dispatcher ([`Invocation::Exit`]); returns only on error.
pub fn exit(code: u32) -> SysError {
    match invoke(OWN, Invocation::Exit, &[u64::from(code)]) {
        Ok(_) => SysError::Unsupported,
        Err(error) => error,
    }
}

/// How a dispatcher is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// Where in its life it is.
    pub state: DispatcherState,
    /// What it ended with.
    pub exit_code: u32,
    /// Upcalls made to it.
    pub upcalls: u64,
    /// Counter ticks that it has run.
    pub run_ticks: u64,
}

/// How `dispatcher` is doing ([`Invocation::Status`]).
///
/// # Errors
/// [`SysError::Foreign`] for a dispatcher of another core.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the fields are cut out on purpose"
)]
pub fn status(dispatcher: CapRef) -> Result<Status, SysError> {
    let [word, upcalls, run_ticks] = invoke(dispatcher, Invocation::Status, &[])?;
    Ok(Status {
        state: DispatcherState::try_from(word as u32).map_err(|_| SysError::OutOfRange)?,
        exit_code: (word >> 32) as u32,
        upcalls,
        run_ticks,
    })
}

/// Register `index` of `dispatcher` at its last fault: 0–30 x, 31 SP, 32 PC, 33 SPSR, 34 ESR, 35
/// FAR ([`Invocation::FaultRegister`]).
///
/// # Errors
/// [`SysError::OutOfRange`] for another index.
pub fn fault_register(dispatcher: CapRef, index: u64) -> Result<u64, SysError> {
    let [value, ..] = invoke(dispatcher, Invocation::FaultRegister, &[index])?;
    Ok(value)
}

/// Delivers interrupt `source` (an IrqSource of one interrupt) to `endpoint`; the IrqDest goes to
/// `slot` ([`Invocation::BindIrq`]).
///
/// # Errors
/// [`SysError::InvalidArgument`] for a source of more than one; [`SysError::OutOfRange`] for what
/// is no interrupt; [`SysError::AlreadyBound`]; [`SysError::SlotInUse`].
pub fn bind_irq(source: CapRef, endpoint: CapRef, slot: CapAddress) -> Result<(), SysError> {
    let arguments = [endpoint.to_word(), CapRef::l2(slot).to_word()];
    invoke(source, Invocation::BindIrq, &arguments).map(drop)
}

/// The device has been served: unmasks the interrupt ([`Invocation::AcknowledgeIrq`]).
///
/// # Errors
/// None of its own.
pub fn acknowledge_irq(destination: CapRef) -> Result<(), SysError> {
    invoke(destination, Invocation::AcknowledgeIrq, &[]).map(drop)
}
