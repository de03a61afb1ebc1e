//! Unification, comparison, type tests, construction (ISO 8.2–8.5, 8.16).

use core::cmp::Ordering;

use crate::fault::Fault;
use crate::knowledge_base::KnowledgeBase;
use crate::machine::{Machine, Outcome};
use crate::memory::Buffer;
use crate::store::{FreshVariables, Value};
use crate::symbol::Symbol;

type Result<T = Outcome> = core::result::Result<T, Fault>;

/// Most arguments that `functor/3` and `=..` make a compound with.
const MAX_ARITY: u32 = 1 << 20;

/// `A = B`.
pub(super) fn unify(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    machine.give(0, machine.argument(1))
}

/// `A \= B`.
pub(super) fn not_unifiable(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    let (a, b) = (machine.argument(0), machine.argument(1));
    Ok(Outcome::from_bool(!machine.unifiable(a, b)?))
}

fn order(machine: &mut Machine, kb: &KnowledgeBase, first: usize) -> Result<Ordering> {
    let (a, b) = (machine.argument(first), machine.argument(first + 1));
    machine.store.compare(&kb.symbols, a, b)
}

/// `A == B`.
pub(super) fn identical(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result {
    Ok(Outcome::from_bool(order(machine, kb, 0)?.is_eq()))
}

/// `A \== B`.
pub(super) fn not_identical(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result {
    Ok(Outcome::from_bool(order(machine, kb, 0)?.is_ne()))
}

/// `A @< B`.
pub(super) fn before(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result {
    Ok(Outcome::from_bool(order(machine, kb, 0)?.is_lt()))
}

/// `A @> B`.
pub(super) fn after(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result {
    Ok(Outcome::from_bool(order(machine, kb, 0)?.is_gt()))
}

/// `A @=< B`.
pub(super) fn not_after(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result {
    Ok(Outcome::from_bool(order(machine, kb, 0)?.is_le()))
}

/// `A @>= B`.
pub(super) fn not_before(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result {
    Ok(Outcome::from_bool(order(machine, kb, 0)?.is_ge()))
}

/// `compare(Order, A, B)`.
pub(super) fn compare(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result {
    match machine.argument(0) {
        Value::Var(_) | Value::Atom(Symbol::LESS | Symbol::EQUAL | Symbol::GREATER) => {}
        other @ Value::Atom(_) => return Err(Fault::Domain(Symbol::ORDER, other)),
        other => return Err(Fault::Type(Symbol::ATOM, other)),
    }
    let order = match order(machine, kb, 1)? {
        Ordering::Less => Symbol::LESS,
        Ordering::Equal => Symbol::EQUAL,
        Ordering::Greater => Symbol::GREATER,
    };
    machine.give(0, Value::Atom(order))
}

fn test(machine: &Machine, holds: fn(Value) -> bool) -> Result {
    Ok(Outcome::from_bool(holds(machine.argument(0))))
}

/// `var(X)`.
pub(super) fn is_var(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    test(machine, |x| matches!(x, Value::Var(_)))
}

/// `nonvar(X)`.
pub(super) fn is_nonvar(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    test(machine, |x| !matches!(x, Value::Var(_)))
}

/// `atom(X)`.
pub(super) fn is_atom(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    test(machine, |x| matches!(x, Value::Atom(_)))
}

/// `integer(X)` and `number(X)`.
pub(super) fn is_integer(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    test(machine, |x| matches!(x, Value::Int(_)))
}

/// `string(X)`.
pub(super) fn is_string(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    test(machine, |x| matches!(x, Value::Str(_)))
}

/// `atomic(X)`.
pub(super) fn is_atomic(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    test(machine, |x| !matches!(x, Value::Var(_) | Value::Struct(_)))
}

/// `compound(X)`.
pub(super) fn is_compound(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    test(machine, |x| matches!(x, Value::Struct(_)))
}

/// `callable(X)`.
pub(super) fn is_callable(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    test(machine, |x| matches!(x, Value::Struct(_) | Value::Atom(_)))
}

/// `ground(X)`.
pub(super) fn is_ground(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    let (_, vars) = machine.copy_out(machine.argument(0))?;
    Ok(Outcome::from_bool(vars.variables.is_empty()))
}

fn arity_of(machine: &Machine, n: usize) -> Result<u32> {
    let arity = machine.integer_argument(n)?;
    if arity < 0 {
        return Err(Fault::Domain(Symbol::NOT_LESS_THAN_ZERO, Value::Int(arity)));
    }
    u32::try_from(arity)
        .ok()
        .filter(|arity| *arity <= MAX_ARITY)
        .ok_or(Fault::Representation(Symbol::MAX_ARITY))
}

/// `functor(Term, Name, Arity)`.
pub(super) fn functor(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    let (name, arity) = match machine.argument(0) {
        Value::Struct(i) => {
            let (name, arity) = machine.store.functor(i);
            (Value::Atom(name), arity)
        }
        Value::Var(_) => {
            let name = machine.argument(1);
            let arity = arity_of(machine, 2)?;
            let term = match name {
                Value::Var(_) => return Err(Fault::Instantiation),
                Value::Struct(_) => return Err(Fault::Type(Symbol::ATOMIC, name)),
                _ if arity == 0 => name,
                Value::Atom(name) => {
                    machine.store.require(arity as usize + 1)?;
                    machine.store.spend(arity.into())?;
                    machine.store.new_open_struct(name, arity)
                }
                _ => return Err(Fault::Type(Symbol::ATOM, name)),
            };
            return machine.give(0, term);
        }
        atomic => (atomic, 0),
    };
    match machine.give(1, name)? {
        Outcome::True => machine.give(2, Value::Int(arity.into())),
        other => Ok(other),
    }
}

/// `'$arg'(N, Term, Arg)` with N bound.
pub(super) fn arg(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    let n = machine.integer_argument(0)?;
    let i = match machine.argument(1) {
        Value::Struct(i) => i,
        Value::Var(_) => return Err(Fault::Instantiation),
        other => return Err(Fault::Type(Symbol::COMPOUND, other)),
    };
    let (_, arity) = machine.store.functor(i);
    match u32::try_from(n) {
        Ok(n) if (1..=arity).contains(&n) => machine.give(2, machine.store.arg(i, n - 1)),
        _ => Ok(Outcome::False),
    }
}

/// `Term =.. [Name|Args]`.
pub(super) fn univ(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    let nil = Value::Atom(Symbol::NIL);
    match machine.argument(0) {
        Value::Struct(i) => {
            let (name, arity) = machine.store.functor(i);
            let mut items = Buffer::new(machine.store.pool());
            machine.store.require((arity as usize + 1) * 3)?;
            items.push(Value::Atom(name))?;
            for n in 0..arity {
                items.push(machine.store.arg(i, n))?;
            }
            let list = machine.store.new_list(&items, nil);
            machine.give(1, list)
        }
        Value::Var(_) => {
            let items = machine.list_argument(1)?;
            let Some((name, args)) = items.split_first() else {
                return Err(Fault::Domain(Symbol::NOT_LESS_THAN_ZERO, nil));
            };
            let term = match machine.store.deref(*name) {
                Value::Var(_) => return Err(Fault::Instantiation),
                name if args.is_empty() && !matches!(name, Value::Struct(_)) => name,
                Value::Atom(name) => {
                    if args.len() > MAX_ARITY as usize {
                        return Err(Fault::Representation(Symbol::MAX_ARITY));
                    }
                    machine.store.require(args.len() + 1)?;
                    machine.store.new_struct(name, args)
                }
                other => return Err(Fault::Type(Symbol::ATOM, other)),
            };
            machine.give(0, term)
        }
        atomic => {
            let list = machine.store.new_list(&[atomic], nil);
            machine.give(1, list)
        }
    }
}

/// `copy_term(Term, Copy)`.
pub(super) fn copy_term(machine: &mut Machine, _: &mut KnowledgeBase) -> Result {
    let (cells, _) = machine.copy_out(machine.argument(0))?;
    let mut fresh = FreshVariables::new(&machine.store);
    let (copy, _) = machine.store.build(&cells, 0, &mut fresh)?;
    machine.give(1, copy)
}

/// Appends the text of an atomic term.
fn add_text(machine: &Machine, kb: &KnowledgeBase, n: usize, text: &mut Buffer<u8>) -> Result<()> {
    match machine.argument(n) {
        Value::Atom(name) | Value::Str(name) => Ok(text.extend(kb.symbols.name(name).as_bytes())?),
        Value::Int(value) => Ok(text.extend(alloc::format!("{value}").as_bytes())?),
        Value::Var(_) => Err(Fault::Instantiation),
        other => Err(Fault::Type(Symbol::ATOMIC, other)),
    }
}

fn intern(machine: &Machine, kb: &mut KnowledgeBase, text: &[u8]) -> Result<Symbol> {
    // Made of whole texts.
    let text = core::str::from_utf8(text).unwrap_or_default();
    let KnowledgeBase {
        symbols, database, ..
    } = kb;
    Ok(database.intern(symbols, machine.scope.namespace, text)?)
}

/// `atom_length(Atom, Length)`, in characters.
pub(super) fn atom_length(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result {
    let length = match machine.argument(0) {
        Value::Atom(name) | Value::Str(name) => {
            let name = kb.symbols.name(name);
            machine.store.spend(name.len() as u64 / 8)?;
            name.chars().count()
        }
        _ => {
            let mut text = Buffer::new(machine.store.pool());
            add_text(machine, kb, 0, &mut text)?;
            text.len()
        }
    };
    machine.give(1, Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// `'$concat'(A, B, Atom)` with A and B bound.
pub(super) fn concat(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result {
    let mut text = Buffer::new(machine.store.pool());
    add_text(machine, kb, 0, &mut text)?;
    add_text(machine, kb, 1, &mut text)?;
    machine.store.spend(text.len() as u64)?;
    let name = intern(machine, kb, &text)?;
    machine.give(2, Value::Atom(name))
}

/// `'$text'(X, Atom, String)`: the text of an atomic term as atom and as string.
pub(super) fn text(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result {
    let mut text = Buffer::new(machine.store.pool());
    add_text(machine, kb, 0, &mut text)?;
    machine.store.spend(text.len() as u64)?;
    let name = intern(machine, kb, &text)?;
    match machine.give(1, Value::Atom(name))? {
        Outcome::True => machine.give(2, Value::Str(name)),
        other => Ok(other),
    }
}
