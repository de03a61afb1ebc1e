//! Interned names: atoms, functors and string texts.
//!
//! A [`Symbol`] is an index into [`Symbols`]; two names are equal when their
//! symbols are. Whoever brings a name holds it: the system for good, a client until
//! its namespace is closed, and each pays for the names that it holds and the system
//! doesn't. A name that nobody holds is freed and its index used again: clauses and
//! queries of a namespace end with it, and nobody else got the symbol without
//! holding it himself.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use crate::error::Resource;
use crate::memory::{Buffer, Charge, Pool, block, probe, tree_entry};

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
    names: Buffer<Entry>,
    ids: BTreeMap<Arc<str>, Symbol>,
    /// Indexes of names that nobody holds.
    free: Buffer<u32>,
    /// What stands for an index that has no name.
    nothing: Arc<str>,
}

struct Entry {
    /// None while nobody holds it.
    text: Option<Arc<str>>,
    is_systems: bool,
    /// Clients that hold it.
    holders: u32,
}

/// The names that one namespace holds.
pub(crate) struct Names {
    /// None for the system, whose names are marked in the table.
    held: Option<BTreeSet<Symbol>>,
    charge: Charge,
}

impl Names {
    /// The system's, for which `pool` pays.
    pub(crate) fn of_system(pool: &Arc<Pool>) -> Self {
        Self {
            held: None,
            charge: Charge::none(pool),
        }
    }

    /// A client's.
    pub(crate) fn of_client(pool: &Arc<Pool>) -> Self {
        Self {
            held: Some(BTreeSet::new()),
            charge: Charge::none(pool),
        }
    }
}

/// Memory of a name beside its place in the table: its text behind two counts, and what
/// its text and its holder find it by.
const fn name_bytes(text: &str, holder: &Names) -> usize {
    let name = block(2 * size_of::<usize>() + text.len()) + tree_entry::<Arc<str>, Symbol>();
    match holder.held {
        Some(_) => name + tree_entry::<Symbol, ()>(),
        None => name,
    }
}

impl Symbols {
    /// A table that holds the engine's own names.
    pub(crate) fn new(pool: &Arc<Pool>, system: &mut Names) -> Result<Self, Resource> {
        let mut table = Self {
            names: Buffer::new(pool),
            ids: BTreeMap::new(),
            free: Buffer::new(pool),
            nothing: Arc::from(""),
        };
        for name in WELL_KNOWN {
            table.intern(system, name)?;
        }
        Ok(table)
    }

    /// The symbol of `name`, made when it is new, and held by whoever `names` is.
    pub(crate) fn intern(&mut self, names: &mut Names, name: &str) -> Result<Symbol, Resource> {
        if let Some(symbol) = self.ids.get(name).copied() {
            self.hold(names, symbol, name)?;
            return Ok(symbol);
        }
        let bytes = name_bytes(name, names);
        names.charge.add(bytes)?;
        match self.add(name, names.charge.pool().resource()) {
            Ok(symbol) => {
                let entry = &mut self.names[symbol.0 as usize];
                match &mut names.held {
                    None => entry.is_systems = true,
                    Some(held) => {
                        entry.holders = 1;
                        held.insert(symbol);
                    }
                }
                Ok(symbol)
            }
            Err(resource) => {
                names.charge.remove(bytes);
                Err(resource)
            }
        }
    }

    fn hold(&mut self, names: &mut Names, symbol: Symbol, name: &str) -> Result<(), Resource> {
        let entry = &mut self.names[symbol.0 as usize];
        let is_held = entry.is_systems
            || names
                .held
                .as_ref()
                .is_some_and(|held| held.contains(&symbol));
        if is_held {
            return Ok(());
        }
        let bytes = name_bytes(name, names);
        names.charge.add(bytes)?;
        match &mut names.held {
            None => entry.is_systems = true,
            Some(held) => {
                entry.holders += 1;
                held.insert(symbol);
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, exhausted: Resource) -> Result<Symbol, Resource> {
        probe(name.len() + 2 * size_of::<usize>(), exhausted)?;
        // So that `release` can't fail.
        self.free
            .reserve((self.names.len() + 1).saturating_sub(self.free.len()))?;
        let index = match self.free.last() {
            Some(index) => *index,
            None => {
                let index = crate::store::index(self.names.len());
                self.names.push(Entry {
                    text: None,
                    is_systems: false,
                    holders: 0,
                })?;
                self.free.push(index)?;
                index
            }
        };
        self.free.pop();
        let text: Arc<str> = Arc::from(name);
        self.names[index as usize].text = Some(Arc::clone(&text));
        self.ids.insert(text, Symbol(index));
        Ok(Symbol(index))
    }

    /// Lets go of all names that a closed namespace held.
    pub(crate) fn release(&mut self, names: Names) {
        for symbol in names.held.into_iter().flatten() {
            let Some(entry) = self.names.get_mut(symbol.0 as usize) else {
                continue;
            };
            entry.holders = entry.holders.saturating_sub(1);
            if entry.holders == 0
                && !entry.is_systems
                && let Some(text) = entry.text.take()
            {
                self.ids.remove(&text);
                // There is room: see `add`.
                let _ = self.free.push(symbol.0);
            }
        }
    }

    /// The text of a symbol.
    pub(crate) fn name(&self, symbol: Symbol) -> &Arc<str> {
        // A symbol is only made by `intern` of its own table, so it has a text; a foreign
        // one reads as an empty name instead of panicking.
        self.names
            .get(symbol.0 as usize)
            .and_then(|entry| entry.text.as_ref())
            .unwrap_or(&self.nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> (Symbols, Names, Arc<Pool>) {
        let pool = Pool::root(1 << 20, Resource::Memory);
        let mut system = Names::of_system(&pool);
        let table = Symbols::new(&pool, &mut system).unwrap();
        (table, system, pool)
    }

    #[test]
    fn well_known_names_have_their_constants() {
        let (table, _, _) = table();
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
        let (mut table, mut system, pool) = table();
        let a = table.intern(&mut system, "core").unwrap();
        let bytes = pool.used();
        assert_eq!(table.intern(&mut system, "core"), Ok(a));
        assert_eq!(pool.used(), bytes);
        assert_ne!(table.intern(&mut system, "Core"), Ok(a));
    }

    #[test]
    fn a_name_lives_as_long_as_somebody_holds_it() {
        let (mut table, mut system, pool) = table();
        let share = |bytes| pool.part(bytes, Resource::ClientMemory);
        let (one, two) = (share(10_000), share(10_000));
        let mut ones = Names::of_client(&one);
        let mut twos = Names::of_client(&two);
        let mine = table.intern(&mut ones, "mine").unwrap();
        let both = table.intern(&mut ones, "both").unwrap();
        assert_eq!(table.intern(&mut twos, "both"), Ok(both));
        let systems = table.intern(&mut ones, "systems").unwrap();
        assert_eq!(table.intern(&mut system, "systems"), Ok(systems));
        assert!(one.used() > 0 && two.used() > 0);
        table.release(ones);
        assert_eq!(one.used(), 0);
        assert_eq!(&**table.name(both), "both");
        assert_eq!(&**table.name(systems), "systems");
        assert_eq!(&**table.name(mine), "");
        assert_eq!(table.intern(&mut twos, "other"), Ok(mine), "used again");
        table.release(twos);
        assert_eq!((&**table.name(both), two.used()), ("", 0));
        // A client's share bounds the names that it may bring.
        let small = share(1_000);
        let mut names = Names::of_client(&small);
        let brought = (0..100).take_while(|n| {
            let name = std::format!("name-{n}");
            table.intern(&mut names, &name).is_ok()
        });
        assert!((2..12).contains(&brought.count()));
        let mut others = Names::of_client(&share(10_000));
        assert!(table.intern(&mut others, "free").is_ok());
    }
}
