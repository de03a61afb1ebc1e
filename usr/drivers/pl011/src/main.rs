//! The console driver for PL011 and SBSA UARTs (`docs/085-console-and-interrupts.md`).
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_console::driver::{self, StartError};
use capelin_rt::{Env, ExitCode, vspace::DeviceMapped};
use pl011::uart::{self, Kind, Pl011, Registers};

capelin_rt::main!(run);

/// The device's registers.
#[derive(Debug)]
struct Mmio(DeviceMapped);

impl Registers for Mmio {
    fn read(&self, offset: usize) -> u32 {
        // `None` for an offset outside of the registers; there is none.
        self.0.read32(offset).unwrap_or(0)
    }

    fn write(&self, offset: usize, value: u32) {
        let _ = self.0.write32(offset, value);
    }
}

async fn run(env: Env) -> ExitCode {
    driver::run(env, take_over).await
}

fn take_over(env: &Env, registers: DeviceMapped) -> Result<Pl011<Mmio>, StartError> {
    let names = env.arguments().iter().map(|name| name.as_str());
    let kind = Kind::of(names).ok_or(StartError::UnknownDevice)?;
    if registers.bytes() < uart::REGISTER_BYTES {
        return Err(StartError::TooFewRegisters);
    }
    Ok(Pl011::take_over(Mmio(registers), kind))
}
