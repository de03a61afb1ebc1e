//! Errors inside the engine, before they become terms.

use crate::error::Resource;
use crate::store::{Store, Value};
use crate::symbol::Symbol;

/// Why a goal ended neither in success nor in failure (ISO 7.12.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A variable where a value is needed.
    Instantiation,
    /// Not of the named type.
    Type(Symbol, Value),
    /// Of the type, but not in the named domain.
    Domain(Symbol, Value),
    /// No such procedure.
    UnknownProcedure(Symbol, u32),
    /// Modifying this procedure isn't allowed.
    StaticProcedure(Symbol, u32),
    /// Outside what the implementation holds.
    Representation(Symbol),
    /// Arithmetic has no result.
    Evaluation(Symbol),
    /// Thrown by the program.
    Thrown(Value),
    /// A bound was reached; not catchable.
    Limit(Resource),
}

impl Fault {
    /// The term to throw; none for a bound.
    pub(crate) fn ball(self, store: &mut Store) -> Result<Value, Resource> {
        let formal = match self {
            Self::Limit(resource) => return Err(resource),
            Self::Thrown(ball) => return Ok(ball),
            Self::Instantiation => Value::Atom(Symbol::INSTANTIATION_ERROR),
            Self::Type(expected, culprit) => {
                store.new_struct(Symbol::TYPE_ERROR, &[Value::Atom(expected), culprit])
            }
            Self::Domain(expected, culprit) => {
                store.new_struct(Symbol::DOMAIN_ERROR, &[Value::Atom(expected), culprit])
            }
            Self::UnknownProcedure(name, arity) => {
                let indicator = indicator(store, name, arity);
                let kind = Value::Atom(Symbol::PROCEDURE);
                store.new_struct(Symbol::EXISTENCE_ERROR, &[kind, indicator])
            }
            Self::StaticProcedure(name, arity) => {
                let indicator = indicator(store, name, arity);
                let action = Value::Atom(Symbol::MODIFY);
                let kind = Value::Atom(Symbol::STATIC_PROCEDURE);
                store.new_struct(Symbol::PERMISSION_ERROR, &[action, kind, indicator])
            }
            Self::Representation(what) => {
                store.new_struct(Symbol::REPRESENTATION_ERROR, &[Value::Atom(what)])
            }
            Self::Evaluation(what) => {
                store.new_struct(Symbol::EVALUATION_ERROR, &[Value::Atom(what)])
            }
        };
        let context = store.new_var();
        Ok(store.new_struct(Symbol::ERROR, &[formal, context]))
    }
}

impl From<Resource> for Fault {
    fn from(resource: Resource) -> Self {
        Self::Limit(resource)
    }
}

/// `Name/Arity`.
pub(crate) fn indicator(store: &mut Store, name: Symbol, arity: u32) -> Value {
    store.new_struct(
        Symbol::SLASH,
        &[Value::Atom(name), Value::Int(arity.into())],
    )
}
