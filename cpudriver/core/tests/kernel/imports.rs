//! Imports that take several entries.

use capelin_abi::syscall::Invocation;
use capelin_abi::{ObjectType, PAGE_SIZE, SysError};
use capelin_cap::LOOKS_AGAIN;

use crate::between::{
    ALL, COPY, copy, delete, export, give, import, is_empty, kernels, make, settle,
};
use crate::world::{Left, cap, slot};

/// An import that takes several entries ends, whatever others on its kernel insert meanwhile, if
/// not with the capability: the offer stands, and is taken when they rest.
#[test]
fn an_import_ends_beside_who_goes_on_inserting() {
    let ([mut a, mut b, _c], _) = kernels(2);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 4, 200).expect("free memory");
    let part = [cap(201).to_word(), cap(200).to_word(), ALL, 0, PAGE_SIZE];
    a.invoke(slot::L1CNODE, Invocation::Mint, &part)
        .expect("a part");
    give(&mut a, 201, &mut b, 99, COPY);
    for at in 100..235 {
        copy(&mut b, 99, at).expect("an empty slot");
    }
    let ticket = export(&mut a, 200, 1, COPY).expect("offered");
    make(&mut b, slot::RAM, ObjectType::Frame, 9, 1, 236).expect("free memory");
    let arguments = [ticket, cap(240).to_word()];
    let mut entries = 1;
    while b.invoke_once(slot::KERNEL, Invocation::Import, &arguments) == Left::Restart {
        entries += 1;
        // Somebody else's turn.
        copy(&mut b, 236, 237).expect("an empty slot");
        delete(&mut b, 237).expect("a copy");
        assert!(entries <= 2 + u32::from(LOOKS_AGAIN), "it doesn't end");
    }
    assert_eq!(
        entries,
        2 + u32::from(LOOKS_AGAIN),
        "the first, and each anew"
    );
    assert_eq!(b.register(0), SysError::Locked as u64);
    assert!(is_empty(&b, 240));
    import(&mut b, ticket, 240).expect("nobody else is at work");
    settle(&mut a, ticket).expect("it is over");
}
