//! What carries fragments between two sides.

use core::task::{Context, Poll};

use crate::{Cap, Fragment, TransportError};

/// One side of a connection that carries fragments both ways, in order.
///
/// Methods take `&self`, since many calls share a binding; a transport that
/// needs mutable state keeps it in a cell. Each of the two polls keeps the waker
/// of its latest caller only: [`crate::Binding`] sees to it that this suffices.
pub trait Transport {
    /// Bytes of payload that a fragment may have, 8 to
    /// [`crate::message::MAX_FRAGMENT_BYTES`].
    fn fragment_bytes(&self) -> usize;

    /// Sends `fragment`, or keeps the waker for when there may be room.
    /// A capability to be given away has left when this is `Ready(Ok)`.
    ///
    /// # Errors
    /// [`TransportError::Closed`] is final; any other error is of this fragment.
    fn poll_send(
        &self,
        context: &mut Context<'_>,
        fragment: &Fragment,
    ) -> Poll<Result<(), TransportError>>;

    /// The next fragment that arrived, or keeps the waker for when there is one.
    /// Arrivals that are no fragments at all are dropped by the transport.
    ///
    /// # Errors
    /// [`TransportError::Closed`], once all that arrived before has been taken.
    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<Fragment, TransportError>>;

    /// Whether there is memory to take on another request. A server that says no answers
    /// [`crate::RemoteError::Busy`] instead, and lives.
    fn has_room(&self) -> bool {
        true
    }

    /// Everything to be sent for now has been sent: wakes the peer where sending
    /// alone doesn't. Called before a side waits.
    fn flush(&self) {}

    /// Disposes of a capability that nobody wants: received, or to be given away
    /// with a message that couldn't be sent.
    fn discard(&self, cap: Cap);
}
