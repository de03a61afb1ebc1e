//! The ring under the model checker: every interleaving, and every value that the orderings allow
//! a load to see.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p capelin-urpc --release --test loom`
//!
//! Payloads are checked cells here (see `memory::modelled`): a model fails if a payload can be read
//! while it is written. A lost wake-up shows as a deadlock, which `loom` reports.
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use capelin_urpc::{Channel, ChannelError, Flush, Label, Line, Ring, RingConfig, SendError};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// Lines that live as long as one run of a model needs them.
fn lines(count: usize) -> &'static [Line] {
    Box::leak((0..count).map(|_| Line::new()).collect())
}

/// Four slots and two credits, numbered from just before the wrap-around.
fn config() -> RingConfig {
    RingConfig::new(4).unwrap().with_first_sequence(u32::MAX)
}

fn model(preemptions: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(body);
}

/// The kernel's part in a wake-up: notifications are counted, so one that comes before its target
/// blocks isn't lost.
struct Doorbell {
    rung: Mutex<u32>,
    changed: Condvar,
}

impl Doorbell {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            rung: Mutex::new(0),
            changed: Condvar::new(),
        })
    }

    fn ring(&self, flush: Flush) {
        if flush == Flush::Notify {
            *self.rung.lock().unwrap() += 1;
            self.changed.notify_one();
        }
    }

    fn block(&self) {
        let mut rung = self.rung.lock().unwrap();
        while *rung == 0 {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung -= 1;
    }
}

#[test]
fn messages_arrive_whole_and_in_order_and_slots_are_reused_safely() {
    model(Some(3), || {
        let lines = lines(config().lines());
        let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
        let producer = thread::spawn(move || {
            for n in 0..5 {
                while let Err(error) = sender.try_send_line(Label::new(3), &[n; 7]) {
                    assert_eq!(error, SendError::Full);
                    thread::yield_now();
                }
            }
        });
        for n in 0..5 {
            let message = loop {
                match receiver.try_recv().unwrap() {
                    Some(message) => break message,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(message.words(), [n; 7]);
            assert_eq!(message.tag(), 3);
        }
        producer.join().unwrap();
        assert!(receiver.try_recv().unwrap().is_none());
    });
}

#[test]
fn batches_give_slots_back_only_after_the_last_copy() {
    model(Some(3), || {
        let lines = lines(config().lines());
        let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
        let producer = thread::spawn(move || {
            // The fifth takes the slot of the first again.
            let payloads = [[0; 7], [1; 7], [2; 7], [3; 7], [4; 7]];
            let mut sent = 0;
            while sent < payloads.len() {
                match sender.send_many(Label::new(0), &payloads[sent..]).unwrap() {
                    0 => thread::yield_now(),
                    count => sent += count,
                }
            }
        });
        let mut received = 0;
        while received < 5 {
            let mut batch = [capelin_urpc::Message::default(); 2];
            match receiver.recv_many(&mut batch).unwrap() {
                0 => thread::yield_now(),
                count => {
                    for message in &batch[..count] {
                        assert_eq!(message.words(), [received; 7]);
                        received += 1;
                    }
                }
            }
        }
        producer.join().unwrap();
    });
}

/// A receiver that blocks whenever it may, a sender that flushes once a message: any lost wake-up
/// deadlocks.
#[test]
fn no_wake_up_of_the_receiver_is_lost() {
    model(None, || {
        let lines = lines(config().lines());
        let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
        let doorbell = Doorbell::new();
        let bell = doorbell.clone();
        let producer = thread::spawn(move || {
            for n in 0..2 {
                sender.try_send(Label::new(0), &[n]).unwrap();
                bell.ring(sender.flush());
            }
        });
        for n in 0..2 {
            let message = loop {
                if let Some(message) = receiver.try_recv().unwrap() {
                    break message;
                }
                if receiver.arm() {
                    doorbell.block();
                }
            };
            assert_eq!(message.words(), [n]);
        }
        producer.join().unwrap();
    });
}

/// The same with flushes that follow no message and wake-ups that have another cause: neither may
/// use up an announcement.
#[test]
fn idle_flushes_and_foreign_wake_ups_lose_nothing() {
    model(None, || {
        let lines = lines(config().lines());
        let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
        let doorbell = Doorbell::new();
        let bell = doorbell.clone();
        let producer = thread::spawn(move || {
            bell.ring(sender.flush());
            bell.ring(Flush::Notify);
            sender.try_send(Label::new(0), &[]).unwrap();
            bell.ring(sender.flush());
        });
        while receiver.try_recv().unwrap().is_none() {
            // As a dispatcher with many channels: only what is newly armed is checked again.
            let renewed = receiver.announce_sleep();
            capelin_urpc::full_barrier();
            if renewed && receiver.is_ready() {
                continue;
            }
            doorbell.block();
        }
        producer.join().unwrap();
    });
}

/// A sender that blocks for want of credits, a receiver that flushes once a message.
#[test]
fn no_wake_up_of_the_sender_is_lost() {
    model(Some(3), || {
        let lines = lines(config().lines());
        let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
        let doorbell = Doorbell::new();
        let bell = doorbell.clone();
        let producer = thread::spawn(move || {
            for n in 0..4 {
                while let Err(error) = sender.try_send(Label::new(0), &[n]) {
                    assert_eq!(error, SendError::Full);
                    if sender.arm().unwrap() {
                        doorbell.block();
                    }
                }
            }
        });
        for n in 0..4 {
            let message = loop {
                match receiver.try_recv().unwrap() {
                    Some(message) => break message,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(message.words(), [n]);
            bell.ring(receiver.flush());
        }
        producer.join().unwrap();
    });
}

/// Request and reply with both sides blocking on one doorbell each.
#[test]
fn two_sleepers_wake_each_other() {
    model(Some(3), || {
        let lines = lines(Channel::lines(config(), config()));
        let mut server = Channel::create(lines, config(), config()).unwrap();
        let mut client = Channel::attach(lines).unwrap();
        let server_bell = Doorbell::new();
        let client_bell = Doorbell::new();
        let (to_server, to_client) = (server_bell.clone(), client_bell.clone());
        let service = thread::spawn(move || {
            loop {
                match server.rx.try_recv().unwrap() {
                    Some(request) => {
                        server
                            .tx
                            .try_send(request.label(), request.words())
                            .unwrap();
                        to_client.ring(server.flush());
                        break;
                    }
                    None if server.rx.arm() => server_bell.block(),
                    None => {}
                }
            }
        });
        client.tx.try_send(Label::new(9), &[1, 2]).unwrap();
        to_server.ring(client.flush());
        let reply = loop {
            match client.rx.try_recv().unwrap() {
                Some(reply) => break reply,
                None if client.rx.arm() => client_bell.block(),
                None => {}
            }
        };
        assert_eq!((reply.tag(), reply.words()), (9, &[1, 2][..]));
        service.join().unwrap();
    });
}

#[test]
fn closing_comes_after_the_last_message_and_wakes() {
    model(None, || {
        let lines = lines(config().lines());
        let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
        let doorbell = Doorbell::new();
        let bell = doorbell.clone();
        let producer = thread::spawn(move || {
            sender.try_send(Label::new(0), &[1]).unwrap();
            bell.ring(sender.close());
        });
        let mut messages = 0;
        let error = loop {
            match receiver.try_recv() {
                Ok(Some(_)) => messages += 1,
                Ok(None) if receiver.arm() => doorbell.block(),
                Ok(None) => {}
                Err(error) => break error,
            }
        };
        assert_eq!((messages, error), (1, ChannelError::Closed));
        producer.join().unwrap();
    });
}

/// An attacher that sees the ring sees all of it.
#[test]
fn attaching_races_with_creation() {
    model(None, || {
        let lines = lines(config().lines());
        let creator = thread::spawn(move || {
            let mut sender = Ring::create(lines, config()).unwrap().sender();
            sender.try_send(Label::new(0), &[7]).unwrap();
        });
        let mut receiver = loop {
            match Ring::attach(lines) {
                Ok(ring) => break ring.receiver(),
                Err(error) => assert_eq!(error, capelin_urpc::SetupError::NotARing),
            }
            thread::yield_now();
        };
        let message = loop {
            match receiver.try_recv().unwrap() {
                Some(message) => break message,
                None => thread::yield_now(),
            }
        };
        assert_eq!(message.words(), [7]);
        creator.join().unwrap();
    });
}
