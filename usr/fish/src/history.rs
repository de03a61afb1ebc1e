//! Lines entered before.

use alloc::{collections::VecDeque, string::String};

/// Lines kept.
const CAPACITY: usize = 100;

/// Lines entered before, and which of them is looked at.
#[derive(Clone, Debug, Default)]
pub struct History {
    lines: VecDeque<String>,
    /// How far back: 0 is the line being entered, 1 the last one entered.
    depth: usize,
    /// The line being entered, while an older one is looked at.
    draft: String,
}

impl History {
    /// Adds a line. An empty one, or the same as the last, isn't kept.
    pub fn add(&mut self, line: &str) {
        self.depth = 0;
        self.draft.clear();
        if line.trim().is_empty() || self.lines.front().is_some_and(|last| last == line) {
            return;
        }
        self.lines.truncate(CAPACITY - 1);
        self.lines.push_front(line.into());
    }

    /// The line before the one looked at; `current` is what stands there now.
    pub fn older(&mut self, current: &str) -> Option<&str> {
        if self.depth >= self.lines.len() {
            return None;
        }
        if self.depth == 0 {
            self.draft = current.into();
        }
        self.depth += 1;
        self.lines.get(self.depth - 1).map(String::as_str)
    }

    /// The line after the one looked at.
    pub fn newer(&mut self) -> Option<&str> {
        self.depth = self.depth.checked_sub(1)?;
        match self.depth.checked_sub(1) {
            Some(index) => self.lines.get(index).map(String::as_str),
            None => Some(&self.draft),
        }
    }

    /// The line being entered was given up.
    pub fn leave(&mut self) {
        self.depth = 0;
        self.draft.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn up_and_down_come_back_to_the_draft() {
        let mut history = History::default();
        for line in ["one", "two", "two", " "] {
            history.add(line);
        }
        assert_eq!(history.newer(), None);
        assert_eq!(history.older("dra"), Some("two"));
        assert_eq!(history.older("two"), Some("one"));
        assert_eq!(history.older("one"), None);
        assert_eq!(history.newer(), Some("two"));
        assert_eq!(history.newer(), Some("dra"));
        assert_eq!(history.newer(), None);
    }

    #[test]
    fn the_oldest_lines_are_forgotten() {
        let mut history = History::default();
        for n in 0..300 {
            history.add(&format!("{n}"));
        }
        let mut count = 0;
        let mut last = String::new();
        while let Some(line) = history.older("") {
            last = line.into();
            count += 1;
        }
        assert_eq!((count, last.as_str()), (CAPACITY, "200"));
    }
}
