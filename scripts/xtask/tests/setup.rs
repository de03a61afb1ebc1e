//! `scripts/setup.sh` derives Debian's backports from whatever source the machine has for the release itself.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An apt folder made for one test.
struct Apt(PathBuf);

impl Apt {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("sources.list.d")).unwrap();
        for (file, text) in files {
            fs::write(folder.join(file), text).unwrap();
        }
        Self(folder)
    }

    /// What `derive_backports` prints for `bookworm`, if it finds anything.
    fn backports(&self) -> Option<String> {
        bash(&format!("derive_backports '{}' bookworm", self.0.display()))
    }
}

/// What a command prints once `scripts/setup.sh` is read in; `None` if it fails.
fn bash(command: &str) -> Option<String> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../setup.sh");
    let output = Command::new("bash")
        .args([
            "-c",
            &format!("set -eu; . '{}'; {command}", setup.display()),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then_some(text)
}

#[test]
fn from_a_deb822_source() {
    let source = "\
Types: deb
# a comment
URIs: http://mirror.invalid/debian-security
Suites: bookworm-security
Components: main

types: deb deb-src
URIs: http://mirror.invalid/debian
 http://second.invalid/debian
Suites: bookworm bookworm-updates
Components: main contrib
Architectures: amd64
Signed-By: /usr/share/keyrings/x.gpg
";
    let apt = Apt::new("deb822", &[("sources.list.d/debian.sources", source)]);
    let expected = "\
# deb822
Types: deb
Suites: bookworm-backports
Components: main
URIs: http://mirror.invalid/debian
 http://second.invalid/debian
Architectures: amd64
Signed-By: /usr/share/keyrings/x.gpg
";
    assert_eq!(apt.backports().as_deref(), Some(expected));
}

#[test]
fn from_a_one_line_source() {
    let list = "\
# deb http://comment.invalid/debian bookworm main
deb-src http://source.invalid/debian bookworm main
deb http://mirror.invalid/debian-security bookworm-security main
deb [ arch=amd64 signed-by=/x.gpg ] http://mirror.invalid/debian/ bookworm main contrib
";
    let expected = "# one-line\ndeb [ arch=amd64 signed-by=/x.gpg ] http://mirror.invalid/debian/ bookworm-backports main\n";
    let apt = Apt::new("one-line", &[("sources.list", list)]);
    assert_eq!(apt.backports().as_deref(), Some(expected));
    let apt = Apt::new("one-line-part", &[("sources.list.d/debian.list", list)]);
    assert_eq!(apt.backports().as_deref(), Some(expected));
}

#[test]
fn not_from_disabled_foreign_or_missing_sources() {
    let disabled = "Enabled: no\nTypes: deb\nURIs: http://mirror.invalid\nSuites: bookworm\nComponents: main\n";
    let foreign = "deb http://mirror.invalid/tool stable main\n";
    let files = [
        ("sources.list.d/a.sources", disabled),
        ("sources.list.d/b.list", foreign),
    ];
    assert_eq!(Apt::new("unsuitable", &files).backports(), None);
    assert_eq!(Apt::new("empty", &[]).backports(), None);
}

#[test]
fn versions_are_compared_by_number() {
    let is_at_least =
        |have: &str, wanted: &str| bash(&format!("is_at_least '{have}' '{wanted}'")).is_some();
    assert!(is_at_least("10.0.2", "9"));
    assert!(is_at_least("9.0", "9"));
    assert!(!is_at_least("7.2", "9"));
    assert!(is_at_least("1.95.0", "1.95"));
    assert!(!is_at_least("1.9.9", "1.95"));
}
