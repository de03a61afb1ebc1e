//! Against a firmware that answers as it should, and ones that don't.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use embedded_hal::delay::DelayNs;
use proptest::prelude::*;

use crate::mailbox::{Mailbox, MailboxError, PATIENCE_US};
use crate::property::{BUFFER_BYTES, Buffer, Property, PropertyError, Tag};
use capelin_driver::Registers32;

const ADDRESS: u32 = 0xc001_0000;
const SERIAL: u64 = 0x1000_0000_dead_beef;

/// What firmware does with a request: gets the buffer, gives the words that come back.
type Behaviour = Box<dyn FnMut(&mut [u32], u32) -> Vec<u32>>;

struct Firmware {
    behaviour: Behaviour,
    memory: Vec<u32>,
    answers: VecDeque<u32>,
    is_full: bool,
    /// Answers come so many microseconds after the request.
    latency_us: u32,
    now_us: u32,
    asked_us: u32,
    told: Vec<u32>,
}

#[derive(Clone)]
struct Machine(Rc<RefCell<Firmware>>);

impl Machine {
    fn new(behaviour: impl FnMut(&mut [u32], u32) -> Vec<u32> + 'static) -> Self {
        Self(Rc::new(RefCell::new(Firmware {
            behaviour: Box::new(behaviour),
            memory: vec![0xffff_ffff; BUFFER_BYTES / 4],
            answers: VecDeque::new(),
            is_full: false,
            latency_us: 0,
            now_us: 0,
            asked_us: 0,
            told: Vec::new(),
        })))
    }

    fn property(&self) -> Property<Self, Self, Self> {
        Property::new(Mailbox::new(self.clone(), self.clone()), self.clone())
    }
}

impl Registers32 for Machine {
    fn read(&self, offset: usize) -> u32 {
        let mut it = self.0.borrow_mut();
        let is_empty = it.answers.is_empty() || it.now_us - it.asked_us < it.latency_us;
        match offset {
            0x00 => it.answers.pop_front().unwrap_or(0),
            0x18 => u32::from(is_empty) << 30,
            0x38 => u32::from(it.is_full) << 31,
            other => panic!("read of {other:#x}"),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        assert_eq!(offset, 0x20);
        let mut it = self.0.borrow_mut();
        assert!(!it.is_full, "written while full");
        it.asked_us = it.now_us;
        it.told.push(value);
        let Firmware {
            behaviour,
            memory,
            answers,
            ..
        } = &mut *it;
        answers.extend(behaviour(memory, value));
    }
}

impl DelayNs for Machine {
    fn delay_ns(&mut self, ns: u32) {
        self.0.borrow_mut().now_us += ns.div_ceil(1000);
    }
}

impl Buffer for Machine {
    fn bus_address(&self) -> u32 {
        ADDRESS
    }

    fn write(&mut self, words: &[u32]) -> bool {
        self.0.borrow_mut().memory[..words.len()].copy_from_slice(words);
        true
    }

    fn read(&self, words: &mut [u32]) -> bool {
        words.copy_from_slice(&self.0.borrow().memory[..words.len()]);
        true
    }
}

/// Answers as the wiki has it.
fn sound(memory: &mut [u32], word: u32) -> Vec<u32> {
    assert_eq!(word, ADDRESS | 8);
    let room = memory[3];
    assert_eq!(memory[0], 4 * 6 + room, "bytes of the buffer");
    assert_eq!((memory[1], memory[4]), (0, 0));
    assert_eq!(memory[5 + room as usize / 4], 0, "the last tag");
    let value: &[u32] = match (memory[2], memory[5]) {
        (0x0001_0002, _) => &[0xb0_3115],
        (0x0001_0004, _) => &[0xdead_beef, 0x1000_0000],
        (0x0003_0006, 0) => &[0, 48_312],
        (0x0003_0002, 3) => &[3, 1_500_000_000],
        _ => &[],
    };
    memory[1] = 1 << 31;
    if !value.is_empty() {
        memory[4] = (1 << 31) | (4 * u32::try_from(value.len()).unwrap());
    }
    let fits = value.len().min(room as usize / 4);
    memory[5..][..fits].copy_from_slice(&value[..fits]);
    vec![word]
}

#[test]
fn values_are_read() {
    let machine = Machine::new(sound);
    let mut property = machine.property();
    assert_eq!(property.get(Tag::BoardRevision, &[]), Ok([0xb0_3115]));
    let [low, high] = property.get(Tag::BoardSerial, &[]).unwrap();
    assert_eq!(u64::from(high) << 32 | u64::from(low), SERIAL);
    assert_eq!(property.get_of(Tag::Temperature, 0), Ok(48_312));
    assert_eq!(property.get_of(Tag::ClockRate, 3), Ok(1_500_000_000));
    assert_eq!(
        property.get_of(Tag::ClockRate, 99),
        Err(PropertyError::UnknownTag)
    );
}

#[test]
fn an_answer_may_take_its_time() {
    let machine = Machine::new(sound);
    machine.0.borrow_mut().latency_us = PATIENCE_US - 1000;
    assert_eq!(machine.property().get_of(Tag::Temperature, 0), Ok(48_312));
}

#[test]
fn a_silent_firmware_is_given_up_and_its_late_answer_is_nobodys() {
    let machine = Machine::new(sound);
    machine.0.borrow_mut().latency_us = PATIENCE_US + 1000;
    let mut property = machine.property();
    assert_eq!(
        property.get_of(Tag::ClockRate, 3),
        Err(MailboxError::Silent.into())
    );
    let waited = machine.0.borrow().now_us;
    assert!((PATIENCE_US..PATIENCE_US + 100).contains(&waited));
    // The late answer has come; the next request is answered by one of its own.
    machine.0.borrow_mut().now_us += 2000;
    machine.0.borrow_mut().latency_us = 0;
    assert_eq!(property.get_of(Tag::Temperature, 0), Ok(48_312));
    assert!(machine.0.borrow().answers.is_empty());
}

#[test]
fn a_full_mailbox_is_not_written() {
    let machine = Machine::new(sound);
    machine.0.borrow_mut().is_full = true;
    assert_eq!(
        machine.property().get_of(Tag::Temperature, 0),
        Err(MailboxError::Full.into())
    );
    assert!(machine.0.borrow().told.is_empty());
}

#[test]
fn words_of_other_channels_are_passed_over() {
    let machine = Machine::new(|memory, word| {
        let mut words = vec![0x1234_5670, 0xffff_fff3];
        words.extend(sound(memory, word));
        words
    });
    assert_eq!(machine.property().get_of(Tag::Temperature, 0), Ok(48_312));
}

#[test]
fn a_mailbox_that_never_empties_is_given_up() {
    let machine = Machine::new(sound);
    machine.0.borrow_mut().answers = vec![3; 1000].into();
    assert_eq!(
        machine.property().get_of(Tag::Temperature, 0),
        Err(MailboxError::Flooded.into())
    );
}

#[test]
fn wrong_answers_are_told_apart() {
    let change = |change: fn(&mut [u32]) -> u32| {
        let machine = Machine::new(move |memory, word| {
            sound(memory, word);
            vec![word ^ change(memory)]
        });
        machine.property().get_of(Tag::Temperature, 0)
    };
    let set = |place: usize, value: u32| {
        let machine = Machine::new(move |memory, word| {
            sound(memory, word);
            memory[place] = value;
            vec![word]
        });
        machine.property().get_of(Tag::Temperature, 0)
    };
    assert_eq!(change(|_| 0), Ok(48_312));
    let other = Err(PropertyError::OtherBuffer(ADDRESS ^ 0x100));
    assert_eq!(change(|_| 0x100), other);
    assert_eq!(set(1, 1 << 31 | 1), Err(PropertyError::Unreadable));
    assert_eq!(set(1, 0), Err(PropertyError::Untouched));
    assert_eq!(set(1, 7), Err(PropertyError::UnknownStatus(7)));
    assert_eq!(set(2, 0x0001_0002), Err(PropertyError::UnknownTag));
    assert_eq!(set(4, 8), Err(PropertyError::UnknownTag));
    assert_eq!(set(4, 1 << 31 | 4), Err(PropertyError::TooShort(4)));
    assert_eq!(set(4, 1 << 31 | 400), Ok(48_312));
    assert_eq!(set(5, 1), Err(PropertyError::OtherSubject(1)));
}

#[test]
fn the_channel_is_not_part_of_the_data() {
    let machine = Machine::new(sound);
    let mut mailbox = Mailbox::new(machine.clone(), machine);
    assert_eq!(mailbox.call(8, 0x1001), Err(MailboxError::Unaligned));
    assert_eq!(mailbox.call(16, 0x1000), Err(MailboxError::Unaligned));
}

proptest! {
    #[test]
    fn whatever_firmware_writes_ends(
        garbage in prop::collection::vec(any::<u32>(), 10),
        words in prop::collection::vec(any::<u32>(), 0..6),
        is_ours in any::<bool>(),
    ) {
        let machine = Machine::new(move |memory, word| {
            memory[..10].copy_from_slice(&garbage);
            let mut words = words.clone();
            if is_ours {
                words.push(word);
            }
            words
        });
        let mut property = machine.property();
        let _: Result<[u32; 2], _> = property.get(Tag::BoardSerial, &[]);
        let _ = property.get_of(Tag::Temperature, 0);
        prop_assert!(machine.0.borrow().now_us <= 2 * PATIENCE_US + 100);
    }
}
