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
use alloc::vec::Vec;

use crate::builtins::BuiltinId;
use crate::store::Cell;
use crate::symbol::Symbol;

/// A predicate of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PredId(pub(crate) u32);

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
}

impl Clause {
    /// A clause of the engine's own: no head, only these instructions.
    pub(crate) fn internal(instrs: &[Instr], slots: u32) -> Arc<Self> {
        Arc::new(Self {
            sequence: 0,
            head: Box::from([]),
            code: Box::from([]),
            instrs: Box::from(instrs),
            slots,
            keys: [Key::Any; INDEXED],
            source: Box::from([]),
        })
    }

    /// Whether the body is `true`.
    pub(crate) fn is_fact(&self) -> bool {
        matches!(*self.instrs, [Instr::Proceed])
    }

    /// Memory that the clause takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + (self.head.len() + self.code.len() + self.source.len()) * size_of::<Cell>()
            + self.instrs.len() * size_of::<Instr>()
            // Its places in the row of clauses and in the indexes.
            + 8 * size_of::<*const Self>()
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
pub(crate) type ClauseList = Arc<Vec<Arc<Clause>>>;
