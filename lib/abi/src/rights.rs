//! Which rights each operation asks for: of the capability that is invoked, and of each
//! capability that its arguments name.
//!
//! One table, [`TABLE`]. A CPU driver takes its checks from here ([`Need::of`] in a
//! constant, so that a check costs a comparison and an argument that the table doesn't
//! have isn't decoded); `docs/025-rights.md` is held against it by a test; a guest test
//! is generated from it, one case for each right of each need.
//!
//! | right | its holder may |
//! | --- | --- |
//! | [`Rights::READ`] | look: map it readable, translate through it, read what it says of itself |
//! | [`Rights::WRITE`] | change: map it writable, fill and empty its slots or entries, send, ring, stop it |
//! | [`Rights::EXECUTE`] | have it run: map it executable, let a dispatcher, a core or an address space run |
//! | [`Rights::GRANT`] | hand it to somebody else: into another CSpace, a message, a control block, another kernel |
//! | [`Rights::REVOKE`] | take back what was copied or made of it |
//! | [`Rights::RETYPE`] | make other objects from it, in its range or bearing its name; have room kept in its ring |
//!
//! Nothing is asked of whoever looks at what a capability says ([`Invocation::Identify`])
//! or lets it go (by the slot's CNode, which needs WRITE; or [`Invocation::Unmap`]).

use crate::syscall::Invocation;
use crate::{ObjectType, Rights};

/// A set of object types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kinds(u32);

impl Kinds {
    /// Every type but Null.
    pub const ANY: Self = Self::of(ObjectType::ALL).without(ObjectType::Null);

    /// The set of `kinds`.
    #[must_use]
    pub const fn of(kinds: &[ObjectType]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < kinds.len() {
            bits |= 1 << kinds[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    const fn without(self, kind: ObjectType) -> Self {
        Self(self.0 & !(1 << kind as u32))
    }

    /// Whether `kind` is among them.
    #[inline]
    #[must_use]
    pub const fn contains(self, kind: ObjectType) -> bool {
        self.contains_number(kind as u8)
    }

    /// Whether the type with the number `kind` is among them; no number of none is.
    #[inline]
    #[must_use]
    pub const fn contains_number(self, kind: u8) -> bool {
        (kind as u32) < u32::BITS && self.0 >> kind as u32 & 1 != 0
    }

    /// Those among [`ObjectType::ALL`].
    pub fn iter(self) -> impl Iterator<Item = ObjectType> {
        let all = ObjectType::ALL.iter().copied();
        all.filter(move |&kind| self.contains(kind))
    }
}

/// What is done with a capability.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// [`crate::syscall::Syscall::Invoke`].
    Invoke(Invocation),
    /// [`crate::syscall::Syscall::Send`], and `Call`, which is a send and a wait.
    Send,
    /// [`crate::syscall::Syscall::Yield`] to a dispatcher.
    Yield,
}

impl Operation {
    const fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Invoke(one), Self::Invoke(another)) => one as u16 == another as u16,
            (Self::Send, Self::Send) | (Self::Yield, Self::Yield) => true,
            _ => false,
        }
    }
}

/// When an operation asks for more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// The slots to be filled lie in another CSpace than the caller runs in.
    AnotherCSpace,
    /// A badge is set.
    Badge,
    /// A part of Ram, `PhysAddr` or `IrqSource` is asked for: a claim, as a retype is.
    Claim,
    /// A frame is mapped, or a mapping made, writable.
    Writable,
    /// The same, executable.
    Executable,
    /// A table is mapped: it becomes part of an address space.
    Table,
}

/// What an operation asks of one capability.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// The register that names the capability; 0: the one invoked.
    pub register: usize,
    /// The types that it may have; for register 0 those that know the operation.
    pub kinds: Kinds,
    /// The rights that it must have in any case.
    pub rights: Rights,
    /// Those that it must have besides.
    pub more: &'static [(Condition, Rights)],
}

/// What an operation asks for.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The operation.
    pub operation: Operation,
    /// What it asks of each capability, the one invoked first.
    pub needs: &'static [Need],
}

impl Row {
    /// What `invocation` asks for.
    #[must_use]
    pub const fn of(invocation: Invocation) -> &'static Self {
        find(Invoke(invocation))
    }
}

const fn find(operation: Operation) -> &'static Row {
    let mut at = 0;
    while at < TABLE.len() {
        if TABLE[at].operation.is(operation) {
            return &TABLE[at];
        }
        at += 1;
    }
    // A test finds every operation.
    panic!("an operation that isn't in the table of rights")
}

impl Need {
    /// What `operation` asks of the capability in `register`. For constants.
    ///
    /// # Panics
    /// When the table has no such need: at compile time, then.
    #[must_use]
    pub const fn of(operation: Operation, register: usize) -> Self {
        let needs = find(operation).needs;
        let mut at = 0;
        while at < needs.len() {
            if needs[at].register == register {
                return needs[at];
            }
            at += 1;
        }
        panic!("a capability that isn't in the table of rights")
    }

    /// [`Need::of`] for an invocation.
    ///
    /// # Panics
    /// As [`Need::of`].
    #[must_use]
    pub const fn invocation(invocation: Invocation, register: usize) -> Self {
        Self::of(Invoke(invocation), register)
    }

    /// The rights that are asked for besides when `condition` holds. For constants.
    ///
    /// # Panics
    /// When the table doesn't know the condition here: at compile time, then.
    #[must_use]
    pub const fn when(&self, condition: Condition) -> Rights {
        let mut at = 0;
        while at < self.more.len() {
            if self.more[at].0 as u8 == condition as u8 {
                return self.more[at].1;
            }
            at += 1;
        }
        panic!("a condition that isn't in the table of rights")
    }
}

/// One more than the largest number that an invocation can have in [`INVOKED`].
const INVOCATION_LIMIT: usize = 80;

/// What each invocation asks of the capability invoked, by its number; types and rights
/// are empty for numbers that no invocation has.
pub static INVOKED: [(Kinds, Rights); INVOCATION_LIMIT] = {
    let mut all = [(Kinds(0), Rights::empty()); INVOCATION_LIMIT];
    let mut at = 0;
    while at < Invocation::ALL.len() {
        let invocation = Invocation::ALL[at];
        let need = Need::invocation(invocation, 0);
        all[invocation as usize] = (need.kinds, need.rights);
        at += 1;
    }
    all
};

const NONE: Rights = Rights::empty();
const READ: Rights = Rights::READ;
const WRITE: Rights = Rights::WRITE;
const EXECUTE: Rights = Rights::EXECUTE;
const GRANT: Rights = Rights::GRANT;
const REVOKE: Rights = Rights::REVOKE;
const RETYPE: Rights = Rights::RETYPE;

const L1_CNODE: Kinds = Kinds::of(&[ObjectType::L1CNode]);
const VNODES: Kinds = Kinds::of(&[
    ObjectType::VNodeL0,
    ObjectType::VNodeL1,
    ObjectType::VNodeL2,
    ObjectType::VNodeL3,
]);
const MAPPABLE: Kinds = Kinds::of(&[
    ObjectType::Frame,
    ObjectType::DevFrame,
    ObjectType::EndpointUmp,
    ObjectType::VNodeL1,
    ObjectType::VNodeL2,
    ObjectType::VNodeL3,
]);
const RETYPABLE: Kinds = Kinds::of(&[
    ObjectType::PhysAddr,
    ObjectType::Ram,
    ObjectType::HomeRam,
    ObjectType::IrqSource,
]);
/// What other kernels can have a part in.
const TRAVELS: Kinds = Kinds::of(&[
    ObjectType::PhysAddr,
    ObjectType::Ram,
    ObjectType::Frame,
    ObjectType::DevFrame,
    ObjectType::EndpointUmp,
    ObjectType::Notify,
]);
const FRAME: Kinds = Kinds::of(&[ObjectType::Frame]);
const ROOT: Kinds = Kinds::of(&[ObjectType::VNodeL0]);
const RAM: Kinds = Kinds::of(&[ObjectType::Ram]);
const HOME_RAM: Kinds = Kinds::of(&[ObjectType::HomeRam]);
const MAPPING: Kinds = Kinds::of(&[ObjectType::Mapping]);
const DISPATCHER: Kinds = Kinds::of(&[ObjectType::Dispatcher]);
const ENDPOINT: Kinds = Kinds::of(&[ObjectType::EndpointLmp]);
const NOTIFY: Kinds = Kinds::of(&[ObjectType::Notify]);
const IRQ_SOURCE: Kinds = Kinds::of(&[ObjectType::IrqSource]);
const IRQ_DEST: Kinds = Kinds::of(&[ObjectType::IrqDest]);
const KERNEL: Kinds = Kinds::of(&[ObjectType::Kernel]);
/// What says of addresses that somebody may look there, as a mapping of them would.
const ADDRESSES: Kinds = Kinds::of(&[
    ObjectType::PhysAddr,
    ObjectType::Ram,
    ObjectType::Frame,
    ObjectType::DevFrame,
]);
const IMAGE: Kinds = Kinds::of(&[ObjectType::CoreImage]);

const ACROSS: (Condition, Rights) = (Condition::AnotherCSpace, GRANT);
const WRITABLE: (Condition, Rights) = (Condition::Writable, WRITE);
const EXECUTABLE: (Condition, Rights) = (Condition::Executable, EXECUTE);

macro_rules! table {
    ($($operation:expr => $([$register:literal $kinds:ident: $rights:expr $(; $($more:expr),+)?])+,)*) => {
        &[$(Row {
            operation: $operation,
            needs: &[$(Need {
                register: $register,
                kinds: $kinds,
                rights: $rights,
                more: &[$($($more),+)?],
            }),+],
        }),*]
    };
}

use Operation::{Invoke, Send, Yield};
const ANY: Kinds = Kinds::ANY;

/// The table: each operation, and what it asks of each capability.
pub const TABLE: &[Row] = table! {
    Invoke(Invocation::Identify) => [0 ANY: NONE],
    Invoke(Invocation::Copy) => [0 L1_CNODE: WRITE] [2 ANY: NONE; ACROSS],
    Invoke(Invocation::Mint) => [0 L1_CNODE: WRITE]
        [2 ANY: NONE; ACROSS, (Condition::Badge, RETYPE), (Condition::Claim, RETYPE)],
    Invoke(Invocation::Retype) => [0 L1_CNODE: WRITE] [2 RETYPABLE: RETYPE; ACROSS],
    Invoke(Invocation::Delete) => [0 L1_CNODE: WRITE],
    Invoke(Invocation::Revoke) => [0 L1_CNODE: WRITE] [1 ANY: REVOKE],
    Invoke(Invocation::IdentifySlot) => [0 L1_CNODE: READ],
    Invoke(Invocation::Grow) => [0 L1_CNODE: WRITE] [2 HOME_RAM: RETYPE; ACROSS],
    Invoke(Invocation::Map) => [0 VNODES: WRITE]
        [1 MAPPABLE: READ; WRITABLE, EXECUTABLE, (Condition::Table, WRITE)],
    Invoke(Invocation::Unmap) => [0 MAPPING: NONE],
    Invoke(Invocation::Protect) => [0 MAPPING: READ; WRITABLE, EXECUTABLE],
    Invoke(Invocation::MakeExecutable) => [0 FRAME: EXECUTE],
    Invoke(Invocation::Configure) => [0 DISPATCHER: WRITE]
        [1 FRAME: READ.union(WRITE).union(GRANT)]
        [3 L1_CNODE: READ.union(WRITE).union(GRANT)]
        [4 ROOT: READ.union(EXECUTE).union(GRANT)],
    Invoke(Invocation::Run) => [0 DISPATCHER: EXECUTE],
    Invoke(Invocation::Stop) => [0 DISPATCHER: WRITE],
    Invoke(Invocation::Print) => [0 DISPATCHER: WRITE],
    Invoke(Invocation::MakeEndpoint) => [0 DISPATCHER: RETYPE],
    Invoke(Invocation::MakeNotify) => [0 DISPATCHER: RETYPE],
    Invoke(Invocation::BindDeath) => [0 DISPATCHER: WRITE] [1 ENDPOINT: WRITE.union(RETYPE)],
    Invoke(Invocation::Exit) => [0 DISPATCHER: WRITE],
    Invoke(Invocation::Status) => [0 DISPATCHER: READ],
    Invoke(Invocation::FaultRegister) => [0 DISPATCHER: READ],
    Invoke(Invocation::Ring) => [0 NOTIFY: WRITE],
    Invoke(Invocation::BindIrq) => [0 IRQ_SOURCE: RETYPE] [1 ENDPOINT: WRITE.union(RETYPE)],
    Invoke(Invocation::AcknowledgeIrq) => [0 IRQ_DEST: WRITE],
    Invoke(Invocation::AdoptHome) => [0 KERNEL: RETYPE] [1 RAM: RETYPE],
    Invoke(Invocation::ReleaseHome) => [0 KERNEL: RETYPE] [1 HOME_RAM: RETYPE],
    Invoke(Invocation::KernelInfo) => [0 KERNEL: READ],
    Invoke(Invocation::ReadCounter) => [0 KERNEL: READ],
    Invoke(Invocation::ReadLog) => [0 KERNEL: READ],
    Invoke(Invocation::ReleaseConsole) => [0 KERNEL: WRITE],
    Invoke(Invocation::Seal) => [0 KERNEL: RETYPE] [1 FRAME: RETYPE],
    Invoke(Invocation::StartCore) => [0 KERNEL: EXECUTE] [1 IMAGE: EXECUTE],
    Invoke(Invocation::AffinityInfo) => [0 KERNEL: READ],
    Invoke(Invocation::Export) => [0 KERNEL: GRANT] [1 ANY: GRANT],
    Invoke(Invocation::Import) => [0 KERNEL: GRANT],
    Invoke(Invocation::PowerOff) => [0 KERNEL: WRITE],
    Invoke(Invocation::Reboot) => [0 KERNEL: WRITE],
    Invoke(Invocation::Probe) => [0 KERNEL: READ],
    Invoke(Invocation::MapLeaf) => [0 KERNEL: READ],
    Invoke(Invocation::SettleExport) => [0 KERNEL: GRANT],
    Invoke(Invocation::ProbeWindow) => [0 KERNEL: READ] [2 ADDRESSES: READ],
    Invoke(Invocation::Panic) => [0 KERNEL: EXECUTE],
    Invoke(Invocation::TakeOrphan) => [0 KERNEL: GRANT],
    Invoke(Invocation::Lock) => [0 KERNEL: GRANT] [1 TRAVELS: NONE],
    Invoke(Invocation::Unlock) => [0 KERNEL: GRANT],
    Invoke(Invocation::MarkRange) => [0 KERNEL: GRANT] [1 TRAVELS: REVOKE],
    Invoke(Invocation::JoinMark) => [0 KERNEL: GRANT],
    Invoke(Invocation::CommitMark) => [0 KERNEL: GRANT],
    Invoke(Invocation::SweepStep) => [0 KERNEL: GRANT],
    Invoke(Invocation::Unmark) => [0 KERNEL: GRANT],
    Invoke(Invocation::Reclaim) => [0 KERNEL: GRANT],
    Invoke(Invocation::SetOwner) => [0 KERNEL: GRANT],
    Invoke(Invocation::Adopt) => [0 KERNEL: GRANT],
    Send => [0 ENDPOINT: WRITE] [1 ANY: GRANT],
    Yield => [0 DISPATCHER: EXECUTE],
};

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    use super::*;

    const PAGE: &str = include_str!("../../../docs/025-rights.md");

    fn rights(rights: Rights) -> String {
        let names: Vec<&str> = rights.iter_names().map(|(name, _)| name).collect();
        match names.as_slice() {
            [] => "none".to_string(),
            names => names.join(" "),
        }
    }

    fn kinds(kinds: Kinds) -> String {
        if kinds == Kinds::ANY {
            return "any".to_string();
        }
        let names: Vec<&str> = kinds.iter().map(ObjectType::name).collect();
        names.join(", ")
    }

    fn condition(condition: Condition) -> &'static str {
        match condition {
            Condition::AnotherCSpace => "into another CSpace",
            Condition::Badge => "for a badge",
            Condition::Claim => "for a part of Ram, PhysAddr or IrqSource",
            Condition::Writable => "for a writable mapping",
            Condition::Executable => "for an executable mapping",
            Condition::Table => "for a table",
        }
    }

    /// The lines of the page's table, as the table in the code has them.
    fn lines() -> Vec<String> {
        let line = |row: &Row, need: &Need| {
            let operation = match row.operation {
                Invoke(invocation) => format!("{invocation:?}"),
                other => format!("{other:?}"),
            };
            let also = need.more.iter();
            let also: Vec<String> = also
                .map(|&(when, more)| format!("{} {}", rights(more), condition(when)))
                .collect();
            format!(
                "| {operation} | x{} | {} | {} | {} |",
                need.register,
                kinds(need.kinds),
                rights(need.rights),
                also.join("; "),
            )
        };
        let rows = TABLE.iter();
        rows.flat_map(|row| row.needs.iter().map(move |need| line(row, need)))
            .collect()
    }

    #[test]
    fn the_page_says_what_the_table_says() {
        let page: Vec<&str> = PAGE
            .lines()
            .filter(|line| line.starts_with("| ") && line.contains(" | x"))
            .collect();
        assert_eq!(page, lines());
    }

    #[test]
    fn every_invocation_is_there_once_and_says_what_is_invoked() {
        for &invocation in Invocation::ALL {
            let is_it = |row: &&Row| row.operation.is(Invoke(invocation));
            assert_eq!(TABLE.iter().filter(is_it).count(), 1, "{invocation:?}");
            let (kinds, rights) = INVOKED[invocation as usize];
            let need = Need::invocation(invocation, 0);
            assert_eq!((kinds, rights), (need.kinds, need.rights));
            assert_ne!(kinds, Kinds(0));
        }
        let named = Invocation::ALL.iter().map(|&name| name as usize);
        let named: Vec<usize> = named.collect();
        for number in (0..INVOCATION_LIMIT).filter(|number| !named.contains(number)) {
            assert_eq!(INVOKED[number], (Kinds(0), NONE));
        }
    }

    #[test]
    fn only_what_lets_go_or_looks_at_what_a_capability_says_needs_no_right() {
        for row in TABLE {
            let needs_none = row.needs[0].rights.is_empty();
            let may = [Invocation::Identify, Invocation::Unmap].map(Invoke);
            assert_eq!(needs_none, may.contains(&row.operation), "{row:?}");
        }
    }

    #[test]
    fn a_need_is_found_by_its_register() {
        let frame = Need::invocation(Invocation::Configure, 1);
        assert_eq!(frame.kinds, FRAME);
        let source = Need::invocation(Invocation::Map, 1);
        assert_eq!(source.when(Condition::Executable), EXECUTE);
        assert!(!MAPPABLE.contains(ObjectType::VNodeL0));
        assert!(!Kinds::ANY.contains(ObjectType::Null));
    }
}
