//! System calls with names, for what a test isn't about.

use capelin_abi::{
    CapAddress, CapRef, ObjectType, Rights, SysError, error,
    layout::slot,
    lmp::MESSAGE_WORDS,
    syscall::{DispatcherState, Invocation, MapFlags, SendFlags, invoke_word, send_word},
};

use crate::svc;

/// This program's L1 CNode.
pub const CSPACE: CapRef = CapRef::l2(slot::L1CNODE);
/// This program's dispatcher.
pub const SELF: CapRef = CapRef::l2(slot::DISPATCHER);
/// The Kernel capability.
pub const KERNEL: CapRef = CapRef::l2(slot::KERNEL);

/// Invokes `capability`; the three result words.
///
/// # Errors
/// What the kernel says.
#[inline]
pub fn invoke(
    capability: impl Into<CapRef>,
    invocation: Invocation,
    arguments: &[u64],
) -> Result<[u64; 3], SysError> {
    let mut registers = svc::Registers::default();
    registers[0] = invoke_word(capability.into(), invocation);
    for (register, argument) in registers[1..8].iter_mut().zip(arguments) {
        *register = *argument;
    }
    svc::invoke(&mut registers);
    error::from_word(registers[0])?;
    Ok([registers[1], registers[2], registers[3]])
}

/// A slot as an argument.
#[must_use]
pub const fn word(address: CapAddress) -> u64 {
    CapRef::l2(address).to_word()
}

/// Copies `source` to `target` with all its rights.
///
/// # Errors
/// What the kernel says.
pub fn copy(target: CapAddress, source: CapAddress) -> Result<(), SysError> {
    copy_with(target, source, Rights::all())
}

/// Copies `source` to `target` with the rights in `mask`.
///
/// # Errors
/// What the kernel says.
pub fn copy_with(target: CapAddress, source: CapAddress, mask: Rights) -> Result<(), SysError> {
    let arguments = [word(target), word(source), u64::from(mask.bits())];
    invoke(CSPACE, Invocation::Copy, &arguments).map(drop)
}

/// Copies endpoint `source` to `target` with a badge.
///
/// # Errors
/// What the kernel says.
pub fn badge(target: CapAddress, source: CapAddress, badge: u64) -> Result<(), SysError> {
    mint(target, source, badge, 0)
}

/// Mints `source` to `target`: the last two arguments are `Mint`'s.
///
/// # Errors
/// What the kernel says.
pub fn mint(target: CapAddress, source: CapAddress, x4: u64, x5: u64) -> Result<(), SysError> {
    let rights = u64::from(Rights::all().bits());
    let arguments = [word(target), word(source), rights, x4, x5];
    invoke(CSPACE, Invocation::Mint, &arguments).map(drop)
}

/// Makes `count` objects of `bytes` bytes of `source`, from `offset` on.
///
/// # Errors
/// What the kernel says.
pub fn retype(
    target: CapRef,
    source: CapAddress,
    kind: ObjectType,
    offset: u64,
    bytes: u64,
    count: u64,
) -> Result<(), SysError> {
    let arguments = [
        target.to_word(),
        word(source),
        kind as u64,
        offset,
        bytes,
        count,
    ];
    invoke(CSPACE, Invocation::Retype, &arguments).map(drop)
}

/// Deletes what lies in `target`.
///
/// # Errors
/// What the kernel says.
pub fn delete(target: CapAddress) -> Result<(), SysError> {
    invoke(CSPACE, Invocation::Delete, &[word(target)]).map(drop)
}

/// Deletes copies and descendants of `target`.
///
/// # Errors
/// What the kernel says.
pub fn revoke(target: CapAddress) -> Result<(), SysError> {
    invoke(CSPACE, Invocation::Revoke, &[word(target)]).map(drop)
}

/// Type, first address and size of what lies in `target`; type Null for an empty slot.
///
/// # Errors
/// What the kernel says.
pub fn identify(target: CapAddress) -> Result<(ObjectType, u64, u64), SysError> {
    let [word, base, size] = invoke(CSPACE, Invocation::IdentifySlot, &[word(target)])?;
    let kind = ObjectType::try_from(word.to_le_bytes()[0]).map_err(|_| SysError::WrongType)?;
    Ok((kind, base, size))
}

/// The rights of what lies in `target`.
///
/// # Errors
/// What the kernel says.
pub fn rights(target: CapAddress) -> Result<Rights, SysError> {
    let [word, ..] = invoke(CSPACE, Invocation::IdentifySlot, &[word(target)])?;
    Ok(Rights::from_bits_truncate(word.to_le_bytes()[1]))
}

/// Whether `target` holds anything.
#[must_use]
pub fn is_empty(target: CapAddress) -> bool {
    identify(target).is_ok_and(|(kind, ..)| kind == ObjectType::Null)
}

/// Maps `count` entries of `table` from `first` on to `source`, `offset` bytes into it.
///
/// # Errors
/// What the kernel says.
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
/// What the kernel says.
pub fn attach(
    table: CapAddress,
    child: CapAddress,
    index: u64,
    mapping: CapAddress,
) -> Result<(), SysError> {
    map(table, child, index, 1, MapFlags::empty(), 0, mapping)
}

/// Unmaps.
///
/// # Errors
/// What the kernel says.
pub fn unmap(mapping: CapAddress) -> Result<(), SysError> {
    invoke(mapping, Invocation::Unmap, &[]).map(drop)
}

/// Changes a mapping's permissions.
///
/// # Errors
/// What the kernel says.
pub fn protect(mapping: CapAddress, flags: MapFlags) -> Result<(), SysError> {
    invoke(mapping, Invocation::Protect, &[u64::from(flags.bits())]).map(drop)
}

/// Has a frame be mapped executable from now on, never writable again.
///
/// # Errors
/// What the kernel says.
pub fn make_executable(frame: CapAddress) -> Result<(), SysError> {
    invoke(frame, Invocation::MakeExecutable, &[]).map(drop)
}

/// State and exit code of a dispatcher.
///
/// # Errors
/// What the kernel says.
pub fn status(dispatcher: CapAddress) -> Result<(DispatcherState, u32), SysError> {
    let [value, ..] = invoke(dispatcher, Invocation::Status, &[])?;
    let [state, code] = halves(value);
    let state = DispatcherState::try_from(state).map_err(|_| SysError::OutOfRange)?;
    Ok((state, code))
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
/// What the kernel says.
pub fn fault_register(dispatcher: CapAddress, index: u64) -> Result<u64, SysError> {
    invoke(dispatcher, Invocation::FaultRegister, &[index]).map(|[value, ..]| value)
}

/// A kernel counter.
///
/// # Errors
/// What the kernel says.
pub fn counter(which: capelin_abi::syscall::KernelCounter) -> Result<u64, SysError> {
    invoke(KERNEL, Invocation::ReadCounter, &[which as u64]).map(|[value, ..]| value)
}

/// Gives the processor to whoever is next.
pub fn yield_now() {
    svc::yield_to(&mut svc::Registers::default());
}

/// Gives the processor to `dispatcher`.
///
/// # Errors
/// What the kernel says.
pub fn yield_to(dispatcher: CapAddress) -> Result<(), SysError> {
    let mut registers = svc::Registers::default();
    registers[0] = word(dispatcher);
    svc::yield_to(&mut registers);
    error::from_word(registers[0])
}

fn message(
    endpoint: CapAddress,
    capability: Option<CapAddress>,
    flags: SendFlags,
    words: &[u64],
) -> svc::Registers {
    let words = &words[..words.len().min(MESSAGE_WORDS)];
    let mut registers = svc::Registers::default();
    registers[0] = send_word(endpoint.into(), flags, words.len());
    registers[1] = capability.map_or(0, word);
    registers[2..2 + words.len()].copy_from_slice(words);
    registers
}

/// Sends a message.
///
/// # Errors
/// What the kernel says.
pub fn send(
    endpoint: CapAddress,
    capability: Option<CapAddress>,
    flags: SendFlags,
    words: &[u64],
) -> Result<(), SysError> {
    let mut registers = message(endpoint, capability, flags, words);
    svc::send(&mut registers);
    error::from_word(registers[0])
}

/// Sends and waits; x0–x11 as the kernel leaves them.
#[must_use]
pub fn call(endpoint: CapAddress, words: &[u64], seen: u64, deadline: u64) -> svc::Registers {
    let mut registers = message(endpoint, None, SendFlags::empty(), words);
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

/// Writes `text` to the kernel's log.
pub fn print(text: &[u8]) {
    for piece in text.chunks(256) {
        let arguments = [
            piece.as_ptr().expose_provenance() as u64,
            piece.len() as u64,
        ];
        let _ = invoke(SELF, Invocation::Print, &arguments);
    }
}

/// Switches the machine off.
pub fn power_off() -> ! {
    loop {
        let _ = invoke(KERNEL, Invocation::PowerOff, &[]);
        // Not every machine can: then the runner's limit ends the test.
        yield_now();
    }
}
