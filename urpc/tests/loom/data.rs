//! Messages and slots: whole, in order, and no slot written while it is read.

use crate::{config, lines, model};
use capelin_urpc::{Label, Message, Ring, SendError, SetupError};
use loom::thread;

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
            let mut batch = [Message::default(); 2];
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
                Err(error) => assert_eq!(error, SetupError::NotARing),
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
