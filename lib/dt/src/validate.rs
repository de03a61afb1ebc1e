//! The gate: a strict structural check of a blob, which everything behind it relies
//! on (devicetree specification, chapter 5):
//!
//! * all blocks lie inside the blob, within its first [`MAX_SIZE`] bytes, and are
//!   aligned,
//! * the memory reservation block ends with its empty entry,
//! * the structure block is one tree: properties before subnodes, names
//!   terminated and printable, values inside the block, at most [`MAX_DEPTH`]
//!   levels, [`MAX_NODES`] nodes and [`MAX_PATH`] bytes of path, `FDT_END` last,
//! * every property name is a terminated string inside the strings block.
//!
//! Two things are legal but too much for the `fdt` crate: `FDT_NOP` tokens between
//! properties, with which firmware overwrites what it deletes, and version 16, which has
//! no `size_dt_struct`. Such a blob is rewritten to a plain version 17 one.
//!
//! ```text
//! header (40) | reservations ..., {0, 0} | structure ..., END | strings ...
//! ```

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;

use crate::early::{Header, MAX_SIZE, header};
use crate::error::{Block, DtError};
use crate::types::Region;

/// Levels of nodes, the root included.
pub const MAX_DEPTH: usize = 64;
/// Nodes: four times as many as a tree of 2 MiB has whose nodes are as large as real
/// ones (138 bytes, the largest tree in Linux 6.12: 1,112 nodes).
pub const MAX_NODES: usize = 1 << 16;
/// Bytes in a node's path.
pub const MAX_PATH: usize = 1024;
/// Bytes in a node's or property's name. The specification says 31, which many
/// real trees exceed.
pub const MAX_NAME: usize = 255;

pub(crate) const BEGIN_NODE: u32 = 1;
pub(crate) const END_NODE: u32 = 2;
pub(crate) const PROP: u32 = 3;
pub(crate) const NOP: u32 = 4;
pub(crate) const END: u32 = 9;

/// A checked blob.
pub struct Blob<'a> {
    /// The bytes to hand on, without `FDT_NOP`s and with a version 17 header: those
    /// given, or where they weren't so, a rewritten copy.
    bytes: Cow<'a, [u8]>,
    /// The structure block in `bytes`, up to and with its `FDT_END`.
    structure: Range<usize>,
    /// The strings block in `bytes`.
    strings: Range<usize>,
    /// Bytes of the structure block, each as often as there are nodes around it: what a
    /// reader looks at that finds a node's children by stepping over what is in them.
    pub(crate) nested_bytes: u64,
    /// How many nodes there are.
    pub(crate) nodes: usize,
    /// How many properties they have together.
    pub(crate) properties: usize,
    /// Bytes from the blob's start to the end of its last block.
    pub(crate) used: usize,
    /// The header of the blob that was given.
    pub header: Header,
    /// The memory reservation block's entries, in order.
    pub reservations: Vec<Region>,
}

impl Blob<'_> {
    /// The whole of it, without `FDT_NOP`s, version 17.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The structure block, up to and with its `FDT_END`.
    pub(crate) fn structure(&self) -> &[u8] {
        self.bytes.get(self.structure.clone()).unwrap_or_default()
    }

    /// The strings block.
    pub(crate) fn strings(&self) -> &[u8] {
        self.bytes.get(self.strings.clone()).unwrap_or_default()
    }
}

/// Checks `blob`, of which bytes after its `totalsize` are ignored.
///
/// # Errors
///
/// The first thing found to be wrong with it.
pub fn validate(blob: &[u8]) -> Result<Blob<'_>, DtError> {
    let header = header(blob)?;
    let blob = blob.get(..header.total_size).ok_or(DtError::Truncated {
        total_size: header.total_size,
        length: blob.len(),
    })?;
    let reservations = reservations(blob, &header)?;
    let strings = block(
        blob,
        header.strings_offset,
        header.strings_size,
        Block::Strings,
    )?;
    // Version 16 leaves the structure block's end to its END token.
    let structure_size = header
        .structure_size
        .unwrap_or_else(|| blob.len().saturating_sub(header.structure_offset));
    if !header.structure_offset.is_multiple_of(4) {
        return Err(DtError::BlockMisaligned(Block::Structure));
    }
    let structure = block(
        blob,
        header.structure_offset,
        structure_size,
        Block::Structure,
    )?;
    let mut walk = Walk {
        structure,
        strings,
        base: header.structure_offset,
        at: 0,
        nodes: 0,
        properties: 0,
        nops: 0,
        nested_bytes: 0,
    };
    walk.tree()?;
    let (nodes, properties) = (walk.nodes, walk.properties);
    let (nops, nested_bytes) = (walk.nops, walk.nested_bytes);
    let structure = structure.get(..walk.at).unwrap_or(structure);
    let reserved = 16 * (reservations.len() + 1);
    let used = [
        crate::early::HEADER_SIZE.min(blob.len()),
        header.reservations_offset + reserved,
        header.structure_offset + structure.len(),
        header.strings_offset + strings.len(),
    ];
    let used = used.into_iter().max().unwrap_or(blob.len());
    if used > MAX_SIZE {
        return Err(DtError::TooLarge { used });
    }
    let (bytes, structure, strings) = if nops == 0 && header.structure_size.is_some() {
        let part = |start: usize, part: &[u8]| start..start + part.len();
        (
            Cow::Borrowed(blob),
            part(header.structure_offset, structure),
            part(header.strings_offset, strings),
        )
    } else {
        let (bytes, split) = rewrite(&header, structure, strings, nops);
        let end = bytes.len();
        (Cow::Owned(bytes), HEADER + RESERVATIONS..split, split..end)
    };
    Ok(Blob {
        bytes,
        structure,
        strings,
        nested_bytes,
        nodes,
        properties,
        used,
        header,
        reservations,
    })
}

fn block(blob: &[u8], offset: usize, size: usize, which: Block) -> Result<&[u8], DtError> {
    let end = offset
        .checked_add(size)
        .ok_or(DtError::BlockOutside(which))?;
    blob.get(offset..end).ok_or(DtError::BlockOutside(which))
}

/// The big-endian word at `at`.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn reservations(blob: &[u8], header: &Header) -> Result<Vec<Region>, DtError> {
    let start = header.reservations_offset;
    if !start.is_multiple_of(8) {
        return Err(DtError::BlockMisaligned(Block::Reservations));
    }
    let bytes = blob
        .get(start..)
        .ok_or(DtError::BlockOutside(Block::Reservations))?;
    let half = |entry: &[u8], at: usize| {
        u64::from(word(entry, at).unwrap_or(0)) << 32 | u64::from(word(entry, at + 4).unwrap_or(0))
    };
    let entries = bytes
        .chunks_exact(16)
        .map(|entry| (half(entry, 0), half(entry, 8)));
    // Counted first, so that no more memory is taken than they need.
    let count = entries
        .clone()
        .position(|entry| entry == (0, 0))
        .ok_or(DtError::Unterminated(Block::Reservations))?;
    let mut found = Vec::with_capacity(count);
    found.extend(
        entries
            .take(count)
            .map(|(base, size)| Region::new(base, size)),
    );
    Ok(found)
}

struct Walk<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    /// Offset of the structure block in the blob, for errors.
    base: usize,
    /// Offset of the next token in the structure block; a multiple of 4.
    at: usize,
    /// Nodes and properties so far.
    nodes: usize,
    properties: usize,
    /// `FDT_NOP`s so far.
    nops: usize,
    /// See [`Blob`].
    nested_bytes: u64,
}

impl Walk<'_> {
    /// Walks to `FDT_END`.
    fn tree(&mut self) -> Result<(), DtError> {
        // Path length up to and with each open node; its number is the depth.
        let mut open: Vec<usize> = Vec::new();
        let mut may_have_properties = false;
        loop {
            let offset = self.base + self.at;
            let (before, around) = (self.at, open.len());
            let token = self.next_word()?;
            match token {
                NOP => self.nops += 1,
                BEGIN_NODE => {
                    if open.is_empty() && self.nodes != 0 {
                        return Err(DtError::NoSingleRoot);
                    }
                    if open.len() == MAX_DEPTH {
                        return Err(DtError::TooDeep { offset });
                    }
                    if self.nodes == MAX_NODES {
                        return Err(DtError::TooManyNodes);
                    }
                    let name = self.node_name(open.is_empty(), offset)?;
                    let path = open.last().map_or(0, |above| above + 1 + name);
                    if path > MAX_PATH {
                        return Err(DtError::PathTooLong { offset });
                    }
                    self.nodes += 1;
                    open.push(path);
                    may_have_properties = true;
                }
                PROP if may_have_properties => self.property(offset)?,
                END_NODE if !open.is_empty() => {
                    open.pop();
                    may_have_properties = false;
                }
                END if open.is_empty() => {
                    return if self.nodes == 0 {
                        Err(DtError::NoSingleRoot)
                    } else {
                        Ok(())
                    };
                }
                _ => return Err(DtError::BadToken { offset, token }),
            }
            self.nested_bytes += ((self.at - before) * around) as u64;
        }
    }

    fn next_word(&mut self) -> Result<u32, DtError> {
        let found = word(self.structure, self.at).ok_or(DtError::Unterminated(Block::Structure))?;
        self.at += 4;
        Ok(found)
    }

    /// Steps over a node's name and returns its length: none for the root, 1 to
    /// [`MAX_NAME`] bytes without `/` for others.
    fn node_name(&mut self, is_root: bool, offset: usize) -> Result<usize, DtError> {
        let bad = DtError::BadName { offset };
        let bytes = self.structure.get(self.at..).ok_or(bad)?;
        let length = name_length(bytes).ok_or(bad)?;
        let name = bytes.get(..length).ok_or(bad)?;
        if is_root != name.is_empty() || name.contains(&b'/') {
            return Err(bad);
        }
        self.at = (self.at + length + 1).next_multiple_of(4);
        Ok(length)
    }

    /// Steps over what follows `FDT_PROP`: length, name offset, value, padding.
    fn property(&mut self, offset: usize) -> Result<(), DtError> {
        self.properties += 1;
        let length = self.next_word()? as usize;
        let name = self.next_word()? as usize;
        let bad_name = DtError::BadName { offset };
        let named = self.strings.get(name..).and_then(name_length);
        if named.ok_or(bad_name)? == 0 {
            return Err(bad_name);
        }
        let end = self
            .at
            .checked_add(length)
            .and_then(|end| end.checked_next_multiple_of(4));
        match end {
            Some(end) if end <= self.structure.len() => {
                self.at = end;
                Ok(())
            }
            _ => Err(DtError::PropertyOutside { offset }),
        }
    }
}

/// The length of the name that `bytes` start with, without its terminator.
pub(crate) fn name_length(bytes: &[u8]) -> Option<usize> {
    let mut first = bytes.iter().take(MAX_NAME + 1);
    let length = first.position(|byte| !byte.is_ascii_graphic())?;
    (bytes.get(length) == Some(&0)).then_some(length)
}

/// Bytes of a version 17 header, and of a memory reservation block with no entries.
const HEADER: usize = 40;
const RESERVATIONS: usize = 16;

/// Makes a version 17 blob of a checked structure block, without its `nops`
/// `FDT_NOP`s, and tells where its strings begin. Its reservation block is empty:
/// those were read already.
fn rewrite(header: &Header, structure: &[u8], strings: &[u8], nops: usize) -> (Vec<u8>, usize) {
    let kept = structure.len() - 4 * nops + strings.len();
    let mut out = Vec::with_capacity(HEADER + RESERVATIONS + kept);
    out.resize(HEADER + RESERVATIONS, 0);
    let mut at = 0;
    while let Some(token) = word(structure, at) {
        let length = match token {
            BEGIN_NODE => {
                let name = structure.get(at + 4..).and_then(name_length).unwrap_or(0);
                4 + (name + 1).next_multiple_of(4)
            }
            PROP => 12 + (word(structure, at + 4).unwrap_or(0) as usize).next_multiple_of(4),
            _ => 4,
        };
        if token != NOP {
            out.extend_from_slice(structure.get(at..at + length).unwrap_or(&[]));
        }
        at += length;
    }
    let strings_offset = out.len();
    out.extend_from_slice(strings);
    // No value exceeds the blob's own size, which the header gave in 32 bits,
    // but for the 16 bytes of reservations.
    let field = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes();
    let fields = [
        crate::early::MAGIC.to_be_bytes(),
        field(out.len()),
        field(HEADER + RESERVATIONS),
        field(strings_offset),
        field(HEADER),
        field(17),
        field(16),
        header.boot_cpu.to_be_bytes(),
        field(strings.len()),
        field(strings_offset - HEADER - RESERVATIONS),
    ];
    for (to, from) in out.iter_mut().zip(fields.as_flattened()) {
        *to = *from;
    }
    (out, strings_offset)
}
