//! `docs/105-how-to.md`, done as it stands: its blocks are applied to a copy of the tree, section by section, its commands
//! run there, and what they print is held against what the document says.
//!
//! | block's first line, behind the language | meaning |
//! | --- | --- |
//! | `new PATH` | a file that isn't there yet |
//! | `PATH after TEXT` | lines behind the one line of the file that holds TEXT |
//! | `run` | commands |
//! | `said` | pieces of lines that these printed, in this order |

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Context, Outcome};
use crate::error::{Error, Result};
use crate::mutants::scratch::{Scratch, copy_folder};
use crate::workspace;

/// The document.
const DOCUMENT: &str = "docs/105-how-to.md";

/// What a block asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    New(&'a str),
    After(&'a str, &'a str),
    Run,
    Said,
}

/// A block and its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block<'a> {
    step: Step<'a>,
    text: &'a str,
}

/// Does all sections in one copy of the tree; each is a test.
///
/// # Errors
/// If the document or the copy can't be read or written, or a command can't be started.
pub(super) fn run(context: &Context, name: &str) -> Result<Outcome> {
    let root = copy_of(workspace::root());
    let scratch = Scratch::new(workspace::root(), root.clone())?;
    copy_folder(&workspace::root().join(".cargo"), &root.join(".cargo"))?;
    let document = scratch.read(DOCUMENT)?;
    // It is there if there was a run before.
    let _ = fs::remove_file(context.log_path(name));
    let tree = Tree {
        context,
        name,
        root,
        target: context.folder.join("how-to"),
    };
    let (mut passed, mut failures) = (0, Vec::new());
    for (title, text) in sections(&document) {
        match blocks(text).map_or_else(|what| Ok(Err(what)), |blocks| tree.follow(&blocks))? {
            Ok(()) => passed += 1,
            Err(what) => failures.push(format!("{title}: {what}")),
        }
    }
    Ok(if failures.is_empty() {
        Outcome::Passed(passed)
    } else {
        Outcome::Failed(passed, failures)
    })
}

/// The folder for the copy of the tree at `original`. It is outside of it, since cargo joins the settings of all folders
/// above; and the same each time, so that cargo knows again what it has built.
fn copy_of(original: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    original.hash(&mut hasher);
    std::env::temp_dir().join(format!("capelin-how-to-{:016x}", hasher.finish()))
}

/// The copy in which the document is followed.
struct Tree<'a> {
    context: &'a Context,
    name: &'a str,
    root: PathBuf,
    target: PathBuf,
}

impl Tree<'_> {
    /// Does what `blocks` say, up to what doesn't come out as they say.
    fn follow(&self, blocks: &[Block<'_>]) -> Result<Result<(), String>> {
        let mut said = String::new();
        for block in blocks {
            let done = match block.step {
                Step::New(path) => self.write_new(path, block.text)?,
                Step::After(path, anchor) => self.insert(path, anchor, block.text)?,
                Step::Run => {
                    let (output, done) = self.run(block.text)?;
                    said = output;
                    done
                }
                Step::Said => missing(&said, block.text).map_or(Ok(()), |line| {
                    Err(format!("{line:?} isn't said, or not in its place"))
                }),
            };
            if done.is_err() {
                return Ok(done);
            }
        }
        Ok(Ok(()))
    }

    fn write_new(&self, path: &str, text: &str) -> Result<Result<(), String>> {
        let path = self.root.join(path);
        if path.exists() {
            return Ok(Err(format!("{} is there already", path.display())));
        }
        let folder = path.parent().unwrap_or(&self.root);
        let failed = |error| Error::File(path.clone(), error);
        fs::create_dir_all(folder).map_err(failed)?;
        fs::write(&path, text).map_err(failed)?;
        Ok(Ok(()))
    }

    fn insert(&self, path: &str, anchor: &str, text: &str) -> Result<Result<(), String>> {
        let file = self.root.join(path);
        let failed = |error| Error::File(file.clone(), error);
        let old = fs::read_to_string(&file).map_err(failed)?;
        let Some(new) = inserted(&old, anchor, text) else {
            return Ok(Err(format!("{path} hasn't one line with {anchor:?}")));
        };
        fs::write(&file, new).map_err(failed)?;
        Ok(Ok(()))
    }

    /// What `commands` print, and whether all succeed.
    fn run(&self, commands: &str) -> Result<(String, Result<(), String>)> {
        let mut shell = Command::new("bash");
        shell.args(["-e", "-c", commands]).current_dir(&self.root);
        shell.env("CARGO_TARGET_DIR", &self.target);
        // Those of the cargo that runs this program are about another tree.
        for name in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
            shell.env_remove(name);
        }
        // Not as other cases' commands are: what a guest says to its runner isn't meant for us.
        let output = shell.stdin(Stdio::null()).output();
        let output = output.map_err(|error| Error::Spawn("bash".to_owned(), error))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        self.log(&[commands.as_bytes(), &output.stdout, &output.stderr].concat())?;
        let done = output.status.success().then_some(());
        let done = done.ok_or_else(|| format!("{}: {}", commands.trim_end(), output.status));
        Ok((text, done))
    }

    fn log(&self, text: &[u8]) -> Result<()> {
        let path = self.context.log_path(self.name);
        let file = fs::File::options().append(true).create(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(text));
        written.map_err(|error| Error::File(path, error))
    }
}

/// `text` with `more` behind the one line that holds `anchor`; `None` if there isn't one line.
fn inserted(text: &str, anchor: &str, more: &str) -> Option<String> {
    let mut new = String::new();
    let mut found = 0;
    for line in text.split_inclusive('\n') {
        new.push_str(line);
        if line.contains(anchor) {
            new.push_str(more);
            found += 1;
        }
    }
    (found == 1).then_some(new)
}

/// The first line of `wanted` that doesn't come in `said` behind those before it.
fn missing<'a>(said: &str, wanted: &'a str) -> Option<&'a str> {
    let mut said = said.lines();
    wanted
        .lines()
        .find(|wanted| !said.any(|line| line.contains(wanted)))
}

/// The sections of a document, by their titles.
fn sections(document: &str) -> impl Iterator<Item = (&str, &str)> {
    let sections = document.split("\n## ").skip(1);
    sections.filter_map(|section| section.split_once('\n'))
}

/// The blocks of a section that ask for something.
///
/// # Errors
/// What is wrong with one.
fn blocks(section: &str) -> Result<Vec<Block<'_>>, String> {
    let mut blocks = Vec::new();
    let mut rest = section;
    while let Some((_, from)) = rest.split_once("\n```") {
        let (info, from) = from
            .split_once('\n')
            .ok_or("a block ends in its first line")?;
        let (text, after) = from.split_once("```").ok_or("a block has no end")?;
        rest = after;
        let words = info.split_once(' ').map_or("", |(_, words)| words);
        let step = match words.split_once(' ') {
            None if words == "run" => Step::Run,
            None if words == "said" => Step::Said,
            None if words.is_empty() => continue,
            Some(("new", path)) => Step::New(path),
            Some((path, anchor)) if anchor.starts_with("after ") => {
                Step::After(path, anchor.trim_start_matches("after "))
            }
            _ => return Err(format!("a block asks for {words:?}")),
        };
        blocks.push(Block { step, text });
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: &str = "\nText.\n\n```toml new a/b\nx = 1\n```\n\n```rust c.rs after use x;\n    y\n```\nand\n\
                           ```sh run\ntrue\n```\n```text said\none\n```\n```text\nnothing\n```\n";

    #[test]
    fn blocks_are_told_apart() {
        let found = blocks(SECTION).unwrap();
        let steps: Vec<_> = found.iter().map(|block| block.step).collect();
        let after = Step::After("c.rs", "use x;");
        assert_eq!(steps, [Step::New("a/b"), after, Step::Run, Step::Said]);
        assert_eq!((found[0].text, found[1].text), ("x = 1\n", "    y\n"));
        assert!(blocks("\n```sh walk\n```\n").is_err());
        assert!(blocks("\n```sh run\n").is_err());
    }

    #[test]
    fn lines_go_behind_the_one_that_is_named() {
        assert_eq!(inserted("a\nb\n", "a", "x\n").as_deref(), Some("a\nx\nb\n"));
        assert_eq!(inserted("a\na\n", "a", "x\n"), None);
        assert_eq!(inserted("a\n", "b", "x\n"), None);
    }

    #[test]
    fn what_is_said_is_sought_in_order() {
        assert_eq!(missing("1 one\nx\n2 two\n", "one\ntwo\n"), None);
        assert_eq!(missing("2 two\n1 one\n", "one\ntwo\n"), Some("two"));
        assert_eq!(missing("", "one\n"), Some("one"));
    }

    #[test]
    fn every_section_of_the_document_runs_something() {
        let path = workspace::root().join(DOCUMENT);
        let document = fs::read_to_string(path).unwrap();
        let mut count = 0;
        for (title, text) in sections(&document) {
            let blocks = blocks(text).unwrap();
            assert!(
                blocks.iter().any(|block| block.step == Step::Run),
                "{title}"
            );
            count += 1;
        }
        assert_eq!(count, 5, "program, service, driver, system call, board");
    }
}
