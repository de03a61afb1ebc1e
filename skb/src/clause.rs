//! Clauses as the engine runs them.
//!
//! A clause's head is matched directly against a call's arguments; its body is a
//! row of [`Instr`]s whose argument terms are preorders in [`Clause::code`].
//! Control constructs are compiled away:
//!
//! ```text
//! (C -> T ; E)   Mark s; TryElse else; Mark c; C; CutTo s; T; Jump end; else: E; end:
//! (A ; B)        TryElse b; A; Jump end; b: B; end:
//! \+ G           Mark s; TryElse else; Mark c; G; CutTo s; Fail; else:
//! ```
//!
//! A cut in `C` or `G` is `CutTo c`, and leaves the way to `else` open; without one there is no
//! `Mark c`.
//!
//! The row of instructions ends with `Proceed`. A variable that first occurs
//! inside such a construct is made before it (`Init`), since each branch may be
//! the first to run.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::builtins::BuiltinId;
use crate::error::Resource;
use crate::memory::{Buffer, Charge, Pool, block, probe};
use crate::store::Cell;
use crate::symbol::Symbol;

/// A predicate of the database: its place there, and which of those that the place has held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PredId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// One instruction of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instr {
    /// Calls a predicate; `args` is where its argument terms begin in the code.
    /// `last` if nothing but `Proceed` follows.
    Call {
        pred: PredId,
        args: u32,
        arity: u32,
        last: bool,
    },
    /// Calls what bears a name by then; only in goals, so that asking for something doesn't make
    /// it known.
    CallNamed {
        name: Symbol,
        args: u32,
        arity: u32,
        last: bool,
    },
    /// Runs a built-in.
    Builtin {
        id: BuiltinId,
        args: u32,
        arity: u32,
    },
    /// Drops the choices made since the clause was entered.
    Cut,
    /// Remembers the number of choices in a slot.
    Mark(u32),
    /// Drops the choices made since the `Mark` with this slot.
    CutTo(u32),
    /// Makes a choice that goes on at this instruction.
    TryElse(u32),
    Jump(u32),
    /// Makes the variable of a slot.
    Init(u32),
    Fail,
    Proceed,
    /// A query's goal has succeeded.
    Solution,
    /// A solution of the goal of `findall/3`; its template is in slot 0.
    Collect,
    /// The goal of a `catch/3` has succeeded.
    PopCatch,
}

/// What an argument is indexed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A variable: matches everything.
    Any,
    Int(i64),
    Atom(Symbol),
    Str(Symbol),
    Compound(Symbol, u32),
}

/// Arguments, from the first, that may be indexed.
pub(crate) const INDEXED: usize = 3;

/// A clause, immutable once made.
#[derive(Debug)]
pub(crate) struct Clause {
    /// Names the clause, and its place among those of its predicate: ascending,
    /// negative for those that were put in front. No two clauses of a database
    /// ever have the same.
    pub(crate) sequence: i64,
    /// One preorder per argument.
    pub(crate) head: Box<[Cell]>,
    pub(crate) code: Box<[Cell]>,
    pub(crate) instrs: Box<[Instr]>,
    /// Slots for variables and marks.
    pub(crate) slots: u32,
    pub(crate) keys: [Key; INDEXED],
    /// The clause as it was given, `Head :- Body` or `Head`, with plain variables.
    pub(crate) source: Box<[Cell]>,
    /// For all of it: a clause that was removed lives on in the goals that walk over it.
    #[expect(dead_code, reason = "it is given back when the clause is dropped")]
    charge: Charge,
}

/// What a clause is made of.
pub(crate) struct Parts<'a> {
    pub(crate) sequence: i64,
    pub(crate) head: &'a [Cell],
    pub(crate) code: &'a [Cell],
    pub(crate) instrs: &'a [Instr],
    pub(crate) slots: u32,
    pub(crate) keys: [Key; INDEXED],
    pub(crate) source: &'a [Cell],
}

impl Clause {
    /// A clause for which `pool` pays.
    pub(crate) fn new(pool: &Arc<Pool>, parts: &Parts<'_>) -> Result<Arc<Self>, Resource> {
        let blocks = [
            size_of::<Self>() + 2 * size_of::<usize>(),
            size_of_val(parts.head),
            size_of_val(parts.code),
            size_of_val(parts.instrs),
            size_of_val(parts.source),
        ];
        let charge = Charge::of(pool, blocks.into_iter().map(block).sum())?;
        let exhausted = pool.resource();
        let copy = |cells: &[Cell]| {
            probe(size_of_val(cells), exhausted).map(|()| Box::<[Cell]>::from(cells))
        };
        let (head, code, source) = (copy(parts.head)?, copy(parts.code)?, copy(parts.source)?);
        probe(size_of_val(parts.instrs), exhausted)?;
        Ok(Arc::new(Self {
            sequence: parts.sequence,
            head,
            code,
            instrs: Box::from(parts.instrs),
            slots: parts.slots,
            keys: parts.keys,
            source,
            charge,
        }))
    }

    /// A clause of the engine's own: no head, only these instructions.
    pub(crate) fn internal(
        pool: &Arc<Pool>,
        instrs: &[Instr],
        slots: u32,
    ) -> Result<Arc<Self>, Resource> {
        let parts = Parts {
            sequence: 0,
            head: &[],
            code: &[],
            instrs,
            slots,
            keys: [Key::Any; INDEXED],
            source: &[],
        };
        Self::new(pool, &parts)
    }

    /// Whether the body is `true`.
    pub(crate) fn is_fact(&self) -> bool {
        matches!(*self.instrs, [Instr::Proceed])
    }
}

/// Index just past the preorder that starts at `at`.
pub(crate) fn end_of(cells: &[Cell], at: usize) -> usize {
    let mut open = 1usize;
    let mut i = at;
    while let Some(cell) = cells.get(i) {
        if let Cell::Compound(_, arity) = cell {
            open += *arity as usize;
        }
        open -= 1;
        i += 1;
        if open == 0 {
            break;
        }
    }
    i
}

/// Clauses of one predicate in order; shared with the goals that walk over it,
/// so that each sees the clauses of the moment it started (logical update view).
pub(crate) type ClauseList = Arc<Buffer<Arc<Clause>>>;

/// The block that a list lies in behind its two counts, without its entries; in bytes.
pub(crate) const fn list_block() -> usize {
    block(2 * size_of::<usize>() + size_of::<Buffer<Arc<Clause>>>())
}
