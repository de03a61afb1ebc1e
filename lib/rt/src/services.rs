//! The system services, by name.
//!
//! A name is first looked for among the capabilities that the spawner passed, then asked of the
//! name service, if that was passed.

use capelin_idc::{CallError, Client};
use capelin_interfaces::{
    console::ConsoleClient,
    memory::MemoryClient,
    names::{NamesClient, NamesError},
    service,
};

use crate::{Listener, Lmp, OwnedCap, RtError, bind, env};

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
