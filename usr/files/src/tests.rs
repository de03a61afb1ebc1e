//! On a disk in memory that has bad sectors, fills up, and is pulled; what is on it is read by another
//! implementation of FAT (`fatfs`) as well.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Cursor, Read as _, Write as _};

use capelin_interfaces::files::{FileError, WriteMode};
use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx};

use crate::files::{Files, Medium};

mod damaged;

const START: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Gone,
    Bad,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Fault {}

struct Disk {
    bytes: RefCell<Vec<u8>>,
    bad: RefCell<BTreeSet<u32>>,
    /// Accesses until it is pulled.
    left: Cell<u64>,
    accesses: Cell<u64>,
}

impl Disk {
    fn new(kind: u8, blocks: usize, options: fatfs::FormatVolumeOptions) -> Self {
        let mut bytes = vec![0; (START + blocks) * 512];
        let entry = &mut bytes[446..462];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&u32::try_from(START).unwrap().to_le_bytes());
        entry[12..16].copy_from_slice(&u32::try_from(blocks).unwrap().to_le_bytes());
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        fatfs::format_volume(Cursor::new(&mut bytes[START * 512..]), options).unwrap();
        Self {
            bytes: RefCell::new(bytes),
            bad: RefCell::default(),
            left: Cell::new(u64::MAX),
            accesses: Cell::new(0),
        }
    }

    /// Some 4,200 clusters of 512 bytes, few files in the top folder.
    fn fat16() -> Self {
        let options = fatfs::FormatVolumeOptions::new()
            .fat_type(fatfs::FatType::Fat16)
            .bytes_per_cluster(512)
            .volume_label(*b"FILES      ");
        Self::new(0x0e, 4300, options)
    }

    fn fat32() -> Self {
        let options = fatfs::FormatVolumeOptions::new()
            .fat_type(fatfs::FatType::Fat32)
            .bytes_per_cluster(512);
        Self::new(0x0c, 70_000, options)
    }

    fn access(&self, start: BlockIdx, count: usize) -> Result<std::ops::Range<usize>, Fault> {
        self.accesses.set(self.accesses.get() + 1);
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(Fault::Gone);
        };
        self.left.set(left);
        let end = start.0 + u32::try_from(count).unwrap();
        if self.bad.borrow().range(start.0..end).next().is_some() {
            return Err(Fault::Bad);
        }
        let bytes = start.0 as usize * 512..end as usize * 512;
        if bytes.end > self.bytes.borrow().len() {
            return Err(Fault::Bad);
        }
        Ok(bytes)
    }

    /// All files with what they hold, as `fatfs` reads them; and its count of free clusters.
    fn seen_by_others(&self) -> (BTreeMap<String, Vec<u8>>, u32) {
        fn walk<T: fatfs::ReadWriteSeek>(
            folder: &fatfs::Dir<'_, T>,
            path: &str,
            all: &mut BTreeMap<String, Vec<u8>>,
        ) {
            for entry in folder.iter().map(Result::unwrap) {
                let name = entry.file_name();
                if name == "." || name == ".." {
                    continue;
                }
                let path = format!("{path}/{name}");
                if entry.is_dir() {
                    walk(&entry.to_dir(), &path, all);
                    all.insert(path + "/", Vec::new());
                } else {
                    let mut bytes = Vec::new();
                    entry.to_file().read_to_end(&mut bytes).unwrap();
                    all.insert(path, bytes);
                }
            }
        }
        let mut bytes = self.bytes.borrow()[START * 512..].to_vec();
        let volume =
            fatfs::FileSystem::new(Cursor::new(&mut bytes), fatfs::FsOptions::new()).unwrap();
        let mut all = BTreeMap::new();
        walk(&volume.root_dir(), "", &mut all);
        let free = free_clusters(&self.bytes.borrow()[START * 512..]);
        (all, free)
    }
}

/// Counted here, from the first table.
fn free_clusters(volume: &[u8]) -> u32 {
    let word = |at: usize| u32::from(u16::from_le_bytes([volume[at], volume[at + 1]]));
    let tables = word(14) as usize * 512;
    let is_16 = word(22) != 0;
    let sectors = if is_16 { word(22) } else { word(36) } as usize;
    let reserved = word(14) + 2 * u32::try_from(sectors).unwrap() + word(17) / 16;
    let total = if word(19) != 0 {
        word(19)
    } else {
        word(32) | word(34) << 16
    };
    let clusters = (total - reserved) / u32::from(volume[13]);
    let width = if is_16 { 2 } else { 4 };
    let first = &volume[tables..][..sectors * 512];
    let second = &volume[tables + sectors * 512..][..sectors * 512];
    assert!(first == second, "both tables say the same");
    let entries = first.chunks_exact(width).skip(2).take(clusters as usize);
    u32::try_from(
        entries
            .filter(|it| it.iter().all(|&byte| byte == 0))
            .count(),
    )
    .unwrap()
}

impl BlockDevice for Disk {
    type Error = Fault;

    fn read(&self, blocks: &mut [Block], start: BlockIdx) -> Result<(), Fault> {
        let range = self.access(start, blocks.len())?;
        let bytes = self.bytes.borrow();
        for (block, bytes) in blocks.iter_mut().zip(bytes[range].chunks_exact(512)) {
            block.contents.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn write(&self, blocks: &[Block], start: BlockIdx) -> Result<(), Fault> {
        let range = self.access(start, blocks.len())?;
        let mut bytes = self.bytes.borrow_mut();
        for (block, bytes) in blocks.iter().zip(bytes[range].chunks_exact_mut(512)) {
            bytes.copy_from_slice(&block.contents);
        }
        Ok(())
    }

    fn num_blocks(&self) -> Result<BlockCount, Fault> {
        let blocks = self.bytes.borrow().len() / 512;
        Ok(BlockCount(u32::try_from(blocks).unwrap()))
    }
}

impl Medium for Disk {
    fn is_gone(error: &Fault) -> bool {
        *error == Fault::Gone
    }
}

fn text(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at / 7 + at).to_le_bytes()[0] ^ seed)
        .collect()
}

fn whole(files: &Files<Disk>, path: &str) -> Result<Vec<u8>, FileError> {
    let mut all = Vec::new();
    loop {
        let part = files.read(path, u32::try_from(all.len()).unwrap(), 5000)?;
        if part.is_empty() {
            return Ok(all);
        }
        all.extend(part);
    }
}

fn names(files: &Files<Disk>, path: &str) -> Vec<String> {
    let list = files.list(path, 0, 1000).unwrap();
    list.into_iter().map(|entry| entry.name).collect()
}

const REPLACE: WriteMode = WriteMode::Replace;

#[test]
fn files_are_written_read_copied_and_removed() {
    for disk in [Disk::fat16(), Disk::fat32()] {
        let files = Files::new(disk);
        let before = files.space().unwrap();
        assert_eq!(
            before.free / 512,
            files.device().seen_by_others().1.into(),
            "free clusters"
        );
        files.make_folder("/logs").unwrap();
        files
            .write("logs/a.txt", &text(1, 70_000), REPLACE)
            .unwrap();
        files.write("/b.txt", b"short", REPLACE).unwrap();
        files
            .write("b.txt", b" and more", WriteMode::Append)
            .unwrap();
        files.copy("logs/a.txt", "c.txt").unwrap();
        files.write("c.txt", b"", WriteMode::Append).unwrap();
        assert_eq!(whole(&files, "LOGS/A.TXT").unwrap(), text(1, 70_000));
        assert_eq!(whole(&files, "b.txt").unwrap(), b"short and more");
        assert_eq!(whole(&files, "//./c.txt").unwrap(), text(1, 70_000));
        assert_eq!(names(&files, "/"), ["LOGS", "B.TXT", "C.TXT"]);
        let (seen, free) = files.device().seen_by_others();
        assert_eq!(seen["/C.TXT"], text(1, 70_000));
        assert_eq!(seen["/LOGS/A.TXT"], text(1, 70_000));
        assert_eq!(files.space().unwrap().free / 512, free.into());
        // Shorter than before: the rest is free again.
        files.write("c.txt", b"x", REPLACE).unwrap();
        assert_eq!(whole(&files, "c.txt").unwrap(), b"x");
        for path in ["c.txt", "b.txt", "logs/a.txt", "logs"] {
            files.remove(path).unwrap();
        }
        assert_eq!(files.space().unwrap(), before, "all clusters are back");
        assert_eq!(files.device().seen_by_others().0.len(), 0);
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let files = Files::new(Disk::fat16());
    files.make_folder("d").unwrap();
    files.write("d/f", b"1", REPLACE).unwrap();
    assert_eq!(files.read("x", 0, 1), Err(FileError::NotFound));
    assert_eq!(files.read("d", 0, 1), Err(FileError::IsFolder));
    assert_eq!(files.read("/", 0, 1), Err(FileError::IsFolder));
    assert_eq!(files.list("d/f", 0, 1), Err(FileError::NotFolder));
    assert_eq!(files.list("d/f/g", 0, 1), Err(FileError::NotFolder));
    assert_eq!(files.remove("d"), Err(FileError::NotEmpty));
    assert_eq!(files.remove("e"), Err(FileError::NotFound));
    assert_eq!(files.make_folder("d"), Err(FileError::Exists));
    assert_eq!(files.make_folder("d/f"), Err(FileError::Exists));
    assert_eq!(files.write("d", b"", REPLACE), Err(FileError::IsFolder));
    assert_eq!(files.copy("d/f", "d/f"), Err(FileError::Exists));
    assert_eq!(whole(&files, "d/f").unwrap(), b"1");
    let long = "a name that is too long.text";
    assert_eq!(files.write(long, b"", REPLACE), Err(FileError::BadName));
    // There is no way out of the top.
    assert!(files.list("../..", 0, 9).is_err());
    assert_eq!(files.read("d/f", 1, 9).unwrap(), b"");
    assert_eq!(files.read("d/f", u32::MAX, 9).unwrap(), b"");
}

#[test]
fn long_names_of_others_are_found() {
    let disk = Disk::fat16();
    {
        let mut bytes = disk.bytes.borrow_mut();
        let volume = Cursor::new(&mut bytes[START * 512..]);
        let volume = fatfs::FileSystem::new(volume, fatfs::FsOptions::new()).unwrap();
        let root = volume.root_dir();
        let mut file = root.create_file("A long name with spaces.text").unwrap();
        file.write_all(b"from elsewhere").unwrap();
    }
    let files = Files::new(disk);
    assert_eq!(names(&files, "/"), ["A long name with spaces.text"]);
    let name = "a long name with spaces.TEXT";
    assert_eq!(whole(&files, name).unwrap(), b"from elsewhere");
    files.write(name, b"!", WriteMode::Append).unwrap();
    assert_eq!(whole(&files, name).unwrap(), b"from elsewhere!");
}

#[test]
fn a_full_card_keeps_what_it_has() {
    let files = Files::new(Disk::fat16());
    files.write("kept", &text(3, 10_000), REPLACE).unwrap();
    let before = files.space().unwrap();
    let too_much = text(4, 4400 * 512);
    assert_eq!(files.write("big", &too_much, REPLACE), Err(FileError::Full));
    assert_eq!(names(&files, "/"), ["KEPT"]);
    assert_eq!(files.space().unwrap(), before);
    // To the last cluster that may be taken, and then not one more.
    let rest = usize::try_from(before.free).unwrap() - 2 * 512;
    files.write("rest", &text(5, rest), REPLACE).unwrap();
    assert_eq!(files.space().unwrap().free, 2 * 512);
    assert_eq!(files.write("one", b"1", REPLACE), Err(FileError::Full));
    assert_eq!(files.write("none", b"", REPLACE), Err(FileError::Full));
    // What is left of its last cluster.
    files.write("kept", b"!", WriteMode::Append).unwrap();
    assert_eq!(files.make_folder("f"), Err(FileError::Full));
    assert_eq!(files.copy("kept", "copy"), Err(FileError::Full));
    assert_eq!(names(&files, "/"), ["KEPT", "REST"]);
    let kept = [text(3, 10_000).as_slice(), b"!"].concat();
    assert_eq!(whole(&files, "kept").unwrap(), kept);
    assert_eq!(whole(&files, "rest").unwrap(), text(5, rest));
    files.remove("rest").unwrap();
    assert_eq!(files.space().unwrap(), before);
}

#[test]
fn what_is_replaced_without_room_stays() {
    for spare in [0, 1, 2, 5] {
        let files = Files::new(Disk::fat16());
        let old = text(3, 20 * 512);
        files.write("old", &old, REPLACE).unwrap();
        let free = usize::try_from(files.space().unwrap().free).unwrap() / 512;
        let rest = vec![7; (free - 2 - spare) * 512];
        files.write("rest", &rest, REPLACE).unwrap();
        let full = files.space().unwrap();
        for clusters in 15..30 {
            let new = text(4, clusters * 512);
            let written = files.write("old", &new, REPLACE);
            if clusters <= 20 + spare {
                assert_eq!(written, Ok(()), "{clusters} clusters");
                assert_eq!(whole(&files, "old").unwrap(), new);
                files.write("old", &old, REPLACE).unwrap();
            } else {
                assert_eq!(written, Err(FileError::Full), "{clusters} clusters");
            }
            assert_eq!(whole(&files, "old").unwrap(), old);
            assert_eq!(files.space().unwrap(), full);
        }
        assert_eq!(files.copy("rest", "old"), Err(FileError::Full));
        assert_eq!(whole(&files, "old").unwrap(), old);
    }
}

#[test]
fn a_bad_sector_costs_its_file_only() {
    let files = Files::new(Disk::fat16());
    files.write("a", &text(1, 3000), REPLACE).unwrap();
    files.write("b", &text(2, 3000), REPLACE).unwrap();
    let place = {
        let bytes = files.device().bytes.borrow();
        let wanted = text(1, 3000);
        let mut blocks = bytes.chunks_exact(512);
        blocks
            .position(|block| block == &wanted[512..1024])
            .unwrap()
    };
    files
        .device()
        .bad
        .borrow_mut()
        .insert(u32::try_from(place).unwrap());
    assert_eq!(whole(&files, "a"), Err(FileError::Medium));
    assert_eq!(whole(&files, "b").unwrap(), text(2, 3000));
    assert_eq!(files.copy("a", "c"), Err(FileError::Medium));
    assert_eq!(names(&files, "/"), ["A", "B"]);
    files.write("d", b"new", REPLACE).unwrap();
    files.remove("a").unwrap();
    assert_eq!(whole(&files, "d").unwrap(), b"new");
}

/// Pulled at each access in turn: an error, the other files as they were, no cluster that two have.
#[test]
fn a_card_that_is_pulled_loses_nothing_else() {
    type Change = fn(&Files<Disk>) -> Result<(), FileError>;
    let changes: [Change; 5] = [
        |files| files.write("new", &text(9, 5000), REPLACE),
        |files| files.write("old", &text(9, 900), REPLACE),
        |files| files.copy("kept", "new"),
        |files| files.remove("old"),
        |files| files.make_folder("folder"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut at = 0;
        loop {
            let files = Files::new(Disk::fat16());
            files.write("old", &text(1, 4000), REPLACE).unwrap();
            files.write("kept", &text(2, 4000), REPLACE).unwrap();
            files.device().left.set(at);
            let result = change(&files);
            files.device().left.set(u64::MAX);
            if result.is_ok() {
                break;
            }
            assert_eq!(result, Err(FileError::NoMedium), "change {number} at {at}");
            assert_eq!(whole(&files, "kept").unwrap(), text(2, 4000));
            // What is left of the others, nobody stumbles over; a new file shares nothing with them.
            files.write("after", &text(7, 20_000), REPLACE).unwrap();
            assert_eq!(whole(&files, "kept").unwrap(), text(2, 4000));
            assert_eq!(whole(&files, "after").unwrap(), text(7, 20_000));
            if number != 1 && number != 3 {
                assert_eq!(
                    whole(&files, "old").unwrap(),
                    text(1, 4000),
                    "{number} at {at}"
                );
            }
            at += 1;
        }
        assert!(at > 8, "change {number} was pulled at {at} places");
    }
}

#[test]
fn another_card_is_another_card() {
    let files = Files::new(Disk::fat16());
    files.write("first", b"1", REPLACE).unwrap();
    let other = Files::new(Disk::fat32());
    other.write("second", b"2", REPLACE).unwrap();
    files.device().bytes.swap(&other.device().bytes);
    assert_eq!(names(&files, "/"), ["SECOND"]);
    assert_eq!(names(&other, "/"), ["FIRST"]);
}

#[test]
fn what_is_no_file_system_is_refused() {
    let with = |change: fn(&mut [u8])| {
        let disk = Disk::fat16();
        change(&mut disk.bytes.borrow_mut());
        let files = Files::new(disk);
        let list = files.list("/", 0, 9).map(drop);
        assert_eq!(files.space().map(drop), list);
        list
    };
    const BOOT: usize = START * 512;
    assert_eq!(with(|_| {}), Ok(()));
    let refused = Err(FileError::NoFileSystem);
    assert_eq!(with(|bytes| bytes[510] = 0), refused, "no partition table");
    assert_eq!(with(|bytes| bytes[450] = 0x83), refused, "another system's");
    assert_eq!(
        with(|bytes| bytes[460] = 0xff),
        refused,
        "more than the disk"
    );
    assert_eq!(with(|bytes| bytes[BOOT + 510] = 0), refused);
    assert_eq!(with(|bytes| bytes[BOOT + 12] = 4), refused, "other sectors");
    assert_eq!(with(|bytes| bytes[BOOT + 13] = 0), refused, "no clusters");
    assert_eq!(with(|bytes| bytes[BOOT + 16] = 0), refused, "no tables");
    assert_eq!(with(|bytes| bytes[BOOT + 22] = 1), refused, "a short table");
    assert_eq!(
        with(|bytes| bytes[BOOT + 13] = 128),
        refused,
        "too few clusters"
    );
}

#[test]
fn a_chain_that_bites_its_tail_ends() {
    let disk = Disk::fat16();
    let files = Files::new(disk);
    files.write("loop", &text(1, 2000), REPLACE).unwrap();
    {
        let mut bytes = files.device().bytes.borrow_mut();
        let table = START * 512
            + 512
                * usize::from(u16::from_le_bytes([
                    bytes[START * 512 + 14],
                    bytes[START * 512 + 15],
                ]));
        // Clusters 2 to 5: the last leads back to the first.
        bytes[table + 10..table + 12].copy_from_slice(&[2, 0]);
    }
    files.remove("loop").unwrap();
    assert_eq!(names(&files, "/"), [""; 0]);
}
