//! Drivers for the devices that the device tree has (`docs/087-devices.md`).
//!
//! Which driver a device gets, the knowledge base says ([`capelin_kaluga::plan`]). A driver is handed
//! exactly its device's registers and interrupts, and gets no more by itself: only here are the
//! capabilities to all devices. What it was handed goes back when it ends.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use core::{
    cell::{Cell, RefCell},
    fmt,
    time::Duration,
};

use capelin_abi::{ObjectType, PAGE_SIZE, boot::PhysRegion};
use capelin_idc::{Cap, Client};
use capelin_interfaces::{
    devices::{DeviceInfo, DeviceState, Devices, DevicesError, DevicesServer},
    handover,
    interrupts::{FrameInfo, InterruptError, InterruptsClient, Trigger},
    memory::{ANY_NODE, MemoryClient, MemoryError, Within},
    pci::{Found, FunctionClient, PciClient, PciError, host_name},
    service,
    skb::{SkbClient, SkbError, Solution},
    slots::{Content, SlotsClient, SlotsError, slots_name},
};
use capelin_kaluga::{
    inventory::{End, Inventory},
    ledger::{Ledger, Region},
    plan::{self, IsEdge, MessageFrame, Plan, Planned, SharedMemory},
    slots::{self, Slot},
};
use capelin_monitor::names::NameService;
use capelin_rt::{
    Listener, Lmp, OwnedCap, RtError, bind,
    future::{Either, race},
    println, spawn,
    sync::Event,
    sys, time,
};
use capelin_spawn::Program;

use crate::{
    machine,
    programs::StartError,
    services::{DRIVER_BYTES, PATIENCE, SMALL_HOME_BYTES, Start},
};

/// Messages of all clients that may wait.
const CAPACITY: usize = 16;
/// Drivers are started so long after the shell, which needs none of them, unless somebody asks before:
/// until then the processor is the shell's.
const LULL: Duration = Duration::from_millis(500);
/// The module that drives PCI host bridges.
const BUS_DRIVER: &str = "pcid";
/// The module that looks at slots.
const SLOTS_DRIVER: &str = "virtio-mmio";
/// INTIDs below are a core's own: CPU drivers serve them (GIC architecture: SGIs and PPIs).
const FIRST_SHARED: u32 = 32;

/// Whether the knowledge base has been started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HasSkb {
    /// It has.
    Yes,
    /// It hasn't: nobody need wait for it.
    No,
}

/// The device manager.
pub(crate) struct DeviceManager {
    state: Rc<State>,
    /// Path of the device that is the console, if it is driven.
    console: Option<String>,
    /// There are places for devices, at which nobody has looked.
    has_slots: Cell<bool>,
    /// Facts of what is in them.
    found: RefCell<Vec<String>>,
    /// Domains that were started here, and haven't been told of.
    started: RefCell<Vec<String>>,
    /// Devices whose drivers are started once somebody asks.
    asked: RefCell<Vec<Planned>>,
}

/// Why a device has no driver, or none of them has.
#[derive(Debug)]
enum DriverError {
    /// A service that is needed isn't there.
    Service(&'static str, RtError),
    /// The knowledge base has no answer to a goal.
    NoAnswer(String, SkbError),
    /// Its answer to a goal isn't what it should be.
    Unreadable(String),
    /// Another device's driver has some of the registers.
    Taken(String),
    /// There is no capability to the registers.
    Registers(RtError),
    /// There is no memory that the device can reach.
    Memory(MemoryError),
    /// The interrupt isn't given out.
    Interrupt(u32, InterruptError),
    /// The driver's program doesn't run.
    Start(StartError),
    /// What is on the device's bus isn't known.
    Bus(PciError),
    /// What is in the slot isn't known.
    Slot(SlotsError),
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name, error) => write!(f, "the {name} service: {error}"),
            Self::NoAnswer(goal, error) => write!(f, "{goal}: {error}"),
            Self::Unreadable(goal) => write!(f, "{goal}: not what was asked for"),
            Self::Taken(by) => write!(f, "its registers are those of {by}"),
            Self::Registers(error) => write!(f, "its registers: {error}"),
            Self::Memory(error) => write!(f, "memory for its device: {error}"),
            Self::Interrupt(intid, error) => write!(f, "interrupt {intid}: {error}"),
            Self::Start(error) => error.fmt(f),
            Self::Bus(error) => write!(f, "what is on its bus: {error}"),
            Self::Slot(error) => write!(f, "what is there: {error}"),
        }
    }
}

impl From<DriverError> for DeviceState {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Taken(by) => Self::Taken { by },
            other => Self::NotStarted {
                why: other.to_string(),
            },
        }
    }
}

/// What clients see, and what drivers have.
#[derive(Default)]
struct State {
    inventory: RefCell<Inventory>,
    ledger: RefCell<Ledger>,
    /// By path of the device: interrupts that its driver has, claimed for it.
    claimed: RefCell<BTreeMap<String, Vec<Claimed>>>,
    /// By name of the domain: what it serves, to be forgotten when it ends.
    services: RefCell<BTreeMap<String, String>>,
    /// The driver that was started last, and that it has ended.
    last: RefCell<(String, Event)>,
    /// By path of the device: registers that its driver has.
    registers: RefCell<BTreeMap<String, Vec<machine::Registers>>>,
    /// By path of the device: memory that its driver shares with it.
    shared: RefCell<BTreeMap<String, Shared>>,
    /// By address: PCI functions that have drivers.
    functions: RefCell<BTreeMap<String, FunctionClient<Lmp>>>,
    interrupts: RefCell<Option<InterruptsClient<Lmp>>>,
    /// Somebody waits for that.
    is_wanted: Event,
    /// All drivers have been started that are to be.
    is_settled: Event,
    /// The knowledge base has told of all devices.
    is_known: RefCell<bool>,
}

/// Memory for a driver and its device; the driver has a copy of the frame. Goes with this.
struct Shared {
    frame: OwnedCap,
    _ram: OwnedCap,
}

struct Claimed {
    intid: u32,
    /// The driver has a copy.
    source: OwnedCap,
}

/// Serves one client.
struct Session(Rc<State>);

impl Devices for Session {
    async fn list(&self, first: u32, limit: u32) -> Result<Vec<DeviceInfo>, DevicesError> {
        self.0.is_wanted.set();
        self.0.is_settled.wait().await;
        if !*self.0.is_known.borrow() {
            return Err(DevicesError::Unknown);
        }
        Ok(self.0.inventory.borrow().list(first, limit))
    }
}

impl DeviceManager {
    /// Nothing is known yet; `console` is the path of the device that is the console, if it is
    /// driven.
    pub(crate) fn new(console: Option<String>) -> Self {
        Self {
            state: Rc::default(),
            console,
            has_slots: Cell::default(),
            found: RefCell::default(),
            started: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// Registers the list of devices, and serves it.
    ///
    /// # Errors
    /// As [`Listener::new`]; [`RtError::NoService`] when the name is taken.
    pub(crate) fn serve(&self, names: &NameService) -> Result<(), RtError> {
        let listener = Listener::new(CAPACITY)?;
        let endpoint = listener.capability(1)?;
        let added = names.add(service::DEVICES, endpoint.give());
        added.map_err(|_| RtError::NoService)?;
        let state = Rc::clone(&self.state);
        spawn(listener.serve(move |_| DevicesServer(Session(Rc::clone(&state)))));
        Ok(())
    }

    /// The domains that have been started since this was last asked.
    pub(crate) fn take_started(&self) -> Vec<String> {
        self.started.take()
    }

    /// Starts the driver of each device that has one, unless there is nobody who knows, or only who
    /// asks wants it.
    pub(crate) async fn start_drivers(&self, start: &Start, has_skb: HasSkb) {
        if has_skb == HasSkb::No {
            self.state.is_settled.set();
            return;
        }
        let _ = time::timeout(LULL, self.state.is_wanted.wait()).await;
        match self.plan_all(start).await {
            Ok(()) => *self.state.is_known.borrow_mut() = true,
            Err(error) => println!("init: no drivers: {error}"),
        }
        self.read_boot_rules(start).await;
    }

    /// Starts all drivers at once, since one of them may be the console's. Whether it is.
    pub(crate) async fn find_console(&self, start: &Start, has_skb: HasSkb) -> bool {
        self.state.is_wanted.set();
        self.start_drivers(start, has_skb).await;
        self.start_asked(start).await;
        start.is_served(service::CONSOLE)
    }

    /// Starts the others, once somebody asks.
    pub(crate) async fn start_asked(&self, start: &Start) {
        self.state.is_wanted.wait().await;
        if self.has_slots.take()
            && let Err(error) = Box::pin(self.look_at_slots(start)).await
        {
            println!("init: no virtio devices: {error}");
        }
        if let Err(error) = self.look_at_buses(start).await {
            println!("init: no PCI devices: {error}");
        }
        self.state.is_settled.set();
    }

    async fn look_at_buses(&self, start: &Start) -> Result<(), DriverError> {
        let hosts = self.asked.take();
        if hosts.is_empty() {
            return Ok(());
        }
        let skb = skb(start).await?;
        if let Err(error) = hand_over_frames(start, &skb).await {
            println!("init: no message interrupts: {error}");
        }
        for host in hosts {
            match self.start_driver(start, &skb, &host).await {
                Ok(domain) => {
                    match publish(start, &domain).await {
                        Ok(Found { unplaced: 0, .. }) => {}
                        Ok(Found { unplaced, .. }) => println!(
                            "init: {}: no room for {unplaced} BARs below it; dmesg says whose",
                            host.path
                        ),
                        Err(error) => println!("init: {}: {error}", host.path),
                    }
                    // The other hosts' functions get their drivers all the same.
                    if let Err(error) = self.drive_functions(start, &skb, &domain).await {
                        println!("init: {}: {error}", host.path);
                    }
                }
                Err(error) => {
                    println!("init: {}: {error}", host.path);
                    let mut inventory = self.state.inventory.borrow_mut();
                    inventory.set(&host.path, host.module.as_deref(), error.into());
                }
            }
        }
        Ok(())
    }

    /// Starts drivers for the functions that the bus driver called `domain` has told of.
    async fn drive_functions(
        &self,
        start: &Start,
        skb: &SkbClient<Lmp>,
        domain: &str,
    ) -> Result<(), DriverError> {
        for solution in solve(skb, plan::FUNCTIONS).await? {
            let function = Planned::read(&solution)
                .ok_or_else(|| DriverError::Unreadable(plan::FUNCTIONS.to_string()))?;
            if self.state.inventory.borrow().knows(&function.path) {
                // Another's.
                continue;
            }
            match (function.plan, function.module.as_deref()) {
                (Plan::Bus, Some(module)) => {
                    let mut inventory = self.state.inventory.borrow_mut();
                    inventory.runs(&function.path, module, domain);
                }
                _ if self.is_to_start(start, &function) => {
                    let driven = self.drive(start, skb, domain, &function).await;
                    self.note(&function, driven.map(drop));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the driver of a device that has been found is to be started; if not, notes why.
    fn is_to_start(&self, start: &Start, device: &Planned) -> bool {
        let state = match device.plan {
            Plan::Start => return true,
            Plan::Console if !start.is_served(service::CONSOLE) => return true,
            Plan::Console => DeviceState::NotConsole,
            Plan::Absent => DeviceState::NotInArchive,
            _ => DeviceState::NoDriver,
        };
        let mut inventory = self.state.inventory.borrow_mut();
        inventory.set(&device.path, device.module.as_deref(), state);
        false
    }

    /// Tells, and notes, that the driver of a device doesn't run.
    fn note(&self, device: &Planned, driven: Result<(), DriverError>) {
        if let Err(error) = driven {
            println!("init: {}: {error}", device.path);
            let mut inventory = self.state.inventory.borrow_mut();
            inventory.set(&device.path, device.module.as_deref(), error.into());
        }
    }

    /// Looks what is in the slots, tells the knowledge base, and starts drivers for it.
    async fn look_at_slots(&self, start: &Start) -> Result<(), DriverError> {
        let skb = skb(start).await?;
        let all = read(&skb, plan::SLOTS, plan::slot).await?;
        for some in all.chunks(slots::AT_ONCE) {
            let looked = self.look_at(start, some).await;
            for (index, slot) in some.iter().enumerate() {
                let content = match &looked {
                    Ok(contents) => contents.get(index).copied().flatten(),
                    Err(_) => None,
                };
                let state = match content {
                    Some(Content::Device(kind)) => {
                        let fact = plan::slot_fact(slot, kind);
                        self.found.borrow_mut().push(fact);
                        continue;
                    }
                    Some(Content::Nothing) => DeviceState::Empty,
                    Some(Content::Unknown) => DeviceState::NoDriver,
                    None => continue,
                };
                let mut inventory = self.state.inventory.borrow_mut();
                inventory.set(&slot.path, None, state);
            }
            if let Err(error) = looked {
                println!("init: slots from {} on: {error}", some[0].path);
            }
        }
        self.tell_found(&skb).await?;
        for solution in solve(&skb, plan::SLOT_DEVICES).await? {
            let device = Planned::read(&solution)
                .ok_or_else(|| DriverError::Unreadable(plan::SLOT_DEVICES.to_string()))?;
            if self.is_to_start(start, &device) {
                let driven = self.start_driver(start, &skb, &device).await;
                self.note(&device, driven.map(drop));
            }
        }
        Ok(())
    }

    /// Tells the knowledge base what is in the slots.
    async fn tell_found(&self, skb: &SkbClient<Lmp>) -> Result<(), DriverError> {
        let facts = self.found.borrow().clone();
        for fact in facts {
            let told = skb.assert_clause(&fact).await;
            told.map_err(|error| DriverError::NoAnswer(fact, error))?;
        }
        Ok(())
    }

    /// What is in each of some slots; `None` for one that another device's driver has, or that is
    /// nowhere, which is noted. Who looks is gone then.
    async fn look_at(
        &self,
        start: &Start,
        some: &[Slot],
    ) -> Result<Vec<Option<Content>>, DriverError> {
        // Registers of others aren't looked at.
        let mut free = Vec::new();
        for slot in some {
            let taken = self
                .state
                .ledger
                .borrow_mut()
                .take(&slot.path, &[slot.registers]);
            match taken {
                Ok(()) => free.push(slot.clone()),
                Err(by) => {
                    let mut inventory = self.state.inventory.borrow_mut();
                    inventory.set(&slot.path, None, DeviceState::Taken { by });
                }
            }
        }
        let looked = self.look_at_free(start, &free).await;
        for slot in &free {
            self.state.ledger.borrow_mut().give_back(&slot.path);
        }
        let mut contents = looked?.into_iter();
        let content = |slot: &Slot| {
            let is_free = free.iter().any(|it| it.path == slot.path);
            is_free.then(|| contents.next().flatten()).flatten()
        };
        Ok(some.iter().map(content).collect())
    }

    async fn look_at_free(
        &self,
        start: &Start,
        free: &[Slot],
    ) -> Result<Vec<Option<Content>>, DriverError> {
        let arranged = slots::arrange(free, PAGE_SIZE);
        let places = arranged.places.iter().flatten();
        let needs = Needs {
            numbers: (0..arranged.registers.len()).collect(),
            names: places.map(ToString::to_string).collect(),
            registers: arranged.registers,
            ..Needs::default()
        };
        let domain = self.state.inventory.borrow().domain_name(SLOTS_DRIVER);
        // Held until the domain has its copies.
        let Handing {
            program,
            frames: _frames,
        } = self.hand(start, &needs, &domain)?;
        let ended = Event::new();
        *self.state.last.borrow_mut() = (domain.clone(), ended.clone());
        let launched = start.launch(SLOTS_DRIVER, program).await;
        launched.map_err(DriverError::Start)?;
        let name = slots_name(&domain);
        let served = race(start.client_of(&name, &domain), ended.wait());
        let contents = match served.await {
            Either::First(client) => {
                let client: SlotsClient<Lmp> =
                    client.map_err(|error| DriverError::Service(SLOTS_DRIVER, error))?;
                client.look().await.map_err(DriverError::Slot)
            }
            Either::Second(()) => Err(DriverError::Service(SLOTS_DRIVER, RtError::NoService)),
        };
        // It has what drivers are to get; its name may be used again.
        let _ = time::timeout(PATIENCE, ended.wait()).await;
        start.forget_service(&name);
        let mut contents = contents?.into_iter();
        let content = |place: &Option<_>| place.as_ref().and_then(|_| contents.next());
        Ok(arranged.places.iter().map(content).collect())
    }

    /// Starts the driver of a function on the bus of the driver called `domain`.
    async fn drive(
        &self,
        start: &Start,
        skb: &SkbClient<Lmp>,
        domain: &str,
        function: &Planned,
    ) -> Result<(), DriverError> {
        let service = |error| DriverError::Service(BUS_DRIVER, error);
        let bus = start.client_of(&host_name(domain), domain).await;
        let bus: PciClient<Lmp> = bus.map_err(service)?;
        let endpoint = bus.function(&function.path).await;
        let endpoint = OwnedCap::received(endpoint.map_err(DriverError::Bus)?);
        let client = bind(endpoint.address()).await.map_err(service)?;
        self.state.keep_function(&function.path, client);
        let needs = Needs::of_function(skb, function, endpoint, bus).await?;
        self.start_with(start, function, &needs).await.map(|_| ())
    }

    /// A knowledge base has been started anew: the drivers of buses tell it what is there.
    pub(crate) async fn tell_again(&self, start: &Start) {
        if !self.found.borrow().is_empty() {
            let told = match skb(start).await {
                Ok(skb) => self.tell_found(&skb).await,
                Err(error) => Err(error),
            };
            if let Err(error) = told {
                println!("init: virtio devices: {error}");
            }
        }
        let domains = self.state.inventory.borrow().domains_of(BUS_DRIVER);
        for domain in domains {
            if let Err(error) = publish(start, &domain).await {
                println!("init: {domain}: {error}");
            }
        }
    }

    /// Has the knowledge base read what its owner has put on the card, if there is one.
    pub(crate) async fn read_boot_rules(&self, start: &Start) {
        if !start.is_served(service::FILES) {
            return;
        }
        let read = match skb(start).await {
            Ok(skb) => skb.read_boot_rules().await,
            // It is told elsewhere.
            Err(_) => return,
        };
        if let Err(error) = read {
            println!("init: boot.pl on the card: {error}");
        }
    }

    async fn plan_all(&self, start: &Start) -> Result<(), DriverError> {
        let skb = skb(start).await?;
        for solution in solve(&skb, plan::DEVICES).await? {
            let device = Planned::read(&solution)
                .ok_or_else(|| DriverError::Unreadable(plan::DEVICES.to_string()))?;
            let state = match device.plan {
                Plan::None | Plan::Bus => DeviceState::NoDriver,
                Plan::Absent => DeviceState::NotInArchive,
                Plan::Kernel => DeviceState::Kernel,
                Plan::First | Plan::Console => self.state_before(start, &skb, &device).await,
                Plan::Asked => {
                    let module = device.module.as_deref();
                    let mut inventory = self.state.inventory.borrow_mut();
                    // Its place in the list.
                    inventory.set(&device.path, module, DeviceState::NoDriver);
                    self.asked.borrow_mut().push(device);
                    continue;
                }
                Plan::Slot => {
                    self.has_slots.set(true);
                    DeviceState::NoDriver
                }
                Plan::Start => match self.start_driver(start, &skb, &device).await {
                    Ok(_) => continue,
                    Err(error) => {
                        println!("init: {}: {error}", device.path);
                        error.into()
                    }
                },
            };
            let mut inventory = self.state.inventory.borrow_mut();
            match (&state, &device.module) {
                // Who looks at it doesn't drive it.
                _ if device.plan == Plan::Slot => inventory.set(&device.path, None, state),
                (DeviceState::Running, Some(module)) => {
                    inventory.runs(&device.path, module, module);
                }
                (_, module) => inventory.set(&device.path, module.as_deref(), state),
            }
        }
        Ok(())
    }

    /// How it stands with a device whose driver was started before, if it was.
    async fn state_before(
        &self,
        start: &Start,
        skb: &SkbClient<Lmp>,
        device: &Planned,
    ) -> DeviceState {
        let is_running = match device.plan {
            Plan::Console => self.console.as_ref() == Some(&device.path),
            _ => start.has_interrupts(),
        };
        match (is_running, device.plan) {
            (true, _) => {
                if let Ok(needs) = Needs::of(skb, device).await {
                    // Its driver has them, whatever another node says of the same registers.
                    let mut ledger = self.state.ledger.borrow_mut();
                    let _ = ledger.take(&device.path, &needs.registers);
                }
                DeviceState::Running
            }
            (false, Plan::Console) => DeviceState::NotConsole,
            (false, _) => DriverError::Service(service::INTERRUPTS, RtError::NoService).into(),
        }
    }

    /// Starts the driver of `device`, which has nothing if that fails; gives its domain's name.
    async fn start_driver(
        &self,
        start: &Start,
        skb: &SkbClient<Lmp>,
        device: &Planned,
    ) -> Result<String, DriverError> {
        let needs = Needs::of(skb, device).await?;
        self.start_with(start, device, &needs).await
    }

    /// The same, with what it needs.
    async fn start_with(
        &self,
        start: &Start,
        device: &Planned,
        needs: &Needs,
    ) -> Result<String, DriverError> {
        let module = device.module.as_deref().unwrap_or_default();
        let taken = self
            .state
            .ledger
            .borrow_mut()
            .take(&device.path, &needs.registers);
        taken.map_err(DriverError::Taken)?;
        let domain = self.state.inventory.borrow().domain_name(module);
        let services = needs.services.clone();
        if let Err(error) = self.launch(start, device, needs, module, &domain).await {
            self.state.take_back(&device.path).await;
            return Err(error);
        }
        let ended = Event::new();
        *self.state.last.borrow_mut() = (domain.clone(), ended.clone());
        {
            let mut inventory = self.state.inventory.borrow_mut();
            inventory.runs(&device.path, module, &domain);
        }
        self.started.borrow_mut().push(domain.clone());
        for name in &services {
            self.await_service(start, name, &domain, &ended).await;
        }
        Ok(domain)
    }

    /// Waits until the driver in `domain` serves under `name`, or has ended, so that whoever waits for
    /// the drivers finds the service. If somebody serves so already, it can only end.
    async fn await_service(&self, start: &Start, name: &str, domain: &str, ended: &Event) {
        if start.is_served(name) {
            // One that goes on all the same has told why.
            let _ = time::timeout(PATIENCE, ended.wait()).await;
            return;
        }
        let outcome = race(start.endpoint_of(name, domain), ended.wait());
        if let Either::First(Ok(_)) = outcome.await {
            let mut services = self.state.services.borrow_mut();
            services.insert(domain.to_string(), name.to_string());
        }
    }

    /// The program of a driver, with the registers that it needs.
    fn hand(&self, start: &Start, needs: &Needs, domain: &str) -> Result<Handing, DriverError> {
        let mut program = start
            .service(domain)
            .arguments(&needs.names)
            .home_bytes(SMALL_HOME_BYTES)
            .ram_bytes(DRIVER_BYTES);
        let mut frames = Vec::new();
        for (&index, region) in needs.numbers.iter().zip(&needs.registers) {
            let region = PhysRegion {
                base: region.base,
                bytes: region.bytes,
            };
            let registers = self.state.registers_at(region);
            let registers = registers.map_err(DriverError::Registers)?;
            program = program
                .capability(&handover::registers_of(index), registers.frame.address())
                .word(&handover::offset_of(index), registers.offset)
                .word(&handover::bytes_of(index), registers.bytes);
            frames.push(registers);
        }
        Ok(Handing { program, frames })
    }

    async fn launch(
        &self,
        start: &Start,
        device: &Planned,
        needs: &Needs,
        module: &str,
        domain: &str,
    ) -> Result<(), DriverError> {
        let Handing {
            mut program,
            frames,
        } = self.hand(start, needs, domain)?;
        if let Some(table) = &needs.table {
            hand_over_table(device, needs, &frames, table).await;
        }
        if let Some(function) = &needs.function {
            program = program.capability(handover::FUNCTION, function.address());
        }
        if let Some(memory) = needs.memory.first() {
            let shared = Shared::new(start, memory).await?;
            program = program.capability(handover::DMA, shared.frame.address());
            let mut all = self.state.shared.borrow_mut();
            all.insert(device.path.clone(), shared);
        }
        program = self.claim_interrupts(start, device, needs, program).await?;
        let launched = start.launch(module, program).await;
        launched.map_err(DriverError::Start)?;
        let mut all = self.state.registers.borrow_mut();
        all.insert(device.path.clone(), frames);
        Ok(())
    }

    /// Claims the device's interrupts, and has the program handed them.
    async fn claim_interrupts(
        &self,
        start: &Start,
        device: &Planned,
        needs: &Needs,
        mut program: Program,
    ) -> Result<Program, DriverError> {
        for (index, (intid, IsEdge(is_edge))) in needs.interrupts.iter().enumerate() {
            if *intid < FIRST_SHARED {
                continue;
            }
            let interrupts = self.interrupts(start).await?;
            let trigger = if *is_edge {
                Trigger::Edge
            } else {
                Trigger::Level
            };
            let source = interrupts
                .claim(*intid, trigger)
                .await
                .map_err(|error| DriverError::Interrupt(*intid, error))?;
            let source = OwnedCap::received(source);
            program = program.capability(&handover::interrupt_of(index), source.address());
            let claimed = Claimed {
                intid: *intid,
                source,
            };
            let mut all = self.state.claimed.borrow_mut();
            all.entry(device.path.clone()).or_default().push(claimed);
        }
        Ok(program)
    }

    async fn interrupts(&self, start: &Start) -> Result<InterruptsClient<Lmp>, DriverError> {
        if let Some(known) = &*self.state.interrupts.borrow() {
            return Ok(known.clone());
        }
        let client: InterruptsClient<Lmp> = connect(start, service::INTERRUPTS).await?;
        *self.state.interrupts.borrow_mut() = Some(client.clone());
        Ok(client)
    }

    /// A program has ended: if it was a driver, its device is free again, and nobody finds what it
    /// served.
    pub(crate) async fn driver_ended(&self, start: &Start, domain: &str, how: End) {
        let served = self.state.services.borrow_mut().remove(domain);
        if let Some(name) = served {
            start.forget_service(&name);
        }
        self.state.tell_end(domain);
        let paths = self.state.inventory.borrow_mut().ended(domain, how);
        for path in paths {
            self.state.take_back(&path).await;
        }
    }
}

impl State {
    /// The registers at `region`; a driver may have others in the same pages.
    fn registers_at(&self, region: PhysRegion) -> Result<machine::Registers, RtError> {
        let pages = machine::pages(region)?;
        let all = self.registers.borrow();
        match all.values().flatten().find(|it| it.pages == pages) {
            Some(known) => known.beside(region),
            None => machine::registers(region),
        }
    }

    /// Keeps a function, to stop it when its driver has ended.
    fn keep_function(&self, address: &str, function: FunctionClient<Lmp>) {
        let mut all = self.functions.borrow_mut();
        all.insert(String::from(address), function);
    }

    /// Whoever waits for the driver in `domain` waits no longer.
    fn tell_end(&self, domain: &str) {
        let last = self.last.borrow();
        if last.0 == domain {
            last.1.set();
        }
    }

    /// Frees what the driver of the device at `path` had.
    async fn take_back(&self, path: &str) {
        let claimed = self.claimed.borrow_mut().remove(path);
        let interrupts = self.interrupts.borrow().clone();
        for Claimed { intid, source } in claimed.unwrap_or_default() {
            drop(source);
            if let Some(interrupts) = &interrupts {
                // It stays off otherwise.
                let _ = interrupts.release(intid).await;
            }
        }
        let function = self.functions.borrow_mut().remove(path);
        if let Some(function) = function {
            // If its bus's driver has ended, nobody can.
            let _ = function.disable().await;
        }
        self.shared.borrow_mut().remove(path);
        self.registers.borrow_mut().remove(path);
        self.ledger.borrow_mut().give_back(path);
    }
}

impl Shared {
    async fn new(start: &Start, memory: &SharedMemory) -> Result<Self, DriverError> {
        let service: MemoryClient<Lmp> = connect(start, service::MEMORY).await?;
        let reached = Within {
            end: memory.end,
            ..Within::node(ANY_NODE)
        };
        let ram = service
            .allocate_within(memory.bytes, PAGE_SIZE, reached)
            .await
            .map_err(DriverError::Memory)?;
        let ram = OwnedCap::received(ram);
        let frame = OwnedCap::make(|to| {
            let kind = ObjectType::Frame;
            let source = ram.reference();
            sys::cspace::retype(
                sys::cspace::OWN,
                to.into(),
                source,
                kind,
                0,
                memory.bytes,
                1,
            )
        });
        let frame = frame.map_err(|error: RtError| DriverError::Start(error.into()))?;
        Ok(Self { frame, _ram: ram })
    }
}

/// A driver's program, and the registers that it is handed.
struct Handing {
    program: Program,
    frames: Vec<machine::Registers>,
}

/// What a driver of a device is to get.
#[derive(Default)]
struct Needs {
    /// One, or none.
    memory: Vec<SharedMemory>,
    registers: Vec<Region>,
    /// Of each of them, by which number the driver knows it.
    numbers: Vec<usize>,
    interrupts: Vec<(u32, IsEdge)>,
    names: Vec<String>,
    /// A PCI function's own.
    function: Option<OwnedCap>,
    /// Who is to have the registers that its table of message interrupts is in, and their number.
    table: Option<(PciClient<Lmp>, usize)>,
    /// What its driver serves.
    services: Vec<String>,
}

impl Needs {
    async fn of(skb: &SkbClient<Lmp>, device: &Planned) -> Result<Self, DriverError> {
        let registers = read(skb, &device.registers_goal(), plan::registers).await?;
        Ok(Self {
            numbers: (0..registers.len()).collect(),
            registers,
            function: None,
            table: None,
            interrupts: read(skb, &device.interrupts_goal(), plan::interrupt).await?,
            names: read(skb, &device.names_goal(), plan::name).await?,
            memory: read(skb, &device.memory_goal(), plan::memory).await?,
            services: read(skb, &device.services_goal(), plan::name).await?,
        })
    }

    /// What the driver of a PCI function is to get, which `endpoint` reaches.
    async fn of_function(
        skb: &SkbClient<Lmp>,
        function: &Planned,
        endpoint: OwnedCap,
        bus: PciClient<Lmp>,
    ) -> Result<Self, DriverError> {
        let table = read(skb, &function.table_goal(), plan::table).await?;
        let bars = read(skb, &function.bars_goal(), plan::bar).await?;
        let (numbers, registers) = bars.into_iter().unzip();
        Ok(Self {
            memory: Vec::new(),
            registers,
            numbers,
            interrupts: Vec::new(),
            names: Vec::new(),
            function: Some(endpoint),
            table: table.first().map(|&bar| (bus, bar)),
            services: read(skb, &function.services_goal(), plan::name).await?,
        })
    }
}

/// The knowledge base. It waits until all is known that whoever comes by its other name asks for.
async fn skb(start: &Start) -> Result<SkbClient<Lmp>, DriverError> {
    connect(start, service::PCI_FACTS).await
}

/// Hands frames that make interrupts of messages to the interrupt service.
async fn hand_over_frames(start: &Start, skb: &SkbClient<Lmp>) -> Result<(), DriverError> {
    let frames = read(skb, plan::MESSAGE_FRAMES, MessageFrame::read).await?;
    if frames.is_empty() || !start.has_interrupts() {
        return Ok(());
    }
    let interrupts: InterruptsClient<Lmp> = connect(start, service::INTERRUPT_CONTROLLERS).await?;
    for frame in frames {
        let region = PhysRegion {
            base: frame.registers.base,
            bytes: frame.registers.bytes,
        };
        let registers = machine::registers(region).map_err(DriverError::Registers)?;
        let info = FrameInfo {
            offset: registers.offset,
            first: frame.first,
            count: frame.count,
        };
        let copy = Cap::copy(registers.frame.address());
        // Functions whose messages it would take interrupt by their pins.
        if let Err(error) = interrupts.add_frame(&frame.path, copy, info).await {
            println!("init: {}: {error}", frame.path);
        }
    }
    Ok(())
}

/// Hands the registers that a function's table of message interrupts is in to its bus's driver.
async fn hand_over_table(
    device: &Planned,
    needs: &Needs,
    frames: &[machine::Registers],
    (bus, table): &(PciClient<Lmp>, usize),
) {
    let place = needs.numbers.iter().position(|number| number == table);
    let Some(registers) = place.and_then(|place| frames.get(place)) else {
        // They found no room.
        return;
    };
    let copy = Cap::copy(registers.frame.address());
    let handed = bus.table(&device.path, copy, registers.offset, registers.bytes);
    if let Err(error) = handed.await {
        // It interrupts by its pin.
        println!("init: {}: no message interrupts: {error}", device.path);
    }
}

/// Has the driver called `domain` tell the knowledge base what is on its bus.
async fn publish(start: &Start, domain: &str) -> Result<Found, DriverError> {
    let service = |error| DriverError::Service(BUS_DRIVER, error);
    let driver = start.client_of(&host_name(domain), domain).await;
    let driver: PciClient<Lmp> = driver.map_err(service)?;
    let facts = start.endpoint(service::PCI_FACTS).await.map_err(service)?;
    let found = driver.publish(Cap::copy(facts.address())).await;
    found.map_err(DriverError::Bus)
}

async fn connect<C: Client<Lmp>>(start: &Start, name: &'static str) -> Result<C, DriverError> {
    let client = start.client(name).await;
    client.map_err(|error| DriverError::Service(name, error))
}

/// All solutions of `goal`, read by `one`.
async fn read<T>(
    skb: &SkbClient<Lmp>,
    goal: &str,
    one: impl Fn(&Solution) -> Option<T>,
) -> Result<Vec<T>, DriverError> {
    let solutions = solve(skb, goal).await?;
    let all: Option<_> = solutions.iter().map(one).collect();
    all.ok_or_else(|| DriverError::Unreadable(goal.to_string()))
}

/// All solutions of `goal`.
async fn solve(skb: &SkbClient<Lmp>, goal: &str) -> Result<Vec<Solution>, DriverError> {
    let solutions = skb.all(goal).await;
    solutions.map_err(|error| DriverError::NoAnswer(goal.to_string(), error))
}
