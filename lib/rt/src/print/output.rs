//! The buffer between those who print and the task that writes.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{executor::TaskId, sync::Event};

/// Where text goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// Nothing has been written yet.
    Undecided,
    /// To the kernel's log.
    Log,
    /// To a console, by a task; nobody waits for it.
    Diagnostics,
    /// To the console, by this task.
    Standard(TaskId),
    /// To the kernel's log, since the console can't be reached.
    Lost,
}

/// Text on its way.
pub(super) struct Output {
    pub(super) target: Target,
    pub(super) buffer: VecDeque<u8>,
    /// Bytes of diagnostics dropped and not told of yet.
    pub(super) lost: usize,
    /// The writer has taken a piece, and the console hasn't.
    is_writing: bool,
    /// Set, and made anew, when there is something to write.
    filled: Option<Event>,
    /// Set when the console has taken everything.
    drained: Option<Event>,
}

local! {
    /// The text of this program.
    pub(super) static OUTPUT: Output = Output {
        target: Target::Undecided,
        buffer: VecDeque::new(),
        lost: 0,
        is_writing: false,
        filled: None,
        drained: None,
    };
}

impl Output {
    /// Puts `bytes` behind what waits. The event, if there is one, tells the writer.
    #[must_use]
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<Event> {
        self.buffer.extend(bytes);
        self.filled.take()
    }

    /// The next piece to be written: whole lines as far as they fit `limit` bytes; else what tells
    /// of more.
    pub(super) fn take(&mut self, limit: usize) -> Result<Vec<u8>, Event> {
        if self.buffer.is_empty() {
            return Err(self.filled.get_or_insert_default().clone());
        }
        self.is_writing = true;
        let most = self.buffer.len().min(limit);
        let lines = self
            .buffer
            .iter()
            .take(most)
            .rposition(|&byte| byte == b'\n');
        let count = lines.map_or(most, |end| end + 1);
        Ok(self.buffer.drain(..count).collect())
    }

    /// The console has taken the piece; whom to tell if that was all.
    #[must_use]
    pub(super) fn done(&mut self) -> Option<Event> {
        self.is_writing = false;
        if self.buffer.is_empty() {
            self.drained.take()
        } else {
            None
        }
    }

    /// The console is gone: what it hasn't been given, and whom to tell.
    pub(super) fn give_up(&mut self, target: Target) -> (Vec<u8>, Option<Event>) {
        self.target = target;
        self.is_writing = false;
        (self.buffer.drain(..).collect(), self.drained.take())
    }

    /// Whether the console has taken everything, or there is none.
    pub(super) fn is_drained(&self) -> bool {
        let has_writer = matches!(self.target, Target::Diagnostics | Target::Standard(_));
        !has_writer || self.buffer.is_empty() && !self.is_writing
    }

    /// Where text goes, and the event of the last byte taken unless that has come.
    pub(super) fn when_drained(&mut self) -> (Target, Option<Event>) {
        let event = (!self.is_drained()).then(|| self.drained.get_or_insert_default().clone());
        (self.target, event)
    }
}
