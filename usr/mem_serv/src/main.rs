//! The memory service (`docs/067-memory-service.md`): gives out physical memory.
//!
//! `init` passes one `Ram` capability a region, as `ram0`, `ram1`, …, with the
//! region's NUMA node in the environment under the same name. A client gets a `Ram`
//! capability made from one of them, the only one to that piece, with the right to
//! revoke what it makes of it.
//!
//! What is still in use the kernel knows better than we: a piece is free when a
//! capability to its range can be made again. So memory comes back without being given
//! back when its holder is gone: what a client had is looked through when its connection
//! ends, again with the next requests as long as somebody else holds some of it, and when
//! memory runs short, all that was given out is.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{format, rc::Rc, vec::Vec};
use core::cell::RefCell;

use capelin_abi::{CapAddress, ObjectType, SysError};
use capelin_idc::Cap;
use capelin_interfaces::{
    memory::{HELD, Held, Memory, MemoryError, MemoryServer, MemoryStats, Within},
    service,
};
use capelin_rt::{Env, Listener, OwnedCap, RtError, println, services, sys};
use mem_serv::pool::{Piece, Pool};

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const CAPACITY: usize = 32;
/// The badge of the endpoint that is registered.
const PUBLIC: u64 = 1;

async fn run(env: Env) -> Result<(), RtError> {
    let mut state = State {
        pool: Pool::new(),
        regions: Vec::new(),
        left: Vec::new(),
        held: Vec::new(),
    };
    let mut handed = 0;
    for number in 0_u32.. {
        let name = format!("ram{number}");
        let (Some(cap), Some(node)) = (env.capability(&name), env.word(&name)) else {
            break;
        };
        let identity = sys::cspace::identify(cap.into())?;
        if identity.kind != ObjectType::Ram {
            println!("mem_serv: {name} isn't memory");
            continue;
        }
        let node = u32::try_from(node).unwrap_or(0);
        state.pool.add(identity.base.0, identity.size, node);
        state.regions.push(cap);
        handed += identity.size;
    }
    state.note_held(&env, handed);
    let listener = Listener::new(CAPACITY)?;
    services::register(service::MEMORY, &listener, PUBLIC).await?;
    let state = Rc::new(RefCell::new(state));
    listener
        .serve(move |_| {
            MemoryServer(Server {
                state: Rc::clone(&state),
                given: RefCell::default(),
            })
        })
        .await;
    Ok(())
}

struct State {
    pool: Pool,
    regions: Vec<CapAddress>,
    /// What clients that are gone had, and somebody holds some of.
    left: Vec<Piece>,
    /// What was in use before.
    held: Vec<Held>,
}

/// Pieces of clients that are gone that one request looks at.
const LOOKED_AT: usize = 8;

impl State {
    /// Notes what memory was in use before, and what of the `handed` bytes can't be given out.
    fn note_held(&mut self, env: &Env, handed: u64) {
        let in_use = HELD
            .iter()
            .filter_map(|&name| Some((name, env.word(name)?)));
        let usable = self.pool.total_bytes();
        let single = ("single pages", handed.saturating_sub(usable));
        self.held = in_use
            .chain([single])
            .filter(|&(_, bytes)| bytes > 0)
            .map(|(name, bytes)| Held {
                name: name.into(),
                bytes,
            })
            .collect();
    }

    /// A capability to the piece.
    fn make(&self, piece: &Piece) -> Result<OwnedCap, RtError> {
        let region = self.regions.get(piece.region).ok_or(RtError::OutOfMemory)?;
        OwnedCap::make(|slot| {
            sys::cspace::retype(
                sys::cspace::OWN,
                slot.into(),
                (*region).into(),
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
        for piece in self.pool.all_given() {
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

/// Serves one client.
struct Server {
    state: Rc<RefCell<State>>,
    /// What it was given.
    given: RefCell<Vec<Piece>>,
}

impl Server {
    fn allocate_at(&self, bytes: u64, alignment: u64, within: Within) -> Result<Cap, MemoryError> {
        let mut state = self.state.borrow_mut();
        state.collect(LOOKED_AT);
        let (piece, cap) = match state.allocate(bytes, alignment, within) {
            Err(MemoryError::Exhausted) => {
                state.sweep();
                state.allocate(bytes, alignment, within)?
            }
            other => other?,
        };
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

    async fn held(&self) -> Result<Vec<Held>, MemoryError> {
        Ok(self.state.borrow().held.clone())
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
