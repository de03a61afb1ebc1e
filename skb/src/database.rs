//! Predicates, their clauses and the namespaces that they belong to. Long, as one owner keeps the
//! three in step.
//!
//! Names resolve to [`PredId`]s when a clause is compiled: first in the namespace that the clause
//! is for, then in the system's. The system's namespace holds built-ins, library, facts and rules;
//! each client has one of its own, which nobody else sees, and changes nothing but that. It may
//! define a predicate of the library anew for itself, and no other of the system's. A program
//! that is the system's own and defines a predicate of the library gets one of its own under that
//! name, too: clauses compiled before, the library's above all, keep the old one.
//!
//! Names of the library's own, which begin with `$`, are known while it is being loaded and to
//! nobody afterwards.
//!
//! Clauses are kept in ascending order of [`Clause::sequence`]. The numbers come from two counters
//! of the whole database that only move outwards: a number that somebody still holds, a retract
//! under way, never comes to name another clause. [`PredId`]s have a generation for the same
//! reason, and the numbers of namespaces aren't used again.

mod index;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::builtins::{self, BuiltinId};
use crate::clause::{Clause, ClauseList, INDEXED, Key, PredId, list_block};
use crate::compile::{self, CompileError, Purpose};
use crate::error::Resource;
use crate::memory::{Buffer, Charge, Pool, tree_entry};
use crate::store::{Cell, index};
use crate::symbol::{Names, Symbol, Symbols};
use index::{Index, insert, remove};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Builtin(BuiltinId),
    Predicate(PredId),
}

/// Fewer clauses are as quickly gone through.
const WORTH_INDEXING: usize = 8;

/// Names a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NamespaceId(u64);

impl NamespaceId {
    /// The system's.
    pub(crate) const SYSTEM: Self = Self(0);
}

struct Namespace {
    names: BTreeMap<(Symbol, u32), Target>,
    symbols: Names,
    /// What pays for the clauses.
    pool: Arc<Pool>,
    /// What pays for a list that has to be copied to remove a clause from it, so that a full
    /// database can be emptied.
    reserve: Arc<Pool>,
    /// Entries of `names`, and the predicates.
    charge: Charge,
}

struct Predicate {
    name: Symbol,
    arity: u32,
    namespace: NamespaceId,
    /// It has had clauses or was declared: calling it is no error.
    defined: bool,
    /// It belongs to the library: a program's clauses don't go here.
    library: bool,
    clauses: ClauseList,
    indexes: [Option<Index>; INDEXED],
}

/// A place for a predicate.
struct Place {
    /// How many predicates it has held before.
    generation: u32,
    predicate: Option<Predicate>,
}

/// Why a change was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Compile(CompileError),
    /// The predicate is built in, or the system's and the change a client's.
    Static(Symbol, u32),
    Limit(Resource),
}

impl From<Resource> for Refusal {
    fn from(resource: Resource) -> Self {
        Self::Limit(resource)
    }
}

/// Which end a clause is added at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    First,
    Last,
}

/// All predicates of a knowledge base.
pub(crate) struct Database {
    system: Namespace,
    clients: BTreeMap<NamespaceId, Namespace>,
    last_client: u64,
    predicates: Buffer<Place>,
    /// Places that are free.
    free: Buffer<u32>,
    /// [`Clause::sequence`] of the last clause put in front, and behind.
    sequences: (i64, i64),
    /// New predicates belong to the library.
    loading_library: bool,
    /// Bytes of clause lists that had to be copied since somebody last asked, as
    /// goals were still walking over the old ones.
    copied: usize,
}

impl Namespace {
    fn new(pool: &Arc<Pool>, reserve: &Arc<Pool>, symbols: Names) -> Self {
        Self {
            reserve: Arc::clone(reserve),
            names: BTreeMap::new(),
            symbols,
            pool: Arc::clone(pool),
            charge: Charge::none(pool),
        }
    }
}

/// What a namespace is charged for a predicate without clauses. Places are everybody's, and
/// charged as they are made; a client pays for those that it fills, too.
const fn predicate_bytes(id: NamespaceId) -> usize {
    let bytes = tree_entry::<(Symbol, u32), Target>() + list_block();
    if id.0 == NamespaceId::SYSTEM.0 {
        bytes
    } else {
        bytes + size_of::<Place>()
    }
}

impl Database {
    /// The built-ins. `root` pays for what is everybody's, `pool` for what is the system's.
    pub(crate) fn new(root: &Arc<Pool>, pool: &Arc<Pool>) -> Result<(Self, Symbols), Resource> {
        let mut names = Names::of_system(pool);
        let mut symbols = Symbols::new(root, &mut names)?;
        let mut system = Namespace::new(pool, root, names);
        for (name, arity, id) in builtins::names() {
            let name = symbols.intern(&mut system.symbols, name)?;
            system.charge.add(tree_entry::<(Symbol, u32), Target>())?;
            system.names.insert((name, arity), Target::Builtin(id));
        }
        let database = Self {
            system,
            clients: BTreeMap::new(),
            last_client: 0,
            predicates: Buffer::new(root),
            free: Buffer::new(root),
            sequences: (0, 0),
            loading_library: false,
            copied: 0,
        };
        Ok((database, symbols))
    }

    /// What is defined from now on belongs to the library.
    pub(crate) fn begin_library(&mut self) {
        self.loading_library = true;
    }

    /// The library is complete: its own names, which begin with `$`, are known no more.
    pub(crate) fn end_library(&mut self, symbols: &Symbols) {
        self.loading_library = false;
        self.system
            .names
            .retain(|(name, _), _| !symbols.name(*name).starts_with('$'));
    }

    /// A namespace for a client whose clauses and names `pool` pays for, and `reserve` for copies
    /// that removing a clause takes.
    pub(crate) fn open(
        &mut self,
        pool: &Arc<Pool>,
        reserve: &Arc<Pool>,
    ) -> Result<NamespaceId, Resource> {
        let mut namespace = Namespace::new(pool, reserve, Names::of_client(pool));
        namespace
            .charge
            .add(tree_entry::<NamespaceId, Namespace>())?;
        self.last_client += 1;
        let id = NamespaceId(self.last_client);
        self.clients.insert(id, namespace);
        Ok(id)
    }

    /// Forgets a client's namespace and all that is in it.
    pub(crate) fn close(&mut self, symbols: &mut Symbols, id: NamespaceId) {
        let Some(namespace) = self.clients.remove(&id) else {
            return;
        };
        for target in namespace.names.values() {
            let Target::Predicate(pred) = target else {
                continue;
            };
            if let Some(place) = self.predicates.get_mut(pred.index as usize)
                && place.generation == pred.generation
            {
                place.predicate = None;
                // A place that has been used up is left alone. There is room: see `enter`.
                if let Some(next) = place.generation.checked_add(1) {
                    place.generation = next;
                    let _ = self.free.push(pred.index);
                }
            }
        }
        symbols.release(namespace.symbols);
    }

    /// Whether the namespace is there.
    pub(crate) fn is_open(&self, id: NamespaceId) -> bool {
        id == NamespaceId::SYSTEM || self.clients.contains_key(&id)
    }

    fn namespace(&mut self, id: NamespaceId) -> Result<&mut Namespace, Resource> {
        if id == NamespaceId::SYSTEM {
            return Ok(&mut self.system);
        }
        // One that has been closed has nothing left.
        self.clients.get_mut(&id).ok_or(Resource::ClientMemory)
    }

    /// The symbol of a name that the namespace brings.
    pub(crate) fn intern(
        &mut self,
        symbols: &mut Symbols,
        id: NamespaceId,
        name: &str,
    ) -> Result<Symbol, Resource> {
        symbols.intern(&mut self.namespace(id)?.symbols, name)
    }

    /// Bytes of clause lists copied since the last time.
    pub(crate) fn take_copied(&mut self) -> usize {
        core::mem::take(&mut self.copied)
    }

    /// What a name stands for, entered as an undefined predicate if it is new.
    pub(crate) fn resolve(
        &mut self,
        id: NamespaceId,
        name: Symbol,
        arity: u32,
    ) -> Result<Target, Resource> {
        match self.known(id, name, arity) {
            Some(target) => Ok(target),
            None => Ok(Target::Predicate(self.enter(id, name, arity)?)),
        }
    }

    /// What a name stands for, if it was ever defined, or called by a clause.
    pub(crate) fn known(&self, id: NamespaceId, name: Symbol, arity: u32) -> Option<Target> {
        self.clients
            .get(&id)
            .and_then(|client| client.names.get(&(name, arity)))
            .or_else(|| self.system.names.get(&(name, arity)))
            .copied()
    }

    fn enter(&mut self, id: NamespaceId, name: Symbol, arity: u32) -> Result<PredId, Resource> {
        let library = self.loading_library;
        let namespace = self.namespace(id)?;
        namespace.charge.add(predicate_bytes(id))?;
        let pool = Arc::clone(&namespace.pool);
        let predicate = Predicate {
            name,
            arity,
            namespace: id,
            defined: false,
            library,
            clauses: Arc::new(Buffer::new(&pool)),
            indexes: [None, None, None],
        };
        let pred = self.place(predicate);
        let namespace = self.namespace(id)?;
        match pred {
            Ok(pred) => {
                namespace
                    .names
                    .insert((name, arity), Target::Predicate(pred));
            }
            Err(_) => namespace.charge.remove(predicate_bytes(id)),
        }
        pred
    }

    fn place(&mut self, predicate: Predicate) -> Result<PredId, Resource> {
        // So that `close` can't fail.
        let missing = (self.predicates.len() + 1).saturating_sub(self.free.len());
        self.free.reserve(missing)?;
        if let Some(index) = self.free.pop()
            && let Some(place) = self.predicates.get_mut(index as usize)
        {
            place.predicate = Some(predicate);
            return Ok(PredId {
                index,
                generation: place.generation,
            });
        }
        self.predicates.push(Place {
            generation: 0,
            predicate: Some(predicate),
        })?;
        Ok(PredId {
            index: index(self.predicates.len() - 1),
            generation: 0,
        })
    }

    /// A query that outlived its namespace, or is of another knowledge base, may name a predicate
    /// that isn't here.
    fn predicate(&self, pred: PredId) -> Option<&Predicate> {
        let place = self.predicates.get(pred.index as usize)?;
        place
            .predicate
            .as_ref()
            .filter(|_| place.generation == pred.generation)
    }

    fn predicate_mut(&mut self, pred: PredId) -> Option<&mut Predicate> {
        let place = self.predicates.get_mut(pred.index as usize)?;
        place
            .predicate
            .as_mut()
            .filter(|_| place.generation == pred.generation)
    }

    /// The predicate that clauses which the namespace adds for this name go to.
    fn own(&mut self, id: NamespaceId, name: Symbol, arity: u32) -> Result<PredId, Refusal> {
        if compile::is_reserved(self, name, arity) {
            return Err(Refusal::Static(name, arity));
        }
        let loading_library = self.loading_library;
        let known = match self.known(id, name, arity) {
            Some(Target::Predicate(pred)) => self.predicate_mut(pred).map(|known| (pred, known)),
            _ => None,
        };
        let Some((pred, known)) = known else {
            return Ok(self.enter(id, name, arity)?);
        };
        if known.namespace != id {
            // The client shadows the library's, or what nobody has defined.
            if known.library || !known.defined {
                return Ok(self.enter(id, name, arity)?);
            }
            return Err(Refusal::Static(name, arity));
        }
        if !known.library || loading_library {
            Ok(pred)
        } else if known.defined {
            // The program shadows the library's.
            Ok(self.enter(id, name, arity)?)
        } else {
            // The library calls it in the hope that somebody defines it.
            known.library = false;
            Ok(pred)
        }
    }

    /// Declares a predicate: calling it without clauses fails.
    pub(crate) fn declare(
        &mut self,
        id: NamespaceId,
        name: Symbol,
        arity: u32,
    ) -> Result<(), Refusal> {
        let pred = self.own(id, name, arity)?;
        if let Some(predicate) = self.predicate_mut(pred) {
            predicate.defined = true;
        }
        Ok(())
    }

    /// Adds the clause that the preorder `source` is.
    pub(crate) fn add(
        &mut self,
        id: NamespaceId,
        source: &[Cell],
        end: End,
    ) -> Result<(), Refusal> {
        let (head, _) = compile::split(source);
        let (name, arity) = compile::head_functor(source, head).map_err(Refusal::Compile)?;
        let pred = self.own(id, name, arity)?;
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
        let pool = Arc::clone(&self.namespace(id)?.pool);
        let purpose = Purpose::Clause { sequence };
        let clause = compile::compile(self, id, &pool, source, purpose);
        let clause = clause.map_err(|error| match error {
            CompileError::Limit(resource) => Refusal::Limit(resource),
            error => Refusal::Compile(error),
        })?;
        let Some(predicate) = self
            .predicates
            .get_mut(pred.index as usize)
            .and_then(|place| place.predicate.as_mut())
        else {
            return Ok(());
        };
        insert(&mut predicate.clauses, &clause, end, &mut self.copied)?;
        predicate.defined = true;
        for (arg, index) in predicate.indexes.iter_mut().enumerate() {
            if let Some(open) = index
                && open.insert(&clause, arg, end, &mut self.copied).is_err()
            {
                // It is made anew when there is room.
                *index = None;
            }
        }
        Ok(())
    }

    /// Compiles a clause that no predicate holds: a query or a called goal.
    pub(crate) fn compile_goal(
        &mut self,
        id: NamespaceId,
        pool: &Arc<Pool>,
        source: &[Cell],
    ) -> Result<Arc<Clause>, CompileError> {
        compile::compile(self, id, pool, source, Purpose::Goal)
    }

    /// Removes a clause; false if it was gone already.
    ///
    /// # Errors
    /// A list that somebody walks over is copied, for which there must be room.
    pub(crate) fn remove(
        &mut self,
        id: NamespaceId,
        name: Symbol,
        arity: u32,
        sequence: i64,
    ) -> Result<bool, Resource> {
        let Some(Target::Predicate(pred)) = self.known(id, name, arity) else {
            return Ok(false);
        };
        let reserve = Arc::clone(&self.namespace(id)?.reserve);
        let Some(predicate) = self
            .predicates
            .get_mut(pred.index as usize)
            .and_then(|place| place.predicate.as_mut())
        else {
            return Ok(false);
        };
        let list = &mut predicate.clauses;
        let Some(clause) = remove(list, sequence, &reserve, &mut self.copied)? else {
            return Ok(false);
        };
        let is_empty = predicate.clauses.is_empty();
        for (arg, index) in predicate.indexes.iter_mut().enumerate() {
            if let Some(open) = index
                && (is_empty
                    || open
                        .remove(&clause, arg, &reserve, &mut self.copied)
                        .is_err())
            {
                *index = None;
            }
        }
        Ok(true)
    }

    /// Whether the namespace may look at the clauses of this predicate.
    pub(crate) fn is_readable(&self, id: NamespaceId, name: Symbol, arity: u32) -> bool {
        self.is_accessible(id, name, arity, |predicate| {
            !(predicate.library && predicate.defined)
        })
    }

    /// Whether the namespace may change this predicate.
    pub(crate) fn is_modifiable(&self, id: NamespaceId, name: Symbol, arity: u32) -> bool {
        self.is_accessible(id, name, arity, |predicate| {
            let is_open = predicate.namespace == id && !predicate.library;
            is_open || !predicate.defined
        })
    }

    fn is_accessible(
        &self,
        id: NamespaceId,
        name: Symbol,
        arity: u32,
        allows: impl Fn(&Predicate) -> bool,
    ) -> bool {
        !compile::is_reserved(self, name, arity)
            && match self.known(id, name, arity) {
                Some(Target::Predicate(pred)) => self.predicate(pred).is_none_or(allows),
                _ => true,
            }
    }

    /// Name and number of arguments of a predicate.
    pub(crate) fn indicator(&self, pred: PredId) -> (Symbol, u32) {
        self.predicate(pred).map_or((Symbol::NIL, 0), |predicate| {
            (predicate.name, predicate.arity)
        })
    }

    /// The clauses that may match a call with these keys of its first arguments,
    /// in order, and the clauses that were entered in an index for it; none if the predicate was
    /// never defined.
    pub(crate) fn select(&mut self, pred: PredId, keys: &[Key]) -> Option<(ClauseList, usize)> {
        let predicate = self.predicate_mut(pred)?;
        let clauses = &predicate.clauses;
        if clauses.len() < WORTH_INDEXING {
            return predicate.defined.then(|| (Arc::clone(clauses), 0));
        }
        let mut entered = 0;
        for (arg, key) in keys.iter().enumerate().take(INDEXED) {
            if *key == Key::Any {
                continue;
            }
            let index = predicate.indexes[arg].get_or_insert_with(|| Index::new(clauses.pool()));
            entered += index.extend(clauses, arg);
            if let Some(list) = index.find(key) {
                return Some((Arc::clone(list), entered));
            }
        }
        Some((Arc::clone(clauses), entered))
    }

    /// The predicates that system programs have defined, declared or shadowed.
    pub(crate) fn defined(&self) -> impl Iterator<Item = (Symbol, u32)> {
        let own = self.own_predicates().filter(|p| p.defined);
        own.map(|p| (p.name, p.arity))
    }

    /// All clauses that system programs have added, predicate by predicate.
    pub(crate) fn program(&self) -> impl Iterator<Item = &Arc<Clause>> {
        self.own_predicates().flat_map(|p| p.clauses.iter())
    }

    fn own_predicates(&self) -> impl Iterator<Item = &Predicate> {
        self.predicates
            .iter()
            .filter_map(|place| place.predicate.as_ref())
            .filter(|p| !p.library && p.namespace == NamespaceId::SYSTEM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predicate_of_a_closed_namespace_is_not_found_in_its_successor() {
        let root = Pool::root(1 << 20, Resource::Memory);
        let (mut database, mut symbols) = Database::new(&root, &root).unwrap();
        let first = database.open(&root, &root).unwrap();
        let name = database.intern(&mut symbols, first, "f").unwrap();
        database.add(first, &[Cell::Atom(name)], End::Last).unwrap();
        let Some(Target::Predicate(old)) = database.known(first, name, 0) else {
            panic!("it was just added");
        };
        assert!(database.select(old, &[]).is_some());
        database.close(&mut symbols, first);
        let second = database.open(&root, &root).unwrap();
        assert_ne!(first, second);
        let name = database.intern(&mut symbols, second, "g").unwrap();
        database
            .add(second, &[Cell::Atom(name)], End::Last)
            .unwrap();
        let Some(Target::Predicate(new)) = database.known(second, name, 0) else {
            panic!("it was just added");
        };
        assert_eq!(new.index, old.index, "the place is used again");
        assert!(database.select(new, &[]).is_some());
        assert!(database.select(old, &[]).is_none());
        assert_eq!(database.indicator(old), (Symbol::NIL, 0));
    }
}
