//! On whose behalf something is done, and within which bounds.

use alloc::sync::Arc;

use crate::database::NamespaceId;
use crate::error::Error;
use crate::memory::{Charge, Pool};

/// Bounds that turn runaway programs into errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of one query: calls made, and cells of terms visited.
    pub steps: u64,
    /// Memory of one query's terms and stacks, in bytes.
    pub query_bytes: usize,
    /// Memory of the system's clauses and names, in bytes.
    pub database_bytes: usize,
    /// Memory of everything together, clients' clauses and all open queries included, in bytes.
    pub memory_bytes: usize,
}

impl Default for Limits {
    /// 50 million steps, 32 MiB a query, 64 MiB of clauses and names, 256 MiB together.
    fn default() -> Self {
        Self {
            steps: 50_000_000,
            query_bytes: 32 << 20,
            database_bytes: 64 << 20,
            memory_bytes: 256 << 20,
        }
    }
}

/// On whose behalf something is asked, added or removed: the system's, or a client's.
///
/// A client sees what the system knows, and has a namespace of its own for what it adds: nobody
/// else sees that, and it ends with the client (`KnowledgeBase::close_client`). What the system
/// knows a client can't change: `permission_error(modify, static_procedure, Name/Arity)`. All that
/// is the client's, clauses, names and open queries, counts against its share of memory.
#[derive(Clone, Debug)]
pub struct Scope {
    pub(crate) namespace: NamespaceId,
    /// For the queries; a client's for all of it.
    pub(crate) queries: Arc<Pool>,
    /// For clauses and names.
    pub(crate) clauses: Arc<Pool>,
}

impl Scope {
    /// Memory in use on its behalf, in bytes; the system's without its queries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        if self.namespace == NamespaceId::SYSTEM {
            self.clauses.used()
        } else {
            self.queries.used()
        }
    }
}

/// Memory that something outside the knowledge base takes on somebody's behalf, counted against his
/// share; given back when this is dropped.
#[derive(Debug)]
pub struct Reservation(pub(crate) Charge);

impl Reservation {
    /// Counts `bytes` bytes more.
    ///
    /// # Errors
    /// A bound.
    pub fn add(&mut self, bytes: usize) -> Result<(), Error> {
        self.0.add(bytes).map_err(Error::Limit)
    }

    /// Counts `bytes` bytes less.
    pub fn remove(&mut self, bytes: usize) {
        self.0.remove(bytes);
    }
}
