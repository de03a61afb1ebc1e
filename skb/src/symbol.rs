//! Interned names: atoms, functors and string texts.
//!
//! A [`Symbol`] is an index into [`Symbols`]; two names are equal when their
//! symbols are. Symbols are never freed: the texts count against the memory
//! bound of the knowledge base ([`crate::Limits::database_bytes`]).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// One interned name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Symbol(u32);

/// The names that the engine itself uses, interned first and in this order.
macro_rules! well_known {
    ($($id:ident = $text:literal,)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "each variant becomes a constant")]
        enum WellKnown { $($id,)* }
        impl Symbol {
            $(pub(crate) const $id: Symbol = Symbol(WellKnown::$id as u32);)*
        }
        const WELL_KNOWN: &[&str] = &[$($text,)*];
    };
}

well_known! {
    NIL = "[]", DOT = ".", COMMA = ",", SEMICOLON = ";", ARROW = "->", NECK = ":-",
    NOT = "\\+", CUT = "!", TRUE = "true", CALL = "call", COLON = ":", MINUS = "-", SLASH = "/",
    LESS = "<", EQUAL = "=", GREATER = ">",
    ERROR = "error", INSTANTIATION_ERROR = "instantiation_error", TYPE_ERROR = "type_error",
    DOMAIN_ERROR = "domain_error", EXISTENCE_ERROR = "existence_error",
    PERMISSION_ERROR = "permission_error", REPRESENTATION_ERROR = "representation_error",
    EVALUATION_ERROR = "evaluation_error",
    PROCEDURE = "procedure", CALLABLE = "callable", INTEGER = "integer", LIST = "list",
    ATOM = "atom", ATOMIC = "atomic", COMPOUND = "compound", PAIR = "pair",
    EVALUABLE = "evaluable", PREDICATE_INDICATOR = "predicate_indicator",
    NOT_LESS_THAN_ZERO = "not_less_than_zero", INT_OVERFLOW = "int_overflow",
    ZERO_DIVISOR = "zero_divisor", UNDEFINED = "undefined", MAX_ARITY = "max_arity",
    MAX_INTEGER = "max_integer", MODIFY = "modify", STATIC_PROCEDURE = "static_procedure",
    ORDER = "order", QUERY = "$query",
    PLUS = "+", STAR = "*", INT_DIV = "//", DIV = "div", REM = "rem", MOD = "mod", MIN = "min",
    MAX = "max", SHIFT_LEFT = "<<", SHIFT_RIGHT = ">>", BIT_AND = "/\\", BIT_OR = "\\/",
    BIT_NOT = "\\", XOR = "xor", ABS = "abs", SIGN = "sign", GCD = "gcd", MSB = "msb",
    POWER = "^", POWER2 = "**", MIN_INTEGER = "min_integer",
}

/// The table of names of one knowledge base.
pub(crate) struct Symbols {
    names: Vec<Arc<str>>,
    ids: BTreeMap<Arc<str>, Symbol>,
    bytes: usize,
}

/// Bookkeeping charged per name beside its text: two `Arc`s, the map entry.
const BYTES_PER_NAME: usize = 64;

impl Symbols {
    /// A table that holds the engine's own names.
    pub(crate) fn new() -> Self {
        let mut table = Self {
            names: Vec::new(),
            ids: BTreeMap::new(),
            bytes: 0,
        };
        for name in WELL_KNOWN {
            table.intern(name);
        }
        table
    }

    /// The symbol of `name`, made when it is new.
    pub(crate) fn intern(&mut self, name: &str) -> Symbol {
        if let Some(symbol) = self.ids.get(name) {
            return *symbol;
        }
        let symbol = Symbol(crate::store::index(self.names.len()));
        let text: Arc<str> = Arc::from(name);
        self.bytes += text.len() + BYTES_PER_NAME;
        self.names.push(Arc::clone(&text));
        self.ids.insert(text, symbol);
        symbol
    }

    /// Whether `name` has a symbol already.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.ids.contains_key(name)
    }

    /// The text of a symbol.
    pub(crate) fn name(&self, symbol: Symbol) -> &Arc<str> {
        // A symbol is only made by `intern` of its own table, so the index is in
        // range; a foreign one reads as the first name instead of panicking.
        self.names.get(symbol.0 as usize).unwrap_or(&self.names[0])
    }

    /// Memory that the names take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_names_have_their_constants() {
        let table = Symbols::new();
        assert_eq!(&**table.name(Symbol::NIL), "[]");
        assert_eq!(&**table.name(Symbol::MIN_INTEGER), "min_integer");
        assert_eq!(
            table.names.len(),
            WELL_KNOWN.len(),
            "no name stands twice in the list"
        );
    }

    #[test]
    fn interning_is_idempotent() {
        let mut table = Symbols::new();
        let a = table.intern("core");
        let bytes = table.bytes();
        assert_eq!(table.intern("core"), a);
        assert_eq!(table.bytes(), bytes);
        assert!(!table.knows("Core"));
        assert_ne!(table.intern("Core"), a);
        assert!(table.knows("Core"));
    }
}
