//! Large trees of small ones, for tests: what a board's tree is that has thousands of
//! devices, with the machine of a tree that is known.
//!
//! Behind the root's last child come buses of 32 devices each, with the properties that
//! nodes of real boards have, and last a node whose one property fills what is left:
//!
//! ```text
//! bus@N      compatible, #address-cells, #size-cells, ranges
//!   engine@ADDRESS … 32 times
//!            compatible, reg, interrupts, clocks, clock-names, status, phandle
//! padding    value
//! ```

use alloc::format;
use alloc::vec::Vec;

use crate::early::HEADER_SIZE;
use crate::error::DtError;
use crate::types::Region;
use crate::validate::{BEGIN_NODE, END, END_NODE, NOP, PROP, validate, word};

/// Devices on a bus.
const DEVICES: u32 = 32;
/// The first phandle; real trees count from 1.
const FIRST_PHANDLE: u32 = 0x10_0000;
/// The first device's address. There are 256 bytes for each.
const FIRST_ADDRESS: u32 = 0x1000_0000;

/// The tokens that come in, and the names of their properties.
struct Writer {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn pad(&mut self) {
        let length = self.structure.len().next_multiple_of(4);
        self.structure.resize(length, 0);
    }

    fn begin(&mut self, name: &str) {
        self.word(BEGIN_NODE);
        self.structure.extend(name.bytes());
        self.structure.push(0);
        self.pad();
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        let wanted = [name.as_bytes(), &[0]].concat();
        let mut places = self.strings.windows(wanted.len());
        let at = places.position(|window| window == wanted);
        let at = at.unwrap_or_else(|| {
            self.strings.extend(&wanted);
            self.strings.len() - wanted.len()
        });
        self.word(PROP);
        self.word(short(value.len()));
        self.word(short(at));
        self.structure.extend(value);
        self.pad();
    }

    fn cells(&mut self, name: &str, cells: &[u32]) {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.property(name, &bytes);
    }

    fn bus(&mut self, number: u32) {
        self.begin(&format!("bus@{number:x}"));
        self.property("compatible", b"fictional,interconnect\0simple-bus\0");
        self.cells("#address-cells", &[1]);
        self.cells("#size-cells", &[1]);
        self.property("ranges", &[]);
        for device in 0..DEVICES {
            let serial = number * DEVICES + device;
            let address = FIRST_ADDRESS + serial * 256;
            self.begin(&format!("engine@{address:x}"));
            self.property("compatible", b"fictional,engine-v2\0fictional,engine\0");
            self.cells("reg", &[address, 256]);
            self.cells("interrupts", &[0, 256 + serial % 512, 4]);
            self.cells("clocks", &[FIRST_PHANDLE, serial % 64, FIRST_PHANDLE, 65]);
            self.property("clock-names", b"core\0bus\0");
            self.property("status", b"okay\0");
            self.cells("phandle", &[FIRST_PHANDLE + serial]);
            self.word(END_NODE);
        }
        self.word(END_NODE);
    }
}

/// A number below 2^32. Blobs are far smaller.
fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The tree of `blob`, grown to exactly `bytes` bytes. It may be a tree that is too
/// large to be read; one that has to shrink, or can't be filled exactly, stays as it is.
///
/// # Errors
///
/// Why `blob` is no well-formed tree.
pub fn grow(blob: &[u8], bytes: usize) -> Result<Vec<u8>, DtError> {
    let given = validate(blob)?;
    // Behind the root's last child, or its last property.
    let mut end = given.structure().len().saturating_sub(4);
    while end >= 4 && word(given.structure(), end - 4) == Some(NOP) {
        end -= 4;
    }
    let inside = given.structure().get(..end.saturating_sub(4));
    let mut writer = Writer {
        structure: inside.unwrap_or_default().to_vec(),
        strings: given.strings().to_vec(),
    };
    let reservations = 16 * (given.reservations.len() + 1);
    let size = |writer: &Writer| {
        HEADER_SIZE + reservations + writer.structure.len() + 8 + writer.strings.len()
    };
    // The node that pads, without its value, and the names of all properties.
    const PADDING: usize = 32;
    let mut number = 0;
    let mut last = 0;
    while size(&writer) + last + PADDING <= bytes {
        let before = size(&writer);
        writer.bus(number);
        number += 1;
        last = (size(&writer) - before).max(last);
    }
    writer.begin("padding");
    writer.property("value", &[]);
    let Some(missing) = bytes.checked_sub(size(&writer) + 4) else {
        return Ok(blob.to_vec());
    };
    let (whole, rest) = (missing / 4 * 4, missing % 4);
    if let Some(length) = writer.structure.len().checked_sub(8)
        && let Some(place) = writer.structure.get_mut(length..length + 4)
    {
        place.copy_from_slice(&short(whole).to_be_bytes());
    }
    let filled = writer.structure.len() + whole;
    writer.structure.resize(filled, 0xa5);
    for token in [END_NODE, END_NODE, END] {
        writer.word(token);
    }
    // The strings come last, and need no alignment.
    let strings = writer.strings.len() + rest;
    writer.strings.resize(strings, 0);
    Ok(assemble(
        &writer,
        &given.reservations,
        given.header.boot_cpu,
    ))
}

/// The tree of `blob` with `regions` in its memory reservation block besides.
///
/// # Errors
///
/// Why `blob` is no well-formed tree.
pub fn reserve(blob: &[u8], regions: &[Region]) -> Result<Vec<u8>, DtError> {
    let given = validate(blob)?;
    let writer = Writer {
        structure: given.structure().to_vec(),
        strings: given.strings().to_vec(),
    };
    let all = [given.reservations.as_slice(), regions].concat();
    Ok(assemble(&writer, &all, given.header.boot_cpu))
}

/// A version 17 blob.
fn assemble(writer: &Writer, reservations: &[Region], boot_cpu: u32) -> Vec<u8> {
    let structure = HEADER_SIZE + 16 * (reservations.len() + 1);
    let strings = structure + writer.structure.len();
    let fields = [
        crate::early::MAGIC,
        short(strings + writer.strings.len()),
        short(structure),
        short(strings),
        short(HEADER_SIZE),
        17,
        16,
        boot_cpu,
        short(writer.strings.len()),
        short(writer.structure.len()),
    ];
    let mut blob: Vec<u8> = fields.iter().flat_map(|word| word.to_be_bytes()).collect();
    for region in reservations {
        blob.extend(region.base.0.to_be_bytes());
        blob.extend(region.size.to_be_bytes());
    }
    blob.extend([0; 16]);
    blob.extend(&writer.structure);
    blob.extend(&writer.strings);
    blob
}
