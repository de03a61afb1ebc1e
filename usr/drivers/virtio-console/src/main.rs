//! The console driver for virtio consoles (`docs/117-virtio.md`).
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::rc::Rc;

use capelin_console::{driver, service::Shared};
use capelin_driver::Mmio;
use capelin_rt::{
    Env, ExitCode,
    future::{Either, race},
    print::to_log,
    virtio::VirtioMemory,
};
use capelin_virtio::{AnyTransport, AttachError, Attached, Signal, attach};
use virtio_console::VirtioUart;

capelin_rt::main!(run);

type Device = VirtioUart<VirtioMemory, AnyTransport<Mmio>>;

async fn run(env: Env) -> ExitCode {
    match serve(&env).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            to_log(format_args!("{}: {error}\n", env.name()));
            ExitCode::FAILURE
        }
    }
}

/// Serves the console until the device is out of order.
async fn serve(env: &Env) -> Result<(), AttachError> {
    let Attached {
        transport,
        mut signal,
    } = attach(env).await?;
    let device: Device = VirtioUart::take_over(transport)?;
    let console = driver::shared(device);
    let serving = driver::register(Rc::clone(&console)).await?;
    match race(serving, listen(&mut signal, &console)).await {
        Either::First(()) => Ok(()),
        Either::Second(error) => Err(error),
    }
}

/// Serves the device whenever it has done something, until it is out of order.
async fn listen(signal: &mut Signal, console: &Shared<Device>) -> AttachError {
    loop {
        signal.wait().await;
        console.interrupt();
        if let Some(fault) = console.with_uart(Device::fault) {
            return AttachError::Device(fault);
        }
        if let Err(error) = signal.done() {
            return error.into();
        }
    }
}
