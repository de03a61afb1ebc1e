//! The services that commands need, each bound to when it is first needed.

use capelin_interfaces::{
    devices::DevicesClient, entropy::EntropyClient, files::FilesClient, firmware::FirmwareClient,
    memory::MemoryClient, monitor::MonitorClient, service, skb::SkbClient, system::SystemClient,
};
use capelin_rt::{Lmp, RtError, idc::Client, services};

use crate::failure::Failure;

/// Clients of the system services.
#[derive(Default)]
pub(crate) struct Services {
    monitor: Option<MonitorClient<Lmp>>,
    system: Option<SystemClient<Lmp>>,
    skb: Option<SkbClient<Lmp>>,
    devices: Option<DevicesClient<Lmp>>,
    firmware: Option<FirmwareClient<Lmp>>,
    entropy: Option<EntropyClient<Lmp>>,
    files: Option<FilesClient<Lmp>>,
}

async fn bound<C: Client<Lmp> + Clone>(
    known: &mut Option<C>,
    name: &'static str,
) -> Result<C, Failure> {
    if let Some(client) = known {
        return Ok(client.clone());
    }
    let client: C = services::connect(name)
        .await
        .map_err(|error| Failure::Service(name, error))?;
    *known = Some(client.clone());
    Ok(client)
}

/// As [`bound`], for what the driver of a device serves, which the machine may not have.
async fn driven<C: Client<Lmp> + Clone>(
    known: &mut Option<C>,
    name: &'static str,
    what: &'static str,
) -> Result<C, Failure> {
    match bound(known, name).await {
        Err(Failure::Service(_, RtError::NoService)) => Err(Failure::NoDevice(what)),
        other => other,
    }
}

impl Services {
    /// This core's monitor.
    pub(crate) async fn monitor(&mut self) -> Result<MonitorClient<Lmp>, Failure> {
        bound(&mut self.monitor, service::MONITOR).await
    }

    /// Power, kernel logs and counters.
    pub(crate) async fn system(&mut self) -> Result<SystemClient<Lmp>, Failure> {
        bound(&mut self.system, service::SYSTEM).await
    }

    /// The System Knowledge Base.
    pub(crate) async fn skb(&mut self) -> Result<SkbClient<Lmp>, Failure> {
        bound(&mut self.skb, service::SKB).await
    }

    /// The devices and their drivers.
    pub(crate) async fn devices(&mut self) -> Result<DevicesClient<Lmp>, Failure> {
        bound(&mut self.devices, service::DEVICES).await
    }

    /// The board's firmware.
    pub(crate) async fn firmware(&mut self) -> Result<FirmwareClient<Lmp>, Failure> {
        if self.firmware.is_none() {
            self.drivers().await?;
        }
        driven(&mut self.firmware, service::FIRMWARE, "firmware to ask").await
    }

    /// The files on the card.
    pub(crate) async fn files(&mut self) -> Result<FilesClient<Lmp>, Failure> {
        if self.files.is_none() {
            self.drivers().await?;
        }
        driven(&mut self.files, service::FILES, "a card with files").await
    }

    /// Waits until the drivers have been started.
    async fn drivers(&mut self) -> Result<(), Failure> {
        self.devices().await?.list(0, 0).await?;
        Ok(())
    }

    /// A device that gives random bytes.
    pub(crate) async fn entropy(&mut self) -> Result<EntropyClient<Lmp>, Failure> {
        if self.entropy.is_none() {
            self.entropy = services::driven(service::ENTROPY).await.ok();
        }
        let client = self.entropy.clone();
        client.ok_or(Failure::NoDevice("random bytes to give"))
    }

    /// Physical memory.
    pub(crate) async fn memory(&mut self) -> Result<MemoryClient<Lmp>, Failure> {
        let memory: Result<_, RtError> = services::memory().await;
        memory.map_err(|error| Failure::Service(service::MEMORY, error))
    }

    /// Forgets all bindings: one may have broken.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}
