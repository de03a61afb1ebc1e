//! The behaviour of one ring and of a channel, in one thread.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use capelin_urpc::ring::{MAX_SLOTS, MIN_SLOTS};
use capelin_urpc::{
    Channel, ChannelError, Flush, Label, Line, Message, Receiver, Ring, RingConfig, SendError,
    Sender, SetupError, Violation, full_barrier,
};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

fn lines(count: usize) -> Vec<Line> {
    (0..count).map(|_| Line::new()).collect()
}

/// Eight slots: one for closing, two in reserve, five for ordinary messages.
fn config() -> RingConfig {
    RingConfig::new(8).unwrap().with_reserve(2).unwrap()
}

fn ring(lines: &[Line], config: RingConfig) -> (Sender<'_>, Receiver<'_>) {
    let sender = Ring::create(lines, config).unwrap().sender();
    let receiver = Ring::attach(lines).unwrap().receiver();
    (sender, receiver)
}

fn next(receiver: &mut Receiver<'_>) -> Message {
    receiver.try_recv().unwrap().expect("a message")
}

fn fill(sender: &mut Sender<'_>) -> u64 {
    let mut sent = 0;
    while sender.try_send(Label::default(), &[sent]).is_ok() {
        sent += 1;
    }
    sent
}

#[test]
fn messages_arrive_in_order_with_label_and_length() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    assert!(receiver.try_recv().unwrap().is_none());
    let label = Label::new(0xabcd).with_kind(0x5e).with_more();
    sender.try_send(label, &[]).unwrap();
    sender.try_send(Label::new(1), &[10, 11, 12]).unwrap();
    sender
        .try_send_line(Label::new(2), &[1, 2, 3, 4, 5, 6, 7])
        .unwrap();
    sender
        .try_send_bytes(Label::new(3), b"thirteen byte")
        .unwrap();

    let message = next(&mut receiver);
    assert_eq!(message.label(), label);
    assert_eq!(
        (message.tag(), message.kind(), message.has_more()),
        (0xabcd, 0x5e, true)
    );
    assert!(message.is_empty() && message.words().is_empty());
    let message = next(&mut receiver);
    assert_eq!(
        (message.tag(), message.words(), message.len()),
        (1, &[10, 11, 12][..], 24)
    );
    assert!(!message.has_more());
    assert_eq!(next(&mut receiver).words(), [1, 2, 3, 4, 5, 6, 7]);
    let message = next(&mut receiver);
    assert_eq!(message.read_bytes(&mut [0; 56]), b"thirteen byte");
    assert!(receiver.try_recv().unwrap().is_none());
}

#[test]
fn a_short_message_shows_nothing_of_the_slot_s_earlier_one() {
    let config = RingConfig::new(4).unwrap();
    let memory = lines(config.lines());
    let (mut sender, mut receiver) = ring(&memory, config);
    for _ in 0..config.slots() {
        sender.try_send_line(Label::new(0), &[u64::MAX; 7]).unwrap();
        next(&mut receiver);
    }
    sender.try_send(Label::new(0), &[1]).unwrap();
    assert_eq!(next(&mut receiver).words(), [1]);
}

#[test]
fn too_long_payloads_are_refused_and_leave_the_ring_as_it_was() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    assert_eq!(
        sender.try_send(Label::new(0), &[0; 8]),
        Err(SendError::TooLong)
    );
    assert_eq!(
        sender.try_send_bytes(Label::new(0), &[0; 57]),
        Err(SendError::TooLong)
    );
    assert!(receiver.try_recv().unwrap().is_none());
    sender.try_send(Label::new(9), &[0; 7]).unwrap();
    assert_eq!(next(&mut receiver).tag(), 9);
}

#[test]
fn ordinary_messages_leave_the_reserve_and_reserved_ones_the_closing_slot() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    assert_eq!(sender.credits(), 5);
    assert_eq!(fill(&mut sender), 5);
    assert_eq!(sender.credits(), 0);
    sender.try_send_reserved(Label::new(1), &[]).unwrap();
    assert_eq!(
        sender.try_send(Label::new(4), &[]),
        Err(SendError::Full),
        "the rest of the reserve isn't for ordinary messages"
    );
    sender.try_send_reserved(Label::new(2), &[]).unwrap();
    assert_eq!(
        sender.try_send_reserved(Label::new(3), &[]),
        Err(SendError::Full)
    );
    assert_eq!(sender.outstanding(), 7);

    // Room for reserved messages comes before room for ordinary ones.
    next(&mut receiver);
    assert_eq!(sender.try_send(Label::new(4), &[]), Err(SendError::Full));
    next(&mut receiver);
    assert_eq!(sender.try_send(Label::new(4), &[]), Err(SendError::Full));
    next(&mut receiver);
    sender.try_send(Label::new(4), &[]).unwrap();
    assert_eq!(sender.try_send(Label::new(4), &[]), Err(SendError::Full));
    sender.try_send_reserved(Label::new(5), &[]).unwrap();

    let rest: Vec<u16> = std::iter::from_fn(|| receiver.try_recv().unwrap())
        .map(|message| message.tag())
        .collect();
    assert_eq!(rest, [0, 0, 1, 2, 4, 5]);
}

#[test]
fn batches_send_and_receive_what_fits() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    let payloads: Vec<[u64; 7]> = (0..9).map(|n| [n; 7]).collect();
    assert_eq!(sender.send_many(Label::new(7), &payloads), Ok(5));
    assert_eq!(sender.send_many(Label::new(7), &payloads[5..]), Ok(0));
    let mut batch = [Message::default(); 3];
    assert_eq!(receiver.recv_many(&mut batch), Ok(3));
    assert_eq!(batch.map(|message| message.words()[6]), [0, 1, 2]);
    assert_eq!(sender.send_many(Label::new(7), &payloads[5..]), Ok(3));
    let mut batch = [Message::default(); 9];
    assert_eq!(receiver.recv_many(&mut batch), Ok(5));
    assert_eq!(batch[4].words(), [7; 7]);
    assert_eq!(receiver.recv_many(&mut batch), Ok(0));
}

#[test]
fn a_batch_before_closing_is_delivered_before_the_error() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    sender.send_many(Label::new(7), &[[1; 7], [2; 7]]).unwrap();
    let _ = sender.close();
    let mut batch = [Message::default(); 4];
    assert_eq!(receiver.recv_many(&mut batch), Ok(2));
    assert_eq!(receiver.recv_many(&mut batch), Err(ChannelError::Closed));
    assert_eq!(receiver.try_recv().map(|_| ()), Err(ChannelError::Closed));
}

#[test]
fn closing_a_full_ring_delivers_everything_then_closed_for_good() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    let sent = fill(&mut sender);
    while sender.try_send_reserved(Label::new(1), &[]).is_ok() {}
    assert_eq!(sender.close(), Flush::Quiet);
    assert_eq!(sender.try_send(Label::new(1), &[]), Err(SendError::Closed));
    for _ in 0..sent + 2 {
        next(&mut receiver);
    }
    assert!(receiver.is_ready());
    for _ in 0..2 {
        assert_eq!(receiver.try_recv().map(|_| ()), Err(ChannelError::Closed));
    }
    assert_eq!(receiver.failure(), Some(ChannelError::Closed));
}

#[test]
fn a_closed_receiver_is_seen_when_credits_run_out() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    assert_eq!(receiver.close(), Flush::Quiet);
    fill(&mut sender);
    let closed = Err(SendError::Closed);
    assert_eq!(sender.try_send(Label::new(1), &[]), closed);
    assert_eq!(sender.try_send_line(Label::new(1), &[0; 7]), closed);
    assert_eq!(receiver.try_recv().map(|_| ()), Err(ChannelError::Closed));
}

/// Its target is never reached: without a wake-up it would sleep for ever.
#[test]
fn closing_wakes_a_sender_that_waits_for_credits() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    fill(&mut sender);
    sender.try_send_reserved(Label::new(1), &[]).unwrap();
    assert_eq!(sender.arm(), Ok(true));
    assert_eq!(receiver.close(), Flush::Notify);
    assert_eq!(receiver.close(), Flush::Quiet, "notified already");
    assert_eq!(sender.arm(), Err(ChannelError::Closed));
}

#[test]
fn a_sleeping_receiver_is_notified_once_per_announcement() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    sender.try_send(Label::new(0), &[]).unwrap();
    assert_eq!(sender.flush(), Flush::Quiet);
    assert!(
        !receiver.arm(),
        "a message waits, so blocking would be wrong"
    );
    next(&mut receiver);

    assert!(receiver.arm());
    assert!(receiver.is_armed());
    assert_eq!(sender.flush(), Flush::Quiet, "nothing was sent since");
    sender.try_send(Label::new(0), &[]).unwrap();
    assert_eq!(sender.flush(), Flush::Notify);
    sender.try_send(Label::new(0), &[]).unwrap();
    assert_eq!(sender.flush(), Flush::Quiet);

    next(&mut receiver);
    next(&mut receiver);
    assert!(!receiver.is_armed());
    assert!(receiver.arm());
    sender.try_send(Label::new(0), &[]).unwrap();
    assert_eq!(sender.flush(), Flush::Notify);
}

/// A notification that was for nothing must not use up the announcement.
#[test]
fn an_idle_receiver_stays_armed_through_spurious_wake_ups() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    assert!(receiver.announce_sleep());
    for _ in 0..3 {
        assert_eq!(sender.flush(), Flush::Quiet);
        assert!(!receiver.announce_sleep(), "the announcement stands");
    }
    sender.try_send(Label::new(0), &[]).unwrap();
    assert_eq!(sender.flush(), Flush::Notify);
}

#[test]
fn a_cancelled_announcement_notifies_nobody() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    assert!(receiver.arm());
    receiver.cancel_sleep();
    sender.try_send(Label::new(0), &[]).unwrap();
    assert_eq!(sender.flush(), Flush::Quiet);
}

#[test]
fn closing_wakes_a_sleeping_receiver() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    assert!(receiver.arm());
    assert_eq!(sender.close(), Flush::Notify);
    assert!(!receiver.arm());
    assert_eq!(receiver.try_recv().map(|_| ()), Err(ChannelError::Closed));
}

#[test]
fn a_starved_sender_is_notified_when_an_ordinary_message_fits() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    assert_eq!(sender.arm(), Ok(false), "there are credits");
    fill(&mut sender);
    // One reserved message more: two have to be taken before an ordinary one fits.
    sender.try_send_reserved(Label::new(1), &[]).unwrap();
    assert_eq!(sender.arm(), Ok(true));
    next(&mut receiver);
    assert_eq!(receiver.flush(), Flush::Quiet);
    assert_eq!(sender.arm(), Ok(true));
    next(&mut receiver);
    assert_eq!(receiver.flush(), Flush::Notify);
    assert_eq!(receiver.flush(), Flush::Quiet);
    assert_eq!(sender.arm(), Ok(false));
    sender.try_send(Label::new(1), &[]).unwrap();
    assert_eq!(sender.arm(), Ok(true), "full again");
    next(&mut receiver);
    assert_eq!(receiver.flush(), Flush::Notify);
}

#[test]
fn one_barrier_serves_many_channels() {
    let memory: Vec<Vec<Line>> = (0..4).map(|_| lines(config().lines())).collect();
    let (mut senders, mut receivers): (Vec<_>, Vec<_>) =
        memory.iter().map(|memory| ring(memory, config())).unzip();
    for receiver in &mut receivers {
        assert!(receiver.announce_sleep());
    }
    full_barrier();
    assert!(receivers.iter().all(|receiver| !receiver.is_ready()));
    senders[2].try_send(Label::new(0), &[]).unwrap();
    full_barrier();
    let woken: Vec<Flush> = senders.iter_mut().map(Sender::check_receiver).collect();
    assert_eq!(
        woken,
        [Flush::Quiet, Flush::Quiet, Flush::Notify, Flush::Quiet]
    );
    // Only the channel that was hit is armed anew.
    next(&mut receivers[2]);
    let renewed: Vec<bool> = receivers.iter_mut().map(Receiver::announce_sleep).collect();
    assert_eq!(renewed, [false, false, true, false]);
}

#[test]
fn a_channel_carries_both_directions_and_flushes_both() {
    let (out, back) = (config(), RingConfig::new(4).unwrap());
    let memory = lines(Channel::lines(out, back));
    let mut server = Channel::create(&memory, out, back).unwrap();
    let mut client = Channel::attach(&memory).unwrap();
    assert!(server.rx.arm());
    client.tx.try_send(Label::new(1), &[1]).unwrap();
    assert_eq!(client.flush(), Flush::Notify);
    assert_eq!(next(&mut server.rx).words(), [1]);
    assert_eq!(fill(&mut server.tx), u64::from(out.credits()));
    assert_eq!(server.tx.arm(), Ok(true));
    next(&mut client.rx);
    assert_eq!(
        client.flush(),
        Flush::Notify,
        "the server waits for credits"
    );
    assert_eq!(client.tx.credits(), back.credits() - 1);

    let _ = client.close();
    assert_eq!(server.rx.try_recv().map(|_| ()), Err(ChannelError::Closed));
    assert_eq!(server.tx.refresh_credits(), Err(SendError::Closed));
}

#[test]
fn sizes_are_checked() {
    for slots in [0, 1, 2, 3, 5, 24, MAX_SLOTS * 2, u32::MAX] {
        assert_eq!(RingConfig::new(slots), Err(SetupError::Slots), "{slots}");
    }
    assert_eq!(RingConfig::new(MAX_SLOTS).unwrap().lines(), 65540);
    let smallest = RingConfig::new(MIN_SLOTS).unwrap();
    assert_eq!(smallest.with_reserve(3), Err(SetupError::Reserve));
    assert_eq!(smallest.with_reserve(2).unwrap().credits(), 1);
    // Default rings: a channel takes no more than two pages.
    let default = RingConfig::default();
    assert_eq!(RingConfig::new(32), Ok(default));
    assert!(Channel::bytes(default, default) <= 8192);
}

#[test]
fn attaching_checks_the_preamble_against_the_memory() {
    let memory = lines(config().lines());
    let attach = |memory| Ring::attach(memory).map(|ring| ring.config());
    assert_eq!(attach(&memory), Err(SetupError::NotARing));
    let short = &memory[..memory.len() - 1];
    assert_eq!(
        Ring::create(short, config()).map(|_| ()),
        Err(SetupError::TooSmall)
    );
    let config = config().with_first_sequence(77);
    assert!(Ring::create(&memory, config).is_ok());
    assert_eq!(attach(&memory), Ok(config));
    assert_eq!(attach(short), Err(SetupError::TooSmall));
    assert_eq!(attach(&[]), Err(SetupError::TooSmall));

    let set = |word, value| {
        memory[0]
            .word(word)
            .unwrap()
            .store(value, Ordering::Relaxed);
    };
    set(0, 2 | 8 << 32);
    assert_eq!(attach(&memory), Err(SetupError::Version));
    set(0, 1 | 16 << 32);
    assert_eq!(attach(&memory), Err(SetupError::TooSmall));
    set(0, 1 | 7 << 32);
    assert_eq!(attach(&memory), Err(SetupError::Slots));
    set(0, 1 | 8 << 32);
    set(1, 7);
    assert_eq!(attach(&memory), Err(SetupError::Reserve));
}

#[test]
fn a_wrong_sequence_is_corrupt_for_good() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    sender.try_send(Label::new(0), &[]).unwrap();
    let header = memory[4].word(7).unwrap();
    let good = header.swap(5, Ordering::Relaxed);
    let corrupt = Err(ChannelError::Corrupt);
    assert_eq!(receiver.try_recv().map(|_| ()), corrupt);
    let violation = Violation::Sequence {
        expected: 0,
        found: 5,
    };
    assert_eq!(receiver.violation(), Some(violation));
    header.store(good, Ordering::Relaxed);
    assert_eq!(receiver.try_recv().map(|_| ()), corrupt);
    assert_eq!(
        receiver.recv_many(&mut [Message::default()]).map(|_| ()),
        corrupt
    );
    assert!(receiver.is_ready() && !receiver.arm());
}

#[test]
fn an_index_that_overruns_or_runs_backwards_is_corrupt_for_good() {
    for claimed in [6, u64::MAX, 1 << 32, 0xffff_ffff] {
        let memory = lines(config().lines());
        let (mut sender, _receiver) = ring(&memory, config());
        fill(&mut sender);
        let taken = memory[1].word(7).unwrap();
        taken.store(claimed, Ordering::Relaxed);
        assert_eq!(sender.try_send(Label::new(0), &[]), Err(SendError::Corrupt));
        let violation = Violation::Index {
            known: 0,
            sent: 5,
            claimed,
        };
        assert_eq!(sender.violation(), Some(violation));
        taken.store(5, Ordering::Relaxed);
        let corrupt = Err(ChannelError::Corrupt);
        assert_eq!(
            sender.try_send_line(Label::new(0), &[0; 7]),
            Err(SendError::Corrupt)
        );
        assert_eq!(
            sender.send_many(Label::new(0), &[[0; 7]]).map(|_| ()),
            corrupt
        );
        assert_eq!(sender.arm().map(|_| ()), corrupt);
    }
}

#[test]
fn a_frame_must_start_on_a_line() {
    let memory = lines(4);
    let start = NonNull::from(memory.as_slice()).cast::<u8>();
    let view = |offset: usize| {
        let start = start.map_addr(|address| address.checked_add(offset).unwrap());
        #[expect(unsafe_code, reason = "what is tested takes a raw address")]
        // SAFETY: the bytes are lines, borrowed from `memory`, which outlives the view.
        unsafe { Line::over_frame(start, 250 - offset) }.map(<[Line]>::len)
    };
    assert_eq!(view(0), Ok(3));
    assert_eq!(view(8), Err(SetupError::Misaligned));
    assert_eq!(view(64), Ok(2));
}

#[test]
fn polling_gives_what_trying_gives_within_its_rounds() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    assert!(receiver.poll(3).unwrap().is_none());
    sender.try_send(Label::new(5), &[6]).unwrap();
    assert!(receiver.poll(0).unwrap().is_none(), "not even one try");
    let message = receiver.poll(1).unwrap().unwrap();
    assert_eq!((message.tag(), message.words()), (5, &[6][..]));
    let _ = sender.close();
    assert_eq!(receiver.poll(1).map(|_| ()), Err(ChannelError::Closed));
}

#[test]
fn a_channel_takes_the_bytes_of_its_lines() {
    let (out, back) = (config(), RingConfig::default());
    assert_eq!(Channel::lines(out, back), (4 + 8) + (4 + 32));
    assert_eq!(Channel::bytes(out, back), 64 * Channel::lines(out, back));
}

#[test]
fn closing_is_told_from_a_message_on_both_halves_of_the_sequences() {
    for first in [0, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let config = config().with_first_sequence(first);
        let memory = lines(config.lines());
        let (mut sender, mut receiver) = ring(&memory, config);
        let _ = sender.close();
        let closed = Err(ChannelError::Closed);
        assert_eq!(receiver.try_recv().map(|_| ()), closed, "{first:#x}");
    }
}

#[test]
fn a_sender_that_withdraws_its_announcement_is_not_notified() {
    let memory = lines(config().lines());
    let (mut sender, mut receiver) = ring(&memory, config());
    fill(&mut sender);
    assert_eq!(sender.arm(), Ok(true));
    sender.cancel_sleep();
    next(&mut receiver);
    assert_eq!(receiver.flush(), Flush::Quiet);
}

#[test]
fn a_configuration_tells_what_it_was_given() {
    let config = RingConfig::new(8).unwrap();
    assert_eq!((config.reserve(), config.credits()), (1, 6));
    for reserve in 0..=6 {
        let config = config.with_reserve(reserve).unwrap();
        assert_eq!((config.reserve(), config.credits()), (reserve, 7 - reserve));
    }
    assert_eq!(config.with_reserve(7), Err(SetupError::Reserve));
    assert_eq!(config.bytes(), 64 * (4 + 8));
}
