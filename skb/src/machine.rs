//! The engine: SLD resolution, depth first, with an explicit state.
//!
//! A [`Machine`] is the whole state of one query; between two solutions, or when
//! its time slice is over, it simply isn't stepped. It holds
//!
//! * the term [`Store`],
//! * *frames*: one per clause whose body is being run, with its variables in
//!   `slots`, and where to go on in the frame that called it;
//! * *choices*: what to try when a goal fails, newest last, each with the heights
//!   of all stacks at that moment;
//! * *collections*: the results of open `findall/3` goals.
//!
//! A frame is dropped as soon as it is neither below the running one nor below
//! the newest choice. A last call passes on its caller's way back, so that a
//! deterministic loop runs in constant frames.

mod choice;
mod solve;

use alloc::sync::Arc;

use crate::builtins::BuiltinId;
use crate::clause::{Clause, ClauseList, Instr};
use crate::error::{Error, Resource};
use crate::fault::Fault;
use crate::knowledge_base::KnowledgeBase;
use crate::memory::{Buffer, Pool};
use crate::scope::Scope;
use crate::store::{Cell, Mark, Slots, Store, Value, VarNumbers, index};

/// Where a goal goes on when it has succeeded: an instruction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    pub(crate) frame: u32,
    pub(crate) pc: u32,
}

struct Frame {
    clause: Arc<Clause>,
    /// First of its slots.
    slots: u32,
    parent: Continuation,
    /// A cut in the clause leaves so many choices.
    cut: u32,
}

/// What to try next at a choice.
enum Alternative {
    /// The clauses from `next` on, for the arguments saved.
    Clauses { list: ClauseList, next: u32 },
    /// Another branch of the running clause.
    Branch,
    /// A built-in again, with the arguments saved.
    Builtin(BuiltinId),
    /// `'$clause'/3`: the clauses from `next` on.
    ClauseTerms { list: ClauseList, next: u32 },
    /// All solutions of a `findall/3` are in: the result list is the argument saved.
    Collected,
    /// A `catch/3` with its frame; catcher and recovery are saved. Nothing to try.
    Catch(u32),
}

struct Choice {
    alternative: Alternative,
    mark: Mark,
    frames: u32,
    slots: u32,
    /// Where to go on.
    resume: Continuation,
    /// First of its arguments on the stack of saved ones.
    saved: u32,
}

/// What a built-in wants to happen.
pub(crate) enum Outcome {
    True,
    False,
    /// This goal instead.
    Goal(Value),
}

/// Why the machine has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Solution,
    Exhausted,
    /// The time slice is over.
    Paused,
}

enum Flow {
    Continue,
    /// Go back to the newest choice.
    Fail,
    Stop(Stop),
}

/// The state of one query.
pub(crate) struct Machine {
    pub(crate) store: Store,
    /// On whose behalf it runs.
    pub(crate) scope: Scope,
    frames: Buffer<Frame>,
    slots: Buffer<Value>,
    choices: Buffer<Choice>,
    saved: Buffer<Value>,
    collections: Buffer<Buffer<Cell>>,
    /// Arguments of the goal being called.
    pub(crate) args: Buffer<Value>,
    /// The running instruction.
    at: Continuation,
    /// The clause of the running frame.
    clause: Arc<Clause>,
    exhausted: bool,
    /// The next thing to do is to go back to the newest choice.
    failing: bool,
    collect: Arc<Clause>,
    caught: Arc<Clause>,
}

impl Machine {
    /// A machine about to run `goal` with fresh variables for its slots
    /// `0..variables`, which become the store's first variables.
    pub(crate) fn new(
        goal: Arc<Clause>,
        variables: u32,
        steps: u64,
        pool: &Arc<Pool>,
        scope: &Scope,
    ) -> Result<Self, Error> {
        let internal =
            |instrs: &[Instr], slots| Clause::internal(pool, instrs, slots).map_err(limit);
        let mut machine = Self {
            store: Store::new(steps, pool),
            scope: scope.clone(),
            frames: Buffer::new(pool),
            slots: Buffer::new(pool),
            choices: Buffer::new(pool),
            saved: Buffer::new(pool),
            collections: Buffer::new(pool),
            args: Buffer::new(pool),
            at: Continuation { frame: 0, pc: 0 },
            clause: internal(&[Instr::Solution], 0)?,
            exhausted: false,
            failing: false,
            collect: internal(&[Instr::Collect], 1)?,
            caught: internal(&[Instr::PopCatch, Instr::Proceed], 0)?,
        };
        match machine.begin(&goal, variables) {
            Ok(entered) => {
                machine.exhausted = !entered;
                Ok(machine)
            }
            Err(Fault::Limit(resource)) => Err(limit(resource)),
            // Heads of distinct variables unify with fresh ones.
            Err(_) => Err(limit(Resource::QueryMemory)),
        }
    }

    fn begin(&mut self, goal: &Arc<Clause>, variables: u32) -> Result<bool, Fault> {
        self.store.require(variables as usize)?;
        let home = Continuation { frame: 0, pc: 0 };
        self.frames.push(Frame {
            clause: Arc::clone(&self.clause),
            slots: 0,
            parent: home,
            cut: 0,
        })?;
        for _ in 0..variables {
            let var = self.store.new_var();
            self.args.push(var)?;
        }
        self.enter(goal, home, 0)
    }

    /// Runs until there is a solution, there is none (any more), an error, or
    /// `slice` more steps have been spent.
    pub(crate) fn run(&mut self, kb: &mut KnowledgeBase, slice: u64) -> Result<Stop, Error> {
        if self.exhausted || !kb.database.is_open(self.scope.namespace) {
            return Ok(Stop::Exhausted);
        }
        let pause_at = self.store.steps.saturating_add(slice);
        loop {
            if self.store.steps >= pause_at {
                return Ok(Stop::Paused);
            }
            let failing = core::mem::replace(&mut self.failing, false);
            let result = if failing {
                self.backtrack(kb)
            } else {
                self.step(kb)
            };
            match result {
                Ok(Flow::Continue) => {}
                Ok(Flow::Fail) => self.failing = true,
                Ok(Flow::Stop(stop)) => {
                    self.exhausted = stop == Stop::Exhausted;
                    return Ok(stop);
                }
                Err(fault) => {
                    if let Err(error) = self.raise(kb, fault) {
                        self.exhausted = true;
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Looks for another solution after one.
    pub(crate) fn retry(&mut self) {
        self.failing = true;
    }

    /// Counts a call, and makes room for the few cells that one may need.
    fn count_call(&mut self) -> Result<(), Fault> {
        self.store.spend(1)?;
        self.store.require(0)
    }

    /// Counts what a change of the database has copied.
    pub(crate) fn count_copies(&mut self, kb: &mut KnowledgeBase) -> Result<(), Fault> {
        let copied = kb.database.take_copied();
        self.store.spend(copied as u64 / 64)
    }

    /// Makes `frame` the running one.
    fn go_to(&mut self, at: Continuation) {
        self.at = at;
        if let Some(frame) = self.frames.get(at.frame as usize) {
            self.clause = Arc::clone(&frame.clause);
        }
    }

    /// Heights of frames and slots that must be kept while `frame` runs.
    fn kept(&self, frame: u32) -> (u32, u32) {
        let (frames, slots) = match self.frames.get(frame as usize) {
            Some(running) => (frame + 1, running.slots + running.clause.slots),
            None => (0, 0),
        };
        match self.choices.last() {
            Some(choice) => (frames.max(choice.frames), slots.max(choice.slots)),
            None => (frames, slots),
        }
    }

    /// Puts a frame on top; gives its number.
    fn push_frame(
        &mut self,
        clause: &Arc<Clause>,
        parent: Continuation,
        cut: u32,
    ) -> Result<u32, Fault> {
        let (frames, slots) = self.kept(parent.frame);
        self.frames.truncate(frames as usize);
        self.slots.truncate(slots as usize);
        self.slots
            .resize(slots as usize + clause.slots as usize, Value::Int(0))?;
        self.frames.push(Frame {
            clause: Arc::clone(clause),
            slots,
            parent,
            cut,
        })?;
        Ok(frames)
    }

    /// Unifies the clause's head with the arguments and goes to its body.
    fn enter(
        &mut self,
        clause: &Arc<Clause>,
        parent: Continuation,
        cut: u32,
    ) -> Result<bool, Fault> {
        let (frames, slots) = self.kept(parent.frame);
        self.slots.truncate(slots as usize);
        self.slots
            .resize(slots as usize + clause.slots as usize, Value::Int(0))?;
        let values = self.slots.get_mut(slots as usize..).unwrap_or_default();
        if !self.store.unify_head(&clause.head, &self.args, values)? {
            return Ok(false);
        }
        if clause.is_fact() {
            self.go_to(parent);
        } else {
            self.frames.truncate(frames as usize);
            self.frames.push(Frame {
                clause: Arc::clone(clause),
                slots,
                parent,
                cut,
            })?;
            self.clause = Arc::clone(clause);
            self.at = Continuation {
                frame: frames,
                pc: 0,
            };
        }
        Ok(true)
    }

    /// The running frame's slots.
    fn frame_slots(&mut self) -> &mut Slots {
        let start = self
            .frames
            .get(self.at.frame as usize)
            .map_or(0, |frame| frame.slots);
        self.slots.get_mut(start as usize..).unwrap_or_default()
    }

    /// Builds the arguments of a goal of the running clause.
    fn load_args(&mut self, at: u32, arity: u32) -> Result<(), Fault> {
        let start = self
            .frames
            .get(self.at.frame as usize)
            .map_or(0, |frame| frame.slots);
        let Self {
            store,
            slots,
            clause,
            args,
            ..
        } = self;
        let slots = slots.get_mut(start as usize..).unwrap_or_default();
        let mut at = at as usize;
        args.clear();
        for _ in 0..arity {
            let (value, next) = store.build(&clause.code, at, slots)?;
            args.push(value)?;
            at = next;
        }
        Ok(())
    }

    /// Where a goal at the running instruction goes on.
    fn continuation(&self, last: bool) -> Continuation {
        match self.frames.get(self.at.frame as usize) {
            Some(frame) if last => frame.parent,
            _ => Continuation {
                frame: self.at.frame,
                pc: self.at.pc + 1,
            },
        }
    }

    fn choice_count(&self) -> u32 {
        index(self.choices.len())
    }

    /// A term of the store as cells of its own.
    pub(crate) fn copy_out(&mut self, value: Value) -> Result<(Buffer<Cell>, VarNumbers), Fault> {
        let mut cells = Buffer::new(self.store.pool());
        let mut vars = VarNumbers::new(self.store.pool());
        self.store.flatten(value, &mut vars, &mut cells)?;
        Ok((cells, vars))
    }
}

fn limit(resource: Resource) -> Error {
    Error::Limit(resource)
}
