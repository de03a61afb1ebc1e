//! Going forward: one instruction at a time.

use alloc::sync::Arc;

use super::{Alternative, Continuation, Flow, Machine, Outcome, Stop};
use crate::builtins::{self, BuiltinId};
use crate::clause::{ClauseList, Instr, Key, PredId};
use crate::compile::{self, CompileError};
use crate::database::Target;
use crate::fault::Fault;
use crate::knowledge_base::KnowledgeBase;
use crate::memory::Buffer;
use crate::store::{Cell, Value, index};
use crate::symbol::Symbol;

/// Clauses that are looked at in one go.
const LOOK: usize = 1_024;

impl Machine {
    pub(super) fn step(&mut self, kb: &mut KnowledgeBase) -> Result<Flow, Fault> {
        // Leaving the row of instructions is failing: see `Machine::retry`.
        let Some(instr) = self.clause.instrs.get(self.at.pc as usize).copied() else {
            return Ok(Flow::Fail);
        };
        match instr {
            Instr::Call {
                pred,
                args,
                arity,
                last,
            } => {
                self.load_args(args, arity)?;
                let next = self.continuation(last);
                return self.call_predicate(kb, pred, next);
            }
            Instr::CallNamed {
                name,
                args,
                arity,
                last,
            } => {
                self.load_args(args, arity)?;
                let next = self.continuation(last);
                return match kb.database.known(self.scope.namespace, name, arity) {
                    Some(Target::Predicate(pred)) => self.call_predicate(kb, pred, next),
                    // Built-ins are known when the goal is compiled.
                    _ => Err(Fault::UnknownProcedure(name, arity)),
                };
            }
            Instr::Builtin { id, args, arity } => {
                self.load_args(args, arity)?;
                let next = self.continuation(self.proceeds_next());
                return self.call_builtin(kb, id, next);
            }
            Instr::Proceed => {
                let parent = self
                    .frames
                    .get(self.at.frame as usize)
                    .map(|frame| frame.parent);
                self.go_to(parent.unwrap_or(self.at));
                return Ok(Flow::Continue);
            }
            Instr::Cut => {
                let cut = self
                    .frames
                    .get(self.at.frame as usize)
                    .map_or(0, |frame| frame.cut);
                self.cut_to(cut);
            }
            Instr::Mark(slot) => {
                let count = Value::Int(self.choice_count().into());
                if let Some(mark) = self.frame_slots().get_mut(slot as usize) {
                    *mark = count;
                }
            }
            Instr::CutTo(slot) => {
                if let Some(Value::Int(count)) = self.frame_slots().get(slot as usize).copied() {
                    self.cut_to(u32::try_from(count).unwrap_or(0));
                }
            }
            Instr::TryElse(target) => {
                let resume = Continuation {
                    frame: self.at.frame,
                    pc: target,
                };
                self.push_choice(Alternative::Branch, resume, &[])?;
            }
            Instr::Jump(target) => {
                self.at.pc = target;
                return Ok(Flow::Continue);
            }
            Instr::Init(slot) => {
                self.store.require(1)?;
                let var = self.store.new_var();
                if let Some(place) = self.frame_slots().get_mut(slot as usize) {
                    *place = var;
                }
            }
            Instr::Fail => return self.backtrack(kb),
            Instr::Solution => return Ok(Flow::Stop(Stop::Solution)),
            Instr::PopCatch => self.pop_catch(),
            Instr::Collect => {
                let template = self.frame_slots().first().copied().unwrap_or(Value::Int(0));
                self.collect(template)?;
                return Ok(Flow::Fail);
            }
        }
        self.at.pc += 1;
        Ok(Flow::Continue)
    }

    /// Whether nothing but the end of the clause follows the running instruction.
    fn proceeds_next(&self) -> bool {
        compile::goes_to(&self.clause.instrs, self.at.pc as usize + 1) == Some(Instr::Proceed)
    }

    /// Calls a predicate with the arguments loaded.
    fn call_predicate(
        &mut self,
        kb: &mut KnowledgeBase,
        pred: PredId,
        next: Continuation,
    ) -> Result<Flow, Fault> {
        self.count_call()?;
        let keys = [0, 1, 2].map(|i| self.args.get(i).map_or(Key::Any, |arg| self.key(*arg)));
        match kb.database.select(pred, &keys) {
            Some((clauses, indexed)) => {
                self.store.spend(indexed as u64 / 64)?;
                self.try_clauses(clauses, 0, next, false)
            }
            None => {
                let (name, arity) = kb.database.indicator(pred);
                Err(Fault::UnknownProcedure(name, arity))
            }
        }
    }

    /// Tries the clauses from `from` on. `retry` if the newest choice is the one
    /// for these clauses.
    pub(super) fn try_clauses(
        &mut self,
        list: ClauseList,
        from: u32,
        next: Continuation,
        retry: bool,
    ) -> Result<Flow, Fault> {
        let key = self.args.first().map_or(Key::Any, |arg| self.key(*arg));
        let matches = |i: &usize| match list[*i].keys[0] {
            Key::Any => true,
            other => key == Key::Any || key == other,
        };
        // A look that takes too long goes on after a pause: from a choice for the rest.
        let end = list.len().min((from as usize).saturating_add(LOOK));
        let mut candidates = (from as usize..end).filter(matches);
        let rest = (end < list.len()).then_some(end);
        let first = candidates.next();
        let second = match first {
            Some(_) => candidates.next().or(rest),
            None => rest,
        };
        // Passing over a clause costs too, though less than trying it.
        let passed = second.unwrap_or(end) - from as usize;
        self.store.spend(passed as u64 / 4)?;
        let Some(first) = first else {
            match (rest, retry) {
                (Some(rest), true) => self.set_next_clause(index(rest)),
                (Some(rest), false) => {
                    let rest = index(rest);
                    let alternative = Alternative::Clauses { list, next: rest };
                    self.push_call_choice(alternative, next)?;
                }
                (None, true) => self.pop_choice(),
                (None, false) => {}
            }
            return Ok(Flow::Fail);
        };
        let cut = self.choice_count() - u32::from(retry);
        let clause = Arc::clone(&list[first]);
        match (second, retry) {
            (Some(second), true) => self.set_next_clause(index(second)),
            (Some(second), false) => {
                let alternative = Alternative::Clauses {
                    list,
                    next: index(second),
                };
                self.push_call_choice(alternative, next)?;
            }
            (None, true) => self.pop_choice(),
            (None, false) => {}
        }
        Ok(if self.enter(&clause, next, cut)? {
            Flow::Continue
        } else {
            Flow::Fail
        })
    }

    /// Runs a built-in with the arguments loaded, and what goals it leads to.
    pub(super) fn call_builtin(
        &mut self,
        kb: &mut KnowledgeBase,
        mut id: BuiltinId,
        next: Continuation,
    ) -> Result<Flow, Fault> {
        let mut running = Some(self.at.frame);
        // Built-ins that make choices or call goals find and leave their
        // continuation here.
        self.at = next;
        // `call(call(…))` comes round here: nothing recurses.
        loop {
            self.count_call()?;
            let goal = match builtins::run(id, self, kb)? {
                Outcome::True => {
                    if running != Some(self.at.frame) {
                        self.go_to(self.at);
                    }
                    return Ok(Flow::Continue);
                }
                Outcome::False => return Ok(Flow::Fail),
                Outcome::Goal(goal) => self.store.deref(goal),
            };
            // A frame made meanwhile may have the running one's number.
            running = None;
            let (name, arity) = match goal {
                Value::Atom(name) => (name, 0),
                Value::Struct(i) => self.store.functor(i),
                Value::Var(_) => return Err(Fault::Instantiation),
                _ => return Err(Fault::Type(Symbol::CALLABLE, goal)),
            };
            let next = self.at;
            if compile::is_control(name, arity) {
                return self.call_control(kb, goal, next);
            }
            self.args.clear();
            if let Value::Struct(i) = goal {
                for n in 0..arity {
                    let arg = self.store.arg(i, n);
                    self.args.push(arg)?;
                }
            }
            match kb.database.known(self.scope.namespace, name, arity) {
                Some(Target::Predicate(pred)) => return self.call_predicate(kb, pred, next),
                Some(Target::Builtin(inner)) => id = inner,
                None => {
                    self.count_call()?;
                    return Err(Fault::UnknownProcedure(name, arity));
                }
            }
        }
    }

    /// Compiles a control construct to a clause of its own, with its variables as
    /// arguments, and enters that.
    fn call_control(
        &mut self,
        kb: &mut KnowledgeBase,
        goal: Value,
        next: Continuation,
    ) -> Result<Flow, Fault> {
        self.count_call()?;
        let (body, vars) = self.copy_out(goal)?;
        let count = index(vars.variables.len());
        let mut source = Buffer::new(self.store.pool());
        source.reserve(count as usize + body.len() + 2)?;
        source.push(Cell::Compound(Symbol::NECK, 2))?;
        source.push(if count == 0 {
            Cell::Atom(Symbol::CALL)
        } else {
            Cell::Compound(Symbol::CALL, count)
        })?;
        for n in 0..count {
            source.push(Cell::Var(n))?;
        }
        source.extend(&body)?;
        self.store.spend(source.len() as u64)?;
        let (namespace, pool) = (self.scope.namespace, self.store.pool());
        let clause = match kb.database.compile_goal(namespace, pool, &source) {
            Ok(clause) => clause,
            Err(CompileError::Instantiation) => return Err(Fault::Instantiation),
            Err(CompileError::NotCallable) => return Err(Fault::Type(Symbol::CALLABLE, goal)),
            Err(CompileError::Limit(resource)) => return Err(Fault::Limit(resource)),
        };
        self.args.clear();
        self.args.reserve(vars.variables.len())?;
        for var in vars.variables.iter() {
            self.args.push(Value::Var(*var))?;
        }
        let cut = self.choice_count();
        Ok(if self.enter(&clause, next, cut)? {
            Flow::Continue
        } else {
            Flow::Fail
        })
    }

    /// What an argument is indexed by.
    pub(crate) fn key(&self, value: Value) -> Key {
        match self.store.deref(value) {
            Value::Int(i) => Key::Int(i),
            Value::Atom(name) => Key::Atom(name),
            Value::Str(text) => Key::Str(text),
            Value::Struct(i) => {
                let (name, arity) = self.store.functor(i);
                Key::Compound(name, arity)
            }
            Value::Var(_) | Value::Functor(..) => Key::Any,
        }
    }
}
