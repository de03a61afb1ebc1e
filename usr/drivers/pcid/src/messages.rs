//! Message interrupts: who takes them, and what functions have been told to write.
//!
//! The table of MSI-X lies in a function's own registers. `pcid` maps it to write the one entry that is used, and gives
//! the registers back with the function. The function's driver has them too: what it could write there, it can have its
//! device write by DMA as well.

use alloc::{collections::BTreeMap, rc::Rc, string::String};
use core::cell::RefCell;

use capelin_driver::Registers32 as _;
use capelin_idc::Cap;
use capelin_interfaces::{
    interrupts::{InterruptsClient, Message},
    pci::FunctionError,
    service,
};
use capelin_pci::{Address, ENTRY_BYTES, Function};
use capelin_rt::{Lmp, OwnedCap, println, services, sync::Mutex};
use capelin_skb::InterruptKind;

use crate::Host;

/// Functions' message interrupts.
#[derive(Default)]
pub(crate) struct Messages {
    client: RefCell<Option<InterruptsClient<Lmp>>>,
    /// Registers with tables.
    tables: RefCell<BTreeMap<Address, capelin_driver::Region>>,
    given: RefCell<BTreeMap<Address, Given>>,
    /// Lets one driver at a time be given one.
    giving: Mutex<()>,
}

/// What a function interrupts by.
struct Given {
    source: OwnedCap,
    intid: u32,
    kind: InterruptKind,
}

impl Messages {
    /// The table of `function` is in these registers.
    pub(crate) fn add_table(&self, function: Address, registers: capelin_driver::Region) {
        self.tables.borrow_mut().insert(function, registers);
    }

    /// Has `function` interrupt by messages.
    pub(crate) async fn give(host: &Rc<Host>, function: Address) -> Result<Cap, FunctionError> {
        let none = FunctionError::NoInterrupt;
        let _turn = host.messages.giving.lock().await;
        if let Some(given) = host.messages.given.borrow().get(&function) {
            return Ok(Cap::copy(given.source.address()));
        }
        let (controller, device, known) = host.route(function).ok_or(none)?;
        let client = host.messages.client().await?;
        let claimed = client.claim_message(&controller, device).await;
        let (source, message) = claimed.map_err(|error| {
            println!("pcid: {function}: messages to {controller}: {error}");
            none
        })?;
        let source = OwnedCap::received(source);
        let Some(kind) = host.program(&known, message) else {
            drop(source);
            let _ = client.release(message.intid).await;
            return Err(none);
        };
        let intid = message.intid;
        let copy = Cap::copy(source.address());
        let given = Given {
            source,
            intid,
            kind,
        };
        host.messages.given.borrow_mut().insert(function, given);
        host.note_interrupt(function, kind, intid).await;
        Ok(copy)
    }

    /// `function` isn't driven any more: it writes no messages, and its interrupt goes back.
    pub(crate) async fn leave(host: &Host, function: Address) {
        host.messages.tables.borrow_mut().remove(&function);
        let given = host.messages.given.borrow_mut().remove(&function);
        let Some(Given {
            source,
            intid,
            kind,
        }) = given
        else {
            return;
        };
        if let Some(known) = &mut *host.found.borrow_mut()
            && let Some(it) = known.below.topology.function(function)
        {
            match (kind, it.msi, it.msi_x) {
                (InterruptKind::Msi, Some(msi), _) => msi.disable(&mut known.ecam, function),
                (InterruptKind::MsiX, _, Some(msi_x)) => msi_x.disable(&mut known.ecam, function),
                _ => {}
            }
        }
        drop(source);
        let client = host.messages.client.borrow().clone();
        if let Some(client) = client {
            // It stays off otherwise.
            let _ = client.release(intid).await;
        }
    }

    async fn client(&self) -> Result<InterruptsClient<Lmp>, FunctionError> {
        if let Some(known) = &*self.client.borrow() {
            return Ok(known.clone());
        }
        let client: Result<InterruptsClient<Lmp>, _> = services::connect(service::INTERRUPTS).await;
        let client = client.map_err(|_| FunctionError::NoInterrupt)?;
        *self.client.borrow_mut() = Some(client.clone());
        Ok(client)
    }
}

impl Host {
    /// Who takes the messages of `function`, which is driven and can send some; what it is known by there.
    fn route(&self, function: Address) -> Option<(String, u32, Function)> {
        let found = self.found.borrow();
        let below = &found.as_ref()?.below;
        let it = below.topology.function(function)?;
        let has_table = self.messages.tables.borrow().contains_key(&function);
        let can = it.msi.is_some() || it.msi_x.is_some() && has_table;
        let (controller, device) = below.message_route(function)?;
        (can && below.is_enabled(function)).then(|| (controller.into(), device, it.clone()))
    }

    /// Has `function` write `message`. By which of its ways; `None` if it has none that could.
    fn program(&self, function: &Function, message: Message) -> Option<InterruptKind> {
        let at = function.address;
        let message = capelin_pci::Message {
            address: message.address,
            data: message.data,
        };
        let mut found = self.found.borrow_mut();
        let known = found.as_mut().filter(|it| it.below.is_enabled(at))?;
        let tables = self.messages.tables.borrow();
        if let (Some(msi_x), Some(registers)) = (function.msi_x, tables.get(&at)) {
            let bytes = u64::from(msi_x.vectors) * u64::from(ENTRY_BYTES);
            let table = registers.map(msi_x.table.1.into(), bytes);
            if let Ok(table) = table {
                let write = |offset, value| {
                    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                    table.write(offset, value);
                    // It is there before the function is let use it, which other registers do.
                    let _ = table.read(offset);
                };
                let is_done = msi_x.enable(&mut known.ecam, at, message, write);
                return is_done.then_some(InterruptKind::MsiX);
            }
        }
        let is_done = function.msi?.enable(&mut known.ecam, at, message);
        is_done.then_some(InterruptKind::Msi)
    }
}
