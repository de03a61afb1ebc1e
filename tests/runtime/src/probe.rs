//! The interface by which parent and children test each other.

use alloc::{string::String, vec::Vec};

use capelin_idc::{CallError, Cap, interface};

/// Small operations of every kind.
#[interface(name = "probe", version = 1)]
pub(crate) trait Probe {
    /// The sum.
    async fn add(&self, a: u64, b: u64) -> u64;
    /// The same bytes in the other order.
    async fn reverse(&self, bytes: &[u8]) -> Vec<u8>;
    /// A copy of the capability.
    async fn echo(&self, cap: Cap) -> Result<Cap, CallError>;
    /// The badge by which the server knows the caller.
    async fn who(&self) -> u64;
    /// Never answers.
    async fn hang(&self) -> u64;
    /// Remembers a text.
    #[oneway]
    async fn note(&self, text: &str);
    /// The texts remembered.
    async fn notes(&self) -> Vec<String>;
}
