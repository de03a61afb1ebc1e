//! How many messages may be under way: ordinary ones leave the reserve, reserved ones the slot for
//! closing, whatever the receiver does meanwhile.

use crate::{config, lines, model};
use capelin_urpc::{ChannelError, Label, Ring, SendError};
use loom::thread;

/// Whenever ordinary messages have filled the ring, the reserve is there at once, and after it the
/// mark of closing has its slot: no unread message is overwritten by it.
#[test]
fn the_reserve_and_the_closing_slot_are_always_there() {
    model(Some(3), || {
        let lines = lines(config().lines());
        let (mut sender, mut receiver) = Ring::create(lines, config()).unwrap().split();
        let producer = thread::spawn(move || {
            let mut sent = 0;
            while sent < 3 && sender.try_send(Label::new(0), &[sent]).is_ok() {
                sent += 1;
            }
            // Reserved ones until there is no room: at least one.
            let mut reserved = 0;
            while reserved < 3 {
                match sender.try_send_reserved(Label::new(1), &[sent]) {
                    Ok(()) => (sent, reserved) = (sent + 1, reserved + 1),
                    Err(error) => {
                        assert_eq!(error, SendError::Full);
                        break;
                    }
                }
            }
            assert!(reserved > 0, "ordinary messages used the reserve up");
            let _ = sender.close();
            sent
        });
        let mut received = 0;
        let error = loop {
            match receiver.try_recv() {
                Ok(Some(message)) => {
                    assert_eq!(message.words(), [received]);
                    received += 1;
                }
                Ok(None) => thread::yield_now(),
                Err(error) => break error,
            }
        };
        assert_eq!(error, ChannelError::Closed);
        assert_eq!(received, producer.join().unwrap());
    });
}

/// A reserved message that went while ordinary ones were refused gives no credit to ordinary ones,
/// and a batch takes no more than its credits.
#[test]
fn ordinary_messages_never_outrun_their_credits() {
    model(Some(3), || {
        // One credit, two in reserve.
        let config = config().with_reserve(2).unwrap();
        let lines = lines(config.lines());
        let (mut sender, mut receiver) = Ring::create(lines, config).unwrap().split();
        let most = config.credits();
        let consumer = thread::spawn(move || {
            let mut received = 0;
            for _ in 0..2 {
                while let Some(message) = receiver.try_recv().unwrap() {
                    assert_eq!(message.line()[0], received);
                    received += 1;
                }
                thread::yield_now();
            }
            (receiver, received)
        });
        let mut sent = 0;
        for payloads in [[[0; 7], [1; 7], [2; 7]], [[3; 7], [4; 7], [5; 7]]] {
            let count = sender.send_many(Label::new(0), &payloads).unwrap();
            assert!(sender.outstanding() <= most);
            sent += count as u64;
            if count < 3 {
                // The next number, as a reserved message: so what arrives is counted through.
                if sender.try_send_reserved(Label::new(1), &[sent]).is_ok() {
                    sent += 1;
                }
                assert!(sender.outstanding() <= most + config.reserve());
                break;
            }
        }
        // By now the reserve may be in use: an ordinary message goes only if credits came back.
        if sender.try_send(Label::new(0), &[sent]).is_ok() {
            assert!(sender.outstanding() <= most, "sent on the reserve");
            sent += 1;
        }
        let (mut receiver, mut received) = consumer.join().unwrap();
        while let Some(message) = receiver.try_recv().unwrap() {
            assert_eq!(message.line()[0], received);
            received += 1;
        }
        assert_eq!(received, sent);
    });
}
