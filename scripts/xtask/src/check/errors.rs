//! A public function that can fail says in a section `# Errors` which errors there are: by name, by whose they are, or
//! when; not that there are some.

use super::Violation;

/// What says no more than that there may be errors.
const EMPTY_WORDS: [&str; 4] = [
    "what the kernel says",
    "what the kernel answers",
    "what the runtime says",
    "if something goes wrong",
];

/// The doc comment above an item, and what the item is once that is known.
#[derive(Default)]
struct Item {
    documentation: String,
    signature: String,
    /// Within an attribute of several lines.
    is_attribute: bool,
}

/// The functions of a file that don't say it. Tests and what macros make are left out.
pub(super) fn violations(place: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut item = Item::default();
    for (number, line) in (1..).zip(text.lines()) {
        if line == "#[cfg(test)]" {
            break;
        }
        if let Some(what) = item.take(line) {
            violations.push(Violation::new(format!("{place}:{number}"), what));
        }
    }
    violations
}

impl Item {
    /// Takes the next line; what is wrong with the function whose signature ends there.
    fn take(&mut self, line: &str) -> Option<&'static str> {
        let line = line.trim();
        if self.signature.is_empty() {
            if let Some(text) = line.strip_prefix("///") {
                self.documentation.push_str(text);
                self.documentation.push('\n');
                return None;
            }
            self.is_attribute |= line.starts_with("#[");
            if self.is_attribute {
                self.is_attribute = !line.ends_with(']');
                return None;
            }
            if !is_public_function(line) {
                self.documentation.clear();
                return None;
            }
        }
        self.signature.push_str(line);
        self.signature.push(' ');
        if !line.ends_with('{') && !line.ends_with(';') && !line.ends_with('}') {
            return None;
        }
        let Self {
            documentation,
            signature,
            ..
        } = std::mem::take(self);
        if returns_result(&signature) {
            wrong(&documentation)
        } else {
            None
        }
    }
}

/// Whether a line begins one: `pub fn`, `pub(crate) const fn`, ….
fn is_public_function(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("pub") else {
        return false;
    };
    let words = rest.split('(').next().unwrap_or(rest);
    // `pub(crate)` has its bracket first.
    let is_restricted = rest.starts_with('(');
    !is_restricted && words.split_whitespace().any(|word| word == "fn")
}

fn returns_result(signature: &str) -> bool {
    let (_, returned) = signature.rsplit_once(") -> ").unwrap_or_default();
    // What a parameter returns is followed by the end of the parameters.
    if returned.matches(')').count() > returned.matches('(').count() {
        return false;
    }
    let returned = returned.split(" where ").next().unwrap_or(returned);
    returned.starts_with("Result<") || returned.contains("::Result<")
}

/// What is wrong with the documentation of a function that can fail.
fn wrong(documentation: &str) -> Option<&'static str> {
    let Some((_, section)) = documentation.split_once("# Errors") else {
        // One that only calls another refers to it.
        let refers = documentation.trim_start().starts_with("See [");
        return (!refers).then_some("can fail, and has no section # Errors");
    };
    let section = section.split("\n #").next().unwrap_or(section);
    let words: Vec<_> = section.split_whitespace().collect();
    let said = words.join(" ").to_lowercase();
    let is_empty = said.is_empty() || EMPTY_WORDS.iter().any(|words| said.contains(words));
    is_empty.then_some("its section # Errors doesn't say which errors")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let all = violations("f.rs", text).into_iter();
        all.map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn a_function_that_can_fail_has_a_section() {
        let missing = "f.rs:2: can fail, and has no section # Errors";
        assert_eq!(
            lines("/// Opens it.\npub fn open() -> Result<(), E> {\n}"),
            [missing]
        );
        let over_lines = "/// Opens it.\n#[expect(\n    x,\n)]\npub async fn open(\n    path: &str,\n) -> io::Result<()> {";
        let missing = missing.replace(":2", ":7");
        assert_eq!(lines(over_lines), [missing]);
        let fine = "/// Opens it.\n///\n/// # Errors\n/// [`E::Missing`].\npub fn open() -> Result<(), E> {";
        assert_eq!(lines(fine), [""; 0]);
        let refers = "/// See [`crate::open()`].\npub fn open() -> Result<(), E> {";
        assert_eq!(lines(refers), [""; 0]);
    }

    #[test]
    fn the_section_says_which() {
        for empty in [
            "What the kernel\n/// says.",
            "[`E::A`]; what the kernel says.",
            "",
        ] {
            let text = format!("/// # Errors\n/// {empty}\npub fn open() -> Result<(), E> {{");
            let found = lines(&text);
            assert!(
                matches!(found.as_slice(), [one] if one.ends_with("doesn't say which errors")),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn what_cant_fail_or_isnt_public_or_is_a_test_needs_none() {
        let taken = "/// Takes results.\npub fn take(results: Vec<Result<A, B>>) -> bool {";
        assert_eq!(lines(taken), [""; 0]);
        let of_function = "/// Calls.\npub async fn serve(make: impl Fn(C) -> Result<S, E>) {";
        assert_eq!(lines(of_function), [""; 0]);
        assert_eq!(lines("fn open() -> Result<(), E> {"), [""; 0]);
        assert_eq!(lines("pub(crate) fn open() -> Result<(), E> {"), [""; 0]);
        let test = "#[cfg(test)]\nmod tests {\npub fn open() -> Result<(), E> {";
        assert_eq!(lines(test), [""; 0]);
        // The documentation is the item's own.
        let other = "/// # Errors\n/// [`E::A`].\npub struct A;\npub fn open() -> Result<(), E> {";
        assert_eq!(lines(other).len(), 1);
    }
}
