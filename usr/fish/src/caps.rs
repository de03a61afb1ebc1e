//! The shell's own capabilities, from the kernel itself.

use alloc::vec::Vec;

use capelin_abi::{
    CapAddress, CapRef, ObjectType, SysError,
    capability::{CNODE_SLOTS, L1_LIMIT},
};
use capelin_interfaces::monitor::CapabilityInfo;
use capelin_rt::sys::cspace::{self, OWN};

/// All capabilities of this domain, in the order of their slots.
pub(crate) fn own() -> Vec<CapabilityInfo> {
    let mut found = Vec::new();
    for node in 0..L1_LIMIT {
        match cspace::identify_slot(OWN, CapRef::l1(node)) {
            Ok(identity) if identity.kind == ObjectType::L2CNode => {}
            // Past the chunks that there are.
            Err(SysError::NoSuchSlot) => break,
            _ => continue,
        }
        for slot in 0..CNODE_SLOTS {
            let Ok(slot) = u8::try_from(slot) else { break };
            let address = CapAddress::new(node, slot);
            let Ok(identity) = cspace::identify_slot(OWN, address.into()) else {
                continue;
            };
            if identity.kind != ObjectType::Null {
                found.push(CapabilityInfo {
                    address: address.0,
                    kind: identity.kind as u8,
                    rights: identity.rights.bits(),
                    owner: identity.owner.0,
                    base: identity.base.0,
                    size: identity.size,
                });
            }
        }
    }
    found
}
