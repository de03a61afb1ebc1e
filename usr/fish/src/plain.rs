//! Text of others on the terminal: names of files, programs and devices, lines of the log.

use alloc::{borrow::Cow, string::String};

/// `text` with what would command the terminal replaced: control characters of either sort, but ends
/// of lines and tabs.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let shown = |c| {
        if is_plain(c) {
            c
        } else {
            char::REPLACEMENT_CHARACTER
        }
    };
    Cow::Owned(text.chars().map(shown).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_commands_the_terminal_by_a_name() {
        assert_eq!(plain("a\tü – 字\nb\n"), "a\tü – 字\nb\n");
        assert_eq!(
            plain("\x1b[2Jx\x07\r\x08\x7f\u{9b}31m\0\n"),
            "\u{fffd}[2Jx\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}31m\u{fffd}\n"
        );
    }
}
