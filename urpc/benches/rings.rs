//! Rings on the host, side by side in one run: the bare cache line (the limit), `urpc`, `rtrb`,
//! `ringbuf`, crossbeam's `ArrayQueue` and channel.
//!
//! Two pinned threads, 56-byte payloads, 32 slots. *Round trip*: one message there and one back.
//! *One way*: a stream in one direction, time per message. All rings are measured in turn in each
//! round, so that what disturbs the machine disturbs all; reported are the minimum and the median
//! over the rounds, and their ratios. Absolute values move with the placement of virtual cores:
//! compare ratios inside one run.
//!
//! The bare line's round trip spreads widely: from 45 to over 100 ns in one run on the build host,
//! and differently for different lines. The cause was not measured; likely are the line's home in the
//! last-level cache, and polls that take the line away between two of the sender's stores. A ring
//! meets the mean over its lines in every sample, so the bare line takes another slot of the same
//! layout in every round, and medians are what compares. Its minimum is its luckiest line and
//! phase, which no ring reaches.
//!
//! `cargo bench -p capelin-urpc`; a number as argument sets the rounds (default 200).
#![cfg(not(loom))]

use capelin_urpc::ring::CONTROL_LINES;
use capelin_urpc::{Channel, Label, Line, Receiver, RingConfig, Sender};
use ringbuf::traits::{Consumer, Producer, Split};
use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

type Payload = [u64; 7];

const SLOTS: u32 = 32;
const ROUND_TRIPS: u64 = 2_000;
const STREAM: u64 = 40_000;

/// The sending end of any ring.
trait Tx: Send {
    fn try_send(&mut self, payload: &Payload) -> bool;

    fn send(&mut self, payload: Payload) {
        while !self.try_send(&payload) {
            spin_loop();
        }
    }
}

/// The receiving end of any ring.
trait Rx: Send {
    fn try_recv(&mut self) -> Option<Payload>;

    fn recv(&mut self) -> Payload {
        loop {
            if let Some(payload) = self.try_recv() {
                return payload;
            }
            spin_loop();
        }
    }
}

impl Tx for Sender<'_> {
    #[inline(always)]
    fn try_send(&mut self, payload: &Payload) -> bool {
        self.try_send_line(Label::new(1), payload).is_ok()
    }
}

impl Rx for Receiver<'_> {
    #[inline(always)]
    fn try_recv(&mut self) -> Option<Payload> {
        Receiver::try_recv(self)
            .ok()
            .flatten()
            .map(|message| *message.line())
    }
}

/// One line per direction, with nothing around it: payload, then a counter by store-release.
struct Bare<'a> {
    line: &'a Line,
    count: u64,
}

impl Tx for Bare<'_> {
    #[inline(always)]
    fn try_send(&mut self, payload: &Payload) -> bool {
        for (index, word) in payload.iter().enumerate() {
            word_of(self.line, index).store(*word, Ordering::Relaxed);
        }
        self.count += 1;
        word_of(self.line, 7).store(self.count, Ordering::Release);
        true
    }
}

impl Rx for Bare<'_> {
    #[inline(always)]
    fn try_recv(&mut self) -> Option<Payload> {
        if word_of(self.line, 7).load(Ordering::Acquire) != self.count + 1 {
            return None;
        }
        self.count += 1;
        Some(std::array::from_fn(|index| {
            word_of(self.line, index).load(Ordering::Relaxed)
        }))
    }
}

#[inline(always)]
fn word_of(line: &Line, index: usize) -> &AtomicU64 {
    line.word(index).expect("a line has eight words")
}

impl Tx for rtrb::Producer<Payload> {
    #[inline(always)]
    fn try_send(&mut self, payload: &Payload) -> bool {
        self.push(*payload).is_ok()
    }
}

impl Rx for rtrb::Consumer<Payload> {
    #[inline(always)]
    fn try_recv(&mut self) -> Option<Payload> {
        self.pop().ok()
    }
}

impl Tx for ringbuf::HeapProd<Payload> {
    #[inline(always)]
    fn try_send(&mut self, payload: &Payload) -> bool {
        self.try_push(*payload).is_ok()
    }
}

impl Rx for ringbuf::HeapCons<Payload> {
    #[inline(always)]
    fn try_recv(&mut self) -> Option<Payload> {
        self.try_pop()
    }
}

impl Tx for &crossbeam_queue::ArrayQueue<Payload> {
    #[inline(always)]
    fn try_send(&mut self, payload: &Payload) -> bool {
        self.push(*payload).is_ok()
    }
}

impl Rx for &crossbeam_queue::ArrayQueue<Payload> {
    #[inline(always)]
    fn try_recv(&mut self) -> Option<Payload> {
        self.pop()
    }
}

impl Tx for crossbeam_channel::Sender<Payload> {
    #[inline(always)]
    fn try_send(&mut self, payload: &Payload) -> bool {
        crossbeam_channel::Sender::try_send(self, *payload).is_ok()
    }
}

impl Rx for crossbeam_channel::Receiver<Payload> {
    #[inline(always)]
    fn try_recv(&mut self) -> Option<Payload> {
        crossbeam_channel::Receiver::try_recv(self).ok()
    }
}

/// Pins the calling thread; without two processors of our own the figures mean nothing.
fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        eprintln!("not pinned to processor {cpu}: {error}");
    }
}

/// Nanoseconds per round trip.
fn round_trip<T: Tx, R: Rx>((mut tx, mut rx): (T, R), (mut back_tx, mut back_rx): (T, R)) -> f64 {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            start.wait();
            for _ in 0..ROUND_TRIPS + ROUND_TRIPS / 10 {
                let payload = rx.recv();
                back_tx.send(payload);
            }
        });
        pin(0);
        start.wait();
        let mut time = Instant::now();
        for round in 0..ROUND_TRIPS + ROUND_TRIPS / 10 {
            if round == ROUND_TRIPS / 10 {
                time = Instant::now();
            }
            tx.send([round; 7]);
            assert_eq!(black_box(back_rx.recv())[6], round);
        }
        per(time, ROUND_TRIPS)
    })
}

/// Nanoseconds per message.
fn one_way<T: Tx, R: Rx>((mut tx, mut rx): (T, R)) -> f64 {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            start.wait();
            for round in 0..STREAM {
                tx.send([round; 7]);
            }
        });
        pin(0);
        start.wait();
        let time = Instant::now();
        for round in 0..STREAM {
            assert_eq!(black_box(rx.recv())[6], round);
        }
        per(time, STREAM)
    })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per(time: Instant, count: u64) -> f64 {
    time.elapsed().as_nanos() as f64 / count as f64
}

/// What is measured of one ring.
struct Contender {
    name: &'static str,
    round_trip: fn(usize) -> f64,
    /// The bare line has no flow control, hence no stream.
    one_way: Option<fn() -> f64>,
}

/// The bare line of one round: a slot of each ring, in memory laid out as for a channel.
fn bare_round_trip(round: usize) -> f64 {
    let config = config();
    let lines = urpc_lines(config);
    let slot = CONTROL_LINES + round % config.slots() as usize;
    let end = |index: usize| Bare {
        line: &lines[index],
        count: 0,
    };
    let (there, back) = (slot, config.lines() + slot);
    round_trip((end(there), end(there)), (end(back), end(back)))
}

fn config() -> RingConfig {
    RingConfig::new(SLOTS).expect("a power of two")
}

fn urpc_lines(config: RingConfig) -> Vec<Line> {
    let count = Channel::lines(config, config);
    (0..count).map(|_| Line::new()).collect()
}

fn urpc_channels(lines: &[Line], config: RingConfig) -> (Channel<'_>, Channel<'_>) {
    let near = Channel::create(lines, config, config).expect("enough lines");
    let far = Channel::attach(lines).expect("created just now");
    (near, far)
}

fn urpc_round_trip(_: usize) -> f64 {
    let config = config();
    let lines = urpc_lines(config);
    let (near, far) = urpc_channels(&lines, config);
    round_trip((near.tx, far.rx), (far.tx, near.rx))
}

fn urpc_one_way() -> f64 {
    let config = config();
    let lines = urpc_lines(config);
    let (near, far) = urpc_channels(&lines, config);
    one_way((near.tx, far.rx))
}

fn rtrb_ring() -> (rtrb::Producer<Payload>, rtrb::Consumer<Payload>) {
    rtrb::RingBuffer::new(SLOTS as usize)
}

fn ringbuf_ring() -> (ringbuf::HeapProd<Payload>, ringbuf::HeapCons<Payload>) {
    ringbuf::HeapRb::new(SLOTS as usize).split()
}

fn queue_round_trip(_: usize) -> f64 {
    let there = crossbeam_queue::ArrayQueue::new(SLOTS as usize);
    let back = crossbeam_queue::ArrayQueue::new(SLOTS as usize);
    round_trip((&there, &there), (&back, &back))
}

fn queue_one_way() -> f64 {
    let there = crossbeam_queue::ArrayQueue::new(SLOTS as usize);
    one_way((&there, &there))
}

fn channel() -> (
    crossbeam_channel::Sender<Payload>,
    crossbeam_channel::Receiver<Payload>,
) {
    crossbeam_channel::bounded(SLOTS as usize)
}

const CONTENDERS: [Contender; 6] = [
    Contender {
        name: "bare cache line",
        round_trip: bare_round_trip,
        one_way: None,
    },
    Contender {
        name: "urpc",
        round_trip: urpc_round_trip,
        one_way: Some(urpc_one_way),
    },
    Contender {
        name: "rtrb",
        round_trip: |_| round_trip(rtrb_ring(), rtrb_ring()),
        one_way: Some(|| one_way(rtrb_ring())),
    },
    Contender {
        name: "ringbuf",
        round_trip: |_| round_trip(ringbuf_ring(), ringbuf_ring()),
        one_way: Some(|| one_way(ringbuf_ring())),
    },
    Contender {
        name: "crossbeam ArrayQueue",
        round_trip: queue_round_trip,
        one_way: Some(queue_one_way),
    },
    Contender {
        name: "crossbeam channel",
        round_trip: |_| round_trip(channel(), channel()),
        one_way: Some(|| one_way(channel())),
    },
];

/// Minimum and median.
fn summary(mut samples: Vec<f64>) -> Option<(f64, f64)> {
    samples.sort_by(f64::total_cmp);
    let median = *samples.get(samples.len() / 2)?;
    Some((*samples.first()?, median))
}

fn report(title: &str, reference: usize, samples: Vec<Vec<f64>>) {
    let results: Vec<_> = samples.into_iter().map(summary).collect();
    let Some(Some(base)) = results.get(reference).copied() else {
        return;
    };
    println!("\n{title}, ns            min  median   ratio of min  of median");
    for (contender, result) in CONTENDERS.iter().zip(results) {
        if let Some((min, median)) = result {
            println!(
                "{:24} {min:8.1} {median:7.1}   {:12.2}  {:9.2}",
                contender.name,
                min / base.0,
                median / base.1
            );
        }
    }
}

fn main() {
    let rounds = std::env::args()
        .filter_map(|argument| argument.parse::<usize>().ok())
        .next()
        .unwrap_or(200);
    let mut round_trips = vec![Vec::new(); CONTENDERS.len()];
    let mut streams = vec![Vec::new(); CONTENDERS.len()];
    for round in 0..rounds {
        for (index, contender) in CONTENDERS.iter().enumerate() {
            round_trips[index].push((contender.round_trip)(round));
            if let Some(one_way) = contender.one_way {
                streams[index].push(one_way());
            }
        }
    }
    println!("two pinned threads, 56-byte payload, {SLOTS} slots, {rounds} rounds");
    report("round trip, against the bare line", 0, round_trips);
    report("one way, against rtrb            ", 2, streams);
}
