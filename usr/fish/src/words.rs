//! A line to commands, and a command to words.
//!
//! `;` ends a command. It doesn't within quotes, nor within brackets that are closed again: so
//! that `skb (a; b)` is one command. `'` and `"` quote; within `"`, a backslash makes the next
//! character ordinary. Outside of quotes a backslash does so, too. A `#` where a command would start
//! makes the rest of the line a comment.

use alloc::{string::String, vec::Vec};

/// Why a command has no words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WordsError {
    /// A quote isn't closed: which, and the character at which it stands, from 1.
    OpenQuote(char, usize),
    /// A backslash at the end.
    OpenEscape,
}

impl core::fmt::Display for WordsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::OpenQuote(quote, at) => write!(f, "the {quote} at character {at} is not closed"),
            Self::OpenEscape => f.write_str("a backslash at the end"),
        }
    }
}

impl core::error::Error for WordsError {}

/// The commands of a text of several lines, each read as if it had been typed.
pub fn script(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(commands)
}

/// The commands in brackets, if `text` is nothing but a pair of them.
#[must_use]
pub fn group(text: &str) -> Option<Vec<&str>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    (closed(text)? == text.len()).then(|| commands(inner))
}

/// The commands in `line`, trimmed, without empty ones.
#[must_use]
pub fn commands(line: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        let Some(c) = rest.chars().next() else { break };
        match c {
            ';' => {
                commands.push(&line[start..at]);
                start = at + 1;
                at += 1;
            }
            '#' if line[start..at].trim().is_empty() => {
                start = line.len();
                break;
            }
            '\\' => at += 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '(' | '[' | '{' => at += closed(rest).unwrap_or(1),
            '\'' | '"' => at += quoted(rest).unwrap_or(1),
            _ => at += c.len_utf8(),
        }
    }
    commands.push(&line[start..]);
    commands.retain_mut(|command| {
        *command = command.trim();
        !command.is_empty()
    });
    commands
}

/// Bytes of the quoted text that `text` starts with, both quotes included.
fn quoted(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(at + quote.len_utf8());
        }
        if c == '\\' {
            chars.next();
        }
    }
    None
}

/// Bytes of the bracketed text that `text` starts with, both brackets included.
fn closed(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let c = rest.chars().next()?;
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            '\'' | '"' => {
                at += quoted(rest)?;
                continue;
            }
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The words of `command`.
///
/// # Errors
/// See [`WordsError`].
pub fn words(command: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars().enumerate();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c.is_whitespace() => words.extend(word.take()),
            '\\' => {
                let (_, next) = chars.next().ok_or(WordsError::OpenEscape)?;
                word.get_or_insert_default().push(next);
            }
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    let open = WordsError::OpenQuote(c, at + 1);
                    match chars.next().ok_or(open)? {
                        (_, end) if end == c => break,
                        (_, '\\') if c == '"' => word.push(chars.next().ok_or(open)?.1),
                        (_, inner) => word.push(inner),
                    }
                }
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// The first word as it stands, and the text behind it, trimmed.
#[must_use]
pub fn split_first(command: &str) -> (&str, &str) {
    let command = command.trim();
    let end = command.find(char::is_whitespace).unwrap_or(command.len());
    let (first, rest) = command.split_at(end);
    (first, rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn semicolons_separate_outside_of_quotes_and_brackets() {
        assert_eq!(
            commands("cores; skb core(C,M,N);; echo 'a;b' \"c;\\\";d\" ;poweroff"),
            [
                "cores",
                "skb core(C,M,N)",
                "echo 'a;b' \"c;\\\";d\"",
                "poweroff"
            ]
        );
        assert_eq!(commands("skb (a ; [b;c]); ps"), ["skb (a ; [b;c])", "ps"]);
        assert_eq!(commands("echo (; ps"), ["echo (", "ps"]);
        assert_eq!(commands("echo ) ; ps"), ["echo )", "ps"]);
        assert_eq!(commands("echo it's; ps"), ["echo it's", "ps"]);
        assert_eq!(commands("echo a\\;b;c"), ["echo a\\;b", "c"]);
        assert_eq!(commands(" ; ;"), [""; 0]);
    }

    #[test]
    fn a_script_is_lines_and_comments() {
        let text = "# first\necho a; echo b # c\r\n\n  skb (x;\n  # last; echo d\necho e; # f; g";
        let commands: Vec<_> = script(text).collect();
        assert_eq!(
            commands,
            ["echo a", "echo b # c", "skb (x", "echo e"],
            "each line is read alone"
        );
    }

    #[test]
    fn a_group_is_one_pair_of_brackets() {
        assert_eq!(group("(a; b c)"), Some(alloc::vec!["a", "b c"]));
        assert_eq!(group("((a; b))"), Some(alloc::vec!["(a; b)"]));
        assert_eq!(group("()"), Some(Vec::new()));
        for other in ["a", "(a) (b)", "(a", "a)", "(a; ')')x", ""] {
            assert_eq!(group(other), None, "{other}");
        }
    }

    #[test]
    fn quotes_make_words() {
        assert_eq!(
            words("a  'b c'd \"e\\\"\" '' \\ f").unwrap(),
            ["a", "b cd", "e\"", "", " f"]
        );
        assert_eq!(words("a 'b"), Err(WordsError::OpenQuote('\'', 3)));
        assert_eq!(words("a\\"), Err(WordsError::OpenEscape));
        assert_eq!(split_first("  skb  a, b "), ("skb", "a, b"));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "[a-c ;'\"\\\\()\\[\\]{}ü]*") {
            for command in commands(&line) {
                let _ = words(command);
                let _ = group(command);
            }
        }

        /// Quoting any text makes one word of it.
        #[test]
        fn quoted_text_is_one_word(text in "[^'\\\\]*") {
            let line = alloc::format!("echo '{text}'");
            prop_assert_eq!(commands(&line), [line.trim()]);
            prop_assert_eq!(words(&line).unwrap()[1..].to_vec(), [text]);
        }
    }
}
