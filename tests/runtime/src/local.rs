//! One program alone.

use alloc::{rc::Rc, string::String, vec, vec::Vec};
use core::{sync::atomic::Ordering, time::Duration};

use capelin_abi::{
    CapAddress, CapRef, ObjectType, Rights, SysError,
    capability::{CNODE_BYTES, L1_CHUNKS},
    layout::l1,
    syscall::SendFlags,
};
use capelin_idc::{Client, serve};
use capelin_rt::{
    OwnedCap,
    endpoint::Endpoint,
    memory::{self, Frame},
    notify::Notify,
    slots, spawn, sys, time,
    urpc::Urpc,
    vspace::{LazyMapped, SharedMapped},
};
use capelin_suite::{Outcome, Reporter, ensure, why};
use capelin_urpc::{Label, Line, Ring, RingConfig, ring::CONTROL_LINES};

use crate::{
    calls::{Server, State},
    probe::{ProbeClient, ProbeServer},
};

pub(crate) async fn run(report: &mut Reporter) {
    report.tell("rt_heap_grows", heap());
    report.tell("rt_copies", copies());
    report.tell("rt_mappings_come_and_go", mappings());
    report.tell("rt_slots_past_the_first_l1_cnode", slots());
    report.tell("rt_lazy_memory", lazy());
    report.tell("rt_endpoint_ring", ring());
    report.tell("rt_endpoint_capability", capability());
    report.tell("rt_endpoint_direct", direct().await);
    report.tell("rt_sleep", sleep().await);
    report.tell("rt_notify", notify().await);
    report.tell("rt_urpc", urpc().await);
    report.tell("rt_urpc_words", urpc_words());
}

fn heap() -> Outcome {
    // More than the image's arena, in pieces and in one.
    let pieces: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 5000]).collect();
    let whole = vec![0x5au8; 3 << 20];
    for (piece, n) in pieces.iter().zip(0..) {
        ensure!(piece.iter().all(|&byte| byte == n), "piece {n} is spoilt");
    }
    ensure!(
        whole.iter().all(|&byte| byte == 0x5a),
        "the block is spoilt"
    );
    Ok(())
}

/// Every length up to some rounds of the longest way, at all alignments of both sides, against
/// copying byte by byte: no byte too few, none too many.
fn copies() -> Outcome {
    const MOST: usize = 200;
    let source: Vec<u8> = (1..=251).collect();
    let mut target = vec![0; MOST + 32];
    for from in 0..16 {
        for to in 0..16 {
            for bytes in 0..=MOST {
                target.fill(0);
                // The length isn't known when this is compiled, so it is a call of `memcpy`.
                let copied = core::hint::black_box(&source[from..from + bytes]);
                target[to..to + bytes].copy_from_slice(copied);
                let right = target.iter().enumerate().all(|(at, &byte)| {
                    let within = at.checked_sub(to).filter(|&offset| offset < bytes);
                    byte == within.map_or(0, |offset| source[from + offset])
                });
                ensure!(right, "{bytes} bytes from {from} to {to}: {target:?}");
            }
        }
    }
    Ok(())
}

fn mappings() -> Outcome {
    for bytes in [4096, 3 * 4096, 2 << 20, (4 << 20) + 8192] {
        // The first time may make tables, which stay.
        Frame::new(bytes).and_then(Frame::map).map_err(why)?;
        let before = memory::left();
        let mut mapped = Frame::new(bytes).and_then(Frame::map).map_err(why)?;
        ensure!(mapped.bytes() as u64 == bytes, "{} bytes", mapped.bytes());
        ensure!(mapped.as_slice().iter().all(|&b| b == 0), "not zeroed");
        mapped.as_mut_slice().fill(7);
        ensure!(mapped.as_slice().iter().all(|&b| b == 7), "not written");
        drop(mapped);
        let after = memory::left();
        ensure!(after == before, "{before:?} became {after:?}");
    }
    let shared = SharedMapped::fresh(8192).map_err(why)?;
    ensure!(shared.write(4090, b"across pages"), "not written");
    let mut text = [0; 12];
    ensure!(shared.read(4090, &mut text), "not read");
    ensure!(&text == b"across pages", "{text:?}");
    ensure!(!shared.write(8190, b"abc"), "written past the end");
    Ok(())
}

/// All L1 slots are used up: the L1 CNode grows, by itself and once.
fn slots() -> Outcome {
    let mut l1 = Vec::new();
    while l1.last().is_none_or(|&last| last < l1::COUNT) {
        l1.push(slots::allocate_l1().map_err(why)?);
    }
    ensure!(!l1.contains(&L1_CHUNKS), "the slot of the chunks is given");
    let home = memory::left().home;
    let next = slots::allocate_l1().map_err(why)?;
    ensure!(next == l1::COUNT + 1, "{next} comes next");
    ensure!(memory::left().home == home, "it grew twice");
    l1.push(next);
    // An L2 CNode there, and a capability in it.
    let (own, kind) = (sys::cspace::OWN, ObjectType::L2CNode);
    let target = CapRef::l1(next);
    let place = memory::make_object(own, target, kind, CNODE_BYTES).map_err(why)?;
    let address = CapAddress::new(next, 200);
    let copied = sys::cspace::copy(own, address.into(), own, Rights::all());
    copied.map_err(why)?;
    ensure!(sys::cspace::is_occupied(address), "nothing is there");
    sys::cspace::delete(own, target).map_err(why)?;
    memory::release(place);
    for number in l1 {
        slots::free_l1(number);
    }
    Ok(())
}

fn lazy() -> Outcome {
    let before = memory::left().ram;
    let mut lazy = LazyMapped::new(64 << 20).map_err(why)?;
    ensure!(lazy.backed() == 0, "backed before it is touched");
    let memory = lazy.as_mut_slice();
    memory[0] = 1;
    memory[40 << 20] = 2;
    memory[(64 << 20) - 1] = 3;
    ensure!(
        memory[12345] == 0 && memory[40 << 20] == 2,
        "wrong contents"
    );
    let backed = lazy.backed();
    ensure!(backed == 3 * 64 * 1024, "{backed} bytes backed");
    drop(lazy);
    ensure!(memory::left().ram == before, "memory hasn't come back");
    Ok(())
}

fn ring() -> Outcome {
    let endpoint = Endpoint::new(4).map_err(why)?;
    let badged = endpoint.badged(77).map_err(why)?;
    let send = |words: &[u64]| sys::send(badged.address(), None, SendFlags::empty(), words);
    for round in 0..10u64 {
        for n in 0..4 {
            send(&[round, n]).map_err(why)?;
        }
        ensure!(
            send(&[0]) == Err(SysError::EndpointFull),
            "no end to the ring"
        );
        for n in 0..4 {
            let message = endpoint.try_receive().ok_or("a message is lost")?;
            ensure!(message.badge == 77, "badge {}", message.badge);
            ensure!(message.payload() == [round, n], "{:?}", message.payload());
        }
        ensure!(endpoint.try_receive().is_none(), "one too many");
    }
    Ok(())
}

fn capability() -> Outcome {
    let endpoint = Endpoint::new(4).map_err(why)?;
    let cap = Frame::new(4096).map_err(why)?.into_shared().0;
    let own = cap.identify().map_err(why)?;
    let send = |cap: &OwnedCap, flags| sys::send(endpoint.cap(), Some(cap.address()), flags, &[1]);
    let refused = send(&cap, SendFlags::empty());
    ensure!(
        refused == Err(SysError::NoReceiveSlot),
        "{refused:?} without a slot"
    );
    endpoint.accept_caps();
    for _ in 0..3 {
        send(&cap, SendFlags::empty()).map_err(why)?;
        let message = endpoint.try_receive().ok_or("a message is lost")?;
        let came = message.cap.ok_or("no capability came")?;
        let identity = came.identify().map_err(why)?;
        ensure!(identity.base == own.base, "{identity:?} for {own:?}");
    }
    send(&cap, SendFlags::MOVE).map_err(why)?;
    ensure!(!sys::cspace::is_occupied(cap.address()), "it hasn't left");
    let message = endpoint.try_receive().ok_or("a message is lost")?;
    ensure!(message.cap.is_some(), "nothing came");
    Ok(())
}

/// A message that comes while the program waits in the kernel.
async fn direct() -> Outcome {
    let endpoint = Rc::new(Endpoint::new(2).map_err(why)?);
    let waiting = spawn({
        let endpoint = Rc::clone(&endpoint);
        async move { endpoint.receive().await.words[0] }
    });
    time::sleep(Duration::from_millis(2)).await;
    ensure!(!waiting.is_finished(), "something came by itself");
    sys::send(endpoint.cap(), None, SendFlags::empty(), &[42]).map_err(why)?;
    let word = waiting.await;
    ensure!(word == 42, "{word} came");
    Ok(())
}

async fn sleep() -> Outcome {
    for milliseconds in [1, 20] {
        let limit = Duration::from_millis(milliseconds);
        let start = time::now();
        time::sleep(limit).await;
        let slept = time::to_duration(time::now() - start);
        ensure!(slept >= limit, "woke after {slept:?} of {limit:?}");
        // Emulators are slow, not by orders of magnitude.
        ensure!(
            slept < limit * 20 + Duration::from_millis(200),
            "slept {slept:?}"
        );
    }
    Ok(())
}

async fn notify() -> Outcome {
    let notify = Rc::new(Notify::new().map_err(why)?);
    sys::dispatcher::ring(notify.cap().address()).map_err(why)?;
    let early = time::timeout(Duration::from_secs(1), notify.rung()).await;
    early.map_err(|_| "a ring before the wait is lost")?;
    let waiting = spawn({
        let notify = Rc::clone(&notify);
        async move { notify.rung().await }
    });
    time::sleep(Duration::from_millis(2)).await;
    ensure!(!waiting.is_finished(), "rung by itself");
    sys::dispatcher::ring(notify.cap().address()).map_err(why)?;
    let late = time::timeout(Duration::from_secs(1), waiting).await;
    late.map_err(|_| "a ring during the wait is lost")?;
    Ok(())
}

/// A channel between two tasks: both ends are ours, and sleep.
async fn urpc() -> Outcome {
    let memory = SharedMapped::fresh(Urpc::bytes()).map_err(why)?;
    let again = OwnedCap::copy_of(memory.cap()).map_err(why)?;
    let again = SharedMapped::new(again, true).map_err(why)?;
    let (near, far) = (Notify::new().map_err(why)?, Notify::new().map_err(why)?);
    let rings = |notify: &Notify| OwnedCap::copy_of(notify.cap().address()).map_err(why);
    let (ring_near, ring_far) = (rings(&near)?, rings(&far)?);
    let client = Urpc::create(memory, Rc::new(near), ring_far).map_err(why)?;
    let server = Urpc::attach(again, Rc::new(far), ring_near).map_err(why)?;
    let state = Rc::new(State::default());
    let service = ProbeServer(Server::new(Rc::clone(&state), 9));
    let serving = spawn(async move { serve(&server, &service).await });
    let client = ProbeClient::new(client);
    for n in 0..200 {
        ensure!(client.add(n, 1).await == Ok(n + 1), "sum {n}");
    }
    // Long enough for both ends to sleep.
    time::sleep(Duration::from_millis(5)).await;
    let bytes: Vec<u8> = (0..60_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    let answer = client.reverse(&bytes).await.map_err(why)?;
    ensure!(answer == reversed, "{} bytes came back", answer.len());
    client.note("one way").await.map_err(why)?;
    let notes = client.notes().await.map_err(why)?;
    ensure!(notes == [String::from("one way")], "{notes:?}");
    let who = client.who().await;
    ensure!(who == Ok(9), "{who:?}");
    drop(client);
    let ended = time::timeout(Duration::from_secs(2), serving).await;
    ended.map_err(|_| "the server doesn't see the channel close")?;
    Ok(())
}

/// The processor's copy of a payload, by pairs, moves each word to where the word-wise copy, which the model checker
/// and Miri step, would have moved it, and touches no other.
fn urpc_words() -> Outcome {
    let config = RingConfig::new(4).map_err(why)?;
    let lines: Vec<Line> = (0..config.lines()).map(|_| Line::new()).collect();
    let (mut sender, mut receiver) = Ring::create(&lines, config).map_err(why)?.split();
    let slots = lines.get(CONTROL_LINES..).unwrap_or_default();
    let load = |slot: &Line, index| {
        let word = slot.word(index);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    };
    let contents = || -> Vec<[u64; 7]> {
        let slots = slots.iter();
        slots
            .map(|slot| core::array::from_fn(|index| load(slot, index)))
            .collect()
    };
    for round in 0..12_u64 {
        let at = (round % 4) as usize;
        let words: [u64; 7] = core::array::from_fn(|index| (round << 32) + 0xa0 + index as u64);
        let mut expected = contents();
        if let Some(slot) = expected.get_mut(at) {
            *slot = words;
        }
        sender.try_send_line(Label::new(1), &words).map_err(why)?;
        ensure!(contents() == expected, "round {round}: {:x?}", contents());
        let inverted = words.map(|word| !word);
        for (index, word) in inverted.iter().enumerate() {
            let shared = slots.get(at).and_then(|slot| slot.word(index));
            shared
                .ok_or("no such word")?
                .store(*word, Ordering::Relaxed);
        }
        let message = receiver.try_recv().map_err(why)?.ok_or("no message")?;
        ensure!(
            *message.line() == inverted,
            "round {round}: {:x?}",
            message.line()
        );
    }
    Ok(())
}
