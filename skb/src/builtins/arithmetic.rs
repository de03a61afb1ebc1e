//! Arithmetic on 64-bit integers (ISO 8.6, 8.7, 9.1); overflow is an error.

use crate::fault::Fault;
use crate::knowledge_base::KnowledgeBase;
use crate::machine::{Machine, Outcome};
use crate::memory::Buffer;
use crate::store::{Store, Value};
use crate::symbol::Symbol;

/// `X is Expression`.
pub(super) fn is(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    let expression = machine.argument(1);
    let value = evaluate(&mut machine.store, expression)?;
    machine.give(0, Value::Int(value))
}

fn compare(machine: &mut Machine, holds: fn(&i64, &i64) -> bool) -> Result<Outcome, Fault> {
    let (a, b) = (machine.argument(0), machine.argument(1));
    let a = evaluate(&mut machine.store, a)?;
    let b = evaluate(&mut machine.store, b)?;
    Ok(Outcome::from_bool(holds(&a, &b)))
}

/// `A =:= B`.
pub(super) fn equal(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    compare(machine, i64::eq)
}

/// `A =\= B`.
pub(super) fn not_equal(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    compare(machine, i64::ne)
}

/// `A < B`.
pub(super) fn less(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    compare(machine, i64::lt)
}

/// `A > B`.
pub(super) fn greater(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    compare(machine, i64::gt)
}

/// `A =< B`.
pub(super) fn not_greater(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    compare(machine, i64::le)
}

/// `A >= B`.
pub(super) fn not_less(machine: &mut Machine, _: &mut KnowledgeBase) -> Result<Outcome, Fault> {
    compare(machine, i64::ge)
}

enum Work {
    Evaluate(Value),
    Apply(Symbol, u32),
}

/// The value of an expression, however deep.
pub(super) fn evaluate(store: &mut Store, expression: Value) -> Result<i64, Fault> {
    if let Value::Int(value) = expression {
        return Ok(value);
    }
    let mut work = Buffer::new(store.pool());
    work.push(Work::Evaluate(expression))?;
    let mut values: Buffer<i64> = Buffer::new(store.pool());
    while let Some(item) = work.pop() {
        store.spend(1)?;
        match item {
            Work::Evaluate(value) => match store.deref(value) {
                Value::Int(value) => values.push(value)?,
                Value::Var(_) => return Err(Fault::Instantiation),
                Value::Atom(name) | Value::Functor(name, _) => {
                    values.push(constant(name).ok_or_else(|| unknown(store, name, 0))?)?;
                }
                text @ Value::Str(_) => return Err(Fault::Type(Symbol::EVALUABLE, text)),
                Value::Struct(i) => {
                    let (name, arity) = store.functor(i);
                    if !(1..=2).contains(&arity) {
                        return Err(unknown(store, name, arity));
                    }
                    // A cyclic expression ends here.
                    work.push(Work::Apply(name, arity))?;
                    for n in (0..arity).rev() {
                        work.push(Work::Evaluate(store.arg(i, n)))?;
                    }
                }
            },
            Work::Apply(name, arity) => {
                let right = values.pop().unwrap_or(0);
                let result = if arity == 1 {
                    unary(name, right)
                } else {
                    binary(name, values.pop().unwrap_or(0), right)
                };
                match result {
                    Some(Ok(value)) => values.push(value)?,
                    Some(Err(fault)) => return Err(fault),
                    None => return Err(unknown(store, name, arity)),
                }
            }
        }
    }
    Ok(values.pop().unwrap_or(0))
}

fn unknown(store: &mut Store, name: Symbol, arity: u32) -> Fault {
    Fault::Type(
        Symbol::EVALUABLE,
        crate::fault::indicator(store, name, arity),
    )
}

fn constant(name: Symbol) -> Option<i64> {
    match name {
        Symbol::MAX_INTEGER => Some(i64::MAX),
        Symbol::MIN_INTEGER => Some(i64::MIN),
        _ => None,
    }
}

const OVERFLOW: Fault = Fault::Evaluation(Symbol::INT_OVERFLOW);
const ZERO: Fault = Fault::Evaluation(Symbol::ZERO_DIVISOR);

/// None if there is no such function.
fn unary(name: Symbol, x: i64) -> Option<Result<i64, Fault>> {
    Some(match name {
        Symbol::MINUS => x.checked_neg().ok_or(OVERFLOW),
        Symbol::PLUS => Ok(x),
        Symbol::ABS => x.checked_abs().ok_or(OVERFLOW),
        Symbol::SIGN => Ok(x.signum()),
        Symbol::BIT_NOT => Ok(!x),
        Symbol::MSB if x <= 0 => Err(Fault::Evaluation(Symbol::UNDEFINED)),
        Symbol::MSB => Ok(i64::from(63 - x.leading_zeros())),
        _ => return None,
    })
}

/// None if there is no such function.
fn binary(name: Symbol, x: i64, y: i64) -> Option<Result<i64, Fault>> {
    let divides = matches!(
        name,
        Symbol::INT_DIV | Symbol::DIV | Symbol::REM | Symbol::MOD
    );
    if divides && y == 0 {
        return Some(Err(ZERO));
    }
    Some(match name {
        Symbol::PLUS => x.checked_add(y).ok_or(OVERFLOW),
        Symbol::MINUS => x.checked_sub(y).ok_or(OVERFLOW),
        Symbol::STAR => x.checked_mul(y).ok_or(OVERFLOW),
        Symbol::INT_DIV => x.checked_div(y).ok_or(OVERFLOW),
        Symbol::DIV => floor_div(x, y).ok_or(OVERFLOW),
        Symbol::REM => Ok(x.wrapping_rem(y)),
        // The result has the divisor's sign.
        Symbol::MOD => Ok(floor_mod(x, y)),
        Symbol::MIN => Ok(x.min(y)),
        Symbol::MAX => Ok(x.max(y)),
        Symbol::SHIFT_LEFT => shift(x, y),
        Symbol::SHIFT_RIGHT => shift(x, y.saturating_neg()),
        Symbol::BIT_AND => Ok(x & y),
        Symbol::BIT_OR => Ok(x | y),
        Symbol::XOR => Ok(x ^ y),
        Symbol::GCD => gcd(x, y).ok_or(OVERFLOW),
        Symbol::POWER | Symbol::POWER2 => power(x, y),
        _ => return None,
    })
}

fn floor_div(x: i64, y: i64) -> Option<i64> {
    let quotient = x.checked_div(y)?;
    let inexact = x.wrapping_rem(y) != 0;
    Some(if inexact && (x < 0) != (y < 0) {
        quotient - 1
    } else {
        quotient
    })
}

fn floor_mod(x: i64, y: i64) -> i64 {
    let rest = x.wrapping_rem(y);
    if rest != 0 && (rest < 0) != (y < 0) {
        rest + y
    } else {
        rest
    }
}

/// `x · 2^y`, rounded down; to the right for negative `y`.
fn shift(x: i64, y: i64) -> Result<i64, Fault> {
    if y < 0 {
        let by = u32::try_from(y.unsigned_abs()).unwrap_or(u32::MAX).min(63);
        return Ok(x >> by);
    }
    if x == 0 {
        return Ok(0);
    }
    let by = u32::try_from(y).map_err(|_| OVERFLOW)?;
    let shifted = x.checked_shl(by).ok_or(OVERFLOW)?;
    if shifted >> by == x {
        Ok(shifted)
    } else {
        Err(OVERFLOW)
    }
}

fn gcd(x: i64, y: i64) -> Option<i64> {
    let (mut a, mut b) = (x.unsigned_abs(), y.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).ok()
}

/// ISO 9.3.10: a negative exponent has an integer result for −1 and 1 only.
fn power(x: i64, y: i64) -> Result<i64, Fault> {
    match (x, y) {
        (1, _) => Ok(1),
        (-1, _) => Ok(if y % 2 == 0 { 1 } else { -1 }),
        (0, ..0) => Err(ZERO),
        (_, ..0) => Err(Fault::Evaluation(Symbol::UNDEFINED)),
        (0, _) => Ok(i64::from(y == 0)),
        _ => u32::try_from(y)
            .ok()
            .and_then(|y| x.checked_pow(y))
            .ok_or(OVERFLOW),
    }
}
