//! Tables: header, length and checksum (ACPI 6.5, 5.2.6), and which of them Capelin reads.
//!
//! ```text
//!  0 signature  4 length  8 revision  9 checksum  10 OEM id (6)  16 OEM table id (8)
//! 24 OEM revision  28 creator id  32 creator revision  36 …
//! ```

use alloc::string::String;
use alloc::vec::Vec;

use crate::bytes::Bytes;
use crate::finding::{Finding, Findings, Signature, TableFault};

/// Bytes of the header that all tables have.
pub const HEADER_BYTES: usize = 36;

/// Bytes of the longest table that is read: that of 1,024 cores has 200 thousand.
pub const MOST_TABLE_BYTES: usize = 4 << 20;

/// A table whose length and checksum are right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Table<'a> {
    pub(crate) signature: Signature,
    pub(crate) bytes: Bytes<'a>,
}

impl Table<'_> {
    /// Notes that it lacks fields that every revision has.
    pub(crate) fn too_short(&self, findings: &mut Findings) {
        findings.add(Finding::Table {
            signature: self.signature,
            fault: TableFault::TooShort,
        });
    }
}

/// The tables that Capelin reads: one of each at most.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tables<'a> {
    tables: Vec<Table<'a>>,
    /// What is wrong with those that were left out.
    findings: Findings,
}

impl<'a> Tables<'a> {
    /// Multiple Interrupt Controllers.
    pub const MADT: Signature = Signature(*b"APIC");
    /// Fixed ACPI Description.
    pub const FADT: Signature = Signature(*b"FACP");
    /// Generic Timers.
    pub const GTDT: Signature = Signature(*b"GTDT");
    /// Static Resource Affinity.
    pub const SRAT: Signature = Signature(*b"SRAT");
    /// Distances between NUMA nodes.
    pub const SLIT: Signature = Signature(*b"SLIT");
    /// Speed of memory, by NUMA node.
    pub const HMAT: Signature = Signature(*b"HMAT");
    /// Processor Properties Topology.
    pub const PPTT: Signature = Signature(*b"PPTT");
    /// Serial Port Console Redirection.
    pub const SPCR: Signature = Signature(*b"SPCR");
    /// Debug ports.
    pub const DBG2: Signature = Signature(*b"DBG2");
    /// PCIe configuration spaces.
    pub const MCFG: Signature = Signature(*b"MCFG");
    /// Input and output remapping.
    pub const IORT: Signature = Signature(*b"IORT");

    const READ: [Signature; 11] = [
        Self::MADT,
        Self::FADT,
        Self::GTDT,
        Self::SRAT,
        Self::SLIT,
        Self::HMAT,
        Self::PPTT,
        Self::SPCR,
        Self::DBG2,
        Self::MCFG,
        Self::IORT,
    ];

    /// Adds the table that `bytes` begin with, if Capelin reads such: one that is cut
    /// off, too long, or whose checksum is wrong is left out with a finding, and so is
    /// a second of one kind. Bytes behind the table's length are ignored.
    pub fn add(&mut self, bytes: &'a [u8]) {
        let header = Bytes(bytes);
        let (Some(name), Some(said)) = (header.array(0), header.u32(4)) else {
            return;
        };
        let signature = Signature(name);
        if !Self::READ.contains(&signature) {
            return;
        }
        match self.checked(signature, said, bytes) {
            Ok(table) => self.tables.push(table),
            Err(fault) => self.findings.add(Finding::Table { signature, fault }),
        }
    }

    fn checked(
        &self,
        signature: Signature,
        said: u32,
        bytes: &'a [u8],
    ) -> Result<Table<'a>, TableFault> {
        let length = usize::try_from(said).unwrap_or(usize::MAX);
        if length > MOST_TABLE_BYTES {
            return Err(TableFault::TooLong { said });
        }
        let there = bytes.len();
        let bytes = bytes
            .get(..length)
            .filter(|bytes| bytes.len() >= HEADER_BYTES)
            .ok_or(TableFault::Truncated { said, there })?;
        if sum(bytes) != 0 {
            return Err(TableFault::Checksum);
        }
        if self.get(signature).is_some() {
            return Err(TableFault::Repeated);
        }
        Ok(Table {
            signature,
            bytes: Bytes(bytes),
        })
    }

    /// Notes what is wrong with a table that can't be added.
    pub(crate) fn note(&mut self, finding: Finding) {
        self.findings.add(finding);
    }

    /// Whether nothing was added that Capelin reads.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub(crate) fn get(&self, signature: Signature) -> Option<Table<'a>> {
        let mut tables = self.tables.iter();
        tables.find(|table| table.signature == signature).copied()
    }

    pub(crate) fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Who made the tables, by the FADT or else the first one that is read: OEM id and
    /// OEM table id.
    pub(crate) fn maker(&self) -> Option<String> {
        let first = || self.tables.first().copied();
        let bytes = self.get(Self::FADT).or_else(first)?.bytes;
        let mut maker = text(&bytes.array::<6>(10)?);
        let model = text(&bytes.array::<8>(16)?);
        if !maker.is_empty() && !model.is_empty() {
            maker.push(' ');
        }
        maker.push_str(&model);
        (!maker.is_empty()).then_some(maker)
    }
}

/// The sum of all bytes, which is 0 for a table.
pub(crate) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

/// The printable part of a padded name.
fn text(bytes: &[u8]) -> String {
    let printable = bytes.iter().take_while(|&&byte| byte != 0);
    let text: String = printable
        .map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '?',
        })
        .collect();
    String::from(text.trim())
}
