//! From the entry code to the first dispatcher.
//!
//! Five conditions, in this order; each is discharged by the function of its number,
//! and the later ones rest on the earlier ones:
//! 1. [`read_arguments`]: the arguments are sound. They are read through the entry map,
//!    in the same 2 MiB block as the image.
//! 2. [`make_map`]: the core runs on a map of its own, where W^X holds and every fault
//!    reaches the vectors. Until then the entry code's vectors serve (`entry.S`); the
//!    change is [`capelin_aarch64::mmu::replace_kernel_root`]'s, and the entry map is
//!    emptied. No device has been touched.
//! 3. [`identify`]: the console is known, so that what is wrong from here on is said,
//!    and this is the core that the arguments are for.
//! 4. [`start_devices`]: interrupt controller, which is what the device tree says it
//!    is, and timer.
//! 5. [`make_state`]: the state is installed in home memory, with the first domain in
//!    it, and the core can leave for EL0.

#![expect(unsafe_code, reason = "reads the arguments, makes the per-core tokens")]

use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use capelin_aarch64::console::EarlyConsole;
use capelin_aarch64::control::Control;
use capelin_aarch64::gic::{self, Gic, GicMapping};
use capelin_aarch64::midr::Midr;
use capelin_aarch64::psci::Psci;
use capelin_aarch64::speculation::{self, Entry};
use capelin_aarch64::timer::Timer;
use capelin_aarch64::{atomic, cpu, errata, fp, mmu};
use capelin_abi::boot::{ARGS_MAGIC, ArgsError, CoreArgs, Mitigations, PhysRegion};
use capelin_abi::capability::KCB_BYTES;
use capelin_abi::syscall::KernelCounter;
use capelin_abi::{KernelId, Mpidr, PAGE_SIZE, PhysAddr, VirtAddr};
use capelin_cap::{Database, Looking};
use capelin_peers::{Home, PeerTable};
use capelin_vspace::Permissions;

use crate::address::{DEVICES, IMAGE, linear};
use crate::board::Board;
use crate::boot_error::BootError;
use crate::bump::Bump;
use crate::early_console::{self, say};
use crate::entry::{SCTLR, SCTLR_WXN};
use crate::first_domain;
use crate::image::{self, image_bytes};
use crate::map::KernelMap;
use crate::memory::{self, Objects, Slots};
use crate::per_core::{Core, install, log_buffer};
use crate::trap;
use capelin_kernel::invoke::ARGS_USED;
use capelin_kernel::kcb::{ControlBlock, Kcb};
use capelin_kernel::log::Log;
use capelin_kernel::narrow::{index, low16};

/// Entered from `entry.S` at the linked address, on the boot stack, with the
/// home memory's base, the counter at entry and the physical base of text and constants.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(home: u64, entry_ticks: u64, text: u64) -> ! {
    let image = Image {
        home: PhysAddr(home),
        text: PhysAddr(text),
    };
    match start(image, entry_ticks) {
        // SAFETY: `start` installed the state and the vectors, and made the first
        // dispatcher current.
        Ok(()) => unsafe { trap::leave() },
        Err(error) => {
            // The runner and a board's owner look for this word: without its first
            // core the machine doesn't come up. Any other core is missed alone.
            let fatal = if IS_BOOT_CORE.load(Ordering::Relaxed) {
                "fatal: "
            } else {
                ""
            };
            say(format_args!("{fatal}CPU driver: cannot start: {error}"));
            cpu::halt()
        }
    }
}

/// Where the image is that this core runs.
#[derive(Clone, Copy)]
struct Image {
    /// Where it would begin in this core's home memory: all that is written is there.
    home: PhysAddr,
    /// Where text and constants are: there, or in the home memory of the core whose text
    /// this one shares.
    text: PhysAddr,
}

/// Whether firmware started this core.
static IS_BOOT_CORE: AtomicBool = AtomicBool::new(false);

fn check(args: &CoreArgs, home: PhysAddr, image_bytes: u64) -> Result<(), BootError> {
    let bad = |what| Err(BootError::Arguments(what));
    if args.magic != ARGS_MAGIC && args.magic != ARGS_USED {
        return bad("magic");
    }
    if args.abi_version != capelin_abi::ABI_VERSION {
        return bad("version");
    }
    if args.home.base != home.0 {
        return bad("home memory");
    }
    match args.used_bytes(image_bytes) {
        Err(ArgsError::Home) => return bad("home memory"),
        Err(ArgsError::Domain) => return bad("first program"),
        Err(ArgsError::Regions) => return bad("list of memory"),
        Ok(_) => {}
    }
    if args.kernel_id >= u32::from(KernelId::LIMIT) {
        return bad("kernel id");
    }
    if Mitigations::from_word(args.mitigations).is_none() {
        return bad("mitigations");
    }
    let peers = PhysAddr(args.peers.base);
    if args.peers.base == 0 || !peers.is_aligned(PAGE_SIZE) || args.peers.bytes < PeerTable::BYTES {
        return bad("table of kernels");
    }
    Ok(())
}

fn start(image: Image, entry_ticks: u64) -> Result<(), BootError> {
    let features = cpu::Features::read();
    atomic::init(&features);
    errata::init(Midr::read());
    let places = read_arguments(image.home)?;
    let mut own = make_map(image, &places, &features)?;
    let (console, mpidr) = identify(&own)?;
    let (gic, timer) = start_devices(&mut own, mpidr)?;
    make_state(own, console, gic, timer, &features, entry_ticks)
}

/// What of the arguments the map depends on.
struct Places {
    home_end: PhysAddr,
    console: PhysRegion,
    distributor: PhysRegion,
    cpu_interface: PhysRegion,
    peers: PhysAddr,
}

/// Condition 1.
fn read_arguments(home: PhysAddr) -> Result<Places, BootError> {
    let args = ptr::with_exposed_provenance::<CoreArgs>(index(IMAGE + image_bytes()));
    // SAFETY: the linker script keeps the image and one page after it inside the
    // 2 MiB block that the entry code mapped; any bits are a valid CoreArgs. The
    // reference ends before the map changes.
    let args = unsafe { &*args };
    IS_BOOT_CORE.store(args.is_boot_core != 0, Ordering::Relaxed);
    check(args, home, image_bytes())?;
    Ok(Places {
        home_end: PhysAddr(args.home.base + args.home.bytes),
        console: args.console.registers,
        distributor: args.gic.distributor,
        cpu_interface: args.gic.cpu_interface,
        peers: PhysAddr(args.peers.base),
    })
}

/// This core's map, with what is mapped there at addresses of its own.
struct OwnMap {
    image: Image,
    map: KernelMap,
    devices: DeviceSpace,
    args: &'static CoreArgs,
    peers: &'static PeerTable,
    console: VirtAddr,
    distributor: VirtAddr,
    cpu_interface: VirtAddr,
}

/// Condition 2; rests on 1.
fn make_map(image: Image, places: &Places, features: &cpu::Features) -> Result<OwnMap, BootError> {
    let arguments_page = PhysAddr(image.home.0 + image_bytes());
    // SAFETY: 1. boot runs once.
    let mut map = unsafe { KernelMap::new(image.home) };
    map_image(&mut map, image)?;
    map.map_linear(arguments_page, places.home_end)?;
    map.prepare_windows()?;
    let mut devices = DeviceSpace { next: DEVICES };
    let mut device = |region: PhysRegion, bytes| devices.map(&mut map, region.base, bytes);
    let console = device(places.console, PAGE_SIZE)?;
    let distributor = device(places.distributor, places.distributor.bytes)?;
    let cpu_interface = device(places.cpu_interface, places.cpu_interface.bytes)?;
    // SAFETY: 1. the image and the stack inside it are mapped as linked, and nothing
    // else is referred to: of the arguments, `places` is a copy. 2. The entry code
    // mapped the text at its physical address as well, and set VBAR_EL1 there.
    unsafe { map.activate(image.text, trap::vectors(Entry::Plain, None)) };
    map.forget_early_tables();
    map.map_peers(places.peers)?;
    // SAFETY: 1. mapped just now.
    let peers = unsafe { crate::doorbell_page::peers() };
    set_control(SCTLR | SCTLR_WXN, features.pan);
    // SAFETY: home memory is mapped linearly from the image's end on, the
    // arguments' page is never written again, and any bits are a valid CoreArgs.
    let args =
        unsafe { &*ptr::with_exposed_provenance::<CoreArgs>(index(linear(arguments_page).0)) };
    Ok(OwnMap {
        image,
        map,
        devices,
        args,
        peers,
        console,
        distributor,
        cpu_interface,
    })
}

/// This kernel; `check` has seen that there can be such a one.
fn kernel_id(args: &CoreArgs) -> KernelId {
    KernelId(low16(u64::from(args.kernel_id)))
}

/// Condition 3; rests on 2.
fn identify(own: &OwnMap) -> Result<(Option<EarlyConsole>, Mpidr), BootError> {
    // SAFETY: 1. `make_map` mapped it as device memory, for good.
    let console = unsafe { EarlyConsole::new(&own.args.console, own.console) };
    if let Some(console) = console {
        early_console::set(console);
    }
    let mpidr = cpu::mpidr();
    if mpidr != Mpidr(own.args.mpidr) {
        return Err(BootError::Arguments("these are another core's"));
    }
    if own.args.is_boot_core != 0 {
        // Nobody starts it who could have entered it.
        let home = Home {
            base: own.image.home,
            bytes: own.args.home.bytes,
        };
        let entered = own.peers.enter(kernel_id(own.args), mpidr, home, None);
        entered.map_err(|_| BootError::Arguments("table of kernels"))?;
    } else {
        // Before anything is taken from others; the starter may not have come to it yet.
        own.peers.announce(kernel_id(own.args));
    }
    Ok((console, mpidr))
}

/// Condition 4; rests on 2 and 3.
fn start_devices(own: &mut OwnMap, mpidr: Mpidr) -> Result<(Gic, Timer), BootError> {
    let args = own.args;
    let mut mapping = GicMapping {
        version: args.gic.version,
        distributor: own.distributor,
        cpu_interface: own.cpu_interface,
        redistributor: VirtAddr(0),
    };
    // SAFETY: 1. mapped as device memory by `make_map`. 2. It installed the vectors.
    unsafe { gic::check_version(&mapping)? };
    if args.gic.version == 3 {
        let map = &mut own.map;
        // SAFETY: 1. `peek_device` maps the page until it is called again. 2. The
        // vectors are installed.
        let at = unsafe { gic::find_redistributor(&args.gic, mpidr, |page| map.peek_device(page)) };
        map.end_peek();
        mapping.redistributor = own.devices.map(map, at?.0, gic::REDISTRIBUTOR_BYTES)?;
        capelin_aarch64::tlb::entries_made();
    }
    if args.is_boot_core != 0 {
        // SAFETY: 1. mapped above. 2. No other core runs, and boot runs once.
        unsafe { gic::distributor_init_once(&mapping, mpidr)? };
    }
    // SAFETY: 1., 2. mapped above for good, and found by this core's affinity.
    let gic = unsafe { Gic::init(&mapping)? };
    let timer = Timer::init(args.timer_is_physical != 0, args.timer_frequency);
    gic.enable(args.timer_intid)?;
    fp::trap_fp(true);
    Ok((gic, timer))
}

/// Condition 5; rests on all others.
fn make_state(
    own: OwnMap,
    console: Option<EarlyConsole>,
    gic: Gic,
    timer: Timer,
    features: &cpu::Features,
    entry_ticks: u64,
) -> Result<(), BootError> {
    let (args, image) = (own.args, own.image);
    let mpidr = Mpidr(args.mpidr);
    // SAFETY: 1. Boot runs once.
    let segments = unsafe { memory::name_home(image.home, args.home.bytes) };
    // SAFETY: 1. `make_map` mapped it. 2. Boot runs once.
    let slots = unsafe { Slots::new(segments) };
    // SAFETY: as for the slots.
    let mut objects = unsafe { Objects::new(segments) };
    let used = args.used_bytes(image_bytes());
    let used = used.map_err(|_| BootError::Arguments("home memory"))?;
    let mut bump = Bump::new(&args.home, used);
    let block = new_control_block(&mut bump, &mut objects, args, timer.frequency())?;
    let ControlBlock { kcb, database } = block;
    // SAFETY: 1. the KCB's page is never moved while this kernel runs.
    unsafe { trap::set_kcb(ptr::from_ref::<Kcb>(kcb).expose_provenance() as u64) };
    kcb.counters[KernelCounter::EntryTicks as usize] = entry_ticks;
    kcb.counters[KernelCounter::HomeBytes as usize] = args.home.bytes;
    let sgi_target = gic.own_target(mpidr);
    own.peers
        .set_gicv2_mask(kernel_id(args), sgi_target.gicv2_mask);
    let core = Core {
        kcb,
        database,
        slots,
        objects,
        machine: Board {
            map: own.map,
            gic,
            timer,
            psci: Psci::new(args.psci),
            console,
            args,
            text: image.text,
            peers: own.peers,
        },
        log: Log::new(log_buffer()),
        console_released: args.is_boot_core == 0,
        is_boot_core: args.is_boot_core != 0,
        kernel: kernel_id(args),
        mpidr,
        node: args.node,
        sgi_target,
        timer_intid: args.timer_intid,
        active_root: None,
        asid_max: if features.has_16_bit_asids {
            0xffff
        } else {
            0xff
        },
        fp_access: false,
        has_crc32: features.crc32,
        frequency: timer.frequency(),
        settled: 0,
        looking: Looking::default(),
    };
    // SAFETY: 1. boot runs once, and nothing has been lent.
    let core = unsafe { install(core) };
    core.log_line(format_args!(
        "kernel on core {mpidr}, {}, home memory {:#x} + {} KiB",
        Control::read(),
        args.home.base,
        args.home.bytes >> 10
    ));
    harden(core);
    first_domain::make(core, args, &mut bump, entry_ticks)?;
    capelin_kernel::dispatch::run_next(core, capelin_aarch64::timer::now());
    Ok(())
}

/// Chooses the vectors by what this core may reveal, and says which core it is and what is
/// done about its faults.
fn harden(core: &mut Core) {
    let identity = speculation::Identity::read();
    let psci = core.machine.psci;
    let wanted = Mitigations::from_word(core.machine.args.mitigations).unwrap_or_default();
    let choice = speculation::choose(wanted, &identity, || psci.speculation());
    if let Some(function) = choice.at_start {
        psci.keep_loads_behind_stores(function);
    }
    // SAFETY: 1. All tables are the kernel's, and their entries from EL1 the same.
    unsafe { mmu::set_vectors(trap::vectors(choice.entry, psci.conduit())) };
    let midr = identity.midr;
    core.log_line(format_args!("{midr}{}{choice}", errata::Named(midr)));
}

fn map_image(map: &mut KernelMap, image: Image) -> Result<(), BootError> {
    let mut part = |base: PhysAddr, from: VirtAddr, to: VirtAddr, permissions| {
        let target = PhysAddr(base.0 + (from.0 - IMAGE));
        map.map_pages(from, target, to.0 - from.0, permissions)
    };
    let parts = image::parts();
    let Image { home, text } = image;
    let first = VirtAddr(IMAGE);
    part(text, first, parts.constants, Permissions::KERNEL_TEXT)?;
    part(
        text,
        parts.constants,
        parts.data,
        Permissions::KERNEL_RODATA,
    )?;
    part(
        home,
        parts.data,
        parts.stack_guard,
        Permissions::KERNEL_DATA,
    )?;
    part(home, parts.stack, parts.end, Permissions::KERNEL_DATA)?;
    Ok(())
}

/// Hands out addresses for device registers.
struct DeviceSpace {
    next: u64,
}

impl DeviceSpace {
    /// Maps the pages that `[base, base + bytes)` touches; address 0 for nothing.
    fn map(&mut self, map: &mut KernelMap, base: u64, bytes: u64) -> Result<VirtAddr, BootError> {
        if bytes == 0 || base == 0 {
            return Ok(VirtAddr(0));
        }
        let bad = BootError::Arguments("device registers");
        let first = base & !(PAGE_SIZE - 1);
        let end = base
            .checked_add(bytes)
            .and_then(|end| end.checked_next_multiple_of(PAGE_SIZE));
        let pages = end.ok_or(bad)? - first;
        if pages > 0x10_0000 {
            return Err(bad);
        }
        let at = self.next;
        map.map_pages(
            VirtAddr(at),
            PhysAddr(first),
            pages,
            Permissions::KERNEL_DEVICE,
        )?;
        self.next += pages;
        Ok(VirtAddr(at + (base - first)))
    }
}

fn new_control_block(
    bump: &mut Bump,
    objects: &mut Objects,
    args: &CoreArgs,
    frequency: u64,
) -> Result<&'static mut ControlBlock, BootError> {
    let at = bump.take(objects, KCB_BYTES)?;
    let block = ptr::with_exposed_provenance_mut::<ControlBlock>(index(linear(at).0));
    let fresh = ControlBlock {
        kcb: Kcb::new(frequency),
        database: Database::new(kernel_id(args)),
    };
    // SAFETY: a page of home memory, mapped, aligned, that nothing else refers to.
    unsafe { block.write(fresh) };
    // SAFETY: as before, for good, and initialised.
    let block = unsafe { &mut *block };
    Ok(block)
}

/// Sets `SCTLR_EL1`, and PAN where there is one: then the bit that would keep it
/// off at exceptions (SPAN, 23) stays 0.
fn set_control(control: u64, has_pan: bool) {
    let control = if has_pan { control } else { control | 1 << 23 };
    // SAFETY: 1. translation stays on with the same tables; what changes is W^X for
    // what is writable (nothing executable is) and PAN (no user memory is touched
    // by ordinary accesses).
    unsafe { mmu::set_control(control) };
    if has_pan {
        cpu::set_pan();
    }
}
