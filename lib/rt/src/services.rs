//! The system services, by name.
//!
//! A name is first looked for among the capabilities that the spawner passed, then asked of the
//! name service, if that was passed.

use core::time::Duration;

use capelin_idc::{CallError, Client};
use capelin_interfaces::{
    console::ConsoleClient,
    devices::DevicesClient,
    memory::MemoryClient,
    names::{NamesClient, NamesError},
    service,
};

use crate::{Listener, Lmp, OwnedCap, RtError, bind, env, time};

struct Bound {
    names: Option<NamesClient<Lmp>>,
    memory: Option<MemoryClient<Lmp>>,
}

local! {
    /// Bindings that the whole program shares.
    static BOUND: Bound = Bound { names: None, memory: None };
}

/// Binds to the service called `name`.
///
/// # Errors
/// [`RtError::NoService`] when nobody is registered under that name, and as [`bind`].
pub async fn connect<C: Client<Lmp>>(name: &str) -> Result<C, RtError> {
    if let Some(passed) = env::capability(name) {
        return bind(passed).await;
    }
    let endpoint = names().await?.look_up(name).await.map_err(from_names)?;
    let endpoint = OwnedCap::received(endpoint);
    bind(endpoint.address()).await
}

/// As [`connect`], but waits until somebody is registered.
///
/// # Errors
/// As [`connect`].
pub async fn wait_for<C: Client<Lmp>>(name: &str) -> Result<C, RtError> {
    if let Some(passed) = env::capability(name) {
        return bind(passed).await;
    }
    let endpoint = names().await?.wait_for(name).await.map_err(from_names)?;
    let endpoint = OwnedCap::received(endpoint);
    bind(endpoint.address()).await
}

/// How long a driver that has been started may take to serve: it asks its device a few things before.
const DRIVER_PATIENCE: Duration = Duration::from_secs(2);

/// Binds to the service called `name` that a device's driver has, once the drivers have been started:
/// the device manager starts some only when somebody asks for devices.
///
/// # Errors
/// [`RtError::NoService`] when no driver serves under that name in time, and as [`connect`].
pub async fn driven<C: Client<Lmp>>(name: &str) -> Result<C, RtError> {
    let devices: DevicesClient<Lmp> = connect(service::DEVICES).await?;
    // An answer says that they have been.
    let _ = devices.list(0, 0).await;
    let waiting = time::timeout(DRIVER_PATIENCE, wait_for(name)).await;
    waiting.unwrap_or(Err(RtError::NoService))
}

/// Registers `listener` under `name`, with `badge` for whoever comes that way.
///
/// # Errors
/// [`RtError::NoService`] when the name is taken or there is no name service; as
/// [`Listener::capability`].
pub async fn register(name: &str, listener: &Listener, badge: u64) -> Result<(), RtError> {
    let endpoint = listener.capability(badge)?;
    let names = names().await?;
    names
        .register(name, endpoint.give())
        .await
        .map_err(from_names)
}

/// The name service.
///
/// # Errors
/// [`RtError::NoService`] when this program wasn't given it, and as [`bind`].
pub async fn names() -> Result<NamesClient<Lmp>, RtError> {
    if let Some(known) = BOUND.with(|bound| bound.borrow().names.clone()) {
        return Ok(known);
    }
    let passed = env::capability(service::NAMES).ok_or(RtError::NoService)?;
    let names: NamesClient<Lmp> = bind(passed).await?;
    BOUND.with(|bound| bound.borrow_mut().names = Some(names.clone()));
    Ok(names)
}

/// The memory service.
///
/// # Errors
/// As [`connect`].
pub async fn memory() -> Result<MemoryClient<Lmp>, RtError> {
    if let Some(known) = BOUND.with(|bound| bound.borrow().memory.clone()) {
        return Ok(known);
    }
    let memory: MemoryClient<Lmp> = connect(service::MEMORY).await?;
    BOUND.with(|bound| bound.borrow_mut().memory = Some(memory.clone()));
    Ok(memory)
}

/// The console, to read from it, or to write bytes. `println!` binds to it by itself.
///
/// # Errors
/// As [`connect`].
pub async fn console() -> Result<ConsoleClient<Lmp>, RtError> {
    connect(service::CONSOLE).await
}

fn from_names(error: NamesError) -> RtError {
    match error {
        NamesError::Call(error) => RtError::Call(error),
        NamesError::Exhausted => RtError::Call(CallError::TooManyCalls),
        _ => RtError::NoService,
    }
}
