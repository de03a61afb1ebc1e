//! What each service is handed, and the order of it all.

use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::{fmt, time::Duration};

use capelin_abi::Rights;
use capelin_abi::boot::{BootInfo, ConsoleArgs, ENTRY_TICKS_WORD, HOME_ALIGNMENT, HOME_REACH};
use capelin_abi::{PAGE_SIZE, layout::slot};
use capelin_archive::{Archive, ArchiveError};
use capelin_dt::{Chosen, Console};
use capelin_idc::{Cap, Client};
use capelin_interfaces::{
    console::ConsoleClient,
    handover,
    memory::{ANY_NODE, MemoryClient, MemoryError, Within},
    monitor::MonitorClient,
    service,
};
use capelin_monitor::names::{NameService, Naming};
use capelin_rt::{
    Env, Listener, Lmp, OwnedCap, RtError, bind, boot, memory, print, println, spawn, sys, time,
};
use capelin_spawn::Program;

use crate::{
    devices::{DeviceManager, HasSkb},
    fallback, machine,
    own::{self, Region},
    programs::{Programs, StartError},
};

/// Badges of the name service: of what is started here, the shell apart; of everybody else; and of
/// the monitor, who finds private names, too.
const SYSTEM_NAMES: u64 = 1;
const PUBLIC_NAMES: u64 = 2;
const ALL_NAMES: u64 = 3;
/// Requests to the name service that may wait.
const CAPACITY: usize = 64;
/// How long a service may take to register.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long the cores may take in all; the monitors have limits of their own.
const CORES_PATIENCE: Duration = Duration::from_secs(600);
/// A service that has run so long has worked.
const LONG_LIFE: Duration = Duration::from_secs(60);
/// Before a service that worked only shortly is started anew: at first, and at most.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(10);
/// Memory that a driver starts with for its own frames, in bytes.
pub(crate) const DRIVER_BYTES: u64 = 512 << 10;
/// Home memory that a driver or the shell starts with for its own objects, in bytes: the boot
/// core's has to do for all of them.
pub(crate) const SMALL_HOME_BYTES: u64 = 128 << 10;
/// Memory that the knowledge base starts with, which fetches more by itself.
const SKB_BYTES: u64 = 1 << 20;
/// Memory that the monitor starts with, how much more for each byte of the device tree, and how
/// much more at most: it keeps the plan and the fate of each core, which takes a tree 150 bytes.
const MONITOR_BYTES: u64 = 1 << 20;
const MONITOR_BYTES_PER_BYTE: u64 = 16;
const MONITOR_BYTES_FOR_TREE: u64 = 1 << 20;
/// Memory that the shell starts with for its own frames, in bytes, and how much more for each byte
/// of the kernel's arguments, of which it makes several texts.
const SHELL_BYTES: u64 = 768 << 10;
const SHELL_BYTES_PER_BYTE: u64 = 4;
/// The module that is the shell.
const SHELL: &str = "fish";

/// Why nothing runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fatal {
    /// No CPU driver started this program.
    NotFirst,
    /// There is no module archive.
    NoArchive,
    /// The module archive is damaged.
    Archive(ArchiveError),
    /// The memory service doesn't run.
    Memory(StartError),
    /// It doesn't take the machine's memory.
    Regions(MemoryError),
    /// The shell doesn't run: nobody could ask for anything.
    Shell(StartError),
    /// The runtime, or the kernel.
    Runtime(RtError),
}

impl From<RtError> for Fatal {
    fn from(error: RtError) -> Self {
        Self::Runtime(error)
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFirst => f.write_str("not started by a CPU driver"),
            Self::NoArchive => f.write_str("there is no module archive"),
            Self::Archive(error) => write!(f, "the module archive: {error}"),
            Self::Memory(error) => write!(f, "mem_serv: {error}"),
            Self::Regions(error) => write!(f, "mem_serv: {error}"),
            Self::Shell(error) => write!(f, "{SHELL}: {error}"),
            Self::Runtime(error) => error.fmt(f),
        }
    }
}

/// What is common to the start of all services.
pub(crate) struct Start {
    pub(crate) boot: &'static BootInfo,
    /// What the device tree says of it; `None` when that can't be read, which is reported.
    chosen: Option<(Chosen, Option<Console>)>,
    programs: Programs,
    names: NameService,
    /// By which what is started here reaches the name service.
    system_names: OwnedCap,
    /// By which all other programs do.
    public_names: OwnedCap,
    /// By which the monitor does, that finds private names, too.
    all_names: OwnedCap,
    memory: Option<MemoryClient<Lmp>>,
    /// What the shell is to read.
    kernel_arguments: Option<KernelArguments>,
}

/// The kernel's arguments, in a frame: they may be longer than a program's own.
struct KernelArguments {
    frame: OwnedCap,
    bytes: u64,
}

/// Brings the system up.
///
/// # Errors
/// What nothing can go on without.
pub(crate) async fn start(env: &Env) -> Result<(), Fatal> {
    let boot = env.boot().ok_or(Fatal::NotFirst)?;
    let regions = own::divide(boot)?;
    let archive = boot::archive().ok_or(Fatal::NoArchive)?;
    let archive = Archive::parse(archive).map_err(Fatal::Archive)?;
    let names = NameService::default();
    let listener = Listener::new(CAPACITY)?;
    let system_names = listener.capability(SYSTEM_NAMES)?;
    let public_names = listener.capability(PUBLIC_NAMES)?;
    let all_names = listener.capability(ALL_NAMES)?;
    let served = names.clone();
    spawn(listener.serve(move |caller| {
        let naming = match caller.badge {
            ALL_NAMES => Naming::All,
            SYSTEM_NAMES => Naming::System,
            _ => Naming::Public,
        };
        served.serve(caller.client, caller.connection, naming)
    }));
    let chosen = boot::device_tree().map(capelin_dt::console);
    if !matches!(chosen, Some(Ok(_))) {
        println!("init: the device tree cannot be read");
    }
    let mut start = Start {
        boot,
        chosen: chosen.and_then(Result::ok),
        programs: Programs::new(archive)?,
        names,
        system_names,
        public_names,
        all_names,
        memory: None,
        kernel_arguments: None,
    };
    start.memory_service(&regions).await?;
    let has_skb = start.report("skb", start.skb().await);
    // The driver needs its interrupt; without either, output stays with the CPU driver.
    let has_driver = start.report("irqd", start.irqd().await)
        && start.report(start.driver_name(), start.console_driver().await);
    // Before the cores take what there is.
    let arguments = start.kernel_arguments().await;
    start.kernel_arguments = arguments.map_err(|error| Fatal::Shell(error.into()))?;
    start.set_aside().await?;
    let has_monitor = start.report("monitor", start.monitor(has_skb).await);
    let has_console = has_driver && start.take_console().await;
    let monitor = if has_monitor {
        start.settle().await
    } else {
        None
    };
    let console = start.console_path(has_driver);
    // Known before anybody asks for it; the drivers come after the shell, which needs none.
    let devices = DeviceManager::new(console);
    if let Err(error) = devices.serve(&start.names) {
        println!("init: no list of devices: {error}");
    }
    // It owns what the services were made of.
    let start: &'static Start = Box::leak(Box::new(start));
    let devices: &'static DeviceManager = Box::leak(Box::new(devices));
    spawn(start.keep_up(monitor.clone(), devices));
    let has_skb = if has_skb { HasSkb::Yes } else { HasSkb::No };
    let needs_console = !has_console && start.names_no_uart();
    let has_console = has_console
        || needs_console
            // What few machines need takes no room on the others.
            && Box::pin(devices.find_console(start, has_skb)).await
            && start.take_console().await;
    if !has_console && let Err(error) = fallback::serve(&start.names) {
        println!("init: no console: {error}");
    }
    start.shell().await.map_err(Fatal::Shell)?;
    if let Some(monitor) = &monitor {
        start.introduce(monitor, |name| name == SHELL).await;
    }
    if needs_console {
        start.introduce_drivers(monitor.as_ref(), devices).await;
        return Ok(());
    }
    spawn(async move {
        devices.start_drivers(start, has_skb).await;
        start.introduce_drivers(monitor.as_ref(), devices).await;
        devices.start_asked(start).await;
        start.introduce_drivers(monitor.as_ref(), devices).await;
    });
    Ok(())
}

/// How long to wait before a service is started anew, for one that has run `lifetime` and was
/// waited for `last` before: at once after a long life, else twice as long each time.
fn patience_after(lifetime: Duration, last: Duration) -> Duration {
    if lifetime >= LONG_LIFE {
        Duration::ZERO
    } else {
        (last * 2).clamp(FIRST_DELAY, LAST_DELAY)
    }
}

impl Start {
    /// Whether that went well; tells if it didn't.
    fn report(&self, name: &str, result: Result<(), StartError>) -> bool {
        if let Err(error) = &result {
            println!("init: {name} does not run: {error}");
        }
        result.is_ok()
    }

    /// A system service, with what all get. The console comes after most of them, and depends on
    /// them, so what they say goes to the kernel's log.
    pub(crate) fn service(&self, name: &str) -> Program {
        self.program(name, &self.system_names)
            .word(handover::LOG, 1)
    }

    /// A program with what all get, that finds services through `names`.
    fn program(&self, name: &str, names: &OwnedCap) -> Program {
        let mut program = Program::new(name)
            .core(u16::try_from(self.boot.kernel_id).unwrap_or(0))
            .capability(service::NAMES, names.address());
        // What init starts is what the machine can't do without: no share bounds it.
        if let Some(memory) = self.names.get(service::SYSTEM_MEMORY) {
            program = program.capability(service::MEMORY, memory.address());
        }
        program
    }

    /// Starts a module, with memory fetched for it.
    pub(crate) async fn launch(&self, name: &str, program: Program) -> Result<(), StartError> {
        let needs = self.programs.needs(name, &program)?;
        self.fetch(needs.ram).await?;
        self.fetch_home(needs.home).await?;
        self.programs.start(name, program).await
    }

    /// Sees to it that `bytes` bytes of memory can be had in one piece.
    async fn fetch(&self, bytes: u64) -> Result<(), RtError> {
        // A page more: no capability is made into one of the same type and range.
        let needed = bytes + PAGE_SIZE;
        if let Some(client) = &self.memory
            && memory::left().largest_ram < needed
        {
            let fetched = client.allocate(needed, PAGE_SIZE, ANY_NODE).await;
            let ram = fetched.map_err(|_| RtError::OutOfMemory)?;
            memory::add_ram(OwnedCap::received(ram))?;
        }
        Ok(())
    }

    /// Sees to it that `bytes` bytes of home memory can be had in one piece: those that the core
    /// starts with do for a board with few drivers. It stays home memory.
    async fn fetch_home(&self, bytes: u64) -> Result<(), RtError> {
        if let Some(client) = &self.memory
            && memory::left().largest_home < bytes
        {
            let needed = bytes.next_multiple_of(HOME_ALIGNMENT);
            let node = u32::try_from(self.boot.node).unwrap_or(ANY_NODE);
            // A kernel names its home memory by the distance from its first.
            let first = self.boot.home.base;
            let near = Within {
                node,
                from: first,
                end: first.saturating_add(HOME_REACH),
            };
            let anywhere = Within {
                node: ANY_NODE,
                ..near
            };
            let mut fetched = client.allocate_within(needed, HOME_ALIGNMENT, near).await;
            if fetched.is_err() {
                fetched = client
                    .allocate_within(needed, HOME_ALIGNMENT, anywhere)
                    .await;
            }
            let ram = OwnedCap::received(fetched.map_err(|_| RtError::OutOfHomeMemory)?);
            let home = OwnedCap::make(|to| {
                sys::kernel::adopt_home(slot::KERNEL.into(), ram.reference(), to.into())
            })?;
            memory::add_home(home)?;
            // What it was before says whose it is.
            ram.keep();
        }
        Ok(())
    }

    /// Fetches the memory for the shell and what is still to be started before it.
    ///
    /// # Errors
    /// [`Fatal::Shell`].
    async fn set_aside(&self) -> Result<(), Fatal> {
        let needed = |name: &str, program: Program| -> Result<u64, StartError> {
            Ok(self.programs.needs(name, &program)?.ram)
        };
        // A monitor that is missing is reported when it is to be started.
        let monitor = needed("monitor", self.monitor_program(true)).unwrap_or(0);
        let shell = needed(SHELL, self.shell_program()).map_err(Fatal::Shell)?;
        let both = self.fetch(monitor + shell).await;
        both.map_err(|error| Fatal::Shell(error.into()))
    }

    /// Whether somebody serves under `name`.
    pub(crate) fn is_served(&self, name: &str) -> bool {
        self.names.get(name).is_some()
    }

    /// Nobody finds the service called `name` any more.
    pub(crate) fn forget_service(&self, name: &str) {
        self.names.remove(name);
    }

    /// A client of the service called `name`, once it has registered.
    pub(crate) async fn client<C: Client<Lmp>>(&self, name: &str) -> Result<C, RtError> {
        bind(self.endpoint(name).await?.address()).await
    }

    /// As [`Start::client`], of what the program in `domain` has registered itself.
    pub(crate) async fn client_of<C: Client<Lmp>>(
        &self,
        name: &str,
        domain: &str,
    ) -> Result<C, RtError> {
        bind(self.endpoint_of(name, domain).await?.address()).await
    }

    /// As [`Start::endpoint`], of what the program in `domain` has registered itself.
    pub(crate) async fn endpoint_of(&self, name: &str, domain: &str) -> Result<Cap, RtError> {
        let client = self.programs.client(domain).ok_or(RtError::NoService)?;
        let endpoint = time::timeout(PATIENCE, self.names.wait_of(name, client)).await;
        endpoint.map_err(|_| RtError::NoService)
    }

    /// What is registered under `name`, once it is.
    pub(crate) async fn endpoint(&self, name: &str) -> Result<Cap, RtError> {
        let endpoint = time::timeout(PATIENCE, self.names.wait(name)).await;
        endpoint.map_err(|_| RtError::NoService)
    }

    async fn memory_service(&mut self, regions: &[Region]) -> Result<(), Fatal> {
        let program = own::prepare(self.service("mem_serv"), self.boot);
        let started = self.launch("mem_serv", program).await;
        started.map_err(Fatal::Memory)?;
        let client: MemoryClient<Lmp> = self.client(service::SYSTEM_MEMORY).await?;
        for region in regions {
            // Whoever gets memory may take it back from those to whom it goes on.
            let ram = Cap::copy(region.cap).keep_revoke();
            let added = client.add(ram, region.node).await;
            added.map_err(Fatal::Regions)?;
        }
        self.memory = Some(client);
        // Others find it, too, from now on.
        self.endpoint(service::MEMORY).await?;
        Ok(())
    }

    async fn skb(&self) -> Result<(), StartError> {
        let modules = self.programs.modules();
        let sizes = modules.map(|module| format!("{}={}", module.name(), module.data().len()));
        let program = self
            .service("skb")
            .ram_bytes(SKB_BYTES)
            .capability(handover::DEVICE_TREE, slot::DEVICE_TREE)
            .word(handover::MPIDR, self.boot.mpidr)
            .arguments(sizes);
        self.launch("skb", program).await
    }

    /// Starts services anew that have ended and keep nothing that would be lost: the knowledge
    /// base, which finds all its facts in the device tree and the list of modules again.
    async fn keep_up(
        &'static self,
        monitor: Option<MonitorClient<Lmp>>,
        devices: &'static DeviceManager,
    ) {
        let (mut started, mut delay) = (time::now(), Duration::ZERO);
        loop {
            let ended = self.programs.next_end().await;
            devices.driver_ended(self, &ended.name, ended.how).await;
            if ended.name != service::SKB {
                self.retire(&ended.name);
                continue;
            }
            self.names.remove(service::SKB);
            self.names.remove(service::PCI_FACTS);
            let lifetime = time::to_duration(time::now().saturating_sub(started));
            delay = patience_after(lifetime, delay);
            time::sleep(delay).await;
            started = time::now();
            if self.report("skb", self.skb().await) {
                println!("init: skb has been started again");
                devices.tell_again(self).await;
                devices.read_boot_rules(self).await;
            }
            if let Some(monitor) = &monitor {
                self.introduce(monitor, |name| name == service::SKB).await;
            }
        }
    }

    /// A service that holds what nobody else knows has ended: nobody finds it any more, and what
    /// that means is said. Others go on with what they have.
    fn retire(&self, name: &str) {
        let (registered, consequence): (&[&str], &str) = match name {
            "mem_serv" => (
                &[service::MEMORY, service::SYSTEM_MEMORY],
                "nothing that needs new memory can be started any more",
            ),
            "monitor" => (
                &[service::MONITOR, service::SYSTEM],
                "this core starts no programs any more, and hears from no other core",
            ),
            _ => return,
        };
        registered.iter().for_each(|name| self.names.remove(name));
        println!("init: without {name}, {consequence}: the machine has to be started again");
    }

    async fn monitor(&self, has_skb: bool) -> Result<(), StartError> {
        self.launch("monitor", self.monitor_program(has_skb)).await
    }

    fn monitor_program(&self, has_skb: bool) -> Program {
        let tree = boot::device_tree().map_or(0, <[u8]>::len) as u64;
        let for_tree = tree.saturating_mul(MONITOR_BYTES_PER_BYTE);
        let bytes = MONITOR_BYTES + for_tree.min(MONITOR_BYTES_FOR_TREE);
        self.service("monitor")
            .capability(handover::KERNEL, slot::KERNEL)
            .capability(handover::ARCHIVE, slot::ARCHIVE)
            .capability(handover::BOOT_INFO, slot::BOOT_INFO)
            .capability(handover::PUBLIC_NAMES, self.public_names.address())
            .capability(handover::PRIVATE_NAMES, self.all_names.address())
            .word(handover::HAS_SKB, u64::from(has_skb))
            // The kernel keeps some of what a power of two would leave.
            .home_bytes((1 << 20) - (128 << 10))
            .ram_bytes(bytes)
    }

    async fn irqd(&self) -> Result<(), StartError> {
        let registers = machine::registers(self.boot.gic.distributor)?;
        let program = self
            .service("irqd")
            .capability(handover::DISTRIBUTOR, registers.frame.address())
            // It takes back what it gave to clients that are gone.
            .capability_with(handover::IRQ, slot::IRQ, Rights::all())
            .word(handover::MPIDR, self.boot.mpidr)
            .word(handover::GIC_VERSION, u64::from(self.boot.gic.version))
            .word(handover::OFFSET, registers.offset)
            .home_bytes(SMALL_HOME_BYTES)
            .ram_bytes(DRIVER_BYTES);
        self.launch("irqd", program).await
    }

    /// The module that drives the console's device.
    fn driver_name(&self) -> &'static str {
        match self.boot.console.kind {
            ConsoleArgs::PL011 => "pl011",
            ConsoleArgs::NS16550 => "ns16550",
            _ => "a console driver",
        }
    }

    /// Whether the interrupt service runs.
    pub(crate) fn has_interrupts(&self) -> bool {
        self.names.get(service::INTERRUPTS).is_some()
    }

    /// Whether there is no device that a UART's driver could drive as the console: the tree names none,
    /// or one that is unknown.
    fn names_no_uart(&self) -> bool {
        ![ConsoleArgs::PL011, ConsoleArgs::NS16550].contains(&self.boot.console.kind)
    }

    /// The path of the console's device, if it has a driver that runs.
    fn console_path(&self, has_driver: bool) -> Option<String> {
        let (_, console) = self.chosen.as_ref()?;
        let console = console.as_ref().filter(|_| has_driver)?;
        Some(console.path.clone())
    }

    /// The driver of the console that the CPU driver writes to. Without one, output goes through
    /// the CPU driver's.
    async fn console_driver(&self) -> Result<(), StartError> {
        let args = &self.boot.console;
        if self.names_no_uart() {
            return Err(StartError::NoConsole);
        }
        if args.intid == 0 {
            return Err(StartError::NoInterrupt);
        }
        let registers = machine::registers(args.registers)?;
        let console = self
            .chosen
            .as_ref()
            .and_then(|(_, console)| console.as_ref());
        let is_edge = console
            .and_then(|console| console.interrupts.iter().find(|one| one.intid.is_some()))
            .is_some_and(|interrupt| interrupt.trigger.is_edge());
        let compatible = console.map(|console| console.compatible.as_slice());
        let program = self
            .service(self.driver_name())
            .capability(handover::REGISTERS, registers.frame.address())
            .word(handover::OFFSET, registers.offset)
            .word(handover::BYTES, registers.bytes)
            .word(handover::INTID, u64::from(args.intid))
            .word(handover::EDGE, u64::from(is_edge))
            .word(handover::REGISTER_SHIFT, u64::from(args.register_shift))
            .word(handover::ACCESS_BYTES, u64::from(args.access_bytes))
            .arguments(compatible.unwrap_or_default())
            .home_bytes(SMALL_HOME_BYTES)
            .ram_bytes(DRIVER_BYTES);
        self.launch(self.driver_name(), program).await
    }

    /// From now on the driver writes the console, and the CPU driver doesn't. Whether that is so.
    async fn take_console(&self) -> bool {
        let console: Result<ConsoleClient<Lmp>, _> = self.client(service::CONSOLE).await;
        match console {
            Ok(console) => {
                if let Err(error) = sys::kernel::release_console(sys::kernel::OWN) {
                    println!("init: the CPU driver keeps the console: {error}");
                }
                print::to_console(console);
                true
            }
            Err(error) => {
                println!("init: no console driver: {error}");
                false
            }
        }
    }

    /// Tells the monitor what runs already, and waits for the cores.
    async fn settle(&self) -> Option<MonitorClient<Lmp>> {
        let monitor: MonitorClient<Lmp> = match self.client(service::MONITOR).await {
            Ok(monitor) => monitor,
            Err(error) => {
                println!("init: no monitor: {error}");
                return None;
            }
        };
        self.introduce(&monitor, |_| true).await;
        match time::timeout(CORES_PATIENCE, monitor.settled()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => println!("init: the other cores: {error}"),
            Err(error) => println!("init: the other cores: {error}"),
        }
        Some(monitor)
    }

    /// Tells the monitor of the programs whose names `which` picks, so that it lists them.
    async fn introduce(&self, monitor: &MonitorClient<Lmp>, which: impl Fn(&str) -> bool) {
        let mut known = Vec::new();
        self.programs.for_each(|domain| {
            if !which(domain.name()) {
                return;
            }
            let parts = (
                String::from(domain.name()),
                domain.memory_bytes(),
                OwnedCap::copy_of(domain.dispatcher().address()),
                OwnedCap::copy_of(domain.cspace().address()),
            );
            known.push(parts);
        });
        for (name, bytes, dispatcher, cspace) in known {
            let (Ok(dispatcher), Ok(cspace)) = (dispatcher, cspace) else {
                continue;
            };
            // A domain that isn't listed runs all the same.
            if let Ok(id) = monitor.adopt(&name, bytes, dispatcher.give()).await {
                let _ = monitor.adopt_cspace(id, cspace.give()).await;
            }
        }
    }

    /// Tells the monitor of the drivers that have been started meanwhile.
    async fn introduce_drivers(
        &self,
        monitor: Option<&MonitorClient<Lmp>>,
        devices: &DeviceManager,
    ) {
        if let Some(monitor) = monitor {
            let started = devices.take_started();
            self.introduce(monitor, |name| started.iter().any(|one| one == name))
                .await;
        }
    }

    async fn shell(&self) -> Result<(), StartError> {
        self.launch(SHELL, self.shell_program()).await
    }

    fn shell_program(&self) -> Program {
        let entry_ticks = self.boot.monitor_words[ENTRY_TICKS_WORD];
        let program = self.program(SHELL, &self.public_names);
        let program = program.home_bytes(SMALL_HOME_BYTES);
        let program = program.word(handover::ENTRY_TICKS, entry_ticks);
        let Some(arguments) = &self.kernel_arguments else {
            return program.ram_bytes(SHELL_BYTES);
        };
        program
            .capability_with(
                handover::KERNEL_ARGUMENTS,
                arguments.frame.address(),
                Rights::READ,
            )
            .word(handover::BYTES, arguments.bytes)
            .ram_bytes(SHELL_BYTES + SHELL_BYTES_PER_BYTE * arguments.bytes)
    }

    /// A frame with the kernel's arguments; `None` when there are none.
    async fn kernel_arguments(&self) -> Result<Option<KernelArguments>, RtError> {
        let chosen = self.chosen.as_ref().map(|(chosen, _)| chosen);
        let text = chosen.and_then(|chosen| chosen.bootargs.as_deref());
        let text = text.unwrap_or_default().as_bytes();
        if text.is_empty() {
            return Ok(None);
        }
        let bytes = text.len() as u64;
        let mut frame = memory::frame(bytes).await?.map()?;
        if let Some(start) = frame.as_mut_slice().get_mut(..text.len()) {
            start.copy_from_slice(text);
        }
        let (frame, _) = frame.unmap().into_shared();
        Ok(Some(KernelArguments { frame, bytes }))
    }
}
