//! The SKB's server (`docs/080-skb.md`).
//!
//! It fills the knowledge base from the device tree and the list of modules that `init` hands
//! over, registers, and serves. What can't be read is told, and left out.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::rc::Rc;
use core::cell::RefCell;

use capelin_abi::CapAddress;
use capelin_dt::Mpidr;
use capelin_interfaces::{
    handover, service,
    skb::{Skb, SkbError, SkbServer, Solutions},
};
use capelin_rt::{
    Env, ExitCode, Listener, OwnedCap, RtError, boot, executor::yield_now, memory, println,
    services,
};
use capelin_skb::{KnowledgeBase, Limits};
use skb_server::{
    QUERY_STEPS,
    cursors::Cursors,
    error::to_wire,
    facts,
    program::Program,
    search::{Search, Step},
};

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const RING: usize = 32;
/// Memory that the server asks for: facts of 256 cores, and a few long queries.
const MEMORY_BYTES: u64 = 8 << 20;

/// What one client sees.
struct Session {
    kb: Rc<RefCell<KnowledgeBase>>,
    cursors: RefCell<Cursors>,
}

impl Session {
    /// Works at a query until there is a batch to tell, in turn with the other clients.
    async fn search(
        &self,
        cursor: u32,
        mut search: Search,
        limit: u32,
    ) -> Result<Solutions, SkbError> {
        loop {
            let step = search.step(&mut self.kb.borrow_mut(), limit);
            let (solutions, left) = match step {
                Ok(Step::Pause) if self.cursors.borrow().is_wanted(cursor) => {
                    yield_now().await;
                    continue;
                }
                Ok(Step::Pause) => (Ok(Default::default()), None),
                Ok(Step::Batch(solutions)) => (Ok(solutions), Some(search)),
                Ok(Step::Last(solutions)) => (Ok(solutions), None),
                Err(error) => (Err(error), None),
            };
            let is_open = self.cursors.borrow_mut().put_back(cursor, left);
            return solutions.map(|solutions| Solutions {
                solutions,
                cursor: is_open.then_some(cursor),
            });
        }
    }

    /// Reads one clause.
    fn clause(text: &str) -> Result<capelin_skb::Term, SkbError> {
        capelin_skb::read_term(text)
            .map(|read| read.term)
            .map_err(|error| to_wire(&error.into()))
    }
}

impl Skb for Session {
    async fn query(&self, goal: &str, limit: u32) -> Result<Solutions, SkbError> {
        let cursor = self.cursors.borrow_mut().begin()?;
        let opened = Search::new(&mut self.kb.borrow_mut(), goal);
        match opened {
            Ok(search) => self.search(cursor, search, limit).await,
            Err(error) => {
                self.cursors.borrow_mut().put_back(cursor, None);
                Err(error)
            }
        }
    }

    async fn next(&self, cursor: u32, limit: u32) -> Result<Solutions, SkbError> {
        let search = self.cursors.borrow_mut().take(cursor)?;
        self.search(cursor, search, limit).await
    }

    async fn close(&self, cursor: u32) {
        self.cursors.borrow_mut().close(cursor);
    }

    async fn assert_clause(&self, clause: &str) -> Result<(), SkbError> {
        let clause = Self::clause(clause)?;
        let mut kb = self.kb.borrow_mut();
        kb.assertz(&clause).map_err(|error| to_wire(&error))
    }

    async fn retract_clause(&self, clause: &str) -> Result<bool, SkbError> {
        let clause = Self::clause(clause)?;
        let mut kb = self.kb.borrow_mut();
        kb.retract(&clause).map_err(|error| to_wire(&error))
    }

    async fn consult(&self, program: &str) -> Result<u32, SkbError> {
        let mut program = Program::new(program)?;
        loop {
            let done = program.step(&mut self.kb.borrow_mut())?;
            match done {
                Some(added) => return Ok(added),
                None => yield_now().await,
            }
        }
    }
}

async fn run(env: Env) -> ExitCode {
    // Without it, the bounds below are tighter.
    let _ = memory::ensure(MEMORY_BYTES).await;
    let mut kb = KnowledgeBase::with_rules();
    kb.set_limits(limits(memory::left().ram));
    fill(&env, &mut kb);
    let kb = Rc::new(RefCell::new(kb));
    match start().await {
        Ok(listener) => {
            listener
                .serve(move |_| {
                    SkbServer(Session {
                        kb: Rc::clone(&kb),
                        cursors: RefCell::default(),
                    })
                })
                .await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}: {error}", env.name());
            ExitCode::FAILURE
        }
    }
}

async fn start() -> Result<Listener, RtError> {
    let listener = Listener::new(RING)?;
    services::register(service::SKB, &listener, 1).await?;
    Ok(listener)
}

/// Bounds such that the knowledge base and two long queries fit `ram` bytes, each vector of which
/// may be half empty.
fn limits(ram: u64) -> Limits {
    let ram = usize::try_from(ram).unwrap_or(usize::MAX);
    Limits {
        steps: QUERY_STEPS,
        query_bytes: ram / 8,
        database_bytes: ram / 4,
    }
}

/// Adds what the machine is. What can't be added is told; the rest stays.
fn fill(env: &Env, kb: &mut KnowledgeBase) {
    let running = env.word(handover::MPIDR).map(Mpidr);
    match env.capability(handover::DEVICE_TREE) {
        Some(frame) => {
            let added = device_tree(frame).map(|blob| facts::device_tree(kb, blob, running));
            match added {
                Ok(Ok(())) => {}
                Ok(Err(error)) => println!("{}: {error}", env.name()),
                Err(error) => println!("{}: the device tree: {error}", env.name()),
            }
        }
        None => println!("{}: no device tree was handed over", env.name()),
    }
    for argument in env.arguments() {
        if let Err(error) = facts::module(kb, argument) {
            println!("{}: {error}", env.name());
        }
    }
}

fn device_tree(frame: CapAddress) -> Result<&'static [u8], RtError> {
    boot::read_only(OwnedCap::adopt(frame))
}
