//! The registers of an SD host controller (SD Host Controller Simplified Specification 3.00, chapter
//! 2), read and written by words of 32 bits: BCM2711's takes no others.

use tock_registers::register_bitfields;

/// Offsets in bytes.
pub(crate) mod offset {
    /// Block size (2.2.2) and, in the upper half, block count (2.2.3).
    pub(crate) const BLOCKS: usize = 0x04;
    /// Argument (2.2.4).
    pub(crate) const ARGUMENT: usize = 0x08;
    /// Transfer mode (2.2.5) and, in the upper half, command (2.2.6), whose write sends it.
    pub(crate) const COMMAND: usize = 0x0c;
    /// Response (2.2.7): four words.
    pub(crate) const RESPONSE: usize = 0x10;
    /// Buffer data port (2.2.8).
    pub(crate) const BUFFER: usize = 0x20;
    /// Present state (2.2.9).
    pub(crate) const STATE: usize = 0x24;
    /// Host control 1 (2.2.10), power control (2.2.11), block gap, wake-up.
    pub(crate) const CONTROL: usize = 0x28;
    /// Clock control (2.2.14), timeout control (2.2.15), software reset (2.2.16).
    pub(crate) const CLOCK: usize = 0x2c;
    /// Interrupt status, normal (2.2.17) and error (2.2.18): a one clears.
    pub(crate) const STATUS: usize = 0x30;
    /// Which of these are shown (2.2.19, 2.2.20).
    pub(crate) const STATUS_ENABLE: usize = 0x34;
    /// Which of these interrupt (2.2.21, 2.2.22).
    pub(crate) const SIGNAL_ENABLE: usize = 0x38;
    /// Capabilities, the lower half (2.2.25).
    pub(crate) const CAPABILITIES: usize = 0x40;
}

/// Bytes of registers that are used.
pub const REGISTER_BYTES: usize = 0x100;

register_bitfields![u32,
    pub(crate) Blocks [
        SIZE OFFSET(0) NUMBITS(12) [],
        COUNT OFFSET(16) NUMBITS(16) []
    ],
    pub(crate) Command [
        COUNT_BLOCKS OFFSET(1) NUMBITS(1) [],
        /// Has the controller end a transfer of several blocks by CMD12.
        STOP OFFSET(2) NUMBITS(2) [ByCommand = 0, Automatic = 1],
        READ OFFSET(4) NUMBITS(1) [],
        SEVERAL OFFSET(5) NUMBITS(1) [],
        RESPONSE OFFSET(16) NUMBITS(2) [None = 0, Long = 1, Short = 2, ShortBusy = 3],
        CHECK_CRC OFFSET(19) NUMBITS(1) [],
        CHECK_INDEX OFFSET(20) NUMBITS(1) [],
        DATA OFFSET(21) NUMBITS(1) [],
        INDEX OFFSET(24) NUMBITS(6) []
    ],
    pub(crate) State [
        COMMAND_INHIBIT OFFSET(0) NUMBITS(1) [],
        DATA_INHIBIT OFFSET(1) NUMBITS(1) []
    ],
    pub(crate) Control [
        WIDTH OFFSET(1) NUMBITS(1) [One = 0, Four = 1],
        POWER OFFSET(8) NUMBITS(1) [],
        VOLTAGE OFFSET(9) NUMBITS(3) [V33 = 7]
    ],
    pub(crate) Clock [
        INTERNAL OFFSET(0) NUMBITS(1) [],
        STABLE OFFSET(1) NUMBITS(1) [],
        CARD OFFSET(2) NUMBITS(1) [],
        DIVIDER_HIGH OFFSET(6) NUMBITS(2) [],
        DIVIDER OFFSET(8) NUMBITS(8) [],
        /// Data time-out: 2 to the power of 13 and this, in cycles; 14 is the longest.
        TIMEOUT OFFSET(16) NUMBITS(4) [],
        RESET_ALL OFFSET(24) NUMBITS(1) [],
        RESET_COMMAND OFFSET(25) NUMBITS(1) [],
        RESET_DATA OFFSET(26) NUMBITS(1) []
    ],
    pub(crate) Status [
        COMMAND_COMPLETE OFFSET(0) NUMBITS(1) [],
        TRANSFER_COMPLETE OFFSET(1) NUMBITS(1) [],
        WRITE_READY OFFSET(4) NUMBITS(1) [],
        READ_READY OFFSET(5) NUMBITS(1) [],
        ERROR OFFSET(15) NUMBITS(1) [],
        COMMAND_TIMEOUT OFFSET(16) NUMBITS(1) [],
        COMMAND_DAMAGED OFFSET(17) NUMBITS(3) [],
        DATA_TIMEOUT OFFSET(20) NUMBITS(1) [],
        DATA_DAMAGED OFFSET(21) NUMBITS(2) []
    ],
    pub(crate) Capabilities [
        /// Base clock in MHz; 0 if it is told by other means.
        BASE_CLOCK OFFSET(8) NUMBITS(8) []
    ]
];
