//! What is said on the console, and giving up.

#![expect(unsafe_code, reason = "the console in use; trying consoles by address")]

use alloc::string::ToString;
use core::cell::UnsafeCell;
use core::fmt::{self, Write};

use capelin_aarch64::console::EarlyConsole;
use capelin_aarch64::cpu;
use capelin_abi::VirtAddr;
use capelin_abi::boot::ConsoleArgs;
use capelin_boot::BootError;
use capelin_dt::Region;
use capelin_report::Fatal;

use crate::translation;

/// What to try when the device tree can't be read. QEMU's board comes first: where the
/// Raspberry Pi's UART isn't, there is nothing, and an access ends in an exception; where
/// QEMU's isn't, a Raspberry Pi has memory, in which nothing keeps a writer waiting for long.
const FALLBACK_CONSOLES: [&[ConsoleArgs]; 2] = [
    capelin_platform_qemu_virt::PLATFORM.fallback_consoles,
    capelin_platform_rpi4::PLATFORM.fallback_consoles,
];

#[derive(Clone, Copy)]
enum State {
    /// The device tree hasn't been read: which console there is, isn't known.
    Unknown,
    /// The device tree names none that can be used.
    None,
    /// This one.
    Known(EarlyConsole),
    /// Giving up was begun.
    GivingUp,
}

struct Cell(UnsafeCell<State>);

// SAFETY: one core, interrupts masked; exceptions end in `give_up`.
unsafe impl Sync for Cell {}

static STATE: Cell = Cell(UnsafeCell::new(State::Unknown));

fn replace(state: State) -> State {
    // SAFETY: no reference is ever held across a call.
    unsafe { core::mem::replace(&mut *STATE.0.get(), state) }
}

fn current() -> State {
    // SAFETY: as in `replace`.
    unsafe { *STATE.0.get() }
}

/// Uses the console that `args` describes from now on. `may_enable`: whether it is
/// a PL011 with control registers.
pub(crate) fn use_console(args: &ConsoleArgs, may_enable: bool) {
    let registers = Region::new(args.registers.base, args.registers.bytes);
    if translation::map_device(registers).is_err() {
        replace(State::None);
        return;
    }
    // SAFETY: the device tree says that its registers are there, and they are mapped where
    // they are, as device memory.
    let console = unsafe { EarlyConsole::new(args, VirtAddr(args.registers.base)) };
    if let Some(console) = console
        && may_enable
    {
        console.enable();
    }
    replace(console.map_or(State::None, State::Known));
}

/// Writes a line.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    if let State::Known(mut console) = current() {
        // The console can't fail: it drops what it can't write.
        let _ = console.write_fmt(format_args!("capelin: {text}\n"));
    }
}

/// Says why, and sleeps for ever. Where no device tree could be read, the
/// consoles that a known platform has are tried: on another machine that ends in
/// an exception, and nothing is lost by it.
pub(crate) fn give_up(error: &BootError) -> ! {
    let say = |mut console: EarlyConsole| {
        let _ = writeln!(console, "{}", Fatal(format_args!("cannot boot: {error}")));
    };
    match replace(State::GivingUp) {
        State::Known(console) => say(console),
        State::Unknown => {
            for args in FALLBACK_CONSOLES.into_iter().flatten() {
                let registers = Region::new(args.registers.base, args.registers.bytes);
                if translation::map_device(registers).is_err() {
                    continue;
                }
                // SAFETY: if there is none, the access faults, and the exception
                // comes back here and finds that giving up was begun.
                let console = unsafe { EarlyConsole::new(args, VirtAddr(args.registers.base)) };
                console.into_iter().for_each(say);
            }
        }
        State::None | State::GivingUp => {}
    }
    cpu::halt()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    give_up(&BootError::Panic(info.to_string()))
}
