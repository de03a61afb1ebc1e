//! Starting a core: what user space says decides nothing that a kernel believes.

use capelin_abi::boot::{
    ARGS_MAGIC, CoreArgs, HOME_ALIGNMENT, KERNEL_MAGIC, KernelHeader, PhysRegion,
};
use capelin_abi::syscall::{CoreText, Invocation};
use capelin_abi::{KernelId, Mpidr, ObjectType, PAGE_SIZE, PhysAddr, SysError};
use capelin_kernel::invoke::ARGS_USED;
use capelin_kernel::machine::Machine;
use capelin_peers::{Home, PeerTable};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::between::{mark, unmark};
use crate::host::{
    Asked, HOME, HOME_BYTES, IMAGE_BYTES, MITIGATIONS, RAM, SHARED_ENTRY, TEXT_BYTES,
};
use crate::world::{World, cap, slot};

const BYTES: u64 = 0x10_0000;
/// Where the image of the new core lies.
const AT: u64 = RAM + 0x20_0000;
const CORE: u64 = 0x100;
const SPINNING: u64 = 0x101;
const RELEASE: u64 = RAM + 0x0f_00d8;

/// A sound image's arguments.
fn arguments() -> CoreArgs {
    let mut args = CoreArgs::new_zeroed();
    args.magic = ARGS_MAGIC;
    args.abi_version = capelin_abi::ABI_VERSION;
    args.kernel_id = 3;
    args.mpidr = CORE;
    args.home = PhysRegion {
        base: AT,
        bytes: BYTES,
    };
    args.domain_offset = IMAGE_BYTES + PAGE_SIZE;
    args
}

/// A kernel that holds a sealed image with `args`, in slot 200; the table is its own.
fn world(args: &CoreArgs) -> World {
    world_of(args, BYTES)
}

/// The same, of an image of so many bytes.
fn world_of(args: &CoreArgs, bytes: u64) -> World {
    let mut world = World::new();
    let cores = [
        (Mpidr(0), None),
        (Mpidr(CORE), None),
        (Mpidr(SPINNING), Some(PhysAddr(RELEASE))),
    ];
    let table: &'static PeerTable = Box::leak(Box::new(PeerTable::new(&cores)));
    let home = Home {
        base: PhysAddr(HOME),
        bytes: HOME_BYTES,
    };
    let entered = table.enter(KernelId(0), Mpidr(0), home, None);
    entered.expect("an empty table");
    world.core.machine.peers = table;
    let at = args.home.base;
    let made = world.retype_ram(200, ObjectType::Frame, at - RAM, bytes);
    made.expect("a frame");
    let sealed = world.invoke(slot::KERNEL, Invocation::Seal, &[cap(200).to_word()]);
    sealed.expect("sealed");
    let mut header = KernelHeader::new_zeroed();
    header.branch = 0x1400_0010;
    header.magic = KERNEL_MAGIC;
    header.abi_version = capelin_abi::ABI_VERSION;
    header.memory_bytes = IMAGE_BYTES;
    let pages = &mut world.core.machine.pages;
    let words = |bytes: &[u8]| <[u64]>::ref_from_bytes(bytes).expect("words").to_vec();
    pages.insert(at, words(header.as_bytes()));
    pages.insert(at + IMAGE_BYTES, words(args.as_bytes()));
    world.core.machine.asked();
    world
}

fn start(world: &mut World, mpidr: u64, release: u64) -> Result<(), SysError> {
    start_with(world, mpidr, release, CoreText::Own as u64)
}

fn start_with(world: &mut World, mpidr: u64, release: u64, text: u64) -> Result<(), SysError> {
    let arguments = [cap(200).to_word(), mpidr, release, text];
    let started = world.invoke(slot::KERNEL, Invocation::StartCore, &arguments);
    started.map(drop)
}

fn start_shared(world: &mut World) -> Result<(), SysError> {
    start_with(world, CORE, 0, CoreText::Shared as u64)
}

fn started(world: &World) -> bool {
    let asked = world.core.machine.asked();
    asked
        .iter()
        .any(|asked| matches!(asked, Asked::CpuOn(..) | Asked::Release(..)))
}

/// Entry and context of the core that firmware was asked for.
fn entered(world: &World) -> Option<(u64, u64)> {
    world.core.machine.asked().iter().find_map(|asked| {
        let Asked::CpuOn(entry, context) = asked else {
            return None;
        };
        Some((*entry, *context))
    })
}

/// Puts a word into a page of the image, which is zeros.
fn poke(world: &mut World, page: u64, word: usize, value: u64) {
    let pages = &mut world.core.machine.pages;
    let words = pages.entry(AT + page).or_insert_with(|| vec![0; 512]);
    words[word] = value;
}

fn told(world: &World) -> CoreArgs {
    let words = &world.core.machine.pages[&(AT + IMAGE_BYTES)];
    CoreArgs::read_from_bytes(words.as_bytes()).expect("arguments")
}

#[test]
fn a_core_is_told_of_the_machine_by_the_kernel() {
    let mut args = arguments();
    // What would have it map memory as its interrupt controller's, call firmware by the
    // wrong way, believe another table, or own memory that nobody gave it.
    args.is_boot_core = 1;
    args.gic.version = 2;
    args.gic.distributor.base = HOME;
    args.console.registers.base = HOME;
    args.psci.method = 7;
    args.mitigations = 0x77;
    args.timer_intid = 1;
    args.peers.base = AT + 0x8_0000;
    args.archive.base = HOME;
    args.archive.bytes = PAGE_SIZE;
    args.ram_count = 1;
    args.monitor_words[3] = 5;
    args.parent_ring = 77;
    let mut world = world(&args);
    assert_eq!(start(&mut world, CORE, 0), Ok(()));
    assert!(started(&world));
    let (told, own) = (told(&world), world.core.machine.args);
    assert_eq!((told.magic, told.is_boot_core), (ARGS_USED, 0));
    assert_eq!(
        (told.gic, told.psci, told.console),
        (own.gic, own.psci, own.console)
    );
    assert_eq!((told.timer_intid, told.peers), (own.timer_intid, own.peers));
    assert_eq!((told.archive, told.ram_count), (own.archive, 0));
    // Neither switched off by a monitor, nor on where the machine's owner wants them off.
    assert_eq!(told.mitigations, MITIGATIONS);
    assert_ne!(told.archive.bytes, 0);
    // What is its parent's to say.
    assert_eq!((told.monitor_words[3], told.parent_ring), (5, 77));
    let home = world.core.machine.peers.home(KernelId(3)).expect("entered");
    assert_eq!((home.base.0, home.bytes), (AT, BYTES));
    let peers = world.core.machine.peers;
    assert!(peers.is_started_by(KernelId(3), KernelId(0)));
}

/// Nobody revokes what a core runs from: that a revoke over all kernels can't be swept there
/// would be found out when it is too late to give it up.
#[test]
fn memory_around_a_running_core_is_not_revoked() {
    let mut world = world(&arguments());
    let id = mark(&mut world, slot::RAM).expect("no core runs in it");
    assert_eq!(unmark(&mut world, id, 0), Ok([0; 2]));
    assert_eq!(start(&mut world, CORE, 0), Ok(()));
    assert_eq!(mark(&mut world, slot::RAM), Err(SysError::RangeInUse));
    assert!(!world.core.database.mdb.has_holds());
}

#[test]
fn only_this_kernels_own_image_is_started() {
    for (page, word) in [(0, 0), (1, 7), (IMAGE_BYTES / PAGE_SIZE - 1, 511)] {
        let mut world = world(&arguments());
        let at = AT + page * PAGE_SIZE;
        let words = world
            .core
            .machine
            .pages
            .entry(at)
            .or_insert_with(|| vec![0; 512]);
        words[word] ^= 1 << 40;
        let refused = start(&mut world, CORE, 0);
        assert_eq!(refused, Err(SysError::InvalidArgument), "page {page}");
        assert!(!started(&world));
        assert_eq!(world.core.machine.peers.home(KernelId(3)), None);
    }
    // Nor one of another size.
    let mut world = world(&arguments());
    let pages = &mut world.core.machine.pages;
    pages.get_mut(&AT).expect("the header")[4] += PAGE_SIZE;
    assert_eq!(start(&mut world, CORE, 0), Err(SysError::InvalidArgument));
}

/// A text of its own is entered where it lies; another's is this kernel's.
#[test]
fn a_core_enters_its_text_and_is_told_its_home() {
    let mut own = world(&arguments());
    assert_eq!(start(&mut own, CORE, 0), Ok(()));
    assert_eq!(entered(&own), Some((AT, AT)));
    let mut shared = world(&arguments());
    shared.core.machine.pages.remove(&AT);
    assert_eq!(start_shared(&mut shared), Ok(()));
    assert_eq!(entered(&shared), Some((SHARED_ENTRY, AT)));
    assert_eq!(told(&shared).magic, ARGS_USED);
    let home = shared.core.machine.peers.home(KernelId(3));
    assert_eq!(home.map(|home| home.base.0), Some(AT));
}

/// What lies where a text would is nobody's; all behind it is what a core begins with.
#[test]
fn a_core_with_anothers_text_begins_with_zeros() {
    for (page, word) in [(TEXT_BYTES, 0), (IMAGE_BYTES - PAGE_SIZE, 511)] {
        let mut world = world(&arguments());
        poke(&mut world, page, word, 1);
        let refused = start_shared(&mut world);
        assert_eq!(refused, Err(SysError::InvalidArgument), "{page:#x}");
        assert!(!started(&world), "{page:#x}");
    }
    let mut world = world(&arguments());
    poke(&mut world, 0, 7, 1);
    poke(&mut world, TEXT_BYTES - PAGE_SIZE, 511, 1);
    assert_eq!(start_shared(&mut world), Ok(()));
    // Nothing that is read past the caches is left in them.
    let asked = world.core.machine.asked();
    for page in (TEXT_BYTES..IMAGE_BYTES + PAGE_SIZE).step_by(4096) {
        assert!(
            asked.contains(&Asked::CleanInvalidate(AT + page)),
            "{page:#x}"
        );
    }
}

/// What was looked at for one kind says nothing of the other: a start that didn't come to
/// its end, in the middle of the pages or behind them, leaves no text that nobody compared.
#[test]
fn each_kind_of_text_is_checked_from_its_beginning() {
    let mut world = world(&arguments());
    poke(&mut world, 0, 0, 1);
    // Somebody else has the kernel id: refused when all has been looked at.
    let peers = world.core.machine.peers;
    let home = Home {
        base: PhysAddr(RAM),
        bytes: PAGE_SIZE,
    };
    let entered = peers.enter(KernelId(3), Mpidr(SPINNING), home, Some(KernelId(0)));
    assert_eq!(entered, Ok(()));
    assert_eq!(start_shared(&mut world), Err(SysError::AlreadyBound));
    peers.withdraw(KernelId(3), Mpidr(SPINNING));
    assert_eq!(start(&mut world, CORE, 0), Err(SysError::InvalidArgument));
    assert!(!started(&world));
}

#[test]
fn a_text_is_shared_by_psci_alone_and_is_of_a_kind_that_there_is() {
    let mut args = arguments();
    args.mpidr = SPINNING;
    let mut spinning = world(&args);
    let shared = CoreText::Shared as u64;
    for release in [0, RELEASE] {
        let refused = start_with(&mut spinning, SPINNING, release, shared);
        assert_eq!(refused, Err(SysError::InvalidArgument), "{release:#x}");
    }
    assert!(!started(&spinning));
    let mut unknown = world(&arguments());
    for text in [2, 1 << 32, u64::MAX] {
        let refused = start_with(&mut unknown, CORE, 0, text);
        assert_eq!(refused, Err(SysError::InvalidArgument), "{text}");
    }
    assert!(!started(&unknown));
}

/// Each says something else than what is started, or than anybody may be.
#[test]
fn arguments_are_those_of_this_image_and_core() {
    type Lie = fn(&mut CoreArgs);
    let lies: [(&str, Lie); 7] = [
        ("magic", |args| args.magic = ARGS_USED),
        ("home", |args| args.home.bytes += PAGE_SIZE),
        ("less home", |args| args.home.bytes -= PAGE_SIZE),
        ("another core's", |args| args.mpidr = SPINNING),
        ("no core's", |args| args.mpidr = 0x8000_0100),
        ("no id", |args| args.kernel_id = KernelId::LIMIT.into()),
        ("version", |args| args.abi_version += 1),
    ];
    for (what, lie) in lies {
        let mut args = arguments();
        lie(&mut args);
        let mut world = world(&args);
        let refused = start(&mut world, CORE, 0);
        assert_eq!(refused, Err(SysError::InvalidArgument), "{what}");
        assert!(!started(&world), "{what}");
    }
    let mut world = world(&arguments());
    let mut elsewhere = arguments();
    elsewhere.home.base += HOME_ALIGNMENT;
    let pages = &mut world.core.machine.pages;
    let words = <[u64]>::ref_from_bytes(elsewhere.as_bytes()).expect("words");
    pages.insert(AT + IMAGE_BYTES, words.to_vec());
    assert_eq!(start(&mut world, CORE, 0), Err(SysError::InvalidArgument));
    assert!(!started(&world));
}

/// All of the kernel is compared, wherever the arguments say that the first program lies.
#[test]
fn arguments_take_nothing_from_what_is_compared() {
    let places = [
        (0, 0),
        (0, PAGE_SIZE),
        (PAGE_SIZE, PAGE_SIZE),
        (IMAGE_BYTES, PAGE_SIZE),
        (IMAGE_BYTES + PAGE_SIZE - 8, PAGE_SIZE),
        (IMAGE_BYTES + PAGE_SIZE + 8, PAGE_SIZE),
        (BYTES, PAGE_SIZE),
        (!0xfff, 2 * PAGE_SIZE),
    ];
    for (offset, bytes) in places {
        let mut args = arguments();
        args.domain_offset = offset;
        args.domain_bytes = bytes;
        let mut world = world(&args);
        let last = AT + IMAGE_BYTES - PAGE_SIZE;
        world.core.machine.pages.insert(last, vec![1; 512]);
        let refused = start(&mut world, CORE, 0);
        assert_eq!(refused, Err(SysError::InvalidArgument), "{offset:#x}");
        assert!(!started(&world), "{offset:#x} + {bytes:#x}");
    }
}

/// A list of memory as long as arguments like to say reaches out of the home, or around the end of
/// all addresses: then nothing is started, and nothing looked at that isn't in the image.
#[test]
fn a_list_of_memory_lies_in_the_home() {
    let in_home = (BYTES - IMAGE_BYTES - PAGE_SIZE) / 24;
    for count in [
        in_home + 1,
        1 << 32,
        u64::MAX / 24,
        u64::MAX / 24 + 1,
        u64::MAX,
    ] {
        let mut args = arguments();
        args.ram_count = count;
        let mut world = world(&args);
        let refused = start(&mut world, CORE, 0);
        assert_eq!(refused, Err(SysError::InvalidArgument), "{count}");
        assert!(!started(&world));
    }
    let mut args = arguments();
    args.ram_count = in_home;
    assert_eq!(args.used_bytes(IMAGE_BYTES), Ok(BYTES));
    assert_eq!(args.ram_offset(), Some(IMAGE_BYTES + PAGE_SIZE));
}

/// The entry code maps the block that the image begins: what lies before it there
/// would run as the kernel.
#[test]
fn a_core_starts_at_the_beginning_of_a_block() {
    for offset in [PAGE_SIZE, 0x10_0000, HOME_ALIGNMENT - PAGE_SIZE] {
        let mut args = arguments();
        args.home.base += offset;
        let mut world = world(&args);
        let refused = start(&mut world, CORE, 0);
        assert_eq!(refused, Err(SysError::InvalidArgument), "{offset:#x}");
        assert!(!started(&world));
    }
}

#[test]
fn release_addresses_are_the_device_trees() {
    let mut args = arguments();
    args.mpidr = SPINNING;
    let mut world = world(&args);
    let others = [0, RELEASE + 8, RELEASE & !0xfff, HOME, AT, u64::MAX, RAM];
    for release in others {
        let refused = start(&mut world, SPINNING, release);
        assert_eq!(refused, Err(SysError::InvalidArgument), "{release:#x}");
    }
    assert!(!started(&world));
    world.core.machine.asked();
    assert_eq!(start(&mut world, SPINNING, RELEASE), Ok(()));
    let asked = world.core.machine.asked();
    assert!(asked.contains(&Asked::Release(RELEASE, AT)), "{asked:?}");
}

#[test]
fn a_core_that_the_tree_knows_not_or_that_runs_is_not_started() {
    let mut args = arguments();
    args.mpidr = 0x777;
    let mut unknown = world(&args);
    assert_eq!(
        start(&mut unknown, 0x777, 0),
        Err(SysError::InvalidArgument)
    );
    // The psci core isn't one that waits in a spin table.
    let mut waiting = world(&arguments());
    assert_eq!(
        start(&mut waiting, CORE, RELEASE),
        Err(SysError::InvalidArgument)
    );
    args.mpidr = CORE;
    for kernel in [0, 512, u32::MAX] {
        args.kernel_id = kernel;
        let mut world = world(&args);
        assert!(start(&mut world, CORE, 0).is_err(), "kernel {kernel}");
        assert!(!started(&world));
    }
}

/// Others know of a kernel, and can map what it shares, once its core has been released, and
/// not before: what firmware refuses becomes anybody's memory again.
#[test]
fn a_kernel_is_known_once_its_core_is_released() {
    for (mpidr, release, is_started) in [
        (CORE, 0, true),
        (SPINNING, RELEASE, true),
        // Firmware refuses the first core.
        (0, 0, false),
    ] {
        let mut args = arguments();
        args.mpidr = mpidr;
        let mut world = world(&args);
        let peers = world.core.machine.peers;
        if mpidr == 0 {
            peers.withdraw(KernelId(0), Mpidr(0));
        }
        let kernel = KernelId(u16::try_from(args.kernel_id).expect("an id"));
        let is_known = |world: &mut World| world.core.machine.map_shared(kernel).is_ok();
        assert!(!is_known(&mut world));
        assert_eq!(start(&mut world, mpidr, release).is_ok(), is_started);
        let then = &world.core.machine.known_then;
        assert_eq!(then.len(), 1, "it is asked for");
        assert!(!then[0].contains(&kernel.0), "{mpidr:#x}: too early");
        assert_eq!(is_known(&mut world), is_started);
    }
}

/// A refusal of firmware leaves nothing behind: the same image starts another time.
#[test]
fn what_firmware_refuses_can_be_tried_again() {
    let mut args = arguments();
    args.mpidr = 0;
    let mut world = world(&args);
    let peers = world.core.machine.peers;
    peers.withdraw(KernelId(0), Mpidr(0));
    assert_eq!(start(&mut world, 0, 0), Err(SysError::AlreadyBound));
    assert_eq!(peers.home(KernelId(3)), None);
    assert_eq!(told(&world).magic, ARGS_MAGIC);
    let home = Home {
        base: PhysAddr(AT),
        bytes: BYTES,
    };
    assert_eq!(
        peers.enter(KernelId(4), Mpidr(0), home, Some(KernelId(0))),
        Ok(())
    );
}

/// Nor does a refusal of the table.
#[test]
fn what_the_table_refuses_can_be_tried_again() {
    let mut world = world(&arguments());
    let peers = world.core.machine.peers;
    let home = Home {
        base: PhysAddr(RAM),
        bytes: PAGE_SIZE,
    };
    assert_eq!(
        peers.enter(KernelId(3), Mpidr(CORE), home, Some(KernelId(0))),
        Ok(())
    );
    assert_eq!(start(&mut world, CORE, 0), Err(SysError::AlreadyBound));
    peers.withdraw(KernelId(3), Mpidr(CORE));
    assert_eq!(start(&mut world, CORE, 0), Ok(()));
    assert!(started(&world));
}

/// A4: memory that isn't there is an error, and the caller goes on.
#[test]
fn an_image_over_a_hole_is_refused() {
    for page in [0, 2, IMAGE_BYTES / PAGE_SIZE] {
        let mut world = world(&arguments());
        world.core.machine.holes.insert(AT + page * PAGE_SIZE);
        let refused = start(&mut world, CORE, 0);
        assert_eq!(refused, Err(SysError::NoSuchMemory), "page {page}");
        assert!(!started(&world));
    }
}

/// Each word of the header and the arguments that a kernel believes is looked at by itself.
#[test]
fn every_part_of_an_image_is_looked_at() {
    let headers: [fn(&mut KernelHeader); 5] = [
        |header| header.magic += 1,
        |header| header.abi_version += 1,
        |header| header.memory_bytes += PAGE_SIZE,
        |header| header.memory_bytes -= PAGE_SIZE,
        |header| header.memory_bytes = BYTES,
    ];
    let arguments_of: [fn(&mut CoreArgs); 6] = [
        |args| args.magic += 1,
        |args| args.abi_version += 1,
        |args| args.home.base += PAGE_SIZE,
        |args| args.home.bytes -= PAGE_SIZE,
        |args| args.mpidr += 1,
        |args| args.kernel_id = u32::from(KernelId::LIMIT),
    ];
    let invalid = Err(SysError::InvalidArgument);
    for (number, spoil) in headers.into_iter().enumerate() {
        let mut world = world(&arguments());
        let words = &world.core.machine.pages[&AT];
        let mut header = KernelHeader::read_from_bytes(words.as_bytes()).expect("a header");
        spoil(&mut header);
        let words = <[u64]>::ref_from_bytes(header.as_bytes()).expect("words");
        world.core.machine.pages.insert(AT, words.to_vec());
        assert_eq!(start(&mut world, CORE, 0), invalid, "header {number}");
        assert!(!started(&world));
    }
    for (number, spoil) in arguments_of.into_iter().enumerate() {
        let mut world = world(&arguments());
        let mut args = arguments();
        spoil(&mut args);
        let words = <[u64]>::ref_from_bytes(args.as_bytes()).expect("words");
        world
            .core
            .machine
            .pages
            .insert(AT + IMAGE_BYTES, words.to_vec());
        assert_eq!(start(&mut world, CORE, 0), invalid, "arguments {number}");
        assert!(!started(&world));
    }
    let mut sound = world(&arguments());
    assert_eq!(start(&mut sound, CORE, 0), Ok(()));
}

/// What lies behind an image isn't read as its arguments.
#[test]
fn an_image_has_room_for_the_kernel_and_its_arguments() {
    let least = IMAGE_BYTES + PAGE_SIZE;
    for bytes in [PAGE_SIZE, IMAGE_BYTES - PAGE_SIZE, IMAGE_BYTES] {
        for text in [CoreText::Own, CoreText::Shared] {
            let mut args = arguments();
            args.home.bytes = bytes;
            let mut world = world_of(&args, bytes);
            // Whoever reads there, is told of that.
            world.core.machine.holes.insert(AT + IMAGE_BYTES);
            let refused = start_with(&mut world, CORE, 0, text as u64);
            assert_eq!(refused, Err(SysError::InvalidArgument), "{bytes:#x}");
        }
    }
    let mut args = arguments();
    args.home.bytes = least;
    args.domain_offset = least;
    let mut world = world_of(&args, least);
    assert_eq!(start(&mut world, CORE, 0), Ok(()));
    assert!(started(&world));
}

/// All of the image is made clean, as many pages in one entry as it may, none twice.
#[test]
fn an_image_is_made_clean_page_by_page() {
    let mut args = arguments();
    args.domain_offset = 60 * PAGE_SIZE;
    let mut world = world(&args);
    let request = [cap(200).to_word(), CORE, 0];
    let mut cleaned = Vec::new();
    let mut most = 0;
    while world.invoke_once(slot::KERNEL, Invocation::StartCore, &request)
        == crate::world::Left::Restart
    {
        let asked = world.core.machine.asked();
        let pages: Vec<_> = asked
            .iter()
            .filter_map(|asked| match asked {
                Asked::CleanInvalidate(page) => Some((page - AT) / PAGE_SIZE),
                _ => None,
            })
            .collect();
        most = most.max(pages.len());
        cleaned.extend(pages);
    }
    assert!(started(&world));
    let all: Vec<_> = (0..cleaned.len() as u64).collect();
    assert_eq!(cleaned, all, "each once, in order");
    assert!(cleaned.len() >= 60, "{}", cleaned.len());
    assert!(most > 1 && most < 60, "{most} at once");
}
