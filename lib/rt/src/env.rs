//! What the program was started with.

use alloc::string::String;

use capelin_abi::{CapAddress, boot::BootInfo};

use crate::{
    args::{Arguments, ArgumentsError},
    boot,
};

/// What the program was started with.
#[derive(Clone, Debug)]
pub struct Env {
    arguments: Arguments,
    boot: Option<&'static BootInfo>,
}

local! {
    /// For those who have no [`Env`] at hand: services, crash reports.
    static ARGUMENTS: Option<Arguments> = None;
}

impl Env {
    /// Reads the arguments page, or the boot information of a core's first domain.
    pub(crate) fn load(program: &str) -> Result<Self, ArgumentsError> {
        let boot = boot::info();
        let arguments = match boot {
            None => Arguments::parse(boot::arguments_page())?,
            Some(info) => Arguments {
                name: program.into(),
                core: u16::try_from(info.kernel_id).unwrap_or(0),
                ..Arguments::default()
            },
        };
        ARGUMENTS.with(|known| *known.borrow_mut() = Some(arguments.clone()));
        Ok(Self { arguments, boot })
    }

    /// The program's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.arguments.name
    }

    /// Kernel id of the core that it runs on.
    #[must_use]
    pub const fn core(&self) -> u16 {
        self.arguments.core
    }

    /// The arguments, without the name.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments.arguments
    }

    /// A word of the environment.
    #[must_use]
    pub fn word(&self, key: &str) -> Option<u64> {
        self.arguments
            .environment
            .iter()
            .find_map(|(known, word)| (known == key).then_some(*word))
    }

    /// The slot of a capability that the spawner passed under `name`.
    #[must_use]
    pub fn capability(&self, name: &str) -> Option<CapAddress> {
        self.arguments.capability(name)
    }

    /// The names of all capabilities passed.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        self.arguments.capabilities.iter().map(String::as_str)
    }

    /// What a core's first domain is told; `None` in all others.
    #[must_use]
    pub const fn boot(&self) -> Option<&'static BootInfo> {
        self.boot
    }
}

/// The slot of a capability that the spawner passed under `name`.
#[must_use]
pub fn capability(name: &str) -> Option<CapAddress> {
    ARGUMENTS.with(|known| known.borrow().as_ref()?.capability(name))
}

/// A word of the environment.
pub(crate) fn word(key: &str) -> Option<u64> {
    ARGUMENTS.with(|known| {
        let known = known.borrow();
        let mut words = known.as_ref()?.environment.iter();
        words.find_map(|(name, word)| (name == key).then_some(*word))
    })
}

/// The program's name, if it is known yet and nobody is changing it.
pub(crate) fn with_name(use_name: impl FnOnce(&str)) {
    ARGUMENTS.with(|known| match known.try_borrow() {
        Ok(known) => use_name(known.as_ref().map_or("a program", |a| &a.name)),
        Err(_) => use_name("a program"),
    });
}
