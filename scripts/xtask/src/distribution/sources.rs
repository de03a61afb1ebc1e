//! Which sources of the machine's apt have its own release, and those sources for arm64 firmware.
//!
//! Both of apt's formats are read (`sources.list(5)`): a line each, and stanzas of fields (deb822). What is kept of a
//! source is where it is and how it is signed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What firmware and kernels are in, where a release has these components.
const COMPONENTS: &str = "main non-free-firmware";

/// The release's name in the text of `/etc/os-release`.
pub(super) fn codename(os_release: &str) -> Option<&str> {
    let mut values = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("VERSION_CODENAME="));
    values.next().map(|value| value.trim_matches('"'))
}

/// Sources (deb822) for arm64 of the sources in apt's folder that have `release`; `None` if none has.
pub(super) fn derive(folder: &Path, release: &str) -> Option<String> {
    let mut files: Vec<_> = fs::read_dir(folder.join("sources.list.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    files.insert(0, folder.join("sources.list"));
    let mut sources = String::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let derived = if file
            .extension()
            .is_some_and(|extension| extension == "sources")
        {
            of_stanzas(&text, release)
        } else {
            of_lines(&text, release)
        };
        sources.push_str(&derived);
    }
    (!sources.is_empty()).then_some(sources)
}

/// A stanza for `uris`; `signature` is the rest of it, whole lines.
fn stanza(uris: &str, release: &str, signature: &str) -> String {
    format!(
        "Types: deb\nURIs: {uris}\nSuites: {release}\nComponents: {COMPONENTS}\nArchitectures: arm64\n{signature}\n"
    )
}

fn of_stanzas(text: &str, release: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    lines
        .split(|line| line.trim().is_empty())
        .filter_map(|lines| of_stanza(lines, release))
        .collect()
}

fn of_stanza(lines: &[&str], release: &str) -> Option<String> {
    // A line that starts with a space goes on with the field before.
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut()?;
            value.push('\n');
            value.push_str(line);
        } else {
            let (name, value) = line.split_once(':')?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |name: &str| {
        let mut found = fields.iter().filter(|(other, _)| other == name);
        found.next().map(|(_, value)| value.as_str())
    };
    let has = |name: &str, word: &str| {
        field(name).is_some_and(|value| value.split_whitespace().any(|it| it == word))
    };
    let is_off = field("enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
    if is_off || !has("types", "deb") || !has("suites", release) || !has("components", "main") {
        return None;
    }
    let mut signature = String::new();
    for name in ["signed-by", "trusted"] {
        if let Some(value) = field(name) {
            // Writing to a String can't fail.
            let _ = writeln!(signature, "{name}: {value}");
        }
    }
    Some(stanza(field("uris")?, release, &signature))
}

fn of_lines(text: &str, release: &str) -> String {
    text.lines()
        .filter_map(|line| of_line(line, release))
        .collect()
}

/// `deb [ option=value … ] URI SUITE COMPONENT…`
fn of_line(line: &str, release: &str) -> Option<String> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    let (options, rest) = match rest.trim_start().strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    if suite != release || !words.any(|word| word == "main") {
        return None;
    }
    let mut signature = String::new();
    for option in options.split_whitespace() {
        if let Some(value) = option.strip_prefix("signed-by=") {
            // Writing to a String can't fail.
            let _ = writeln!(signature, "signed-by: {}", value.replace(',', " "));
        }
    }
    Some(stanza(uri, release, &signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_named() {
        assert_eq!(
            codename("ID=debian\nVERSION_CODENAME=bookworm\n"),
            Some("bookworm")
        );
        assert_eq!(codename("VERSION_CODENAME=\"trixie\"\n"), Some("trixie"));
        assert_eq!(codename("ID=arch\n"), None);
    }

    #[test]
    fn stanzas_of_the_release_are_kept_with_place_and_signature() {
        let text = "# comment\nTypes: deb deb-src\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main\nSigned-By:\n -----BEGIN\n .\n x\n\n\
                    Types: deb\nURIs: http://mirror/security\nSuites: bookworm-security\nComponents: main\n\n\
                    Types: deb\nURIs: http://other\nSuites: bookworm\nComponents: stable\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://off\nSuites: bookworm\nComponents: main\n\n\
                    Types: deb-src\nURIs: http://src\nSuites: bookworm\nComponents: main\n";
        assert_eq!(
            of_stanzas(text, "bookworm"),
            "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm\nComponents: main non-free-firmware\n\
             Architectures: arm64\nsigned-by: \n -----BEGIN\n .\n x\n\n"
        );
    }

    #[test]
    fn lines_of_the_release_are_kept_with_place_and_signature() {
        let text = "# deb http://old bookworm main\ndeb-src http://mirror bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://mirror bookworm contrib main # ours\n\
                    deb http://vendor bookworm stable\ndeb http://mirror bookworm-backports main\n";
        assert_eq!(
            of_lines(text, "bookworm"),
            "Types: deb\nURIs: http://mirror\nSuites: bookworm\nComponents: main non-free-firmware\n\
             Architectures: arm64\nsigned-by: /k.gpg\n\n"
        );
    }
}
