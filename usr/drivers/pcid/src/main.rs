//! The driver: serves [`Pci`] to `init`, and [`Function`] to the drivers of functions.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{
    rc::Rc,
    string::{String, ToString as _},
    vec::Vec,
};
use core::cell::RefCell;

use capelin_driver::{Mmio, Region, StartError, region, serve};
use capelin_idc::Cap;
use capelin_interfaces::{
    pci::{Found, Function, FunctionError, FunctionServer, Pci, PciError, PciServer, host_name},
    skb::{SkbClient, Solution},
};
use capelin_pci::{Address, ConfigSpace as _, Register};
use capelin_rt::{Env, ExitCode, Listener, Lmp, OwnedCap, bind, println, services, spawn};
use capelin_skb::{InterruptKind, pci_interrupt};
use pcid::{
    answers,
    ecam::{BUS_BYTES, Buses, Ecam},
    host::Below,
};

use lines::Lines;
use messages::Messages;

mod lines;
mod messages;

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const RING: usize = 16;
/// Messages of a function's driver that may wait.
const FUNCTION_RING: usize = 8;

/// The registers, of which a bus is mapped when it is looked at.
struct Mapped(Rc<Region>);

impl Buses for Mapped {
    type Bus = Mmio;

    fn reach(&self, number: u8) -> Option<Mmio> {
        let mapped = self.0.map(u64::from(number) * BUS_BYTES, BUS_BYTES);
        if let Err(error) = &mapped {
            println!("pcid: configuration space of bus {number} behind the first: {error}");
        }
        mapped.ok()
    }
}

/// The host bridge.
struct Host {
    registers: Rc<Region>,
    /// Once it has been looked at.
    found: RefCell<Option<Known>>,
    lines: Lines,
    messages: Messages,
    /// By which the facts are told.
    skb: RefCell<Option<SkbClient<Lmp>>>,
}

/// A host bridge that has been looked at.
struct Known {
    ecam: Ecam<Mapped>,
    below: Below,
}

/// Serves one client.
struct Session(Rc<Host>);

/// Serves one function's driver.
struct FunctionSession {
    host: Rc<Host>,
    at: Address,
}

impl FunctionSession {
    /// What `work` makes of the host; a function is served once its host is known.
    fn with<R>(
        &self,
        work: impl FnOnce(&mut Ecam<Mapped>, &mut Below, Address) -> Result<R, FunctionError>,
    ) -> Result<R, FunctionError> {
        match &mut *self.host.found.borrow_mut() {
            Some(Known { ecam, below }) => work(ecam, below, self.at),
            None => Err(FunctionError::Unplaced),
        }
    }
}

impl Function for FunctionSession {
    async fn read(&self, offset: u16) -> Result<u32, FunctionError> {
        let register = Register::new(offset).ok_or(FunctionError::NoSuchRegister)?;
        self.with(|ecam, _, at| Ok(ecam.read(at, register)))
    }

    async fn enable(&self) -> Result<(), FunctionError> {
        self.with(|ecam, below, at| {
            let is_enabled = below.enable(ecam, at);
            is_enabled.then_some(()).ok_or(FunctionError::Unplaced)
        })
    }

    async fn message(&self) -> Result<Cap, FunctionError> {
        Messages::give(&self.host, self.at).await
    }

    async fn interrupt(&self) -> Result<(), FunctionError> {
        Lines::wait(&self.host, self.at).await
    }

    async fn disable(&self) -> Result<(), FunctionError> {
        self.with(|ecam, below, at| {
            below.disable(ecam, at);
            Ok(())
        })?;
        self.host.lines.leave(self.at);
        Messages::leave(&self.host, self.at).await;
        Ok(())
    }
}

impl Pci for Session {
    async fn function(&self, address: &str) -> Result<Cap, PciError> {
        let host = Rc::clone(&self.0);
        let known = match &*host.found.borrow() {
            Some(known) => known.below.function(address),
            None => None,
        };
        let at = known.ok_or(PciError::NoSuchFunction)?;
        // An endpoint of its own: its driver reaches no other function.
        let listener = Listener::new(FUNCTION_RING).map_err(|_| PciError::Exhausted)?;
        let endpoint = listener.capability(1).map_err(|_| PciError::Exhausted)?;
        spawn(listener.serve(move |_| {
            FunctionServer(FunctionSession {
                host: Rc::clone(&host),
                at,
            })
        }));
        Ok(endpoint.give())
    }

    async fn table(
        &self,
        address: &str,
        registers: Cap,
        offset: u64,
        bytes: u64,
    ) -> Result<(), PciError> {
        let registers = Region::new(OwnedCap::received(registers), offset, bytes);
        let known = match &*self.0.found.borrow() {
            Some(known) => known.below.function(address),
            None => None,
        };
        let at = known.ok_or(PciError::NoSuchFunction)?;
        self.0.messages.add_table(at, registers);
        Ok(())
    }

    async fn publish(&self, facts: Cap) -> Result<Found, PciError> {
        let facts = OwnedCap::received(facts);
        let skb: SkbClient<Lmp> = match bind(facts.address()).await {
            Ok(skb) => skb,
            Err(_) => return Err(PciError::KnowledgeBase),
        };
        let known = self.0.found.borrow().as_ref().map(|it| it.below.clone());
        let below = match known {
            Some(below) => {
                assert_all(&skb, &below.facts()).await?;
                below
            }
            None => {
                let (ecam, below) = self.0.look(&skb).await?;
                let known = below.clone();
                *self.0.found.borrow_mut() = Some(Known { ecam, below });
                known
            }
        };
        assert_all(&skb, &below.place_facts()).await?;
        assert_all(&skb, &below.interrupt_facts()).await?;
        *self.0.skb.borrow_mut() = Some(skb);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Found {
            functions: count(below.topology.functions.len()),
            unplaced: count(below.unplaced().count()),
        })
    }
}

impl Host {
    /// Notes, and tells the knowledge base, how `function` interrupts.
    async fn note_interrupt(&self, function: Address, kind: InterruptKind, intid: u32) {
        let is_new = match &mut *self.found.borrow_mut() {
            Some(known) => {
                let before = known.below.interrupts.insert(function, (kind, intid));
                before != Some((kind, intid))
            }
            None => false,
        };
        let skb = self.skb.borrow().clone();
        if let (true, Some(skb), Ok(fact)) = (is_new, skb, pci_interrupt(function, kind, intid)) {
            // A knowledge base that is started anew is told again.
            let _ = assert_all(&skb, &[fact.to_string()]).await;
        }
    }

    /// Looks at what there is, tells it, and places registers where the rules say.
    async fn look(&self, skb: &SkbClient<Lmp>) -> Result<(Ecam<Mapped>, Below), PciError> {
        let base = self.registers.physical();
        let base = base.map_err(|_| PciError::UnknownHost)?;
        let hosts = solve(skb, &answers::host_goal(base)).await?;
        let host = hosts.iter().find_map(answers::host);
        let (segment, buses) = host.ok_or(PciError::UnknownHost)?;
        let windows = solve(skb, &answers::windows_goal(segment)).await?;
        let windows: Option<_> = windows.iter().map(answers::window).collect();
        let windows = windows.ok_or(PciError::KnowledgeBase)?;
        let mut ecam = Ecam::new(*buses.start(), Mapped(Rc::clone(&self.registers)));
        let wires = solve(skb, &answers::wires_goal(segment)).await?;
        let wires: Option<_> = wires.iter().map(answers::wire).collect();
        let wires = wires.ok_or(PciError::KnowledgeBase)?;
        let routes = solve(skb, &answers::routes_goal(segment)).await?;
        let mut below = Below::find(&mut ecam, segment, buses, windows, wires);
        below.routes = routes.iter().filter_map(answers::route).collect();
        for finding in &below.topology.findings {
            println!("pcid: {finding}");
        }
        assert_all(skb, &below.facts()).await?;
        if below.wants_places() {
            let places = solve(skb, &answers::places_goal(segment)).await?;
            // Another host's functions may be in the same segment.
            let places = places.iter();
            let places: Vec<_> = places
                .filter_map(|solution| answers::place(solution, &below.topology))
                .collect();
            if let Err(fault) = below.place(&mut ecam, &places) {
                println!("pcid: no registers are placed, as the rules put some wrong: {fault}");
            }
        }
        for unplaced in below.unplaced() {
            println!("pcid: {unplaced}");
        }
        Ok((ecam, below))
    }
}

/// All solutions of `goal`.
async fn solve(skb: &SkbClient<Lmp>, goal: &str) -> Result<Vec<Solution>, PciError> {
    skb.all(goal).await.map_err(|error| {
        println!("pcid: {goal}: {error}");
        PciError::KnowledgeBase
    })
}

/// Adds facts.
async fn assert_all(skb: &SkbClient<Lmp>, facts: &[String]) -> Result<(), PciError> {
    for fact in facts {
        skb.assert_clause(fact).await.map_err(|error| {
            println!("pcid: {fact}: {error}");
            PciError::KnowledgeBase
        })?;
    }
    Ok(())
}

async fn run(env: Env) -> ExitCode {
    serve(&env, start(&env).await, |it| PciServer(Session(it))).await
}

async fn start(env: &Env) -> Result<(Rc<Host>, Listener), StartError> {
    let host = Host {
        registers: Rc::new(region(env, 0)?),
        found: RefCell::default(),
        lines: Lines::default(),
        messages: Messages::default(),
        skb: RefCell::default(),
    };
    let listener = Listener::new(RING)?;
    services::register(&host_name(env.name()), &listener, 1).await?;
    Ok((Rc::new(host), listener))
}
