//! On cards whose tables and folders say what can't be.

use capelin_interfaces::files::{FileError, WriteMode};
use proptest::prelude::*;

use super::{Disk, REPLACE, START, names, text};
use crate::files::Files;

/// Where the tables begin in the disk's bytes, and where those of the top folder of [`Disk::fat16`].
fn fat16_places(bytes: &[u8]) -> (usize, usize) {
    let word = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let volume = START * 512;
    let tables = volume + word(volume + 14) * 512;
    (tables, tables + 2 * word(volume + 22) * 512)
}

/// Where the entry of short name `name` lies.
fn entry_of(bytes: &[u8], name: [u8; 11]) -> usize {
    let mut places = (START * 512..bytes.len()).step_by(32);
    places.find(|&at| bytes[at..at + 11] == name).unwrap()
}

/// Has the FAT16 entry of `cluster` say `next`, in both tables.
fn lead(bytes: &mut [u8], cluster: u16, next: u16) {
    let (tables, top) = fat16_places(bytes);
    for table in [tables, tables.midpoint(top)] {
        bytes[table + 2 * usize::from(cluster)..][..2].copy_from_slice(&next.to_le_bytes());
    }
}

#[test]
fn a_folder_that_bites_its_tail_ends() {
    let files = Files::new(Disk::fat16());
    files.make_folder("/d").unwrap();
    for n in 0..14 {
        files.write(&format!("/d/f{n}"), b"", REPLACE).unwrap();
    }
    files.write("/other", b"it", REPLACE).unwrap();
    // The folder's only cluster is full, so has no entry that ends it, and leads to itself; or to
    // what is no cluster: free, reserved, behind the last.
    let cluster = {
        let bytes = files.device().bytes.borrow();
        let at = entry_of(&bytes, *b"D          ");
        u16::from_le_bytes([bytes[at + 26], bytes[at + 27]])
    };
    let refused = FileError::NoFileSystem;
    for next in [cluster, 0, 1, 0xff00] {
        lead(&mut files.device().bytes.borrow_mut(), cluster, next);
        files.device().accesses.set(0);
        files.device().left.set(1_000_000);
        assert_eq!(files.list("/d", 0, 5).err(), Some(refused), "{next:#x}");
        assert_eq!(files.look_up("/d/none").err(), Some(refused));
        assert_eq!(files.read("/d/f1", 0, 1).err(), Some(refused));
        assert_eq!(files.write("/d/new", b"", REPLACE), Err(refused));
        assert_eq!(files.make_folder("/d/new"), Err(refused));
        assert_eq!(files.copy("/other", "/d/new"), Err(refused));
        assert_eq!(files.remove("/d"), Err(refused));
        assert!(files.device().accesses.get() < 100_000);
        assert_eq!(files.read("/other", 0, 9).unwrap(), b"it");
    }
    lead(&mut files.device().bytes.borrow_mut(), cluster, 0xffff);
    assert_eq!(names(&files, "/d").len(), 14);
}

#[test]
fn a_list_looks_no_further_than_it_is_asked() {
    let files = Files::new(Disk::fat16());
    files.make_folder("/d").unwrap();
    for n in 0..100 {
        files.write(&format!("/d/f{n}"), b"", REPLACE).unwrap();
    }
    let accesses = |operation: &dyn Fn()| {
        let before = files.device().accesses.get();
        operation();
        files.device().accesses.get() - before
    };
    let all = accesses(&|| assert_eq!(files.list("/d", 0, 200).unwrap().len(), 100));
    let first = accesses(&|| assert_eq!(files.list("/d", 0, 3).unwrap().len(), 3));
    let last = accesses(&|| assert_eq!(files.list("/d", 99, 3).unwrap().len(), 1));
    assert!(files.list("/d", 0, 0).unwrap().is_empty());
    assert!(files.list("/d", 100, 9).unwrap().is_empty());
    assert_eq!(files.list("/d", 5, 1).unwrap()[0].name, "F5");
    // 102 entries lie in seven clusters.
    assert!(first + 6 <= all && last <= all, "{first} {last} {all}");
    let near = accesses(&|| drop(files.look_up("/d/f0").unwrap()));
    let far = accesses(&|| drop(files.look_up("/d/f99").unwrap()));
    assert!(near + 6 <= far, "{near} {far}");
}

#[test]
fn an_entry_whose_cluster_is_none_is_refused() {
    for (disk, clusters) in [
        (Disk::fat16 as fn() -> Disk, [1, 0xffff, 0xfff0, 0x2000]),
        (Disk::fat32, [1, 0x4000_0003, 0xffff_fffc, 0x0fff_ffff]),
    ] {
        let files = Files::new(disk());
        files.write("/b.txt", &text(2, 5000), REPLACE).unwrap();
        files.make_folder("/d").unwrap();
        for cluster in clusters.into_iter().chain([0_u32]) {
            for name in [*b"B       TXT", *b"D          "] {
                let mut bytes = files.device().bytes.borrow_mut();
                let at = entry_of(&bytes, name);
                let [a, b, c, d] = cluster.to_le_bytes();
                bytes[at + 26..at + 28].copy_from_slice(&[a, b]);
                bytes[at + 20..at + 22].copy_from_slice(&[c, d]);
            }
            let refused = FileError::NoFileSystem;
            let read = files.read("/b.txt", 4000, 10);
            assert_eq!(read, Err(refused), "{cluster:#x}");
            assert_eq!(files.copy("/b.txt", "/c.txt"), Err(refused));
            let append = WriteMode::Append;
            assert_eq!(files.write("/b.txt", b"more", append), Err(refused));
            assert_eq!(files.write("/b.txt", b"other", REPLACE), Err(refused));
            assert_eq!(files.list("/d", 0, 9).err(), Some(refused));
            assert_eq!(files.make_folder("/d/e"), Err(refused));
            assert_eq!(files.remove("/d"), Err(refused));
            assert_eq!(files.list("/", 0, 9).unwrap().len(), 2, "the rest is there");
        }
    }
}

/// What of a file is there can be read, and nothing of what isn't its.
#[test]
fn a_file_that_is_shorter_than_it_says_is_read_as_far_as_it_goes() {
    let files = Files::new(Disk::fat16());
    files.write("/a", &text(3, 2000), REPLACE).unwrap();
    {
        let mut bytes = files.device().bytes.borrow_mut();
        let at = entry_of(&bytes, *b"A          ");
        bytes[at + 28..at + 32].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    let part = files.read("/a", 500, 1000).unwrap();
    assert_eq!(part, text(3, 2000)[500..1500]);
    files.device().accesses.set(0);
    let refused = Err(FileError::NoFileSystem);
    assert_eq!(files.read("/a", 3000, 10), refused);
    assert_eq!(files.read("/a", u32::MAX - 10, 10), refused);
    assert_eq!(files.copy("/a", "/b"), refused.clone().map(drop));
    // A ring: the bytes would have no end either.
    lead(&mut files.device().bytes.borrow_mut(), 2, 2);
    assert_eq!(files.read("/a", u32::MAX - 10, 10), refused);
    assert!(files.device().accesses.get() < 1000);
    assert_eq!(names(&files, "/"), ["A"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever bytes of tables and folders are damaged, each operation ends, soon, and none panics.
    #[test]
    fn a_damaged_card_ends_nothing(
        is_32 in prop::bool::ANY,
        damage in prop::collection::vec(
            (0..4_usize, 0..512_usize, prop::num::u8::ANY), 1..6),
    ) {
        let files = Files::new(if is_32 { Disk::fat32() } else { Disk::fat16() });
        files.make_folder("/d").unwrap();
        for n in 0..20 {
            files.write(&format!("/d/f{n}"), &text(1, 40 * n), REPLACE).unwrap();
        }
        files.write("/d/long", &text(1, 3000), REPLACE).unwrap();
        {
            let mut bytes = files.device().bytes.borrow_mut();
            let word = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
            let table = START * 512 + 512 * word(START * 512 + 14);
            let places = [
                START * 512,
                table,
                entry_of(&bytes, *b"D          ") / 512 * 512,
                entry_of(&bytes, *b"F1         ") / 512 * 512,
            ];
            for (place, at, byte) in damage {
                // Of a table, what is in use.
                let at = if place == 1 { at % 160 } else { at };
                bytes[places[place] + at] = byte;
            }
        }
        let paths = ["/d", "/d/f0", "/d/f1", "/d/f19", "/d/long", "/none"];
        for path in paths {
            files.device().left.set(200_000);
            let _ = files.list(path, 0, 5);
            let _ = files.list(path, 10, u32::MAX);
            let _ = files.look_up(path);
            let _ = files.read(path, 0, 100);
            let _ = files.read(path, 2900, 100);
            let _ = files.read(path, u32::MAX - 5, 100);
            prop_assert!(files.device().left.get() > 100_000);
        }
        for path in paths {
            files.device().left.set(2_000_000);
            let _ = files.write(path, b"more", WriteMode::Append);
            let _ = files.copy(path, "/copy");
            let _ = files.write(path, b"other", REPLACE);
            let _ = files.make_folder(&format!("{path}/x"));
            let _ = files.remove(path);
            prop_assert!(files.device().left.get() > 1_000_000);
        }
    }
}
