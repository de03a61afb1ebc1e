//! The console driver for 16550 UARTs, and the mini UART (`docs/085-console-and-interrupts.md`).
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_console::driver::{self, StartError};
use capelin_interfaces::handover;
use capelin_rt::{Env, ExitCode, vspace::DeviceMapped};
use ns16550::uart::{Kind, Ns16550, Registers};

capelin_rt::main!(run);

/// Bits of an access.
#[derive(Clone, Copy, Debug)]
enum Access {
    Byte,
    Half,
    Word,
}

/// The device's registers.
#[derive(Debug)]
struct Mmio {
    mapped: DeviceMapped,
    /// Log2 of the distance of registers in bytes.
    shift: u32,
    access: Access,
}

impl Registers for Mmio {
    fn read(&self, number: usize) -> u8 {
        let offset = number << self.shift;
        // `None` for an offset outside of the registers; there is none.
        match self.access {
            Access::Byte => self.mapped.read8(offset).unwrap_or(0),
            Access::Half => low(self.mapped.read16(offset).unwrap_or(0).into()),
            Access::Word => low(self.mapped.read32(offset).unwrap_or(0)),
        }
    }

    fn write(&self, number: usize, value: u8) {
        let offset = number << self.shift;
        let _ = match self.access {
            Access::Byte => self.mapped.write8(offset, value),
            Access::Half => self.mapped.write16(offset, value.into()),
            Access::Word => self.mapped.write32(offset, value.into()),
        };
    }
}

/// The byte that a register has, however wide it is.
const fn low(word: u32) -> u8 {
    word.to_le_bytes()[0]
}

async fn run(env: Env) -> ExitCode {
    driver::run(env, take_over).await
}

fn take_over(env: &Env, mapped: DeviceMapped) -> Result<Ns16550<Mmio>, StartError> {
    let kind = Kind::of(env.arguments().iter().map(|name| name.as_str()));
    let access = match env.word(handover::ACCESS_BYTES) {
        None | Some(1) => Access::Byte,
        Some(2) => Access::Half,
        Some(4) => Access::Word,
        Some(_) => return Err(StartError::NotHandedOver(handover::ACCESS_BYTES)),
    };
    let shift = env.word(handover::REGISTER_SHIFT).unwrap_or(0);
    let shift = u32::try_from(shift).ok().filter(|&shift| shift <= 4);
    let shift = shift.ok_or(StartError::NotHandedOver(handover::REGISTER_SHIFT))?;
    // Registers that a tree doesn't tell of read as 0: only DesignWare's status may be one.
    if (mapped.bytes() as u64) < Kind::Plain.registers() << shift {
        return Err(StartError::TooFewRegisters);
    }
    let registers = Mmio {
        mapped,
        shift,
        access,
    };
    Ok(Ns16550::take_over(registers, kind))
}
