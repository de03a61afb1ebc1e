//! Messages that no client or server sends: an error to the caller, and nothing else closes.

mod common;

use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use capelin_idc::{
    Binding, CallError, Client, InterfaceId, Kind, RemoteError, Transport, WireHeader,
    loopback::{self, Loopback},
    serve,
};
use common::{EchoClient, EchoServer, Runner, disposed, owned, shared};
use proptest::prelude::*;

const ID: InterfaceId = <EchoClient<Loopback> as Client<Loopback>>::INTERFACE;
/// A slot.
const CAP: u32 = 0x77;

/// A server and the bare other side of its transport.
fn server() -> (Runner, Loopback) {
    let (near, far) = loopback::pair(64, 56);
    let runner = Runner::default();
    let service = EchoServer(shared());
    runner.spawn(async move { serve(&far, &service).await });
    (runner, near)
}

/// What the server answers to a message.
fn answer(interface: InterfaceId, operation: u8, body: &[u8], cap: Option<u32>) -> CallError {
    let (runner, near) = server();
    let binding = Binding::new(near, interface);
    let result = runner.run(binding.call(operation, body.to_vec(), cap.map(owned)));
    // The server still serves.
    let sound = [1, 2];
    if interface == ID {
        assert!(runner.run(binding.call(0, sound.to_vec(), None)).is_ok());
    }
    drop(binding);
    runner.settle();
    assert_eq!(disposed(), Vec::from_iter(cap));
    result.expect_err("the server refuses")
}

#[test]
fn each_fault_has_its_error() {
    use RemoteError as R;
    let other = |hash, version| InterfaceId {
        hash: ID.hash ^ hash,
        version: ID.version ^ version,
    };
    let cases = [
        (other(1, 0), 0, &[1, 2][..], None, R::UnknownInterface),
        (other(0, 1), 0, &[1, 2], None, R::WrongVersion),
        (ID, 11, &[], None, R::UnknownOperation),
        (ID, 11, &[], Some(CAP), R::UnknownOperation),
        (ID, 0, &[1], None, R::Malformed),
        (ID, 0, &[1, 2, 3], Some(CAP), R::Malformed),
        (ID, 0, &[1, 2], Some(CAP), R::UnexpectedCapability),
        // Text that isn't UTF-8.
        (ID, 1, &[1, 0xff, 1], None, R::Malformed),
        // A length beyond the end.
        (ID, 2, &[200, 1, 2], None, R::Malformed),
        (ID, 4, &[1, b'x'], None, R::MissingCapability),
        (ID, 5, &[1, 1], None, R::MissingCapability),
        (ID, 5, &[1, 0], Some(CAP), R::UnexpectedCapability),
    ];
    for (interface, operation, body, cap, error) in cases {
        let result = answer(interface, operation, body, cap);
        assert_eq!(result, CallError::Remote(error), "{operation} {body:?}");
    }
}

#[test]
fn a_reply_that_is_none_fails_its_call_alone() {
    let (near, far) = loopback::pair(64, 56);
    let client = EchoClient::new(near);
    let runner = Runner::default();
    let inject = |kind, interface, body: &[u64], cap| {
        let mut words = [0; 8];
        words[0] = WireHeader::new(interface, kind, 0, 99).to_word();
        words[1..=body.len()].copy_from_slice(body);
        far.inject(words, body.len() + 1, cap);
    };
    // Body of one byte, 5: an answer to an `add` that hasn't been asked. Nobody waits; dropped.
    inject(Kind::Reply, ID, &[0x05_0001], None);
    // Then one of the wrong interface, one whose body is cut off, one that is too long.
    let wrong = InterfaceId {
        hash: 1,
        version: 1,
    };
    for (kind, interface, body) in [
        (Kind::Reply, wrong, 0x05_0001),
        (Kind::Reply, ID, 0x05_0040),
        (Kind::Reply, ID, 0x0505_0002),
        (Kind::Request, ID, 0x05_0001),
    ] {
        let mut call = Box::pin(client.add(2, 3));
        runner.run(poll_fn(|context| {
            let first = Future::poll(call.as_mut(), context);
            assert!(first.is_pending());
            Poll::Ready(())
        }));
        let sent = runner.run(poll_fn(|context| far.poll_receive(context)));
        let mut words = [0; 8];
        let correlation = sent.unwrap().fragment.header().correlation();
        words[0] = WireHeader::new(interface, kind, 0, correlation).to_word();
        words[1] = body;
        far.inject(words, 2, None);
        assert_eq!(runner.run(call), Err(CallError::MalformedReply));
    }
    // A sound one is still taken.
    let mut call = Box::pin(client.add(2, 3));
    runner.run(poll_fn(|context| {
        let _ = Future::poll(call.as_mut(), context);
        Poll::Ready(())
    }));
    let sent = runner.run(poll_fn(|context| far.poll_receive(context)));
    let mut words = [0; 8];
    let header = WireHeader::new(
        ID,
        Kind::Reply,
        0,
        sent.unwrap().fragment.header().correlation(),
    );
    words[0] = header.to_word();
    words[1] = 0x05_0001;
    far.inject(words, 2, None);
    assert_eq!(runner.run(call), Ok(5));
}

fn any_message() -> impl Strategy<Value = ([u64; 8], usize, bool)> {
    let sound_header = (0u8..12, any::<u16>(), 0u64..8, any::<bool>(), any::<bool>()).prop_map(
        |(operation, correlation, kind, first, more)| {
            let header = WireHeader::new(ID, Kind::Request, operation, correlation);
            let word = header.at(first, more).to_word();
            word & !7 | kind
        },
    );
    let header = prop_oneof![4 => sound_header, 1 => any::<u64>()];
    let small = prop_oneof![any::<u64>(), 0u64..0x1_0000_0000, 0u64..64];
    let rest = proptest::array::uniform7(small);
    (header, rest, 0usize..=8, any::<bool>()).prop_map(|(header, rest, count, cap)| {
        let mut words = [0; 8];
        words[0] = header;
        words[1..].copy_from_slice(&rest);
        (words, count, cap)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever comes, a server doesn't panic, and serves the next sound request; or it has been
    /// told to close.
    #[test]
    fn a_server_survives_any_messages(
        messages in proptest::collection::vec(any_message(), 0..40),
    ) {
        let (runner, near) = server();
        let (mut closes, mut given) = (false, 0);
        disposed();
        for (words, count, cap) in messages {
            closes |= count > 0 && words[0] & 0xff == 0b1000 | Kind::Close as u64;
            given += usize::from(cap);
            near.inject(words, count, cap.then(|| owned(CAP)));
            runner.settle();
            // Takes what is answered, so that there is room.
            let mut context = Context::from_waker(Waker::noop());
            while near.poll_receive(&mut context).is_ready() && runner.running() > 0 {}
        }
        if runner.running() == 0 {
            prop_assert!(closes);
            // What it didn't take any more is still on its way.
            drop(near);
        } else {
            let binding = Binding::new(near, ID);
            // An id that no earlier reply can have: those have been taken.
            let result = runner.run(binding.call(0, vec![1, 2], None));
            if closes {
                prop_assert!(result.is_err() || result == Ok((vec![3], None)));
            } else {
                prop_assert_eq!(result, Ok((vec![3], None)));
            }
        }
        // Whoever had them, nobody has forgotten any, or disposed of it twice.
        drop(runner);
        prop_assert_eq!(disposed().len(), given);
    }

    /// Whatever comes, a client doesn't panic, and its call ends when its reply comes or the
    /// server closes.
    #[test]
    fn a_client_survives_any_messages(
        messages in proptest::collection::vec(any_message(), 0..40),
    ) {
        let (near, far) = loopback::pair(64, 56);
        let client = EchoClient::new(near);
        let runner = Runner::default();
        let mut given = 0;
        disposed();
        for (words, count, cap) in messages {
            given += usize::from(cap);
            far.inject(words, count, cap.then(|| owned(CAP)));
        }
        let mut call = Box::pin(client.add(1, 2));
        let waker = Waker::noop();
        let mut context = Context::from_waker(waker);
        let mut result = Poll::Pending;
        for _ in 0..4 {
            if result.is_pending() {
                result = Future::poll(call.as_mut(), &mut context);
            }
        }
        if result.is_pending() {
            drop(far);
            prop_assert!(runner.run(call).is_err());
        } else {
            drop((call, far));
        }
        drop(client);
        prop_assert_eq!(disposed().len(), given);
    }
}
