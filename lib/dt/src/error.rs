//! Why a blob is not a device tree that Capelin reads.

use core::fmt;

/// Which of the blob's blocks, or which part of one, an error is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block {
    /// The memory reservation block (devicetree specification 5.3).
    Reservations,
    /// The structure block (5.4).
    Structure,
    /// The strings block (5.5).
    Strings,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reservations => "memory reservation block",
            Self::Structure => "structure block",
            Self::Strings => "strings block",
        })
    }
}

/// Why a blob was refused. Offsets are in bytes from the start of the blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtError {
    /// Fewer bytes than the header has.
    ShortHeader {
        /// Bytes given.
        length: usize,
    },
    /// The first word is not `0xd00dfeed`.
    BadMagic {
        /// What it is instead, big-endian.
        found: u32,
    },
    /// The format's version is not one that Capelin reads: 16 or later, and
    /// compatible back to 17 or earlier.
    BadVersion {
        /// `version`.
        version: u32,
        /// `last_comp_version`.
        last_compatible: u32,
    },
    /// `totalsize` is smaller than the header or larger than
    /// [`crate::early::MAX_TOTAL_SIZE`].
    BadTotalSize {
        /// `totalsize`, in bytes.
        total_size: u32,
    },
    /// The blob's blocks end behind its first [`crate::early::MAX_SIZE`] bytes.
    TooLarge {
        /// Where they end, in bytes.
        used: usize,
    },
    /// The blob's bytes end before its `totalsize`.
    Truncated {
        /// `totalsize`, in bytes.
        total_size: usize,
        /// Bytes given.
        length: usize,
    },
    /// A block does not lie within the blob.
    BlockOutside(Block),
    /// A block's offset is not aligned as the specification wants it (5.6).
    BlockMisaligned(Block),
    /// The block ends before its terminator.
    Unterminated(Block),
    /// A token that does not exist, or that may not stand here.
    BadToken {
        /// Where.
        offset: usize,
        /// The token.
        token: u32,
    },
    /// A node or property name that is empty, too long, not terminated, or holds
    /// other than printable ASCII.
    BadName {
        /// Where the node starts, or the property.
        offset: usize,
    },
    /// A property's value reaches beyond the structure block.
    PropertyOutside {
        /// Where the property starts.
        offset: usize,
    },
    /// Nodes are nested deeper than [`crate::validate::MAX_DEPTH`].
    TooDeep {
        /// Where.
        offset: usize,
    },
    /// More than [`crate::validate::MAX_NODES`] nodes.
    TooManyNodes,
    /// A node's path is longer than [`crate::validate::MAX_PATH`] bytes.
    PathTooLong {
        /// Where the node starts.
        offset: usize,
    },
    /// No tree: the structure block holds no root node, or more than one.
    NoSingleRoot,
    /// `#address-cells`, `ranges` and `interrupt-map` of this tree would take
    /// unreasonably many steps to follow.
    TooComplex,
}

impl fmt::Display for DtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ShortHeader { length } => {
                write!(
                    f,
                    "{length} bytes are too few for a flattened device tree's header"
                )
            }
            Self::BadMagic { found } => write!(
                f,
                "not a flattened device tree: it starts with {found:#010x}, not 0xd00dfeed"
            ),
            Self::BadVersion {
                version,
                last_compatible,
            } => write!(
                f,
                "version {version} (compatible to {last_compatible}) is not 16 or 17"
            ),
            Self::BadTotalSize { total_size } => {
                write!(f, "the header gives an impossible size, {total_size} bytes")
            }
            Self::TooLarge { used } => write!(
                f,
                "it has {used} bytes, the arm64 boot protocol allows {}",
                crate::early::MAX_SIZE
            ),
            Self::Truncated { total_size, length } => write!(
                f,
                "truncated: the header says {total_size} bytes, there are {length}"
            ),
            Self::BlockOutside(block) => write!(f, "the {block} lies outside the blob"),
            Self::BlockMisaligned(block) => write!(f, "the {block} is misaligned"),
            Self::Unterminated(block) => write!(f, "the {block} ends without its terminator"),
            Self::BadToken { offset, token } => {
                write!(
                    f,
                    "token {token:#x} at offset {offset:#x} may not stand there"
                )
            }
            Self::BadName { offset } => write!(f, "bad name at offset {offset:#x}"),
            Self::PropertyOutside { offset } => write!(
                f,
                "the property at offset {offset:#x} reaches beyond the structure block"
            ),
            Self::TooDeep { offset } => {
                write!(f, "nodes are nested too deep at offset {offset:#x}")
            }
            Self::TooManyNodes => f.write_str("too many nodes"),
            Self::PathTooLong { offset } => {
                write!(f, "the path of the node at offset {offset:#x} is too long")
            }
            Self::NoSingleRoot => f.write_str("there is not exactly one root node"),
            Self::TooComplex => f.write_str("its address translations take too many steps"),
        }
    }
}

impl core::error::Error for DtError {}
