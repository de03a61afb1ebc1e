//! The knowledge base: names, clauses, and what is done with them from outside.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::compile::CompileError;
use crate::database::{Database, End, Refusal};
use crate::error::{Error, Resource};
use crate::query::{Query, Solution};
use crate::reader::{ReadTerm, Reader, read_term};
use crate::schema::{Fact, SCHEMAS};
use crate::store::{Cell, index};
use crate::symbol::{Symbol, Symbols};
use crate::term::{Name, Node, Term};

/// The predicates that are written in the dialect itself.
const LIBRARY: &str = include_str!("library.pl");

/// The rules of the machine.
pub const RULES: &str = include_str!("rules.pl");

/// Bounds that turn runaway programs into errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of one query: calls made, and cells of terms visited.
    pub steps: u64,
    /// Memory of one query's terms and stacks, in bytes.
    pub query_bytes: usize,
    /// Memory of all clauses and names, in bytes.
    pub database_bytes: usize,
}

impl Default for Limits {
    /// 50 million steps, 32 MiB a query, 64 MiB of clauses and names.
    fn default() -> Self {
        Self {
            steps: 50_000_000,
            query_bytes: 32 << 20,
            database_bytes: 64 << 20,
        }
    }
}

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
}

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
        let mut symbols = Symbols::new();
        let database = Database::new(&mut symbols, limits.database_bytes);
        let mut kb = Self {
            symbols,
            database,
            limits,
        };
        kb.database.set_loading_library(true);
        kb.consult(LIBRARY)
            .expect("library.pl is part of this crate and a test consults it");
        kb.database.set_loading_library(false);
        kb
    }

    /// A knowledge base with the library, the fact schemas declared, and the
    /// rules of the machine.
    #[must_use]
    pub fn with_rules() -> Self {
        let mut kb = Self::new();
        for schema in SCHEMAS {
            let name = kb.symbols.intern(schema.name);
            // No schema bears the name of a built-in: a test calls each.
            let _ = kb.database.declare(name, index(schema.arguments.len()));
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
        self.database.set_byte_limit(limits.database_bytes);
    }

    /// Memory that clauses and names take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.symbols.bytes() + self.database.bytes()
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
            let name = kb.symbols.intern(self.symbols.name(name));
            // What the old one could define, a new one can.
            let _ = kb.database.declare(name, arity);
        }
        for clause in self.clauses() {
            kb.assertz(&clause)?;
        }
        Ok(kb)
    }

    /// Whether all names of a term have symbols.
    fn knows(&self, term: &Term) -> bool {
        term.nodes().iter().all(|node| match node {
            Node::Atom(name) | Node::Str(name) | Node::Compound(name, _) => {
                self.symbols.knows(name)
            }
            Node::Var(_) | Node::Int(_) => true,
        })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes() > self.limits.database_bytes
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
                    if self.open(&names, limits)?.next(self)?.is_none() {
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

    /// Opens a query with bounds of its own; those of the database are not
    /// changed by it.
    ///
    /// # Errors
    /// As [`KnowledgeBase::query`].
    pub fn query_within(&mut self, text: &str, limits: Limits) -> Result<Query, Error> {
        self.open(&read_term(text)?, limits)
    }

    /// Opens a query for a goal that has been read or built.
    ///
    /// # Errors
    /// As [`KnowledgeBase::query`], syntax apart.
    pub fn query_term(&mut self, goal: &ReadTerm) -> Result<Query, Error> {
        self.open(goal, self.limits)
    }

    /// The first solution of a goal, if it has one.
    ///
    /// # Errors
    /// As [`KnowledgeBase::query`] and [`Query::next`].
    pub fn first(&mut self, text: &str) -> Result<Option<Solution>, Error> {
        self.query(text)?.next(self)
    }

    fn open(&mut self, goal: &ReadTerm, limits: Limits) -> Result<Query, Error> {
        // Names stay for good: once the bound is reached, a query without new ones
        // is still served, so that nobody can lock the others out.
        if self.is_full() && !self.knows(&goal.term) {
            return Err(Error::Limit(Resource::DatabaseMemory));
        }
        let (cells, numbers) = self.import(&goal.term);
        let variables = index(numbers.len());
        let head = if variables == 0 {
            Cell::Atom(Symbol::QUERY)
        } else {
            Cell::Compound(Symbol::QUERY, variables)
        };
        let mut source = Vec::from([Cell::Compound(Symbol::NECK, 2), head]);
        source.extend((0..variables).map(Cell::Var));
        source.extend(cells);
        let clause = self
            .database
            .compile_goal(Box::from(source))
            .map_err(|error| compile_error(error, &goal.term))?;
        let names = goal
            .variables
            .iter()
            .filter(|(name, _)| !name.starts_with('_'))
            .filter_map(|(name, number)| Some((Arc::clone(name), *numbers.get(number)?)))
            .collect::<Vec<(Name, u32)>>();
        Query::new(clause, variables, names, limits)
    }

    /// Adds a clause, `Head` or `Head :- Body`, behind the others of its predicate.
    ///
    /// # Errors
    /// A head or goal that can't be called, a predicate that is built in, a bound.
    pub fn assertz(&mut self, clause: &Term) -> Result<(), Error> {
        self.add(clause, End::Last)
    }

    /// Adds a clause before the others of its predicate.
    ///
    /// # Errors
    /// As [`KnowledgeBase::assertz`].
    pub fn asserta(&mut self, clause: &Term) -> Result<(), Error> {
        self.add(clause, End::First)
    }

    /// Adds a fact of the machine.
    ///
    /// # Errors
    /// `representation_error(max_integer)` for a value above 2⁶³ − 1; a bound.
    pub fn assert_fact(&mut self, fact: &impl Fact) -> Result<(), Error> {
        self.assertz(&fact.term()?)
    }

    fn add(&mut self, clause: &Term, end: End) -> Result<(), Error> {
        let (cells, _) = self.import(clause);
        let added = self.database.add(&self.symbols, Box::from(cells), end);
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
        self.holds(Term::compound("retract", [clause.clone()]))
    }

    /// Removes all clauses whose head unifies with `head`.
    ///
    /// # Errors
    /// As `retractall/1`.
    pub fn retract_all(&mut self, head: &Term) -> Result<(), Error> {
        self.holds(Term::compound("retractall", [head.clone()]))
            .map(|_| ())
    }

    fn holds(&mut self, goal: Term) -> Result<bool, Error> {
        let at = crate::error::Position { line: 1, column: 1 };
        let goal = ReadTerm {
            term: goal,
            variables: Vec::new(),
            at,
        };
        Ok(self.query_term(&goal)?.next(self)?.is_some())
    }

    /// All clauses that are no library's, as terms, predicate by predicate.
    pub fn clauses(&self) -> impl Iterator<Item = Term> {
        self.database
            .program()
            .map(|clause| self.export(&clause.source))
    }

    /// A term's cells with this knowledge base's symbols, its variables numbered
    /// anew in order of occurrence, and their new numbers by the old ones.
    fn import(&mut self, term: &Term) -> (Vec<Cell>, BTreeMap<u32, u32>) {
        let mut numbers = BTreeMap::new();
        let cells = term
            .nodes()
            .iter()
            .map(|node| match node {
                Node::Var(number) => {
                    let next = index(numbers.len());
                    Cell::Var(*numbers.entry(*number).or_insert(next))
                }
                Node::Int(value) => Cell::Int(*value),
                Node::Atom(name) => Cell::Atom(self.symbols.intern(name)),
                Node::Str(text) => Cell::Str(self.symbols.intern(text)),
                Node::Compound(name, arity) => Cell::Compound(self.symbols.intern(name), *arity),
            })
            .collect();
        (cells, numbers)
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
        CompileError::Instantiation => formal(Term::atom("instantiation_error")),
        CompileError::NotCallable => formal(Term::compound(
            "type_error",
            [Term::atom("callable"), culprit.clone()],
        )),
    }
}
