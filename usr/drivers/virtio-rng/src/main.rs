//! Driver for virtio entropy devices: serves [`Entropy`] (`docs/117-virtio.md`).
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{rc::Rc, vec::Vec};
use core::{cell::RefCell, time::Duration};

use capelin_driver::{Mmio, failed};
use capelin_interfaces::{
    entropy::{Entropy, EntropyError, EntropyServer, MOST},
    service,
};
use capelin_rt::{
    Env, ExitCode, Listener,
    future::{Either, race},
    services,
    sync::Event,
    time,
    virtio::VirtioMemory,
};
use capelin_virtio::{AnyTransport, AttachError, Attached, Signal, attach};
use virtio_rng::Source;

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const RING: usize = 16;
/// How long a device may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

type Device = Source<VirtioMemory, AnyTransport<Mmio>>;

/// The device, and who waits for it.
struct Shared {
    device: RefCell<Device>,
    /// Set, and made anew, when the device was asked.
    asked: RefCell<Event>,
    /// Set, and made anew, when it has answered.
    answered: RefCell<Event>,
}

impl Shared {
    /// Waits until the device has been asked.
    async fn until_asked(&self) {
        loop {
            let asked = self.asked.borrow().clone();
            if self.device.borrow().is_asked() {
                return;
            }
            asked.wait().await;
        }
    }

    /// Serves the device whenever it has answered, until it is out of order.
    async fn listen(&self, signal: &mut Signal) -> AttachError {
        loop {
            // It does nothing by itself.
            self.until_asked().await;
            signal.wait().await;
            let collected = self.device.borrow_mut().collect();
            if let Err(error) = collected {
                return error.into();
            }
            self.answered.take().set();
            if let Err(error) = signal.done() {
                return error.into();
            }
        }
    }
}

/// Serves one client.
struct Session(Rc<Shared>);

impl Entropy for Session {
    async fn get(&self, bytes: u32) -> Result<Vec<u8>, EntropyError> {
        if bytes > MOST {
            return Err(EntropyError::TooMany);
        }
        let wanted = usize::try_from(bytes).unwrap_or(0);
        let mut all = Vec::new();
        while all.len() < wanted {
            let answered = self.0.answered.borrow().clone();
            let taken = self.0.device.borrow_mut().take(wanted - all.len());
            let mut taken = taken.map_err(|_| EntropyError::OutOfOrder)?;
            if taken.is_empty() {
                self.0.asked.take().set();
                let came = time::timeout(PATIENCE, answered.wait()).await;
                came.map_err(|_| EntropyError::OutOfOrder)?;
            }
            all.append(&mut taken);
        }
        Ok(all)
    }
}

async fn run(env: Env) -> ExitCode {
    match serve(&env).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&env, &error),
    }
}

/// Serves clients until the device is out of order.
async fn serve(env: &Env) -> Result<(), AttachError> {
    let Attached {
        transport,
        mut signal,
    } = attach(env).await?;
    let shared = Rc::new(Shared {
        device: RefCell::new(Device::take_over(transport)?),
        asked: RefCell::default(),
        answered: RefCell::default(),
    });
    let listener = Listener::new(RING)?;
    services::register(service::ENTROPY, &listener, 1).await?;
    let served = Rc::clone(&shared);
    let serving = listener.serve(move |_| EntropyServer(Session(Rc::clone(&served))));
    match race(serving, shared.listen(&mut signal)).await {
        Either::First(()) => Ok(()),
        Either::Second(error) => Err(error),
    }
}
