//! Predicates, their clauses and the indexes over them.
//!
//! Names resolve to [`PredId`]s when a clause is compiled. A program that
//! defines a predicate of the library gets one of its own under that name:
//! clauses compiled before, the library's above all, keep the old one.
//!
//! An index over one of the first [`INDEXED`] arguments is made when a goal with
//! that argument bound first needs it, on predicates of [`WORTH_INDEXING`]
//! clauses or more, and kept up from then on. Each bucket holds, in order, all
//! clauses that can match its key, those with a variable there included.
//! Clauses are kept in ascending order of [`Clause::sequence`]. The numbers come from
//! two counters of the whole database that only move outwards: a number that somebody
//! still holds, a retract under way, never comes to name another clause.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::builtins::{self, BuiltinId};
use crate::clause::{Clause, ClauseList, INDEXED, Key, PredId};
use crate::compile::{self, CompileError};
use crate::error::Resource;
use crate::store::{Cell, index};
use crate::symbol::{Symbol, Symbols};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Builtin(BuiltinId),
    Predicate(PredId),
}

/// Fewer clauses are as quickly gone through.
const WORTH_INDEXING: usize = 8;

/// An index stands in every bucket for each clause with a variable: with more
/// than so many of them it is given up, which keeps its size linear.
const MOST_UNKEYED: usize = 8;

struct Predicate {
    name: Symbol,
    arity: u32,
    /// It has had clauses or was declared: calling it is no error.
    defined: bool,
    /// It belongs to the library: a program's clauses don't go here.
    library: bool,
    clauses: ClauseList,
    indexes: [Option<Index>; INDEXED],
}

struct Index {
    buckets: BTreeMap<Key, ClauseList>,
    /// The clauses with a variable: for keys without a bucket.
    any: ClauseList,
    /// Too many clauses have a variable here: nothing is kept.
    given_up: bool,
}

/// Why a change was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Compile(CompileError),
    /// The predicate is built in.
    Static(Symbol, u32),
    Limit(Resource),
}

/// Which end a clause is added at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    First,
    Last,
}

/// All predicates of a knowledge base.
pub(crate) struct Database {
    names: BTreeMap<(Symbol, u32), Target>,
    predicates: Vec<Predicate>,
    bytes: usize,
    byte_limit: usize,
    /// [`Clause::sequence`] of the last clause put in front, and behind.
    sequences: (i64, i64),
    /// New predicates belong to the library.
    loading_library: bool,
    /// Bytes of clause lists that had to be copied since somebody last asked, as
    /// goals were still walking over the old ones.
    copied: usize,
}

impl Database {
    pub(crate) fn new(symbols: &mut Symbols, byte_limit: usize) -> Self {
        let names = builtins::names(symbols)
            .map(|(name, arity, id)| ((name, arity), Target::Builtin(id)))
            .collect();
        Self {
            names,
            predicates: Vec::new(),
            bytes: 0,
            byte_limit,
            sequences: (0, 0),
            loading_library: false,
            copied: 0,
        }
    }

    /// Whether what is defined from now on belongs to the library.
    pub(crate) fn set_loading_library(&mut self, loading: bool) {
        self.loading_library = loading;
    }

    /// Bytes of clause lists copied since the last time.
    pub(crate) fn take_copied(&mut self) -> usize {
        core::mem::take(&mut self.copied)
    }

    /// Memory that predicates and clauses take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn set_byte_limit(&mut self, byte_limit: usize) {
        self.byte_limit = byte_limit;
    }

    /// What a name stands for, entered as an undefined predicate if it is new.
    pub(crate) fn resolve(&mut self, name: Symbol, arity: u32) -> Target {
        if let Some(target) = self.known(name, arity) {
            return target;
        }
        Target::Predicate(self.enter(name, arity))
    }

    /// What a name stands for, if it was ever defined or called.
    pub(crate) fn known(&self, name: Symbol, arity: u32) -> Option<Target> {
        self.names.get(&(name, arity)).copied()
    }

    fn enter(&mut self, name: Symbol, arity: u32) -> PredId {
        let pred = PredId(index(self.predicates.len()));
        self.predicates.push(Predicate {
            name,
            arity,
            defined: false,
            library: self.loading_library,
            clauses: Arc::default(),
            indexes: [None, None, None],
        });
        self.bytes += size_of::<Predicate>() + 64;
        self.names.insert((name, arity), Target::Predicate(pred));
        pred
    }

    /// The predicate that a program's clauses for this name go to.
    fn own(&mut self, name: Symbol, arity: u32) -> Result<PredId, Refusal> {
        if compile::is_reserved(self, name, arity) {
            return Err(Refusal::Static(name, arity));
        }
        match self.known(name, arity) {
            Some(Target::Predicate(pred)) => {
                let known = &mut self.predicates[pred.0 as usize];
                if !known.library || self.loading_library {
                    Ok(pred)
                } else if known.defined {
                    // The program shadows the library's.
                    Ok(self.enter(name, arity))
                } else {
                    // The library calls it in the hope that somebody defines it.
                    known.library = false;
                    Ok(pred)
                }
            }
            _ => Ok(self.enter(name, arity)),
        }
    }

    /// Declares a predicate: calling it without clauses fails.
    pub(crate) fn declare(&mut self, name: Symbol, arity: u32) -> Result<(), Refusal> {
        let pred = self.own(name, arity)?;
        self.predicates[pred.0 as usize].defined = true;
        Ok(())
    }

    /// Adds the clause that the preorder `source` is.
    pub(crate) fn add(
        &mut self,
        symbols: &Symbols,
        source: Box<[Cell]>,
        end: End,
    ) -> Result<(), Refusal> {
        if self.bytes + symbols.bytes() > self.byte_limit {
            return Err(Refusal::Limit(Resource::DatabaseMemory));
        }
        let (head, _) = compile::split(&source);
        let (name, arity) = compile::head_functor(&source, head).map_err(Refusal::Compile)?;
        let pred = self.own(name, arity)?;
        let sequence = match end {
            End::First => {
                self.sequences.0 -= 1;
                self.sequences.0
            }
            End::Last => {
                self.sequences.1 += 1;
                self.sequences.1
            }
        };
        let clause = compile::compile(self, source, sequence).map_err(Refusal::Compile)?;
        self.bytes += clause.bytes();
        let clause = Arc::new(clause);
        let predicate = &mut self.predicates[pred.0 as usize];
        predicate.defined = true;
        self.copied += shared_bytes(&predicate.clauses);
        insert(&mut predicate.clauses, &clause, end);
        for (arg, index) in predicate.indexes.iter_mut().enumerate() {
            if let Some(index) = index {
                self.copied += index.shared_bytes(&clause, arg);
                index.insert(&clause, arg, end);
            }
        }
        Ok(())
    }

    /// Compiles a clause that no predicate holds: a query or a called goal.
    pub(crate) fn compile_goal(
        &mut self,
        source: Box<[Cell]>,
    ) -> Result<Arc<Clause>, CompileError> {
        compile::compile(self, source, 0).map(Arc::new)
    }

    /// Removes a clause; false if it was gone already.
    pub(crate) fn remove(&mut self, name: Symbol, arity: u32, sequence: i64) -> bool {
        let Some(Target::Predicate(pred)) = self.known(name, arity) else {
            return false;
        };
        let predicate = &mut self.predicates[pred.0 as usize];
        self.copied += shared_bytes(&predicate.clauses);
        let Some(clause) = remove(&mut predicate.clauses, sequence) else {
            return false;
        };
        for (arg, index) in predicate.indexes.iter_mut().enumerate() {
            if let Some(index) = index {
                self.copied += index.shared_bytes(&clause, arg);
                index.remove(&clause, arg);
            }
        }
        self.bytes = self.bytes.saturating_sub(clause.bytes());
        true
    }

    /// Whether a program may change this predicate.
    pub(crate) fn is_modifiable(&self, name: Symbol, arity: u32) -> bool {
        !compile::is_reserved(self, name, arity)
            && !matches!(self.known(name, arity),
            Some(Target::Predicate(pred)) if {
                let predicate = &self.predicates[pred.0 as usize];
                predicate.library && predicate.defined
            })
    }

    /// Name and number of arguments of a predicate.
    pub(crate) fn indicator(&self, pred: PredId) -> (Symbol, u32) {
        self.predicates
            .get(pred.0 as usize)
            .map_or((Symbol::NIL, 0), |predicate| {
                (predicate.name, predicate.arity)
            })
    }

    /// The clauses that may match a call with these keys of its first arguments,
    /// in order; none if the predicate was never defined.
    pub(crate) fn select(&mut self, pred: PredId, keys: &[Key]) -> Option<ClauseList> {
        // A query of another knowledge base may name a predicate that isn't here.
        let predicate = self.predicates.get_mut(pred.0 as usize)?;
        let clauses = &predicate.clauses;
        if clauses.len() < WORTH_INDEXING {
            return predicate.defined.then(|| Arc::clone(clauses));
        }
        for (arg, key) in keys.iter().enumerate().take(INDEXED) {
            if *key == Key::Any {
                continue;
            }
            let index = predicate.indexes[arg].get_or_insert_with(|| Index::over(clauses, arg));
            if !index.given_up {
                let list = index.buckets.get(key).unwrap_or(&index.any);
                return Some(Arc::clone(list));
            }
        }
        Some(Arc::clone(clauses))
    }

    /// The predicates that programs have defined, declared or shadowed.
    pub(crate) fn defined(&self) -> impl Iterator<Item = (Symbol, u32)> {
        let own = self.predicates.iter().filter(|p| p.defined && !p.library);
        own.map(|p| (p.name, p.arity))
    }

    /// All clauses that programs have added, predicate by predicate.
    pub(crate) fn program(&self) -> impl Iterator<Item = &Arc<Clause>> {
        self.predicates
            .iter()
            .filter(|p| !p.library)
            .flat_map(|p| p.clauses.iter())
    }
}

/// What changing the list copies: all of it if somebody else holds it.
fn shared_bytes(list: &ClauseList) -> usize {
    if Arc::strong_count(list) > 1 {
        list.len() * size_of::<Arc<Clause>>()
    } else {
        0
    }
}

fn insert(list: &mut ClauseList, clause: &Arc<Clause>, end: End) {
    let clauses = Arc::make_mut(list);
    match end {
        End::First => clauses.insert(0, Arc::clone(clause)),
        End::Last => clauses.push(Arc::clone(clause)),
    }
}

fn remove(list: &mut ClauseList, sequence: i64) -> Option<Arc<Clause>> {
    let at = list
        .binary_search_by_key(&sequence, |clause| clause.sequence)
        .ok()?;
    Some(Arc::make_mut(list).remove(at))
}

impl Index {
    fn over(clauses: &ClauseList, arg: usize) -> Self {
        let mut index = Self {
            buckets: BTreeMap::new(),
            any: Arc::default(),
            given_up: false,
        };
        for clause in clauses.iter() {
            index.insert(clause, arg, End::Last);
        }
        index
    }

    fn insert(&mut self, clause: &Arc<Clause>, arg: usize, end: End) {
        match clause.keys[arg] {
            _ if self.given_up => {}
            Key::Any if self.any.len() == MOST_UNKEYED => {
                *self = Self {
                    buckets: BTreeMap::new(),
                    any: Arc::default(),
                    given_up: true,
                };
            }
            Key::Any => {
                for list in self.buckets.values_mut() {
                    insert(list, clause, end);
                }
                insert(&mut self.any, clause, end);
            }
            key => {
                let any = &self.any;
                insert(
                    self.buckets.entry(key).or_insert_with(|| Arc::clone(any)),
                    clause,
                    end,
                );
            }
        }
    }

    /// What adding or removing the clause copies.
    fn shared_bytes(&self, clause: &Clause, arg: usize) -> usize {
        match clause.keys[arg] {
            Key::Any => self
                .buckets
                .values()
                .chain([&self.any])
                .map(shared_bytes)
                .sum(),
            key => self.buckets.get(&key).map_or(0, shared_bytes),
        }
    }

    fn remove(&mut self, clause: &Clause, arg: usize) {
        match clause.keys[arg] {
            Key::Any => {
                for list in self.buckets.values_mut() {
                    remove(list, clause.sequence);
                }
                remove(&mut self.any, clause.sequence);
            }
            key => {
                if let Some(list) = self.buckets.get_mut(&key) {
                    remove(list, clause.sequence);
                    if list.len() == self.any.len() {
                        self.buckets.remove(&key);
                    }
                }
            }
        }
    }
}
