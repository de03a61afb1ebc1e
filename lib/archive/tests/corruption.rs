//! What a damaged or hostile archive does to the reader: a typed error, or the one bad module's name; never a panic.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use capelin_archive::{
    Archive, ArchiveError, ENTRY_LEN, HEADER_LEN, MAX_MODULES, ModuleKind, ModuleSpec, PAGE_SIZE,
    WriteError, Writer, crc32c, total_length,
};
use proptest::prelude::*;

const PAGE: usize = 4096;

fn spec(name: &str, data: &[u8]) -> ModuleSpec {
    ModuleSpec {
        name: name.to_owned(),
        kind: ModuleKind::Elf,
        uses_fp: false,
        data: data.to_vec(),
    }
}

fn archive_of(modules: &[ModuleSpec]) -> Vec<u8> {
    let mut writer = Writer::new();
    for module in modules {
        writer.add(module.clone()).unwrap();
    }
    writer.finish()
}

fn small() -> Vec<u8> {
    archive_of(&[
        spec("init", &[0xa5; 3000]),
        spec("empty", &[]),
        spec("usr/fish", b"a page of its own"),
    ])
}

/// Puts right checksums over changed fields, as a hostile maker of archives would.
fn reseal(archive: &mut [u8]) {
    let count = u32::from_le_bytes(archive[24..28].try_into().unwrap()) as usize;
    if let Some(directory) = archive.get(HEADER_LEN..HEADER_LEN + count.min(2000) * ENTRY_LEN) {
        let crc = crc32c(directory);
        archive[28..32].copy_from_slice(&crc.to_le_bytes());
    }
    archive[12..16].fill(0);
    let crc = crc32c(&archive[..HEADER_LEN]);
    archive[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// Uses all that a parsed archive offers.
fn walk(bytes: &[u8]) {
    let Ok(archive) = Archive::parse(bytes) else {
        return;
    };
    for module in archive.modules() {
        let _ = module.verify();
        assert!(module.offset() + module.padded_data().len() <= archive.total_length());
        assert!(module.data().len() <= module.padded_data().len());
        assert!(archive.find(module.name()).is_some());
    }
}

#[test]
fn reads_what_was_written() {
    let bytes = small();
    let archive = Archive::parse(&bytes).unwrap();
    assert_eq!(archive.total_length(), bytes.len());
    assert_eq!(total_length(&bytes[..HEADER_LEN]), Ok(bytes.len() as u64));
    let names: Vec<_> = archive.modules().map(|module| module.name()).collect();
    assert_eq!(names, ["init", "empty", "usr/fish"]);
    let init = archive.find("init").unwrap();
    assert_eq!(init.data(), [0xa5; 3000]);
    assert_eq!(init.padded_data().len(), PAGE);
    assert!(init.padded_data()[3000..].iter().all(|&byte| byte == 0));
    assert!(archive.find("ini").is_none());
    assert!(
        archive
            .modules()
            .all(|module| module.verify().is_ok() && module.offset().is_multiple_of(PAGE))
    );
}

#[test]
fn bytes_behind_the_archive_are_not_its_own() {
    let mut bytes = small();
    let length = bytes.len();
    bytes.extend_from_slice(&[0xff; 777]);
    assert_eq!(Archive::parse(&bytes).unwrap().total_length(), length);
}

#[test]
fn kind_and_flag_survive() {
    for (kind, uses_fp) in [
        (ModuleKind::Raw, false),
        (ModuleKind::Flat, true),
        (ModuleKind::Elf, false),
        (ModuleKind::Kernel, false),
    ] {
        let bytes = archive_of(&[ModuleSpec {
            kind,
            uses_fp,
            ..spec("x", b"y")
        }]);
        let archive = Archive::parse(&bytes).unwrap();
        let module = archive.find("x").unwrap();
        assert_eq!((module.kind(), module.uses_fp()), (kind, uses_fp));
    }
}

#[test]
fn writer_refuses_what_the_format_cannot_say() {
    let mut writer = Writer::new();
    writer.add(spec("twice", b"1")).unwrap();
    let again = writer.add(spec("twice", b"2"));
    assert_eq!(again, Err(WriteError::DuplicateName("twice".to_owned())));
    for name in ["", "with space", "umläut", &"x".repeat(48)] {
        let refused = writer.add(spec(name, b""));
        assert_eq!(refused, Err(WriteError::BadName(name.to_owned())));
    }
    writer.add(spec(&"x".repeat(47), b"")).unwrap();
    for index in 2..MAX_MODULES {
        writer.add(spec(&format!("m{index}"), b"")).unwrap();
    }
    let surplus = writer.add(spec("surplus", b""));
    assert_eq!(surplus, Err(WriteError::TooManyModules));
    let bytes = writer.finish();
    let archive = Archive::parse(&bytes).unwrap();
    assert_eq!(archive.modules().count(), MAX_MODULES as usize);
}

#[test]
fn every_single_bit_flip_is_noticed_where_it_matters() {
    let good = small();
    let archive = Archive::parse(&good).unwrap();
    let directory_end = HEADER_LEN + 3 * ENTRY_LEN;
    let mut bytes = good.clone();
    for bit in 0..good.len() * 8 {
        let at = bit / 8;
        bytes[at] ^= 1 << (bit % 8);
        let owner = archive.modules().find(|module| {
            (module.offset()..module.offset() + module.padded_data().len()).contains(&at)
        });
        match (Archive::parse(&bytes), owner) {
            (Err(_), None) => assert!(at < directory_end, "byte {at} refuses the archive"),
            (Ok(damaged), Some(owner)) => {
                let is_bad = |name| damaged.find(name).unwrap().verify().is_err();
                assert!(is_bad(owner.name()), "byte {at}, bit {}", bit % 8);
                // The others' data doesn't depend on the bit: once a byte is enough.
                let mut others = damaged.modules().filter(|_| bit % 8 == 0);
                assert!(others.all(|other| (other.name() == owner.name()) == is_bad(other.name())));
            }
            // The cpio headers are for people; the reader believes the directory.
            (Ok(_), None) => assert!(at >= directory_end, "byte {at} goes unnoticed"),
            (Err(error), Some(owner)) => panic!("byte {at} of {}: {error}", owner.name()),
        }
        bytes[at] = good[at];
    }
}

#[test]
fn every_truncation_is_noticed() {
    let bytes = small();
    for length in 0..bytes.len() {
        let given = length as u64;
        let needed = if length < HEADER_LEN {
            HEADER_LEN as u64
        } else {
            bytes.len() as u64
        };
        let refused = Archive::parse(&bytes[..length]).err();
        assert_eq!(refused, Some(ArchiveError::Truncated { needed, given }));
    }
}

#[test]
fn foreign_bytes_are_told_apart() {
    assert_eq!(
        Archive::parse(&[0; 4096]).err(),
        Some(ArchiveError::BadMagic)
    );
    let mut bytes = small();
    bytes[8] = 2;
    reseal(&mut bytes);
    assert_eq!(
        Archive::parse(&bytes).err(),
        Some(ArchiveError::UnknownVersion(2))
    );
}

#[test]
fn contradictions_under_good_checksums_are_refused() {
    let entry = HEADER_LEN + ENTRY_LEN; // the second one, "empty"
    type Change = fn(&mut [u8], usize);
    let cases: [(&str, ArchiveError, Change); 10] = [
        ("odd length", ArchiveError::BadHeader, |b, _| b[16] = 1),
        ("reserved", ArchiveError::BadHeader, |b, _| b[40] = 1),
        ("cpio offset", ArchiveError::BadHeader, |b, _| b[32] ^= 4),
        ("unaligned data", ArchiveError::BadEntry(1), |b, e| {
            b[e + 48] = 8;
        }),
        ("overlap", ArchiveError::BadEntry(1), |b, e| {
            b[e + 48..e + 56].copy_from_slice(&PAGE_SIZE.to_le_bytes());
        }),
        ("beyond the end", ArchiveError::BadEntry(1), |b, e| {
            b[e + 58] = 1;
        }),
        ("overflow", ArchiveError::BadEntry(1), |b, e| {
            b[e + 56..e + 64].fill(0xff);
        }),
        ("kind", ArchiveError::BadEntry(1), |b, e| b[e + 68] = 4),
        ("flag", ArchiveError::BadEntry(1), |b, e| b[e + 72] = 2),
        (
            "bytes behind the name",
            ArchiveError::BadEntry(1),
            |b, e| {
                b[e + 40] = b'x';
            },
        ),
    ];
    for (what, error, change) in cases {
        let mut bytes = small();
        change(&mut bytes, entry);
        reseal(&mut bytes);
        assert_eq!(Archive::parse(&bytes).err(), Some(error), "{what}");
    }
}

proptest! {
    #[test]
    fn any_modules_survive(lengths in proptest::collection::vec(0_usize..9000, 0..12), fill: u8) {
        let modules: Vec<_> = lengths
            .iter()
            .enumerate()
            .map(|(index, &length)| spec(&format!("m{index}"), &vec![fill; length]))
            .collect();
        let bytes = archive_of(&modules);
        let archive = Archive::parse(&bytes).unwrap();
        let read: Vec<_> = archive
            .modules()
            .map(|module| spec(module.name(), module.data()))
            .collect();
        prop_assert_eq!(read, modules);
        prop_assert!(archive.modules().all(|module| module.verify().is_ok()));
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        walk(&bytes);
    }

    #[test]
    fn random_fields_under_good_checksums_do_no_harm(
        changes in proptest::collection::vec((16_usize..HEADER_LEN + 3 * ENTRY_LEN, any::<u8>()), 1..12),
        keep in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = small();
        for (at, value) in changes {
            bytes[at] = value;
        }
        reseal(&mut bytes);
        walk(&bytes);
        walk(&bytes[..keep.index(bytes.len())]);
    }
}
