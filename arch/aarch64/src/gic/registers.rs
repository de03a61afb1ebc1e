//! The register blocks (IHI 0048 chapter 4, IHI 0069 chapter 12).

use tock_registers::{register_bitfields, register_structs};

use crate::mmio::{ReadOnly, ReadWrite, WriteOnly};

register_bitfields![u32,
    pub(super) DistributorControl [
        /// v2: the one enable of this view. v3: group 1 (non-secure view without
        /// affinity routing), group 0 (one security state).
        ENABLE OFFSET(0) NUMBITS(1) [],
        /// v3: group 1.
        ENABLE_GROUP1 OFFSET(1) NUMBITS(1) [],
        /// v3: affinity routing.
        ARE OFFSET(4) NUMBITS(1) [],
        /// v3: a register write is pending.
        RWP OFFSET(31) NUMBITS(1) []
    ],
    pub(super) DistributorType [
        /// Interrupt lines are 32 × (this + 1).
        LINES OFFSET(0) NUMBITS(5) [],
        /// v3: SGIs can name Aff0 above 15.
        RSS OFFSET(26) NUMBITS(1) []
    ],
    pub(super) SoftwareInterrupt [
        INTID OFFSET(0) NUMBITS(4) [],
        TARGETS OFFSET(16) NUMBITS(8) []
    ],
    pub(super) InterfaceControl [
        ENABLE OFFSET(0) NUMBITS(1) []
    ],
    pub(super) RedistributorControl [
        RWP OFFSET(3) NUMBITS(1) []
    ],
    pub(super) Waker [
        PROCESSOR_SLEEP OFFSET(1) NUMBITS(1) [],
        CHILDREN_ASLEEP OFFSET(2) NUMBITS(1) []
    ]
];

register_bitfields![u64,
    pub(super) RedistributorType [
        VLPIS OFFSET(1) NUMBITS(1) [],
        LAST OFFSET(4) NUMBITS(1) [],
        AFFINITY OFFSET(32) NUMBITS(32) []
    ]
];

register_structs! {
    /// The part of the distributor that versions 2 and 3 share. Index 0 of each
    /// array is banked for each core (v2) or reserved (v3 with affinity routing).
    pub(super) Distributor {
        (0x0000 => pub(super) control: ReadWrite<u32, DistributorControl::Register>),
        (0x0004 => pub(super) kind: ReadOnly<u32, DistributorType::Register>),
        (0x0008 => _identity),
        (0x0080 => pub(super) group: [ReadWrite<u32>; 32]),
        (0x0100 => pub(super) set_enable: [ReadWrite<u32>; 32]),
        (0x0180 => pub(super) clear_enable: [ReadWrite<u32>; 32]),
        (0x0200 => _set_pending),
        (0x0280 => pub(super) clear_pending: [ReadWrite<u32>; 32]),
        (0x0300 => _set_active),
        (0x0380 => pub(super) clear_active: [ReadWrite<u32>; 32]),
        (0x0400 => pub(super) priority: [ReadWrite<u32>; 255]),
        (0x07fc => _reserved1),
        (0x0800 => pub(super) targets: [ReadWrite<u32>; 255]),
        (0x0bfc => _reserved2),
        (0x0f00 => pub(super) software_interrupt: WriteOnly<u32, SoftwareInterrupt::Register>),
        (0x0f04 => _reserved3),
        /// v2: a byte for each SGI of this core, a bit for each sender.
        (0x0f10 => pub(super) clear_pending_sgi: [ReadWrite<u32>; 4]),
        (0x0f20 => @END),
    }
}

register_structs! {
    /// The distributor's routing table (v3), at offset 0x6000: one affinity for
    /// each interrupt, of which the first 32 are reserved.
    pub(super) Routing {
        (0x0000 => _reserved),
        (0x0100 => pub(super) route: [ReadWrite<u64>; 988]),
        (0x1fe0 => @END),
    }
}

/// Offset of [`Routing`] in the distributor.
pub(super) const ROUTING_OFFSET: u64 = 0x6000;

register_structs! {
    /// The CPU interface of version 2.
    pub(super) CpuInterface {
        (0x0000 => pub(super) control: ReadWrite<u32, InterfaceControl::Register>),
        (0x0004 => pub(super) priority_mask: ReadWrite<u32>),
        (0x0008 => pub(super) binary_point: ReadWrite<u32>),
        (0x000c => pub(super) acknowledge: ReadOnly<u32>),
        (0x0010 => pub(super) end: WriteOnly<u32>),
        (0x0014 => _reserved0),
        /// Group 1's, as the view sees it that takes group 0 by `acknowledge`.
        (0x0020 => pub(super) acknowledge_group1: ReadOnly<u32>),
        (0x0024 => pub(super) end_group1: WriteOnly<u32>),
        (0x0028 => _reserved1),
        (0x00d0 => pub(super) active_priorities: [ReadWrite<u32>; 4]),
        (0x00e0 => @END),
    }
}

register_structs! {
    /// The first frame of a redistributor: control.
    pub(super) RedistributorFrame {
        (0x0000 => pub(super) control: ReadWrite<u32, RedistributorControl::Register>),
        (0x0004 => _identity),
        (0x0008 => pub(super) kind: ReadOnly<u64, RedistributorType::Register>),
        (0x0010 => _status),
        (0x0014 => pub(super) waker: ReadWrite<u32, Waker::Register>),
        (0x0018 => @END),
    }
}

register_structs! {
    /// The second frame of a redistributor: its core's SGIs and PPIs.
    pub(super) PrivateFrame {
        (0x0000 => _reserved0),
        (0x0080 => pub(super) group: ReadWrite<u32>),
        (0x0084 => _reserved1),
        (0x0100 => pub(super) set_enable: ReadWrite<u32>),
        (0x0104 => _reserved2),
        (0x0180 => pub(super) clear_enable: ReadWrite<u32>),
        (0x0184 => _reserved3),
        (0x0280 => pub(super) clear_pending: ReadWrite<u32>),
        (0x0284 => _reserved4),
        (0x0380 => pub(super) clear_active: ReadWrite<u32>),
        (0x0384 => _reserved5),
        (0x0400 => pub(super) priority: [ReadWrite<u32>; 8]),
        (0x0420 => _reserved6),
        (0x0d00 => pub(super) group_modifier: ReadWrite<u32>),
        (0x0d04 => @END),
    }
}

/// Offset of `GICD_PIDR2` in a version 3 distributor, and of `GICR_PIDR2` in a
/// redistributor: bits 7:4 are the architecture's version (IHI 0069 12.1.13).
pub(super) const PIDR2_OFFSET: u64 = 0xffe8;
/// Offset of `ICPIDR2` in a version 2 distributor (IHI 0048 4.3.18).
pub(super) const PIDR2_OFFSET_V2: u64 = 0xfe8;
/// Offset of `GICC_IIDR` in the CPU interface of version 2: bits 19:16 are the
/// architecture's version (IHI 0048 4.4.15).
pub(super) const INTERFACE_IDENTITY_OFFSET: u64 = 0xfc;

/// Offset of [`PrivateFrame`] in a redistributor.
pub(super) const PRIVATE_FRAME_OFFSET: u64 = 0x1_0000;
/// The priority of every interrupt, in each byte; below the mask that the CPU
/// interfaces get.
pub(super) const PRIORITIES: u32 = 0xa0a0_a0a0;
/// The lowest priority that a CPU interface still takes.
pub(super) const PRIORITY_MASK: u32 = 0xf0;
