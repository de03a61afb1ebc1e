//! Services by name.

use alloc::{string::String, vec::Vec};

use capelin_idc::{Cap, interface};

crate::service_error! {
    /// Why a name led nowhere.
    NamesError {
        /// Nobody has registered under this name.
        NotFound = "no such service",
        /// Somebody else has.
        AlreadyRegistered = "the name is taken",
        /// Names are 1 to 63 bytes long.
        InvalidName = "invalid name",
        /// The table is full.
        Exhausted = "too many services",
        /// This client has registered as many as one may.
        ShareUsed = "this client has registered as many services as one may",
        /// Only what the system starts may register under this name ([`is_reserved`]).
        Reserved = "the name is the system's",
    }
}

/// What is registered under a name that begins so is for whoever serves the names: nobody else
/// finds it.
pub const PRIVATE: &str = ".";

/// Whether only what the system starts may register under `name`: the private ones, and those by which
/// programs find the system's services ([`crate::service`]), before they are there and while they are
/// started anew, too.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(PRIVATE) || crate::service::ALL.contains(&name)
}

/// Finds the endpoints of services on this core.
#[interface(name = "names", version = 1)]
pub trait Names {
    /// Registers `endpoint`, to which clients bind, until this client's connection ends. It
    /// must be badged (`Listener::capability`), so that nobody can badge it anew. Names that
    /// [`is_reserved`] tells of are refused to whoever the system hasn't started.
    async fn register(&self, name: &str, endpoint: Cap) -> Result<(), NamesError>;

    /// The endpoint registered under `name`.
    async fn look_up(&self, name: &str) -> Result<Cap, NamesError>;

    /// As [`Names::look_up`], but waits until somebody registers.
    async fn wait_for(&self, name: &str) -> Result<Cap, NamesError>;

    /// The names registered, sorted.
    async fn list(&self) -> Result<Vec<String>, NamesError>;
}
