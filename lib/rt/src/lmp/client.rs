//! The client's side of a connection.

use core::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use capelin_abi::CapAddress;
use capelin_idc::{
    CallError, Cap, Client, Fragment, InterfaceId, Kind, RemoteError, Transport, TransportError,
    WireHeader, message::MAX_FRAGMENT_BYTES,
};

use super::{discard, fragment, sender::Sender};
use crate::{OwnedCap, RtError, endpoint::Endpoint, time};

/// Messages that the ring of a client's endpoint holds.
const CAPACITY: usize = 8;
/// While replies are awaited, the server is looked after this often: nobody tells a client that
/// its server has died.
const LIVENESS: Duration = Duration::from_secs(3);

/// A connection to a server on the same core.
#[derive(Debug)]
pub struct Lmp {
    sender: Sender,
    endpoint: Endpoint,
    /// When the server is looked after next. It goes on from one call to the next.
    watch: RefCell<time::Sleep>,
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
        // The body is empty; its length is two zero bytes.
        let bind = Fragment::new(header, &[0, 0], Some(Cap::copy(endpoint.cap())));
        let asking = Sender::new(OwnedCap::copy_of(server)?);
        poll_fn(|context| asking.poll_send(context, &bind))
            .await
            .map_err(CallError::Transport)?;
        loop {
            let answer = match time::timeout(LIVENESS, endpoint.receive()).await {
                Ok(answer) => answer,
                Err(time::Elapsed) if asking.is_reachable() => continue,
                Err(time::Elapsed) => {
                    return Err(CallError::Transport(TransportError::Closed).into());
                }
            };
            let Some(answer) = fragment(answer) else {
                continue;
            };
            return match (answer.header().kind(), answer.cap()) {
                (Kind::Bound, Some(cap)) => Ok(Self {
                    sender: Sender::new(OwnedCap::received(cap)),
                    endpoint,
                    watch: RefCell::new(time::sleep(LIVENESS)),
                }),
                (Kind::Failure, cap) => {
                    cap.into_iter().for_each(discard);
                    let byte = answer.payload().get(2).copied().unwrap_or(u8::MAX);
                    Err(CallError::Remote(RemoteError::from_wire(byte)).into())
                }
                (_, cap) => {
                    cap.into_iter().for_each(discard);
                    Err(CallError::MalformedReply.into())
                }
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
    ) -> Poll<Result<(), TransportError>> {
        self.sender.poll_send(context, fragment)
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<Fragment, TransportError>> {
        while let Poll::Ready(received) = self.endpoint.poll_receive(context) {
            if let Some(fragment) = fragment(received) {
                return Poll::Ready(Ok(fragment));
            }
        }
        let mut watch = self.watch.borrow_mut();
        loop {
            if Pin::new(&mut *watch).poll(context).is_pending() {
                return Poll::Pending;
            }
            *watch = time::sleep(LIVENESS);
            if !self.sender.is_reachable() {
                return Poll::Ready(Err(TransportError::Closed));
            }
        }
    }

    fn discard(&self, cap: Cap) {
        discard(cap);
    }
}
