//! The System Knowledge Base: what the machine is, and what policy follows.
//!
//! A logic database with a Prolog dialect. The boot monitor fills it with facts
//! from the device tree; whoever needs a policy decision asks it: which core
//! starts which ([`RULES`]: `boot_tree/2`), where a ring lies (`ring_node/3`),
//! which memory is near (`nearest_memory/2`). `docs/080-skb.md` is the reference.
//!
//! ```
//! use capelin_skb::{KnowledgeBase, schema};
//! let mut kb = KnowledgeBase::with_rules();
//! for id in 0..4 {
//!     kb.assert_fact(&schema::Core { id, mpidr: id << 8, node: id / 2 })?;
//! }
//! let order = kb.first("boot_order(Cores)")?.and_then(|s| s.ints("Cores"));
//! assert_eq!(order, Some(vec![1, 2, 3]));
//! # Ok::<(), capelin_skb::Error>(())
//! ```
//!
//! # The way of a query
//!
//! ```text
//! text → lexer → reader → Term → compile → Clause ─┐
//!                                                  ├→ Query (machine, store) → Solution
//! consult, assert ────────→ Term → compile → database
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `term`, `reader`, `lexer`, `operators`, `writer` | terms outside the engine, and their text |
//! | `symbol`, `store` | names and terms inside the engine |
//! | `memory` | what memory is used for whom |
//! | `clause`, `compile`, `database` | clauses, their instructions, predicates and indexes |
//! | `machine`, `builtins`, `library.pl` | resolution, built-in predicates, the library |
//! | `knowledge_base`, `scope`, `query`, `error` | the interface |
//! | [`schema`], `rules.pl`, `machine_facts` | facts and rules of the machine |
//! | [`server`] | what the program beside it (`src/bin/skb/main.rs`) serves with, as far as no kernel is needed |
//!
//! # Bad input
//!
//! No text and no program panics or overflows the host's stack: the reader, the
//! writer, the compiler and the engine walk terms with stacks of their own. A
//! runaway query ends in [`Error::Limit`]. Syntax follows ISO/IEC 13211-1.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod builtins;
mod clause;
mod compile;
mod database;
mod error;
mod fault;
mod knowledge_base;
mod lexer;
mod machine;
mod machine_facts;
mod memory;
mod operators;
mod pci_facts;
mod query;
mod reader;
pub mod schema;
mod scope;
pub mod server;
mod store;
mod symbol;
mod term;
mod writer;

pub use error::{Error, Position, Resource, SyntaxError, SyntaxErrorKind};
pub use knowledge_base::{DRIVER_RULES, DRIVERS, KnowledgeBase, RULES, TOPOLOGY};
pub use machine_facts::{facts_from_machine, set_running_core};
pub use pci_facts::{
    InterruptKind, MessageRoute, PCI_NAMES, PCI_RULES, SLOT_NAMES, SeenWindow, Wire,
    message_frame_fact, pci_facts, pci_host_facts, pci_interrupt, pci_place, pci_placed,
};
pub use query::{Progress, Query, Solution};
pub use reader::{ReadTerm, Reader, read_term};
pub use scope::{Limits, Reservation, Scope};
pub use term::{Args, Name, Term, TermRef, View};

#[cfg(test)]
mod tests;
