//! Starting the cores below: the user-level boot driver.
//!
//! For each child, all at the same time:
//!
//! 1. make the ring to it, and export a copy of its frame and its working memory;
//! 2. make a frame of its home memory, fill it with the arguments and, unless it is to run
//!    our own kernel's text ([`PlannedCore::text`]), with a fresh copy of the CPU driver,
//!    and unmap it;
//! 3. *seal* it, so that user space can't touch it any more, and start the core;
//! 4. wait for its hello, which is answered with the tree below it and that tree's
//!    memory ([`crate::intermon_service`]). Then the child starts its own children.
//!
//! A child that doesn't say hello in time is reported and left out; its memory stays
//! sealed, since it may still run there. Its children become ours, with the memory that
//! was meant to go to it. What it was offered itself it may still take, as long as firmware
//! doesn't say that it is off: a late hello is answered as any, with no tree below, and the
//! core runs.

use alloc::{boxed::Box, collections::BTreeMap, rc::Rc, vec::Vec};
use core::{future::Future, pin::Pin, time::Duration};

use capelin_abi::{
    CapAddress, Mpidr, ObjectType, PhysAddr,
    boot::{PhysRegion, PsciArgs},
    syscall::CoreText,
};
use capelin_archive::{BadChecksum, Module};
use capelin_monitor::{
    Ticket,
    image::{HandOver, ImageError, Layout, MonitorWords},
    membership::{Failure, Fate, Patience, Report},
    plan::{Plan, PlannedCore},
};
use capelin_rt::{
    OwnedCap, RtError, checksum,
    future::{Either, race},
    spawn,
    sync::Event,
    sys, time,
    vspace::SharedMapped,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{error::Error, node::Node, rings, transfer};

/// The module that every core's CPU driver is a copy of.
const KERNEL_MODULE: &str = "cpudriver";
/// The module that is the first domain of every core but the boot core.
const MONITOR_MODULE: &str = "monitor";

/// The memory of a core that is to be started.
pub(crate) struct CoreMemory {
    /// Ram that becomes its home memory.
    pub(crate) home: OwnedCap,
    /// Ram that its monitor works with.
    pub(crate) ram: OwnedCap,
}

/// The memory of several cores.
pub(crate) type Memories = BTreeMap<u16, CoreMemory>;

/// The images from which cores start, checked.
#[derive(Clone, Copy)]
pub(crate) struct Images {
    kernel: &'static [u8],
    /// Where they go.
    pub(crate) layout: Layout,
}

/// A child that may say hello.
pub(crate) struct Expected {
    /// What is planned for it.
    pub(crate) core: PlannedCore,
    /// The slot for what rings it.
    pub(crate) peer: CapAddress,
    /// The tree below it.
    pub(crate) plan: Plan,
    /// The memory of that tree.
    pub(crate) memories: Memories,
    /// It has.
    pub(crate) joined: Event,
}

/// A child that is to be started.
struct Child {
    core: PlannedCore,
    memory: Option<CoreMemory>,
    plan: Plan,
    memories: Memories,
}

/// Checks a module, by the core's own instruction where it has one.
fn verify(node: &Node, module: &Module<'_>) -> Result<(), BadChecksum> {
    match checksum::by_instruction(node.kernel) {
        Some(crc32c) => module.verify_with(crc32c),
        None => module.verify(),
    }
}

/// The images, checked when they are first needed.
///
/// # Errors
/// [`Error::Module`], [`Error::Image`].
pub(crate) fn images(node: &Node) -> Result<Images, Error> {
    if let Some(images) = *node.images.borrow() {
        return Ok(images);
    }
    let find = |name: &'static str| {
        let module = node.archive.find(name).ok_or(Error::Module(name))?;
        // Nobody can write the archive, so it is enough that the boot core checks it.
        if node.boot.is_some() {
            verify(node, &module).map_err(|_| Error::Module(name))?;
        }
        Ok::<_, Error>(module)
    };
    let (kernel, monitor) = (find(KERNEL_MODULE)?, find(MONITOR_MODULE)?);
    let images = Images {
        kernel: kernel.data(),
        layout: Layout::new(kernel.data(), monitor.data(), monitor.offset() as u64)?,
    };
    *node.images.borrow_mut() = Some(images);
    Ok(images)
}

/// Starts the cores of `plan` that are this one's children; they start the others.
pub(crate) fn start_all(node: &Rc<Node>, plan: Plan, mut memories: Memories) {
    node.overlay.set_below(plan.clone());
    *node.below.borrow_mut() = plan.clone();
    for core in plan.children(node.own) {
        launch(node, child(*core, &plan, &mut memories));
    }
}

/// Takes what belongs to `core` and the tree below it.
fn child(core: PlannedCore, plan: &Plan, memories: &mut Memories) -> Child {
    let below = plan.below(core.core);
    let of_tree = below
        .cores()
        .iter()
        .filter_map(|c| Some((c.core, memories.remove(&c.core)?)));
    let of_tree = of_tree.collect();
    Child {
        core,
        memory: memories.remove(&core.core),
        plan: below,
        memories: of_tree,
    }
}

/// Starts a child beside others. (Boxed, since a child that fails leaves others to start.)
fn launch(node: &Rc<Node>, child: Child) {
    let started: Pin<Box<dyn Future<Output = ()>>> = Box::pin(start(Rc::clone(node), child));
    spawn(started);
}

async fn start(node: Rc<Node>, child: Child) {
    let core = child.core;
    let began = time::now();
    report(&node, core, Fate::Starting).await;
    match attempt(&node, child, began).await {
        Ok(()) => report_running(&node, core, began).await,
        Err((failure, mut memories)) => {
            // At once: from now on it may say hello, and is taken in again.
            let (plan, adopted) = {
                let mut plan = node.below.borrow_mut();
                let adopted = plan.leave_out(core.core);
                (plan.clone(), adopted)
            };
            node.overlay.set_below(plan.clone());
            report(&node, core, Fate::Failed(failure)).await;
            for orphan in adopted {
                launch(&node, self::child(orphan, &plan, &mut memories));
            }
        }
    }
}

async fn report(node: &Node, core: PlannedCore, fate: Fate) {
    let report = Report {
        core: core.core,
        parent: node.own,
        fate,
    };
    node.report(report).await;
}

/// Reports a child that said hello, whose start began at tick `began`.
async fn report_running(node: &Node, core: PlannedCore, began: u64) {
    let took = time::to_duration(time::now().saturating_sub(began));
    let boot_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    report(node, core, Fate::Running { boot_us }).await;
}

/// Starts a child and waits for its hello. On failure, the memory of the tree below it.
async fn attempt(node: &Rc<Node>, child: Child, began: u64) -> Result<(), (Failure, Memories)> {
    let Child {
        core,
        memory,
        plan,
        memories,
    } = child;
    let joined = Event::new();
    let peer = match prepare(node, &core, memory) {
        Ok(prepared) => prepared,
        Err(failure) => return Err((failure, memories)),
    };
    let expected = Expected {
        core,
        peer: peer.slot,
        plan,
        memories,
        joined: joined.clone(),
    };
    node.expected.borrow_mut().insert(core.core, expected);
    let release = (core.release != 0).then_some(PhysAddr(core.release));
    let started = sys::kernel::start_core(
        node.kernel,
        peer.image.reference(),
        Mpidr(core.mpidr),
        release,
        core.text(node.home_node),
    );
    // The image is the child's for as long as it runs.
    peer.image.keep();
    let failure = match started {
        Err(error) => Failure::Refused(error as u64),
        Ok(()) => {
            if comes(&joined, node.machine_cores.get()).await {
                peer.offers.taken();
                return Ok(());
            }
            match sys::kernel::affinity_info(node.kernel, Mpidr(core.mpidr)) {
                Ok(sys::kernel::Affinity::Off) => Failure::StillOff,
                _ => Failure::NoAnswer,
            }
        }
    };
    if failure == Failure::NoAnswer {
        let memories = leave_behind(node, core.core);
        spawn(join_late(Rc::clone(node), core, joined, peer.offers, began));
        return Err((failure, memories));
    }
    Err((failure, forget(node, core.core, peer.offers)))
}

/// A child isn't waited for any more: if it still comes up, it finds nothing. The memory of
/// the tree below it.
fn forget(node: &Node, core: u16, offers: Offers) -> Memories {
    offers.withdraw(node);
    node.overlay.remove_neighbour(core);
    let expected = node.expected.borrow_mut().remove(&core);
    expected.map_or_else(Memories::new, |expected| expected.memories)
}

/// The memory of the tree below a child that is late, which gets that tree no more.
fn leave_behind(node: &Node, core: u16) -> Memories {
    let mut expected = node.expected.borrow_mut();
    let Some(expected) = expected.get_mut(&core) else {
        return Memories::new();
    };
    expected.plan = Plan::leaf(core);
    core::mem::take(&mut expected.memories)
}

/// Waits for the hello of a child that is late, for as long as it takes, unless it is given
/// up for others.
async fn join_late(node: Rc<Node>, core: PlannedCore, joined: Event, offers: Offers, began: u64) {
    let given_up = Event::new();
    let oldest = node.late.borrow_mut().add(core.core, given_up.clone());
    oldest.into_iter().for_each(|oldest| oldest.set());
    match race(joined.wait(), given_up.wait()).await {
        Either::First(()) => {
            node.late.borrow_mut().remove(core.core);
            offers.taken();
            report_running(&node, core, began).await;
        }
        Either::Second(()) => {
            // The tree below it was taken over before.
            let _ = forget(&node, core.core, offers);
        }
    }
}

/// Whether a child says hello before patience ends.
async fn comes(joined: &Event, machine_cores: usize) -> bool {
    let mut patience = Patience::for_a_core(machine_cores);
    loop {
        let began = time::now();
        let step = Duration::from_millis(Patience::STEP_MS);
        if time::timeout(step, joined.wait()).await.is_ok() {
            return true;
        }
        let took = time::to_duration(time::now().saturating_sub(began));
        if patience.step(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)) {
            // It may have come in this very step.
            return joined.is_set();
        }
    }
}

/// A child whose image is sealed.
struct Prepared {
    image: OwnedCap,
    slot: CapAddress,
    offers: Offers,
}

/// What is offered to a child before it starts.
#[derive(Default)]
struct Offers {
    copies: Vec<Ticket>,
    ram: Option<(Ticket, OwnedCap)>,
}

impl Offers {
    /// Notes an offer of a copy.
    fn copy(&mut self, ticket: Ticket) -> Ticket {
        self.copies.push(ticket);
        ticket
    }

    /// The child has taken it all.
    fn taken(self) {
        // The kernel empties or marks the slot when the transfer is settled.
        if let Some((_, ram)) = self.ram {
            ram.keep();
        }
    }

    /// Takes it all back, as far as the child hasn't taken it.
    fn withdraw(self, node: &Node) {
        for ticket in self.copies {
            transfer::withdraw(node, ticket);
        }
        if let Some((ticket, ram)) = self.ram {
            transfer::withdraw_memory(node, ticket, ram);
        }
    }
}

/// Steps 1 to 3, but for the start.
fn prepare(
    node: &Node,
    core: &PlannedCore,
    memory: Option<CoreMemory>,
) -> Result<Prepared, Failure> {
    if core.release == 0 && node.info.psci.method == PsciArgs::NONE {
        return Err(Failure::NotStartable);
    }
    let memory = memory.ok_or(Failure::NoMemory)?;
    let mut offers = Offers::default();
    let filled = fill(node, core, memory, &mut offers);
    let (image, slot) = match filled {
        Ok(filled) => filled,
        Err(error) => {
            offers.withdraw(node);
            return Err(failure(error));
        }
    };
    Ok(Prepared {
        image,
        slot,
        offers,
    })
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Module(_) | Error::Image(ImageError::BadKernel | ImageError::BadDomain(_)) => {
            Failure::NoImage
        }
        Error::Runtime(RtError::System(error)) => Failure::Refused(error as u64),
        _ => Failure::NoMemory,
    }
}

/// The sealed image, and the slot for what rings the child.
fn fill(
    node: &Node,
    core: &PlannedCore,
    memory: CoreMemory,
    offers: &mut Offers,
) -> Result<(OwnedCap, CapAddress), Error> {
    let images = images(node)?;
    let home = memory.home.identify()?;
    let home_region = PhysRegion {
        base: home.base.0,
        bytes: home.size,
    };
    let (ring, ram) = divide(core, memory.ram)?;
    let ring = rings::accept(node, transfer::child(core.core), ring)?;
    let moved = transfer::offer(node, &ram, transfer::child(core.core))?;
    offers.ram = Some((moved, ram));
    let hand_over = HandOver {
        ring: offers.copy(ring.frame),
        archive: offers.copy(transfer::offer_copy(
            node,
            node.archive_frame,
            transfer::child(core.core),
        )?),
        ram: moved,
        words: MonitorWords {
            parent: node.own,
            boot_core: node.boot_core,
            machine_cores: node.machine_cores.get() as u64,
            home_node: core.home_node,
            bell: offers.copy(ring.bell),
        },
    };
    let args = images
        .layout
        .core_args(node.info, core, home_region, &hand_over)?;
    let image = OwnedCap::make(|slot| {
        sys::cspace::retype(
            sys::cspace::OWN,
            slot.into(),
            memory.home.reference(),
            ObjectType::Frame,
            0,
            home.size,
            1,
        )
    })?;
    {
        // Fresh frames are zero, so the gaps are.
        let mapped = SharedMapped::new(OwnedCap::copy_of(image.address())?, true)?;
        let is_written = match core.text(node.home_node) {
            CoreText::Own => write(&mapped, 0, images.kernel),
            CoreText::Shared => true,
        } && write(&mapped, images.layout.args_offset, args.as_bytes());
        if !is_written {
            return Err(Error::Image(ImageError::TooLarge));
        }
    }
    sys::kernel::seal(node.kernel, image.reference())?;
    memory.home.keep();
    node.overlay.add_neighbour(core.core, ring.ring);
    Ok((image, ring.peer))
}

/// Memory for the ring to a child, on the node where it is to lie, and the child's
/// working memory. The child's node and our own are at hand; another isn't worth a
/// journey.
fn divide(core: &PlannedCore, ram: OwnedCap) -> Result<(SharedMapped, OwnedCap), Error> {
    if core.ring_node != core.home_node {
        return Ok((rings::own_memory()?, ram));
    }
    let part = |kind: ObjectType, offset: u64, bytes: u64| {
        OwnedCap::make(|slot| {
            let (own, source) = (sys::cspace::OWN, ram.reference());
            sys::cspace::retype(own, slot.into(), source, kind, offset, bytes, 1)
        })
    };
    let bytes = ram.identify()?.size;
    let at = rings::frame_bytes();
    let rest = bytes.checked_sub(at).ok_or(RtError::OutOfMemory)?;
    let ring = SharedMapped::new(part(ObjectType::Frame, 0, at)?, true)?;
    let working = part(ObjectType::Ram, at, rest)?;
    // The ring's part stays ours.
    ram.keep();
    Ok((ring, working))
}

/// Copies `bytes` in at `offset`, a page's start: by words as far as that goes.
fn write(mapped: &SharedMapped, offset: u64, bytes: &[u8]) -> bool {
    let Ok(offset) = usize::try_from(offset) else {
        return false;
    };
    match <[u64]>::ref_from_prefix_with_elems(bytes, bytes.len() / 8) {
        Ok((words, rest)) => {
            mapped.write_words(offset / 8, words) && mapped.write(offset + words.len() * 8, rest)
        }
        // Not aligned as words are.
        Err(_) => mapped.write(offset, bytes),
    }
}
