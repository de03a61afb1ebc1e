//! Closing, by either end, while the other one sleeps.

use crate::bell::{Core, Counter};
use crate::{config, lines, model};
use capelin_urpc::{ChannelError, Label, Ring, SendError};
use loom::thread;

#[test]
fn closing_comes_after_the_last_message_and_wakes() {
    model(None, || {
        let lines = lines(config().lines());
        let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
        let doorbell = Counter::new();
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

/// A sender that waits for credits is told that none will come.
#[test]
fn closing_wakes_a_sender_that_waits_for_credits() {
    model(Some(3), || {
        let lines = lines(config().lines());
        let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
        let core = Core::new();
        let bell = core.clone();
        for n in 0..2 {
            sender.try_send(Label::new(0), &[n]).unwrap();
        }
        let consumer = thread::spawn(move || {
            bell.ring(0, receiver.close());
        });
        let error = loop {
            match sender.arm() {
                Ok(true) => assert_eq!(core.wait(), 1),
                Ok(false) => unreachable!("nothing was taken"),
                Err(error) => break error,
            }
        };
        assert_eq!(error, ChannelError::Closed);
        assert_eq!(sender.try_send(Label::new(0), &[2]), Err(SendError::Closed));
        consumer.join().unwrap();
    });
}
