//! What carries fragments between two sides.

use core::task::{Context, Poll};

use crate::{Arrival, Cap, Fragment, RemoteError, TransportError};

/// One side of a connection that carries fragments both ways, in order.
///
/// Methods take `&self`, since many calls share a binding; a transport that
/// needs mutable state keeps it in a cell. Each of the two polls keeps the waker
/// of its latest caller only: [`crate::Binding`] sees to it that this suffices.
pub trait Transport {
    /// Bytes of payload that a fragment may have, 8 to
    /// [`crate::message::MAX_FRAGMENT_BYTES`].
    fn fragment_bytes(&self) -> usize;

    /// Sends `fragment` with `cap`, or keeps the waker for when there may be room. When this is
    /// `Ready(Ok)`, a capability to be given away has left, and its slot is free: the caller leaks
    /// what it has of it.
    ///
    /// # Errors
    /// [`TransportError::Closed`] is final; any other error is of this fragment.
    fn poll_send(
        &self,
        context: &mut Context<'_>,
        fragment: &Fragment,
        cap: Option<&Cap>,
    ) -> Poll<Result<(), TransportError>>;

    /// The next fragment that arrived, or keeps the waker for when there is one.
    /// Arrivals that are no fragments at all are dropped by the transport.
    ///
    /// # Errors
    /// [`TransportError::Closed`], once all that arrived before has been taken.
    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<Arrival, TransportError>>;

    /// Whether a server may keep `bytes` more for the client: there is memory, and the client
    /// hasn't used up its share. A server that may not answers with the error, and lives.
    ///
    /// # Errors
    /// [`RemoteError::Busy`], [`RemoteError::ShareUsed`].
    fn admit(&self, _bytes: usize) -> Result<(), RemoteError> {
        Ok(())
    }

    /// The server keeps so many bytes for the client of this connection now: of messages that
    /// are on their way in, of requests at work, and of replies that wait.
    fn hold(&self, _bytes: usize) {}

    /// Everything to be sent for now has been sent: wakes the peer where sending
    /// alone doesn't. Called before a side waits.
    fn flush(&self) {}
}
