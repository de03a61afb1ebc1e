//! Sleep and wake-up. Any wake-up that is lost deadlocks the model.

use crate::bell::{Core, Counter};
use crate::{config, lines, model};
use capelin_urpc::{Channel, Flush, Label, Receiver, Ring, SendError, full_barrier};
use loom::thread;

/// A receiver that blocks whenever it may, a sender that flushes once a message: any lost wake-up
/// deadlocks.
#[test]
fn no_wake_up_of_the_receiver_is_lost() {
    model(None, || {
        let lines = lines(config().lines());
        let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
        let doorbell = Counter::new();
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
        let doorbell = Counter::new();
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
            full_barrier();
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
        let doorbell = Counter::new();
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
        let server_bell = Counter::new();
        let client_bell = Counter::new();
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

/// Two peers ring one bit. The second one finds it set and does nothing; what it sent must be seen
/// all the same by a receiver that doesn't announce its sleep again, since its announcement stands.
#[test]
fn a_bit_that_two_peers_share_loses_no_message_of_either() {
    model(Some(3), || {
        let core = Core::new();
        let (producers, mut receivers): (Vec<_>, Vec<_>) = (0..2)
            .map(|_| {
                let lines = lines(config().lines());
                let (mut sender, receiver) = Ring::create(lines, config()).unwrap().split();
                let bell = core.clone();
                let producer = thread::spawn(move || {
                    sender.try_send(Label::new(0), &[7]).unwrap();
                    bell.ring(0, sender.flush());
                });
                (producer, receiver)
            })
            .unzip();
        loop {
            receivers.retain_mut(|receiver| receiver.try_recv().unwrap().is_none());
            if receivers.is_empty() {
                break;
            }
            // As a dispatcher with many channels: one barrier for all that announce anew.
            let renewed: Vec<_> = receivers.iter_mut().filter_map(renew).collect();
            if !renewed.is_empty() {
                full_barrier();
                if renewed.iter().any(|receiver| receiver.is_ready()) {
                    continue;
                }
            }
            core.wait();
        }
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

/// The receiver, if it has announced its sleep anew.
fn renew<'a, 'm>(receiver: &'a mut Receiver<'m>) -> Option<&'a Receiver<'m>> {
    receiver.announce_sleep().then_some(&*receiver)
}

/// The same with a bit a channel: only the channel whose bit was rung is looked at.
#[test]
fn with_a_bit_a_channel_only_what_was_rung_is_looked_at() {
    model(Some(3), || {
        let core = Core::new();
        let (producers, mut receivers): (Vec<_>, Vec<_>) = (0..2)
            .map(|bit| {
                let lines = lines(config().lines());
                let (mut sender, receiver) = Ring::create(lines, config()).unwrap().split();
                let bell = core.clone();
                let producer = thread::spawn(move || {
                    sender.try_send(Label::new(0), &[7]).unwrap();
                    bell.ring(bit, sender.flush());
                });
                (producer, receiver)
            })
            .unzip();
        let mut waiting = 0;
        for (bit, receiver) in receivers.iter_mut().enumerate() {
            if receiver.arm() {
                waiting |= 1 << bit;
            }
        }
        while waiting != 0 {
            let rung = core.wait();
            for (bit, receiver) in receivers.iter_mut().enumerate() {
                if rung & waiting & 1 << bit != 0 {
                    assert!(receiver.is_ready(), "rung for nothing");
                    waiting &= !(1 << bit);
                }
            }
        }
        for receiver in &mut receivers {
            assert!(receiver.try_recv().unwrap().is_some());
        }
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

/// A sender that is still starved after a wake-up that was for another: its announcement stands, and
/// it looks at its credits without a barrier.
#[test]
fn a_bit_that_two_receivers_share_starves_no_sender() {
    model(Some(2), || {
        let core = Core::new();
        let (consumers, mut senders): (Vec<_>, Vec<_>) = (0..2)
            .map(|_| {
                let lines = lines(config().lines());
                let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
                for n in 0..2 {
                    sender.try_send(Label::new(0), &[n]).unwrap();
                }
                let bell = core.clone();
                let consumer = thread::spawn(move || {
                    assert!(receiver.try_recv().unwrap().is_some());
                    bell.ring(0, receiver.flush());
                });
                (consumer, sender)
            })
            .unzip();
        while !senders.is_empty() {
            senders.retain_mut(|sender| sender.arm().unwrap());
            if !senders.is_empty() {
                core.wait();
            }
        }
        for consumer in consumers {
            consumer.join().unwrap();
        }
    });
}

/// A receiver that flushes without having taken anything mustn't use up the starved sender's
/// announcement.
#[test]
fn an_idle_flush_of_the_receiver_starves_no_sender() {
    model(Some(3), || {
        let lines = lines(config().lines());
        let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
        for n in 0..2 {
            sender.try_send(Label::new(0), &[n]).unwrap();
        }
        let core = Core::new();
        let bell = core.clone();
        let consumer = thread::spawn(move || {
            bell.ring(0, receiver.flush());
            assert!(receiver.try_recv().unwrap().is_some());
            bell.ring(0, receiver.flush());
        });
        while sender.arm().unwrap() {
            core.wait();
        }
        consumer.join().unwrap();
    });
}
