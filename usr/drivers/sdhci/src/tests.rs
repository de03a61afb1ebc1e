//! Against a fake controller and card.

use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx};

use crate::card::{CardError, Slot};
use crate::fake::{Card, Fault, Kind, Machine};
use crate::host::{Host, HostError};

const BLOCKS: usize = 2048;
const UNTOLD_MHZ: u32 = 500;

fn slot(machine: &Machine) -> Slot<Machine, Machine> {
    Slot::new(Host::new(machine.clone(), machine.clone(), UNTOLD_MHZ))
}

fn with(kind: Kind) -> (Machine, Slot<Machine, Machine>) {
    let machine = Machine::new(Some(Card::new(kind, BLOCKS)));
    let slot = slot(&machine);
    (machine, slot)
}

fn read(slot: &Slot<Machine, Machine>, start: u32, count: usize) -> Result<Vec<u8>, CardError> {
    let mut blocks = vec![Block::new(); count];
    slot.read(&mut blocks, BlockIdx(start))?;
    Ok(blocks.iter().flat_map(|block| block.contents).collect())
}

fn write(slot: &Slot<Machine, Machine>, start: u32, bytes: &[u8]) -> Result<(), CardError> {
    let blocks = bytes.chunks_exact(512).map(|bytes| {
        let mut block = Block::new();
        block.contents.copy_from_slice(bytes);
        block
    });
    let blocks: Vec<_> = blocks.collect();
    slot.write(&blocks, BlockIdx(start))
}

#[test]
fn cards_of_all_kinds_are_read_and_written() {
    for kind in [Kind::HighCapacity, Kind::Standard, Kind::Old] {
        let (machine, slot) = with(kind);
        assert_eq!(slot.num_blocks(), Ok(BlockCount(2048)), "{kind:?}");
        let before = machine.0.borrow().card.as_ref().unwrap().data.clone();
        for (start, count) in [(0, 1), (1, 2), (7, 64), (100, 130), (2047, 1)] {
            let bytes = read(&slot, start, count).unwrap();
            let at = start as usize * 512;
            assert!(bytes == before[at..at + count * 512], "{kind:?} {start}");
        }
        let new: Vec<u8> = (0..130 * 512).map(|at| (at % 251) as u8).collect();
        write(&slot, 500, &new).unwrap();
        write(&slot, 3, &new[..512]).unwrap();
        let after = machine.0.borrow().card.as_ref().unwrap().data.clone();
        assert!(after[500 * 512..630 * 512] == new);
        assert!(after[3 * 512..4 * 512] == new[..512]);
        assert!(after[630 * 512..] == before[630 * 512..]);
        assert!(after[4 * 512..500 * 512] == before[4 * 512..500 * 512]);
    }
}

#[test]
fn a_card_is_identified_once() {
    let (machine, slot) = with(Kind::HighCapacity);
    read(&slot, 0, 1).unwrap();
    read(&slot, 1, 1).unwrap();
    let log = machine.0.borrow().log.clone();
    assert_eq!(log.iter().filter(|&&index| index == 2).count(), 1);
    assert!(log.ends_with(&[17, 17]), "{log:?}");
}

#[test]
fn the_clock_is_slow_enough_whether_its_base_is_told_or_not() {
    // The fake card minds.
    for (told_mhz, base_mhz, fast_khz) in [
        (100, 100, 25_000),
        (52, 52, 13_000),
        (0, 500, 25_000),
        (0, 250, 12_500),
        (20, 20, 20_000),
    ] {
        let (machine, slot) = with(Kind::HighCapacity);
        machine.0.borrow_mut().told_mhz = told_mhz;
        machine.0.borrow_mut().base_mhz = base_mhz;
        read(&slot, 0, 1).unwrap();
        assert_eq!(machine.0.borrow().clock_khz, fast_khz, "{told_mhz}");
    }
}

#[test]
fn without_a_card_it_is_said_soon() {
    let machine = Machine::new(None);
    let slot = slot(&machine);
    assert_eq!(read(&slot, 0, 1), Err(CardError::NoCard));
    assert!(CardError::NoCard.is_gone());
    assert!(machine.waited_us() < 10_000, "{}", machine.waited_us());
    // It is put in later.
    machine.0.borrow_mut().card = Some(Card::new(Kind::Standard, BLOCKS));
    assert_eq!(read(&slot, 0, 1).unwrap().len(), 512);
}

#[test]
fn a_card_that_never_gets_ready_is_given_up() {
    let machine = Machine::new(Some(Card::new(Kind::HighCapacity, BLOCKS)));
    let slot = slot(&machine);
    machine.0.borrow_mut().card.as_mut().unwrap().power_up = u32::MAX;
    assert_eq!(read(&slot, 0, 1), Err(CardError::NotReady));
    assert!(machine.waited_us() < 2_000_000);
}

#[test]
fn blocks_behind_the_end_are_refused_here() {
    let (machine, slot) = with(Kind::HighCapacity);
    read(&slot, 2047, 1).unwrap();
    let sent = machine.0.borrow().log.len();
    for (start, count) in [(2048, 1), (2047, 2), (u32::MAX, 1), (u32::MAX, 2)] {
        assert_eq!(read(&slot, start, count), Err(CardError::NoSuchBlock));
        let bytes = vec![0; count * 512];
        assert_eq!(write(&slot, start, &bytes), Err(CardError::NoSuchBlock));
    }
    assert_eq!(machine.0.borrow().log.len(), sent);
}

#[test]
fn a_fault_of_one_block_is_that_blocks() {
    for (fault, error) in [
        (Fault::Damaged(9), CardError::Host(HostError::DamagedData)),
        (Fault::Late(9), CardError::Host(HostError::DataTimeout)),
        (Fault::Refused(9), CardError::Refused(0x8020_0900)),
    ] {
        let (machine, slot) = with(Kind::HighCapacity);
        machine.0.borrow_mut().faults.push(fault);
        assert!(!error.is_gone());
        assert_eq!(read(&slot, 9, 1), Err(error));
        assert_eq!(read(&slot, 0, 32), Err(error));
        assert_eq!(write(&slot, 8, &[0; 2048]), Err(error));
        // The next command goes through.
        assert_eq!(read(&slot, 10, 5).unwrap().len(), 5 * 512, "{fault:?}");
        write(&slot, 20, &[0; 512]).unwrap();
    }
}

#[test]
fn a_card_that_is_pulled_is_gone_until_it_comes_back() {
    for blocks in [0, 1, 3] {
        let (machine, slot) = with(Kind::HighCapacity);
        read(&slot, 0, 1).unwrap();
        machine.0.borrow_mut().blocks_left = Some(blocks);
        assert!(read(&slot, 0, 16).is_err());
        assert_eq!(read(&slot, 0, 1), Err(CardError::NoCard));
        assert_eq!(write(&slot, 0, &[0; 512]), Err(CardError::NoCard));
        machine.0.borrow_mut().blocks_left = None;
        machine.0.borrow_mut().card = Some(Card::new(Kind::Standard, 1024));
        assert_eq!(read(&slot, 1, 1).unwrap().len(), 512);
        assert_eq!(
            slot.num_blocks(),
            Ok(BlockCount(1024)),
            "it is looked at anew"
        );
    }
}

#[test]
fn a_controller_that_switches_off_what_is_pulled_starts_anew() {
    let (machine, slot) = with(Kind::HighCapacity);
    read(&slot, 0, 1).unwrap();
    for _ in 0..2 {
        machine.0.borrow_mut().card = None;
        machine.0.borrow_mut().is_off = true;
        assert_eq!(read(&slot, 0, 1), Err(CardError::NoCard));
        assert_eq!(write(&slot, 0, &[0; 512]), Err(CardError::NoCard));
        machine.0.borrow_mut().card = Some(Card::new(Kind::Standard, 1024));
        assert_eq!(read(&slot, 1, 1).unwrap().len(), 512);
    }
    // It is pulled and put in again before anybody looks.
    machine.0.borrow_mut().card = Some(Card::new(Kind::Standard, 1024));
    machine.0.borrow_mut().is_off = true;
    assert!(read(&slot, 1, 1).is_err());
    assert_eq!(read(&slot, 1, 1).unwrap().len(), 512);
}

#[test]
fn a_controller_that_is_stuck_is_told() {
    let (machine, slot) = with(Kind::HighCapacity);
    machine.0.borrow_mut().is_stuck = true;
    let error = CardError::Host(HostError::Controller);
    assert_eq!(read(&slot, 0, 1), Err(error));
    assert!(machine.waited_us() < 1_000_000);
}
