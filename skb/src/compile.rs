//! From clause terms to [`Clause`]s.

use alloc::sync::Arc;

use crate::clause::{Clause, INDEXED, Instr, Key, Parts, end_of};
use crate::database::{Database, NamespaceId, Target};
use crate::error::Resource;
use crate::memory::{Buffer, Pool};
use crate::store::{Cell, index};
use crate::symbol::Symbol;

/// Why a term is no clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompileError {
    /// The head or the whole clause is a variable.
    Instantiation,
    /// The head, or a goal of the body, can't be called.
    NotCallable,
    /// There is no room for the clause.
    Limit(Resource),
}

impl From<Resource> for CompileError {
    fn from(resource: Resource) -> Self {
        Self::Limit(resource)
    }
}

/// What a clause is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be kept, with this number; unknown predicates that the body calls are entered in the
    /// database, without clauses.
    Clause {
        /// [`Clause::sequence`].
        sequence: i64,
    },
    /// To be run: unknown predicates are looked for when they are called.
    Goal,
}

/// Where head and body of a clause begin in its preorder; no body for a fact.
pub(crate) fn split(source: &[Cell]) -> (usize, Option<usize>) {
    match source.first() {
        Some(Cell::Compound(Symbol::NECK, 2)) => (1, Some(end_of(source, 1))),
        _ => (0, None),
    }
}

/// Name and number of arguments of the head that begins at `at`.
pub(crate) fn head_functor(source: &[Cell], at: usize) -> Result<(Symbol, u32), CompileError> {
    match source.get(at) {
        Some(Cell::Atom(name)) => Ok((*name, 0)),
        Some(Cell::Compound(name, arity)) => Ok((*name, *arity)),
        Some(Cell::Var(_)) | None => Err(CompileError::Instantiation),
        _ => Err(CompileError::NotCallable),
    }
}

/// Compiles the clause that the preorder `source` is for a namespace; `pool` pays for it.
pub(crate) fn compile(
    database: &mut Database,
    namespace: NamespaceId,
    pool: &Arc<Pool>,
    source: &[Cell],
    purpose: Purpose,
) -> Result<Arc<Clause>, CompileError> {
    let (head_at, body_at) = split(source);
    let (_, arity) = head_functor(source, head_at)?;
    let variables = variable_count(source);
    let mut occurrences = Buffer::new(pool);
    occurrences.resize(variables as usize, 0u32)?;
    for cell in source {
        if let Cell::Var(n) = cell {
            occurrences[*n as usize] += 1;
        }
    }
    let mut known = Buffer::new(pool);
    known.resize(variables as usize, false)?;
    let mut compiler = Compiler {
        source,
        ends: ends(source, pool)?,
        database,
        namespace,
        purpose,
        occurrences,
        known,
        code: Buffer::new(pool),
        instrs: Buffer::new(pool),
        slots: variables,
    };
    let head = compiler.head(head_at, arity)?;
    if let Some(body) = body_at {
        compiler.body(body)?;
    }
    compiler.instrs.push(Instr::Proceed)?;
    compiler.finish_jumps();
    let Compiler {
        code,
        instrs,
        slots,
        ..
    } = compiler;
    let keys = keys(&head);
    let sequence = match purpose {
        Purpose::Clause { sequence } => sequence,
        Purpose::Goal => 0,
    };
    let parts = Parts {
        sequence,
        head: &head,
        code: &code,
        instrs: &instrs,
        slots,
        keys,
        source,
    };
    Ok(Clause::new(pool, &parts)?)
}

/// One more than the largest number of a variable.
fn variable_count(source: &[Cell]) -> u32 {
    let number = |cell: &Cell| if let Cell::Var(n) = cell { n + 1 } else { 0 };
    source.iter().map(number).max().unwrap_or(0)
}

/// Index just past each subterm, in one pass from the end.
fn ends(source: &[Cell], pool: &Arc<Pool>) -> Result<Buffer<usize>, Resource> {
    let mut ends = Buffer::new(pool);
    ends.resize(source.len(), source.len())?;
    // Starts of the complete subterms to the right, nearest last.
    let mut complete: Buffer<usize> = Buffer::new(pool);
    for (i, cell) in source.iter().enumerate().rev() {
        let mut end = i + 1;
        if let Cell::Compound(_, arity) = cell {
            for _ in 0..*arity {
                end = complete.pop().map_or(end, |arg| ends[arg]);
            }
        }
        ends[i] = end;
        complete.push(i)?;
    }
    Ok(ends)
}

fn keys(head: &[Cell]) -> [Key; INDEXED] {
    let mut at = 0;
    [(); INDEXED].map(|()| {
        let key = match head.get(at) {
            Some(Cell::Int(i)) => Key::Int(*i),
            Some(Cell::Atom(name)) => Key::Atom(*name),
            Some(Cell::Str(text)) => Key::Str(*text),
            Some(Cell::Compound(name, arity)) => Key::Compound(*name, *arity),
            _ => Key::Any,
        };
        at = end_of(head, at);
        key
    })
}

struct Compiler<'a> {
    source: &'a [Cell],
    /// Index just past each subterm.
    ends: Buffer<usize>,
    database: &'a mut Database,
    namespace: NamespaceId,
    purpose: Purpose,
    /// How often each variable occurs.
    occurrences: Buffer<u32>,
    /// Variables that have their value at the present instruction.
    known: Buffer<bool>,
    code: Buffer<Cell>,
    instrs: Buffer<Instr>,
    slots: u32,
}

/// What is left to do, on a stack in place of recursion.
enum Work {
    /// Compile the goal at an index.
    Goal(Goal),
    Emit(Instr),
    /// End of a first branch: jump to the end of the whole construct, and let
    /// the `TryElse` at this instruction lead to what follows.
    Else(usize),
    /// Let the innermost open jump lead here.
    End,
    /// Let the `TryElse` at this instruction lead here.
    Here(usize),
}

#[derive(Clone, Copy)]
struct Goal {
    at: usize,
    /// Where a cut in it cuts to: a `Mark`'s slot, or the clause's entry.
    cut: Option<u32>,
    /// It is inside a control construct.
    branch: bool,
}

/// A condition whose choice and marks are there.
struct Condition {
    /// The mark before the choice: cutting to it commits to the condition's success.
    commit: u32,
    /// The `TryElse` that is to lead to the else branch.
    try_else: usize,
    /// What is to be compiled next.
    goal: Goal,
}

impl Compiler<'_> {
    fn head(&mut self, at: usize, arity: u32) -> Result<Buffer<Cell>, Resource> {
        let mut head = Buffer::new(self.code.pool());
        if arity > 0 {
            let end = self.ends[at];
            for i in at + 1..end {
                let cell = self.occurrence(self.source[i]);
                head.push(cell)?;
            }
        }
        Ok(head)
    }

    /// The cell of a clause's code for one of its source.
    fn occurrence(&mut self, cell: Cell) -> Cell {
        let Cell::Var(n) = cell else { return cell };
        if self.occurrences[n as usize] == 1 {
            Cell::Void
        } else if core::mem::replace(&mut self.known[n as usize], true) {
            cell
        } else {
            Cell::First(n)
        }
    }

    fn body(&mut self, at: usize) -> Result<(), CompileError> {
        let mut work = Buffer::new(self.code.pool());
        work.push(Work::Goal(Goal {
            at,
            cut: None,
            branch: false,
        }))?;
        let mut jumps: Buffer<usize> = Buffer::new(self.code.pool());
        while let Some(item) = work.pop() {
            let here = index(self.instrs.len());
            match item {
                Work::Goal(goal) => self.goal(goal, &mut work)?,
                Work::Emit(instr) => self.instrs.push(instr)?,
                Work::Else(try_else) => {
                    jumps.push(self.instrs.len())?;
                    self.instrs.push(Instr::Jump(0))?;
                    self.instrs[try_else] = Instr::TryElse(here + 1);
                }
                Work::End => {
                    if let Some(jump) = jumps.pop() {
                        self.instrs[jump] = Instr::Jump(here);
                    }
                }
                Work::Here(try_else) => self.instrs[try_else] = Instr::TryElse(here),
            }
        }
        Ok(())
    }

    fn goal(&mut self, goal: Goal, work: &mut Buffer<Work>) -> Result<(), CompileError> {
        let Goal { at, cut, branch } = goal;
        let (name, arity) = match self.source.get(at).copied() {
            Some(Cell::Atom(name)) => (name, 0),
            Some(Cell::Compound(name, arity)) => (name, arity),
            Some(Cell::Var(_)) => {
                // A variable as goal is called when it is bound.
                return Ok(self.call(Symbol::CALL, 1, at)?);
            }
            _ => return Err(CompileError::NotCallable),
        };
        let left = at + 1;
        match (name, arity) {
            (Symbol::COMMA, 2) => {
                let right = self.ends[left];
                work.push(Work::Goal(Goal { at: right, ..goal }))?;
                work.push(Work::Goal(Goal { at: left, ..goal }))?;
            }
            (Symbol::TRUE, 0) => {}
            (Symbol::CUT, 0) => self.instrs.push(cut.map_or(Instr::Cut, Instr::CutTo))?,
            (Symbol::SEMICOLON, 2) => {
                let right = self.ends[left];
                self.enter_branch(at, branch)?;
                let otherwise = Goal {
                    at: right,
                    cut,
                    branch: true,
                };
                if let Some(Cell::Compound(Symbol::ARROW, 2)) = self.source.get(left) {
                    self.if_then_else(left, Some(otherwise), cut, work)?;
                } else {
                    let try_else = self.instrs.len();
                    self.instrs.push(Instr::TryElse(0))?;
                    work.push(Work::End)?;
                    work.push(Work::Goal(otherwise))?;
                    work.push(Work::Else(try_else))?;
                    work.push(Work::Goal(Goal {
                        at: left,
                        cut,
                        branch: true,
                    }))?;
                }
            }
            (Symbol::ARROW, 2) => {
                self.enter_branch(at, branch)?;
                self.if_then_else(at, None, cut, work)?;
            }
            (Symbol::NOT, 1) => {
                self.enter_branch(at, branch)?;
                let opened = self.open_condition(left)?;
                work.push(Work::Here(opened.try_else))?;
                work.push(Work::Emit(Instr::Fail))?;
                work.push(Work::Emit(Instr::CutTo(opened.commit)))?;
                work.push(Work::Goal(opened.goal))?;
            }
            _ => self.call(name, arity, left)?,
        }
        Ok(())
    }

    /// `C -> T` at `at`, with its else branch if it has one.
    fn if_then_else(
        &mut self,
        at: usize,
        otherwise: Option<Goal>,
        cut: Option<u32>,
        work: &mut Buffer<Work>,
    ) -> Result<(), Resource> {
        let condition = at + 1;
        let then = self.ends[condition];
        let opened = self.open_condition(condition)?;
        work.push(Work::End)?;
        work.push(otherwise.map_or(Work::Emit(Instr::Fail), Work::Goal))?;
        work.push(Work::Else(opened.try_else))?;
        work.push(Work::Goal(Goal {
            at: then,
            cut,
            branch: true,
        }))?;
        work.push(Work::Emit(Instr::CutTo(opened.commit)))?;
        work.push(Work::Goal(opened.goal))
    }

    /// Opens the condition at `at`, of `->` or `\+`: what it leaves behind when it succeeds is cut
    /// together with the way to the else branch, but a cut *in* it leaves that way open: it is local
    /// to the condition (ISO 7.8.7, 7.8.8, 8.15.1). So there are two marks, one on either side of the
    /// choice.
    fn open_condition(&mut self, at: usize) -> Result<Condition, Resource> {
        let commit = self.mark()?;
        let try_else = self.instrs.len();
        self.instrs.push(Instr::TryElse(0))?;
        let cuts = self.source[at..self.ends[at]].contains(&Cell::Atom(Symbol::CUT));
        let cut = if cuts { self.mark()? } else { commit };
        Ok(Condition {
            commit,
            try_else,
            goal: Goal {
                at,
                cut: Some(cut),
                branch: true,
            },
        })
    }

    fn mark(&mut self) -> Result<u32, Resource> {
        let slot = self.slots;
        self.slots += 1;
        self.instrs.push(Instr::Mark(slot))?;
        Ok(slot)
    }

    /// Makes the variables of the outermost construct at `at` that have no value
    /// yet. Within it all are known then.
    fn enter_branch(&mut self, at: usize, branch: bool) -> Result<(), Resource> {
        if branch {
            return Ok(());
        }
        for i in at..self.ends[at] {
            if let Cell::Var(n) = self.source[i]
                && self.occurrences[n as usize] > 1
                && !core::mem::replace(&mut self.known[n as usize], true)
            {
                self.instrs.push(Instr::Init(n))?;
            }
        }
        Ok(())
    }

    /// A call with `arity` argument terms from `at` on.
    fn call(&mut self, name: Symbol, arity: u32, at: usize) -> Result<(), Resource> {
        let args = index(self.code.len());
        let mut end = at;
        for _ in 0..arity {
            end = self.ends[end];
        }
        for i in at..end {
            let cell = self.occurrence(self.source[i]);
            self.code.push(cell)?;
        }
        let known = match self.purpose {
            Purpose::Goal => self.database.known(self.namespace, name, arity),
            Purpose::Clause { .. } => Some(self.database.resolve(self.namespace, name, arity)?),
        };
        self.instrs.push(match known {
            None => Instr::CallNamed {
                name,
                args,
                arity,
                last: false,
            },
            Some(Target::Builtin(id)) => Instr::Builtin { id, args, arity },
            Some(Target::Predicate(pred)) => Instr::Call {
                pred,
                args,
                arity,
                last: false,
            },
        })
    }

    /// Lets jumps lead to their final place and marks the last calls. From the
    /// end backwards, as jumps only lead forward: one pass, whatever the nesting.
    fn finish_jumps(&mut self) {
        for i in (0..self.instrs.len()).rev() {
            if let Instr::Jump(to) = self.instrs[i]
                && let Some(Instr::Jump(further)) = self.instrs.get(to as usize)
            {
                self.instrs[i] = Instr::Jump(*further);
            }
        }
        for i in 0..self.instrs.len() {
            let proceeds = goes_to(&self.instrs, i + 1) == Some(Instr::Proceed);
            if let Instr::Call { last, .. } | Instr::CallNamed { last, .. } = &mut self.instrs[i] {
                *last = proceeds;
            }
        }
    }
}

/// The instruction that runs at `at` once a jump is taken.
pub(crate) fn goes_to(instrs: &[Instr], at: usize) -> Option<Instr> {
    match instrs.get(at) {
        Some(Instr::Jump(to)) => instrs.get(*to as usize).copied(),
        other => other.copied(),
    }
}

/// Whether a goal is a control construct that has to be compiled to run.
pub(crate) fn is_control(name: Symbol, arity: u32) -> bool {
    matches!(
        (name, arity),
        (Symbol::COMMA | Symbol::SEMICOLON | Symbol::ARROW, 2)
            | (Symbol::NOT, 1)
            | (Symbol::CUT | Symbol::TRUE, 0)
    )
}

/// Whether the program may not define this predicate.
pub(crate) fn is_reserved(database: &Database, name: Symbol, arity: u32) -> bool {
    is_control(name, arity)
        || matches!((name, arity), (Symbol::NECK, 1 | 2) | (Symbol::COLON, 2))
        || matches!(
            database.known(NamespaceId::SYSTEM, name, arity),
            Some(Target::Builtin(_))
        )
}
