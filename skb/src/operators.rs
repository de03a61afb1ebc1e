//! The operators that the reader and the writer know (ISO/IEC 13211-1, 6.3.4.4).

/// How an operator takes operands: the largest priority on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    /// Priority of a term with this principal operator, 1 to 1200.
    pub(crate) priority: u16,
    /// Largest priority of the left operand; 0 for a prefix operator.
    pub(crate) left: u16,
    /// Largest priority of the right operand.
    pub(crate) right: u16,
}

/// Largest priority of an argument or a list element.
pub(crate) const ARGUMENT: u16 = 999;
/// Largest priority of a term.
pub(crate) const TERM: u16 = 1200;

const fn xfx(priority: u16) -> Option<Operator> {
    Some(Operator {
        priority,
        left: priority - 1,
        right: priority - 1,
    })
}

const fn xfy(priority: u16) -> Option<Operator> {
    Some(Operator {
        priority,
        left: priority - 1,
        right: priority,
    })
}

const fn yfx(priority: u16) -> Option<Operator> {
    Some(Operator {
        priority,
        left: priority,
        right: priority - 1,
    })
}

const fn fx(priority: u16) -> Option<Operator> {
    Some(Operator {
        priority,
        left: 0,
        right: priority - 1,
    })
}

const fn fy(priority: u16) -> Option<Operator> {
    Some(Operator {
        priority,
        left: 0,
        right: priority,
    })
}

/// `name` between two operands.
pub(crate) fn infix(name: &str) -> Option<Operator> {
    match name {
        ":-" | "-->" => xfx(1200),
        ";" => xfy(1100),
        "->" => xfy(1050),
        "," => xfy(1000),
        "=" | "\\=" | "==" | "\\==" | "@<" | "@>" | "@=<" | "@>=" | "=.." | "is" | "=:="
        | "=\\=" | "<" | ">" | "=<" | ">=" => xfx(700),
        ":" => xfy(600),
        "+" | "-" | "/\\" | "\\/" | "xor" => yfx(500),
        "*" | "/" | "//" | "rem" | "mod" | "div" | "<<" | ">>" => yfx(400),
        "**" => xfx(200),
        "^" => xfy(200),
        _ => None,
    }
}

/// `name` before one operand.
pub(crate) fn prefix(name: &str) -> Option<Operator> {
    match name {
        ":-" | "?-" => fx(1200),
        "dynamic" | "discontiguous" => fx(1150),
        "\\+" => fy(900),
        "-" | "+" | "\\" => fy(200),
        _ => None,
    }
}

/// The priority of a bare atom: an operator's own, else 0.
pub(crate) fn atom_priority(name: &str) -> u16 {
    let of = |op: Option<Operator>| op.map_or(0, |op| op.priority);
    of(infix(name)).max(of(prefix(name)))
}
