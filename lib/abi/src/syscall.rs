//! System calls: `SVC #n` with the call's number as the immediate
//! (`docs/010-system-calls.md`).
//!
//! x0–x17 may change, x18–x30 and SP are kept. A call that is restarted
//! executes its `SVC` again with the arguments as they were.

macro_rules! numbered {
    ($(#[$edoc:meta])* $enum:ident: $repr:ty { $($(#[$doc:meta])* $name:ident = $value:literal,)* }) => {
        $(#[$edoc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr($repr)]
        pub enum $enum { $($(#[$doc])* $name = $value,)* }

        impl $enum {
            /// Every member.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }

        impl TryFrom<$repr> for $enum {
            type Error = $repr;
            #[inline]
            fn try_from(raw: $repr) -> Result<Self, $repr> {
                match raw { $($value => Ok(Self::$name),)* other => Err(other) }
            }
        }
    };
}

numbered! {
    /// Whose text and constants a core is to run ([`Invocation::StartCore`]).
    CoreText: u64 {
        /// Its own: the CoreImage holds all of the CPU driver.
        Own = 0,
        /// Those of the kernel that starts it, which it maps read-only: the CoreImage holds
        /// zeros from where they end up to the arguments, and what is before that isn't
        /// looked at.
        Shared = 1,
    }
}

numbered! {
    /// The system calls.
    Syscall: u16 {
        /// Does nothing. x0 := [`crate::ABI_VERSION`].
        Nop = 0,
        /// Invokes a capability. x0: capability reference, with the
        /// [`Invocation`] in bits 63:48; x1–x7: arguments.
        /// x0 := error, x1–x3 := results.
        Invoke = 1,
        /// Sends a local message. x0: endpoint reference, [`SendFlags`] in bits
        /// 55:48, length in words (0–8) in bits 63:56; x1: capability reference
        /// to send along or 0; x2–x9: the words. x0 := error.
        Send = 2,
        /// [`Syscall::Send`] and [`Syscall::Wait`] in one: the receiver runs at
        /// once when it waits, and the caller waits for its answer. As for
        /// `Send`, with x10, x11 as for `Wait`. When the send fails the call
        /// returns its error at once and doesn't wait.
        Call = 3,
        /// Gives up the processor until something is delivered. x0: 1 when a
        /// message may be delivered in registers, else 0; x10: the delivery count
        /// that the caller has seen; x11: deadline in counter ticks
        /// (`u64::MAX`: none). x0 := 0 when the count differs from the one
        /// seen, [`crate::SysError::TimedOut`], or [`DIRECT_MESSAGE`]: then
        /// x1 := badge, x2–x9 := the words, x10 := header word
        /// ([`crate::lmp::MessageHeader`]).
        Wait = 4,
        /// Gives up the rest of the time slice. x0: 0, or a reference to the
        /// dispatcher to run next. x0 := error.
        Yield = 5,
        /// Continues from a save area of the caller's dispatcher frame: x0 is a
        /// [`crate::dispatcher::SaveArea`]. Enables the dispatcher when that is
        /// the enabled area. Returns only on error.
        Resume = 6,
    }
}

/// Set in x1 of [`Invocation::KernelInfo`] where the core has the CRC32 instructions
/// (`FEAT_CRC32`), which EL0 can't find out by itself.
pub const HAS_CRC32: u64 = 1 << 63;

/// x0 after [`Syscall::Wait`] or [`Syscall::Call`] when the message is in
/// registers.
pub const DIRECT_MESSAGE: u64 = 1 << 16;

bitflags::bitflags! {
    /// How a local message is sent (bits 55:48 of x0).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SendFlags: u8 {
        /// Run the receiver next.
        const YIELD = 1 << 0;
        /// The capability leaves the sender.
        const MOVE = 1 << 1;
        /// The receiver gets the REVOKE right too, which a transfer drops otherwise, a
        /// move as well.
        const KEEP_REVOKE = 1 << 2;
    }
}

numbered! {
    /// What a capability can be asked to do. Arguments are x1–x7, results x1–x3.
    ///
    /// Slots to be filled or operated on ("target") are found in the CSpace whose
    /// L1 CNode is invoked; "source" slots always in the caller's own.
    Invocation: u16 {
        /// Any type. x1 := type | rights << 8 | owner << 16 | flags << 32
        /// (12 bits, as in the slot) | state << 44 (as in the slot), x2 := base,
        /// x3 := size (bytes, or a count for interrupts), or the badge of an
        /// EndpointLmp or Id (0: none).
        Identify = 0,

        /// L1CNode: copy. x1: target, x2: source, x3: rights mask.
        Copy = 1,
        /// L1CNode: copy with a badge or a sub-range. x1: target, x2: source,
        /// x3: rights mask, x4: badge or offset, x5: size of the sub-range, 0
        /// for a badge.
        Mint = 2,
        /// L1CNode: make objects. x1: first target (consecutive slots of one L2
        /// CNode, or of the L1 CNode), x2: source, x3: [`crate::ObjectType`],
        /// x4: offset, x5: bytes of one object, x6: count.
        Retype = 3,
        /// L1CNode: delete. x1: target.
        Delete = 4,
        /// L1CNode: delete all copies and descendants. x1: target. Until it is over, what it
        /// is about can't be used ([`crate::SysError::Dying`]), nor deleted one by one
        /// ([`crate::SysError::Locked`]). Of what lies in the range of another revoke that is
        /// under way, it is over when that is.
        Revoke = 5,
        /// L1CNode: identify a slot of that CSpace, as [`Invocation::Identify`].
        /// x1: target. An empty slot has type Null and is no error.
        IdentifySlot = 6,
        /// L1CNode: grow by a chunk. x1: number of an L1 slot that isn't there, x2: source
        /// (`HomeRam`), x3: offset of 16 KiB there, of which the first CNode is made that is
        /// missing on the way to it. x1 := how many more are: the slot is there after 0.
        /// [`crate::SysError::SlotInUse`] for one that is there already.
        Grow = 7,

        /// VNode: map. x1: source (Frame, DevFrame, or VNode of the next
        /// level), x2: first entry | count << 16 | [`MapFlags`] << 32,
        /// x3: offset into the frame in bytes, x4: slot for the mapping
        /// (in the caller's CSpace).
        Map = 8,
        /// Mapping: clear the entries, invalidate, delete the capability.
        Unmap = 9,
        /// Mapping: change the permissions. x1: [`MapFlags`].
        Protect = 10,
        /// Frame: have it mapped executable from now on, and never writable again. It
        /// must be the only capability to it, with no mapping or part, in no other
        /// frame. It loses WRITE.
        MakeExecutable = 11,

        /// Dispatcher: x1: dispatcher frame, x2: its address in the domain,
        /// x3: L1 CNode, x4: VNode of level 0, x5: [`DispatcherFlags`].
        Configure = 16,
        /// Dispatcher: make runnable; it starts with the run upcall.
        Run = 17,
        /// Dispatcher: stop.
        Stop = 18,
        /// Dispatcher: write to the kernel's log. x1: address, x2: length
        /// (up to 256 bytes).
        Print = 19,
        /// Dispatcher: make an endpoint. x1: offset of the ring in the
        /// dispatcher frame, x2: capacity in messages, x3: slot.
        /// x1 := endpoint index.
        MakeEndpoint = 20,
        /// Dispatcher: make a Notify. x1: bit (0–63) set in
        /// [`crate::dispatcher::offset::NOTIFIED`], x2: slot.
        MakeNotify = 21,
        /// Dispatcher: the endpoint told when this dispatcher ends. x1: endpoint.
        BindDeath = 22,
        /// Dispatcher: end, with an exit code. x1: code (the low 32 bits).
        Exit = 23,
        /// Dispatcher: x1 := [`DispatcherState`] | exit code << 32,
        /// x2 := upcalls, x3 := run time in counter ticks.
        Status = 24,
        /// Dispatcher: registers at its last fault. x1: index (0–30 x, 31 SP,
        /// 32 PC, 33 SPSR, 34 ESR, 35 FAR). x1 := value.
        FaultRegister = 25,

        /// Notify: ring it.
        Ring = 32,

        /// IrqSource (one interrupt): deliver to an endpoint of the caller.
        /// x1: endpoint, x2: slot for the IrqDest.
        BindIrq = 40,
        /// IrqDest: the device has been served; unmask.
        AcknowledgeIrq = 41,

        /// Kernel: have all of a piece of memory be home memory of this kernel, too. x1: Ram,
        /// of which nothing was made; whole blocks of [`crate::boot::HOME_ALIGNMENT`], at
        /// most [`crate::boot::HOME_AT_ONCE`]; x2: target of the HomeRam (in the caller's
        /// CSpace). [`crate::SysError::NoResources`] while this kernel has as many pieces as
        /// it can, or where it can't see the piece beside its first home memory.
        AdoptHome = 46,
        /// Kernel: undo [`Invocation::AdoptHome`]. x1: that HomeRam, of which nothing is
        /// left and no copy; it is deleted, so that the Ram is free again.
        ReleaseHome = 47,
        /// Kernel: x1 := kernel id | node << 16 | [`HAS_CRC32`], x2 := MPIDR,
        /// x3 := counter frequency.
        KernelInfo = 48,
        /// Kernel: a counter. x1: [`KernelCounter`]. x1 := value.
        ReadCounter = 49,
        /// Kernel: read the log. x1: address, x2: length, x3: position to start
        /// at (bytes ever written). x1 := bytes copied, x2 := position of the
        /// first of them, x3 := position of the end of the log.
        ReadLog = 50,
        /// Kernel: stop writing to the console, once it has what the log held; log to the ring
        /// only. x1: 0 (up to where, for a restarted call).
        ReleaseConsole = 51,
        /// Kernel: turn a Frame into a CoreImage. x1: the frame.
        Seal = 52,
        /// Kernel: start a core. x1: CoreImage, x2: MPIDR, x3: 0 for PSCI, or the
        /// spin-table release address, as the device tree has it, x4: [`CoreText`]
        /// ([`CoreText::Shared`] only by PSCI).
        StartCore = 53,
        /// Kernel: PSCI `AFFINITY_INFO`. x1: MPIDR. x1 := 0 on, 1 off, 2 pending.
        AffinityInfo = 54,
        /// Kernel: offer a capability to another kernel, which must have been started
        /// or be about to be. x1: source, x2: kernel id | 1 << 16 for a copy
        /// | 1 << 17 for a kernel that this one starts: no other that has the id may take
        /// it
        /// | 1 << 18 to say that this kernel owns the object, for
        /// [`Invocation::SetOwner`]; nothing leaves
        /// | 1 << 19 to hand an object over of which other kernels have copies, for
        /// [`Invocation::Adopt`].
        /// x1 := [`crate::Ticket`], to be given to whoever imports it there. What is
        /// moved is in transit until it has been taken, or is withdrawn.
        /// [`crate::SysError::NoResources`] while as many are offered as can be.
        Export = 55,
        /// Kernel: take a capability that another kernel offers to this one. x1:
        /// [`crate::Ticket`], x2: target (in the caller's CSpace). When it fails, the
        /// offer stands.
        Import = 56,
        /// Kernel of the boot core: PSCI `SYSTEM_OFF`, once the console has what the log held.
        /// x1: as for [`Invocation::ReleaseConsole`].
        PowerOff = 57,
        /// Kernel of the boot core: PSCI `SYSTEM_RESET`, likewise.
        Reboot = 58,
        /// Kernel: read one word at the linear address of physical address x1 as
        /// the CPU driver sees it. x1 := 1 when that faulted, 0 when not.
        Probe = 59,
        /// Kernel: leaf `x1` of this CPU driver's own translation tables, counted
        /// from address x2 on (0: from the first).
        /// x1 := virtual address, x2 := physical address, x3 := size |
        /// [`KernelLeaf`] in the low 12 bits. [`crate::SysError::OutOfRange`]
        /// past the last.
        MapLeaf = 60,
        /// Kernel: what has become of an offer of this kernel's. x1:
        /// [`crate::Ticket`], x2: 1 to take it back unless it has been taken. x1 := 0
        /// when it stands, 1 when it has been taken, 2 when it was taken back; the
        /// ticket is void then. [`crate::SysError::NoSuchTransfer`] for one that is.
        SettleExport = 61,
        /// Kernel: have page x1 in the temporary window, read a word there, and look at the
        /// map meanwhile. x2: a capability to addresses in which the page lies: reading a
        /// device's register may change what it does. x1 := the page that the window shows,
        /// x2 := [`KernelLeaf`], how. Fails as every use of the window does:
        /// [`crate::SysError::RangeInUse`] for home memory, whosever it is;
        /// [`crate::SysError::OutOfRange`] for any other page that x2 doesn't cover.
        ProbeWindow = 62,
        /// Kernel: end this CPU driver as a panic of its own does: it says so on the console, and
        /// its core is switched off. For tests of what the others do then. Returns only where it
        /// isn't done.
        Panic = 63,
        /// Kernel: take what was sheltered, since it lay in a CNode that died and
        /// mustn't be lost. x1: target (in the caller's CSpace); x2: 0 (where a restarted call
        /// goes on).
        /// [`crate::SysError::EmptySlot`] when there is nothing (more) to take.
        TakeOrphan = 64,
        /// Kernel: lock an object that this kernel owns: until [`Invocation::Unlock`], or
        /// until the caller's dispatcher ends, every use of it here, through whatever
        /// capability, answers [`crate::SysError::Locked`]. x1: source, a capability to it, of
        /// a type that goes to other kernels.
        /// x1 := [`crate::OperationId`]. [`crate::SysError::NoResources`] while as many
        /// operations hold something as can.
        Lock = 65,
        /// Kernel: end a lock. x1: [`crate::OperationId`].
        /// [`crate::SysError::NoSuchOperation`] for what isn't one, or not any more.
        Unlock = 66,
        /// Kernel: begin to revoke an object of this kernel's on all kernels. What is in
        /// its range can't be used here ([`crate::SysError::Dying`]) until
        /// [`Invocation::Unmark`]. x1: source, a capability to it, of a type that goes to
        /// other kernels. x1 := [`crate::OperationId`], for the other kernels.
        MarkRange = 67,
        /// Kernel: take part in another kernel's revoke: mark its range here, and take back
        /// what is on its way from here. x1: [`crate::OperationId`].
        /// [`crate::SysError::Locked`] for a locked object in the range, and while its
        /// kernel counts: to be asked again. [`crate::SysError::Dying`] in a range that is
        /// marked, whose revoke is this one's answer.
        JoinMark = 68,
        /// Kernel: have all sweep, if all have marked. x1: [`crate::OperationId`].
        /// x1 := 0, or 1 while kernel x2 := … hasn't.
        CommitMark = 69,
        /// Kernel: remove some of what is in the range of a revoke that is committed. x1:
        /// [`crate::OperationId`], x2: in a revoke of this kernel's own, the capability to
        /// keep, or 0 for none. x1 := 0 when nothing is left, 1 when there is.
        SweepStep = 70,
        /// Kernel: end a revoke, or this kernel's part in one. x1: [`crate::OperationId`],
        /// x2: as in [`Invocation::SweepStep`]. A revoke that isn't committed is given up;
        /// one that is ends when all have swept: x1 := 0, or 1 while kernel x2 := …
        /// hasn't. A part ends after the revoke ([`crate::SysError::Locked`] before).
        Unmark = 71,
        /// Kernel: have what was moved away from here, and is moved home by a ticket, be
        /// free memory of its ancestor's again. x1: [`crate::Ticket`].
        Reclaim = 72,
        /// Kernel: note who has what was moved away from here, as that kernel says. x1:
        /// [`crate::Ticket`].
        SetOwner = 73,
        /// Kernel: own what another kernel hands over, and of which a copy is here. x1:
        /// [`crate::Ticket`], x2: target (in the caller's CSpace).
        /// [`crate::SysError::EmptySlot`] when there is no copy here any more.
        Adopt = 74,
    }
}

numbered! {
    /// Counters of a CPU driver since it started.
    KernelCounter: u64 {
        /// System calls taken.
        Syscalls = 0,
        /// Upcalls made.
        Upcalls = 1,
        /// Interrupts taken.
        Interrupts = 2,
        /// Doorbell interrupts taken.
        DoorbellInterrupts = 3,
        /// Switches from one dispatcher to another.
        Switches = 4,
        /// Timer interrupts taken.
        TimerInterrupts = 5,
        /// Counter ticks spent in WFI.
        IdleTicks = 6,
        /// Faults of user programs.
        Faults = 7,
        /// Bytes of kernel objects made from home memory.
        ObjectBytes = 8,
        /// Bytes of home memory.
        HomeBytes = 9,
        /// Instructions (timer ticks scaled) is not known to the kernel: counter
        /// value when the CPU driver was entered.
        EntryTicks = 10,
    }
}

bitflags::bitflags! {
    /// Permissions and memory kind of a mapping.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MapFlags: u32 {
        /// Readable.
        const READ = 1 << 0;
        /// Writable; never together with `EXECUTE` (I9).
        const WRITE = 1 << 1;
        /// Executable: of a frame that was made so ([`Invocation::MakeExecutable`]).
        const EXECUTE = 1 << 2;
        /// Normal memory, not cached.
        const UNCACHED = 1 << 3;
    }

    /// What a dispatcher is.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct DispatcherFlags: u32 {
        /// May use the FP and SIMD registers.
        const FP = 1 << 0;
    }

    /// What a leaf of a CPU driver's own map is (low bits of a size).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct KernelLeaf: u64 {
        /// Writable.
        const WRITE = 1 << 0;
        /// Executable by the kernel.
        const EXECUTE = 1 << 1;
        /// Device memory.
        const DEVICE = 1 << 2;
        /// What kernels share: doorbell pages and offers, another kernel's or its own,
        /// and the table of all kernels.
        const DOORBELL = 1 << 3;
    }
}

numbered! {
    /// The life of a dispatcher.
    DispatcherState: u32 {
        /// Made, not configured.
        New = 0,
        /// Configured or stopped.
        Stopped = 1,
        /// On the run queue or running.
        Runnable = 2,
        /// Waiting for a delivery or a deadline.
        Blocked = 3,
        /// Ended by itself.
        Exited = 4,
        /// Ended by a fault that it couldn't take.
        Faulted = 5,
    }
}

/// x0 of [`Syscall::Invoke`].
#[must_use]
pub const fn invoke_word(capability: crate::CapRef, invocation: Invocation) -> u64 {
    capability.to_word() | (invocation as u64) << 48
}

/// x0 of [`Syscall::Send`] and [`Syscall::Call`]; `length` in words, at most 8.
#[must_use]
pub const fn send_word(endpoint: crate::CapRef, flags: SendFlags, length: usize) -> u64 {
    endpoint.to_word() | (flags.bits() as u64) << 48 | (length as u64) << 56
}
