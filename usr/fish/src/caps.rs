//! The shell's own capabilities, from the kernel itself.

use alloc::vec::Vec;

use capelin_abi::{CapAddress, CapRef, ObjectType, capability::CNODE_SLOTS, layout::l1};
use capelin_interfaces::monitor::CapabilityInfo;
use capelin_rt::sys::cspace::{self, OWN};

/// All capabilities of this domain, in the order of their slots.
pub(crate) fn own() -> Vec<CapabilityInfo> {
    let mut found = Vec::new();
    for node in 0..l1::COUNT {
        let is_node = cspace::identify_slot(OWN, CapRef::l1(node))
            .is_ok_and(|identity| identity.kind == ObjectType::L2CNode);
        if !is_node {
            continue;
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
