//! Power, kernel logs and counters, maps: for programs on this core and for other
//! monitors.

use alloc::{
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use core::future::Future;

use capelin_abi::{PhysAddr, SysError, syscall::KernelCounter};
use capelin_archive::ModuleKind;
use capelin_interfaces::{
    devices::DevicesClient,
    monitor::THIS_CORE,
    power::{PowerClient, PowerError},
    service,
    system::{KernelMapping, KernelStats, System, SystemClient, SystemError},
};
use capelin_rt::{Lmp, services, sys, time};

use crate::{
    log,
    node::{Node, Remote, Unreachable},
};

/// Bytes of log that are answered at most.
const MAX_LOG: u32 = 32 << 10;
/// Leaves that are answered at most.
const MAX_LEAVES: u32 = 1000;

/// Serves one client.
pub(crate) struct SystemService {
    pub(crate) node: Rc<Node>,
    /// It is another core's monitor.
    pub(crate) is_remote: bool,
}

fn firmware(_: SysError) -> SystemError {
    SystemError::Firmware
}

fn no_effect(_: PowerError) -> SystemError {
    SystemError::NoEffect
}

/// The driver of the board's power management, where this core's name service knows one: it does
/// what firmware without PSCI can't. Drivers may still be starting, which the list of devices waits for.
async fn driver() -> Option<PowerClient<Lmp>> {
    let devices: DevicesClient<Lmp> = services::connect(service::DEVICES).await.ok()?;
    devices.list(0, 0).await.ok()?;
    services::connect(service::POWER).await.ok()
}

impl SystemService {
    fn other(&self, core: u16) -> Result<SystemClient<Remote>, SystemError> {
        if self.is_remote {
            return Err(SystemError::NoSuchCore);
        }
        let client = self.node.remote(core);
        client.map_err(|_| SystemError::NoSuchCore)
    }

    /// What `call` to `core` gives, if it does in time and the core doesn't stop meanwhile.
    async fn in_time<T>(
        &self,
        core: u16,
        call: impl Future<Output = Result<T, SystemError>>,
    ) -> Result<T, SystemError> {
        let answer = self.node.in_time(core, call).await;
        answer.unwrap_or_else(|why| Err(unreachable(why)))
    }

    fn counter(&self, counter: KernelCounter) -> u64 {
        sys::kernel::read_counter(self.node.kernel, counter).unwrap_or(0)
    }

    fn own_log(&self, limit: u32) -> Result<String, SysError> {
        let log = log::since(&self.node, 0, u64::from(limit.min(MAX_LOG)))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }
}

const fn unreachable(why: Unreachable) -> SystemError {
    match why {
        Unreachable::Stopped => SystemError::CoreFailed,
        Unreachable::Silent => SystemError::TimedOut,
    }
}

fn microseconds(ticks: u64) -> u64 {
    u64::try_from(time::to_duration(ticks).as_micros()).unwrap_or(u64::MAX)
}

impl System for SystemService {
    async fn power_off(&self) -> Result<(), SystemError> {
        let refused = sys::kernel::power_off(self.node.kernel);
        match driver().await {
            Some(driver) => driver.power_off().await.map_err(no_effect),
            None => Err(firmware(refused)),
        }
    }

    async fn reboot(&self) -> Result<(), SystemError> {
        let refused = sys::kernel::reboot(self.node.kernel);
        match driver().await {
            Some(driver) => driver.reboot().await.map_err(no_effect),
            None => Err(firmware(refused)),
        }
    }

    async fn panic(&self, core: u16) -> Result<(), SystemError> {
        if self.node.is_own(core) {
            return Err(firmware(sys::kernel::panic(self.node.kernel)));
        }
        let client = self.other(core)?;
        let boot = self.node.boot.as_ref();
        if boot.is_some_and(|boot| boot.is_cut_off(&self.node, core)) {
            return Err(SystemError::CoreFailed);
        }
        match self.in_time(core, client.panic(THIS_CORE)).await {
            // No answer comes: firmware's word is it.
            Err(SystemError::CoreFailed) => Ok(()),
            other => other,
        }
    }

    async fn kernel_log(&self, core: u16, limit: u32) -> Result<String, SystemError> {
        if self.node.is_own(core) {
            return self.own_log(limit).map_err(firmware);
        }
        let client = self.other(core)?;
        self.in_time(core, client.kernel_log(THIS_CORE, limit))
            .await
    }

    async fn kernel_stats(&self, core: u16) -> Result<KernelStats, SystemError> {
        if !self.node.is_own(core) {
            let client = self.other(core)?;
            return self.in_time(core, client.kernel_stats(THIS_CORE)).await;
        }
        use KernelCounter as Counter;
        let entered = self.counter(Counter::EntryTicks);
        Ok(KernelStats {
            syscalls: self.counter(Counter::Syscalls),
            upcalls: self.counter(Counter::Upcalls),
            interrupts: self.counter(Counter::Interrupts),
            doorbell_interrupts: self.counter(Counter::DoorbellInterrupts),
            timer_interrupts: self.counter(Counter::TimerInterrupts),
            switches: self.counter(Counter::Switches),
            faults: self.counter(Counter::Faults),
            idle_us: microseconds(self.counter(Counter::IdleTicks)),
            uptime_us: microseconds(time::now().saturating_sub(entered)),
            home_bytes: self.counter(Counter::HomeBytes),
            object_bytes: self.counter(Counter::ObjectBytes),
            home_base: self.node.info.home.base,
        })
    }

    async fn modules(&self) -> Result<Vec<(String, u64)>, SystemError> {
        let spawnable = |kind| matches!(kind, ModuleKind::Elf | ModuleKind::Flat);
        let modules = self.node.archive.modules();
        let modules = modules.filter(|module| spawnable(module.kind()));
        Ok(modules
            .map(|module| (module.name().to_string(), module.data().len() as u64))
            .collect())
    }

    async fn probe(&self, core: u16, physical: u64) -> Result<bool, SystemError> {
        if !self.node.is_own(core) {
            let client = self.other(core)?;
            return self.in_time(core, client.probe(THIS_CORE, physical)).await;
        }
        let probed = sys::kernel::probe(self.node.kernel, PhysAddr(physical));
        probed.map_err(|_| SystemError::NotAllowed)
    }

    async fn kernel_map(
        &self,
        core: u16,
        first: u32,
        limit: u32,
    ) -> Result<Vec<KernelMapping>, SystemError> {
        if !self.node.is_own(core) {
            let client = self.other(core)?;
            return self
                .in_time(core, client.kernel_map(THIS_CORE, first, limit))
                .await;
        }
        let mut leaves = Vec::new();
        for index in first..first.saturating_add(limit.min(MAX_LEAVES)) {
            let leaf = sys::kernel::map_leaf(self.node.kernel, u64::from(index));
            let Some(leaf) = leaf.map_err(|_| SystemError::NotAllowed)? else {
                break;
            };
            leaves.push(KernelMapping {
                virtual_address: leaf.virtual_address.0,
                physical_address: leaf.physical_address.0,
                bytes: leaf.bytes,
                flags: leaf.flags.bits(),
            });
        }
        Ok(leaves)
    }
}
