//! Executables, sound and otherwise.

use capelin_abi::{
    ABI_VERSION, CapRef, VirtAddr,
    flat::{FLAT_MAGIC, FlatError, FlatHeader, FlatSegment},
    syscall::MapFlags,
};
use capelin_spawn::{
    Image, ImageError, Program,
    image::{MAX_SEGMENTS, Source},
    loader,
};
use proptest::prelude::*;
use zerocopy::IntoBytes;

const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const READ: u32 = 4;

#[derive(Clone, Copy)]
struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_bytes: u64,
    memory_bytes: u64,
}

const TEXT: Header = Header {
    kind: 1,
    flags: READ | EXECUTE,
    offset: 0,
    address: 0x20_0000,
    file_bytes: 0x300,
    memory_bytes: 0x300,
};
const DATA: Header = Header {
    kind: 1,
    flags: READ | WRITE,
    offset: 0x300,
    address: 0x20_1300,
    file_bytes: 0x100,
    memory_bytes: 0x5000,
};
const ENTRY: u64 = 0x20_0200;

/// An ELF file of 1 KiB with these program headers (ELF-64, figures 2, 6 and 12 of the gABI).
fn elf(machine: u16, kind: u16, entry: u64, headers: &[Header]) -> Vec<u8> {
    let mut file = vec![0u8; 0x1000];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &kind.to_le_bytes());
    put(18, &machine.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    put(24, &entry.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &64u16.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    let count = u16::try_from(headers.len()).expect("tests have few headers");
    put(56, &count.to_le_bytes());
    for (index, header) in headers.iter().enumerate() {
        let at = 64 + index * 56;
        put(at, &header.kind.to_le_bytes());
        put(at + 4, &header.flags.to_le_bytes());
        put(at + 8, &header.offset.to_le_bytes());
        put(at + 16, &header.address.to_le_bytes());
        put(at + 24, &header.address.to_le_bytes());
        put(at + 32, &header.file_bytes.to_le_bytes());
        put(at + 40, &header.memory_bytes.to_le_bytes());
        put(at + 48, &0x1000u64.to_le_bytes());
    }
    file
}

fn sound() -> Vec<u8> {
    elf(183, 2, ENTRY, &[DATA, TEXT])
}

#[test]
fn segments_are_whole_pages_with_their_data_in_place() {
    let file = sound();
    let image = Image::parse(&file).unwrap();
    assert_eq!(image.entry, VirtAddr(ENTRY));
    let [text, data] = image.segments[..] else {
        panic!("two segments");
    };
    assert_eq!((text.start, text.bytes), (VirtAddr(0x20_0000), 0x1000));
    assert_eq!(text.flags, MapFlags::READ | MapFlags::EXECUTE);
    assert_eq!((text.lead, text.data), (0, &file[..0x300]));
    assert_eq!((data.start, data.bytes), (VirtAddr(0x20_1000), 0x6000));
    assert_eq!(data.flags, MapFlags::READ | MapFlags::WRITE);
    assert_eq!((data.lead, data.data), (0x300, &file[0x300..0x400]));
    assert_eq!(image.memory_bytes(), 0x7000);
}

#[test]
fn each_fault_is_found() {
    use ImageError as E;
    let with = |change: fn(&mut Header)| {
        let mut data = DATA;
        change(&mut data);
        elf(183, 2, ENTRY, &[TEXT, data])
    };
    let cases: Vec<(Vec<u8>, ImageError)> = vec![
        (vec![], E::UnknownFormat),
        (b"#!/bin/sh\n".to_vec(), E::UnknownFormat),
        (sound()[..60].to_vec(), E::Malformed),
        (sound()[..100].to_vec(), E::Malformed),
        (elf(62, 2, ENTRY, &[TEXT]), E::WrongMachine),
        (elf(183, 3, ENTRY, &[TEXT]), E::NotStatic),
        (elf(183, 2, ENTRY, &[]), E::SegmentCount),
        (
            elf(183, 2, ENTRY, &[TEXT; MAX_SEGMENTS + 1]),
            E::SegmentCount,
        ),
        (with(|d| d.kind = 2), E::NotStatic),
        (with(|d| d.kind = 3), E::NotStatic),
        (with(|d| d.offset = 0xf01), E::OutsideFile),
        (with(|d| d.offset = u64::MAX), E::OutsideFile),
        (with(|d| d.file_bytes = u64::MAX), E::OutsideFile),
        (with(|d| d.memory_bytes = 0x80), E::Malformed),
        (with(|d| d.memory_bytes = u64::MAX), E::BadAddress),
        (with(|d| d.address = 0x20_0f00), E::BadAddress),
        (with(|d| d.address = 0x1f_0000), E::BadAddress),
        (with(|d| d.address = u64::MAX - 0x100), E::BadAddress),
        (with(|d| d.address = 0x1000_0000 - 0x4000), E::BadAddress),
        (with(|d| d.flags = READ | WRITE | EXECUTE), E::WritableCode),
        (elf(183, 2, 0x20_1400, &[TEXT, DATA]), E::BadEntry),
        (elf(183, 2, 0x20_0202, &[TEXT, DATA]), E::BadEntry),
        (elf(183, 2, 0x30_0000, &[TEXT, DATA]), E::BadEntry),
    ];
    for (number, (file, error)) in cases.into_iter().enumerate() {
        assert_eq!(Image::parse(&file), Err(error), "case {number}");
    }
    let mut small = sound();
    small[4] = 1;
    let refused = [ImageError::WrongClass, ImageError::Malformed];
    assert!(refused.map(Err).contains(&Image::parse(&small)));
}

#[test]
fn this_hosts_programs_are_refused() {
    let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let error = Image::parse(&file).unwrap_err();
    let expected = if cfg!(target_arch = "aarch64") {
        ImageError::NotStatic
    } else {
        ImageError::WrongMachine
    };
    assert_eq!(error, expected);
}

#[test]
fn flat_images_are_taken() {
    let mut header = FlatHeader {
        magic: FLAT_MAGIC,
        abi_version: ABI_VERSION,
        entry: 0x20_0000,
        segment_count: 1,
        ..FlatHeader::default()
    };
    header.segments[0] = FlatSegment {
        address: 0x20_0000,
        offset: 4096,
        file_bytes: 4096,
        memory_bytes: 8192,
        flags: 5,
    };
    let mut file = vec![0x5a; 8192];
    file[..size_of::<FlatHeader>()].copy_from_slice(header.as_bytes());
    let image = Image::parse(&file).unwrap();
    assert_eq!(image.segments[0].data, &file[4096..]);
    assert_eq!(image.segments[0].bytes, 8192);
    let cut = Image::parse(&file[..4096]);
    assert_eq!(cut, Err(ImageError::Flat(FlatError::BadSegment)));
}

#[test]
fn needs_count_a_table_for_each_two_mebibytes() {
    let (near, wide) = (sound(), {
        let mut data = DATA;
        data.memory_bytes = 0x40_0000;
        elf(183, 2, ENTRY, &[TEXT, data])
    });
    let needs = |file: &[u8]| {
        let image = Image::parse(file).unwrap();
        loader::needs(&Program::new("x"), &image).unwrap()
    };
    let (near, wide) = (needs(&near), needs(&wide));
    // From 0x20_1300 on, 4 MiB reach into three level 3 tables instead of one.
    assert_eq!(wide.home - near.home, 2 * 8192);
    assert_eq!(wide.ram - near.ram, 0x40_1000 - 0x6000);
    let image = sound();
    let image = Image::parse(&image).unwrap();
    let greedy = Program::new("x").ram_bytes(u64::MAX);
    assert!(loader::needs(&greedy, &image).is_err());
}

/// Each table takes two slots, and each mapping in one another; those that the task CNode hasn't
/// lie in a CNode of their own.
#[test]
fn many_tables_need_another_cnode() {
    let needs = |tables: u64| {
        let mut data = DATA;
        data.memory_bytes = tables * 0x20_0000;
        let file = elf(183, 2, ENTRY, &[TEXT, data]);
        let image = Image::parse(&file).unwrap();
        loader::needs(&Program::new("x"), &image).unwrap().home
    };
    let steps: Vec<_> = (1..40).map(|n| needs(n + 1) - needs(n)).collect();
    let cnodes = steps.iter().filter(|&&step| step == 8192 + 16384).count();
    assert_eq!(cnodes, 1, "{steps:?}");
    assert_eq!(steps.iter().filter(|&&step| step == 8192).count(), 38);
}

#[test]
fn what_is_as_in_the_file_is_mapped_from_it() {
    let pages = |header: Header| {
        let file = elf(
            183,
            2,
            ENTRY + 0x10_0000,
            &[
                Header {
                    address: 0x30_0000,
                    ..TEXT
                },
                header,
            ],
        );
        Image::parse(&file).unwrap().segments[0].file_pages
    };
    let read_only = Header {
        flags: READ,
        memory_bytes: 0x100,
        ..DATA
    };
    assert_eq!(pages(read_only), Some(0));
    // Writable; zeros behind; in other places of their pages; before the file's first page.
    assert_eq!(
        pages(Header {
            flags: READ | WRITE,
            ..read_only
        }),
        None
    );
    assert_eq!(
        pages(Header {
            memory_bytes: 0x101,
            ..read_only
        }),
        None
    );
    assert_eq!(
        pages(Header {
            address: 0x20_1400,
            ..read_only
        }),
        None
    );
    assert_eq!(
        pages(Header {
            offset: 0x200,
            ..read_only
        }),
        None
    );
}

#[test]
fn only_what_is_not_mapped_from_the_file_needs_memory() {
    let file = sound();
    let copied = Image::parse(&file).unwrap();
    let source = |offset| Source {
        frame: CapRef::l1(0),
        offset,
    };
    let shared = copied.clone().lies_in(source(0x5000));
    let [text, data] = shared.segments[..] else {
        panic!("two segments");
    };
    assert_eq!(shared.shared(&text), Some(source(0x5000)));
    assert_eq!(shared.shared(&data), None);
    assert_eq!(copied.memory_bytes() - shared.memory_bytes(), text.bytes);
    let ram = |image: &Image<'_>| loader::needs(&Program::new("x"), image).unwrap().ram;
    assert_eq!(ram(&copied) - ram(&shared), text.bytes);
    // A file that doesn't begin with a page shares none.
    assert_eq!(copied.clone().lies_in(source(0x5100)), copied);
}

proptest! {
    #[test]
    fn damaged_files_do_not_make_it_panic(
        changes in proptest::collection::vec((0usize..400, any::<u8>()), 0..12),
        length in 0usize..0x1000,
    ) {
        let mut file = sound();
        for (at, byte) in changes {
            file[at] = byte;
        }
        for file in [&file[..], &file[..length]] {
            if let Ok(image) = Image::parse(file) {
                let _ = loader::needs(&Program::new("x"), &image);
            }
        }
    }

    #[test]
    fn any_bytes_do_not_make_it_panic(mut file: Vec<u8>, flat: bool) {
        let magic = if flat { *b"CAPEFLAT" } else { *b"\x7fELF\x02\x01\x01\0" };
        file.splice(0..0, magic);
        let _ = Image::parse(&file);
    }
}
