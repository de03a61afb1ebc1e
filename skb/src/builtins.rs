//! What is built in: the table, and how a goal gets to its function.
//!
//! | file | built-ins |
//! | --- | --- |
//! | `control` | `call/1..8`, `catch/3`, `throw/1`, `findall/3`, `fail/0`, `between/3` |
//! | `terms` | unification, comparison, type tests, `functor/3`, `'$arg'/3`, `=../2`, `copy_term/2`, atoms |
//! | `arithmetic` | `is/2`, `=:=/2`, `=\=/2`, `</2`, `>/2`, `=</2`, `>=/2` |
//! | `lists` | `sort/2`, `msort/2`, `keysort/2`, `'$list'/3` |
//! | `clauses` | `assertz/1`, `asserta/1`, `'$clause'/3`, `'$erase'/2`, `'$readable'/1`, `'$modifiable'/1`, `dynamic/1` |
//!
//! Everything else is `library.pl`, on top of these.

mod arithmetic;
mod clauses;
mod control;
mod lists;
mod terms;

use crate::fault::Fault;
use crate::knowledge_base::KnowledgeBase;
use crate::machine::{Machine, Outcome};
use crate::memory::Buffer;
use crate::store::Value;
use crate::symbol::Symbol;

pub(crate) use clauses::unify_clause;

/// A built-in: its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BuiltinId(u16);

/// A built-in's function; the arguments are in [`Machine::args`].
type Function = fn(&mut Machine, &mut KnowledgeBase) -> Result<Outcome, Fault>;

/// `call/1`, first in the table.
pub(crate) const CALL: BuiltinId = BuiltinId(0);
/// `between/3`, second in the table.
pub(crate) const BETWEEN: BuiltinId = BuiltinId(1);

const TABLE: &[(&str, u32, Function)] = &[
    ("call", 1, control::call),
    ("between", 3, control::between),
    ("call", 2, control::call),
    ("call", 3, control::call),
    ("call", 4, control::call),
    ("call", 5, control::call),
    ("call", 6, control::call),
    ("call", 7, control::call),
    ("call", 8, control::call),
    ("catch", 3, control::catch),
    ("throw", 1, control::throw),
    ("findall", 3, control::findall),
    ("fail", 0, control::fail),
    ("false", 0, control::fail),
    ("=", 2, terms::unify),
    ("\\=", 2, terms::not_unifiable),
    ("==", 2, terms::identical),
    ("\\==", 2, terms::not_identical),
    ("@<", 2, terms::before),
    ("@>", 2, terms::after),
    ("@=<", 2, terms::not_after),
    ("@>=", 2, terms::not_before),
    ("compare", 3, terms::compare),
    ("var", 1, terms::is_var),
    ("nonvar", 1, terms::is_nonvar),
    ("atom", 1, terms::is_atom),
    ("integer", 1, terms::is_integer),
    ("number", 1, terms::is_integer),
    ("string", 1, terms::is_string),
    ("atomic", 1, terms::is_atomic),
    ("compound", 1, terms::is_compound),
    ("callable", 1, terms::is_callable),
    ("ground", 1, terms::is_ground),
    ("functor", 3, terms::functor),
    ("$arg", 3, terms::arg),
    ("=..", 2, terms::univ),
    ("copy_term", 2, terms::copy_term),
    ("atom_length", 2, terms::atom_length),
    ("$concat", 3, terms::concat),
    ("$text", 3, terms::text),
    ("is", 2, arithmetic::is),
    ("=:=", 2, arithmetic::equal),
    ("=\\=", 2, arithmetic::not_equal),
    ("<", 2, arithmetic::less),
    (">", 2, arithmetic::greater),
    ("=<", 2, arithmetic::not_greater),
    (">=", 2, arithmetic::not_less),
    ("msort", 2, lists::msort),
    ("sort", 2, lists::sort),
    ("keysort", 2, lists::keysort),
    ("$list", 3, lists::measure),
    ("asserta", 1, clauses::asserta),
    ("assertz", 1, clauses::assertz),
    ("assert", 1, clauses::assertz),
    ("$clause", 3, clauses::clause),
    ("$erase", 2, clauses::erase),
    ("$modifiable", 1, clauses::modifiable),
    ("$readable", 1, clauses::readable),
    ("dynamic", 1, clauses::dynamic),
    ("discontiguous", 1, clauses::dynamic),
];

/// The built-ins' names, numbers of arguments and ids.
pub(crate) fn names() -> impl Iterator<Item = (&'static str, u32, BuiltinId)> {
    (0u16..)
        .zip(TABLE)
        .map(|(i, (name, arity, _))| (*name, *arity, BuiltinId(i)))
}

/// Runs a built-in.
pub(crate) fn run(
    id: BuiltinId,
    machine: &mut Machine,
    kb: &mut KnowledgeBase,
) -> Result<Outcome, Fault> {
    match TABLE.get(id.0 as usize) {
        Some((_, _, function)) => function(machine, kb),
        // Ids are places in the table.
        None => Ok(Outcome::False),
    }
}

impl Outcome {
    pub(crate) fn from_bool(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Machine {
    /// Argument `n` of the running built-in, dereferenced.
    pub(crate) fn argument(&self, n: usize) -> Value {
        // The table's arity says how many there are.
        self.args
            .get(n)
            .map_or(Value::Int(0), |arg| self.store.deref(*arg))
    }

    /// An argument that must be an integer.
    pub(crate) fn integer_argument(&self, n: usize) -> Result<i64, Fault> {
        match self.argument(n) {
            Value::Int(value) => Ok(value),
            Value::Var(_) => Err(Fault::Instantiation),
            other => Err(Fault::Type(Symbol::INTEGER, other)),
        }
    }

    /// Unifies an argument with a result.
    pub(crate) fn give(&mut self, n: usize, value: Value) -> Result<Outcome, Fault> {
        let arg = self.argument(n);
        Ok(Outcome::from_bool(self.store.unify(arg, value)?))
    }

    /// The elements of an argument that must be a proper list.
    pub(crate) fn list_argument(&mut self, n: usize) -> Result<Buffer<Value>, Fault> {
        let list = self.argument(n);
        let mut items = Buffer::new(self.store.pool());
        let mut rest = list;
        while let Some((head, tail)) = self.store.list_cell(rest) {
            self.store.spend(1)?;
            items.push(head)?;
            rest = tail;
        }
        match rest {
            Value::Atom(Symbol::NIL) => Ok(items),
            Value::Var(_) => Err(Fault::Instantiation),
            _ => Err(Fault::Type(Symbol::LIST, list)),
        }
    }
}
