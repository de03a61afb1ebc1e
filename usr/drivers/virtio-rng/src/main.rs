//! Driver for virtio entropy devices on PCI buses (Virtual I/O Device Specification 1.3, 5.4): serves
//! [`Entropy`].
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{collections::BTreeMap, rc::Rc, vec, vec::Vec};
use core::{cell::RefCell, fmt};

use capelin_driver::{Mmio, StartError, registers};
use capelin_interfaces::{
    entropy::{Entropy, EntropyError, EntropyServer, MOST},
    handover,
    pci::{FunctionClient, FunctionError},
    service,
};
use capelin_rt::{
    Env, ExitCode, Listener, Lmp, RtError, bind, println, services, virtio::VirtioMemory,
};
use capelin_virtio::{Layout, LayoutError, PciTransport, layout::REGISTERS};
use virtio_drivers::device::rng::VirtIORng;

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const RING: usize = 16;
/// Answers without a byte until the device is believed to be out of order.
const PATIENCE: u32 = 8;

type Device = VirtIORng<VirtioMemory, PciTransport<Mmio>>;

/// Why the driver can't start.
enum Failure {
    Start(StartError),
    Function(FunctionError),
    Layout(LayoutError),
    Device(virtio_drivers::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::Function(error) => write!(f, "the function: {error}"),
            Self::Layout(error) => error.fmt(f),
            Self::Device(error) => write!(f, "the device: {error}"),
        }
    }
}

macro_rules! from {
    ($($variant:ident($error:ty),)*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

from! {
    Start(StartError),
    Function(FunctionError),
    Layout(LayoutError),
    Device(virtio_drivers::Error),
}

impl From<RtError> for Failure {
    fn from(error: RtError) -> Self {
        Self::Start(error.into())
    }
}

/// Serves one client.
struct Session(Rc<RefCell<Device>>);

impl Entropy for Session {
    async fn get(&self, bytes: u32) -> Result<Vec<u8>, EntropyError> {
        if bytes > MOST {
            return Err(EntropyError::TooMany);
        }
        let mut all = vec![0; usize::try_from(bytes).unwrap_or(0)];
        let mut device = self.0.borrow_mut();
        let (mut filled, mut empty) = (0, 0);
        while let Some(rest) = all.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let most = rest.len();
            let got = device.request_entropy(rest);
            match got.map_err(|_| EntropyError::OutOfOrder)? {
                0 if empty == PATIENCE => return Err(EntropyError::OutOfOrder),
                0 => empty += 1,
                // A device that says that it wrote more than there was room for.
                more if more > most => return Err(EntropyError::OutOfOrder),
                some => filled += some,
            }
        }
        Ok(all)
    }
}

async fn run(env: Env) -> ExitCode {
    match start(&env).await {
        Ok((device, listener)) => {
            listener
                .serve(move |_| EntropyServer(Session(Rc::clone(&device))))
                .await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}: {error}", env.name());
            ExitCode::FAILURE
        }
    }
}

async fn start(env: &Env) -> Result<(Rc<RefCell<Device>>, Listener), Failure> {
    let function = env
        .capability(handover::FUNCTION)
        .ok_or(RtError::NoService)?;
    let function: FunctionClient<Lmp> = bind(function).await?;
    let mut space = [0; REGISTERS];
    for (offset, register) in (0..).step_by(4).zip(&mut space) {
        *register = function.read(offset).await?;
    }
    let layout = Layout::read(&space)?;
    function.enable().await?;
    let mut bars: BTreeMap<u8, Option<Rc<Mmio>>> = BTreeMap::new();
    let transport = PciTransport::new(&layout, |bar| {
        let mapped = bars.entry(bar).or_insert_with(|| {
            let mapped = registers(env, usize::from(bar), 0);
            mapped.ok().map(Rc::new)
        });
        mapped.clone()
    })?;
    let device = VirtIORng::new(transport)?;
    let listener = Listener::new(RING)?;
    services::register(service::ENTROPY, &listener, 1).await?;
    Ok((Rc::new(RefCell::new(device)), listener))
}
