//! A second core runs this kernel or none.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::SysError;
use capelin_harness::abi::boot::KernelHeader;
use capelin_harness::abi::layout::slot;
use capelin_harness::child::delivered;
use capelin_harness::fault::{peek, poke};
use capelin_harness::world::READ_WRITE;
use capelin_harness::{Outcome, Suite, World, call, check, equal, refused, second};

capelin_harness::program!(tests);

/// Of the header of a kernel: the offset of a word in bytes, and a bit of it.
type Flip = fn(&KernelHeader) -> (u64, u32);

/// What the second core writes into the page that both share.
const HERE: u64 = 0x5ec0_d000;

fn tests(suite: &mut Suite) {
    if matches!(second::is_second(), Ok(true)) {
        say_so(suite.world());
    }
    suite.test("starting/another-kernel", another_kernel);
    suite.test("starting/this-kernel", this_kernel);
}

/// The second core.
fn say_so(world: &mut World) -> ! {
    if let Ok((page, _)) = world.map(slot::PARENT_RING, 4096, READ_WRITE) {
        poke(page, HERE);
    }
    loop {
        let _ = call::wait(false, delivered(), call::after(1000));
    }
}

/// An image that differs in one bit from this kernel's is refused, wherever the bit is, and
/// the core stays off.
fn another_kernel(world: &mut World) -> Outcome {
    let flips: [Flip; 6] = [
        // The branch at its entry.
        |_| (0, 3),
        // Behind the header.
        |_| (size_of::<KernelHeader>() as u64, 31),
        |header| ((header.file_bytes / 2) & !7, 17),
        |header| ((header.file_bytes - 8) & !7, 63),
        // What isn't constant, zero at first.
        |header| (header.memory_bytes - 16, 0),
        |header| (header.memory_bytes - 8, 63),
    ];
    for flip in flips {
        let image = second::image(world, [0; 3], |header| Some(flip(header)))?;
        refused(
            second::start_image(image),
            SysError::InvalidArgument,
            "another kernel",
        )?;
        check(!second::is_on()?, "the core stays off")?;
    }
    Ok(())
}

/// Without another bit, it starts: nothing else was wrong with those images.
fn this_kernel(world: &mut World) -> Outcome {
    let page = second::start(world)?;
    let patience = call::after(20_000);
    while peek(page) != HERE && capelin_harness::svc::counter() < patience {
        let _ = call::wait(false, delivered(), call::after(1));
    }
    equal(peek(page), HERE, "the second core runs this program")
}
