//! No circles among the modules of the CPU driver: what uses what is an order, in which it can be read.
//!
//! A module is a file. It uses another when its code names a path into it, by `crate::`, by `super::`, or by the name of
//! a module that it declares. Where a folder's `mod.rs` and a file below it use each other, that is a circle, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Violation, files_below, read, relative};
use crate::error::Result;

/// The members whose modules form no circle.
const MEMBERS: [&str; 2] = ["cpudriver", "cpudriver/core"];

/// A module's path in its crate; the root's is empty.
type Module = Vec<String>;

/// The circles in `folder`, a member of the workspace.
///
/// # Errors
/// If its files can't be read.
pub(super) fn violations(folder: &Path) -> Result<Vec<Violation>> {
    let place = relative(folder);
    if !MEMBERS.contains(&place.as_str()) {
        return Ok(Vec::new());
    }
    let source = folder.join("src");
    let mut texts = BTreeMap::new();
    for file in files_below(&source, "rs")? {
        let path = file.strip_prefix(&source).unwrap_or(&file);
        texts.insert(module_of(path), read(&file)?);
    }
    let tests: Vec<Module> = texts
        .iter()
        .flat_map(|(module, text)| tests_of(module, text))
        .collect();
    texts.retain(|module, _| !tests.contains(module));
    Ok(circles(&texts)
        .into_iter()
        .map(|circle| Violation::new(place.clone(), format!("import circle: {circle}")))
        .collect())
}

/// The module that the file at `path` (from the crate's `src`) holds.
fn module_of(path: &Path) -> Module {
    let mut module: Module = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if matches!(
        module.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        module.pop();
    }
    module
}

/// The files that `module` declares for its tests only.
fn tests_of(module: &Module, text: &str) -> Vec<Module> {
    let declared = text.split("#[cfg(test)]\nmod ").skip(1);
    let names = declared.filter_map(|rest| rest.split_once(['{', ';']));
    names
        .filter(|(name, _)| !name.contains(' '))
        .map(|(name, _)| module.iter().cloned().chain([name.to_owned()]).collect())
        .collect()
}

/// Each set of modules that reach each other, with the edges between them.
fn circles(texts: &BTreeMap<Module, String>) -> Vec<String> {
    let edges: BTreeMap<&Module, BTreeSet<Module>> = texts
        .iter()
        .map(|(module, text)| {
            let used = paths(module, text)
                .into_iter()
                .map(|path| resolve(texts, path))
                .filter(|used| used != module && !used.is_empty());
            (module, used.collect())
        })
        .collect();
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = edges
        .keys()
        .map(|&module| (module, reachable(&edges, module)))
        .collect();
    let mut circles = BTreeSet::new();
    for (module, others) in &reached {
        let circle: BTreeSet<&Module> = others
            .iter()
            .copied()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(module)))
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles
        .into_iter()
        .map(|circle| {
            let inside = circle.iter().flat_map(|&from| {
                let to = edges.get(from).into_iter().flatten();
                to.filter(|to| circle.contains(to))
                    .map(|to| format!("{} → {}", from.join("::"), to.join("::")))
            });
            inside.collect::<Vec<_>>().join(", ")
        })
        .collect()
}

/// The modules that `from` uses, directly or not; itself only by a circle.
fn reachable<'a>(
    edges: &'a BTreeMap<&'a Module, BTreeSet<Module>>,
    from: &Module,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<&Module> = edges.get(from).into_iter().flatten().collect();
    while let Some(module) = left.pop() {
        if reached.insert(module) {
            left.extend(edges.get(module).into_iter().flatten());
        }
    }
    reached
}

/// The module in which `path` ends: its longest beginning that is one.
fn resolve(texts: &BTreeMap<Module, String>, mut path: Module) -> Module {
    while !texts.contains_key(&path) && !path.is_empty() {
        path.pop();
    }
    path
}

/// The paths into its own crate that the text of `module` names, from the crate's root. Its tests don't count.
fn paths(module: &Module, text: &str) -> Vec<Module> {
    let tests = text.find("#[cfg(test)]\nmod tests {");
    let text = text.get(..tests.unwrap_or(text.len())).unwrap_or(text);
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n");
    let parent = module.split_last().map_or(&[][..], |(_, parent)| parent);
    let mut found = Vec::new();
    let mut begin = |word: &str, base: &[String]| {
        for (at, _) in code.match_indices(word) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| !is_name(c) && c != ':') {
                expand(base, &code[at + word.len()..], &mut found);
            }
        }
    };
    begin("crate::", &[]);
    begin("super::", parent);
    begin("self::", module);
    for line in code.lines() {
        let declared = line
            .trim()
            .strip_suffix(';')
            .and_then(|line| line.rsplit_once("mod "))
            .filter(|(before, _)| matches!(*before, "" | "pub " | "pub(crate) " | "pub(super) "));
        if let Some((_, name)) = declared {
            let child: Module = module.iter().cloned().chain([name.to_owned()]).collect();
            begin(&format!("{name}::"), &child);
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Adds the paths that begin with `base` and go on as `rest` does: a name, or names in braces. Returns the bytes read.
fn expand(base: &[String], rest: &str, found: &mut Vec<Module>) -> usize {
    if let Some(group) = rest.strip_prefix('{') {
        let mut at = 0;
        loop {
            let skipped = group[at..].find(|c: char| !c.is_whitespace() && c != ',');
            at += skipped.unwrap_or(group.len() - at);
            if group[at..].is_empty() || group[at..].starts_with('}') {
                return at + 2;
            }
            let read = expand(base, &group[at..], found);
            // What no path begins with ends the group.
            if read == 0 {
                return at + 1;
            }
            at += read;
            let renamed = group[at..].find([',', '}']);
            at += renamed.unwrap_or(group.len() - at);
        }
    }
    let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    let path: Module = base
        .iter()
        .cloned()
        .chain((!name.is_empty()).then(|| name.to_owned()))
        .collect();
    match after.strip_prefix("::") {
        Some(after) if !name.is_empty() && name != "self" => end + 2 + expand(&path, after, found),
        _ => {
            found.push(if name == "self" { base.to_vec() } else { path });
            end
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_of(files: &[(&str, &str)]) -> Vec<String> {
        let texts = files
            .iter()
            .map(|(path, text)| (module_of(Path::new(path)), (*text).to_owned()));
        circles(&texts.collect())
    }

    #[test]
    fn an_order_has_no_circle() {
        let found = crate_of(&[
            ("lib.rs", "pub mod a;\npub mod b;\nmod c;\n"),
            ("a.rs", "use crate::b::{self, c::D, E};\nuse core::fmt;\n"),
            ("b/mod.rs", "pub mod c;\nuse c::D;\n"),
            ("b/c.rs", "// use crate::a;\npub struct D;\n"),
            ("c.rs", "fn f() { crate::a::g() }\n"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn circles_are_found_however_they_are_named() {
        for (first, second) in [
            ("use crate::b;", "use crate::a::X;"),
            (
                "use crate::{c, b::{Y, Z as W}};",
                "use crate::{\n    a,\n};",
            ),
            ("fn f() { crate::b::g() }", "use super::a::X;"),
            ("use crate::{c::{self}, b};", "type X = super::a::X;"),
        ] {
            let found = crate_of(&[("a.rs", first), ("b.rs", second), ("c.rs", "")]);
            assert_eq!(found, ["a → b, b → a"], "{first} {second}");
        }
    }

    #[test]
    fn a_circle_may_be_long() {
        let found = crate_of(&[
            ("a.rs", "use crate::b;"),
            ("b.rs", "use crate::c;"),
            ("c.rs", "use crate::a;"),
            ("d.rs", "use crate::a;"),
        ]);
        assert_eq!(found, ["a → b, b → c, c → a"]);
    }

    #[test]
    fn a_folder_and_its_file_are_a_circle() {
        let files = [
            ("a/mod.rs", "mod b;\nfn f() { b::g() }\nstruct X;"),
            ("a/b.rs", "use super::X;"),
        ];
        assert_eq!(crate_of(&files), ["a → a::b, a::b → a"]);
    }

    #[test]
    fn tests_and_comments_import_what_they_like() {
        let found = crate_of(&[
            ("a.rs", "use crate::b;"),
            (
                "b.rs",
                "//! [`crate::a`]\n#[cfg(test)]\nmod tests { use crate::a; }",
            ),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }
}
