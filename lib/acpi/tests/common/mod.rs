//! Tables made by hand, of a server that has some of everything.

use capelin_acpi::{Descriptor, Inputs, Tables, Translation, translate};
use capelin_dt::Machine;

/// Little-endian fields, one after the other.
#[derive(Clone, Default)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    pub(crate) fn b(mut self, values: &[u8]) -> Self {
        self.0.extend(values);
        self
    }

    pub(crate) fn h(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn w(mut self, values: &[u32]) -> Self {
        self.0
            .extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self
    }

    pub(crate) fn d(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }
}

/// A table of that revision; its checksum fits.
pub(crate) fn table(name: &[u8; 4], revision: u8, body: &Body) -> Vec<u8> {
    let mut table = name.to_vec();
    table.extend(u32::try_from(36 + body.0.len()).unwrap().to_le_bytes());
    table.extend([revision, 0]);
    table.extend(b"CAPELNSERVER  ");
    table.resize(36, 0);
    table.extend(&body.0);
    seal(&mut table);
    table
}

/// Makes the checksum fit.
pub(crate) fn seal(table: &mut [u8]) {
    if let Some(sum) = table.get_mut(9) {
        *sum = 0;
        let sum = table.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte));
        table[9] = sum;
    }
}

pub(crate) const ENABLED: u32 = 1;
pub(crate) const ONLINE_CAPABLE: u32 = 8;

/// A GICC, with nothing but this.
pub(crate) fn gicc(uid: u32, mpidr: u64, flags: u32) -> Body {
    gicc_with(uid, mpidr, flags, (0, 0), 0)
}

/// A GICC with a parking protocol's version and mailbox, and a redistributor.
pub(crate) fn gicc_with(uid: u32, mpidr: u64, flags: u32, parking: (u32, u64), gicr: u64) -> Body {
    Body::default()
        .b(&[0xb, 80, 0, 0])
        .w(&[uid, uid, flags, parking.0, 23])
        .d(parking.1)
        .zeros(24)
        .w(&[25])
        .d(gicr)
        .d(mpidr)
        .zeros(4)
}

pub(crate) fn gicd(base: u64, version: u8) -> Body {
    Body::default()
        .b(&[0xc, 24, 0, 0])
        .w(&[0])
        .d(base)
        .w(&[0])
        .b(&[version, 0, 0, 0])
}

pub(crate) fn gicr(base: u64, size: u32) -> Body {
    Body::default().b(&[0xe, 16, 0, 0]).d(base).w(&[size])
}

pub(crate) fn its(id: u32, base: u64) -> Body {
    Body::default().b(&[0xf, 20, 0, 0]).w(&[id]).d(base).w(&[0])
}

pub(crate) fn msi_frame(base: u64, flags: u32, count: u16, first: u16) -> Body {
    Body::default()
        .b(&[0xd, 24, 0, 0])
        .w(&[0])
        .d(base)
        .w(&[flags])
        .h(count)
        .h(first)
}

pub(crate) fn madt(entries: &[Body]) -> Vec<u8> {
    let mut body = Body::default().zeros(8);
    for entry in entries {
        body = body.b(&entry.0);
    }
    table(b"APIC", 5, &body)
}

pub(crate) fn fadt(arm_boot_arch: u16) -> Vec<u8> {
    let body = Body::default()
        .zeros(76)
        .w(&[1 << 20])
        .zeros(13)
        .h(arm_boot_arch)
        .zeros(145);
    table(b"FACP", 6, &body)
}

pub(crate) fn gtdt() -> Vec<u8> {
    let body = Body::default()
        .d(u64::MAX)
        .w(&[0, 29, 0, 30, 4, 27, 2, 26, 0])
        .d(u64::MAX)
        .w(&[1, 104, 28, 2])
        // A watchdog.
        .b(&[1, 28, 0, 0])
        .d(0x2a44_0000)
        .d(0x2a45_0000)
        .w(&[59, 1]);
    table(b"GTDT", 3, &body)
}

pub(crate) fn srat_memory(node: u32, base: u64, size: u64, flags: u32) -> Body {
    Body::default()
        .b(&[1, 40])
        .w(&[node])
        .h(0)
        .d(base)
        .d(size)
        .w(&[0, flags])
        .zeros(8)
}

pub(crate) fn srat_core(node: u32, uid: u32) -> Body {
    Body::default().b(&[3, 18]).w(&[node, uid, 1, 0])
}

pub(crate) fn srat_its(node: u32, id: u32) -> Body {
    Body::default().b(&[4, 12]).w(&[node]).h(0).w(&[id])
}

pub(crate) fn srat(entries: &[Body]) -> Vec<u8> {
    let mut body = Body::default().zeros(12);
    for entry in entries {
        body = body.b(&entry.0);
    }
    table(b"SRAT", 3, &body)
}

pub(crate) fn slit(side: u64, distances: &[u8]) -> Vec<u8> {
    table(b"SLIT", 1, &Body::default().d(side).b(distances))
}

/// Read latency between two nodes with cores and two with memory, in units of 1000 ps.
pub(crate) fn hmat() -> Vec<u8> {
    let body = Body::default()
        .zeros(4)
        .h(1)
        .h(0)
        .w(&[32 + 16 + 8])
        .b(&[0, 1, 0, 0])
        .w(&[2, 2, 0])
        .d(1000)
        .w(&[0, 1, 0, 1])
        .h(90)
        .h(140)
        .h(0xffff)
        .h(95);
    table(b"HMAT", 2, &body)
}

/// A processor node: flags, parent, unique id, private resources.
pub(crate) fn processor(flags: u32, parent: u32, uid: u32, resources: &[u32]) -> Body {
    let count = u32::try_from(resources.len()).unwrap();
    let length = u8::try_from(20 + 4 * resources.len()).unwrap();
    Body::default()
        .b(&[0, length, 0, 0])
        .w(&[flags, parent, uid, count])
        .w(resources)
}

/// A cache: next, size, attributes.
pub(crate) fn cache(next: u32, size: u32, attributes: u8) -> Body {
    Body::default()
        .b(&[1, 24, 0, 0])
        .w(&[0x7f, next, size, 256])
        .b(&[4, attributes])
        .h(64)
}

pub(crate) const DATA: u8 = 0;
pub(crate) const INSTRUCTIONS: u8 = 4;
pub(crate) const UNIFIED: u8 = 8;

/// A PPTT of these structures, and the offset of each.
pub(crate) fn pptt(entries: &[Body]) -> (Vec<u8>, Vec<u32>) {
    let mut body = Body::default();
    let mut offsets = Vec::new();
    for entry in entries {
        offsets.push(u32::try_from(36 + body.0.len()).unwrap());
        body = body.b(&entry.0);
    }
    (table(b"PPTT", 2, &body), offsets)
}

/// An SPCR: kind, address space, width in bits, access size, base, interrupt type, GSI.
pub(crate) fn spcr(kind: u8, address: (u8, u8, u8, u64), interrupt: (u8, u32)) -> Vec<u8> {
    let (space, width, access, base) = address;
    let body = Body::default()
        .b(&[kind, 0, 0, 0, space, width, 0, access])
        .d(base)
        .b(&[interrupt.0, 0])
        .w(&[interrupt.1])
        .b(&[7, 0, 1, 0, 3, 0])
        .zeros(16);
    table(b"SPCR", 2, &body)
}

/// A DBG2 with one port of that type and kind.
pub(crate) fn dbg2(port: u16, kind: u16, base: u64) -> Vec<u8> {
    let body = Body::default()
        .w(&[44, 1])
        .b(&[0])
        .h(22 + 12 + 4)
        .b(&[1, 0, 0, 0, 0])
        .h(0)
        .h(0)
        .h(port)
        .h(kind)
        .h(0)
        .h(22)
        .h(34)
        .b(&[0, 32, 0, 3])
        .d(base)
        .w(&[0x1000]);
    table(b"DBG2", 0, &body)
}

pub(crate) fn mcfg(spaces: &[(u64, u16, u8, u8)]) -> Vec<u8> {
    let mut body = Body::default().zeros(8);
    for &(base, segment, first, last) in spaces {
        body = body.d(base).h(segment).b(&[first, last]).zeros(4);
    }
    table(b"MCFG", 1, &body)
}

/// A group of one ITS at 48, an SMMUv3 at 72, a host of segment 0 behind it.
pub(crate) fn iort() -> Vec<u8> {
    let body = Body::default()
        .w(&[3, 48, 0])
        .b(&[0, 24, 0, 1])
        .w(&[0, 0, 0, 1, 7])
        // SMMU: ids 0x100 to 0x1ff are device ids 0x8100 to 0x81ff; and its own messages.
        .b(&[4, 68 + 40, 0, 1])
        .w(&[1, 2, 68])
        .d(0x2b40_0000)
        .w(&[9, 0])
        .d(0)
        .w(&[0, 106, 107, 111, 109, 1, 0])
        .w(&[0x100, 0xff, 0x8100, 48, 0])
        .w(&[0, 0, 0x9000, 48, 1])
        // Host: requester ids 0x80 to 0x17f are stream ids 0x180 to 0x27f.
        .b(&[2, 36 + 20, 0, 1])
        .w(&[2, 1, 36])
        .d(1)
        .w(&[0, 0, 0])
        .w(&[0x80, 0xff, 0x180, 72, 0]);
    table(b"IORT", 0, &body)
}

/// A server with two sockets of two cores, some of everything.
pub(crate) fn server() -> Vec<Vec<u8>> {
    // 36 package, 56 package, 76.. cores, caches behind.
    let (_, at) = pptt(&server_topology(&[0; 9]));
    let (topology, _) = pptt(&server_topology(&at));
    vec![
        madt(&[
            gicc(3, 0x1_0000_0100, ENABLED),
            gicc(0, 0, ENABLED),
            gicc(1, 0x100, ENABLED),
            gicc(2, 0x1_0000_0000, ONLINE_CAPABLE),
            gicd(0x1000_0000, 3),
            gicr(0x1010_0000, 0x4_0000),
            gicr(0x1020_0000, 0x4_0000),
            its(7, 0x1008_0000),
            msi_frame(0x1030_0000, 1, 32, 64),
        ]),
        fadt(1),
        gtdt(),
        srat(&[
            srat_memory(0, 0x8000_0000, 0x4000_0000, 1),
            srat_memory(1, 0x80_0000_0000, 0x4000_0000, 1),
            srat_memory(1, 0x90_0000_0000, 0x4000_0000, 3),
            srat_core(0, 0),
            srat_core(0, 1),
            srat_core(1, 2),
            srat_core(1, 3),
            srat_its(1, 7),
        ]),
        slit(2, &[10, 20, 21, 10]),
        hmat(),
        topology,
        spcr(3, (0, 32, 3, 0x1c09_0000), (8, 37)),
        dbg2(0x8000, 0, 0x1c0a_0000),
        mcfg(&[(0x40_0000_0000, 0, 0, 255), (0x50_0000_0000, 1, 16, 31)]),
        iort(),
    ]
}

fn server_topology(at: &[u32]) -> Vec<Body> {
    vec![
        processor(0x11, 0, 0, &[at[8]]),
        processor(0x11, 0, 1, &[at[8]]),
        processor(0xa, at[0], 0, &[at[6], at[7]]),
        processor(0xa, at[0], 1, &[at[6], at[7]]),
        processor(0xa, at[1], 2, &[at[6], at[7]]),
        processor(0xa, at[1], 3, &[at[6], at[7]]),
        cache(0, 64 << 10, DATA),
        cache(0, 48 << 10, INSTRUCTIONS),
        cache(0, 32 << 20, UNIFIED),
    ]
}

/// UEFI's map of that server: some free, some taken, one piece across both nodes' gap.
pub(crate) fn server_map() -> Vec<Descriptor> {
    let of = |kind, base, pages| Descriptor {
        kind,
        base,
        pages,
        attributes: 0xf,
    };
    vec![
        of(7, 0x8000_0000, 0x3_f000),
        of(6, 0xbf00_0000, 0x800),
        of(9, 0xbf80_0000, 0x800),
        of(4, 0x80_0000_0000, 0x4_0000),
        Descriptor {
            attributes: 1 << 63 | 1,
            ..of(11, 0x1c09_0000, 1)
        },
    ]
}

/// The tree of `tables`, and what is read from it.
pub(crate) fn read(tables: &[Vec<u8>]) -> (Translation, Machine) {
    read_with(tables, &Inputs::default())
}

pub(crate) fn read_with(raw: &[Vec<u8>], inputs: &Inputs<'_>) -> (Translation, Machine) {
    let mut tables = Tables::default();
    for bytes in raw {
        tables.add(bytes);
    }
    let translation = translate(&tables, inputs).unwrap();
    let machine = Machine::parse(&translation.blob).unwrap();
    (translation, machine)
}

/// `server()` with one table in place of that of its name.
pub(crate) fn with(table: Vec<u8>) -> Vec<Vec<u8>> {
    let mut server = server();
    server.retain(|other| other[..4] != table[..4]);
    server.push(table);
    server
}

/// `server()` without a table.
pub(crate) fn without(name: &[u8; 4]) -> Vec<Vec<u8>> {
    let mut server = server();
    server.retain(|other| other[..4] != *name);
    server
}
