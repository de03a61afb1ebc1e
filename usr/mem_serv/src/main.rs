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
//! memory runs short, all that was given out is.
//!
//! Programs have a share each, and leave a reserve (`MemoryStats::is_within_share`); what `init` starts,
//! monitors among it, gets all that there is.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{rc::Rc, vec::Vec};
use core::cell::RefCell;

use capelin_abi::{ObjectType, SysError};
use capelin_idc::{Cap, shares::ClientId};
use capelin_interfaces::{
    memory::{HELD, Held, Memory, MemoryError, MemoryServer, MemoryStats, Within},
    service,
};
use capelin_rt::{Env, Listener, OwnedCap, RtError, services, sys};
use mem_serv::pool::{Piece, Pool};

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
        left: Vec::new(),
        held: in_use_before(&env),
        unusable_bytes: 0,
    };
    let listener = Listener::new(CAPACITY)?;
    services::register(service::SYSTEM_MEMORY, &listener, SYSTEM).await?;
    services::register(service::MEMORY, &listener, PUBLIC).await?;
    let state = Rc::new(RefCell::new(state));
    listener
        .serve(move |caller| {
            MemoryServer(Server {
                state: Rc::clone(&state),
                rights: if caller.badge == SYSTEM {
                    Rights::System
                } else {
                    Rights::Share(caller.client)
                },
                given: RefCell::default(),
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
    /// What clients that are gone had, and somebody holds some of.
    left: Vec<Piece>,
    /// What was in use before.
    held: Vec<Held>,
    /// What of the regions can't be given out.
    unusable_bytes: u64,
}

/// Pieces of clients that are gone that one request looks at.
const LOOKED_AT: usize = 8;

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

    /// A capability to the piece.
    fn make(&self, piece: &Piece) -> Result<OwnedCap, RtError> {
        let region = self.regions.get(piece.region).ok_or(RtError::OutOfMemory)?;
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

    /// Whether nobody holds any of the piece any more.
    fn is_unused(&self, piece: &Piece) -> bool {
        self.make(piece).is_ok()
    }

    /// Takes back what its holders have dropped.
    fn sweep(&mut self) {
        self.free_unused(self.pool.all_given());
    }

    /// Whether `client` may have `bytes` more; it may have dropped some of what it has.
    fn has_share(&mut self, client: ClientId, bytes: u64) -> bool {
        if !self.pool.is_within_share(client, bytes) {
            self.free_unused(self.pool.given_to(client));
        }
        self.pool.is_within_share(client, bytes)
    }

    /// Takes back those of `pieces` that nobody holds.
    fn free_unused(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            if self.is_unused(&piece) {
                self.pool.free(&piece);
            }
        }
    }

    /// Takes back what those who are gone have left, as far as nobody holds it any more: looks at
    /// `limit` pieces, the one that was looked at longest ago first.
    fn collect(&mut self, limit: usize) {
        for _ in 0..limit.min(self.left.len()) {
            let piece = self.left.remove(0);
            if self.is_unused(&piece) {
                self.pool.free(&piece);
            } else {
                self.left.push(piece);
            }
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
            match self.make(&piece) {
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

/// Serves one client.
struct Server {
    state: Rc<RefCell<State>>,
    rights: Rights,
    /// What it was given.
    given: RefCell<Vec<Piece>>,
}

impl Server {
    fn allocate_at(&self, bytes: u64, alignment: u64, within: Within) -> Result<Cap, MemoryError> {
        let mut state = self.state.borrow_mut();
        state.collect(LOOKED_AT);
        if let Rights::Share(client) = self.rights
            && !state.has_share(client, bytes)
        {
            return Err(MemoryError::ShareUsed);
        }
        let (piece, cap) = match state.allocate(bytes, alignment, within) {
            Err(MemoryError::Exhausted) => {
                state.sweep();
                state.allocate(bytes, alignment, within)?
            }
            other => other?,
        };
        if let Rights::Share(client) = self.rights {
            state.pool.charge(client, &piece);
        }
        let mut given = self.given.borrow_mut();
        // It may have had it before, and dropped it.
        if !given.contains(&piece) {
            given.push(piece);
        }
        Ok(cap.give().keep_revoke())
    }
}

impl Memory for Server {
    async fn allocate(&self, bytes: u64, alignment: u64, node: u32) -> Result<Cap, MemoryError> {
        self.allocate_at(bytes, alignment, Within::node(node))
    }

    async fn allocate_within(
        &self,
        bytes: u64,
        alignment: u64,
        within: Within,
    ) -> Result<Cap, MemoryError> {
        self.allocate_at(bytes, alignment, within)
    }

    async fn free(&self, base: u64, bytes: u64) -> Result<(), MemoryError> {
        let mut state = self.state.borrow_mut();
        let piece = state.pool.given(base, bytes)?;
        if !state.is_unused(&piece) {
            return Err(MemoryError::InUse);
        }
        state.pool.free(&piece);
        // Usually it is the client's own, and the last.
        let mut given = self.given.borrow_mut();
        if let Some(index) = given.iter().rposition(|one| *one == piece) {
            given.swap_remove(index);
        }
        Ok(())
    }

    async fn stats(&self, node: u32) -> Result<MemoryStats, MemoryError> {
        let mut state = self.state.borrow_mut();
        state.collect(LOOKED_AT);
        state.pool.stats(node)
    }

    async fn add(&self, ram: Cap, node: u32) -> Result<(), MemoryError> {
        let ram = OwnedCap::received(ram);
        if self.rights != Rights::System {
            return Err(MemoryError::NotAllowed);
        }
        self.state.borrow_mut().add(ram, node)
    }

    async fn held(&self) -> Result<Vec<Held>, MemoryError> {
        let state = self.state.borrow();
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
    /// The connection has ended.
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        state.left.append(self.given.get_mut());
        let all = state.left.len();
        state.collect(all);
    }
}
