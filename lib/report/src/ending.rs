//! How a run begins and ends, and what it was asked to do.

use core::fmt::{self, Display, Formatter};

/// Starts the kernel argument that brings commands, percent-encoded (RFC 3986, section 2.1).
pub const EXEC_ARGUMENT: &str = "capelin.exec=";

const STATUS: &str = "capelin: exec status ";
const FATAL: &str = "capelin: fatal: ";
const PROMPT_START: &str = "capelin: at the prompt ";
const PROMPT_END: &str = " ms after firmware handed over";

/// The system is up, so many microseconds after firmware entered what is ours: the UEFI loader, or the
/// boot driver. The line before the first prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootTime(pub u64);

impl BootTime {
    /// The time in `line`, if it is such a line, from its start.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let time = line.strip_prefix(PROMPT_START)?.trim_end();
        let (ms, us) = time.strip_suffix(PROMPT_END)?.split_once('.')?;
        if us.len() != 3 {
            return None;
        }
        let (ms, us): (u64, u64) = (ms.parse().ok()?, us.parse().ok()?);
        ms.checked_mul(1000)?.checked_add(us).map(Self)
    }
}

impl Display for BootTime {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (ms, us) = (self.0 / 1000, self.0 % 1000);
        write!(f, "{PROMPT_START}{ms}.{us:03}{PROMPT_END}")
    }
}

/// All commands (or tests) have run, and so many failed: the guest's last line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExecStatus(pub u32);

impl ExecStatus {
    /// The status in `line`, if it is such a line: it must stand at the line's start, since a program
    /// may print the words, but not in the shell's name.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let count = line.strip_prefix(STATUS)?;
        count.trim_end().parse().ok().map(Self)
    }
}

impl Display for ExecStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{STATUS}{}", self.0)
    }
}

/// The machine can't come up or go on, for this reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fatal<R>(pub R);

impl<'a> Fatal<&'a str> {
    /// The reason in `line`, if it is such a line, from its start.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        line.strip_prefix(FATAL)
            .map(|reason| Self(reason.trim_end()))
    }
}

impl<R: Display> Display for Fatal<R> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{FATAL}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_is_written_is_read() {
        let status = "capelin: exec status 12";
        assert_eq!(ExecStatus(12).to_string(), status);
        assert_eq!(
            ExecStatus::parse("capelin: exec status 12 \r"),
            Some(ExecStatus(12))
        );
        let fatal = "capelin: fatal: no archive";
        assert_eq!(Fatal("no archive").to_string(), fatal);
        assert_eq!(Fatal::parse(fatal), Some(Fatal("no archive")));
        let time = "capelin: at the prompt 24.007 ms after firmware handed over";
        assert_eq!(BootTime(24_007).to_string(), time);
        for us in [0, 999, 24_007, u64::MAX] {
            let line = std::format!("{}\r", BootTime(us));
            assert_eq!(BootTime::parse(&line), Some(BootTime(us)));
        }
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "capelin: exec status",
            "capelin: exec status x",
            "> capelin: exec status 0",
            " capelin: fatal: x",
            "capelin: at the prompt 24 ms after firmware handed over",
            "capelin: at the prompt 24.07 ms after firmware handed over",
            "capelin: at the prompt 24.007 ms",
            "",
        ] {
            assert_eq!(ExecStatus::parse(line), None, "{line}");
            assert_eq!(Fatal::parse(line), None, "{line}");
            assert_eq!(BootTime::parse(line), None, "{line}");
        }
    }
}
