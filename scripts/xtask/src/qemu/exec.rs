//! How commands reach the guest's shell, and how their outcome comes back (`docs/047-running.md`).
//!
//! In: the kernel argument `capelin.exec=` with the commands percent-encoded (RFC 3986), so that it is one word.
//! Out: lines of `lib/report`, the last one an [`ExecStatus`], whereupon the guest powers off; or a [`Fatal`].

use std::fmt::Write as _;

use capelin_report::{EXEC_ARGUMENT, ExecStatus, Fatal};

/// The kernel argument that hands `commands` to the shell.
pub(crate) fn argument(commands: &str) -> String {
    let mut argument = EXEC_ARGUMENT.to_owned();
    for byte in commands.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            argument.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(argument, "%{byte:02X}");
        }
    }
    argument
}

/// The command by which the shell starts `program` with `arguments`, whatever characters they hold: within `"` a
/// backslash makes the next character ordinary.
pub(crate) fn command(program: &str, arguments: &[String]) -> String {
    let mut command = program.to_owned();
    for argument in arguments {
        let ordinary = argument.replace('\\', "\\\\").replace('"', "\\\"");
        // Writing to a String can't fail.
        let _ = write!(command, " \"{ordinary}\"");
    }
    command
}

/// What a console line says to the runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All commands have run, and so many failed.
    Status(u32),
    /// The guest gives up.
    Fatal(String),
}

/// The verdict in `line`, without its line end, if it holds one.
pub(crate) fn verdict(line: &str) -> Option<Verdict> {
    let status = ExecStatus::parse(line).map(|ExecStatus(failed)| Verdict::Status(failed));
    status.or_else(|| Fatal::parse(line).map(|Fatal(reason)| Verdict::Fatal(reason.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_a_program_as_they_are() {
        let arguments = ["a b", r"\;", "say \"x\"", ""].map(str::to_owned);
        let said = command("hello", &arguments);
        assert_eq!(said, r#"hello "a b" "\\;" "say \"x\"" """#);
    }

    #[test]
    fn an_argument_is_one_word() {
        let encoded = argument("echo \"a b\"; cores | 100% ü");
        assert_eq!(
            encoded,
            "capelin.exec=echo%20%22a%20b%22%3B%20cores%20%7C%20100%25%20%C3%BC"
        );
    }
}
