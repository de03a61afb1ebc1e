//! Two real threads: every message arrives once, whole and in order, whether the ends poll or
//! sleep. One million messages by default, ten million with `CAPELIN_FULL=1`, few under Miri.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use capelin_urpc::{
    Channel, Flush, Label, Line, Message, Receiver, Ring, RingConfig, SendError, Sender,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

fn messages() -> u64 {
    if cfg!(miri) {
        60
    } else if std::env::var_os("CAPELIN_FULL").is_some_and(|value| value == "1") {
        10_000_000
    } else {
        1_000_000
    }
}

fn lines(count: usize) -> Vec<Line> {
    (0..count).map(|_| Line::new()).collect()
}

/// Sequences wrap after a third of the messages.
fn config(slots: u32) -> RingConfig {
    let before_wrap = u32::try_from(messages() / 3).unwrap();
    RingConfig::new(slots)
        .unwrap()
        .with_first_sequence(before_wrap.wrapping_neg())
}

/// A generator whose state depends on all that it has put out (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

/// Message `number`: its number, five random words, and a checksum over these six.
fn payload(number: u64, random: &mut Random) -> [u64; 7] {
    let mut words = [number, 0, 0, 0, 0, 0, 0];
    for word in &mut words[1..6] {
        *word = random.next();
    }
    words[6] = checksum(&words);
    words
}

fn checksum(words: &[u64; 7]) -> u64 {
    words[..6].iter().fold(0x1234_5678, |sum: u64, word| {
        (sum.rotate_left(7) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

fn check(number: u64, message: &Message, random: &mut Random) {
    assert_eq!(message.line(), &payload(number, random), "message {number}");
    assert_eq!(message.line()[6], checksum(message.line()));
    assert_eq!(u64::from(message.tag()), number & 0xffff);
}

fn label(number: u64) -> Label {
    Label::new((number & 0xffff) as u16)
}

#[test]
fn every_message_arrives_whole_and_in_order() {
    // The small ring is full or empty all the time, so it is slow.
    for (slots, count) in [(4, messages() / 10), (32, messages())] {
        let memory = lines(config(slots).lines());
        let (mut sender, mut receiver) = Ring::create(&memory, config(slots)).unwrap().split();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut random = Random(1);
                for number in 0..count {
                    let words = payload(number, &mut random);
                    while let Err(error) = sender.try_send_line(label(number), &words) {
                        assert_eq!(error, SendError::Full);
                        thread::yield_now();
                    }
                }
            });
            let mut random = Random(1);
            for number in 0..count {
                let message = loop {
                    match receiver.poll(64).unwrap() {
                        Some(message) => break message,
                        None => thread::yield_now(),
                    }
                };
                check(number, &message, &mut random);
            }
        });
    }
}

#[test]
fn batches_arrive_whole_and_in_order() {
    let memory = lines(config(64).lines());
    let (mut sender, mut receiver) = Ring::create(&memory, config(64)).unwrap().split();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut random = Random(2);
            let mut number = 0;
            while number < messages() {
                let size = (random.next() % 16 + 1).min(messages() - number);
                let batch: Vec<[u64; 7]> = (number..number + size)
                    .map(|number| [number, number ^ 1, 2, 3, 4, 5, !number])
                    .collect();
                let mut sent = 0;
                while sent < batch.len() {
                    match sender.send_many(Label::new(1), &batch[sent..]).unwrap() {
                        0 => thread::yield_now(),
                        count => sent += count,
                    }
                }
                number += size;
            }
        });
        let mut batch = [Message::default(); 12];
        let mut number = 0;
        while number < messages() {
            match receiver.recv_many(&mut batch).unwrap() {
                0 => thread::yield_now(),
                count => {
                    for message in &batch[..count] {
                        let expected = [number, number ^ 1, 2, 3, 4, 5, !number];
                        assert_eq!(message.line(), &expected);
                        number += 1;
                    }
                }
            }
        }
    });
}

/// A kernel's doorbell on the host: counts notifications, and blocks while none is pending.
#[derive(Default)]
struct Doorbell {
    pending: Mutex<bool>,
    rung: Condvar,
    blocked: AtomicU64,
}

impl Doorbell {
    fn ring(&self, flush: Flush) {
        if flush == Flush::Notify {
            *self.pending.lock().unwrap() = true;
            self.rung.notify_one();
        }
    }

    /// Blocks until rung. A wake-up that doesn't come within the time is lost.
    fn block(&self) {
        self.blocked.fetch_add(1, Ordering::Relaxed);
        let pending = self.pending.lock().unwrap();
        // Miri's clock runs with the steps it makes.
        let patience = Duration::from_secs(if cfg!(miri) { 3600 } else { 30 });
        let (mut pending, timeout) = self
            .rung
            .wait_timeout_while(pending, patience, |pending| !*pending)
            .unwrap();
        assert!(!timeout.timed_out(), "a wake-up was lost");
        *pending = false;
    }
}

/// Spins for a random time, mostly not at all, sometimes long enough for the peer to block.
fn delay(random: &mut Random) {
    let rounds = match random.next() % 64 {
        0 => random.next() % 4096,
        1..8 => random.next() % 256,
        _ => 0,
    };
    for _ in 0..if cfg!(miri) { 0 } else { rounds } {
        std::hint::spin_loop();
    }
}

fn send_or_sleep(sender: &mut Sender<'_>, words: &[u64; 7], own: &Doorbell, peer: &Doorbell) {
    while let Err(error) = sender.try_send_line(Label::new(0), words) {
        assert_eq!(error, SendError::Full);
        // Before any wait: what was sent must be known.
        peer.ring(sender.flush());
        if sender.arm().unwrap() {
            own.block();
        }
    }
}

fn receive_or_sleep(receiver: &mut Receiver<'_>, own: &Doorbell, peer: &Doorbell) -> Message {
    loop {
        if let Some(message) = receiver.try_recv().unwrap() {
            return message;
        }
        peer.ring(receiver.flush());
        if receiver.arm() {
            own.block();
        }
    }
}

/// Both ends sleep whenever they may, after random delays, with flushes at random: a wake-up that
/// is lost stops the test.
#[test]
fn no_wake_up_is_lost_with_random_delays() {
    let count = if cfg!(miri) { 60 } else { messages() / 4 };
    let memory = lines(config(8).lines());
    let (mut sender, mut receiver) = Ring::create(&memory, config(8)).unwrap().split();
    let (near, far) = (Doorbell::default(), Doorbell::default());
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(3);
            for number in 0..count {
                send_or_sleep(&mut sender, &[number; 7], &near, &far);
                if random.next().is_multiple_of(3) {
                    far.ring(sender.flush());
                }
                delay(&mut random);
            }
            far.ring(sender.flush());
        });
        let mut random = Random(4);
        for number in 0..count {
            let message = receive_or_sleep(&mut receiver, &far, &near);
            assert_eq!(message.line(), &[number; 7]);
            if random.next().is_multiple_of(3) {
                near.ring(receiver.flush());
            }
            delay(&mut random);
        }
    });
    println!(
        "{count} messages in {:?}: receiver blocked {} times, sender {}",
        start.elapsed(),
        far.blocked.load(Ordering::Relaxed),
        near.blocked.load(Ordering::Relaxed)
    );
    assert!(far.blocked.load(Ordering::Relaxed) > 0);
}

/// Request and reply, both sides asleep in between.
#[test]
fn two_sleepers_answer_each_other() {
    let rounds = messages() / 50;
    let config = config(4);
    let memory = lines(Channel::lines(config, config));
    let mut server = Channel::create(&memory, config, config).unwrap();
    let mut client = Channel::attach(&memory).unwrap();
    let (near, far) = (Doorbell::default(), Doorbell::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                let request = receive_or_sleep(&mut server.rx, &far, &near);
                send_or_sleep(&mut server.tx, request.line(), &far, &near);
                near.ring(server.flush());
            }
        });
        for round in 0..rounds {
            send_or_sleep(&mut client.tx, &[round; 7], &near, &far);
            far.ring(client.flush());
            let reply = receive_or_sleep(&mut client.rx, &near, &far);
            assert_eq!(reply.line(), &[round; 7]);
        }
    });
}
