//! The interrupt lines that functions of this host are on, claimed when a driver first waits for one.

use alloc::{collections::BTreeMap, rc::Rc};
use core::cell::RefCell;

use capelin_interfaces::{
    interrupts::{InterruptsClient, Trigger},
    pci::FunctionError,
    service,
};
use capelin_pci::Address;
use capelin_rt::{
    Lmp, OwnedCap, RtError,
    abi::CapRef,
    endpoint::Endpoint,
    println, services, spawn,
    sync::{Mutex, Queue},
    sys,
};
use capelin_skb::{InterruptKind, Wire};
use pcid::line::{Line, Raised};

use crate::{Host, Known};

/// Events that a line's endpoint holds.
const EVENTS: usize = 1;

/// Where a driver that waits is told.
type Told = Queue<Result<(), FunctionError>>;

/// The lines, by INTID.
#[derive(Default)]
pub(crate) struct Lines {
    open: RefCell<BTreeMap<u32, Line<Told>>>,
    /// Lets one driver at a time have a line claimed.
    claiming: Mutex<()>,
}

/// What a line's task has.
struct Claimed {
    intid: u32,
    endpoint: Endpoint,
    destination: OwnedCap,
    /// The interrupt is ours as long as these are.
    _source: OwnedCap,
    _client: InterruptsClient<Lmp>,
}

impl Lines {
    /// Waits until `function` has raised its pin.
    pub(crate) async fn wait(host: &Rc<Host>, function: Address) -> Result<(), FunctionError> {
        let wire = match &*host.found.borrow() {
            Some(known) if known.below.is_enabled(function) => known.below.wire(function),
            _ => None,
        };
        let wire = wire.ok_or(FunctionError::NoInterrupt)?;
        if let Err(error) = Self::claim_first(host, wire).await {
            println!("pcid: interrupt {}: {error}", wire.intid);
            return Err(FunctionError::NoInterrupt);
        }
        host.note_interrupt(function, InterruptKind::Intx, wire.intid)
            .await;
        let told = Told::new();
        let before = host.with_line(wire.intid, |line, known| {
            // Its driver may have ended meanwhile.
            let is_driven = known.below.is_enabled(function);
            is_driven.then(|| line.wait(&mut known.ecam, function, told.clone()))
        });
        let before = before.flatten().ok_or(FunctionError::NoInterrupt)?;
        if let Some(before) = before {
            before.push(Err(FunctionError::NoInterrupt));
        }
        told.pop().await
    }

    /// `function` isn't driven any more: who waits for its pin, which is held back, is told so.
    pub(crate) fn leave(&self, function: Address) {
        let mut open = self.open.borrow_mut();
        for told in open.values_mut().filter_map(|line| line.leave(function)) {
            told.push(Err(FunctionError::NoInterrupt));
        }
    }

    /// Has the line claimed and served, if it isn't yet.
    async fn claim_first(host: &Rc<Host>, wire: Wire) -> Result<(), ClaimError> {
        let lines = &host.lines;
        let _turn = lines.claiming.lock().await;
        if lines.open.borrow().contains_key(&wire.intid) {
            return Ok(());
        }
        let claimed = Claimed::new(wire).await?;
        lines.open.borrow_mut().insert(wire.intid, Line::default());
        spawn(serve(Rc::clone(host), claimed));
        Ok(())
    }
}

/// Why a line isn't served.
enum ClaimError {
    /// Another host's functions have it, for example.
    Refused(capelin_interfaces::interrupts::InterruptError),
    /// There is no interrupt service, or no room.
    Runtime(RtError),
}

impl<E: Into<RtError>> From<E> for ClaimError {
    fn from(error: E) -> Self {
        Self::Runtime(error.into())
    }
}

impl core::fmt::Display for ClaimError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Runtime(error) => error.fmt(f),
        }
    }
}

impl Claimed {
    async fn new(wire: Wire) -> Result<Self, ClaimError> {
        let client: InterruptsClient<Lmp> = services::connect(service::INTERRUPTS).await?;
        let trigger = if wire.is_edge {
            Trigger::Edge
        } else {
            Trigger::Level
        };
        let source = client.claim(wire.intid, trigger).await;
        let source = OwnedCap::received(source.map_err(ClaimError::Refused)?);
        let endpoint = Endpoint::new(EVENTS)?;
        let destination = OwnedCap::make(|slot| {
            sys::dispatcher::bind_irq(source.reference(), CapRef::l2(endpoint.cap()), slot)
        })?;
        Ok(Self {
            intid: wire.intid,
            endpoint,
            destination,
            _source: source,
            _client: client,
        })
    }
}

/// Tells who waits, at each interrupt of a line.
async fn serve(host: Rc<Host>, claimed: Claimed) {
    loop {
        if !claimed.endpoint.receive().await.is_event {
            continue;
        }
        let raised = host.with_line(claimed.intid, |line, known| line.interrupt(&mut known.ecam));
        match raised {
            Some(Raised::By(all)) => all.iter().for_each(|told| told.push(Ok(()))),
            Some(Raised::ByNobody) => {}
            Some(Raised::WithoutEnd(all)) => {
                println!(
                    "pcid: interrupt {} is raised without end by nobody that is known: it stays masked",
                    claimed.intid
                );
                all.iter()
                    .for_each(|told| told.push(Err(FunctionError::NoInterrupt)));
                break;
            }
            None => break,
        }
        let let_through = sys::dispatcher::acknowledge_irq(claimed.destination.reference());
        if let Err(error) = let_through {
            println!("pcid: interrupt {}: {error}", claimed.intid);
            break;
        }
    }
    host.give_up(claimed.intid);
    // Masked, and nobody else's.
    core::future::pending::<()>().await;
}

impl Host {
    /// What `work` makes of a line, if that is served.
    fn with_line<R>(
        &self,
        intid: u32,
        work: impl FnOnce(&mut Line<Told>, &mut Known) -> R,
    ) -> Option<R> {
        let mut open = self.lines.open.borrow_mut();
        let mut found = self.found.borrow_mut();
        Some(work(open.get_mut(&intid)?, found.as_mut()?))
    }

    /// The line isn't served any more: who waits for it is told, and who asks from now on finds neither line nor wire.
    fn give_up(&self, intid: u32) {
        let held = self.with_line(intid, |line, known| line.hold_all(&mut known.ecam));
        for told in held.into_iter().flatten() {
            told.push(Err(FunctionError::NoInterrupt));
        }
        self.lines.open.borrow_mut().remove(&intid);
        if let Some(known) = &mut *self.found.borrow_mut() {
            known.below.lose_line(intid);
        }
    }
}
