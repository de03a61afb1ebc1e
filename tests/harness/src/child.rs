//! Other dispatchers: in this program's address space, or in one of their own.

use capelin_abi::dispatcher::{FRAME_BYTES, Upcall, context, offset};
use capelin_abi::layout::slot;
use capelin_abi::lmp::{HEAD, RECEIVE_SLOT, TAIL, ring_bytes};
use capelin_abi::syscall::{DispatcherFlags, DispatcherState, Invocation};
use capelin_abi::{CapAddress, ObjectType};

use crate::fault::{peek, peek32, poke, poke32};
use crate::world::READ_WRITE;
use crate::{Failure, World, call, svc};

/// Words of the frame's runtime part, as the child's first instructions read them.
pub mod own {
    use capelin_abi::dispatcher::offset::RUNTIME;

    /// Top of the stack.
    pub const STACK: usize = RUNTIME;
    /// The function.
    pub const FUNCTION: usize = RUNTIME + 8;
    /// Its argument.
    pub const ARGUMENT: usize = RUNTIME + 16;
    /// A reference to its dispatcher.
    pub const DISPATCHER: usize = RUNTIME + 24;
}

/// Bytes of a child's stack; its upcalls have the last quarter.
const STACK_BYTES: u64 = 16384;

/// A function that a child runs; what it returns is its exit code.
pub type Function = extern "C" fn(u64) -> u64;

/// Another dispatcher of this program, whose frame this program sees.
#[derive(Clone, Copy, Debug)]
pub struct Child {
    /// Its dispatcher.
    pub dispatcher: CapAddress,
    /// The capability of its frame.
    pub frame_cap: CapAddress,
    /// Where this program sees its frame.
    pub frame: u64,
    next_ring: usize,
}

impl Child {
    /// A dispatcher with CSpace and VSpace of this program that will run `function`, which is at
    /// an address in this program.
    ///
    /// # Errors
    /// When something has run out; if the kernel refuses to configure it.
    pub fn new(world: &mut World, function: u64, argument: u64) -> Result<Self, Failure> {
        Self::with_flags(world, function, argument, DispatcherFlags::empty())
    }

    /// As [`Child::new`], for Rust.
    ///
    /// # Errors
    /// As [`Child::new`].
    pub fn of(world: &mut World, function: Function, argument: u64) -> Result<Self, Failure> {
        Self::new(world, function as *const () as u64, argument)
    }

    /// As [`Child::new`], with flags.
    ///
    /// # Errors
    /// As [`Child::new`].
    pub fn with_flags(
        world: &mut World,
        function: u64,
        argument: u64,
        flags: DispatcherFlags,
    ) -> Result<Self, Failure> {
        let child = Self::unconfigured(world)?;
        let (_, stack, _) = world.mapped(STACK_BYTES)?;
        child.set(own::STACK, stack + STACK_BYTES * 3 / 4);
        child.set(offset::UPCALL_STACK, stack + STACK_BYTES);
        child.set(own::FUNCTION, function);
        child.set(own::ARGUMENT, argument);
        child.set(own::DISPATCHER, call::word(child.dispatcher));
        child.set(Upcall::Run.entry_offset(), child_entry());
        let arguments = [
            call::word(child.frame_cap),
            child.frame,
            call::word(slot::L1CNODE),
            call::word(slot::VSPACE_ROOT),
            u64::from(flags.bits()),
        ];
        call::invoke(child.dispatcher, Invocation::Configure, &arguments)?;
        Ok(child)
    }

    /// A dispatcher and its frame, which this program sees; not configured.
    ///
    /// # Errors
    /// When something has run out.
    pub fn unconfigured(world: &mut World) -> Result<Self, Failure> {
        let dispatcher = world.object(ObjectType::Dispatcher)?;
        let frame_cap = world.of_home(ObjectType::Frame, FRAME_BYTES)?;
        let (frame, _) = world.map(frame_cap, FRAME_BYTES, READ_WRITE)?;
        Ok(Self {
            dispatcher,
            frame_cap,
            frame,
            next_ring: offset::ENDPOINTS,
        })
    }

    /// The word `at` bytes into its frame.
    #[must_use]
    pub fn get(&self, at: usize) -> u64 {
        peek(self.frame + at as u64)
    }

    /// Sets the word `at` bytes into its frame.
    pub fn set(&self, at: usize, value: u64) {
        poke(self.frame + at as u64, value);
    }

    /// Word `index` of its save area at `area`.
    #[must_use]
    pub fn saved(&self, area: usize, index: usize) -> u64 {
        self.get(area + index * 8)
    }

    /// Lets it run.
    ///
    /// # Errors
    /// Those of `Run`: it isn't configured, or has ended.
    pub fn run(&self) -> Result<(), Failure> {
        Ok(call::invoke(self.dispatcher, Invocation::Run, &[]).map(drop)?)
    }

    /// Its state and exit code.
    ///
    /// # Errors
    /// Those of [`call::status`].
    pub fn status(&self) -> Result<(DispatcherState, u32), Failure> {
        Ok(call::status(self.dispatcher)?)
    }

    /// Lets others run until it has ended, at most ten seconds.
    ///
    /// # Errors
    /// If it doesn't end; those of [`call::status`].
    pub fn finish(&self) -> Result<(DispatcherState, u32), Failure> {
        let limit = call::after(10_000);
        loop {
            let (state, code) = self.status()?;
            if matches!(state, DispatcherState::Exited | DispatcherState::Faulted) {
                return Ok((state, code));
            }
            if svc::counter() > limit {
                return Err(Failure::because("a child doesn't end"));
            }
            call::yield_now();
        }
    }

    /// Lets others run until it waits, at most ten seconds.
    ///
    /// # Errors
    /// If it doesn't; those of [`call::status`].
    pub fn until_blocked(&self) -> Result<(), Failure> {
        let limit = call::after(10_000);
        while self.status()?.0 != DispatcherState::Blocked {
            if svc::counter() > limit {
                return Err(Failure::because("a child doesn't wait"));
            }
            call::yield_now();
        }
        Ok(())
    }

    /// Makes an endpoint of it, with room for `capacity` messages.
    ///
    /// # Errors
    /// When something has run out; as [`Endpoint::make`].
    pub fn endpoint(&mut self, world: &mut World, capacity: usize) -> Result<Endpoint, Failure> {
        let ring = self.next_ring;
        self.next_ring += ring_bytes(capacity);
        Endpoint::make(world, self.dispatcher, self.frame, ring, capacity)
    }

    /// The program counter that it faulted at.
    ///
    /// # Errors
    /// Those of [`call::fault_register`].
    pub fn fault_pc(&self) -> Result<u64, Failure> {
        Ok(call::fault_register(self.dispatcher, context::PC as u64)?)
    }
}

/// An endpoint and its ring, as its dispatcher sees it.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The endpoint.
    pub cap: CapAddress,
    /// The address of its ring.
    pub ring: u64,
    /// Messages that it has room for.
    pub capacity: u64,
    /// Its index.
    pub index: u64,
}

/// A message taken from a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// The header.
    pub header: capelin_abi::lmp::MessageHeader,
    /// The badge.
    pub badge: u64,
    /// The payload.
    pub words: [u64; 8],
}

impl Endpoint {
    /// Makes one of `dispatcher`, whose frame lies at `frame`, with its ring `ring` bytes into it.
    ///
    /// # Errors
    /// Those of `MakeEndpoint`: a ring or a capacity that can't be.
    pub fn make(
        world: &mut World,
        dispatcher: CapAddress,
        frame: u64,
        ring: usize,
        capacity: usize,
    ) -> Result<Self, Failure> {
        let cap = world.slot()?;
        let arguments = [ring as u64, capacity as u64, call::word(cap)];
        let [index, ..] = call::invoke(dispatcher, Invocation::MakeEndpoint, &arguments)?;
        Ok(Self {
            cap,
            ring: frame + ring as u64,
            capacity: capacity as u64,
            index,
        })
    }

    /// Makes one of this program's own dispatcher.
    ///
    /// # Errors
    /// When something has run out; as [`Endpoint::make`].
    pub fn own(world: &mut World, ring: usize, capacity: usize) -> Result<Self, Failure> {
        let frame = capelin_abi::layout::DISPATCHER_FRAME.0;
        Self::make(world, slot::DISPATCHER, frame, ring, capacity)
    }

    /// Messages ever put in and ever taken out.
    #[must_use]
    pub fn indices(&self) -> (u32, u32) {
        let at = |offset: usize| peek32(self.ring + offset as u64);
        (at(HEAD), at(TAIL))
    }

    /// Says that `tail` messages have been taken out.
    pub fn set_tail(&self, tail: u32) {
        poke32(self.ring + TAIL as u64, tail);
    }

    /// Posts the slot for the next capability.
    pub fn post(&self, slot: Option<CapAddress>) {
        poke(self.ring + RECEIVE_SLOT as u64, slot.map_or(0, call::word));
    }

    /// The word that names the posted slot.
    #[must_use]
    pub fn posted(&self) -> u64 {
        peek(self.ring + RECEIVE_SLOT as u64)
    }

    /// Takes the next message.
    #[must_use]
    pub fn take(&self) -> Option<Message> {
        use capelin_abi::lmp::{MESSAGE_BYTES, MessageHeader, RING_HEADER_BYTES};
        let (head, tail) = self.indices();
        if head == tail {
            return None;
        }
        let number = u64::from(tail) % self.capacity;
        let at = self.ring + RING_HEADER_BYTES as u64 + number * MESSAGE_BYTES as u64;
        let mut words = [0; 8];
        for (index, word) in (0..).zip(&mut words) {
            *word = peek(at + 16 + index * 8);
        }
        let message = Message {
            header: MessageHeader(peek(at)),
            badge: peek(at + 8),
            words,
        };
        self.set_tail(tail.wrapping_add(1));
        Some(message)
    }
}

/// Deliveries to this program's dispatcher so far.
#[must_use]
pub fn delivered() -> u64 {
    peek(capelin_abi::layout::DISPATCHER_FRAME.0 + offset::DELIVERED as u64)
}

fn child_entry() -> u64 {
    #[cfg(target_os = "none")]
    return crate::start::child_entry();
    #[cfg(not(target_os = "none"))]
    return 0;
}
