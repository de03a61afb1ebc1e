//! Little-endian fields and lists of structures in a table, none of which is trusted
//! to be where its table says.

/// Bytes with fields at fixed offsets (ACPI 6.5, 5.2.2: little-endian, packed).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        let end = at.checked_add(N)?;
        self.0.get(at..end)?.try_into().ok()
    }

    pub(crate) fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    pub(crate) fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// As [`Bytes::u32`], for use as a length or an offset.
    pub(crate) fn size(self, at: usize) -> Option<usize> {
        usize::try_from(self.u32(at)?).ok()
    }

    /// `count` words from `at` on, or as many as are there.
    pub(crate) fn words(self, at: usize, count: usize) -> impl Iterator<Item = u32> + 'a {
        let words = self.0.get(at..).unwrap_or_default().as_chunks::<4>().0;
        words
            .iter()
            .take(count)
            .map(|&word| u32::from_le_bytes(word))
    }
}

/// Where the structures of a list keep their type and length, by the length's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// Type and length in a byte each: MADT, SRAT, PPTT.
    Byte,
    /// Type in a byte, length in the two bytes behind it: IORT, GTDT.
    Word,
    /// Type in two bytes, length in four from offset 4: HMAT.
    Long,
}

/// One structure of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: u16,
    /// Offset in the table.
    pub(crate) offset: usize,
    /// The structure, type and length included.
    pub(crate) bytes: Bytes<'a>,
}

/// A structure that reaches beyond its table, or is shorter than its own header, at
/// this offset: nothing after it can be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cut(pub(crate) usize);

/// The structures of a list, in order. Each takes at least two bytes of its table, so
/// the list ends.
#[derive(Clone, Debug)]
pub(crate) struct Entries<'a> {
    table: &'a [u8],
    at: usize,
    layout: Layout,
}

impl<'a> Entries<'a> {
    /// The list from offset `at` to the end of `table`.
    pub(crate) fn new(table: Bytes<'a>, at: usize, layout: Layout) -> Self {
        Self {
            table: table.0,
            at,
            layout,
        }
    }

    fn entry(&self) -> Option<Entry<'a>> {
        let rest = Bytes(self.table.get(self.at..)?);
        let (kind, length, least) = match self.layout {
            Layout::Byte => (u16::from(rest.u8(0)?), usize::from(rest.u8(1)?), 2),
            Layout::Word => (u16::from(rest.u8(0)?), usize::from(rest.u16(1)?), 4),
            Layout::Long => (rest.u16(0)?, rest.size(4)?, 8),
        };
        let bytes = rest.0.get(..length).filter(|bytes| bytes.len() >= least)?;
        Some(Entry {
            kind,
            offset: self.at,
            bytes: Bytes(bytes),
        })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Cut>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.table.len() {
            return None;
        }
        let entry = self.entry().ok_or(Cut(self.at));
        self.at = match &entry {
            Ok(entry) => self.at + entry.bytes.0.len(),
            Err(_) => self.table.len(),
        };
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_list_ends_at_the_first_structure_that_lies() {
        let table = [9, 3, 0, 8, 2, 7, 9, 1];
        let found: Vec<_> = Entries::new(Bytes(&table), 0, Layout::Byte).collect();
        let kinds: Vec<_> = found
            .iter()
            .map(|entry| entry.map(|entry| (entry.kind, entry.offset, entry.bytes.0.len())))
            .collect();
        assert_eq!(kinds, [Ok((9, 0, 3)), Ok((8, 3, 2)), Err(Cut(5))]);
    }

    #[test]
    fn a_length_of_nothing_is_no_endless_loop() {
        for layout in [Layout::Byte, Layout::Word, Layout::Long] {
            let found: Vec<_> = Entries::new(Bytes(&[0; 64]), 0, layout).collect();
            assert_eq!(found, [Err(Cut(0))]);
        }
    }

    #[test]
    fn fields_beyond_the_end_are_missing() {
        let bytes = Bytes(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes.u64(0), Some(0x0807_0605_0403_0201));
        assert_eq!(bytes.u64(1), None);
        assert_eq!(bytes.u32(usize::MAX), None);
        assert_eq!(bytes.words(4, 9).collect::<Vec<_>>(), [0x0807_0605]);
    }
}
