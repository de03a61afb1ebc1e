//! Terms into and out of a store: from clauses' code, and as copies.
//!
//! Outside a store a term is a preorder of [`Cell`]s. `build` makes a term of
//! one, `unify_head` matches one against existing terms without making it first,
//! `flatten` gives one back.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Store, Value, index};
use crate::error::Resource;
use crate::fault::Fault;
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
    fn value(&mut self, store: &mut Store, n: u32, first: bool) -> Value;
}

impl Variables for Slots {
    fn value(&mut self, store: &mut Store, n: u32, first: bool) -> Value {
        match self.get_mut(n as usize) {
            Some(slot) => {
                if first {
                    *slot = store.new_var();
                }
                *slot
            }
            // The compiler counts the slots that a clause needs.
            None => store.new_var(),
        }
    }
}

/// Variables made at their first occurrence, for terms that come into a store.
#[derive(Default)]
pub(crate) struct FreshVariables(pub(crate) Vec<Option<Value>>);

impl Variables for FreshVariables {
    fn value(&mut self, store: &mut Store, n: u32, _first: bool) -> Value {
        let n = n as usize;
        if self.0.len() <= n {
            self.0.resize(n + 1, None);
        }
        *self.0[n].get_or_insert_with(|| store.new_var())
    }
}

impl Store {
    /// Copies a term out of the store, appending to `out`. `vars` maps the
    /// variables met so far, in order, to their numbers.
    pub(crate) fn flatten(
        &mut self,
        value: Value,
        vars: &mut VarNumbers,
        out: &mut Vec<Cell>,
    ) -> Result<(), Fault> {
        let mut pending = Vec::from([value]);
        let room = self.cell_limit;
        while let Some(value) = pending.pop() {
            self.spend(1)?;
            // What is copied out counts against the same bound.
            if out.len() + pending.len() >= room {
                return Err(Fault::Limit(Resource::QueryMemory));
            }
            out.push(match self.deref(value) {
                Value::Var(i) => Cell::Var(vars.number(i)),
                Value::Int(i) => Cell::Int(i),
                Value::Atom(name) => Cell::Atom(name),
                Value::Str(text) => Cell::Str(text),
                Value::Struct(i) => {
                    let (name, arity) = self.functor(i);
                    for n in (0..arity).rev() {
                        pending.push(self.cell(i + 1 + n));
                    }
                    Cell::Compound(name, arity)
                }
                Value::Functor(name, _) => Cell::Atom(name),
            });
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
        let mut open: Vec<(u32, u32, u32)> = Vec::new();
        let start = at;
        loop {
            self.require(1)?;
            let mut value = match cells.get(at).copied().unwrap_or(Cell::Void) {
                Cell::Var(n) => vars.value(self, n, false),
                Cell::First(n) => vars.value(self, n, true),
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
                        open.push((header, header + 1, arity));
                        at += 1;
                        continue;
                    }
                    Value::Struct(header)
                }
            };
            at += 1;
            loop {
                let Some((header, next, left)) = open.last_mut() else {
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
        let mut open: Vec<(u32, u32)> = Vec::new();
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
                            open.push((i + 1, arity));
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
#[derive(Default)]
pub(crate) struct VarNumbers {
    numbers: BTreeMap<u32, u32>,
    /// The variables by number.
    pub(crate) variables: Vec<u32>,
}

impl VarNumbers {
    fn number(&mut self, var: u32) -> u32 {
        let next = index(self.variables.len());
        let number = *self.numbers.entry(var).or_insert(next);
        if number == next {
            self.variables.push(var);
        }
        number
    }
}
