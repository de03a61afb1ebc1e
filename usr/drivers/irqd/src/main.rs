//! The interrupt service (`docs/085-console-and-interrupts.md`).
//!
//! It alone maps the distributor and writes its configuration (invariant I1), and it alone holds
//! all interrupts: a client gets an IrqSource for exactly the one that it claimed, and only once.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{collections::BTreeMap, rc::Rc, string::String};
use core::cell::RefCell;

use capelin_abi::{CapAddress, CapRef, Mpidr, Rights};
use capelin_interfaces::{
    handover,
    interrupts::{
        FrameInfo, InterruptError, Interrupts, InterruptsServer, Message, TargetCore, Trigger,
    },
    service,
};
use capelin_rt::{
    Env, ExitCode, Listener, OwnedCap, RtError, idc::Cap, print::to_log, services, sys::cspace,
    vspace::DeviceMapped,
};
use irqd::{
    claims::{Claims, ClientId},
    distributor::{ConfigureError, Distributor, FIRST_SPI, Registers, Target, Version},
    frame::{self, Frame},
};

capelin_rt::main!(run);

/// Messages of clients that may wait in the endpoint's ring.
const RING: usize = 16;
/// The badge of those who may claim interrupts.
const ANYBODY: u64 = 1;
/// The badge of those who may hand over controllers, and have interrupts go to other cores, too.
const OWNER: u64 = 2;

/// The distributor's registers. An offset outside of them reads as 0, and a write there does
/// nothing; the distributor knows how many interrupts it has, so there is none.
#[derive(Debug)]
struct Mmio(DeviceMapped);

impl Registers for Mmio {
    fn read32(&self, offset: usize) -> u32 {
        self.0.read32(offset).unwrap_or(0)
    }

    fn write32(&self, offset: usize, value: u32) {
        let _ = self.0.write32(offset, value);
    }

    fn write8(&self, offset: usize, value: u8) {
        let _ = self.0.write8(offset, value);
    }

    fn write64(&self, offset: usize, value: u64) {
        let _ = self.0.write64(offset, value);
    }
}

/// What all clients share.
struct Controller {
    distributor: Distributor<Mmio>,
    core: Mpidr,
    /// IrqSource: all interrupts, and the number of the first of them.
    all: (CapAddress, u64),
    claims: RefCell<Claims>,
    /// By path in the device tree.
    frames: RefCell<BTreeMap<String, Frame>>,
    /// Our own copies of what was given out: deleting one's descendants takes it back.
    given: RefCell<BTreeMap<u32, OwnedCap>>,
}

impl Controller {
    /// For a program on this core, from which it can be taken back.
    fn claim(&self, intid: u32, trigger: Trigger, client: ClientId) -> Result<Cap, InterruptError> {
        let source = self.take(intid, trigger, Target::Own(self.core), client)?;
        let given = Cap::copy(source.address());
        self.given.borrow_mut().insert(intid, source);
        Ok(given)
    }

    /// The only IrqSource for `intid`, which is configured and `client`'s.
    fn take(
        &self,
        intid: u32,
        trigger: Trigger,
        target: Target,
        client: ClientId,
    ) -> Result<OwnedCap, InterruptError> {
        if intid < FIRST_SPI {
            return Err(InterruptError::NoSuchInterrupt);
        }
        if !self.claims.borrow_mut().claim(intid, client) {
            return Err(InterruptError::AlreadyClaimed);
        }
        let claimed = self
            .distributor
            .configure(intid, trigger, target)
            .map_err(|error| match error {
                ConfigureError::NoSuchInterrupt => InterruptError::NoSuchInterrupt,
                ConfigureError::FixedTrigger => InterruptError::FixedTrigger,
                ConfigureError::NoSuchCore => InterruptError::NoSuchCore,
            })
            .and_then(|()| self.source(intid));
        if claimed.is_err() {
            self.claims.borrow_mut().release(intid, client);
        }
        claimed
    }

    /// The first interrupt for messages that is free and can be had.
    fn claim_message(
        &self,
        controller: &str,
        client: ClientId,
    ) -> Result<(Cap, Message), InterruptError> {
        let frame = self.frames.borrow().get(controller).copied();
        let frame = frame.ok_or(InterruptError::NoSuchController)?;
        for message in frame.messages() {
            match self.claim(message.intid, Trigger::Edge, client) {
                Ok(source) => return Ok((source, message)),
                // The next one may be.
                Err(
                    InterruptError::AlreadyClaimed
                    | InterruptError::NoSuchInterrupt
                    | InterruptError::FixedTrigger,
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Err(InterruptError::NoRoom)
    }

    fn add_frame(&self, path: &str, registers: Cap, info: FrameInfo) -> Result<(), InterruptError> {
        let exhausted = |_: RtError| InterruptError::Exhausted;
        let registers = OwnedCap::received(registers);
        let base = registers.identify().map_err(exhausted)?.base.0;
        let base = base.checked_add(info.offset);
        let mapped = DeviceMapped::part(registers, info.offset, frame::BYTES).map_err(exhausted)?;
        let kind = Mmio(mapped).read32(frame::offset::TYPE);
        let frame = base.and_then(|base| Frame::new(base, kind, info));
        let frame = frame.ok_or(InterruptError::NoSuchController)?;
        self.frames.borrow_mut().insert(String::from(path), frame);
        Ok(())
    }

    /// An IrqSource for `intid` alone.
    fn source(&self, intid: u32) -> Result<OwnedCap, InterruptError> {
        let (all, first) = self.all;
        let offset = u64::from(intid)
            .checked_sub(first)
            .ok_or(InterruptError::NoSuchInterrupt)?;
        OwnedCap::make(|slot| {
            let target = CapRef::l2(slot);
            cspace::mint_range(cspace::OWN, target, all.into(), Rights::all(), offset, 1)
        })
        .map_err(|_: RtError| InterruptError::Exhausted)
    }

    /// `intid` comes back.
    fn take_back(&self, intid: u32) {
        self.distributor.quiet(intid);
        if let Some(source) = self.given.borrow_mut().remove(&intid) {
            // The client's copies and its binding go. If the kernel refuses, no further IrqSource
            // can be made over them, so that the next claim fails.
            if let Err(error) = cspace::revoke(cspace::OWN, source.reference()) {
                to_log(format_args!(
                    "irqd: taking back interrupt {intid}: {error}\n"
                ));
            }
        }
    }
}

/// One client.
struct Session {
    controller: Rc<Controller>,
    client: ClientId,
    badge: u64,
}

impl Interrupts for Session {
    async fn claim(&self, intid: u32, trigger: Trigger) -> Result<Cap, InterruptError> {
        self.controller.claim(intid, trigger, self.client)
    }

    async fn claim_for(
        &self,
        intid: u32,
        trigger: Trigger,
        core: TargetCore,
    ) -> Result<Cap, InterruptError> {
        if self.badge != OWNER {
            return Err(InterruptError::NotAllowed);
        }
        let target = Target::Other(core);
        let source = self.controller.take(intid, trigger, target, self.client)?;
        // All rights: whoever lends it to a program has to take it back from that.
        Ok(source.give().keep_revoke())
    }

    async fn raise(&self, intid: u32) -> Result<(), InterruptError> {
        if !self.controller.claims.borrow().is_held(intid, self.client) {
            return Err(InterruptError::NotYours);
        }
        self.controller.distributor.raise(intid);
        Ok(())
    }

    async fn claim_message(
        &self,
        controller: &str,
        _: u32,
    ) -> Result<(Cap, Message), InterruptError> {
        self.controller.claim_message(controller, self.client)
    }

    async fn add_frame(
        &self,
        path: &str,
        registers: Cap,
        info: FrameInfo,
    ) -> Result<(), InterruptError> {
        if self.badge != OWNER {
            drop(OwnedCap::received(registers));
            return Err(InterruptError::NotAllowed);
        }
        self.controller.add_frame(path, registers, info)
    }

    async fn release(&self, intid: u32) -> Result<(), InterruptError> {
        let released = self
            .controller
            .claims
            .borrow_mut()
            .release(intid, self.client);
        if !released {
            return Err(InterruptError::NotYours);
        }
        self.controller.take_back(intid);
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let left = self.controller.claims.borrow_mut().leave(self.client);
        for intid in left {
            self.controller.take_back(intid);
        }
    }
}

async fn run(env: Env) -> ExitCode {
    match start(&env).await {
        Ok((controller, listener)) => {
            listener
                .serve(move |caller| {
                    InterruptsServer(Session {
                        controller: Rc::clone(&controller),
                        client: caller.connection,
                        badge: caller.badge,
                    })
                })
                .await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            to_log(format_args!("{}: {error}\n", env.name()));
            ExitCode::FAILURE
        }
    }
}

/// Why the service can't start.
enum StartError {
    /// `init` didn't hand this over.
    NotHandedOver(&'static str),
    /// The controller is of no version that is known.
    UnknownVersion(u64),
    /// The runtime or the kernel refused.
    Runtime(RtError),
}

impl<E: Into<RtError>> From<E> for StartError {
    fn from(error: E) -> Self {
        Self::Runtime(error.into())
    }
}

impl core::fmt::Display for StartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotHandedOver(what) => write!(f, "{what} is missing"),
            Self::UnknownVersion(version) => write!(f, "GIC version {version} is not known"),
            Self::Runtime(error) => error.fmt(f),
        }
    }
}

async fn start(env: &Env) -> Result<(Rc<Controller>, Listener), StartError> {
    let missing = StartError::NotHandedOver;
    let registers = env
        .capability(handover::DISTRIBUTOR)
        .ok_or(missing(handover::DISTRIBUTOR))?;
    let all = env
        .capability(handover::IRQ)
        .ok_or(missing(handover::IRQ))?;
    let core = env.word(handover::MPIDR).ok_or(missing(handover::MPIDR))?;
    let (version, bytes) = match env.word(handover::GIC_VERSION) {
        Some(2) => (Version::V2, 0x1000),
        Some(3 | 4) => (Version::V3, 0x1_0000),
        Some(other) => return Err(StartError::UnknownVersion(other)),
        None => return Err(missing(handover::GIC_VERSION)),
    };
    let offset = env.word(handover::OFFSET).unwrap_or(0);
    let mapped = DeviceMapped::part(OwnedCap::adopt(registers), offset, bytes)?;
    let controller = Controller {
        distributor: Distributor::new(Mmio(mapped), version),
        core: Mpidr::from_register(core),
        all: (all, cspace::identify(all.into())?.base.0),
        claims: RefCell::default(),
        frames: RefCell::default(),
        given: RefCell::default(),
    };
    let listener = Listener::new(RING)?;
    services::register(service::INTERRUPTS, &listener, ANYBODY).await?;
    services::register(service::INTERRUPT_CONTROLLERS, &listener, OWNER).await?;
    Ok((Rc::new(controller), listener))
}
