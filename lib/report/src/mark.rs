//! What numbers by which a guest marks what it executes stand for.

use core::fmt::{self, Display, Formatter};

/// What is marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MarkKind {
    /// A path that is timed, whose instructions are summed.
    Path,
    /// An operation, whose longest single entry into the kernel counts.
    Entry,
}

impl MarkKind {
    const fn keyword(self) -> &'static str {
        match self {
            Self::Path => "path: ",
            Self::Entry => "entry: ",
        }
    }
}

/// The number in a mark (`scripts/xtask/plugin/events.c`), and what it stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark<T> {
    /// What is marked.
    pub kind: MarkKind,
    /// As who counts what is executed knows it.
    pub number: u32,
    /// What it is called, to the end of the line.
    pub text: T,
}

impl<'a> Mark<&'a str> {
    /// The mark of this kind in `line`, wherever in it: what was printed before may not have ended its
    /// line.
    #[must_use]
    pub fn parse(kind: MarkKind, line: &'a str) -> Option<Self> {
        let (_, rest) = line.trim_end().split_once(kind.keyword())?;
        let (number, text) = rest.split_once(' ')?;
        let number = number.parse().ok()?;
        Some(Self { kind, number, text })
    }
}

impl<T: Display> Display for Mark<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} {}", self.kind.keyword(), self.number, self.text)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_is_written_is_read() {
        let mark = Mark {
            kind: MarkKind::Path,
            number: 3,
            text: "map 5632",
        };
        assert_eq!(mark.to_string(), "path: 3 map 5632");
        assert_eq!(Mark::parse(MarkKind::Path, &mark.to_string()), Some(mark));
        assert_eq!(Mark::parse(MarkKind::Entry, &mark.to_string()), None);
    }

    #[test]
    fn a_line_that_was_begun_hides_none() {
        let read = |line| Mark::parse(MarkKind::Entry, line);
        let mark = read("half a line entry: 4 print\r").unwrap();
        assert_eq!((mark.number, mark.text), (4, "print"));
        assert_eq!(read("entry: x y"), None);
        assert_eq!(read("entry: 4"), None);
    }
}
