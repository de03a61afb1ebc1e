//! Memory: from the memory service on the boot core, from the boot core elsewhere.
//!
//! Kernel objects of programs are made from home memory, of which a core has a few MiB at
//! first. When that runs out, memory that is nobody's home becomes this kernel's
//! ([`ensure_home`]); what isn't used any more is given back ([`give_back`]).

use capelin_abi::boot::{HOME_ALIGNMENT, HOME_AT_ONCE, HOME_REACH};
use capelin_abi::{ObjectType, PAGE_SIZE, PhysAddr};
use capelin_idc::shares::ClientId;
use capelin_interfaces::memory::{ANY_NODE, MemoryError, SMALL_SHARE, Within};
use capelin_monitor::Ticket;
use capelin_monitor::intermon::{IntermonClient, IntermonError};
use capelin_rt::{
    OwnedCap, RtError,
    memory::{self, Place},
    sys,
};

use crate::{error::Error, node::Node, transfer};

/// Fetched at least at a time, in bytes: about what a program starts with, since it is used again
/// for the next one.
const AT_LEAST: u64 = 1 << 20;

/// Left for the monitor's own heap, in bytes, when programs have what they need: at least, and
/// what is fetched when there is less.
const OWN: u64 = 64 << 10;
const OWN_FETCHED: u64 = 256 << 10;
/// Free home memory that a core keeps, in bytes: enough for some programs to start.
const HOME_KEPT: u64 = 1 << 20;
/// Likewise of other memory.
const RAM_KEPT: u64 = 4 << 20;

/// Memory that was made home memory.
pub(crate) struct Adopted {
    /// Its first byte.
    base: u64,
    /// As it was before: whose it is.
    ram: OwnedCap,
}

/// Memory lent to a program on this core.
pub(crate) struct Lent {
    place: Place,
    /// Who is charged with it.
    client: ClientId,
}

/// Whether memory is being given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivingBack {
    /// It isn't.
    Not,
    /// It is.
    AtWork,
    /// It is, and there may be more by now: it is looked through once more.
    Again,
}

/// A `Ram` capability, the only one to `bytes` bytes.
///
/// # Errors
/// [`Error::Memory`]; the same inside of [`Error::Intermon`] on other cores than the boot core.
pub(crate) async fn allocate(
    node: &Node,
    bytes: u64,
    alignment: u64,
    within: Within,
) -> Result<OwnedCap, Error> {
    if let Some(boot) = &node.boot {
        let cap = boot
            .memory
            .allocate_within(bytes, alignment, within)
            .await?;
        return Ok(OwnedCap::received(cap));
    }
    let client: IntermonClient<_> = node.remote(node.boot_core)?;
    let ticket = client.allocate(bytes, alignment, within).await?;
    Ok(transfer::take(node, ticket, node.boot_core)?)
}

/// Sees to it that `bytes` bytes in one piece can be made into frames, and that something is
/// left for ourselves.
///
/// # Errors
/// As [`allocate`].
pub(crate) async fn ensure(node: &Node, bytes: u64) -> Result<(), Error> {
    // A page more: no capability is made into one of the same type and range.
    let bytes = bytes.saturating_add(PAGE_SIZE);
    if memory::left_after(bytes).is_none() {
        let exact = bytes.next_multiple_of(PAGE_SIZE);
        fetch(node, exact, exact.max(AT_LEAST)).await?;
    }
    if memory::left_after(bytes).is_some_and(|left| left < OWN) {
        fetch(node, OWN_FETCHED, OWN_FETCHED).await?;
    }
    Ok(())
}

/// Fetches `much`, or, where there is less, `exact` bytes.
async fn fetch(node: &Node, exact: u64, much: u64) -> Result<(), Error> {
    // The nearest may be full, and there may be no more than what is needed.
    let tries = [(much, node.home_node), (much, ANY_NODE), (exact, ANY_NODE)];
    let mut last = Error::Runtime(RtError::OutOfMemory);
    for (bytes, numa) in tries {
        match allocate(node, bytes, PAGE_SIZE, Within::node(numa)).await {
            Ok(ram) => {
                let base = ram.identify()?.base.0;
                memory::add_ram(ram)?;
                node.fetched.borrow_mut().push(base);
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sees to it that kernel objects of `bytes` bytes in one piece can be made.
///
/// Each piece is as large as all before together, within bounds, so that a kernel needs few.
///
/// # Errors
/// As [`allocate`] and [`sys::kernel::adopt_home`].
pub(crate) async fn ensure_home(node: &Node, bytes: u64) -> Result<(), Error> {
    if memory::left().largest_home >= bytes {
        return Ok(());
    }
    let exact = bytes.next_multiple_of(HOME_ALIGNMENT);
    let had: u64 = node.adopted.borrow().iter().map(Adopted::bytes).sum();
    let much = had.next_multiple_of(HOME_ALIGNMENT);
    let much = much.clamp(exact, HOME_AT_ONCE.max(exact));
    let tries = [
        (much, node.home_node),
        (exact, node.home_node),
        (exact, ANY_NODE),
    ];
    let mut last = Error::Runtime(RtError::OutOfHomeMemory);
    for (bytes, numa) in tries {
        match adopt(node, bytes, numa).await {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Makes `bytes` bytes more home memory of this kernel.
async fn adopt(node: &Node, bytes: u64, numa: u32) -> Result<(), Error> {
    // A kernel names its home memory by the distance from its first.
    let first = node.info.home.base;
    let within = Within {
        node: numa,
        from: first,
        end: first.saturating_add(HOME_REACH),
    };
    let ram = allocate(node, bytes, HOME_ALIGNMENT, within).await?;
    let base = ram.identify()?.base.0;
    let (kernel, from) = (node.kernel, ram.reference());
    let made = OwnedCap::make(|slot| sys::kernel::adopt_home(kernel, from, slot.into()));
    match made {
        Ok(home) => {
            memory::add_home(home)?;
            node.adopted.borrow_mut().push(Adopted { base, ram });
            Ok(())
        }
        Err(error) => {
            free(node, ram).await?;
            Err(error.into())
        }
    }
}

/// Gives back what programs don't need any more, but for some.
///
/// # Errors
/// As [`allocate`] and [`OwnedCap::identify`]. What couldn't be given back is used again.
pub(crate) async fn give_back(node: &Node) -> Result<(), Error> {
    collect(node);
    let is_adopted = |base: PhysAddr| {
        let adopted = node.adopted.borrow();
        adopted.iter().any(|piece| piece.base == base.0)
    };
    while let Some(home) = memory::take_unused(ObjectType::HomeRam, HOME_KEPT, is_adopted) {
        let base = home.identify()?.base.0;
        if sys::kernel::release_home(node.kernel, home.reference()).is_err() {
            // In use, whatever our books say.
            memory::add_home(home)?;
            break;
        }
        let ram = {
            let mut adopted = node.adopted.borrow_mut();
            let at = adopted.iter().position(|piece| piece.base == base);
            at.map(|at| adopted.swap_remove(at).ram)
        };
        if let Some(ram) = ram {
            free(node, ram).await?;
        }
    }
    let is_fetched = |base: PhysAddr| node.fetched.borrow().contains(&base.0);
    while let Some(ram) = memory::take_unused(ObjectType::Ram, RAM_KEPT, is_fetched) {
        let base = ram.identify()?.base.0;
        node.fetched.borrow_mut().retain(|&fetched| fetched != base);
        free(node, ram).await?;
    }
    Ok(())
}

/// Gives memory back that [`allocate`] gave, and of which nothing is made. What the boot core
/// doesn't take is used again.
async fn free(node: &Node, ram: OwnedCap) -> Result<(), Error> {
    if let Some(boot) = &node.boot {
        let identity = ram.identify()?;
        drop(ram);
        // What it finds in use it looks at again.
        let _ = boot.memory.free(identity.base.0, identity.size).await;
        return Ok(());
    }
    let client: IntermonClient<_> = node.remote(node.boot_core)?;
    let ticket = transfer::offer(node, &ram, transfer::running(node.boot_core));
    match ticket {
        Ok(ticket) => {
            match client.free(ticket).await {
                // It is gone, or will be: then its slot is empty.
                Ok(()) => transfer::settle(node, ticket),
                Err(_) => transfer::withdraw_memory(node, ticket, ram),
            }
            Ok(())
        }
        Err(_) => Ok(memory::add_ram(ram)?),
    }
}

/// The boot core's side of [`free`] on another core: what `ticket` of core `from` is for.
///
/// # Errors
/// [`IntermonError`].
pub(crate) async fn free_for(node: &Node, from: u16, ticket: Ticket) -> Result<(), IntermonError> {
    if node.boot.is_none() {
        return Err(IntermonError::WrongCore);
    }
    let ram = transfer::take(node, ticket, from).map_err(kernel)?;
    let base = ram.identify().map_err(kernel)?.base.0;
    // The slot that it was sent from is empty now.
    drop(node.sent.borrow_mut().remove(&base));
    // What isn't what we gave stays ours.
    let freed = free(node, ram).await;
    freed.map_err(|_| IntermonError::Exhausted)
}

impl Adopted {
    fn bytes(&self) -> u64 {
        self.ram.identify().map_or(0, |identity| identity.size)
    }
}

/// Memory of our own for `client`, a program on this core: a `Ram` capability, the only one to
/// its range. It comes back when nobody holds any of it, as [`collect`] finds.
///
/// To the memory service all memory of this core's programs is ours, so what one of them may have is
/// for us to bound, by what there is in the machine.
///
/// # Errors
/// As [`ensure`]; [`MemoryError::InvalidSize`], [`MemoryError::ShareUsed`].
pub(crate) async fn lend(
    node: &Node,
    client: ClientId,
    bytes: u64,
    alignment: u64,
) -> Result<OwnedCap, Error> {
    let is_sound = bytes > 0
        && bytes.is_multiple_of(PAGE_SIZE)
        && alignment.is_power_of_two()
        && alignment >= PAGE_SIZE;
    if !is_sound {
        return Err(MemoryError::InvalidSize.into());
    }
    collect(node);
    let room = bytes
        .checked_add(alignment)
        .ok_or(MemoryError::InvalidSize)?;
    if held_by(node, client).saturating_add(bytes) > SMALL_SHARE {
        let intermon: IntermonClient<_> = node.remote(node.boot_core)?;
        let stats = intermon.memory_stats(ANY_NODE).await?;
        // Others of its requests may have been answered meanwhile.
        if !stats.is_within_share(held_by(node, client), bytes) {
            return Err(MemoryError::ShareUsed.into());
        }
    }
    ensure(node, room).await?;
    let mut made = None;
    let ram = OwnedCap::make(|slot| {
        let (own, kind) = (sys::cspace::OWN, ObjectType::Ram);
        made = Some(memory::make_ram_object(
            own,
            slot.into(),
            kind,
            bytes,
            alignment,
        )?);
        Ok::<_, RtError>(())
    })?;
    let lent = made.map(|place| Lent { place, client });
    node.lent.borrow_mut().extend(lent);
    Ok(ram)
}

/// Bytes that `client` is charged with.
fn held_by(node: &Node, client: ClientId) -> u64 {
    let lent = node.lent.borrow();
    let own = lent.iter().filter(|lent| lent.client == client);
    own.map(|lent| lent.place.bytes).sum()
}

/// Takes back what was lent and nobody holds any more.
pub(crate) fn collect(node: &Node) {
    node.lent.borrow_mut().retain(|Lent { place, .. }| {
        let is_held = is_held(place);
        if !is_held {
            memory::release(*place);
        }
        is_held
    });
}

/// Takes one piece back.
///
/// # Errors
/// [`MemoryError::NotYours`], [`MemoryError::InUse`].
pub(crate) fn take_back(node: &Node, base: u64, bytes: u64) -> Result<(), MemoryError> {
    let mut lent = node.lent.borrow_mut();
    let index = lent
        .iter()
        .position(|Lent { place, .. }| place.bytes == bytes && start(place) == Some(base))
        .ok_or(MemoryError::NotYours)?;
    let found = lent.get(index).ok_or(MemoryError::NotYours)?;
    if is_held(&found.place) {
        return Err(MemoryError::InUse);
    }
    memory::release(lent.swap_remove(index).place);
    Ok(())
}

/// The first byte's physical address.
fn start(place: &Place) -> Option<u64> {
    let source = sys::cspace::identify(place.source.into()).ok()?;
    source.base.0.checked_add(place.offset)
}

/// Whether anybody holds part of it: then its range can't be made again.
fn is_held(place: &Place) -> bool {
    let made = OwnedCap::make(|slot| {
        sys::cspace::retype(
            sys::cspace::OWN,
            slot.into(),
            place.source.into(),
            ObjectType::Ram,
            place.offset,
            place.bytes,
            1,
        )
    });
    made.is_err()
}

/// The boot core's side of [`allocate`] on another core: moves memory to `to`.
///
/// # Errors
/// [`IntermonError`].
pub(crate) async fn allocate_for(
    node: &Node,
    to: u16,
    bytes: u64,
    alignment: u64,
    within: Within,
) -> Result<Ticket, IntermonError> {
    let boot = node.boot.as_ref().ok_or(IntermonError::WrongCore)?;
    let given = boot.memory.allocate_within(bytes, alignment, within).await;
    let ram = OwnedCap::received(given.map_err(IntermonError::Memory)?);
    let base = ram.identify().map_err(kernel)?.base.0;
    let given = transfer::send(node, &ram, to).await;
    let ticket = given.map_err(|error| IntermonError::Kernel(error as u64))?;
    node.sent.borrow_mut().insert(base, ram);
    Ok(ticket)
}

/// What the runtime says, for another core.
pub(crate) fn kernel(error: RtError) -> IntermonError {
    match error {
        RtError::System(error) => IntermonError::Kernel(error as u64),
        _ => IntermonError::Exhausted,
    }
}
