//! A writer of flattened device trees, for tests: also of trees that no tool
//! would write.

/// Builds one blob, node by node.
#[derive(Clone, Default)]
pub(crate) struct Builder {
    structure: Vec<u8>,
    strings: Vec<u8>,
    reservations: Vec<(u64, u64)>,
    boot_cpu: u32,
    open: usize,
}

/// A property's value.
pub(crate) enum Value<'a> {
    /// No value.
    Empty,
    /// Big-endian 32-bit cells.
    Cells(&'a [u32]),
    /// One string.
    Str(&'a str),
    /// Several strings.
    Strs(&'a [&'a str]),
    /// Anything.
    Bytes(&'a [u8]),
}

impl Builder {
    /// A tree whose root node is open.
    pub(crate) fn new() -> Self {
        let mut builder = Self::default();
        builder.begin("");
        builder
    }

    /// Adds an entry to the memory reservation block.
    pub(crate) fn reserve(&mut self, base: u64, size: u64) -> &mut Self {
        self.reservations.push((base, size));
        self
    }

    /// Sets `boot_cpuid_phys`.
    pub(crate) fn boot_cpu(&mut self, boot_cpu: u32) -> &mut Self {
        self.boot_cpu = boot_cpu;
        self
    }

    /// Appends a raw token.
    pub(crate) fn token(&mut self, token: u32) -> &mut Self {
        self.structure.extend(token.to_be_bytes());
        self
    }

    fn pad(&mut self) {
        self.structure
            .resize(self.structure.len().next_multiple_of(4), 0);
    }

    /// Opens a node.
    pub(crate) fn begin(&mut self, name: &str) -> &mut Self {
        self.token(1);
        self.structure.extend(name.bytes());
        self.structure.push(0);
        self.pad();
        self.open += 1;
        self
    }

    /// Closes the innermost open node.
    pub(crate) fn end(&mut self) -> &mut Self {
        self.open -= 1;
        self.token(2)
    }

    /// Adds a property to the innermost open node.
    pub(crate) fn property(&mut self, name: &str, value: Value<'_>) -> &mut Self {
        let bytes: Vec<u8> = match value {
            Value::Empty => Vec::new(),
            Value::Cells(cells) => cells.iter().flat_map(|cell| cell.to_be_bytes()).collect(),
            Value::Str(string) => [string.as_bytes(), &[0]].concat(),
            Value::Strs(strings) => strings
                .iter()
                .flat_map(|string| [string.as_bytes(), &[0]].concat())
                .collect(),
            Value::Bytes(bytes) => bytes.to_vec(),
        };
        let name_offset = self.intern(name);
        self.token(3);
        self.token(u32::try_from(bytes.len()).unwrap());
        self.token(name_offset);
        self.structure.extend(bytes);
        self.pad();
        self
    }

    /// Adds cells.
    pub(crate) fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
        self.property(name, Value::Cells(cells))
    }

    /// Adds a string.
    pub(crate) fn str(&mut self, name: &str, string: &str) -> &mut Self {
        self.property(name, Value::Str(string))
    }

    /// Adds a property without value.
    pub(crate) fn flag(&mut self, name: &str) -> &mut Self {
        self.property(name, Value::Empty)
    }

    fn intern(&mut self, name: &str) -> u32 {
        let wanted = [name.as_bytes(), &[0]].concat();
        let found = self
            .strings
            .windows(wanted.len())
            .position(|window| window == wanted);
        let offset = found.unwrap_or_else(|| {
            self.strings.extend(&wanted);
            self.strings.len() - wanted.len()
        });
        u32::try_from(offset).unwrap()
    }

    /// Closes what is open and writes a version 17 blob.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut whole = self.clone();
        while whole.open > 0 {
            whole.end();
        }
        whole.token(9);
        whole.assemble(17)
    }

    /// Writes a blob of the tokens as they stand, of the given version.
    pub(crate) fn assemble(&self, version: u32) -> Vec<u8> {
        let header = if version >= 17 { 40 } else { 36 };
        let reservations = usize::next_multiple_of(header, 8);
        let structure = reservations + 16 * (self.reservations.len() + 1);
        let strings = structure + self.structure.len();
        let total = strings + self.strings.len();
        let fields = [
            0xd00d_feed,
            total,
            structure,
            strings,
            reservations,
            version as usize,
            16,
            self.boot_cpu as usize,
            self.strings.len(),
            self.structure.len(),
        ];
        let mut blob: Vec<u8> = fields
            .iter()
            .take(header / 4)
            .flat_map(|&field| u32::try_from(field).unwrap().to_be_bytes())
            .collect();
        blob.resize(reservations, 0);
        for (base, size) in self.reservations.iter().chain(&[(0, 0)]) {
            blob.extend(base.to_be_bytes());
            blob.extend(size.to_be_bytes());
        }
        blob.extend(&self.structure);
        blob.extend(&self.strings);
        blob
    }
}

/// A small machine on which Capelin boots: two cores, GICv3 on a translating
/// bus, PSCI, one timer, 1 GiB, a PL011.
pub(crate) fn small() -> Builder {
    let mut b = Builder::new();
    b.reserve(0x8000_0000, 0x1000);
    b.str("model", "small")
        .str("compatible", "test,small")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .cells("interrupt-parent", &[1]);
    b.begin("chosen").str("stdout-path", "con:115200n8").end();
    b.begin("aliases").str("con", "/soc/serial@9000").end();
    b.begin("memory@80000000")
        .str("device_type", "memory")
        .cells("reg", &[0, 0x8000_0000, 0, 0x4000_0000])
        .end();
    b.begin("cpus")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[0]);
    for (name, mpidr) in [("cpu@0", 0), ("cpu@100", 0x100)] {
        b.begin(name)
            .str("device_type", "cpu")
            .str("compatible", "arm,cortex-a72")
            .str("enable-method", "psci")
            .cells("reg", &[mpidr])
            .cells("next-level-cache", &[2])
            .end();
    }
    b.begin("l2").cells("phandle", &[2]).end();
    b.end();
    b.begin("psci")
        .str("compatible", "arm,psci-1.0")
        .str("method", "smc")
        .end();
    b.begin("timer")
        .str("compatible", "arm,armv8-timer")
        .cells("interrupts", &[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4])
        .end();
    b.begin("soc")
        .str("compatible", "simple-bus")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[1])
        .cells("ranges", &[0, 1, 0, 0x100_0000]);
    b.begin("interrupt-controller@1000")
        .str("compatible", "arm,gic-v3")
        .flag("interrupt-controller")
        .cells("#interrupt-cells", &[3])
        .cells("phandle", &[1])
        .cells("reg", &[0x1_0000, 0x1_0000, 0x10_0000, 0x4_0000])
        .end();
    b.begin("serial@9000")
        .property("compatible", Value::Strs(&["arm,pl011", "arm,primecell"]))
        .cells("reg", &[0x9000, 0x1000])
        .cells("interrupts", &[0, 5, 4])
        .end();
    b.end();
    b
}
