//! The SKB's server (`docs/080-skb.md`).
//!
//! It fills the knowledge base from the device tree and the list of modules that `init` hands
//! over, registers, and serves. What can't be read is told, and left out.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

mod boot_rules;

use alloc::{boxed::Box, rc::Rc};
use core::cell::{Cell, RefCell};
use core::time::Duration;

use capelin_abi::{CapAddress, PAGE_SIZE};
use capelin_dt::Mpidr;
use capelin_idc::{RemoteError, Service};
use capelin_interfaces::{
    devices::DevicesClient,
    handover,
    memory::ANY_NODE,
    service,
    skb::{Skb, SkbError, SkbServer, Solutions},
};
use capelin_rt::{
    Env, ExitCode, Listener, Lmp, OwnedCap, RtError, boot, executor::yield_now, memory, println,
    services, sys, time,
};
use capelin_skb::server::{
    bounds,
    cursors::Cursors,
    error::{to_wire, to_wire_of_change},
    facts,
    program::Program,
    rights::{ANYBODY, PCI_FACTS, Rights},
    search::{Search, Step},
};
use capelin_skb::{DRIVER_RULES, DRIVERS, KnowledgeBase, PCI_NAMES, PCI_RULES, SLOT_NAMES, Scope};

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const RING: usize = 32;
/// How long it may take until it is known what is on the PCI buses and in slots; who asks before gets
/// what is.
const PATIENCE: Duration = Duration::from_secs(20);

/// The knowledge base and the memory that there is for it.
struct Base {
    kb: RefCell<KnowledgeBase>,
    /// Bytes that there may be in the end.
    most: u64,
    /// Bytes that are there, those in use included.
    ram: Cell<u64>,
    /// Up to so many bytes in use, there is room.
    enough: Cell<usize>,
    /// The rules for drivers haven't been read: the boot needs none of them.
    lacks_drivers: Cell<bool>,
    /// The same of what there is about PCI in the device tree and the rules.
    lacks_pci: Cell<bool>,
    /// What is on the PCI buses and in slots hasn't been asked for.
    lacks_functions: Cell<bool>,
    tree: Option<&'static [u8]>,
    /// The owner's rules have been read, or are being read.
    has_boot_rules: Cell<bool>,
}

impl Base {
    /// Before a text is read: what it may be about is there.
    async fn see(&self, text: &str, rights: Rights) {
        if self.lacks_drivers.get() && text.contains(DRIVER_RULES) {
            self.make_room().await;
            // Unless another client has come first.
            if self.lacks_drivers.replace(false)
                && let Err(error) = self.kb.borrow_mut().consult(DRIVERS)
            {
                println!("skb: the rules for drivers: {error}");
            }
        }
        let is_about_pci = text.contains(PCI_NAMES);
        if self.lacks_pci.get() && is_about_pci {
            self.make_room().await;
            if self.lacks_pci.replace(false) {
                self.add_pci();
            }
        }
        // Those who find what is there have the right to tell of it.
        let is_about_devices = is_about_pci || text.contains(SLOT_NAMES);
        if is_about_devices && rights == Rights::None && self.lacks_functions.get() {
            self.make_room().await;
            self.find_functions().await;
        }
    }

    /// The rules about PCI, and the host bridges of the device tree.
    fn add_pci(&self) {
        let mut kb = self.kb.borrow_mut();
        if let Err(error) = kb.consult(PCI_RULES) {
            println!("skb: the rules for PCI: {error}");
        }
        let added = self.tree.map(|tree| facts::pci_hosts(&mut kb, tree));
        if let Some(Err(error)) = added {
            println!("skb: PCI host bridges: {error}");
        }
    }

    /// Has the device manager look at what is on the buses and in slots, if there is one: the list of devices is
    /// answered once it has.
    async fn find_functions(&self) {
        let devices = services::connect::<DevicesClient<Lmp>>(service::DEVICES).await;
        let Ok(devices) = devices else {
            return;
        };
        if let Ok(Ok(_)) = time::timeout(PATIENCE, devices.list(0, 0)).await {
            self.lacks_functions.set(false);
        }
    }

    /// Sees to it that there is memory for a piece of work, as far as the server may have more.
    async fn make_room(&self) {
        let used = self.kb.borrow().memory();
        // What is freed goes back to the heap, so the most that ever was in use counts.
        if used < self.enough.get() {
            return;
        }
        self.enough.set(used.saturating_add(bounds::LOOK_BYTES));
        let ram = self.ram.get();
        let more = bounds::more(used, self.most, ram, memory::left().largest_ram);
        let fetched = fetch(more).await;
        if fetched > 0 {
            // Others may have fetched meanwhile.
            let ram = self.ram.get() + fetched;
            self.ram.set(ram);
            let limits = bounds::limits(self.most, ram);
            self.kb.borrow_mut().set_limits(limits);
        }
    }
}

/// What one client sees.
struct Session {
    base: Rc<Base>,
    scope: Scope,
    rights: Rights,
    cursors: RefCell<Cursors>,
    /// Nobody waits for answers any more.
    is_closed: Cell<bool>,
}

impl Drop for Session {
    /// The client is gone, and with it its queries and all that it has added.
    fn drop(&mut self) {
        self.cursors.borrow_mut().close_all();
        self.base.kb.borrow_mut().close_client(&self.scope);
    }
}

/// Lets others run: our other clients, and then other programs, one of which may be about to ask
/// something.
async fn give_way() {
    yield_now().await;
    // If the kernel refuses, we go on, and it takes the processor from us in its own time.
    let _ = sys::yield_now();
}

impl Session {
    /// Works at a query until there is a batch to tell, in turn with the other clients.
    async fn search(
        &self,
        cursor: u64,
        mut search: Search,
        limit: u32,
    ) -> Result<Solutions, SkbError> {
        loop {
            self.base.make_room().await;
            let step = search.step(&mut self.base.kb.borrow_mut(), limit);
            if !self.cursors.borrow().is_wanted(cursor) {
                return Err(SkbError::NoSuchCursor);
            }
            let (solutions, left) = match step {
                Ok(Step::Pause) => {
                    give_way().await;
                    continue;
                }
                Ok(Step::Batch(solutions)) => (Ok(solutions), Some(search)),
                Ok(Step::Last(solutions)) => (Ok(solutions), None),
                Err(error) => (Err(error), None),
            };
            let is_open = self.cursors.borrow_mut().put_back(cursor, left);
            return solutions.map(|solutions| Solutions {
                solutions,
                cursor: is_open.then_some(cursor),
            });
        }
    }

    /// Whose clauses a change is to: the system's, if the connection has that right.
    fn scope_of(&self, clause: &capelin_skb::Term) -> Scope {
        if self.rights.allow(clause) {
            self.base.kb.borrow().system().clone()
        } else {
            self.scope.clone()
        }
    }

    /// Adds the clauses of a text, in turn with the other clients.
    async fn add(&self, mut program: Program) -> Result<u32, SkbError> {
        loop {
            self.base.make_room().await;
            let done = program.step(&mut self.base.kb.borrow_mut())?;
            match done {
                Some(added) => return Ok(added),
                None if self.is_closed.get() => return Err(SkbError::NoSuchCursor),
                None => give_way().await,
            }
        }
    }

    /// Reads one clause.
    fn clause(&self, text: &str) -> Result<capelin_skb::Term, SkbError> {
        let read = self.base.kb.borrow().read_as(&self.scope, text);
        read.map(|read| read.term).map_err(|error| to_wire(&error))
    }
}

impl Skb for Session {
    /// Its queries end.
    fn closed(&self) {
        self.is_closed.set(true);
        self.cursors.borrow_mut().close_all();
    }

    async fn query(&self, goal: &str, limit: u32) -> Result<Solutions, SkbError> {
        self.base.see(goal, self.rights).await;
        let cursor = self.cursors.borrow_mut().begin();
        let opened = Search::new(&mut self.base.kb.borrow_mut(), &self.scope, goal);
        match opened {
            Ok(search) => self.search(cursor, search, limit).await,
            Err(error) => {
                self.cursors.borrow_mut().put_back(cursor, None);
                Err(error)
            }
        }
    }

    async fn next(&self, cursor: u64, limit: u32) -> Result<Solutions, SkbError> {
        let search = self.cursors.borrow_mut().take(cursor)?;
        self.search(cursor, search, limit).await
    }

    async fn close(&self, cursor: u64) {
        self.cursors.borrow_mut().close(cursor);
    }

    async fn assert_clause(&self, clause: &str) -> Result<(), SkbError> {
        self.base.see(clause, self.rights).await;
        self.base.make_room().await;
        let clause = self.clause(clause)?;
        let scope = self.scope_of(&clause);
        let added = self.base.kb.borrow_mut().assertz_as(&scope, &clause);
        added.map_err(|error| to_wire_of_change(&error))
    }

    async fn retract_clause(&self, clause: &str) -> Result<bool, SkbError> {
        self.base.see(clause, self.rights).await;
        let clause = self.clause(clause)?;
        let scope = self.scope_of(&clause);
        let removed = self.base.kb.borrow_mut().retract_as(&scope, &clause);
        removed.map_err(|error| to_wire_of_change(&error))
    }

    async fn consult(&self, program: &str) -> Result<u32, SkbError> {
        self.base.see(program, self.rights).await;
        let program = Program::new(&self.base.kb.borrow(), &self.scope, program)?;
        self.add(program).await
    }

    async fn read_boot_rules(&self) -> Result<u32, SkbError> {
        if self.base.has_boot_rules.replace(true) {
            return Ok(0);
        }
        let text = match boot_rules::read().await {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(0),
            Err(error) => {
                // Another attempt may go better.
                self.base.has_boot_rules.set(false);
                return Err(error);
            }
        };
        // The device manager waits for us, and what is on the buses comes by it: not waited for.
        self.base.see(&text, Rights::PciFacts).await;
        let program = {
            let kb = self.base.kb.borrow();
            Program::new(&kb, kb.system(), &text)?
        };
        self.add(program).await
    }
}

async fn run(env: Env) -> ExitCode {
    let tree = env.capability(handover::DEVICE_TREE);
    let tree = tree.and_then(|it| sys::cspace::identify_slot(sys::cspace::OWN, it.into()).ok());
    let tree = tree.map_or(0, |frame| frame.size);
    let had = memory::left().ram;
    let free = match services::memory().await {
        Ok(service) => service.stats(ANY_NODE).await.map_or(0, |it| it.free_bytes),
        Err(_) => 0,
    };
    // No more than half of what is free, so that others can start. Where there is less, the
    // bounds are tighter.
    let most = bounds::most(tree, had + free / 2);
    let missing = bounds::at_start(tree, most).saturating_sub(had);
    let ram = had + fetch(missing).await;
    let mut kb = KnowledgeBase::with_boot_rules();
    kb.set_limits(bounds::limits(most, ram));
    let tree = fill(&env, &mut kb);
    let base = Rc::new(Base {
        kb: RefCell::new(kb),
        most,
        ram: Cell::new(ram),
        enough: Cell::new(0),
        lacks_drivers: Cell::new(true),
        lacks_pci: Cell::new(true),
        lacks_functions: Cell::new(true),
        tree,
        has_boot_rules: Cell::new(false),
    });
    match start().await {
        Ok(listener) => {
            listener
                .serve_any(move |caller| -> Result<Box<dyn Service>, RemoteError> {
                    let share = bounds::share(most);
                    let client = base.kb.borrow_mut().open_client(share);
                    // Others have filled the memory.
                    let scope = client.map_err(|_| RemoteError::Busy)?;
                    Ok(Box::new(SkbServer(Session {
                        base: Rc::clone(&base),
                        scope,
                        rights: Rights::of(caller.badge),
                        cursors: RefCell::default(),
                        is_closed: Cell::new(false),
                    })))
                })
                .await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}: {error}", env.name());
            ExitCode::FAILURE
        }
    }
}

/// Fetches `bytes` bytes of memory: in pieces, where there is no piece so large. Gives how many it
/// got.
async fn fetch(bytes: u64) -> u64 {
    const LEAST: u64 = 256 << 10;
    let mut missing = bytes.next_multiple_of(PAGE_SIZE);
    let mut piece = missing;
    while missing > 0 && piece >= LEAST.min(missing) {
        match memory::fetch(piece).await {
            Ok(()) => missing -= piece,
            Err(_) => piece = piece / 2 / PAGE_SIZE * PAGE_SIZE,
        }
        piece = piece.min(missing);
    }
    bytes.next_multiple_of(PAGE_SIZE) - missing
}

async fn start() -> Result<Listener, RtError> {
    let listener = Listener::new(RING)?;
    // First, so that whoever finds the other name finds this one.
    services::register(service::PCI_FACTS, &listener, PCI_FACTS).await?;
    services::register(service::SKB, &listener, ANYBODY).await?;
    Ok(listener)
}

/// Adds what the machine is. What can't be added is told; the rest stays. Gives the device tree.
fn fill(env: &Env, kb: &mut KnowledgeBase) -> Option<&'static [u8]> {
    let running = env.word(handover::MPIDR).map(Mpidr);
    let blob = match env.capability(handover::DEVICE_TREE).map(device_tree) {
        Some(Ok(blob)) => {
            if let Err(error) = facts::device_tree(kb, blob, running) {
                println!("{}: {error}", env.name());
            }
            Some(blob)
        }
        Some(Err(error)) => {
            println!("{}: the device tree: {error}", env.name());
            None
        }
        None => {
            println!("{}: no device tree was handed over", env.name());
            None
        }
    };
    for argument in env.arguments() {
        if let Err(error) = facts::module(kb, argument) {
            println!("{}: {error}", env.name());
        }
    }
    blob
}

fn device_tree(frame: CapAddress) -> Result<&'static [u8], RtError> {
    boot::read_only(OwnedCap::adopt(frame))
}
