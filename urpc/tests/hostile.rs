//! A peer that writes random words anywhere in the shared memory, at any time. Nothing may panic,
//! hang, or go on after an error; Miri adds that nothing is read out of bounds.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use capelin_urpc::{
    Channel, ChannelError, Label, Line, Message, Ring, RingConfig, SendError, Sender,
};
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn lines(count: usize) -> Vec<Line> {
    (0..count).map(|_| Line::new()).collect()
}

fn config() -> RingConfig {
    RingConfig::new(8).unwrap()
}

/// Uses both ends of a channel once; gives whether they still work.
fn exercise(channel: &mut Channel<'_>, words: &[u64; 7]) -> (bool, bool) {
    let failed = channel.tx.failure();
    let sent = channel.tx.try_send_line(Label::new(1), words);
    if let Some(failure) = failed {
        assert_eq!(sent, Err(SendError::from(failure)), "errors are final");
    }
    let _ = channel.tx.try_send_reserved(Label::new(2), &words[..3]);
    let _ = channel.tx.send_many(Label::new(3), &[*words; 3]);
    assert!(channel.tx.credits() <= config().credits());
    assert!(channel.tx.outstanding() <= config().slots());

    let failed = channel.rx.failure();
    let mut batch = [Message::default(); 3];
    let received = channel.rx.recv_many(&mut batch);
    if let Some(failure) = failed {
        assert_eq!(received, Err(failure), "errors are final");
    }
    if let Ok(Some(message)) = channel.rx.try_recv() {
        assert!(message.words().len() <= 7 && message.len() <= 56);
        assert!(message.read_bytes(&mut [0; 56]).len() == message.len());
    }
    // Waiting ends, whatever is in memory.
    let _ = channel.rx.arm();
    let _ = channel.tx.arm();
    channel.rx.wait_on_line();
    let _ = channel.flush();
    (
        channel.tx.failure().is_none(),
        channel.rx.failure().is_none(),
    )
}

/// A small generator (xorshift), to keep the scribbler fast.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Random words, and words near valid ones, which get further.
fn scribble(memory: &[Line], state: &mut u64) {
    let choice = random(state);
    let line = &memory[usize::try_from(random(state)).unwrap() % memory.len()];
    let word = line
        .word(usize::try_from(choice >> 8).unwrap() % 8)
        .unwrap();
    let value = random(state);
    match choice % 4 {
        0 => word.store(value, Ordering::Relaxed),
        1 => word.store(value % 32, Ordering::Relaxed),
        2 => _ = word.fetch_add(value % 16, Ordering::Relaxed),
        _ => _ = word.fetch_xor(1 << (value % 64), Ordering::Relaxed),
    }
}

#[test]
fn a_scribbling_peer_only_breaks_the_channel() {
    let (channels, uses) = if cfg!(miri) { (3, 15) } else { (2_000, 200) };
    let memory = lines(Channel::lines(config(), config()));
    let stop = AtomicBool::new(false);
    let mut broken = 0;
    let mut between = 0xbe7;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = 0x5eed;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..8 {
                    scribble(&memory, &mut state);
                }
                thread::yield_now();
            }
        });
        for channel in 0..channels {
            // Either side; attaching reads a preamble that is scribbled on, and may well fail.
            let created = Channel::create(&memory, config(), config()).unwrap();
            let mut side = if channel % 2 == 0 {
                created
            } else {
                Channel::attach(&memory).unwrap_or(created)
            };
            for round in 0..uses {
                // Between two uses too: how often the other thread gets to run is the host's
                // choice, and what is noticed mustn't hang on that.
                scribble(&memory, &mut between);
                let (sends, receives) = exercise(&mut side, &[round; 7]);
                if !sends && !receives {
                    broken += 1;
                    break;
                }
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(
        cfg!(miri) || broken > channels / 10,
        "only {broken} were noticed"
    );
}

fn fill(sender: &mut Sender<'_>) {
    while sender.try_send(Label::new(0), &[]).is_ok() {}
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Exactly the headers of the protocol are accepted, whatever their upper half.
    #[test]
    fn any_header_is_a_message_or_nothing_or_an_error(
        first in any::<u32>(),
        upper in any::<u32>(),
        near in 0_u32..20,
        anywhere in any::<u32>(),
        use_near in any::<bool>(),
    ) {
        let config = config().with_first_sequence(first);
        let memory = lines(config.lines());
        let mut receiver = Ring::create(&memory, config).unwrap().receiver();
        let sequence = if use_near { first.wrapping_add(near).wrapping_sub(10) } else { anywhere };
        let slot = 4 + (first & 7) as usize;
        let header = u64::from(sequence) | u64::from(upper) << 32;
        memory[slot].word(7).unwrap().store(header, Ordering::Relaxed);
        let received = receiver.try_recv().map(|message| message.is_some());
        let expected = if sequence == first {
            Ok(true)
        } else if sequence == first.wrapping_sub(8) {
            Ok(false)
        } else if sequence == first ^ 1 << 31 {
            Err(ChannelError::Closed)
        } else {
            Err(ChannelError::Corrupt)
        };
        prop_assert_eq!(received, expected);
    }

    /// Exactly the indices between what was taken and what was sent are accepted.
    #[test]
    fn any_index_is_credit_or_an_error(
        first in any::<u32>(),
        delta in 0_u64..20,
        anywhere in any::<u64>(),
        near in any::<bool>(),
    ) {
        let config = config().with_first_sequence(first);
        let memory = lines(config.lines());
        let mut sender = Ring::create(&memory, config).unwrap().sender();
        fill(&mut sender);
        let claimed = if near { u64::from(first).wrapping_add(delta).wrapping_sub(10) } else { anywhere };
        memory[1].word(7).unwrap().store(claimed, Ordering::Relaxed);
        let sent = sender.outstanding();
        let result = sender.try_send(Label::new(0), &[]);
        let freed = u32::try_from(claimed).ok().map(|index| index.wrapping_sub(first));
        let expected = match freed {
            Some(0) => Err(SendError::Full),
            Some(freed) if freed <= sent => Ok(()),
            _ => Err(SendError::Corrupt),
        };
        prop_assert_eq!(result, expected);
        prop_assert!(sender.credits() < config.slots());
    }

    /// No preamble leads outside the memory that the attacher has.
    #[test]
    fn any_preamble_is_refused_or_fits(
        version in 0_u64..3,
        slots in prop_oneof![any::<u32>(), (0_u32..20).prop_map(|shift| 1 << shift)],
        limits in any::<u64>(),
        small_reserve in any::<bool>(),
        given in 0_usize..80,
    ) {
        let memory = lines(given.max(1));
        let word = |index| memory[0].word(index).unwrap();
        word(0).store(version | u64::from(slots) << 32, Ordering::Relaxed);
        let limits = if small_reserve { limits & !0xffff_fffc } else { limits };
        word(1).store(limits, Ordering::Relaxed);
        word(7).store(capelin_urpc::ring::MAGIC, Ordering::Relaxed);
        if let Ok(ring) = Ring::attach(&memory) {
            prop_assert!(ring.config().lines() <= memory.len());
            prop_assert_eq!((version, ring.config().slots()), (1, slots));
            let (mut sender, mut receiver) = ring.split();
            fill(&mut sender);
            while let Ok(Some(_)) = receiver.try_recv() {}
        }
    }
}
