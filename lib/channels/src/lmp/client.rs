//! The client's side of a connection.

use core::{
    cell::Cell,
    task::{Context, Poll},
};

use capelin_abi::{CapAddress, lmp::COUNTED_BADGE};
use capelin_idc::{
    Arrival, CallError, Cap, Client, Fragment, InterfaceId, Kind, RemoteError, Transport,
    TransportError, WireHeader, message::MAX_FRAGMENT_BYTES,
};

use super::{arrival, patience::Bound, sender::Sender};
use crate::{OwnedCap, RtError, endpoint::Endpoint};

/// Messages that the ring of a client's endpoint holds.
const CAPACITY: usize = 8;
/// The badge of the capability that the server replies through. The kernel counts it, and says
/// when the server has dropped it or is gone.
const REPLIES: u64 = COUNTED_BADGE | 1;

/// A connection to a server on the same core.
#[derive(Debug)]
pub struct Lmp {
    sender: Sender,
    endpoint: Endpoint,
    /// Whether the server is gone.
    is_closed: Cell<bool>,
}

/// Binds to the service behind `server`, a capability to its endpoint.
///
/// # Errors
/// [`RtError::Call`] with [`RemoteError::UnknownInterface`], [`RemoteError::WrongVersion`] or
/// [`RemoteError::Refused`] when the server doesn't want us; no endpoints, no slots.
pub async fn bind<C: Client<Lmp>>(server: CapAddress) -> Result<C, RtError> {
    Ok(C::new(Lmp::connect(server, C::INTERFACE).await?))
}

impl Lmp {
    /// Binds to the service behind `server`, whose interface is `interface`.
    ///
    /// # Errors
    /// As [`bind`].
    pub async fn connect(server: CapAddress, interface: InterfaceId) -> Result<Self, RtError> {
        let endpoint = Endpoint::new(CAPACITY)?;
        endpoint.accept_caps();
        let header = WireHeader::new(interface, Kind::Bind, 0, 0);
        // The server has the only capability that replies come through, so the kernel can tell when
        // it is gone. The body is empty; its length is two zero bytes.
        let replies = endpoint.badged(REPLIES)?.give();
        let bind = Fragment::new(header, &[0, 0]);
        let asking = Sender::new(OwnedCap::copy_of(server)?, Bound::Server);
        let sent = asking.deliver(&bind, replies).await;
        sent.map_err(CallError::Transport)?;
        loop {
            let answer = endpoint.receive().await;
            if answer.news().is_some() {
                return Err(CallError::Transport(TransportError::Closed).into());
            }
            let Some(Arrival { fragment, cap }) = arrival(answer) else {
                continue;
            };
            return match (fragment.header().kind(), cap) {
                (Kind::Bound, Some(cap)) => Ok(Self {
                    sender: Sender::new(OwnedCap::received(cap), Bound::Server),
                    endpoint,
                    is_closed: Cell::new(false),
                }),
                (Kind::Failure, _) => {
                    let byte = fragment.payload().get(2).copied().unwrap_or(u8::MAX);
                    Err(CallError::Remote(RemoteError::from_wire(byte)).into())
                }
                _ => Err(CallError::MalformedReply.into()),
            };
        }
    }
}

impl Transport for Lmp {
    fn fragment_bytes(&self) -> usize {
        MAX_FRAGMENT_BYTES
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        fragment: &Fragment,
        cap: Option<&Cap>,
    ) -> Poll<Result<(), TransportError>> {
        self.sender.poll_send(context, fragment, cap)
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<Arrival, TransportError>> {
        if self.is_closed.get() {
            return Poll::Ready(Err(TransportError::Closed));
        }
        while let Poll::Ready(received) = self.endpoint.poll_receive(context) {
            if received.news().is_some() {
                self.is_closed.set(true);
                return Poll::Ready(Err(TransportError::Closed));
            }
            if let Some(arrival) = arrival(received) {
                return Poll::Ready(Ok(arrival));
            }
        }
        Poll::Pending
    }
}
