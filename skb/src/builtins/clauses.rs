//! Clauses added, looked at and removed by programs (ISO 8.8, 8.9).

use alloc::sync::Arc;

use crate::clause::{Clause, Key};
use crate::compile::{self, CompileError};
use crate::database::{End, Refusal, Target};
use crate::fault::Fault;
use crate::knowledge_base::KnowledgeBase;
use crate::machine::{Machine, Outcome};
use crate::memory::Buffer;
use crate::store::{FreshVariables, Store, Value};
use crate::symbol::Symbol;

/// `asserta(Clause)`.
pub(super) fn asserta(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    add(machine, kb, End::First)
}

/// `assertz(Clause)`.
pub(super) fn assertz(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    add(machine, kb, End::Last)
}

fn add(machine: &mut Machine, kb: &mut KnowledgeBase, end: End) -> Result<Outcome, Fault> {
    let clause = machine.argument(0);
    let (cells, _) = machine.copy_out(clause)?;
    let added = kb.database.add(machine.scope.namespace, &cells, end);
    machine.count_copies(kb)?;
    match added {
        Ok(()) => Ok(Outcome::True),
        Err(refusal) => {
            let culprit = culprit(machine, clause);
            Err(fault(refusal, culprit))
        }
    }
}

/// What can't be called in a clause that was refused: its head, or else its body (ISO 8.9.1.3).
fn culprit(machine: &Machine, clause: Value) -> Value {
    match clause {
        Value::Struct(i) if machine.store.functor(i) == (Symbol::NECK, 2) => {
            match machine.store.arg(i, 0) {
                Value::Atom(_) | Value::Struct(_) => machine.store.arg(i, 1),
                head => head,
            }
        }
        _ => clause,
    }
}

fn fault(refusal: Refusal, culprit: Value) -> Fault {
    match refusal {
        Refusal::Compile(CompileError::Instantiation) => Fault::Instantiation,
        Refusal::Compile(CompileError::NotCallable) => Fault::Type(Symbol::CALLABLE, culprit),
        Refusal::Static(name, arity) => Fault::StaticProcedure(name, arity),
        Refusal::Compile(CompileError::Limit(resource)) | Refusal::Limit(resource) => {
            Fault::Limit(resource)
        }
    }
}

/// Name and number of arguments of a head.
fn functor(machine: &Machine, head: Value) -> Result<(Symbol, u32), Fault> {
    match machine.store.deref(head) {
        Value::Atom(name) => Ok((name, 0)),
        Value::Struct(i) => Ok(machine.store.functor(i)),
        Value::Var(_) => Err(Fault::Instantiation),
        other => Err(Fault::Type(Symbol::CALLABLE, other)),
    }
}

/// `'$clause'(Head, Body, Reference)`: the clauses that unify; the reference is
/// for `'$erase'/2`.
pub(super) fn clause(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let head = machine.argument(0);
    let (name, arity) = functor(machine, head)?;
    let Some(Target::Predicate(pred)) = kb.database.known(machine.scope.namespace, name, arity)
    else {
        return Ok(Outcome::False);
    };
    let keys = [0, 1, 2].map(|n| match head {
        Value::Struct(i) if n < arity => machine.key(machine.store.arg(i, n)),
        _ => Key::Any,
    });
    match kb.database.select(pred, &keys) {
        Some((list, indexed)) => {
            machine.store.spend(indexed as u64 / 64)?;
            machine.clause_terms(list, 0)
        }
        None => Ok(Outcome::False),
    }
}

/// Unifies a clause's head, body and reference.
pub(crate) fn unify_clause(
    store: &mut Store,
    clause: &Arc<Clause>,
    head: Value,
    body: Value,
    reference: Value,
) -> Result<bool, Fault> {
    let (head_at, body_at) = compile::split(&clause.source);
    let mut vars = FreshVariables::new(store);
    let (built, _) = store.build(&clause.source, head_at, &mut vars)?;
    if !store.unify(built, head)? {
        return Ok(false);
    }
    let built = match body_at {
        Some(at) => store.build(&clause.source, at, &mut vars)?.0,
        None => Value::Atom(Symbol::TRUE),
    };
    Ok(store.unify(built, body)? && store.unify(Value::Int(clause.sequence), reference)?)
}

/// `'$erase'(Head, Reference)`: removes that clause; fails if it is gone.
pub(super) fn erase(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let (name, arity) = functor(machine, machine.argument(0))?;
    let sequence = machine.integer_argument(1)?;
    let namespace = machine.scope.namespace;
    let removed = kb.database.remove(namespace, name, arity, sequence)?;
    machine.count_copies(kb)?;
    Ok(Outcome::from_bool(removed))
}

/// `'$modifiable'(Head)`: an error if programs may not change the predicate.
pub(super) fn modifiable(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let (name, arity) = functor(machine, machine.argument(0))?;
    if kb
        .database
        .is_modifiable(machine.scope.namespace, name, arity)
    {
        Ok(Outcome::True)
    } else {
        Err(Fault::StaticProcedure(name, arity))
    }
}

/// `'$readable'(Head)`: an error if programs may not see the predicate's clauses.
pub(super) fn readable(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let (name, arity) = functor(machine, machine.argument(0))?;
    if kb
        .database
        .is_readable(machine.scope.namespace, name, arity)
    {
        Ok(Outcome::True)
    } else {
        Err(Fault::StaticProcedure(name, arity))
    }
}

/// `dynamic(Indicators)`: `Name/Arity`, or several by comma or in a list. Calling
/// such a predicate without clauses fails instead of being an error.
pub(super) fn dynamic(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let mut pending = Buffer::new(machine.store.pool());
    pending.push(machine.argument(0))?;
    while let Some(item) = pending.pop() {
        machine.store.spend(1)?;
        let item = machine.store.deref(item);
        let Value::Struct(i) = item else {
            match item {
                Value::Atom(Symbol::NIL) => continue,
                Value::Var(_) => return Err(Fault::Instantiation),
                _ => return Err(Fault::Type(Symbol::PREDICATE_INDICATOR, item)),
            }
        };
        let (first, second) = match machine.store.functor(i) {
            (Symbol::COMMA | Symbol::DOT | Symbol::SLASH, 2) => {
                (machine.store.arg(i, 0), machine.store.arg(i, 1))
            }
            _ => return Err(Fault::Type(Symbol::PREDICATE_INDICATOR, item)),
        };
        if machine.store.functor(i).0 != Symbol::SLASH {
            pending.push(second)?;
            pending.push(first)?;
            continue;
        }
        match (first, second) {
            (Value::Atom(name), Value::Int(arity)) => {
                let arity = u32::try_from(arity)
                    .map_err(|_| Fault::Domain(Symbol::NOT_LESS_THAN_ZERO, second))?;
                kb.database
                    .declare(machine.scope.namespace, name, arity)
                    .map_err(|refusal| fault(refusal, item))?;
            }
            (Value::Var(_), _) | (_, Value::Var(_)) => return Err(Fault::Instantiation),
            _ => return Err(Fault::Type(Symbol::PREDICATE_INDICATOR, item)),
        }
    }
    Ok(Outcome::True)
}
