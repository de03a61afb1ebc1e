//! The term store of one query: cells, bindings and their trail.
//!
//! Terms live in one growing vector of [`Value`]s and refer to each other by
//! index. A variable is a cell that refers to itself until it is bound; a
//! compound is a [`Value::Functor`] header with its arguments behind it.
//! Backtracking cuts the vector back and undoes the bindings on the trail, which
//! holds only those of variables older than the newest choice.
//!
//! Cells are appended in many places. Room for them is made by [`Store::require`] before, which
//! can fail; it leaves [`SPARE`] cells over for what needs a few of them, and is called anew at
//! every call. Each variable stands on the trail at most once, as it is bound once: a trail of as
//! many entries as there are cells never grows.
//!
//! Every walk over terms is iterative and counts a step per cell, so that
//! neither deep, nor shared, nor cyclic terms overflow a stack or run for ever.

mod transfer;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::error::Resource;
use crate::fault::Fault;
use crate::memory::{self, Buffer, Charge, Pool};
use crate::symbol::{Symbol, Symbols};

pub(crate) use transfer::{Cell, FreshVariables, Slots, VarNumbers};

/// One cell, or a reference to a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// The variable at this index; bound if the cell holds something else.
    Var(u32),
    Int(i64),
    Atom(Symbol),
    Str(Symbol),
    /// The compound whose header is at this index.
    Struct(u32),
    /// Header of a compound with its number of arguments; never a term.
    Functor(Symbol, u32),
}

/// An index as it is kept in cells. Memory is bounded far below what 32 bits
/// count, so it never saturates in a store that [`Store::require`] guards.
pub(crate) fn index(i: usize) -> u32 {
    u32::try_from(i).unwrap_or(u32::MAX)
}

/// Cells beyond those asked for: error terms, results of arithmetic, a goal with its arguments.
const SPARE: usize = 128;

/// The memory of one query's terms.
pub(crate) struct Store {
    cells: Vec<Value>,
    trail: Vec<u32>,
    /// For both.
    charge: Charge,
    /// Variables from here on are newer than the newest choice.
    newest_choice: u32,
    /// Steps spent so far.
    pub(crate) steps: u64,
    pub(crate) step_limit: u64,
    /// Stacks of walks over terms, kept from one to the next.
    pairs: Option<Buffer<(Value, Value)>>,
    /// Per open compound: its header, the argument to fill next, how many are left.
    building: Option<Buffer<(u32, u32, u32)>>,
    /// Arguments of compounds still to be met: next index, how many are left.
    matching: Option<Buffer<(u32, u32)>>,
}

/// A point to return to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    cells: u32,
    trail: u32,
}

impl Store {
    pub(crate) fn new(step_limit: u64, pool: &Arc<Pool>) -> Self {
        Self {
            cells: Vec::new(),
            trail: Vec::new(),
            charge: Charge::none(pool),
            newest_choice: 0,
            steps: 0,
            step_limit,
            pairs: None,
            building: None,
            matching: None,
        }
    }

    /// Who pays for the query's terms.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.charge.pool()
    }

    /// Counts `n` steps.
    pub(crate) fn spend(&mut self, n: u64) -> Result<(), Fault> {
        self.steps += n;
        if self.steps > self.step_limit {
            Err(Fault::Limit(Resource::Steps))
        } else {
            Ok(())
        }
    }

    /// Makes room for `n` more cells.
    pub(crate) fn require(&mut self, n: usize) -> Result<(), Fault> {
        let needed = self.cells.len().saturating_add(n).saturating_add(SPARE);
        if needed <= self.cells.capacity() {
            return Ok(());
        }
        // Cells refer to each other by 32 bits.
        if needed > u32::MAX as usize / 2 {
            return Err(Fault::Limit(Resource::QueryMemory));
        }
        memory::grow(&mut self.cells, needed, &mut self.charge)?;
        let entries = self.cells.capacity();
        Ok(memory::grow(&mut self.trail, entries, &mut self.charge)?)
    }

    /// Where to return to on backtracking.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            cells: index(self.cells.len()),
            trail: index(self.trail.len()),
        }
    }

    /// Undoes all bindings since `mark` and drops the cells made since.
    pub(crate) fn undo(&mut self, mark: Mark) {
        for i in self.trail.drain(mark.trail as usize..) {
            if let Some(cell) = self.cells.get_mut(i as usize) {
                *cell = Value::Var(i);
            }
        }
        self.cells.truncate(mark.cells as usize);
    }

    /// Says which choice is the newest: its mark, or none.
    pub(crate) fn set_newest_choice(&mut self, mark: Option<Mark>) {
        self.newest_choice = mark.map_or(0, |mark| mark.cells);
    }

    /// Appends a cell.
    pub(crate) fn push(&mut self, value: Value) -> u32 {
        let i = index(self.cells.len());
        self.cells.push(value);
        i
    }

    /// A new variable.
    pub(crate) fn new_var(&mut self) -> Value {
        let i = index(self.cells.len());
        self.cells.push(Value::Var(i));
        Value::Var(i)
    }

    /// A new compound.
    pub(crate) fn new_struct(&mut self, name: Symbol, args: &[Value]) -> Value {
        let i = self.push(Value::Functor(name, index(args.len())));
        self.cells.extend_from_slice(args);
        Value::Struct(i)
    }

    /// A new compound with fresh variables as arguments.
    pub(crate) fn new_open_struct(&mut self, name: Symbol, arity: u32) -> Value {
        let i = self.push(Value::Functor(name, arity));
        for _ in 0..arity {
            self.new_var();
        }
        Value::Struct(i)
    }

    /// The list of `items` before `tail`.
    pub(crate) fn new_list(&mut self, items: &[Value], tail: Value) -> Value {
        items.iter().rev().fold(tail, |tail, item| {
            self.new_struct(Symbol::DOT, &[*item, tail])
        })
    }

    fn cell(&self, i: u32) -> Value {
        // Indices come from this store and cells they refer to are never newer.
        self.cells.get(i as usize).copied().unwrap_or(Value::Var(i))
    }

    /// Sets a cell that [`Store::push`] made as a placeholder.
    pub(crate) fn set(&mut self, i: u32, value: Value) {
        if let Some(cell) = self.cells.get_mut(i as usize) {
            *cell = value;
        }
    }

    /// What a value is after following bound variables; an unbound one is the
    /// oldest variable of its chain.
    pub(crate) fn deref(&self, mut value: Value) -> Value {
        while let Value::Var(i) = value {
            let next = self.cell(i);
            if next == value {
                break;
            }
            value = next;
        }
        value
    }

    /// Name and number of arguments of the compound at `i`.
    pub(crate) fn functor(&self, i: u32) -> (Symbol, u32) {
        match self.cell(i) {
            Value::Functor(name, arity) => (name, arity),
            // A struct refers to a header only.
            _ => (Symbol::NIL, 0),
        }
    }

    /// Argument `n`, from 0, of the compound at `i`, dereferenced.
    pub(crate) fn arg(&self, i: u32, n: u32) -> Value {
        self.deref(self.cell(i + 1 + n))
    }

    /// Head and tail if this is a list cell.
    pub(crate) fn list_cell(&self, value: Value) -> Option<(Value, Value)> {
        match self.deref(value) {
            Value::Struct(i) if self.functor(i) == (Symbol::DOT, 2) => {
                Some((self.arg(i, 0), self.arg(i, 1)))
            }
            _ => None,
        }
    }

    /// Binds an unbound variable.
    pub(crate) fn bind(&mut self, var: u32, value: Value) {
        if var < self.newest_choice {
            self.trail.push(var);
        }
        self.set(var, value);
    }

    /// Makes two terms equal, or fails having bound some variables.
    pub(crate) fn unify(&mut self, a: Value, b: Value) -> Result<bool, Fault> {
        let (a, b) = (self.deref(a), self.deref(b));
        if let Some(done) = self.unify_shallow(a, b) {
            return Ok(done);
        }
        let mut pairs = self
            .pairs
            .take()
            .unwrap_or_else(|| Buffer::new(self.charge.pool()));
        pairs.clear();
        pairs.push((a, b))?;
        let result = self.unify_pairs(&mut pairs);
        self.pairs = Some(pairs);
        result
    }

    /// Unifies where one side is no compound; none if both are.
    fn unify_shallow(&mut self, a: Value, b: Value) -> Option<bool> {
        match (a, b) {
            (Value::Var(i), Value::Var(j)) => {
                // The newer refers to the older: cells only refer back.
                match i.cmp(&j) {
                    Ordering::Less => self.bind(j, a),
                    Ordering::Greater => self.bind(i, b),
                    Ordering::Equal => {}
                }
                Some(true)
            }
            (Value::Var(i), other) | (other, Value::Var(i)) => {
                self.bind(i, other);
                Some(true)
            }
            (Value::Struct(i), Value::Struct(j)) => (i == j).then_some(true),
            _ => Some(a == b),
        }
    }

    fn unify_pairs(&mut self, pairs: &mut Buffer<(Value, Value)>) -> Result<bool, Fault> {
        while let Some((a, b)) = pairs.pop() {
            self.spend(1)?;
            let (a, b) = (self.deref(a), self.deref(b));
            match self.unify_shallow(a, b) {
                Some(true) => {}
                Some(false) => return Ok(false),
                None => {
                    let (Value::Struct(i), Value::Struct(j)) = (a, b) else {
                        return Ok(false);
                    };
                    if self.cell(i) != self.cell(j) {
                        return Ok(false);
                    }
                    let (_, arity) = self.functor(i);
                    for n in (0..arity).rev() {
                        pairs.push((self.cell(i + 1 + n), self.cell(j + 1 + n)))?;
                    }
                }
            }
        }
        Ok(true)
    }

    /// The standard order of terms: variables by age, integers, atoms, strings,
    /// compounds by arity, name and arguments (ISO 7.2; strings as SWI has them).
    pub(crate) fn compare(
        &mut self,
        symbols: &Symbols,
        a: Value,
        b: Value,
    ) -> Result<Ordering, Fault> {
        let mut pairs = Buffer::new(self.charge.pool());
        pairs.push((a, b))?;
        while let Some((a, b)) = pairs.pop() {
            self.spend(1)?;
            let (a, b) = (self.deref(a), self.deref(b));
            let order = match (a, b) {
                (Value::Var(i), Value::Var(j)) => i.cmp(&j),
                (Value::Int(i), Value::Int(j)) => i.cmp(&j),
                (Value::Atom(i), Value::Atom(j)) | (Value::Str(i), Value::Str(j)) => {
                    if i == j {
                        Ordering::Equal
                    } else {
                        symbols.name(i).cmp(symbols.name(j))
                    }
                }
                (Value::Struct(i), Value::Struct(j)) if i == j => Ordering::Equal,
                (Value::Struct(i), Value::Struct(j)) => {
                    let ((f, n), (g, m)) = (self.functor(i), self.functor(j));
                    let order = n.cmp(&m).then_with(|| {
                        if f == g {
                            Ordering::Equal
                        } else {
                            symbols.name(f).cmp(symbols.name(g))
                        }
                    });
                    if order.is_eq() {
                        for k in (0..n).rev() {
                            pairs.push((self.cell(i + 1 + k), self.cell(j + 1 + k)))?;
                        }
                    }
                    order
                }
                _ => rank(a).cmp(&rank(b)),
            };
            if order.is_ne() {
                return Ok(order);
            }
        }
        Ok(Ordering::Equal)
    }
}

fn rank(value: Value) -> u8 {
    match value {
        Value::Var(_) => 0,
        Value::Int(_) => 1,
        Value::Atom(_) => 2,
        Value::Str(_) => 3,
        Value::Struct(_) | Value::Functor(..) => 4,
    }
}
