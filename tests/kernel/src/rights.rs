//! The table of rights (`docs/025-rights.md`), cell by cell, generated from it: each right that
//! an operation asks for, alone missing, is refused with `MissingRight` and nothing has changed;
//! with exactly the rights asked for it works, or fails for another reason that is told here.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::boot::HOME_ALIGNMENT;
use capelin_harness::abi::capability::{CNODE_BYTES, L1_CHUNKS};
use capelin_harness::abi::dispatcher::offset;
use capelin_harness::abi::layout::{DISPATCHER_FRAME, slot};
use capelin_harness::abi::rights::{Condition, INVOKED, Kinds, Need, Operation, Row, TABLE};
use capelin_harness::abi::syscall::{DIRECT_MESSAGE, Invocation, MapFlags, SendFlags, send_word};
use capelin_harness::abi::{CapAddress, CapRef, ObjectType, PAGE_SIZE, Rights, SysError, error};
use capelin_harness::child::{Endpoint, delivered};
use capelin_harness::fault::poke;
use capelin_harness::island::Island;
use capelin_harness::world::READ_WRITE;
use capelin_harness::{
    Child, Failure, Outcome, Suite, World, call, check, code, equal, refused, report, svc,
};

capelin_harness::program!(tests);

fn tests(suite: &mut Suite) {
    suite.test("rights/each-alone-missing", each_alone_missing);
    suite.test("rights/exactly-enough", exactly_enough);
    suite.test("rights/none-at-all", none_at_all);
    suite.test("rights/short-call", short_call);
    suite.test("rights/wrong-type-first", wrong_type_first);
}

/// What comes of an operation that has the rights that it needs.
enum Then {
    /// It works.
    Works,
    /// It fails, for this reason.
    Fails(SysError),
    /// It works, or fails for a reason that isn't this test's affair: not for a right.
    Either,
    /// It works, and this program couldn't go on.
    Ends,
}

/// One operation with all that it takes.
struct Case {
    operation: Operation,
    /// x0 (the reference alone) to x7.
    words: [u64; 8],
    /// The slot that it fills, in the CSpace of this L1 CNode.
    fills: Option<(CapAddress, u64)>,
    /// A dispatcher that it is about.
    dispatcher: Option<CapAddress>,
    then: Then,
}

/// What must stay as it is.
#[derive(PartialEq, Eq)]
struct Seen([Result<[u64; 3], SysError>; 10]);

/// What cases are made of.
struct Stage {
    /// Another CSpace, and the next free slot there.
    other: CapAddress,
    next_there: u8,
    buffer: u64,
    endpoint: Endpoint,
    next_interrupt: u64,
    table2: CapAddress,
    next_entry: u64,
}

impl Stage {
    fn new(world: &mut World, number: u64) -> Result<Self, Failure> {
        let other = world.object(ObjectType::L1CNode)?;
        let offset = world.claim_home(0x4000)?;
        let arguments = [
            CapRef::l1(0).to_word(),
            call::word(slot::HOME),
            ObjectType::L2CNode as u64,
            offset,
            0x4000,
            1,
        ];
        call::invoke(other, Invocation::Retype, &arguments)?;
        let (_, buffer, _) = world.mapped(PAGE_SIZE)?;
        let ring = 0x1000 + 0x400 * usize::try_from(number).unwrap_or(0);
        let endpoint = Endpoint::own(world, ring, 4)?;
        let (table2, _) = world.table2(0);
        Ok(Self {
            other,
            next_there: 0,
            buffer,
            endpoint,
            next_interrupt: 100 + number * 20,
            table2,
            next_entry: 300 + number * 40,
        })
    }

    /// A slot to be filled, in this CSpace or in the other one: its L1 CNode, and the reference.
    fn target(
        &mut self,
        world: &mut World,
        when: Option<Condition>,
    ) -> Result<(CapAddress, u64), Failure> {
        if when == Some(Condition::AnotherCSpace) {
            self.next_there += 1;
            let there = CapAddress::new(0, self.next_there);
            return Ok((self.other, call::word(there)));
        }
        Ok((slot::L1CNODE, call::word(world.slot()?)))
    }

    /// The operation `row` with everything that it needs, as `when` says.
    fn case(
        &mut self,
        world: &mut World,
        operation: Operation,
        when: Option<Condition>,
    ) -> Result<Case, Failure> {
        match operation {
            Operation::Invoke(invocation) => self.invocation(world, invocation, when),
            Operation::Send => {
                let (fills, frame) = (world.slot()?, frame(world)?);
                self.endpoint.post(Some(fills));
                Ok(Case {
                    operation,
                    words: [self.endpoint.cap.0.into(), frame, 0, 0, 0, 0, 0, 0],
                    fills: Some((slot::L1CNODE, call::word(fills))),
                    dispatcher: None,
                    then: Then::Works,
                })
            }
            Operation::Yield => {
                let child = child(world)?;
                Ok(Case {
                    operation,
                    words: [call::word(child.dispatcher), 0, 0, 0, 0, 0, 0, 0],
                    fills: None,
                    dispatcher: Some(child.dispatcher),
                    then: Then::Fails(SysError::NotRunnable),
                })
            }
        }
    }

    fn invocation(
        &mut self,
        world: &mut World,
        invocation: Invocation,
        when: Option<Condition>,
    ) -> Result<Case, Failure> {
        use Invocation as I;
        match invocation {
            I::Identify
            | I::Copy
            | I::Mint
            | I::Retype
            | I::Delete
            | I::Revoke
            | I::IdentifySlot => self.of_cspace(world, invocation, when),
            I::Grow => self.grow(world, when),
            I::Map | I::Unmap | I::Protect | I::MakeExecutable => {
                self.of_tables(world, invocation, when)
            }
            I::KernelInfo
            | I::ReadCounter
            | I::ReadLog
            | I::ReleaseConsole
            | I::Seal
            | I::StartCore
            | I::AffinityInfo
            | I::Export
            | I::Import
            | I::PowerOff
            | I::Reboot
            | I::Panic
            | I::AdoptHome
            | I::ReleaseHome
            | I::Probe
            | I::MapLeaf
            | I::SettleExport
            | I::ProbeWindow
            | I::TakeOrphan
            | I::Lock
            | I::Unlock
            | I::MarkRange
            | I::JoinMark
            | I::CommitMark
            | I::SweepStep
            | I::Unmark
            | I::Reclaim
            | I::SetOwner
            | I::Adopt => self.of_kernel(world, invocation),
            _ => self.of_dispatcher(world, invocation),
        }
    }

    fn of_cspace(
        &mut self,
        world: &mut World,
        invocation: Invocation,
        when: Option<Condition>,
    ) -> Result<Case, Failure> {
        use Invocation as I;
        let (cspace, to) = self.target(world, when)?;
        let all = u64::from(Rights::all().bits());
        let source = match (invocation, when) {
            (I::Mint, Some(Condition::Badge)) => {
                let endpoint = child(world)?.endpoint(world, 1)?;
                call::word(endpoint.cap)
            }
            (I::Mint, Some(Condition::Claim)) | (I::Retype, _) => {
                call::word(world.of_ram(ObjectType::Ram, 2 * PAGE_SIZE, PAGE_SIZE)?)
            }
            _ => frame(world)?,
        };
        let arguments = match (invocation, when) {
            (I::Identify, _) => [0; 6],
            (I::Copy, _) => [to, source, all, 0, 0, 0],
            (I::Mint, Some(Condition::Badge)) => [to, source, all, 77, 0, 0],
            (I::Mint, _) => [to, source, all, 0, PAGE_SIZE, 0],
            (I::Retype, _) => [to, source, ObjectType::Frame as u64, 0, PAGE_SIZE, 1],
            _ => [source, 0, 0, 0, 0, 0],
        };
        let invoked = if invocation == I::Identify {
            frame(world)?
        } else {
            call::word(cspace)
        };
        let fills = matches!(invocation, I::Copy | I::Mint | I::Retype).then_some((cspace, to));
        Ok(Case::of(invocation, invoked, &arguments, fills))
    }

    /// Adds the first CNode that leads to chunks, which the CSpace that it is done to hasn't.
    fn grow(&mut self, world: &mut World, when: Option<Condition>) -> Result<Case, Failure> {
        let cspace = match when {
            Some(Condition::AnotherCSpace) => world.object(ObjectType::L1CNode)?,
            _ => slot::L1CNODE,
        };
        let chunks = CapRef::l1(L1_CHUNKS).to_word();
        if call::invoke(cspace, Invocation::IdentifySlot, &[chunks])?[0] != 0 {
            call::invoke(cspace, Invocation::Delete, &[chunks])?;
        }
        let home = call::word(world.of_home(ObjectType::HomeRam, 2 * CNODE_BYTES)?);
        let arguments = [256, home, 0];
        let fills = Some((cspace, chunks));
        Ok(Case::of(
            Invocation::Grow,
            call::word(cspace),
            &arguments,
            fills,
        ))
    }

    fn of_tables(
        &mut self,
        world: &mut World,
        invocation: Invocation,
        when: Option<Condition>,
    ) -> Result<Case, Failure> {
        use Invocation as I;
        let flags = match when {
            Some(Condition::Writable) => READ_WRITE,
            Some(Condition::Executable) => MapFlags::READ | MapFlags::EXECUTE,
            _ => MapFlags::READ,
        };
        let flags = u64::from(flags.bits());
        match invocation {
            I::Map if when == Some(Condition::Table) => {
                let child = call::word(world.object(ObjectType::VNodeL3)?);
                let mapping = call::word(world.slot()?);
                self.next_entry += 1;
                let arguments = [child, self.next_entry | 1 << 16, 0, mapping];
                let fills = Some((slot::L1CNODE, mapping));
                Ok(Case::of(I::Map, call::word(self.table2), &arguments, fills))
            }
            I::Map => {
                let at = world.addresses(PAGE_SIZE, PAGE_SIZE)?;
                let (table, entry) = world.table3(at)?;
                let mapping = call::word(world.slot()?);
                let frame = match when {
                    Some(Condition::Executable) => executable_frame(world)?,
                    _ => call::word(world.frame(PAGE_SIZE, PAGE_SIZE)?),
                };
                let arguments = [frame, entry | 1 << 16 | flags << 32, 0, mapping];
                let fills = Some((slot::L1CNODE, mapping));
                Ok(Case::of(I::Map, call::word(table), &arguments, fills))
            }
            I::MakeExecutable => Ok(Case::of(invocation, frame(world)?, &[], None)),
            _ => {
                let mapping = match when {
                    Some(Condition::Executable) => executable_mapping(world, Rights::all())?,
                    _ => mapping(world, Rights::all())?,
                };
                Ok(Case::of(invocation, mapping, &[flags], None))
            }
        }
    }

    fn of_dispatcher(
        &mut self,
        world: &mut World,
        invocation: Invocation,
    ) -> Result<Case, Failure> {
        use Invocation as I;
        let to = call::word(world.slot()?);
        let fills = Some((slot::L1CNODE, to));
        let endpoint = call::word(self.endpoint.cap);
        if matches!(invocation, I::BindIrq | I::AcknowledgeIrq) {
            self.next_interrupt += 1;
            let one = world.slot()?;
            let (kind, number) = (ObjectType::IrqSource, self.next_interrupt);
            call::retype(one.into(), slot::IRQ, kind, number, 1, 1)?;
            if invocation == I::BindIrq {
                let one = call::word(one);
                return Ok(Case::of(invocation, one, &[endpoint, to], fills));
            }
            let receiver = child(world)?.endpoint(world, 1)?;
            call::invoke(one, I::BindIrq, &[call::word(receiver.cap), to])?;
            return Ok(Case::of(invocation, to, &[], None));
        }
        if invocation == I::Ring {
            let child = child(world)?;
            call::invoke(child.dispatcher, I::MakeNotify, &[1, to])?;
            return Ok(Case::of(invocation, to, &[], None));
        }
        if invocation == I::Configure {
            let child = Child::unconfigured(world)?;
            let arguments = [
                call::word(child.frame_cap),
                child.frame,
                call::word(slot::L1CNODE),
                call::word(slot::VSPACE_ROOT),
                0,
            ];
            let dispatcher = call::word(child.dispatcher);
            return Ok(Case {
                dispatcher: Some(child.dispatcher),
                ..Case::of(invocation, dispatcher, &arguments, None)
            });
        }
        let child = child(world)?;
        let arguments = match invocation {
            I::MakeEndpoint => [offset::ENDPOINTS as u64, 1, to],
            I::MakeNotify => [3, to, 0],
            I::BindDeath => [call::word(child_endpoint(world)?), 0, 0],
            I::Print => [self.buffer, 0, 0],
            _ => [0; 3],
        };
        let makes = matches!(invocation, I::MakeEndpoint | I::MakeNotify);
        let dispatcher = call::word(child.dispatcher);
        Ok(Case {
            dispatcher: Some(child.dispatcher),
            ..Case::of(invocation, dispatcher, &arguments, fills.filter(|_| makes))
        })
    }

    fn of_kernel(&mut self, world: &mut World, invocation: Invocation) -> Result<Case, Failure> {
        use Invocation as I;
        let kernel = call::word(slot::KERNEL);
        let to = call::word(world.slot()?);
        let (home, buffer) = (capelin_harness::world::home().base, self.buffer);
        let (arguments, then) = match invocation {
            I::ReadLog => ([buffer, 64, 0], Then::Works),
            I::Seal => ([frame(world)?, 0, 0], Then::Works),
            I::StartCore => {
                let image = frame(world)?;
                call::invoke(slot::KERNEL, I::Seal, &[image])?;
                ([image, 1, 0], Then::Fails(SysError::InvalidArgument))
            }
            I::Export => ([frame(world)?, 1 | 1 << 16, 0], Then::Works),
            // A ticket of kernel 1's, which nobody has started.
            I::Import => ([1 << 16 | 1, to, 0], Then::Fails(SysError::NoSuchTransfer)),
            I::SettleExport => ([0; 3], Then::Fails(SysError::NoSuchTransfer)),
            I::ProbeWindow => {
                let refusal = Then::Fails(SysError::RangeInUse);
                ([home, frame(world)?, 0], refusal)
            }
            // Nothing was lost.
            I::TakeOrphan => ([to, 0, 0], Then::Fails(SysError::EmptySlot)),
            I::MarkRange => ([frame(world)?, 0, 0], Then::Works),
            I::JoinMark | I::CommitMark | I::SweepStep | I::Unmark => {
                ([0; 3], Then::Fails(SysError::NoSuchOperation))
            }
            // A ticket of kernel 1's, which nobody has started.
            I::Reclaim | I::SetOwner | I::Adopt => {
                ([1 << 16 | 1, to, 0], Then::Fails(SysError::NoSuchTransfer))
            }
            I::Lock => ([frame(world)?, 0, 0], Then::Works),
            I::Unlock => ([0; 3], Then::Fails(SysError::NoSuchOperation)),
            I::AffinityInfo => ([0; 3], Then::Either),
            I::Probe => ([home, 0, 0], Then::Works),
            I::AdoptHome => ([piece(world)?, to, 0], Then::Works),
            I::ReleaseHome => {
                let adopted = call::word(world.slot()?);
                let arguments = [piece(world)?, adopted];
                call::invoke(slot::KERNEL, I::AdoptHome, &arguments)?;
                // The test names it by a copy, and then there is one.
                ([adopted, 0, 0], Then::Fails(SysError::HasRelations))
            }
            I::PowerOff | I::Reboot | I::ReleaseConsole | I::Panic => ([0; 3], Then::Ends),
            _ => ([0; 3], Then::Works),
        };
        let fills = matches!(invocation, I::Import | I::AdoptHome);
        let fills = fills.then_some((slot::L1CNODE, to));
        Ok(Case {
            then,
            ..Case::of(invocation, kernel, &arguments, fills)
        })
    }
}

/// Memory that can become home memory.
fn piece(world: &mut World) -> Result<u64, Failure> {
    let bytes = HOME_ALIGNMENT;
    Ok(call::word(world.of_ram(ObjectType::Ram, bytes, bytes)?))
}

/// A fresh frame of a page.
fn frame(world: &mut World) -> Result<u64, Failure> {
    Ok(call::word(world.frame(PAGE_SIZE, PAGE_SIZE)?))
}

fn executable_frame(world: &mut World) -> Result<u64, Failure> {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    call::make_executable(frame)?;
    Ok(call::word(frame))
}

/// A readable mapping of a fresh frame that is executable, with the rights in `mask`.
fn executable_mapping(world: &mut World, mask: Rights) -> Result<u64, Failure> {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    call::make_executable(frame)?;
    let weak = world.slot()?;
    call::copy_with(weak, frame, mask)?;
    let (_, mapping) = world.map(weak, PAGE_SIZE, MapFlags::READ)?;
    Ok(call::word(mapping))
}

/// A readable mapping of a fresh frame with the rights in `mask`.
fn mapping(world: &mut World, mask: Rights) -> Result<u64, Failure> {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let weak = world.slot()?;
    call::copy_with(weak, frame, mask)?;
    let (_, mapping) = world.map(weak, PAGE_SIZE, MapFlags::READ)?;
    Ok(call::word(mapping))
}

/// A dispatcher that ends at once, should it run.
fn child(world: &mut World) -> Result<Child, Failure> {
    Child::new(world, code::spin(), 1)
}

fn child_endpoint(world: &mut World) -> Result<CapAddress, Failure> {
    Ok(child(world)?.endpoint(world, 1)?.cap)
}

impl Case {
    fn of(
        invocation: Invocation,
        invoked: u64,
        arguments: &[u64],
        fills: Option<(CapAddress, u64)>,
    ) -> Self {
        let mut words = [0; 8];
        words[0] = invoked;
        for (word, &argument) in words[1..].iter_mut().zip(arguments) {
            *word = argument;
        }
        Self {
            operation: Operation::Invoke(invocation),
            words,
            fills,
            dispatcher: None,
            then: Then::Works,
        }
    }

    /// Names a copy with the rights in `mask` in the register of `need`.
    fn weaken(&mut self, world: &mut World, need: &Need, mask: Rights) -> Outcome {
        let arguments = self.words[1];
        let Some(word) = self.words.get_mut(need.register) else {
            return Err(Failure::because("a register that isn't"));
        };
        if need.kinds.contains(ObjectType::Mapping) && need.kinds != Kinds::ANY {
            // A mapping can't be copied: it has the rights of what it maps, READ in any case.
            let flags = u64::from(MapFlags::EXECUTE.bits());
            let is_executed =
                self.operation == Operation::Invoke(Invocation::Protect) && arguments & flags != 0;
            *word = if is_executed {
                executable_mapping(world, mask | Rights::READ)?
            } else {
                mapping(world, mask | Rights::READ)?
            };
            return Ok(());
        }
        let [from, _] = call::halves(*word);
        let to = world.slot()?;
        call::copy_with(to, CapAddress(from), mask)?;
        *word = call::word(to);
        let alone = [
            (Invocation::Seal, 1),
            (Invocation::StartCore, 1),
            (Invocation::MakeExecutable, 0),
        ];
        let alone = alone.map(|(invocation, register)| (Operation::Invoke(invocation), register));
        if alone.contains(&(self.operation, need.register)) {
            // These take no capability that has a copy.
            call::delete(CapAddress(from))?;
        }
        Ok(())
    }

    fn issue(&self) -> Result<(), SysError> {
        let mut registers = svc::Registers::default();
        let [from, _] = call::halves(self.words[0]);
        match self.operation {
            Operation::Invoke(invocation) => {
                let to = CapRef::l2(CapAddress(from));
                return call::invoke(to, invocation, &self.words[1..]).map(drop);
            }
            Operation::Send => {
                let endpoint = CapRef::l2(CapAddress(from));
                registers[0] = send_word(endpoint, SendFlags::empty(), 0);
                registers[1] = self.words[1];
                svc::send(&mut registers);
            }
            Operation::Yield => {
                registers[0] = self.words[0];
                svc::yield_to(&mut registers);
            }
        }
        error::from_word(registers[0])
    }

    /// What the case is about, as it is now.
    fn look(&self, row: &Row) -> Seen {
        let mut seen = [Ok([0; 3]); 10];
        let slots = row.needs.iter().map(|need| {
            let word = self.words.get(need.register).copied().unwrap_or(0);
            let [at, _] = call::halves(word);
            call::invoke(CapAddress(at), Invocation::Identify, &[])
        });
        let fills = self.fills.iter().map(|&(cspace, word)| {
            // `other` too can be looked into by its own capability.
            call::invoke(cspace, Invocation::IdentifySlot, &[word])
        });
        let status = self.dispatcher.iter().map(|&dispatcher| {
            let [state, upcalls, _] = call::invoke(dispatcher, Invocation::Status, &[])?;
            Ok([state, upcalls, 0])
        });
        // What a Delete or Revoke is about isn't named with a need in each case.
        let named = call::halves(self.words[1])[0];
        let named = call::invoke(slot::L1CNODE, Invocation::IdentifySlot, &[named.into()]);
        let all = slots.chain(fills).chain(status).chain([named]);
        for (seen, now) in seen.iter_mut().zip(all) {
            *seen = now;
        }
        Seen(seen)
    }
}

/// Each right of each need of each operation, with the case in which it is asked for.
fn cells(row: &Row) -> impl Iterator<Item = (usize, Rights, Option<Condition>)> {
    row.needs.iter().enumerate().flat_map(|(number, need)| {
        let always = need.rights.iter().map(|right| (right, None));
        let more = need.more.iter();
        let more = more.flat_map(|&(when, rights)| rights.iter().map(move |r| (r, Some(when))));
        always
            .chain(more)
            .map(move |(right, when)| (number, right, when))
    })
}

fn each_alone_missing(world: &mut World) -> Outcome {
    let mut stage = Stage::new(world, 0)?;
    let mut tried = 0;
    let mut wrong = 0;
    for row in TABLE {
        for (number, right, when) in cells(row) {
            let Some(need) = row.needs.get(number) else {
                continue;
            };
            if need.kinds == Kinds::of(&[ObjectType::Mapping]) && right == Rights::READ {
                // There is no mapping of what may not be read: the case of Map shows it.
                continue;
            }
            let mut case = stage.case(world, row.operation, when)?;
            case.weaken(world, need, Rights::all().difference(right))?;
            let before = case.look(row);
            let got = case.issue();
            tried += 1;
            if got != Err(SysError::MissingRight) || before != case.look(row) {
                let operation = row.operation;
                let register = need.register;
                report::line(format_args!(
                    "  {operation:?} {when:?}, x{register} without {right:?}: {got:?}"
                ));
                wrong += 1;
            }
        }
    }
    equal(wrong, 0, "rights that aren't asked for, or too late")?;
    check(tried > 60, "cells tried")
}

fn exactly_enough(world: &mut World) -> Outcome {
    let mut stage = Stage::new(world, 1)?;
    let mut wrong = 0;
    for row in TABLE {
        let conditions = row.needs.iter().flat_map(|need| need.more.iter());
        let conditions = conditions.map(|&(when, _)| Some(when));
        for when in core::iter::once(None).chain(conditions) {
            let mut case = stage.case(world, row.operation, when)?;
            for need in row.needs {
                let mut rights = need.rights;
                for &(condition, more) in need.more {
                    if Some(condition) == when {
                        rights |= more;
                    }
                }
                case.weaken(world, need, rights)?;
            }
            if matches!(case.then, Then::Ends) {
                continue;
            }
            let got = case.issue();
            let right = match case.then {
                Then::Works | Then::Ends => got == Ok(()),
                Then::Fails(error) => got == Err(error),
                Then::Either => got != Err(SysError::MissingRight),
            };
            if !right {
                let operation = row.operation;
                report::line(format_args!("  {operation:?} {when:?}: {got:?}"));
                wrong += 1;
            }
        }
    }
    equal(wrong, 0, "operations that want more")
}

/// Capabilities with no right at all, of everything that can be copied.
fn none_at_all(world: &mut World) -> Outcome {
    let mut stage = Stage::new(world, 2)?;
    let mut open = 0;
    for row in TABLE {
        for need in row.needs {
            if need.rights.is_empty() || need.kinds == Kinds::of(&[ObjectType::Mapping]) {
                continue;
            }
            let mut case = stage.case(world, row.operation, None)?;
            case.weaken(world, need, Rights::empty())?;
            if case.issue() != Err(SysError::MissingRight) {
                let operation = row.operation;
                report::line(format_args!("  {operation:?}, x{}", need.register));
                open += 1;
            }
        }
    }
    equal(open, 0, "operations open to capabilities without rights")
}

/// Waits for one message in registers, and says what it was.
extern "C" fn answer_once(_: u64) -> u64 {
    let got = call::wait(true, 0, u64::MAX);
    if got[0] == DIRECT_MESSAGE { got[2] } else { 1 }
}

/// A receiver that waits in registers isn't reached through an endpoint that may not be sent to,
/// by Send or by Call, however short their way.
fn short_call(world: &mut World) -> Outcome {
    let mut child = Child::of(world, answer_once, 0)?;
    let endpoint = child.endpoint(world, 2)?;
    let weak = world.slot()?;
    call::copy_with(weak, endpoint.cap, Rights::all().difference(Rights::WRITE))?;
    child.run()?;
    child.until_blocked()?;
    for round in 0..3 {
        let got = call::call(weak, &[5], delivered(), u64::MAX);
        equal(got[0], SysError::MissingRight as u64, "Call")?;
        let sent = call::send(weak, None, SendFlags::empty(), &[5]);
        refused(sent, SysError::MissingRight, "Send")?;
        let deadline = call::after(round);
        let got = call::call(weak, &[5], delivered(), deadline);
        equal(
            got[0],
            SysError::MissingRight as u64,
            "Call with a deadline",
        )?;
    }
    child.until_blocked()?;
    call::send(endpoint.cap, None, SendFlags::YIELD, &[9])?;
    equal(child.finish()?.1.into(), 9, "what it was sent")?;
    // The shortest way: both sides disabled, no deadline, nobody else.
    let own = Endpoint::own(world, 0x1c00, 4)?;
    let mut server = Island::new(world, code::echo(), code::echo_end())?;
    let request = server.child.endpoint(world, 4)?;
    server.give(3, own.cap)?;
    server.child.run()?;
    server.child.until_blocked()?;
    let weak = world.slot()?;
    call::copy_with(weak, request.cap, Rights::all().difference(Rights::WRITE))?;
    let disable = |word| poke(DISPATCHER_FRAME.0 + offset::DISABLED as u64, word);
    disable(1);
    let got = call::call(weak, &[5], delivered(), u64::MAX);
    let through = call::call(request.cap, &[5], delivered(), u64::MAX);
    disable(0);
    equal(got[0], SysError::MissingRight as u64, "Call, both disabled")?;
    equal(through[0], DIRECT_MESSAGE, "the reply to the one that may")?;
    call::invoke(server.dispatcher, Invocation::Stop, &[])?;
    Ok(())
}

/// An operation that the type doesn't know stays unknown without any right, and an argument of a
/// wrong type is told of as such.
fn wrong_type_first(world: &mut World) -> Outcome {
    let weak = world.slot()?;
    let source = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    call::copy_with(weak, source, Rights::empty())?;
    for &invocation in Invocation::ALL {
        if !INVOKED[invocation as usize].0.contains(ObjectType::Frame) {
            let got = call::invoke(weak, invocation, &[0; 7]);
            refused(got, SysError::UnknownOperation, "an operation of no frame")?;
        }
    }
    let one = world.slot()?;
    call::retype(one.into(), slot::IRQ, ObjectType::IrqSource, 90, 1, 1)?;
    let to = call::word(world.slot()?);
    let got = call::invoke(one, Invocation::BindIrq, &[call::word(weak), to]);
    refused(got, SysError::WrongType, "a frame for an endpoint")
}
