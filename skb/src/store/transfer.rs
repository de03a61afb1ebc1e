//! Terms into and out of a store: from clauses' code, and as copies.
//!
//! Outside a store a term is a preorder of [`Cell`]s. `build` makes a term of
//! one, `unify_head` matches one against existing terms without making it first,
//! `flatten` gives one back.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use super::{Store, Value, index};
use crate::fault::Fault;
use crate::memory::{self, Buffer, Charge, Pool};
use crate::symbol::Symbol;

/// A node of a term outside a store, in preorder; variables are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// A variable; in a clause's code, one that has its value already.
    Var(u32),
    /// In a clause's code: a variable that gets its value here.
    First(u32),
    /// In a clause's code: a variable that occurs once.
    Void,
    Int(i64),
    Atom(Symbol),
    Str(Symbol),
    Compound(Symbol, u32),
}

/// The values of a clause's variables while it runs, by number.
pub(crate) type Slots = [Value];

/// Gives the variables of a preorder their values while it is built.
pub(crate) trait Variables {
    /// The value of variable `n`; `first` if this occurrence makes it.
    fn value(&mut self, store: &mut Store, n: u32, first: bool) -> Result<Value, Fault>;
}

impl Variables for Slots {
    fn value(&mut self, store: &mut Store, n: u32, first: bool) -> Result<Value, Fault> {
        Ok(match self.get_mut(n as usize) {
            Some(slot) => {
                if first {
                    *slot = store.new_var();
                }
                *slot
            }
            // The compiler counts the slots that a clause needs.
            None => store.new_var(),
        })
    }
}

/// Variables made at their first occurrence, for terms that come into a store.
pub(crate) struct FreshVariables(Buffer<Option<Value>>);

impl FreshVariables {
    /// None yet.
    pub(crate) fn new(store: &Store) -> Self {
        Self(Buffer::new(store.pool()))
    }
}

impl Variables for FreshVariables {
    fn value(&mut self, store: &mut Store, n: u32, _first: bool) -> Result<Value, Fault> {
        let n = n as usize;
        if self.0.len() <= n {
            self.0.resize(n + 1, None)?;
        }
        Ok(*self.0[n].get_or_insert_with(|| store.new_var()))
    }
}

impl Store {
    /// Copies a term out of the store, appending to `out`. `vars` maps the
    /// variables met so far, in order, to their numbers.
    pub(crate) fn flatten(
        &mut self,
        value: Value,
        vars: &mut VarNumbers,
        out: &mut Buffer<Cell>,
    ) -> Result<(), Fault> {
        let mut pending = Buffer::new(self.pool());
        pending.push(value)?;
        while let Some(value) = pending.pop() {
            self.spend(1)?;
            let cell = match self.deref(value) {
                Value::Var(i) => Cell::Var(vars.number(i)?),
                Value::Int(i) => Cell::Int(i),
                Value::Atom(name) => Cell::Atom(name),
                Value::Str(text) => Cell::Str(text),
                Value::Struct(i) => {
                    let (name, arity) = self.functor(i);
                    for n in (0..arity).rev() {
                        pending.push(self.cell(i + 1 + n))?;
                    }
                    Cell::Compound(name, arity)
                }
                Value::Functor(name, _) => Cell::Atom(name),
            };
            out.push(cell)?;
        }
        Ok(())
    }

    /// Builds the term that starts at `at` of `cells` and gives it with the index
    /// behind it.
    pub(crate) fn build<V: Variables + ?Sized>(
        &mut self,
        cells: &[Cell],
        mut at: usize,
        vars: &mut V,
    ) -> Result<(Value, usize), Fault> {
        // Per open compound: its header, the argument to fill next, how many are left.
        let mut open = self
            .building
            .take()
            .unwrap_or_else(|| Buffer::new(self.pool()));
        open.clear();
        let start = at;
        loop {
            self.require(1)?;
            let mut value = match cells.get(at).copied().unwrap_or(Cell::Void) {
                Cell::Var(n) => vars.value(self, n, false)?,
                Cell::First(n) => vars.value(self, n, true)?,
                Cell::Void => self.new_var(),
                Cell::Int(i) => Value::Int(i),
                Cell::Atom(name) => Value::Atom(name),
                Cell::Str(text) => Value::Str(text),
                Cell::Compound(name, arity) => {
                    self.require(arity as usize + 1)?;
                    let header = self.push(Value::Functor(name, arity));
                    for _ in 0..arity {
                        self.push(Value::Int(0));
                    }
                    if arity > 0 {
                        open.push((header, header + 1, arity))?;
                        at += 1;
                        continue;
                    }
                    Value::Struct(header)
                }
            };
            at += 1;
            loop {
                let Some((header, next, left)) = open.last_mut() else {
                    self.building = Some(open);
                    self.spend((at - start) as u64)?;
                    return Ok((value, at));
                };
                let (target, compound) = (*next, Value::Struct(*header));
                *next += 1;
                *left -= 1;
                let full = *left == 0;
                self.set(target, value);
                if !full {
                    break;
                }
                open.pop();
                value = compound;
            }
        }
    }

    /// Unifies a clause's head, one preorder per argument, with a call's
    /// arguments. What the head's variables get goes to `slots`.
    pub(crate) fn unify_head(
        &mut self,
        head: &[Cell],
        args: &[Value],
        slots: &mut Slots,
    ) -> Result<bool, Fault> {
        let mut at = 0;
        // Arguments of compounds still to be met: next index, how many are left.
        let mut open = self
            .matching
            .take()
            .unwrap_or_else(|| Buffer::new(self.pool()));
        open.clear();
        for arg in args {
            let mut value = *arg;
            loop {
                let cell = head.get(at).copied().unwrap_or(Cell::Void);
                at += 1;
                let matched = match cell {
                    Cell::Void => true,
                    Cell::First(n) => {
                        if let Some(slot) = slots.get_mut(n as usize) {
                            *slot = self.deref(value);
                        }
                        true
                    }
                    Cell::Var(n) => {
                        let known = slots.get(n as usize).copied().unwrap_or(value);
                        self.unify(known, value)?
                    }
                    Cell::Int(i) => self.unify_constant(Value::Int(i), value),
                    Cell::Atom(name) => self.unify_constant(Value::Atom(name), value),
                    Cell::Str(text) => self.unify_constant(Value::Str(text), value),
                    Cell::Compound(name, arity) => match self.deref(value) {
                        Value::Struct(i) if self.functor(i) == (name, arity) => {
                            open.push((i + 1, arity))?;
                            true
                        }
                        Value::Var(var) => {
                            let (built, next) = self.build(head, at - 1, slots)?;
                            at = next;
                            self.bind(var, built);
                            true
                        }
                        _ => false,
                    },
                };
                if !matched {
                    self.matching = Some(open);
                    return Ok(false);
                }
                let Some((next, left)) = open.last_mut() else {
                    break;
                };
                let i = *next;
                *next += 1;
                *left -= 1;
                // Leaving before the last argument keeps lists from piling up.
                if *left == 0 {
                    open.pop();
                }
                value = self.cell(i);
            }
        }
        self.matching = Some(open);
        self.spend(at as u64)?;
        Ok(true)
    }

    fn unify_constant(&mut self, constant: Value, value: Value) -> bool {
        match self.deref(value) {
            Value::Var(var) => {
                self.bind(var, constant);
                true
            }
            other => other == constant,
        }
    }
}

/// Numbers for the variables of terms that leave the store.
pub(crate) struct VarNumbers {
    numbers: BTreeMap<u32, u32>,
    /// The nodes of `numbers`.
    charge: Charge,
    /// The variables by number.
    pub(crate) variables: Buffer<u32>,
}

impl VarNumbers {
    /// None yet.
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self {
            numbers: BTreeMap::new(),
            charge: Charge::none(pool),
            variables: Buffer::new(pool),
        }
    }

    fn number(&mut self, var: u32) -> Result<u32, Fault> {
        if let Some(number) = self.numbers.get(&var) {
            return Ok(*number);
        }
        let number = index(self.variables.len());
        self.charge.add(memory::tree_entry::<u32, u32>())?;
        self.variables.push(var)?;
        self.numbers.insert(var, number);
        Ok(number)
    }
}
