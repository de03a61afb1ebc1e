//! Random operations against a queue as the model, across the wrap-around of every counter.
#![cfg(not(loom))]

use capelin_urpc::{Label, Line, Message, Ring, RingConfig, SendError};
use proptest::prelude::*;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
enum Step {
    Words {
        label: Label,
        words: Vec<u64>,
        reserved: bool,
    },
    Bytes {
        label: Label,
        bytes: Vec<u8>,
    },
    Line([u64; 7]),
    Receive,
    ReceiveMany(usize),
    Sleep,
    Flush,
}

fn label() -> impl Strategy<Value = Label> {
    (any::<u16>(), any::<u8>(), any::<bool>()).prop_map(|(tag, kind, more)| {
        let label = Label::new(tag).with_kind(kind);
        if more { label.with_more() } else { label }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (
            label(),
            prop::collection::vec(any::<u64>(), 0..=8),
            any::<bool>()
        )
            .prop_map(|(label, words, reserved)| Step::Words {
                label,
                words,
                reserved
            }),
        (label(), prop::collection::vec(any::<u8>(), 0..=60))
            .prop_map(|(label, bytes)| Step::Bytes { label, bytes }),
        any::<[u64; 7]>().prop_map(Step::Line),
        Just(Step::Receive),
        Just(Step::Receive),
        (0_usize..6).prop_map(Step::ReceiveMany),
        Just(Step::Sleep),
        Just(Step::Flush),
    ]
}

/// A message as the model keeps it: label and bytes.
type Sent = (Label, Vec<u8>);

fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn received(message: &Message) -> Sent {
    let mut buffer = [0; 56];
    (message.label(), message.read_bytes(&mut buffer).to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_ring_is_a_bounded_queue(
        log_slots in 2_u32..6,
        reserve in 0_u32..3,
        before_wrap in 0_u32..40,
        half in any::<bool>(),
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 24 } else { 400 }),
    ) {
        // Half the runs start just before sequences wrap, half just before their top bit, which
        // is the mark of closing, changes.
        let first = if half { 1_u32 << 31 } else { 0 }.wrapping_sub(before_wrap);
        let config = RingConfig::new(1 << log_slots).unwrap()
            .with_reserve(reserve).unwrap()
            .with_first_sequence(first);
        let memory: Vec<Line> = (0..config.lines()).map(|_| Line::new()).collect();
        let mut sender = Ring::create(&memory, config).unwrap().sender();
        let mut receiver = Ring::attach(&memory).unwrap().receiver();
        let mut model: VecDeque<Sent> = VecDeque::new();
        let ordinary = config.credits() as usize;
        let all = config.slots() as usize - 1;

        for step in steps {
            let (room, sent, result) = match step {
                Step::Words { label, words, reserved } => {
                    let (room, result) = if reserved {
                        // The fast path may let it through on a credit, the limit is the same.
                        (all, sender.try_send_reserved(label, &words))
                    } else {
                        (ordinary, sender.try_send(label, &words))
                    };
                    (room, (label, bytes_of(&words)), result)
                }
                Step::Bytes { label, bytes } => {
                    let result = sender.try_send_bytes(label, &bytes);
                    (ordinary, (label, bytes), result)
                }
                Step::Line(words) => {
                    let result = sender.try_send_line(Label::new(5), &words);
                    (ordinary, (Label::new(5), bytes_of(&words)), result)
                }
                Step::Receive => {
                    let message = receiver.try_recv().unwrap();
                    prop_assert_eq!(message.as_ref().map(received), model.pop_front());
                    continue;
                }
                Step::ReceiveMany(count) => {
                    let mut batch = vec![Message::default(); count];
                    let taken = receiver.recv_many(&mut batch).unwrap();
                    prop_assert_eq!(taken, count.min(model.len()));
                    for message in &batch[..taken] {
                        prop_assert_eq!(Some(received(message)), model.pop_front());
                    }
                    continue;
                }
                Step::Sleep => {
                    prop_assert_eq!(receiver.arm(), model.is_empty());
                    prop_assert_eq!(sender.arm(), Ok(model.len() >= ordinary));
                    continue;
                }
                Step::Flush => {
                    let _ = sender.flush();
                    let _ = receiver.flush();
                    continue;
                }
            };
            let expected = if sent.1.len() > 56 {
                Err(SendError::TooLong)
            } else if model.len() >= room {
                Err(SendError::Full)
            } else {
                model.push_back(sent);
                Ok(())
            };
            prop_assert_eq!(result, expected);
        }
    }

    #[test]
    fn closing_is_seen_at_any_sequence(first in any::<u32>(), sent in 0_u64..3) {
        let config = RingConfig::new(4).unwrap().with_first_sequence(first);
        let memory: Vec<Line> = (0..config.lines()).map(|_| Line::new()).collect();
        let (mut sender, mut receiver) = Ring::create(&memory, config).unwrap().split();
        for word in 0..sent {
            sender.try_send(Label::default(), &[word]).unwrap();
        }
        let _ = sender.close();
        for word in 0..sent {
            let message = receiver.try_recv().unwrap().unwrap();
            prop_assert_eq!(message.words(), &[word]);
        }
        prop_assert!(receiver.try_recv().is_err());
    }
}
