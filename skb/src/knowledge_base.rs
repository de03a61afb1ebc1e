//! The knowledge base: names, clauses, and what is done with them from outside. One long list of
//! operations, most of them twice: the system's, and on somebody's behalf.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::compile::CompileError;
use crate::database::{Database, End, NamespaceId, Refusal};
use crate::error::{Error, Resource};
use crate::memory::{self, Buffer, Charge, Pool, block};
use crate::query::{Query, Solution};
use crate::reader::{ReadTerm, Reader, read_term};
use crate::schema::{Fact, SCHEMAS};
use crate::scope::{Limits, Reservation, Scope};
use crate::store::{Cell, index};
use crate::symbol::{Symbol, Symbols};
use crate::term::{Name, Node, Term};

/// The predicates that are written in the dialect itself.
const LIBRARY: &str = include_str!("library.pl");

/// The rules of the machine.
pub const RULES: &str = include_str!("rules.pl");

/// The rules of machines whose cores are on one node and in several sockets or clusters, or have
/// threads ([`crate::facts_from_machine`] adds them).
pub const TOPOLOGY: &str = include_str!("topology.pl");

/// The rules that say which driver a device gets, which [`KnowledgeBase::with_rules`] consults, too.
pub const DRIVERS: &str = include_str!("drivers.pl");

/// What the names of all predicates of [`DRIVERS`] have in them.
pub const DRIVER_RULES: &str = "driver";

/// Facts and rules, and the names in them.
///
/// ```
/// use capelin_skb::KnowledgeBase;
/// let mut kb = KnowledgeBase::new();
/// kb.consult("core(0, 0x000, 0). core(1, 0x100, 0). near(A, B) :- core(A, _, N), core(B, _, N).")?;
/// let mut query = kb.query("near(0, B)")?;
/// let mut cores = Vec::new();
/// while let Some(solution) = query.next(&mut kb)? {
///     cores.extend(solution.int("B"));
/// }
/// assert_eq!(cores, [0, 1]);
/// # Ok::<(), capelin_skb::Error>(())
/// ```
pub struct KnowledgeBase {
    pub(crate) symbols: Symbols,
    pub(crate) database: Database,
    limits: Limits,
    memory: Arc<Pool>,
    system: Scope,
}

/// Memory for reading a text, in bytes per byte of it.
const READING: usize = 96;

impl Default for KnowledgeBase {
    fn default() -> Self {
        Self::new()
    }
}

impl KnowledgeBase {
    /// A knowledge base with the library and without facts and rules.
    #[must_use]
    pub fn new() -> Self {
        let limits = Limits::default();
        let memory = Pool::root(limits.memory_bytes, Resource::Memory);
        let share = memory.part(limits.database_bytes, Resource::DatabaseMemory);
        let (database, symbols) = Database::new(&memory, &share)
            .expect("the engine's own names are few, and this is the start");
        let system = Scope {
            namespace: NamespaceId::SYSTEM,
            queries: Arc::clone(&memory),
            clauses: share,
        };
        let mut kb = Self {
            symbols,
            database,
            limits,
            memory,
            system,
        };
        kb.database.begin_library();
        kb.consult(LIBRARY)
            .expect("library.pl is part of this crate and a test consults it");
        kb.database.end_library(&kb.symbols);
        kb
    }

    /// A knowledge base with the library, the fact schemas declared, and the
    /// rules of the machine.
    #[must_use]
    pub fn with_rules() -> Self {
        let mut kb = Self::with_boot_rules();
        kb.consult(DRIVERS)
            .expect("drivers.pl is part of this crate and a test consults it");
        kb
    }

    /// As [`KnowledgeBase::with_rules`], but without [`DRIVERS`].
    #[must_use]
    pub fn with_boot_rules() -> Self {
        let mut kb = Self::new();
        for schema in SCHEMAS {
            // No schema bears the name of a built-in: a test calls each.
            let _ = kb.declare(schema.name, index(schema.arguments.len()));
        }
        kb.consult(RULES)
            .expect("rules.pl is part of this crate and a test consults it");
        kb
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Sets the bounds for the knowledge base and the queries opened from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.system.clauses.set_limit(limits.database_bytes);
        self.memory.set_limit(limits.memory_bytes);
    }

    /// Memory that the system's clauses and names take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.system.bytes()
    }

    /// Memory that everything takes, clients and open queries included, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory.used()
    }

    /// The system's own scope: what it adds, everybody sees.
    #[must_use]
    pub fn system(&self) -> &Scope {
        &self.system
    }

    /// A new client, with a share of `bytes` bytes of memory. At most three quarters of it are for
    /// clauses and names, so that one who has filled that can still ask, and remove some.
    ///
    /// # Errors
    /// A bound.
    pub fn open_client(&mut self, bytes: usize) -> Result<Scope, Error> {
        let share = self.memory.part(bytes, Resource::ClientMemory);
        let clauses = share.part(bytes / 4 * 3, Resource::ClientMemory);
        let namespace = self.database.open(&clauses, &share).map_err(Error::Limit)?;
        Ok(Scope {
            namespace,
            queries: share,
            clauses,
        })
    }

    /// Forgets a client and all that it has added. Its open queries find nothing more. The
    /// system's scope is never closed.
    pub fn close_client(&mut self, client: &Scope) {
        self.database.close(&mut self.symbols, client.namespace);
    }

    fn declare(&mut self, name: &str, arity: u32) -> Result<(), Refusal> {
        let Self {
            symbols, database, ..
        } = self;
        let name = database.intern(symbols, NamespaceId::SYSTEM, name)?;
        database.declare(NamespaceId::SYSTEM, name, arity)
    }

    /// A knowledge base with the same clauses, declarations and bounds, without
    /// the names that only past queries used. Open queries belong to the old one:
    /// a server does this when it has none.
    ///
    /// # Errors
    /// As [`KnowledgeBase::assertz`]: the bound may be lower than when the
    /// clauses were added.
    pub fn compacted(&self) -> Result<Self, Error> {
        let mut kb = Self::new();
        kb.set_limits(self.limits);
        for (name, arity) in self.database.defined() {
            // What the old one could define, a new one can.
            let _ = kb.declare(self.symbols.name(name), arity);
        }
        for clause in self.clauses() {
            kb.assertz(&clause)?;
        }
        Ok(kb)
    }

    /// Adds the clauses of a text behind those that are there and runs its
    /// directives, `:- Goal`, once each, in the order of the text. Gives the
    /// number of clauses added.
    ///
    /// # Errors
    /// * [`Error::Syntax`]: nothing has been done.
    /// * What adding a clause or running a directive gives, or
    ///   [`Error::DirectiveFailed`]: what stands before it has been done.
    pub fn consult(&mut self, text: &str) -> Result<usize, Error> {
        let mut reader = Reader::new(text);
        let mut clauses = Vec::new();
        while let Some(clause) = reader.next_clause()? {
            clauses.push(clause);
        }
        let mut added = 0;
        for (i, clause) in clauses.into_iter().enumerate() {
            match directive(&clause.term) {
                Some(goal) => {
                    let names = ReadTerm {
                        term: goal,
                        variables: Vec::new(),
                        at: clause.at,
                    };
                    let limits = self.limits;
                    let scope = self.system.clone();
                    if self.open(&scope, &names, limits)?.next(self)?.is_none() {
                        return Err(Error::DirectiveFailed(i + 1));
                    }
                }
                None => {
                    self.assertz(&clause.term)?;
                    added += 1;
                }
            }
        }
        Ok(added)
    }

    /// Opens a query. The text is a goal; a full stop at its end may be left out.
    ///
    /// # Errors
    /// [`Error::Syntax`]; a goal that can't be called (`type_error(callable, …)`);
    /// a bound.
    pub fn query(&mut self, text: &str) -> Result<Query, Error> {
        self.query_within(text, self.limits)
    }

    /// Opens a query on somebody's behalf.
    ///
    /// # Errors
    /// As [`KnowledgeBase::query`].
    pub fn query_as(&mut self, scope: &Scope, text: &str) -> Result<Query, Error> {
        let goal = self.read_as(scope, text)?;
        self.open(scope, &goal, self.limits)
    }

    /// Reads a text on somebody's behalf, if there is room for that.
    ///
    /// # Errors
    /// [`Error::Syntax`], [`Error::Limit`].
    pub fn read_as(&self, scope: &Scope, text: &str) -> Result<ReadTerm, Error> {
        let _reading = self.reading(scope, text)?;
        Ok(read_term(text)?)
    }

    /// Makes sure that there is room for reading a text.
    fn reading(&self, scope: &Scope, text: &str) -> Result<Charge, Error> {
        let bytes = text.len().saturating_mul(READING);
        let charge = Charge::of(&scope.queries, bytes).map_err(Error::Limit)?;
        // The largest block of it.
        memory::probe(block(bytes / 4), scope.queries.resource()).map_err(Error::Limit)?;
        Ok(charge)
    }

    /// Opens a query with bounds of its own; those of the database are not
    /// changed by it.
    ///
    /// # Errors
    /// As [`KnowledgeBase::query`].
    pub fn query_within(&mut self, text: &str, limits: Limits) -> Result<Query, Error> {
        let scope = self.system.clone();
        self.open(&scope, &read_term(text)?, limits)
    }

    /// Opens a query for a goal that has been read or built.
    ///
    /// # Errors
    /// As [`KnowledgeBase::query`], syntax apart.
    pub fn query_term(&mut self, goal: &ReadTerm) -> Result<Query, Error> {
        let scope = self.system.clone();
        self.open(&scope, goal, self.limits)
    }

    /// As [`KnowledgeBase::query_term`], on somebody's behalf.
    ///
    /// # Errors
    /// As [`KnowledgeBase::query_term`].
    pub fn query_term_as(&mut self, scope: &Scope, goal: &ReadTerm) -> Result<Query, Error> {
        self.open(scope, goal, self.limits)
    }

    /// Counts what somebody keeps outside: nothing yet.
    #[must_use]
    pub fn reserve_for(&self, scope: &Scope) -> Reservation {
        Reservation(Charge::none(&scope.queries))
    }

    /// Reads all clauses of a text on somebody's behalf, and what keeping them counts for.
    ///
    /// # Errors
    /// [`Error::Syntax`], [`Error::Limit`].
    pub fn read_program_as(
        &self,
        scope: &Scope,
        text: &str,
    ) -> Result<(Vec<ReadTerm>, Reservation), Error> {
        let reading = self.reading(scope, text)?;
        let mut reader = Reader::new(text);
        let mut clauses = Vec::new();
        while let Some(clause) = reader.next_clause()? {
            clauses.push(clause);
        }
        Ok((clauses, Reservation(reading)))
    }

    /// The first solution of a goal, if it has one.
    ///
    /// # Errors
    /// As [`KnowledgeBase::query`] and [`Query::next`].
    pub fn first(&mut self, text: &str) -> Result<Option<Solution>, Error> {
        self.query(text)?.next(self)
    }

    fn open(&mut self, scope: &Scope, goal: &ReadTerm, limits: Limits) -> Result<Query, Error> {
        let pool = scope
            .queries
            .part(limits.query_bytes, Resource::QueryMemory);
        let (cells, numbers) = self
            .import(scope, &pool, &goal.term)
            .map_err(Error::Limit)?;
        let variables = index(numbers.len());
        let head = if variables == 0 {
            Cell::Atom(Symbol::QUERY)
        } else {
            Cell::Compound(Symbol::QUERY, variables)
        };
        let source = query_source(&pool, head, variables, &cells).map_err(Error::Limit)?;
        let clause = self
            .database
            .compile_goal(scope.namespace, &pool, &source)
            .map_err(|error| compile_error(error, &goal.term))?;
        let names = goal
            .variables
            .iter()
            .filter(|(name, _)| !name.starts_with('_'))
            .filter_map(|(name, number)| Some((Arc::clone(name), *numbers.get(number)?)))
            .collect::<Vec<(Name, u32)>>();
        Query::new(clause, variables, names, limits.steps, &pool, scope)
    }

    /// Adds a clause, `Head` or `Head :- Body`, behind the others of its predicate.
    ///
    /// # Errors
    /// A head or goal that can't be called, a predicate that is built in, a bound.
    pub fn assertz(&mut self, clause: &Term) -> Result<(), Error> {
        let scope = self.system.clone();
        self.add(&scope, clause, End::Last)
    }

    /// As [`KnowledgeBase::assertz`], on somebody's behalf.
    ///
    /// # Errors
    /// As [`KnowledgeBase::assertz`]; a predicate that isn't the client's.
    pub fn assertz_as(&mut self, scope: &Scope, clause: &Term) -> Result<(), Error> {
        self.add(scope, clause, End::Last)
    }

    /// Adds a clause before the others of its predicate.
    ///
    /// # Errors
    /// As [`KnowledgeBase::assertz`].
    pub fn asserta(&mut self, clause: &Term) -> Result<(), Error> {
        let scope = self.system.clone();
        self.add(&scope, clause, End::First)
    }

    /// Adds a fact of the machine.
    ///
    /// # Errors
    /// `representation_error(max_integer)` for a value above 2⁶³ − 1; a bound.
    pub fn assert_fact(&mut self, fact: &impl Fact) -> Result<(), Error> {
        self.assertz(&fact.term()?)
    }

    fn add(&mut self, scope: &Scope, clause: &Term, end: End) -> Result<(), Error> {
        let (cells, _) = self
            .import(scope, &scope.clauses, clause)
            .map_err(Error::Limit)?;
        let added = self.database.add(scope.namespace, &cells, end);
        // What open queries made this copy is no later query's to pay for.
        self.database.take_copied();
        added.map_err(|refusal| match refusal {
            Refusal::Compile(error) => compile_error(error, clause),
            Refusal::Limit(resource) => Error::Limit(resource),
            Refusal::Static(name, arity) => {
                let name = Term::atom(self.symbols.name(name));
                let indicator = Term::compound("/", [name, Term::int(arity.into())]);
                formal(Term::compound(
                    "permission_error",
                    [
                        Term::atom("modify"),
                        Term::atom("static_procedure"),
                        indicator,
                    ],
                ))
            }
        })
    }

    /// Removes the first clause that unifies with `clause`; false if there is none.
    ///
    /// # Errors
    /// As `retract/1`: a head that can't be called, a built-in predicate, a bound.
    pub fn retract(&mut self, clause: &Term) -> Result<bool, Error> {
        let scope = self.system.clone();
        self.retract_as(&scope, clause)
    }

    /// As [`KnowledgeBase::retract`], on somebody's behalf.
    ///
    /// # Errors
    /// As [`KnowledgeBase::retract`]; a predicate that isn't the client's.
    pub fn retract_as(&mut self, scope: &Scope, clause: &Term) -> Result<bool, Error> {
        self.holds(scope, Term::compound("retract", [clause.clone()]))
    }

    /// Removes all clauses whose head unifies with `head`.
    ///
    /// # Errors
    /// As `retractall/1`.
    pub fn retract_all(&mut self, head: &Term) -> Result<(), Error> {
        let scope = self.system.clone();
        self.holds(&scope, Term::compound("retractall", [head.clone()]))
            .map(|_| ())
    }

    fn holds(&mut self, scope: &Scope, goal: Term) -> Result<bool, Error> {
        let at = crate::error::Position { line: 1, column: 1 };
        let goal = ReadTerm {
            term: goal,
            variables: Vec::new(),
            at,
        };
        Ok(self.query_term_as(scope, &goal)?.next(self)?.is_some())
    }

    /// All clauses that are no library's, as terms, predicate by predicate.
    pub fn clauses(&self) -> impl Iterator<Item = Term> {
        self.database
            .program()
            .map(|clause| self.export(&clause.source))
    }

    /// A term's cells with this knowledge base's symbols, its variables numbered
    /// anew in order of occurrence, and their new numbers by the old ones.
    fn import(
        &mut self,
        scope: &Scope,
        pool: &Arc<Pool>,
        term: &Term,
    ) -> Result<(Buffer<Cell>, BTreeMap<u32, u32>), Resource> {
        let Self {
            symbols, database, ..
        } = self;
        let mut intern = |name: &str| database.intern(symbols, scope.namespace, name);
        let mut numbers = BTreeMap::new();
        let mut charge = Charge::none(pool);
        let mut cells = Buffer::new(pool);
        cells.reserve(term.nodes().len())?;
        for node in term.nodes() {
            cells.push(match node {
                Node::Var(number) => {
                    let next = index(numbers.len());
                    if !numbers.contains_key(number) {
                        charge.add(memory::tree_entry::<u32, u32>())?;
                    }
                    Cell::Var(*numbers.entry(*number).or_insert(next))
                }
                Node::Int(value) => Cell::Int(*value),
                Node::Atom(name) => Cell::Atom(intern(name)?),
                Node::Str(text) => Cell::Str(intern(text)?),
                Node::Compound(name, arity) => Cell::Compound(intern(name)?, *arity),
            })?;
        }
        Ok((cells, numbers))
    }

    /// As [`KnowledgeBase::export`], if `pool` has room for the term.
    pub(crate) fn export_within(&self, pool: &Arc<Pool>, cells: &[Cell]) -> Result<Term, Error> {
        // What the term is made into is small, or made with room of its own.
        let bytes = block(cells.len().saturating_mul(size_of::<Node>())).saturating_mul(2);
        let _room = Charge::of(pool, bytes).map_err(Error::Limit)?;
        memory::probe(bytes, pool.resource()).map_err(Error::Limit)?;
        Ok(self.export(cells))
    }

    /// The term that cells stand for.
    pub(crate) fn export(&self, cells: &[Cell]) -> Term {
        let name = |symbol: &Symbol| Arc::clone(self.symbols.name(*symbol));
        let nodes = cells
            .iter()
            .map(|cell| match cell {
                Cell::Var(number) | Cell::First(number) => Node::Var(*number),
                Cell::Void => Node::Var(u32::MAX),
                Cell::Int(value) => Node::Int(*value),
                Cell::Atom(symbol) => Node::Atom(name(symbol)),
                Cell::Str(symbol) => Node::Str(name(symbol)),
                Cell::Compound(symbol, arity) => Node::Compound(name(symbol), *arity),
            })
            .collect();
        Term::from_nodes(nodes)
    }
}

/// The clause of a query with these cells: its variables are the head's arguments.
fn query_source(
    pool: &Arc<Pool>,
    head: Cell,
    variables: u32,
    cells: &[Cell],
) -> Result<Buffer<Cell>, Resource> {
    let mut source = Buffer::new(pool);
    source.reserve(cells.len() + variables as usize + 2)?;
    source.push(Cell::Compound(Symbol::NECK, 2))?;
    source.push(head)?;
    for n in 0..variables {
        source.push(Cell::Var(n))?;
    }
    source.extend(cells)?;
    Ok(source)
}

/// The goal of `:- Goal`.
fn directive(term: &Term) -> Option<Term> {
    match term.root().view() {
        crate::term::View::Compound(":-", mut args) if args.len() == 1 => {
            args.next().map(crate::term::TermRef::to_term)
        }
        _ => None,
    }
}

fn formal(formal: Term) -> Error {
    // Variables of the culprit come before that of the context.
    let free = 1 + formal.nodes().iter().fold(0, |most, node| match node {
        Node::Var(number) => most.max(number.saturating_add(1)),
        _ => most,
    });
    Error::Uncaught(Term::compound(
        "error",
        [formal, Term::var(free.saturating_sub(1))],
    ))
}

fn compile_error(error: CompileError, culprit: &Term) -> Error {
    match error {
        CompileError::Limit(resource) => Error::Limit(resource),
        CompileError::Instantiation => formal(Term::atom("instantiation_error")),
        CompileError::NotCallable => formal(Term::compound(
            "type_error",
            [Term::atom("callable"), culprit.clone()],
        )),
    }
}
