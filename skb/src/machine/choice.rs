//! Going back: choices, cut, failure and exceptions.

use alloc::sync::Arc;

use super::{Alternative, Choice, Continuation, Flow, Machine, Outcome, Stop, limit};
use crate::builtins;
use crate::builtins::BuiltinId;
use crate::clause::ClauseList;
use crate::error::{Error, Resource};
use crate::fault::Fault;
use crate::knowledge_base::KnowledgeBase;
use crate::memory::Buffer;
use crate::store::{FreshVariables, Value, index};
use crate::symbol::Symbol;

impl Machine {
    pub(super) fn push_choice(
        &mut self,
        alternative: Alternative,
        resume: Continuation,
        args: &[Value],
    ) -> Result<(), Fault> {
        let (frames, slots) = self.kept(resume.frame);
        let mark = self.store.mark();
        let saved = index(self.saved.len());
        self.saved.extend(args)?;
        self.choices.push(Choice {
            alternative,
            mark,
            frames,
            slots,
            resume,
            saved,
        })?;
        self.store.set_newest_choice(Some(mark));
        Ok(())
    }

    /// As [`Machine::push_choice`], with the arguments of the goal being called.
    pub(super) fn push_call_choice(
        &mut self,
        alternative: Alternative,
        resume: Continuation,
    ) -> Result<(), Fault> {
        let saved = index(self.saved.len());
        self.saved.extend(&self.args)?;
        self.push_choice(alternative, resume, &[])?;
        if let Some(choice) = self.choices.last_mut() {
            choice.saved = saved;
        }
        Ok(())
    }

    pub(super) fn pop_choice(&mut self) {
        if let Some(choice) = self.choices.pop() {
            self.saved.truncate(choice.saved as usize);
            // Whoever drops the choice of an open findall drops its results.
            if matches!(choice.alternative, Alternative::Collected) {
                self.collections.pop();
            }
        }
        self.store
            .set_newest_choice(self.choices.last().map(|choice| choice.mark));
    }

    /// Drops all choices but the oldest `count`.
    pub(super) fn cut_to(&mut self, count: u32) {
        while self.choices.len() > count as usize {
            self.pop_choice();
        }
    }

    pub(super) fn set_next_clause(&mut self, following: u32) {
        if let Some(Choice {
            alternative: Alternative::Clauses { next, .. },
            ..
        }) = self.choices.last_mut()
        {
            *next = following;
        }
    }

    /// Goes back to the newest choice and tries what it offers.
    pub(super) fn backtrack(&mut self, kb: &mut KnowledgeBase) -> Result<Flow, Fault> {
        let Some(choice) = self.choices.last() else {
            return Ok(Flow::Stop(Stop::Exhausted));
        };
        let resume = choice.resume;
        self.store.undo(choice.mark);
        self.frames.truncate(choice.frames as usize);
        self.slots.truncate(choice.slots as usize);
        self.args.clear();
        self.args
            .extend(self.saved.get(choice.saved as usize..).unwrap_or_default())?;
        self.at = resume;
        match &choice.alternative {
            Alternative::Branch => {
                self.pop_choice();
                self.go_to(resume);
                self.count_call()?;
                Ok(Flow::Continue)
            }
            Alternative::Clauses { list, next } => {
                let (list, next) = (Arc::clone(list), *next);
                self.count_call()?;
                self.try_clauses(list, next, resume, true)
            }
            Alternative::Builtin(id) => {
                let id = *id;
                self.pop_choice();
                self.go_to(resume);
                self.call_builtin(kb, id, resume)
            }
            Alternative::ClauseTerms { list, next } => {
                let (list, next) = (Arc::clone(list), *next);
                self.pop_choice();
                self.go_to(resume);
                self.count_call()?;
                Ok(match self.clause_terms(list, next)? {
                    Outcome::True => Flow::Continue,
                    _ => Flow::Fail,
                })
            }
            Alternative::Collected => {
                // The results outlive the choice here.
                let empty = Buffer::new(self.store.pool());
                let cells = match self.collections.last_mut() {
                    Some(cells) => core::mem::replace(cells, empty),
                    None => empty,
                };
                let result = self.args.first().copied();
                self.pop_choice();
                let mut items = Buffer::new(self.store.pool());
                let mut at = 0;
                while at < cells.len() {
                    let mut fresh = FreshVariables::new(&self.store);
                    let (item, next) = self.store.build(&cells, at, &mut fresh)?;
                    items.push(item)?;
                    at = next;
                }
                self.store.require(items.len() * 3)?;
                let list = self.store.new_list(&items, Value::Atom(Symbol::NIL));
                let unified = self.store.unify(list, result.unwrap_or(list))?;
                self.go_to(resume);
                Ok(if unified { Flow::Continue } else { Flow::Fail })
            }
            Alternative::Catch(_) => {
                self.pop_choice();
                Ok(Flow::Fail)
            }
        }
    }

    /// Makes a built-in run again with these arguments when what follows fails.
    pub(crate) fn offer_builtin(&mut self, id: BuiltinId, args: &[Value]) -> Result<(), Fault> {
        self.push_choice(Alternative::Builtin(id), self.at, args)
    }

    /// `findall/3`: collects a copy of the template per solution of the goal.
    pub(crate) fn findall(
        &mut self,
        template: Value,
        goal: Value,
        result: Value,
    ) -> Result<Outcome, Fault> {
        // First, so that every such choice has its results.
        self.collections.push(Buffer::new(self.store.pool()))?;
        self.push_choice(Alternative::Collected, self.at, &[result])?;
        let clause = Arc::clone(&self.collect);
        let frame = self.push_frame(&clause, self.at, 0)?;
        self.at = Continuation { frame, pc: 0 };
        if let Some(slot) = self.frame_slots().first_mut() {
            *slot = template;
        }
        Ok(Outcome::Goal(goal))
    }

    /// Adds a solution to the innermost open `findall/3`.
    pub(super) fn collect(&mut self, template: Value) -> Result<(), Fault> {
        let (cells, _) = self.copy_out(template)?;
        if let Some(collection) = self.collections.last_mut() {
            collection.extend(&cells)?;
        }
        self.count_call()
    }

    /// `catch/3`.
    pub(crate) fn catch(
        &mut self,
        goal: Value,
        catcher: Value,
        recovery: Value,
    ) -> Result<Outcome, Fault> {
        let clause = Arc::clone(&self.caught);
        let frame = self.push_frame(&clause, self.at, 0)?;
        self.at = Continuation { frame, pc: 0 };
        // The choice keeps the frame, so that its number names this catch only.
        self.push_choice(Alternative::Catch(frame), self.at, &[catcher, recovery])?;
        Ok(Outcome::Goal(goal))
    }

    /// The goal of the running catch frame has succeeded: without choices left
    /// in it, the catch is over.
    pub(super) fn pop_catch(&mut self) {
        if let Some(Choice {
            alternative: Alternative::Catch(frame),
            ..
        }) = self.choices.last()
            && *frame == self.at.frame
        {
            self.pop_choice();
        }
    }

    /// `'$clause'/3` with head, body and reference as arguments: the terms of the
    /// clauses from `from` on.
    pub(crate) fn clause_terms(&mut self, list: ClauseList, from: u32) -> Result<Outcome, Fault> {
        let args = [0, 1, 2].map(|n| self.argument(n));
        let (Some(clause), [head, body, reference]) =
            (list.get(from as usize).map(Arc::clone), args)
        else {
            return Ok(Outcome::False);
        };
        // The choice undoes what a failed match has bound.
        if from as usize + 1 < list.len() {
            let next = Alternative::ClauseTerms {
                list,
                next: from + 1,
            };
            self.push_choice(next, self.at, &args)?;
        }
        let unified = builtins::unify_clause(&mut self.store, &clause, head, body, reference)?;
        Ok(Outcome::from_bool(unified))
    }

    /// Whether two terms unify, without binding anything.
    pub(crate) fn unifiable(&mut self, a: Value, b: Value) -> Result<bool, Fault> {
        let mark = self.store.mark();
        // Everything counts as older than now, so that all is trailed and undone.
        self.store.set_newest_choice(Some(mark));
        let unified = self.store.unify(a, b);
        self.store.undo(mark);
        self.store
            .set_newest_choice(self.choices.last().map(|choice| choice.mark));
        unified
    }

    /// Goes back to the innermost active `catch/3` whose catcher unifies with
    /// what is thrown, and calls its recovery goal.
    pub(super) fn raise(&mut self, kb: &mut KnowledgeBase, fault: Fault) -> Result<(), Error> {
        let mut fault = fault;
        // A recovery goal may throw at once: round we go, outwards.
        loop {
            let (recovery, next) = self.unwind(kb, fault)?;
            self.args.clear();
            // It has held the arguments of `throw/1` or of a goal.
            self.args.push(recovery).map_err(limit)?;
            self.go_to(next);
            match self.call_builtin(kb, builtins::CALL, next) {
                Ok(Flow::Fail) => {
                    self.failing = true;
                    return Ok(());
                }
                Ok(Flow::Continue | Flow::Stop(_)) => return Ok(()),
                Err(again) => fault = again,
            }
        }
    }

    /// Finds the catch for `fault`: its recovery goal and where that goes on.
    fn unwind(&mut self, kb: &KnowledgeBase, fault: Fault) -> Result<(Value, Continuation), Error> {
        let bounded = |fault| match fault {
            Fault::Limit(resource) => limit(resource),
            // Only bounds end the copying of a ball.
            _ => limit(Resource::QueryMemory),
        };
        let ball = fault.ball(&mut self.store).map_err(limit)?;
        let (cells, _) = self.copy_out(ball).map_err(bounded)?;
        let active = self.active_frames().map_err(limit)?;
        while let Some(choice) = self.choices.last() {
            let (mark, saved) = (choice.mark, choice.saved as usize);
            let Alternative::Catch(frame) = choice.alternative else {
                self.pop_choice();
                continue;
            };
            let terms = (
                self.saved.get(saved).copied(),
                self.saved.get(saved + 1).copied(),
            );
            let parent = self.frames.get(frame as usize).map(|frame| frame.parent);
            self.store.undo(mark);
            self.pop_choice();
            // Frame numbers fall along the chain.
            if active.binary_search_by(|other| frame.cmp(other)).is_err() {
                continue;
            }
            let ((Some(catcher), Some(recovery)), Some(parent)) = (terms, parent) else {
                continue;
            };
            let mut fresh = FreshVariables::new(&self.store);
            let (ball, _) = self.store.build(&cells, 0, &mut fresh).map_err(bounded)?;
            // Everything is trailed, for the case that it doesn't unify.
            self.store.set_newest_choice(Some(self.store.mark()));
            let caught = self.store.unify(catcher, ball).map_err(bounded)?;
            if !caught {
                self.store.undo(mark);
            }
            self.store
                .set_newest_choice(self.choices.last().map(|choice| choice.mark));
            if caught {
                return Ok((recovery, parent));
            }
        }
        Err(kb
            .export_within(self.store.pool(), &cells)
            .map_or_else(|error| error, Error::Uncaught))
    }

    /// The frames that the running goal will return through, newest first.
    fn active_frames(&self) -> Result<Buffer<u32>, Resource> {
        let mut active = Buffer::new(self.store.pool());
        let mut frame = self.at.frame;
        while frame > 0 {
            active.push(frame)?;
            frame = self
                .frames
                .get(frame as usize)
                .map_or(0, |frame| frame.parent.frame);
        }
        Ok(active)
    }
}
