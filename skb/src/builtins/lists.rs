//! Sorting (ISO 8.4.3, 8.4.4) and measuring lists.

use core::cmp::Ordering;

use crate::fault::Fault;
use crate::knowledge_base::KnowledgeBase;
use crate::machine::{Machine, Outcome};
use crate::memory::Buffer;
use crate::store::{Store, Value};
use crate::symbol::{Symbol, Symbols};

/// `msort(List, Sorted)`: in standard order, duplicates kept.
pub(super) fn msort(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let items = machine.list_argument(0)?;
    let items = merge_sort(&mut machine.store, &kb.symbols, items, |_, item| item)?;
    give_list(machine, &items)
}

/// `sort(List, Sorted)`: in standard order, duplicates removed.
pub(super) fn sort(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let items = machine.list_argument(0)?;
    let items = merge_sort(&mut machine.store, &kb.symbols, items, |_, item| item)?;
    let mut distinct = Buffer::new(machine.store.pool());
    for item in items.iter().copied() {
        let repeated = match distinct.last() {
            Some(last) => machine.store.compare(&kb.symbols, *last, item)?.is_eq(),
            None => false,
        };
        if !repeated {
            distinct.push(item)?;
        }
    }
    give_list(machine, &distinct)
}

/// `keysort(Pairs, Sorted)`: `Key-Value` pairs by key, stable.
pub(super) fn keysort(machine: &mut Machine, kb: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let items = machine.list_argument(0)?;
    for item in items.iter() {
        match machine.store.deref(*item) {
            Value::Struct(i) if machine.store.functor(i) == (Symbol::MINUS, 2) => {}
            Value::Var(_) => return Err(Fault::Instantiation),
            other => return Err(Fault::Type(Symbol::PAIR, other)),
        }
    }
    let key = |store: &Store, pair: Value| match store.deref(pair) {
        Value::Struct(i) => store.arg(i, 0),
        other => other,
    };
    let items = merge_sort(&mut machine.store, &kb.symbols, items, key)?;
    give_list(machine, &items)
}

fn give_list(machine: &mut Machine, items: &[Value]) -> Result<Outcome, Fault> {
    machine.store.require(items.len() * 3)?;
    let list = machine.store.new_list(items, Value::Atom(Symbol::NIL));
    machine.give(1, list)
}

/// Stable merge sort, bottom up. The standard library's can't be left in the
/// middle when a bound is reached.
fn merge_sort(
    store: &mut Store,
    symbols: &Symbols,
    items: Buffer<Value>,
    key: impl Fn(&Store, Value) -> Value,
) -> Result<Buffer<Value>, Fault> {
    let mut from = items;
    let mut to = Buffer::new(store.pool());
    to.reserve(from.len())?;
    let mut width = 1;
    while width < from.len() {
        for run in from.chunks(2 * width) {
            let (left, right) = run.split_at(width.min(run.len()));
            let (mut i, mut j) = (0, 0);
            while let (Some(a), Some(b)) = (left.get(i), right.get(j)) {
                let (x, y) = (key(store, *a), key(store, *b));
                if store.compare(symbols, x, y)? == Ordering::Greater {
                    to.push(*b)?;
                    j += 1;
                } else {
                    to.push(*a)?;
                    i += 1;
                }
            }
            to.extend(&left[i..])?;
            to.extend(&right[j..])?;
        }
        core::mem::swap(&mut from, &mut to);
        to.clear();
        width *= 2;
    }
    Ok(from)
}

/// `'$list'(List, Length, Rest)`: the number of list cells, and what follows them.
pub(super) fn measure(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let mut rest = machine.argument(0);
    let mut length = 0i64;
    while let Some((_, tail)) = machine.store.list_cell(rest) {
        machine.store.spend(1)?;
        rest = tail;
        length += 1;
    }
    if !machine.store.unify(rest, machine.argument(2))? {
        return Ok(Outcome::False);
    }
    machine.give(1, Value::Int(length))
}
