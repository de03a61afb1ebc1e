//! Privileged operations of this core's CPU driver. Each takes the Kernel capability.

use capelin_abi::{
    CapRef, KernelId, Mpidr, PhysAddr, SysError, Ticket, VirtAddr,
    layout::slot,
    syscall::{CoreText, HAS_CRC32, Invocation, KernelCounter, KernelLeaf},
};

use super::invoke;

/// The Kernel capability of a core's first domain.
pub const OWN: CapRef = CapRef::l2(slot::KERNEL);

/// Which kernel this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelInfo {
    /// Its id.
    pub id: KernelId,
    /// Its NUMA node.
    pub node: u64,
    /// Its core's affinity.
    pub mpidr: Mpidr,
    /// Counter ticks per second.
    pub counter_frequency: u64,
    /// Whether the core has the CRC32 instructions.
    pub has_crc32: bool,
}

/// Which kernel this is ([`Invocation::KernelInfo`]).
///
/// # Errors
/// None of its own.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the field is cut out on purpose"
)]
pub fn info(kernel: CapRef) -> Result<KernelInfo, SysError> {
    let [word, mpidr, counter_frequency] = invoke(kernel, Invocation::KernelInfo, &[])?;
    Ok(KernelInfo {
        id: KernelId(word as u16),
        node: (word & !HAS_CRC32) >> 16,
        has_crc32: word & HAS_CRC32 != 0,
        mpidr: Mpidr(mpidr),
        counter_frequency,
    })
}

/// Makes all of `ram`, of which nothing was made, home memory of this kernel: a `HomeRam` in
/// `target` ([`Invocation::AdoptHome`]).
///
/// # Errors
/// [`SysError::Unaligned`] unless in whole blocks of 2 MiB; [`SysError::OutOfRange`];
/// [`SysError::HasRelations`] where something was made of it; [`SysError::RangeInUse`] for what is
/// a home; [`SysError::NoResources`] when the kernel can't keep more pieces.
pub fn adopt_home(kernel: CapRef, ram: CapRef, target: CapRef) -> Result<(), SysError> {
    let arguments = [ram.to_word(), target.to_word()];
    invoke(kernel, Invocation::AdoptHome, &arguments).map(drop)
}

/// Undoes [`adopt_home`]: `home` is deleted, and the `Ram` is free again
/// ([`Invocation::ReleaseHome`]).
///
/// # Errors
/// [`SysError::HasRelations`] while anything is made of it; [`SysError::LastCopy`] while something
/// lies there that mustn't be lost; [`SysError::OutOfRange`] for what wasn't adopted.
pub fn release_home(kernel: CapRef, home: CapRef) -> Result<(), SysError> {
    invoke(kernel, Invocation::ReleaseHome, &[home.to_word()]).map(drop)
}

/// A counter of the CPU driver ([`Invocation::ReadCounter`]).
///
/// # Errors
/// None of its own.
pub fn read_counter(kernel: CapRef, counter: KernelCounter) -> Result<u64, SysError> {
    let [value, ..] = invoke(kernel, Invocation::ReadCounter, &[counter as u64])?;
    Ok(value)
}

/// A piece of the kernel's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogPiece {
    /// Bytes copied.
    pub bytes: usize,
    /// Position of the first of them, in bytes ever written.
    pub start: u64,
    /// Position of the end of the log.
    pub end: u64,
}

/// Reads the kernel's log from `position` on ([`Invocation::ReadLog`]).
///
/// # Errors
/// [`SysError::BadPointer`].
pub fn read_log(kernel: CapRef, buffer: &mut [u8], position: u64) -> Result<LogPiece, SysError> {
    let pointer = buffer.as_mut_ptr().expose_provenance() as u64;
    let arguments = [pointer, buffer.len() as u64, position];
    let [bytes, start, end] = invoke(kernel, Invocation::ReadLog, &arguments)?;
    Ok(LogPiece {
        bytes: usize::try_from(bytes).map_or(buffer.len(), |bytes| bytes.min(buffer.len())),
        start,
        end,
    })
}

/// The CPU driver stops writing to the console ([`Invocation::ReleaseConsole`]).
///
/// # Errors
/// None of its own.
pub fn release_console(kernel: CapRef) -> Result<(), SysError> {
    invoke(kernel, Invocation::ReleaseConsole, &[]).map(drop)
}

/// Makes a CoreImage of a Frame, in place ([`Invocation::Seal`]).
///
/// # Errors
/// [`SysError::HasRelations`] while it has copies or mappings.
pub fn seal(kernel: CapRef, frame: CapRef) -> Result<(), SysError> {
    invoke(kernel, Invocation::Seal, &[frame.to_word()]).map(drop)
}

/// Starts a core from a CoreImage, by PSCI, or by its spin table's release address, with a
/// text of its own or this kernel's ([`Invocation::StartCore`]).
///
/// # Errors
/// [`SysError::InvalidArgument`] for an image that isn't sound, or another core than it is for;
/// [`SysError::HasRelations`] where it has been used; [`SysError::AlreadyBound`],
/// [`SysError::RangeInUse`] or [`SysError::NoResources`] where the kernel's id, the core or the
/// home are another's, or there are too many; [`SysError::Firmware`].
pub fn start_core(
    kernel: CapRef,
    image: CapRef,
    mpidr: Mpidr,
    release: Option<PhysAddr>,
    text: CoreText,
) -> Result<(), SysError> {
    let release = release.map_or(0, |address| address.0);
    let arguments = [image.to_word(), mpidr.0, release, text as u64];
    invoke(kernel, Invocation::StartCore, &arguments).map(drop)
}

/// What firmware says of a core's power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Affinity {
    /// On.
    On,
    /// Off.
    Off,
    /// On its way.
    Pending,
}

/// Whether a core is on ([`Invocation::AffinityInfo`]).
///
/// # Errors
/// [`SysError::Firmware`]; [`SysError::Unsupported`] without PSCI.
pub fn affinity_info(kernel: CapRef, mpidr: Mpidr) -> Result<Affinity, SysError> {
    let [word, ..] = invoke(kernel, Invocation::AffinityInfo, &[mpidr.0])?;
    match word {
        0 => Ok(Affinity::On),
        1 => Ok(Affinity::Off),
        2 => Ok(Affinity::Pending),
        _ => Err(SysError::Firmware),
    }
}

/// Whether a capability leaves this kernel, or a copy does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportMode {
    /// It is the receiver's afterwards.
    Move,
    /// The receiver gets a copy, which may not be revoked or made into others.
    Copy,
}

/// To whom something is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receiver {
    /// The kernel with this id.
    Kernel(KernelId),
    /// The same, if this kernel starts it: nobody else who gets the id may take it.
    Child(KernelId),
}

/// Offers `source` to `to` ([`Invocation::Export`]): the ticket is for whoever
/// imports it there. What is moved is in transit until then, or until the offer is
/// withdrawn ([`settle_export`]).
///
/// # Errors
/// [`SysError::InvalidArgument`] for a kernel that isn't there; [`SysError::ThroughMonitor`] or
/// [`SysError::HasRelations`] for what can't leave; [`SysError::NoResources`] while as many offers
/// stand as can; [`SysError::NoSuchTransfer`] for an answer that is none.
pub fn export(
    kernel: CapRef,
    source: CapRef,
    to: Receiver,
    mode: ExportMode,
) -> Result<Ticket, SysError> {
    let copy = match mode {
        ExportMode::Move => 0,
        ExportMode::Copy => 1 << 16,
    };
    let (to, child) = match to {
        Receiver::Kernel(to) => (to, 0),
        Receiver::Child(to) => (to, 1 << 17),
    };
    let arguments = [source.to_word(), u64::from(to.0) | copy | child];
    let [ticket, ..] = invoke(kernel, Invocation::Export, &arguments)?;
    Ticket::from_word(ticket).ok_or(SysError::NoSuchTransfer)
}

/// Takes a capability that another kernel offers to this one into slot `target`
/// ([`Invocation::Import`]).
///
/// # Errors
/// [`SysError::NoSuchTransfer`]; [`SysError::SlotInUse`]. The offer stands then.
pub fn import(kernel: CapRef, ticket: Ticket, target: CapRef) -> Result<(), SysError> {
    let arguments = [ticket.to_word(), target.to_word()];
    invoke(kernel, Invocation::Import, &arguments).map(drop)
}

/// What has become of an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfferFate {
    /// It stands.
    Offered,
    /// It has been taken.
    Taken,
    /// It was withdrawn: the capability is as before.
    Withdrawn,
}

/// Whether an offer is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settle {
    /// Just look.
    Ask,
    /// Withdraw it unless it has been taken.
    Withdraw,
}

/// What has become of an offer, which is withdrawn if that is asked for
/// ([`Invocation::SettleExport`]).
///
/// # Errors
/// [`SysError::NoSuchTransfer`] for one that was settled before.
pub fn settle_export(kernel: CapRef, ticket: Ticket, how: Settle) -> Result<OfferFate, SysError> {
    let arguments = [ticket.to_word(), u64::from(how == Settle::Withdraw)];
    match invoke(kernel, Invocation::SettleExport, &arguments)? {
        [0, ..] => Ok(OfferFate::Offered),
        [2, ..] => Ok(OfferFate::Withdrawn),
        _ => Ok(OfferFate::Taken),
    }
}

/// Turns the machine off ([`Invocation::PowerOff`]); returns only on error.
pub fn power_off(kernel: CapRef) -> SysError {
    match invoke(kernel, Invocation::PowerOff, &[]) {
        Ok(_) => SysError::Firmware,
        Err(error) => error,
    }
}

/// Starts the machine again ([`Invocation::Reboot`]); returns only on error.
pub fn reboot(kernel: CapRef) -> SysError {
    match invoke(kernel, Invocation::Reboot, &[]) {
        Ok(_) => SysError::Firmware,
        Err(error) => error,
    }
}

/// Ends this core's CPU driver as a panic does ([`Invocation::Panic`]); returns only on error.
pub fn panic(kernel: CapRef) -> SysError {
    match invoke(kernel, Invocation::Panic, &[]) {
        Ok(_) => SysError::Firmware,
        Err(error) => error,
    }
}

/// Whether the CPU driver's own read at the linear address of `physical` faulted
/// ([`Invocation::Probe`]).
///
/// # Errors
/// [`SysError::InvalidArgument`] for what isn't a word's address.
pub fn probe(kernel: CapRef, physical: PhysAddr) -> Result<bool, SysError> {
    let [faulted, ..] = invoke(kernel, Invocation::Probe, &[physical.0])?;
    Ok(faulted != 0)
}

/// The page that the CPU driver's temporary window shows while it is asked to show that
/// at `page` ([`Invocation::ProbeWindow`]), and how. `covering` names addresses in which the page
/// lies.
///
/// # Errors
/// [`SysError::RangeInUse`] for any kernel's home memory; [`SysError::OutOfRange`] for a page that
/// `covering` doesn't cover; [`SysError::NoSuchMemory`].
pub fn probe_window(
    kernel: CapRef,
    page: PhysAddr,
    covering: CapRef,
) -> Result<(PhysAddr, KernelLeaf), SysError> {
    let arguments = [page.0, covering.to_word()];
    let [shown, kind, _] = invoke(kernel, Invocation::ProbeWindow, &arguments)?;
    Ok((PhysAddr(shown), KernelLeaf::from_bits_truncate(kind)))
}

/// A leaf of the CPU driver's own map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapLeaf {
    /// Where it is mapped.
    pub virtual_address: VirtAddr,
    /// What is mapped.
    pub physical_address: PhysAddr,
    /// Bytes.
    pub bytes: u64,
    /// How.
    pub flags: KernelLeaf,
}

/// Leaf number `index` of the CPU driver's own map, `None` past the last
/// ([`Invocation::MapLeaf`]).
///
/// # Errors
/// None of its own.
pub fn map_leaf(kernel: CapRef, index: u64) -> Result<Option<MapLeaf>, SysError> {
    match invoke(kernel, Invocation::MapLeaf, &[index]) {
        Ok([virtual_address, physical_address, size]) => Ok(Some(MapLeaf {
            virtual_address: VirtAddr(virtual_address),
            physical_address: PhysAddr(physical_address),
            bytes: size & !0xfff,
            flags: KernelLeaf::from_bits_truncate(size & 0xfff),
        })),
        Err(SysError::OutOfRange) => Ok(None),
        Err(error) => Err(error),
    }
}
