//! The memory service (`docs/067-memory-service.md`): gives out physical memory.
//!
//! `init` adds one `Ram` capability a region, with the region's NUMA node. A client gets a `Ram`
//! capability made from one of them, the only one to that piece, with the right to
//! revoke what it makes of it.
//!
//! What is still in use the kernel knows better than we: a piece is free when a
//! capability to its range can be made again. So memory comes back without being given
//! back when its holder is gone: what a client had is looked through when its connection
//! ends, again with the next requests as long as somebody else holds some of it, and when
//! somebody can't get what it wants, all that was given out is ([`Service::look_through`]). Nobody is kept
//! waiting for that: it goes on a few pieces at a time, and one round is for all who wait for one.
//!
//! What we note of a piece costs memory of ours, which is taken from the regions as well; where there is none for
//! that, nothing more is given out.
//!
//! Programs have a share each, and leave a reserve (`MemoryStats::is_within_share`); what `init` starts,
//! monitors among it, gets all that there is.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{rc::Rc, vec::Vec};
use core::cell::{Cell, RefCell};

use capelin_abi::{ObjectType, PAGE_SIZE, SysError};
use capelin_idc::{Cap, shares::ClientId};
use capelin_interfaces::{
    memory::{ANY_NODE, HELD, Held, Memory, MemoryError, MemoryServer, MemoryStats, Within},
    service,
};
use capelin_rt::{
    Env, Listener, OwnedCap, RtError, executor::yield_now, heap, memory, services, spawn,
    sync::Mutex, sys,
};
use mem_serv::pool::{Holder, Piece, Pool, Which};

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const CAPACITY: usize = 32;
/// The badge of the endpoint that everybody finds.
const PUBLIC: u64 = 1;
/// The badge of the one that `init` finds.
const SYSTEM: u64 = 2;

async fn run(env: Env) -> Result<(), RtError> {
    let state = State {
        pool: Pool::new(),
        regions: Vec::new(),
        left_from: 0,
        held: in_use_before(&env),
        unusable_bytes: 0,
    };
    let listener = Listener::new(CAPACITY)?;
    services::register(service::SYSTEM_MEMORY, &listener, SYSTEM).await?;
    services::register(service::MEMORY, &listener, PUBLIC).await?;
    let service = Rc::new(Service {
        state: RefCell::new(state),
        turn: Mutex::default(),
        rounds: Cell::new(0),
    });
    listener
        .serve(move |caller| {
            MemoryServer(Server {
                service: Rc::clone(&service),
                rights: if caller.badge == SYSTEM {
                    Rights::System
                } else {
                    Rights::Share(caller.client)
                },
                connection: caller.connection,
            })
        })
        .await;
    Ok(())
}

/// What memory was in use before.
fn in_use_before(env: &Env) -> Vec<Held> {
    let known = HELD
        .iter()
        .filter_map(|&name| Some((name, env.word(name)?)));
    let known = known.filter(|&(_, bytes)| bytes > 0);
    known
        .map(|(name, bytes)| Held {
            name: name.into(),
            bytes,
        })
        .collect()
}

struct State {
    pool: Pool,
    regions: Vec<OwnedCap>,
    /// From where on the next request looks at what clients that are gone had.
    left_from: u64,
    /// What was in use before.
    held: Vec<Held>,
    /// What of the regions can't be given out.
    unusable_bytes: u64,
}

/// Pieces of clients that are gone that one request looks at.
const LOOKED_AT: usize = 8;
/// Pieces that are looked at before others get their turn.
const AT_ONCE: usize = 64;
/// When no piece of so many bytes is left for the heap, it gets more, in pieces of one of these sizes.
const OWN_LEAST: u64 = 64 << 10;
const OWN: [u64; 2] = [256 << 10, (64 << 10) + PAGE_SIZE];

/// A capability to the piece.
fn make(regions: &[OwnedCap], piece: &Piece) -> Result<OwnedCap, RtError> {
    let region = regions.get(piece.region).ok_or(RtError::OutOfMemory)?;
    OwnedCap::make(|slot| {
        sys::cspace::retype(
            sys::cspace::OWN,
            slot.into(),
            region.reference(),
            ObjectType::Ram,
            piece.offset,
            piece.bytes,
            1,
        )
    })
}

impl State {
    /// More memory.
    ///
    /// # Errors
    /// [`MemoryError::InvalidSize`] for what isn't memory.
    fn add(&mut self, ram: OwnedCap, node: u32) -> Result<(), MemoryError> {
        let identity = ram.identify().map_err(|_| MemoryError::InvalidSize)?;
        if identity.kind != ObjectType::Ram {
            return Err(MemoryError::InvalidSize);
        }
        let before = self.pool.total_bytes();
        self.pool.add(identity.base.0, identity.size, node);
        self.unusable_bytes += identity.size - (self.pool.total_bytes() - before);
        self.regions.push(ram);
        Ok(())
    }

    /// Whether nobody holds any of the piece any more.
    fn is_unused(&self, piece: &Piece) -> bool {
        make(&self.regions, piece).is_ok()
    }

    /// As [`Pool::look_at`].
    fn look_at(&mut self, which: Which, from: u64, limit: usize) -> Option<u64> {
        let Self { pool, regions, .. } = self;
        pool.look_at(which, from, limit, |piece| make(regions, piece).is_ok())
    }

    /// Takes back some of what those who are gone have left.
    fn look_at_left(&mut self) {
        let next = self.look_at(Which::Left, self.left_from, LOOKED_AT);
        self.left_from = next.unwrap_or(0);
    }

    /// Sees to it that there is room to note one piece more.
    ///
    /// # Errors
    /// [`MemoryError::Exhausted`].
    fn make_room(&mut self) -> Result<(), MemoryError> {
        if memory::left().largest_ram < OWN_LEAST {
            for bytes in OWN {
                let own = self.allocate(bytes, PAGE_SIZE, Within::node(ANY_NODE));
                if own.is_ok_and(|(_, cap)| memory::add_ram(cap).is_ok()) {
                    break;
                }
            }
        }
        if heap::has_room() {
            Ok(())
        } else {
            Err(MemoryError::Exhausted)
        }
    }

    fn allocate(
        &mut self,
        bytes: u64,
        alignment: u64,
        within: Within,
    ) -> Result<(Piece, OwnedCap), MemoryError> {
        loop {
            let piece = self.pool.allocate_at(bytes, alignment, within)?;
            match make(&self.regions, &piece) {
                Ok(cap) => return Ok((piece, cap)),
                // Somebody holds part of what we thought was free: it stays given out
                // until a sweep finds it unused.
                Err(RtError::System(SysError::RangeInUse)) => {}
                Err(_) => {
                    self.pool.free(&piece);
                    return Err(MemoryError::Exhausted);
                }
            }
        }
    }
}

/// What a client may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// All that there is: it came by the name that `init` alone finds.
    System,
    /// A share for all that it has, on all its connections.
    Share(ClientId),
}

/// What all clients share.
struct Service {
    state: RefCell<State>,
    /// Who looks through all that is given out.
    turn: Mutex<()>,
    /// How often that has begun.
    rounds: Cell<u64>,
}

impl Service {
    /// Looks through all that is given out, as it is now or later, and takes back what nobody holds.
    ///
    /// Who waits for a round that begins after it has come doesn't make one of its own. So however many ask, they
    /// are answered after two rounds, and others are served in between.
    async fn look_through(&self) {
        let came = self.rounds.get();
        let _turn = self.turn.lock().await;
        if self.rounds.get() != came {
            return;
        }
        self.rounds.set(came + 1);
        self.look_at_all(Which::All, Some(0)).await;
    }

    async fn look_at_all(&self, which: Which, mut from: Option<u64>) {
        while let Some(at) = from {
            from = self.state.borrow_mut().look_at(which, at, AT_ONCE);
            if from.is_some() {
                yield_now().await;
            }
        }
    }
}

/// Serves one client.
struct Server {
    service: Rc<Service>,
    rights: Rights,
    connection: u64,
}

impl Server {
    async fn allocate_at(
        &self,
        bytes: u64,
        alignment: u64,
        within: Within,
    ) -> Result<Cap, MemoryError> {
        self.service.state.borrow_mut().look_at_left();
        let error = match self.try_to_allocate(bytes, alignment, within) {
            Err(error @ (MemoryError::Exhausted | MemoryError::ShareUsed)) => error,
            other => return other,
        };
        let state = &self.service.state;
        if !state.borrow().pool.could_hold(bytes, alignment, within) {
            return Err(error);
        }
        // It, or others, may have dropped something.
        self.service.look_through().await;
        self.try_to_allocate(bytes, alignment, within)
    }

    fn try_to_allocate(
        &self,
        bytes: u64,
        alignment: u64,
        within: Within,
    ) -> Result<Cap, MemoryError> {
        let mut state = self.service.state.borrow_mut();
        let client = match self.rights {
            Rights::System => None,
            Rights::Share(client) if state.pool.is_within_share(client, bytes) => Some(client),
            Rights::Share(_) => return Err(MemoryError::ShareUsed),
        };
        state.make_room()?;
        let (piece, cap) = state.allocate(bytes, alignment, within)?;
        let holder = Holder {
            connection: Some(self.connection),
            client,
        };
        state.pool.hand(&piece, holder);
        Ok(cap.give().keep_revoke())
    }
}

impl Memory for Server {
    async fn allocate(&self, bytes: u64, alignment: u64, node: u32) -> Result<Cap, MemoryError> {
        self.allocate_at(bytes, alignment, Within::node(node)).await
    }

    async fn allocate_within(
        &self,
        bytes: u64,
        alignment: u64,
        within: Within,
    ) -> Result<Cap, MemoryError> {
        self.allocate_at(bytes, alignment, within).await
    }

    async fn free(&self, base: u64, bytes: u64) -> Result<(), MemoryError> {
        let mut state = self.service.state.borrow_mut();
        let piece = state.pool.given(base, bytes)?;
        if !state.is_unused(&piece) {
            return Err(MemoryError::InUse);
        }
        state.pool.free(&piece);
        Ok(())
    }

    async fn stats(&self, node: u32) -> Result<MemoryStats, MemoryError> {
        let mut state = self.service.state.borrow_mut();
        state.look_at_left();
        state.pool.stats(node)
    }

    async fn add(&self, ram: Cap, node: u32) -> Result<(), MemoryError> {
        let ram = OwnedCap::received(ram);
        if self.rights != Rights::System {
            return Err(MemoryError::NotAllowed);
        }
        self.service.state.borrow_mut().add(ram, node)
    }

    async fn held(&self) -> Result<Vec<Held>, MemoryError> {
        let state = self.service.state.borrow();
        let mut held = state.held.clone();
        if state.unusable_bytes > 0 {
            held.push(Held {
                name: "single pages".into(),
                bytes: state.unusable_bytes,
            });
        }
        Ok(held)
    }
}

impl Drop for Server {
    /// The connection has ended: what came by it is looked through, a few pieces at once and the others
    /// beside what there is to do.
    fn drop(&mut self) {
        let mut state = self.service.state.borrow_mut();
        state.pool.close(self.connection);
        let rest = state.look_at(Which::Left, 0, AT_ONCE);
        if rest.is_some() {
            let service = Rc::clone(&self.service);
            spawn(async move { service.look_at_all(Which::Left, rest).await });
        }
    }
}
