//! How a monitor begins on any core but the boot core: hello to the parent.

use capelin_abi::{boot::BootInfo, layout::slot};
use capelin_archive::Archive;
use capelin_monitor::{
    image::MonitorWords,
    intermon::{IntermonClient, Welcome},
};
use capelin_rt::{OwnedCap, boot, sys, urpc::Urpc, vspace::SharedMapped};

use crate::{
    children::{self, CoreMemory, Memories},
    error::Error,
    node::{Beginning, Node},
    programs, transfer,
};

/// Begins, as the first domain of a core.
///
/// # Errors
/// What a monitor can't do without. The parent then waits in vain, and says so.
pub(crate) async fn begin(info: &'static BootInfo) -> Result<(), Error> {
    boot::adopt_ram()?;
    let words = MonitorWords::from_words(&info.monitor_words).ok_or(Error::HandOver)?;
    let archive = boot::read_only(OwnedCap::adopt(slot::CORE_PACKAGE))?;
    let node = Node::begin(Beginning {
        boot_core: words.boot_core,
        parent: Some(words.parent),
        kernel: sys::kernel::OWN,
        info,
        archive: Archive::parse(archive).map_err(Error::Archive)?,
        archive_frame: slot::CORE_PACKAGE.into(),
        home_node: words.home_node,
        machine_cores: usize::try_from(words.machine_cores).unwrap_or(1),
        boot: None,
    })?;
    programs::list_self(&node)?;
    let peer = transfer::take(&node, words.bell, words.parent)?;
    let memory = SharedMapped::new(OwnedCap::adopt(slot::PARENT_RING), true)?;
    let bell = node.bell_for(transfer::running(words.parent))?;
    let ring = Urpc::attach(memory, bell.notify, peer)?;
    node.overlay.add_neighbour(words.parent, ring);
    let parent: IntermonClient<_> = node.remote(words.parent)?;
    let Welcome { plan } = parent.hello(bell.ticket).await?;
    let mut memories = Memories::new();
    loop {
        let allotments = parent.allotments().await?;
        if allotments.is_empty() {
            break;
        }
        for allotment in allotments {
            let memory = CoreMemory {
                home: transfer::take(&node, allotment.home, words.parent)?,
                ram: transfer::take(&node, allotment.ram, words.parent)?,
            };
            memories.insert(allotment.core, memory);
        }
    }
    children::start_all(&node, plan, memories);
    Ok(())
}
