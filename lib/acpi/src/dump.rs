//! Tables as text: what `acpidump` prints.
//!
//! ```text
//! APIC @ 0x000000007B7D0018
//!     0000: 41 50 49 43 9C 01 00 00 04 52 42 4F 43 48 53 20  APIC.....RBOCHS
//!     0010: …
//! ```

use alloc::vec::Vec;

use crate::table::MOST_TABLE_BYTES;

/// The tables in `text`, in its order. A line that is neither a table's first nor bytes
/// ends the table before it; bytes that don't follow those before them end it, too.
#[must_use]
pub fn tables(text: &str) -> Vec<Vec<u8>> {
    let mut tables: Vec<Vec<u8>> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        if is_title(line) {
            tables.push(Vec::new());
            is_open = true;
            continue;
        }
        let table = tables.last_mut().filter(|_| is_open);
        let added = table.and_then(|table| {
            let bytes = row(line, table.len())?;
            table.extend(bytes);
            (table.len() <= MOST_TABLE_BYTES).then_some(())
        });
        is_open = added.is_some();
    }
    tables.retain(|table| !table.is_empty());
    tables
}

/// `APIC @ 0x…`.
fn is_title(line: &str) -> bool {
    let Some((name, address)) = line.split_once('@') else {
        return false;
    };
    let name = name.trim_end();
    (1..=8).contains(&name.len()) && !name.starts_with(' ') && address.trim().starts_with("0x")
}

/// The bytes of `    0010: 41 50 … 4A  text`, if they belong at `at`.
fn row(line: &str, at: usize) -> Option<impl Iterator<Item = u8> + '_> {
    let (offset, rest) = line.split_once(':')?;
    if usize::from_str_radix(offset.trim(), 16).ok()? != at {
        return None;
    }
    let rest = rest.strip_prefix(' ')?;
    // Two digits and a space each, up to sixteen; then the same as text.
    let bytes = (0..16).map_while(move |index| {
        let digits = rest.get(3 * index..3 * index + 2)?;
        let follows = rest.as_bytes().get(3 * index + 2);
        let is_byte = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        (is_byte && matches!(follows, None | Some(b' ')))
            .then(|| u8::from_str_radix(digits, 16).ok())?
    });
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_their_text_is_not() {
        let text = "\
APIC @ 0x0000000000000000
    0000: 41 50 49 43 09 00 00 00 61 62 20 41 42 43 44 45  APIC....ab ABCDE
    0010: 20 41                                             A

FACP @ 0x000000007B7D0018
    0000: 46
    0010: 47
SSDT @ 0x1
not a row
    0000: 48
";
        let expected: [&[u8]; 2] = [
            b"APIC\x09\0\0\0ab ABCDE A",
            // The second row lies.
            b"F",
        ];
        assert_eq!(tables(text), expected);
        assert!(tables("").is_empty());
        assert!(tables("\u{e4}@ 0x\n0000: \u{e4}1 ").is_empty());
    }
}
