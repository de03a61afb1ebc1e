//! Calls over a loopback: every kind of argument, many at once, dropped ones, closed ones.

mod common;

use std::{cell::Cell, future::poll_fn, rc::Rc, task::Poll};

use capelin_abi::CapAddress;
use capelin_idc::{
    Binding, CallError, Cap, Client, Kind, RemoteError, TransportError, WireHeader,
    loopback::{self, Loopback},
    serve,
    shares::{BYTES, ClientId, Shares},
};
use common::{
    Echo as _, EchoClient, EchoError, EchoImpl, EchoServer, Point, Runner, all, disposed, owned,
    shared,
};

/// A client, its server, and the implementation behind it.
fn connect(capacity: usize, fragment: usize) -> (Runner, EchoClient<Loopback>, Rc<EchoImpl>) {
    let (near, far) = loopback::pair(capacity, fragment);
    let (runner, echo) = (Runner::default(), shared());
    let service = EchoServer(Rc::clone(&echo));
    runner.spawn(async move { serve(&far, &service).await });
    (runner, EchoClient::new(near), echo)
}

/// A slot.
const SLOT: u32 = 0x123;

#[test]
fn every_kind_of_argument_arrives() {
    for (capacity, fragment) in [(1, 56), (2, 48), (8, 56), (1, 8)] {
        let (runner, client, _) = connect(capacity, fragment);
        runner.run(async {
            assert_eq!(client.add(u64::MAX, 3).await, Ok(2));
            assert_eq!(client.text("ab", 40).await, Ok("ab".repeat(40)));
            assert_eq!(client.text("", 1).await, Err(EchoError::Empty));
            let bytes: Vec<u8> = (0..=255).collect();
            let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
            assert_eq!(client.bytes(&bytes).await, Ok(reversed));
            let points = [Point { x: 1, y: 2 }, Point { x: -5, y: 40 }];
            let sum = client.sum(&points, &Point { x: 10, y: 10 }).await;
            assert_eq!(sum, Ok(Point { x: 6, y: 52 }));
            let lent = || Cap::copy(CapAddress(SLOT));
            assert_eq!(client.pass("it", lent()).await, Ok(lent()));
            // What is owned goes there and back; who has it last disposes of it.
            let back = client.pass("it", owned(SLOT)).await.unwrap();
            assert_eq!(disposed(), [0; 0]);
            assert_eq!(back.address(), CapAddress(SLOT));
            drop(back);
            assert_eq!(disposed(), [SLOT]);
            let refused = client.pass("", owned(1)).await;
            assert_eq!((refused, disposed()), (Err(EchoError::Empty), vec![1]));
            let back = client.maybe(Some(owned(2)), true).await;
            assert_eq!(back.unwrap().map(Cap::leak), Some(CapAddress(2)));
            let kept = client.maybe(Some(owned(3)), false).await;
            assert_eq!((kept, disposed()), (Ok(None), vec![3]));
            assert_eq!(client.maybe(None, true).await, Ok(None));
            let (number, back) = client.pair(owned(SLOT)).await.unwrap();
            assert_eq!((number, back.leak()), (SLOT.into(), CapAddress(SLOT)));
            assert_eq!(disposed(), [0; 0]);
        });
    }
}

/// Whichever way a call ends, what it would have given away, or been given, is disposed of once.
#[test]
fn what_a_call_leaves_behind_is_disposed_of() {
    let (runner, client, _) = connect(4, 56);
    runner.run(async {
        // Never sent.
        drop(Box::pin(client.pass("x", owned(1))));
        assert_eq!(disposed(), [1]);
    });
    let (near, far) = loopback::pair(1, 56);
    let client = EchoClient::new(near);
    let mut call = Box::pin(client.pass("x", owned(2)));
    let mut waits = Box::pin(client.pass("x", owned(3)));
    runner.run(poll_fn(|context| {
        assert!(Future::poll(call.as_mut(), context).is_pending());
        assert!(Future::poll(waits.as_mut(), context).is_pending());
        Poll::Ready(())
    }));
    // The second waits for room: nobody else will have it.
    drop(waits);
    assert_eq!(disposed(), [3]);
    // The first is on its way when the server goes.
    drop(far);
    assert!(runner.run(call).is_err());
    drop(client);
    assert_eq!(disposed(), [2]);
}

#[test]
fn oneway_messages_arrive_in_order_before_later_calls() {
    let (runner, client, _) = connect(2, 56);
    let notes = runner.run(async {
        for n in 0..20 {
            client.note(n).await.unwrap();
        }
        client.noted().await
    });
    assert_eq!(notes, Ok((0..20).collect()));
}

#[test]
fn the_longest_body_passes_and_a_longer_one_does_not() {
    let (runner, client, _) = connect(4, 48);
    runner.run(async {
        // Three bytes give the length of the text within the body.
        let longest = vec![7; 65_535 - 3];
        assert_eq!(client.bytes(&longest).await, Ok(longest.clone()));
        let longer = vec![7; 65_536 - 3];
        assert_eq!(client.bytes(&longer).await, Err(CallError::TooLong));
        // A reply that is too long is an error of that call alone.
        let error = client.text("0123456789", 10_000).await;
        let expected = EchoError::Call(CallError::Remote(RemoteError::TooLong));
        assert_eq!(error, Err(expected));
        assert_eq!(client.add(1, 1).await, Ok(2));
    });
}

#[test]
fn many_calls_are_outstanding_and_a_slow_one_holds_up_none() {
    let (runner, client, echo) = connect(3, 48);
    let quick = client.clone();
    let still_shut = Rc::clone(&echo);
    runner.spawn(async move {
        for n in 0..50 {
            assert_eq!(quick.add(n, 1).await, Ok(n + 1));
        }
        assert_eq!(still_shut.finished.get(), 0);
        quick.open().await.unwrap();
    });
    let gates = (0..20).map(|n| Box::pin(client.gate(n))).collect();
    let expected: Vec<_> = (0..20).map(Ok).collect();
    assert_eq!(runner.run(all(gates)), expected);
}

#[test]
fn calls_of_different_tasks_share_a_binding() {
    let (runner, client, echo) = connect(1, 16);
    let done = Rc::new(Cell::new(0));
    for n in 0..10 {
        let (client, done) = (client.clone(), Rc::clone(&done));
        runner.spawn(async move {
            let text = client.text("x", 10 * n + 1).await.unwrap();
            assert_eq!(text.len(), 10 * n as usize + 1);
            assert_eq!(client.gate(u64::from(n)).await, Ok(u64::from(n)));
            done.set(done.get() + 1);
        });
    }
    runner.settle();
    assert_eq!((done.get(), echo.finished.get()), (0, 0));
    runner.run(async { client.open().await.unwrap() });
    runner.settle();
    assert_eq!(done.get(), 10);
}

#[test]
fn a_dropped_call_leaves_a_tombstone_until_its_reply_has_come() {
    let (near, far) = loopback::pair(4, 56);
    let (runner, echo) = (Runner::default(), shared());
    let service = EchoServer(Rc::clone(&echo));
    runner.spawn(async move { serve(&far, &service).await });
    let binding = Rc::new(Binding::new(
        near,
        <EchoClient<Loopback> as Client<Loopback>>::INTERFACE,
    ));
    let client = EchoClient::from_binding(Rc::clone(&binding));
    runner.run(async {
        // Never sent: nothing is left of it.
        drop(Box::pin(client.add(1, 1)));
        assert_eq!(binding.outstanding(), 0);
        let mut call = Box::pin(client.gate(5));
        poll_fn(|context| {
            assert!(Future::poll(call.as_mut(), context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(call);
        assert_eq!(binding.outstanding(), 1);
        // A reply with a capability that nobody waits for any more.
        let mut call = Box::pin(client.pass("x", owned(SLOT)));
        poll_fn(|context| {
            let _ = Future::poll(call.as_mut(), context);
            Poll::Ready(())
        })
        .await;
        drop(call);
        assert_eq!(client.add(2, 3).await, Ok(5));
        assert_eq!(disposed(), [SLOT]);
        assert_eq!(binding.outstanding(), 1);
        client.open().await.unwrap();
        assert_eq!(client.add(2, 3).await, Ok(5));
        assert_eq!(binding.outstanding(), 0);
    });
}

#[test]
fn a_closed_transport_ends_calls_and_the_server_finishes_its_work() {
    let (runner, client, echo) = connect(4, 56);
    let mut call = Box::pin(client.gate(1));
    runner.run(poll_fn(|context| {
        assert!(Future::poll(call.as_mut(), context).is_pending());
        Poll::Ready(())
    }));
    runner.settle();
    drop(call);
    drop(client);
    runner.settle();
    // The request is still at work; its server stays for it.
    assert_eq!((runner.running(), echo.finished.get()), (1, 0));
    echo.is_open.set(true);
    echo.waiting
        .borrow_mut()
        .drain(..)
        .for_each(|waker| waker.wake());
    runner.settle();
    assert_eq!((runner.running(), echo.finished.get()), (0, 1));

    let (near, far) = loopback::pair(4, 56);
    let client = EchoClient::new(near);
    drop(far);
    let result = Runner::default().run(client.add(1, 2));
    assert_eq!(result, Err(CallError::Transport(TransportError::Closed)));
}

#[test]
fn a_transport_without_capabilities_refuses_them_and_goes_on() {
    let (near, far) = loopback::pair(4, 56);
    near.refuse_capabilities(true);
    let (runner, client) = (Runner::default(), EchoClient::new(near));
    let service = EchoServer(shared());
    runner.spawn(async move { serve(&far, &service).await });
    runner.run(async {
        let refused = CallError::Transport(TransportError::NoCapabilities);
        let given = client.maybe(Some(owned(9)), true).await;
        assert_eq!((given, disposed()), (Err(refused), vec![9]));
        assert_eq!(client.add(1, 2).await, Ok(3));
    });
    // The other way round: the reply's capability is refused.
    let (near, far) = loopback::pair(4, 56);
    far.refuse_capabilities(true);
    let client = EchoClient::new(near);
    let service = EchoServer(shared());
    runner.spawn(async move { serve(&far, &service).await });
    runner.run(async {
        let lost = CallError::Remote(RemoteError::ReplyLost);
        let given = client.maybe(Some(owned(SLOT)), true).await;
        assert_eq!((given, disposed()), (Err(lost), vec![SLOT]));
        assert_eq!(client.add(1, 2).await, Ok(3));
    });
}

#[test]
fn a_service_hears_of_its_clients_end_while_requests_are_at_work() {
    let (near, far) = loopback::pair(4, 56);
    let (runner, echo) = (Runner::default(), shared());
    echo.opens_at_end.set(true);
    let service = EchoServer(Rc::clone(&echo));
    runner.spawn(async move { serve(&far, &service).await });
    let client: EchoClient<Loopback> = EchoClient::new(near);
    let mut call = Box::pin(client.gate(1));
    runner.run(poll_fn(|context| {
        assert!(Future::poll(call.as_mut(), context).is_pending());
        Poll::Ready(())
    }));
    runner.settle();
    drop(call);
    runner.settle();
    // A call that nobody waits for isn't the client's end.
    assert_eq!((runner.running(), echo.finished.get()), (1, 0));
    drop(client);
    runner.settle();
    assert_eq!((runner.running(), echo.finished.get()), (0, 1));
}

#[test]
fn a_server_without_memory_says_so_and_goes_on() {
    let (near, far) = loopback::pair(4, 56);
    let (runner, echo) = (Runner::default(), shared());
    let (far, service) = (Rc::new(far), EchoServer(Rc::clone(&echo)));
    let side = Rc::clone(&far);
    runner.spawn(async move { serve(&*side, &service).await });
    let client: EchoClient<Loopback> = EchoClient::new(near);
    runner.run(async {
        assert_eq!(client.add(1, 2).await, Ok(3));
        far.set_room(false);
        let busy = CallError::Remote(RemoteError::Busy);
        assert_eq!(client.add(1, 2).await, Err(busy));
        // Nothing came of it, and the capability that came along isn't kept.
        let given = client.maybe(Some(owned(9)), true).await;
        assert_eq!((given, disposed()), (Err(busy), vec![9]));
        far.set_room(true);
        assert_eq!(client.add(1, 2).await, Ok(3));
    });
}

/// One client's unfinished message, on one of its connections, leaves it little room on the other,
/// and another client all that it may have.
#[test]
fn one_client_leaves_memory_for_others() {
    let (shares, runner, echo) = (Shares::default(), Runner::default(), shared());
    let connect = |client: u64| {
        let (near, far) = loopback::pair(16, 56);
        far.set_share(shares.connect(ClientId(client)).expect("room"));
        let service = EchoServer(Rc::clone(&echo));
        runner.spawn(async move { serve(&far, &service).await });
        near
    };
    let used: CallError = CallError::Remote(RemoteError::ShareUsed);
    let hostile = connect(1);
    let interface = <EchoClient<Loopback> as Client<Loopback>>::INTERFACE;
    let begun = WireHeader::new(interface, Kind::Request, 2, 1).at(true, true);
    let mut words = [0; 8];
    (words[0], words[1]) = (begun.to_word(), 60_000);
    hostile.inject(words, 8, None);
    let client: EchoClient<Loopback> = EchoClient::new(connect(1));
    let stranger: EchoClient<Loopback> = EchoClient::new(connect(2));
    runner.settle();
    let long = vec![1; 10_000];
    runner.run(async {
        assert_eq!(client.bytes(&long).await, Err(used));
        // What was refused is passed over, and the connection goes on.
        assert_eq!(client.add(1, 2).await, Ok(3));
        assert_eq!(stranger.bytes(&long).await, Ok(long.clone()));
        // One body may have any size, if nothing else is kept.
        let longest = vec![1; 65_535 - 3];
        assert_eq!(stranger.bytes(&longest).await, Ok(longest.clone()));
    });
    // Requests at work count, until they are answered.
    let gates: Vec<_> = (0..30)
        .map(|n| {
            let (client, refused) = (client.clone(), Rc::new(Cell::new(false)));
            let noted = Rc::clone(&refused);
            runner.spawn(async move { noted.set(client.gate(n).await == Err(used)) });
            refused
        })
        .collect();
    runner.settle();
    let refused = |gates: &[Rc<Cell<bool>>]| gates.iter().filter(|gate| gate.get()).count();
    assert_eq!(refused(&gates), 30 - (BYTES - 60_000) / 258);
    assert_eq!(runner.run(client.add(1, 2)), Err(used));
    runner.run(echo.open());
    runner.settle();
    assert_eq!(
        echo.finished.get(),
        30 - u32::try_from(refused(&gates)).unwrap()
    );
    runner.run(async {
        let fits = vec![1; 2000];
        assert_eq!(client.bytes(&fits).await, Ok(fits.clone()));
        // With its connection goes what was kept for it.
        drop(hostile);
        assert_eq!(client.bytes(&long).await, Ok(long.clone()));
    });
}
