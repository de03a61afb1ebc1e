//! The error word: what x0 holds after a system call.

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// Why a system call failed. Zero in x0 means that it didn't.
        ///
        /// The first group blames the caller's arguments, the second the state of
        /// the objects named, the third a limit; nothing here blames the kernel.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u64)]
        pub enum SysError {
            $($(#[$doc])* $name = $value,)*
        }

        impl SysError {
            /// Every error, for tests and tables.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// A sentence for people.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        impl TryFrom<u64> for SysError {
            type Error = u64;
            fn try_from(word: u64) -> Result<Self, u64> {
                match word { $($value => Ok(Self::$name),)* other => Err(other) }
            }
        }
    };
}

errors! {
    /// No system call or invocation has this number.
    UnknownOperation = 1, "no such operation on this type";
    /// The capability address names no slot (L1 slot out of range or empty).
    NoSuchSlot = 2, "the capability address names no slot";
    /// The slot is empty.
    EmptySlot = 3, "the slot is empty";
    /// The capability is of a type that the operation doesn't take.
    WrongType = 4, "the capability has the wrong type";
    /// The capability lacks a right that the operation needs.
    MissingRight = 5, "the capability lacks a right";
    /// The destination slot holds a capability.
    SlotInUse = 6, "the destination slot is in use";
    /// An argument is out of its range.
    InvalidArgument = 7, "an argument is out of range";
    /// An address or size isn't aligned as the operation needs.
    Unaligned = 8, "an address or size is not aligned";
    /// A sum or product of arguments overflows, or leaves the object.
    OutOfRange = 9, "the range leaves the object";
    /// A user pointer isn't mapped with the permission needed.
    BadPointer = 10, "a pointer is not mapped with the permission needed";
    /// Retype between these types isn't allowed.
    InvalidRetype = 11, "this type cannot be made from that one";
    /// The range asked for overlaps a descendant, here or on another core.
    RangeInUse = 12, "the range overlaps a descendant";
    /// The table entry is occupied.
    EntryInUse = 13, "the translation table entry is occupied";
    /// The object or capability is being deleted, revoked or moved.
    Dying = 14, "the capability is going away";
    /// The capability is locked by an operation that is under way.
    Locked = 15, "the capability is locked";
    /// Only the owner of the object can do that, which is on another core, and nobody can
    /// do it for the caller.
    Foreign = 16, "the object is owned by another core";
    /// Kernels on other cores have a part in it: the monitor can do it with theirs.
    ThroughMonitor = 17, "other cores have a part in it: the monitor can ask them";
    /// The capability has copies, descendants or mappings, and must have none.
    HasRelations = 18, "copies, descendants or mappings exist";
    /// Deleting it would lose the last capability to that memory.
    LastCopy = 19, "it is the last capability to that memory";
    /// The receiver's ring has no room.
    EndpointFull = 20, "the receiver's ring is full";
    /// The receiver posted no slot for the capability sent.
    NoReceiveSlot = 21, "the receiver posted no slot for a capability";
    /// The dispatcher isn't configured, or has stopped.
    NotRunnable = 22, "the dispatcher is not runnable";
    /// A fixed table of the kernel (endpoints, doorbell words, interrupts) is full.
    NoResources = 23, "a table of the kernel is full";
    /// The deadline has passed.
    TimedOut = 24, "the deadline has passed";
    /// Firmware refused the request.
    Firmware = 25, "firmware refused the request";
    /// What is asked for isn't there on this machine.
    Unsupported = 26, "this machine cannot do that";
    /// The interrupt is bound already.
    AlreadyBound = 27, "already bound";
    /// The capability lies in the memory that the operation would clear.
    InsideItself = 28, "the capability lies in what it would clear";
    /// The frame can be written to, or could be once: it isn't executable.
    NotExecutable = 29, "the frame has not been made executable";
    /// No such capability is offered to this kernel, or not any more.
    NoSuchTransfer = 30, "no such capability is offered";
    /// Nothing answers at that physical address.
    NoSuchMemory = 31, "there is no memory at that address";
    /// No operation of this name is under way.
    NoSuchOperation = 32, "no such operation is under way";
}

/// The system call's result word: zero, or a [`SysError`].
#[must_use]
pub const fn to_word(result: Result<(), SysError>) -> u64 {
    match result {
        Ok(()) => 0,
        Err(error) => error as u64,
    }
}

/// Reads a result word. A word that names no error becomes
/// [`SysError::UnknownOperation`]: a newer kernel knows errors that we don't.
///
/// # Errors
/// The error that the word names.
pub fn from_word(word: u64) -> Result<(), SysError> {
    match word {
        0 => Ok(()),
        other => Err(SysError::try_from(other).unwrap_or(SysError::UnknownOperation)),
    }
}

impl core::fmt::Display for SysError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.describe())
    }
}

impl core::error::Error for SysError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_the_register() {
        for &error in SysError::ALL {
            assert_eq!(from_word(to_word(Err(error))), Err(error));
        }
        assert_eq!(from_word(0), Ok(()));
        assert_eq!(from_word(u64::MAX), Err(SysError::UnknownOperation));
    }
}
