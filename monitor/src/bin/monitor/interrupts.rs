//! Interrupts for programs on other cores than the boot core.
//!
//! ```text
//! program     core n's monitor        boot core's monitor          irqd
//!    ── claim ──▶  ── claim_interrupt ──▶  ── claim_for(core n) ──▶  configures, routes to core n
//!                                         ◀── the only IrqSource ──
//!                 ◀── ticket ── moves it
//!    ◀── copy ── keeps it
//! ```
//!
//! The IrqSource is moved, so that core n's kernel owns it: bound there, it is delivered there, and it is taken back
//! from its program by a revoke of that kernel's alone. It goes back the same way.

use alloc::{collections::BTreeMap, rc::Rc};
use core::cell::{Cell, RefCell};

use capelin_abi::ObjectType;
use capelin_idc::{CallError, Cap, TransportError};
use capelin_interfaces::{
    interrupts::{
        FrameInfo, InterruptError, Interrupts, InterruptsClient, Message, TargetCore, Trigger,
    },
    names::NamesClient,
    service,
};
use capelin_monitor::{
    Ticket,
    intermon::{IntermonClient, IntermonError},
};
use capelin_rt::{Lmp, OwnedCap, RtError, bind, print::to_log, spawn, sync::Mutex, sys};

use crate::{
    node::{BootCore, Node},
    ram, transfer,
};

/// What the boot core's monitor knows of interrupts.
#[derive(Default)]
pub(crate) struct Routes {
    client: Mutex<Option<InterruptsClient<Lmp>>>,
    /// Which core each has that isn't the boot core's, and the slot that it was moved from.
    lent: RefCell<BTreeMap<u32, (u16, OwnedCap)>>,
}

impl Routes {
    /// The interrupt service, with the right to have interrupts go to other cores.
    async fn client(&self, boot: &BootCore) -> Result<InterruptsClient<Lmp>, RtError> {
        let mut known = self.client.lock().await;
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        let names: NamesClient<Lmp> = bind(boot.private_names).await?;
        let endpoint = names.look_up(service::INTERRUPT_CONTROLLERS).await;
        let endpoint = OwnedCap::received(endpoint.map_err(|_| RtError::NoService)?);
        let client: InterruptsClient<Lmp> = bind(endpoint.address()).await?;
        *known = Some(client.clone());
        Ok(client)
    }
}

/// Interrupt `intid` for core `to`, moved there.
///
/// # Errors
/// [`IntermonError`].
pub(crate) async fn claim_for(
    node: &Node,
    to: u16,
    intid: u32,
    trigger: Trigger,
    core: TargetCore,
) -> Result<Ticket, IntermonError> {
    let boot = node.boot.as_ref().ok_or(IntermonError::WrongCore)?;
    let client = boot.routes.client(boot).await.map_err(ram::kernel)?;
    let source = client.claim_for(intid, trigger, core).await;
    let source = OwnedCap::received(source.map_err(IntermonError::Interrupt)?);
    match transfer::send(node, &source, to).await {
        Ok(ticket) => {
            boot.routes.lent.borrow_mut().insert(intid, (to, source));
            Ok(ticket)
        }
        Err(error) => {
            drop(source);
            // It stays off otherwise.
            let _ = client.release(intid).await;
            Err(IntermonError::Kernel(error as u64))
        }
    }
}

/// The interrupt comes back that core `from` moves here.
///
/// # Errors
/// [`IntermonError`]: `NotExpected` if it isn't one that was lent.
pub(crate) async fn release_for(
    node: &Node,
    from: u16,
    ticket: Ticket,
) -> Result<(), IntermonError> {
    let boot = node.boot.as_ref().ok_or(IntermonError::WrongCore)?;
    let client = boot.routes.client(boot).await.map_err(ram::kernel)?;
    let source = transfer::take(node, ticket, from).map_err(ram::kernel)?;
    let identity = source.identify().map_err(ram::kernel)?;
    let intid = u32::try_from(identity.base.0).ok();
    let intid = intid.filter(|_| identity.kind == ObjectType::IrqSource && identity.size == 1);
    let lent = intid.and_then(|intid| {
        let slot = boot.routes.lent.borrow_mut().remove(&intid);
        slot.map(|slot| (intid, slot))
    });
    drop(source);
    // The slot that it was sent from is empty now.
    let (intid, slot) = lent.ok_or(IntermonError::NotExpected)?;
    drop(slot);
    client
        .release(intid)
        .await
        .map_err(IntermonError::Interrupt)
}

/// Has `intid`, which core `from` has, come once.
///
/// # Errors
/// [`IntermonError`].
pub(crate) async fn raise_for(node: &Node, from: u16, intid: u32) -> Result<(), IntermonError> {
    let boot = node.boot.as_ref().ok_or(IntermonError::WrongCore)?;
    let lent_to = boot.routes.lent.borrow().get(&intid).map(|(core, _)| *core);
    if lent_to != Some(from) {
        return Err(IntermonError::Interrupt(InterruptError::NotYours));
    }
    let client = boot.routes.client(boot).await.map_err(ram::kernel)?;
    client.raise(intid).await.map_err(IntermonError::Interrupt)
}

/// The interrupts of one client on this core.
pub(crate) struct RemoteInterrupts {
    node: Rc<Node>,
    held: Rc<Held>,
}

/// What it has.
#[derive(Default)]
struct Held {
    all: RefCell<BTreeMap<u32, OwnedCap>>,
    /// Nobody is there any more for whom it could be.
    is_closed: Cell<bool>,
}

impl RemoteInterrupts {
    pub(crate) fn new(node: &Rc<Node>) -> Self {
        Self {
            node: Rc::clone(node),
            held: Rc::default(),
        }
    }
}

/// Whoever claims interrupts on this core, and where they are kept; an interrupt that comes for a client that has gone
/// meanwhile goes back.
async fn claim(
    node: Rc<Node>,
    held: Rc<Held>,
    intid: u32,
    trigger: Trigger,
) -> Result<Cap, InterruptError> {
    let core = TargetCore {
        mpidr: node.info.mpidr,
        gicv2_mask: u8::try_from(node.info.gicv2_mask).unwrap_or(0),
    };
    let client: IntermonClient<_> = node.remote(node.boot_core).map_err(lost)?;
    let claimed = client.claim_interrupt(intid, trigger, core).await;
    let ticket = claimed.map_err(of_intermon)?;
    let source = transfer::take(&node, ticket, node.boot_core);
    let source = source.map_err(|_| InterruptError::Exhausted)?;
    if held.is_closed.get() {
        give_back(&node, intid, source).await;
        return Err(InterruptError::Exhausted);
    }
    let given = Cap::copy(source.address());
    held.all.borrow_mut().insert(intid, source);
    Ok(given)
}

/// The program loses `source`, and with it what is bound; it goes back to the boot core.
async fn give_back(node: &Node, intid: u32, source: OwnedCap) {
    let is_back = match sys::cspace::revoke(sys::cspace::OWN, source.reference()) {
        Ok(()) => send_back(node, &source).await,
        Err(error) => Err(IntermonError::Kernel(error as u64)),
    };
    if let Err(error) = is_back {
        // As it is: masked, and nobody's any more.
        source.keep();
        to_log(format_args!(
            "monitor: interrupt {intid} does not go back: {error}\n"
        ));
    }
}

async fn send_back(node: &Node, source: &OwnedCap) -> Result<(), IntermonError> {
    let client: IntermonClient<_> = node.remote(node.boot_core).map_err(CallError::from)?;
    let ticket = transfer::send(node, source, node.boot_core).await;
    let ticket = ticket.map_err(|error| IntermonError::Kernel(error as u64))?;
    let released = client.release_interrupt(ticket).await;
    match released {
        Ok(()) => transfer::settle(node, ticket),
        Err(_) => {
            transfer::withdraw(node, ticket);
        }
    }
    released
}

fn lost(error: TransportError) -> InterruptError {
    CallError::from(error).into()
}

fn of_intermon(error: IntermonError) -> InterruptError {
    match error {
        IntermonError::Interrupt(error) => error,
        IntermonError::Call(error) => error.into(),
        _ => InterruptError::Exhausted,
    }
}

impl Interrupts for RemoteInterrupts {
    async fn claim(&self, intid: u32, trigger: Trigger) -> Result<Cap, InterruptError> {
        // Not for its client alone, which may end meanwhile: what has been moved here has to have somebody who takes it.
        let (node, held) = (Rc::clone(&self.node), Rc::clone(&self.held));
        spawn(claim(node, held, intid, trigger)).await
    }

    async fn claim_for(&self, _: u32, _: Trigger, _: TargetCore) -> Result<Cap, InterruptError> {
        Err(InterruptError::NotAllowed)
    }

    async fn raise(&self, intid: u32) -> Result<(), InterruptError> {
        if !self.held.all.borrow().contains_key(&intid) {
            return Err(InterruptError::NotYours);
        }
        let client: IntermonClient<_> = self.node.remote(self.node.boot_core).map_err(lost)?;
        client.raise_interrupt(intid).await.map_err(of_intermon)
    }

    /// Drivers of functions are on the boot core.
    async fn claim_message(&self, _: &str, _: u32) -> Result<(Cap, Message), InterruptError> {
        Err(InterruptError::NoSuchController)
    }

    async fn add_frame(&self, _: &str, registers: Cap, _: FrameInfo) -> Result<(), InterruptError> {
        drop(OwnedCap::received(registers));
        Err(InterruptError::NotAllowed)
    }

    async fn release(&self, intid: u32) -> Result<(), InterruptError> {
        let source = self.held.all.borrow_mut().remove(&intid);
        let source = source.ok_or(InterruptError::NotYours)?;
        let node = Rc::clone(&self.node);
        spawn(async move { give_back(&node, intid, source).await }).await;
        Ok(())
    }
}

impl Drop for RemoteInterrupts {
    fn drop(&mut self) {
        self.held.is_closed.set(true);
        let left = self.held.all.take();
        if left.is_empty() {
            return;
        }
        let node = Rc::clone(&self.node);
        spawn(async move {
            for (intid, source) in left {
                give_back(&node, intid, source).await;
            }
        });
    }
}
