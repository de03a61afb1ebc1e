//! System calls with names, for what a test isn't about: those of `capelin_sys`, by slots of this
//! program's own CSpace.

use capelin_abi::{
    CapAddress, CapRef, ObjectType, Rights, SysError,
    syscall::{DispatcherState, Invocation, KernelCounter, MapFlags, SendFlags},
};
use capelin_sys::{cspace, dispatcher, kernel, vnode};

use crate::svc;

/// The Kernel capability.
pub use capelin_sys::kernel::OWN as KERNEL;
/// This program's L1 CNode.
pub use cspace::OWN as CSPACE;
/// This program's dispatcher.
pub use dispatcher::OWN as SELF;

pub use capelin_sys::send;
pub use dispatcher::print;
pub use vnode::{make_executable, protect, unmap};

/// Invokes `capability`; the three result words.
///
/// # Errors
/// Those of the invocation.
#[inline]
pub fn invoke(
    capability: impl Into<CapRef>,
    invocation: Invocation,
    arguments: &[u64],
) -> Result<[u64; 3], SysError> {
    capelin_sys::invoke(capability.into(), invocation, arguments)
}

/// A slot as an argument.
#[must_use]
pub const fn word(address: CapAddress) -> u64 {
    CapRef::l2(address).to_word()
}

/// Copies `source` to `target` with all its rights.
///
/// # Errors
/// Those of [`cspace::copy`].
pub fn copy(target: CapAddress, source: CapAddress) -> Result<(), SysError> {
    copy_with(target, source, Rights::all())
}

/// Copies `source` to `target` with the rights in `mask`.
///
/// # Errors
/// Those of [`cspace::copy`].
pub fn copy_with(target: CapAddress, source: CapAddress, mask: Rights) -> Result<(), SysError> {
    cspace::copy(CSPACE, target.into(), source.into(), mask)
}

/// Copies endpoint `source` to `target` with a badge.
///
/// # Errors
/// Those of [`cspace::mint_badge`].
pub fn badge(target: CapAddress, source: CapAddress, badge: u64) -> Result<(), SysError> {
    cspace::mint_badge(CSPACE, target.into(), source.into(), Rights::all(), badge)
}

/// Mints `source` to `target`: the last two arguments are `Mint`'s.
///
/// # Errors
/// Those of [`cspace::mint_range`].
pub fn mint(target: CapAddress, source: CapAddress, x4: u64, x5: u64) -> Result<(), SysError> {
    cspace::mint_range(CSPACE, target.into(), source.into(), Rights::all(), x4, x5)
}

/// Makes `count` objects of `bytes` bytes of `source`, from `offset` on.
///
/// # Errors
/// Those of [`cspace::retype`].
pub fn retype(
    target: CapRef,
    source: CapAddress,
    kind: ObjectType,
    offset: u64,
    bytes: u64,
    count: u64,
) -> Result<(), SysError> {
    cspace::retype(CSPACE, target, source.into(), kind, offset, bytes, count)
}

/// Deletes what lies in `target`.
///
/// # Errors
/// Those of [`cspace::delete`].
pub fn delete(target: CapAddress) -> Result<(), SysError> {
    cspace::delete(CSPACE, target.into())
}

/// Deletes copies and descendants of `target`.
///
/// # Errors
/// Those of [`cspace::revoke`].
pub fn revoke(target: CapAddress) -> Result<(), SysError> {
    cspace::revoke(CSPACE, target.into())
}

/// Type, first address and size of what lies in `target`; type Null for an empty slot.
///
/// # Errors
/// Those of [`cspace::identify_slot`].
pub fn identify(target: CapAddress) -> Result<(ObjectType, u64, u64), SysError> {
    let identity = cspace::identify_slot(CSPACE, target.into())?;
    Ok((identity.kind, identity.base.0, identity.size))
}

/// The rights of what lies in `target`.
///
/// # Errors
/// Those of [`cspace::identify_slot`].
pub fn rights(target: CapAddress) -> Result<Rights, SysError> {
    Ok(cspace::identify_slot(CSPACE, target.into())?.rights)
}

/// Whether `target` is a slot that holds nothing.
#[must_use]
pub fn is_empty(target: CapAddress) -> bool {
    identify(target).is_ok_and(|(kind, ..)| kind == ObjectType::Null)
}

/// Maps `count` entries of `table` from `first` on to `source`, `offset` bytes into it: any
/// numbers, while [`vnode::map`] takes those that the kernel may take.
///
/// # Errors
/// Those of [`vnode::map`].
pub fn map(
    table: CapAddress,
    source: CapAddress,
    first: u64,
    count: u64,
    flags: MapFlags,
    offset: u64,
    mapping: CapAddress,
) -> Result<(), SysError> {
    let place = first | count << 16 | u64::from(flags.bits()) << 32;
    let arguments = [word(source), place, offset, word(mapping)];
    invoke(table, Invocation::Map, &arguments).map(drop)
}

/// Makes `child`, a table, the table of entry `index` of `table`.
///
/// # Errors
/// Those of [`vnode::map`].
pub fn attach(
    table: CapAddress,
    child: CapAddress,
    index: u64,
    mapping: CapAddress,
) -> Result<(), SysError> {
    map(table, child, index, 1, MapFlags::empty(), 0, mapping)
}

/// State and exit code of a dispatcher.
///
/// # Errors
/// Those of [`dispatcher::status`].
pub fn status(dispatcher: CapAddress) -> Result<(DispatcherState, u32), SysError> {
    let status = dispatcher::status(dispatcher.into())?;
    Ok((status.state, status.exit_code))
}

/// The low and the high half of a word.
#[must_use]
pub const fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

/// Register `index` of `dispatcher` at its last fault.
///
/// # Errors
/// Those of [`dispatcher::fault_register`].
pub fn fault_register(dispatcher: CapAddress, index: u64) -> Result<u64, SysError> {
    dispatcher::fault_register(dispatcher.into(), index)
}

/// A kernel counter.
///
/// # Errors
/// Those of [`kernel::read_counter`].
pub fn counter(which: KernelCounter) -> Result<u64, SysError> {
    kernel::read_counter(KERNEL, which)
}

/// Gives the processor to whoever is next.
pub fn yield_now() {
    // It fails nobody.
    let _ = capelin_sys::yield_now();
}

/// Gives the processor to `dispatcher`.
///
/// # Errors
/// Those of [`capelin_sys::yield_to`].
pub fn yield_to(dispatcher: CapAddress) -> Result<(), SysError> {
    capelin_sys::yield_to(dispatcher)
}

/// Sends and waits; x0–x11 as the kernel leaves them.
#[must_use]
pub fn call(endpoint: CapAddress, words: &[u64], seen: u64, deadline: u64) -> svc::Registers {
    let mut registers = capelin_sys::message_registers(endpoint, None, SendFlags::empty(), words);
    registers[10] = seen;
    registers[11] = deadline;
    svc::call(&mut registers);
    registers
}

/// Waits; x0–x11 as the kernel leaves them.
#[must_use]
pub fn wait(accept_direct: bool, seen: u64, deadline: u64) -> svc::Registers {
    let mut registers = svc::Registers::default();
    registers[0] = u64::from(accept_direct);
    registers[10] = seen;
    registers[11] = deadline;
    svc::wait(&mut registers);
    registers
}

/// The counter's value `milliseconds` from now.
#[must_use]
pub fn after(milliseconds: u64) -> u64 {
    svc::counter() + svc::frequency() * milliseconds / 1000
}

/// Switches the machine off.
pub fn power_off() -> ! {
    loop {
        let _ = kernel::power_off(KERNEL);
        // Not every machine can: then the runner's limit ends the test.
        yield_now();
    }
}
