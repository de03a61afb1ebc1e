//! Who registers under which name.

use alloc::format;

use capelin_interfaces::{names::NamesError, pci::host_name, service, slots::slots_name};
use capelin_rt::{endpoint::Endpoint, services};
use capelin_suite::{Outcome, Reporter, equal, must};

pub(crate) async fn run(report: &mut Reporter) {
    report.tell("names/reserved", reserved().await);
    report.tell("names/free", free().await);
}

/// The system's names are nobody's, whether they are taken (`skb`), are to be (`.pcid`: nobody has asked
/// for devices) or never will be (no such device is there).
async fn reserved() -> Outcome {
    let names = must("names", services::names().await)?;
    let endpoint = must("endpoint", Endpoint::new(1))?;
    let private = [host_name("pcid"), slots_name("virtio-mmio"), ".".into()];
    let private = private.iter().map(|name| name.as_str());
    for name in service::ALL.iter().copied().chain(private) {
        let badged = must("badge", endpoint.badged(1))?;
        let registered = names.register(name, badged.give()).await;
        equal(name, registered, Err(NamesError::Reserved))?;
    }
    Ok(())
}

/// All others are whoever's comes first, as long as its connection lasts.
async fn free() -> Outcome {
    let names = must("names", services::names().await)?;
    let endpoint = must("endpoint", Endpoint::new(1))?;
    for (number, expected) in [Ok(()), Err(NamesError::AlreadyRegistered)]
        .into_iter()
        .enumerate()
    {
        let badged = must("badge", endpoint.badged(1))?;
        let registered = names.register("test-services", badged.give()).await;
        equal(&format!("attempt {number}"), registered, expected)?;
    }
    Ok(())
}
