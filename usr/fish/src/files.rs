//! What is on a card, as text, and paths on it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use capelin_interfaces::files::{Entry, Space};

use crate::report::{bytes, table};

/// The entries of a folder, a line each: bytes, and the name, which ends with `/` if it is a folder.
#[must_use]
pub fn list(entries: &[Entry]) -> String {
    let mut rows = Vec::from([Vec::from(["bytes".to_string(), "name".to_string()])]);
    rows.extend(entries.iter().map(|entry| {
        let (size, mark) = match entry.is_folder {
            true => (String::from("-"), "/"),
            false => (entry.bytes.to_string(), ""),
        };
        Vec::from([size, format!("{}{mark}", entry.name)])
    }));
    table(&rows)
}

/// Room on the card, a line.
#[must_use]
pub fn space(space: &Space) -> String {
    format!("{} free of {}\n", bytes(space.free), bytes(space.total))
}

/// The last name of a path; empty for the top folder.
#[must_use]
pub fn name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or_default()
}

/// The path of `name` in the folder at `folder`.
#[must_use]
pub fn join(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, bytes: u32, is_folder: bool) -> Entry {
        Entry {
            name: name.into(),
            bytes,
            is_folder,
        }
    }

    #[test]
    fn folders_are_told_from_files() {
        let text = list(&[entry("NOTES.TXT", 70_000, false), entry("LOGS", 0, true)]);
        let lines: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let expected = [["bytes", "name"], ["70000", "NOTES.TXT"], ["-", "LOGS/"]];
        assert_eq!(lines, expected);
        assert_eq!(list(&[]), "bytes  name\n");
    }

    #[test]
    fn paths_have_a_last_name_and_take_one() {
        for (path, last) in [
            ("/a/b.txt", "b.txt"),
            ("b.txt", "b.txt"),
            ("/a/", "a"),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(name(path), last, "{path}");
        }
        assert_eq!(join("/logs/", "a.txt"), "/logs/a.txt");
        assert_eq!(join("/", "a.txt"), "/a.txt");
        assert_eq!(join("logs", "a.txt"), "logs/a.txt");
    }

    #[test]
    fn room_has_its_units() {
        let room = Space {
            total: 22 << 20,
            free: 512,
        };
        assert_eq!(space(&room), "512 B free of 22 MiB\n");
    }
}
