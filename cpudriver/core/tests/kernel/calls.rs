//! Any system call with any registers, by any dispatcher, while others write to its
//! frame: the kernel answers, and what has to hold holds (I8).

use capelin_abi::capability::CNODE_SLOTS;
use capelin_abi::syscall::{Invocation, KernelCounter};
use capelin_kernel::check::check;
use capelin_kernel::doorbell::SGI;
use proptest::prelude::*;

use crate::host::{HOME, RAM, USER};
use crate::world::{Left, World, cap};

/// What may come.
#[derive(Clone, Debug)]
enum Step {
    Call(u64, [u64; 12]),
    Interrupt(u32),
    Pass(u64),
    Fault(bool, u64),
    Patience(Option<u32>),
}

/// A word that means something to somebody.
fn word() -> impl Strategy<Value = u64> {
    let slot = || (0..CNODE_SLOTS).prop_map(|slot| cap(slot.to_le_bytes()[0]).to_word());
    let used = || (1..32_u8).prop_map(|slot| cap(slot).to_word());
    prop_oneof![
        4 => used(),
        3 => slot(),
        1 => (0..4_u64, 0..3_u64).prop_map(|(l1, level)| l1 << 8 | level << 32),
        3 => 0..64_u64,
        1 => (0..8_u64).prop_map(|pages| pages << 12),
        1 => (0..4_u64, 0..8_u64, 0..16_u64).prop_map(|(first, count, flags)| first | count << 16 | flags << 32),
        1 => (0..0x100_u64).prop_map(|page| HOME + page * 0x1000),
        1 => (0..0x10_u64).prop_map(|page| RAM + page * 0x1000),
        1 => (0..0x1100_u64).prop_map(|at| USER + at),
        1 => any::<u64>(),
        1 => Just(u64::MAX),
    ]
}

fn invocation() -> impl Strategy<Value = u64> {
    prop_oneof![
        20 => prop::sample::select(Invocation::ALL).prop_map(|one| one as u64),
        1 => any::<u16>().prop_map(u64::from),
    ]
}

fn call() -> impl Strategy<Value = Step> {
    let number = prop_oneof![
        12 => Just(1_u64),
        8 => 0..8_u64,
        1 => any::<u16>().prop_map(u64::from),
    ];
    let first = prop_oneof![
        1 => any::<u8>().prop_map(|bits| u64::from(bits) << 48),
        1 => (0..10_u64).prop_map(|length| length << 56),
    ];
    let registers = prop::array::uniform12(word());
    (number, invocation(), first, registers).prop_map(|(number, invocation, first, mut x)| {
        // Bits 63:48 are an invocation, or flags and a length.
        x[0] = x[0] & !(0xffff << 48) | if number == 1 { invocation << 48 } else { first };
        Step::Call(number, x)
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => call(),
        1 => prop::sample::select(vec![u32::from(SGI), 40, 41, 5]).prop_map(Step::Interrupt),
        1 => (0..30_000_u64).prop_map(Step::Pass),
        1 => (any::<bool>(), word()).prop_map(|(page, at)| Step::Fault(page, at)),
        1 => prop::option::of(0..8_u32).prop_map(Step::Patience),
    ]
}

fn run(steps: Vec<Step>, noise: u64) -> Result<u64, TestCaseError> {
    let mut world = World::new();
    let others = [(); 3].map(|()| world.dispatcher());
    world.post_slot(others[0], 220);
    world.core.objects.make_noise(noise);
    for step in steps {
        let left = match step {
            Step::Call(number, registers) => world.syscall(number, &registers),
            Step::Interrupt(intid) => {
                let enabled = intid < 16 || world.core.machine.enabled.contains(&intid);
                if !enabled {
                    continue;
                }
                world.core.machine.pending.push_back(intid);
                world.interrupt()
            }
            Step::Pass(ticks) => {
                world.core.machine.now += ticks;
                world.interrupt()
            }
            Step::Fault(is_page_fault, address) => world.fault(is_page_fault, address),
            Step::Patience(looks) => {
                world.core.machine.patience.set(looks);
                continue;
            }
        };
        prop_assert_eq!(check(&world.core), Ok(()));
        if left == Left::Asleep {
            break;
        }
    }
    Ok(world.core.kcb.counters[KernelCounter::Syscalls as usize])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_calls_leave_a_sound_kernel(steps in prop::collection::vec(step(), 1..120)) {
        run(steps, 0)?;
    }

    #[test]
    fn so_do_calls_while_frames_change(
        steps in prop::collection::vec(step(), 1..80),
        noise in 1..u64::MAX,
    ) {
        run(steps, noise)?;
    }
}
