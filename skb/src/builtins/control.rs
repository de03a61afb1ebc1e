//! Calling goals: `call/N`, `catch/3`, `throw/1`, `findall/3`, `between/3`.

use crate::fault::Fault;
use crate::knowledge_base::KnowledgeBase;
use crate::machine::{Machine, Outcome};
use crate::memory::Buffer;
use crate::store::Value;
use crate::symbol::Symbol;

use super::BETWEEN;

/// `call(Goal, Extra…)`: the goal with the extra arguments added.
pub(super) fn call(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let goal = machine.argument(0);
    let extra = machine.args.get(1..).unwrap_or_default();
    if extra.is_empty() {
        return Ok(Outcome::Goal(goal));
    }
    let mut args = Buffer::new(machine.store.pool());
    let name = match goal {
        Value::Atom(name) => name,
        Value::Struct(i) => {
            let (name, arity) = machine.store.functor(i);
            for n in 0..arity {
                args.push(machine.store.arg(i, n))?;
            }
            name
        }
        Value::Var(_) => return Err(Fault::Instantiation),
        _ => return Err(Fault::Type(Symbol::CALLABLE, goal)),
    };
    args.extend(extra)?;
    machine.store.require(args.len() + 1)?;
    Ok(Outcome::Goal(machine.store.new_struct(name, &args)))
}

/// `catch(Goal, Catcher, Recovery)`.
pub(super) fn catch(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let (goal, catcher, recovery) = (
        machine.argument(0),
        machine.argument(1),
        machine.argument(2),
    );
    machine.catch(goal, catcher, recovery)
}

/// `throw(Ball)`.
pub(super) fn throw(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    match machine.argument(0) {
        Value::Var(_) => Err(Fault::Instantiation),
        ball => Err(Fault::Thrown(ball)),
    }
}

/// `findall(Template, Goal, List)`.
pub(super) fn findall(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let (template, goal, list) = (
        machine.argument(0),
        machine.argument(1),
        machine.argument(2),
    );
    // ISO 8.10.1: the result must be able to become a list.
    let mut rest = list;
    while let Some((_, tail)) = machine.store.list_cell(rest) {
        machine.store.spend(1)?;
        rest = tail;
    }
    if !matches!(rest, Value::Var(_) | Value::Atom(Symbol::NIL)) {
        return Err(Fault::Type(Symbol::LIST, list));
    }
    machine.findall(template, goal, list)
}

/// `fail`.
pub(super) fn fail(_: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    Ok(Outcome::False)
}

/// `between(Low, High, X)`: X from Low to High.
pub(super) fn between(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let (low, high) = (machine.integer_argument(0)?, machine.integer_argument(1)?);
    match machine.argument(2) {
        Value::Int(x) => Ok(Outcome::from_bool(low <= x && x <= high)),
        Value::Var(_) if low > high => Ok(Outcome::False),
        x @ Value::Var(_) => {
            if low < high {
                machine.offer_builtin(BETWEEN, &[Value::Int(low + 1), Value::Int(high), x])?;
            }
            machine.give(2, Value::Int(low))
        }
        x => Err(Fault::Type(Symbol::INTEGER, x)),
    }
}
