//! What a domain is to be given.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use capelin_abi::{CapAddress, Rights, syscall::DispatcherFlags};
use capelin_rt::{OwnedCap, args::Arguments};

use crate::{Chunk, Domain, Image, SpawnError, loader};

/// Bytes of home memory that a domain has for itself, unless said otherwise.
pub const HOME_BYTES: u64 = 256 * 1024;
/// Bytes of RAM that a domain has for itself, unless said otherwise.
pub const RAM_BYTES: u64 = 2 * 1024 * 1024;

/// What a domain is to be given.
#[derive(Debug)]
pub struct Program {
    pub(crate) arguments: Arguments,
    pub(crate) capabilities: Vec<(CapAddress, Rights)>,
    pub(crate) parent: Option<CapAddress>,
    pub(crate) death: Option<OwnedCap>,
    pub(crate) home_bytes: u64,
    pub(crate) ram_bytes: u64,
    pub(crate) flags: DispatcherFlags,
}

impl Program {
    /// A program called `name`, with nothing but memory of its own.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            arguments: Arguments {
                name: name.to_string(),
                ..Arguments::default()
            },
            capabilities: Vec::new(),
            parent: None,
            death: None,
            home_bytes: HOME_BYTES,
            ram_bytes: RAM_BYTES,
            flags: DispatcherFlags::empty(),
        }
    }

    /// Kernel id of the core that it runs on, for it to know.
    #[must_use]
    pub const fn core(mut self, core: u16) -> Self {
        self.arguments.core = core;
        self
    }

    /// One more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.arguments.push(argument.to_string());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn arguments<S: AsRef<str>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        let texts = arguments
            .into_iter()
            .map(|text| String::from(text.as_ref()));
        self.arguments.arguments.extend(texts);
        self
    }

    /// A word of its environment.
    #[must_use]
    pub fn word(mut self, key: &str, word: u64) -> Self {
        self.arguments.environment.push((key.to_string(), word));
        self
    }

    /// A copy of the capability in slot `source`, which it finds under `name`. Without the right to
    /// revoke. At most 128.
    #[must_use]
    pub fn capability(self, name: &str, source: CapAddress) -> Self {
        self.capability_with(name, source, Rights::all().difference(Rights::REVOKE))
    }

    /// As [`Program::capability`], with the rights in `mask` of those that it has.
    #[must_use]
    pub fn capability_with(mut self, name: &str, source: CapAddress, mask: Rights) -> Self {
        self.arguments.capabilities.push(name.to_string());
        self.capabilities.push((source, mask));
        self
    }

    /// A copy of this endpoint as its [`capelin_abi::layout::slot::PARENT`].
    #[must_use]
    pub const fn parent(mut self, endpoint: CapAddress) -> Self {
        self.parent = Some(endpoint);
        self
    }

    /// Has this endpoint told when the domain ends, by an event with its badge; the words are the
    /// [`capelin_abi::syscall::DispatcherState`] and the exit code. It is one of
    /// [`capelin_rt::endpoint::Endpoint::for_events`].
    #[must_use]
    pub fn death(mut self, endpoint: OwnedCap) -> Self {
        self.death = Some(endpoint);
        self
    }

    /// Bytes of home memory for its own kernel objects; rounded up to whole pages.
    #[must_use]
    pub const fn home_bytes(mut self, bytes: u64) -> Self {
        self.home_bytes = bytes;
        self
    }

    /// Bytes of RAM for its own frames; rounded up to whole pages.
    #[must_use]
    pub const fn ram_bytes(mut self, bytes: u64) -> Self {
        self.ram_bytes = bytes;
        self
    }

    /// Lets it use the floating-point registers.
    #[must_use]
    pub const fn with_fp(mut self) -> Self {
        self.flags = self.flags.union(DispatcherFlags::FP);
        self
    }

    /// Makes the domain from this program's own memory, asking the memory service when that
    /// isn't enough, and lets it run.
    ///
    /// # Errors
    /// See [`SpawnError`]. Nothing is left then.
    pub async fn spawn(self, image: &Image<'_>) -> Result<Domain, SpawnError> {
        let domain = self.make(image).await?;
        domain.run()?;
        Ok(domain)
    }

    /// As [`Program::spawn`], without letting it run yet.
    ///
    /// # Errors
    /// As [`Program::spawn`].
    pub async fn make(self, image: &Image<'_>) -> Result<Domain, SpawnError> {
        let needs = loader::needs(&self, image)?;
        let home = Chunk::home(needs.home)?;
        let ram = Chunk::ram(needs.ram).await?;
        loader::make(self, image, home, ram)
    }

    /// As [`Program::make`], from chunks that the caller has: at least what [`loader::needs`]
    /// says; all that is more is the domain's.
    ///
    /// # Errors
    /// As [`Program::spawn`].
    pub fn make_in(self, image: &Image<'_>, home: Chunk, ram: Chunk) -> Result<Domain, SpawnError> {
        loader::make(self, image, home, ram)
    }
}
