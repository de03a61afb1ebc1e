//! The kernel's arguments that are the shell's (`docs/047-running.md`).

use alloc::vec::Vec;

/// What the arguments for Capelin begin with.
const OURS: &str = "capelin.";
/// Starts the argument that brings commands.
pub use capelin_report::EXEC_ARGUMENT as EXEC;

/// What the kernel's arguments ask of the shell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KernelArguments<'a> {
    /// Commands, percent-encoded.
    pub exec: Option<&'a str>,
    /// Words for Capelin that nobody knows.
    pub unknown: Vec<&'a str>,
}

/// Reads the arguments in `text`, which are separated by spaces. [`EXEC`] is the last one, whatever
/// stands behind it: who writes spaces means them.
#[must_use]
pub fn parse(text: &str) -> KernelArguments<'_> {
    let mut found = KernelArguments::default();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(commands) = rest.strip_prefix(EXEC) {
            found.exec = Some(commands);
            break;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        if word.starts_with(OURS) {
            found.unknown.push(word);
        }
        rest = behind.trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands_go_on_to_the_end() {
        let found = parse(" quiet console=ttyAMA0 capelin.exec=echo%20a; bogus b=c ");
        assert_eq!(found.exec, Some("echo%20a; bogus b=c"));
        assert_eq!(found.unknown, [""; 0]);
        assert_eq!(parse("capelin.exec=").exec, Some(""));
        assert_eq!(parse("xcapelin.exec=ps"), KernelArguments::default());
        assert_eq!(parse(""), KernelArguments::default());
    }

    #[test]
    fn what_nobody_knows_is_told() {
        let found = parse("capelin.exce=ps root=/dev/sda capelin.exec=ps");
        assert_eq!(found.unknown, ["capelin.exce=ps"]);
        assert_eq!(found.exec, Some("ps"));
    }

    proptest! {
        /// No word behind the commands is lost.
        #[test]
        fn nothing_is_dropped(before in "[a-z= ]{0,10}", commands in "[a-z;%= ]{0,20}") {
            let text = alloc::format!("{before} {EXEC}{commands}");
            prop_assert_eq!(parse(&text).exec, Some(commands.trim_end()));
        }
    }
}
