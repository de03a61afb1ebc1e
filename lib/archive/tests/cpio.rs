//! The cpio part can be read by others: by a newc reader written from the format's description, and by the `cpio`
//! program where the machine has it.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use capelin_archive::{ENTRY_LEN, HEADER_LEN, ModuleKind, ModuleSpec, Writer};

fn sample() -> Vec<u8> {
    let mut writer = Writer::new();
    for (name, data) in [
        ("one", vec![1; 10]),
        ("two", vec![]),
        ("three", vec![3; 4096]),
    ] {
        let spec = ModuleSpec {
            name: name.to_owned(),
            kind: ModuleKind::Raw,
            uses_fp: false,
            data,
        };
        writer.add(spec).unwrap();
    }
    let archive = writer.finish();
    archive[HEADER_LEN + 3 * ENTRY_LEN..].to_vec()
}

/// Name and data of every file, by the rules of "newc": all offsets count from the start of the cpio archive, names
/// and data are followed by NULs up to a multiple of four.
fn newc(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let whole = bytes.len();
    let mut files = Vec::new();
    loop {
        let (header, rest) = bytes.split_at(110);
        assert_eq!(&header[..6], b"070701");
        let field = |index: usize| {
            let digits = &header[6 + 8 * index..14 + 8 * index];
            usize::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap()
        };
        let (name, rest) = rest.split_at(field(11));
        let name = name.split(|&byte| byte == 0).next().unwrap();
        let name = String::from_utf8(name.to_vec()).unwrap();
        if name == "TRAILER!!!" {
            return files;
        }
        let align = |rest: &[u8]| (whole - rest.len()).next_multiple_of(4) - (whole - rest.len());
        let rest = &rest[align(rest)..];
        let (data, rest) = rest.split_at(field(6));
        files.push((name, data.to_vec()));
        bytes = &rest[align(rest)..];
    }
}

#[test]
fn a_newc_reader_finds_all_files() {
    let mut one = vec![1; 10];
    one.resize(4096, 0);
    let expected = [
        ("one".to_owned(), one),
        ("two".to_owned(), vec![]),
        ("three".to_owned(), vec![3; 4096]),
    ];
    assert_eq!(newc(&sample()), expected);
}

#[test]
#[ignore = "needs the cpio program"]
fn the_cpio_program_lists_all_files() {
    let child = Command::new("cpio")
        .args(["--list", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&sample()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one\ntwo\nthree\n");
}
