//! Upcall handlers, and the report of a program that can't go on.
//!
//! They run on the upcall stack, disabled, and end by continuing from a save area or by ending the
//! program.
#![cfg_attr(
    not(target_os = "none"),
    expect(dead_code, reason = "only a kernel makes upcalls")
)]

use capelin_abi::dispatcher::{SaveArea, context, offset};

use crate::{
    ExitCode, env, frame,
    print::{self, to_log},
    process, sys,
    vspace::lazy,
};

/// The dispatcher has the processor again.
pub(crate) extern "C" fn run() -> ! {
    resume(SaveArea::Enabled)
}

/// A page fault of the program. It may be in lazy memory.
pub(crate) extern "C" fn page_fault(_frame: u64, _count: u64, address: u64, syndrome: u64) -> ! {
    // Translation faults only: a permission fault isn't mended by mapping.
    const TRANSLATION: u64 = 0b0001;
    let is_translation = syndrome >> 2 & 0xf == TRANSLATION;
    if is_translation && lazy::handle_fault(address) {
        resume(SaveArea::Enabled);
    }
    report(offset::ENABLED, address, syndrome)
}

/// A page fault of the runtime itself.
pub(crate) extern "C" fn fault_while_disabled(
    _frame: u64,
    _count: u64,
    address: u64,
    syndrome: u64,
) -> ! {
    report(offset::TRAP, address, syndrome)
}

/// Any other trap.
pub(crate) extern "C" fn trap(_frame: u64, disabled: u64, address: u64, syndrome: u64) -> ! {
    let area = if disabled == 0 {
        offset::ENABLED
    } else {
        offset::TRAP
    };
    report(area, address, syndrome)
}

fn resume(area: SaveArea) -> ! {
    let error = sys::resume(area);
    to_log(format_args!("cannot continue: {error}\n"));
    process::abort(ExitCode::FAULT)
}

/// The exception class of a syndrome (`ESR_EL1.EC`, Arm ARM D24.2.40) in words.
const fn class(syndrome: u64) -> &'static str {
    match syndrome >> 26 & 0x3f {
        0b00_0000 => "undefined instruction",
        0b00_0111 => "use of floating-point registers",
        0b00_1110 => "illegal execution state",
        0b01_0101 => "unknown system call",
        0b01_1000 => "use of a system register",
        0b10_0000 | 0b10_0001 => "instruction fetch fault",
        0b10_0010 => "misaligned program counter",
        0b10_0100 | 0b10_0101 if syndrome & 1 << 6 != 0 => "write fault",
        0b10_0100 | 0b10_0101 => "read fault",
        0b10_0110 => "misaligned stack pointer",
        0b10_1111 => "SError",
        0b11_0000 | 0b11_0001 | 0b11_1100 => "breakpoint",
        _ => "trap",
    }
}

/// What the fault status code (`ISS.DFSC`, `ISS.IFSC`) says of a fetch, read or write fault.
const fn status(syndrome: u64) -> &'static str {
    match (syndrome >> 26 & 0x3f, syndrome >> 2 & 0xf) {
        (0b10_0000 | 0b10_0001 | 0b10_0100 | 0b10_0101, code) => match code {
            0b0000 => " (address size)",
            0b0001 => " (not mapped)",
            0b0010 => " (access flag)",
            0b0011 => " (not permitted)",
            0b1000 => " (misaligned)",
            _ => "",
        },
        _ => "",
    }
}

/// Reports what lies in the save area at `area`, and ends the program.
fn report(area: usize, address: u64, syndrome: u64) -> ! {
    print::abandon();
    let register = |index: usize| frame::read(area + index * 8);
    env::with_name(|name| {
        to_log(format_args!(
            "{name}: {}{} at {:#x}, address {address:#x}, ESR {syndrome:#x}\n",
            class(syndrome),
            status(syndrome),
            register(context::PC),
        ));
    });
    to_log(format_args!(
        "  sp {:#018x}  spsr {:#x}\n",
        register(context::SP),
        register(context::SPSR),
    ));
    for first in (0..31).step_by(4) {
        // Four registers make less than a piece of the log; the last line has three.
        let mut line = Line {
            text: [0; 128],
            length: 0,
        };
        for index in first..31.min(first + 4) {
            use core::fmt::Write;
            let _ = write!(line, "  x{index:<2} {:#018x}", register(index));
        }
        let text = core::str::from_utf8(&line.text[..line.length]).unwrap_or_default();
        to_log(format_args!("{text}\n"));
    }
    process::abort(ExitCode::FAULT)
}

/// A line of text without the heap, which the fault may have come from.
struct Line {
    text: [u8; 128],
    length: usize,
}

impl core::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.length + text.len();
        let room = self
            .text
            .get_mut(self.length..end)
            .ok_or(core::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syndromes_are_put_into_words() {
        // A write to an unmapped page, level 3, from EL0.
        assert_eq!(class(0x9200_0047), "write fault");
        assert_eq!(status(0x9200_0047), " (not mapped)");
        // A fetch from a page that isn't executable.
        assert_eq!(class(0x8200_000f), "instruction fetch fault");
        assert_eq!(status(0x8200_000f), " (not permitted)");
        assert_eq!(class(0x0200_0000), "undefined instruction");
        assert_eq!(status(0x0200_0000), "");
    }
}
