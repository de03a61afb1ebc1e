//! How it stands with each device.

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec::Vec,
};

use capelin_interfaces::devices::{DeviceInfo, DeviceState};

/// How a driver's program has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By itself, with this code.
    Exited(u64),
    /// By a fault.
    Crashed,
}

/// All devices, in the order of the device tree.
#[derive(Debug, Default)]
pub struct Inventory(Vec<Record>);

#[derive(Debug)]
struct Record {
    info: DeviceInfo,
    /// The domain that drives it.
    domain: Option<String>,
}

impl Inventory {
    /// Notes a device that isn't driven; what was known of it is forgotten.
    pub fn set(&mut self, path: &str, driver: Option<&str>, state: DeviceState) {
        self.note(path, driver, state, None);
    }

    /// Notes that the domain called `domain` drives a device.
    pub fn runs(&mut self, path: &str, driver: &str, domain: &str) {
        self.note(path, Some(driver), DeviceState::Running, Some(domain));
    }

    fn note(&mut self, path: &str, driver: Option<&str>, state: DeviceState, domain: Option<&str>) {
        let record = Record {
            info: DeviceInfo {
                path: path.to_string(),
                driver: driver.map(String::from),
                state,
            },
            domain: domain.map(String::from),
        };
        match self.0.iter_mut().find(|known| known.info.path == path) {
            Some(known) => *known = record,
            None => self.0.push(record),
        }
    }

    /// Whether the domain called `name` drives a device.
    #[must_use]
    pub fn is_domain(&self, name: &str) -> bool {
        let mut records = self.0.iter();
        records.any(|record| record.domain.as_deref() == Some(name))
    }

    /// A name for the domain of a further driver from module `module`, which no domain has that runs.
    #[must_use]
    pub fn domain_name(&self, module: &str) -> String {
        let is_free = |name: &String| !self.is_domain(name);
        let numbered = (2_u32..).map(|number| alloc::format!("{module}-{number}"));
        core::iter::once(String::from(module))
            .chain(numbered)
            .find(is_free)
            .unwrap_or_default()
    }

    /// The domains that run from module `module`, whatever they drive.
    #[must_use]
    pub fn domains_of(&self, module: &str) -> Vec<String> {
        let of = |record: &&Record| record.info.driver.as_deref() == Some(module);
        let records = self.0.iter().filter(of);
        let domains: BTreeSet<_> = records.filter_map(|record| record.domain.clone()).collect();
        domains.into_iter().collect()
    }

    /// Whether there is a record of the device at `path`.
    #[must_use]
    pub fn knows(&self, path: &str) -> bool {
        self.0.iter().any(|record| record.info.path == path)
    }

    /// The domain called `domain` has ended; gives the paths of the devices that it drove.
    pub fn ended(&mut self, domain: &str, end: End) -> Vec<String> {
        let mut paths = Vec::new();
        for record in &mut self.0 {
            if record.domain.as_deref() == Some(domain) {
                record.domain = None;
                record.info.state = match end {
                    End::Exited(code) => DeviceState::Exited { code },
                    End::Crashed => DeviceState::Crashed,
                };
                paths.push(record.info.path.clone());
            }
        }
        paths
    }

    /// At most `limit` devices from number `first` on.
    #[must_use]
    pub fn list(&self, first: u32, limit: u32) -> Vec<DeviceInfo> {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let records = self.0.iter().skip(count(first)).take(count(limit));
        records.map(|record| record.info.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(inventory: &Inventory, path: &str) -> DeviceState {
        let all = inventory.list(0, 100);
        let found = all.into_iter().find(|info| info.path == path);
        found.unwrap().state
    }

    #[test]
    fn a_driver_that_ends_leaves_its_device_only() {
        let mut inventory = Inventory::default();
        inventory.set("/a", None, DeviceState::NoDriver);
        let first = inventory.domain_name("uart");
        inventory.runs("/b", "uart", &first);
        let second = inventory.domain_name("uart");
        inventory.runs("/c", "uart", &second);
        assert_eq!((first.as_str(), second.as_str()), ("uart", "uart-2"));
        inventory.set("/d", Some("uart"), DeviceState::NotConsole);
        assert_eq!(inventory.domains_of("uart"), ["uart", "uart-2"]);
        assert_eq!(inventory.ended("uart", End::Exited(3)), ["/b"]);
        assert_eq!(inventory.domains_of("uart"), ["uart-2"]);
        assert_eq!(state(&inventory, "/b"), DeviceState::Exited { code: 3 });
        assert_eq!(state(&inventory, "/c"), DeviceState::Running);
        // It ends once; the name is free again.
        assert_eq!(inventory.ended("uart", End::Crashed), [""; 0]);
        assert_eq!(inventory.domain_name("uart"), "uart");
        assert_eq!(inventory.ended("uart-2", End::Crashed), ["/c"]);
        assert_eq!(state(&inventory, "/c"), DeviceState::Crashed);
    }

    #[test]
    fn a_device_is_listed_once_and_in_order() {
        let mut inventory = Inventory::default();
        for path in ["/a", "/b", "/c"] {
            inventory.set(path, None, DeviceState::NoDriver);
        }
        inventory.runs("/b", "uart", "uart");
        let paths = |first, limit| {
            let list = inventory.list(first, limit);
            list.into_iter().map(|info| info.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(0, 10), ["/a", "/b", "/c"]);
        assert_eq!(paths(1, 1), ["/b"]);
        assert_eq!(paths(3, u32::MAX), [""; 0]);
    }
}
