//! Who gets which interrupt.

use alloc::{format, string::String};
use core::time::Duration;

use capelin_abi::ObjectType;
use capelin_driver::Interrupt;
use capelin_interfaces::{
    interrupts::{InterruptError, InterruptsClient, TargetCore, Trigger},
    service,
    skb::SkbClient,
};
use capelin_rt::{Lmp, OwnedCap, services, time};
use capelin_suite::{Outcome, Reporter, check, equal, must};

async fn connect() -> Result<InterruptsClient<Lmp>, String> {
    must("connecting", services::connect(service::INTERRUPTS).await)
}

/// The interrupt of the first device whose `compatible` lists `name`.
async fn interrupt_of(name: &str) -> Result<u32, String> {
    let skb: SkbClient<Lmp> = must("connecting", services::connect(service::SKB).await)?;
    let goal = format!("device(P, Cs), member('{name}', Cs), device_irq(P, _, I, _)");
    let answer = must("asking", skb.query(&goal, 1).await)?;
    let first = answer.solutions.first();
    let intid = first.and_then(|solution| solution.get("I")?.parse().ok());
    intid.ok_or_else(|| format!("no interrupt of {name}"))
}

pub(crate) async fn run(report: &mut Reporter) {
    report.tell("interrupts/refused", refused().await);
    report.tell("interrupts/taken", taken().await);
    report.tell("interrupts/claim-and-release", claim_and_release().await);
    report.tell("interrupts/left-behind", left_behind().await);
    report.tell("interrupts/delivered", delivered().await);
    report.tell("interrupts/flood", flood().await);
}

async fn refused() -> Outcome {
    let interrupts = connect().await?;
    for intid in [0, 15, 27, 31, 1019, 1020, 1023, 8192, u32::MAX] {
        let claimed = interrupts.claim(intid, Trigger::Level).await;
        let error = claimed.map(drop).err();
        let what = format!("interrupt {intid}");
        equal(&what, error, Some(InterruptError::NoSuchInterrupt))?;
    }
    Ok(())
}

async fn taken() -> Outcome {
    let interrupts = connect().await?;
    let console = interrupt_of("arm,pl011").await?;
    let claimed = interrupts.claim(console, Trigger::Level).await;
    let error = claimed.map(drop).err();
    equal("the console's", error, Some(InterruptError::AlreadyClaimed))?;
    let released = interrupts.release(console).await;
    equal("the console's", released, Err(InterruptError::NotYours))?;
    let raised = interrupts.raise(console).await;
    equal("the console's", raised, Err(InterruptError::NotYours))?;
    let elsewhere = TargetCore {
        mpidr: 0,
        gicv2_mask: 1,
    };
    let clock = interrupt_of("arm,pl031").await?;
    let claimed = interrupts.claim_for(clock, Trigger::Level, elsewhere).await;
    let error = claimed.map(drop).err();
    equal("for another core", error, Some(InterruptError::NotAllowed))
}

async fn claim_and_release() -> Outcome {
    let interrupts = connect().await?;
    let clock = interrupt_of("arm,pl031").await?;
    let source = must("claiming", interrupts.claim(clock, Trigger::Level).await)?;
    let source = OwnedCap::received(source);
    let identity = must("identifying", source.identify())?;
    equal("its type", identity.kind, ObjectType::IrqSource)?;
    equal("its number", identity.base.0, u64::from(clock))?;
    equal("how many", identity.size, 1)?;
    let again = interrupts.claim(clock, Trigger::Level).await;
    let error = again.map(drop).err();
    equal("again", error, Some(InterruptError::AlreadyClaimed))?;
    must("releasing", interrupts.release(clock).await)?;
    check("what was given out is gone", source.identify().is_err())?;
    let source = must(
        "claiming anew",
        interrupts.claim(clock, Trigger::Edge).await,
    )?;
    drop(OwnedCap::received(source));
    must("releasing anew", interrupts.release(clock).await)
}

/// The clock's interrupt, delivered to us.
async fn bound(interrupts: &InterruptsClient<Lmp>, clock: u32) -> Result<Interrupt, String> {
    let source = must("claiming", interrupts.claim(clock, Trigger::Edge).await)?;
    must("binding", Interrupt::bind(OwnedCap::received(source)))
}

/// Waits until the interrupt comes.
async fn comes(interrupt: &Interrupt) -> Outcome {
    let came = time::timeout(Duration::from_secs(5), interrupt.wait()).await;
    must(
        "waiting for the interrupt",
        came.map_err(|_| "it did not come"),
    )
}

/// An interrupt that was claimed comes on this core, as often as it is raised and acknowledged; not any more once it has
/// been released, and again to whom has it next.
async fn delivered() -> Outcome {
    let interrupts = connect().await?;
    let clock = interrupt_of("arm,pl031").await?;
    for _ in 0..3 {
        let interrupt = bound(&interrupts, clock).await?;
        for _ in 0..3 {
            must("raising", interrupts.raise(clock).await)?;
            comes(&interrupt).await?;
            must("acknowledging", interrupt.acknowledge())?;
        }
        must("releasing", interrupts.release(clock).await)?;
        check("the binding is gone", interrupt.acknowledge().is_err())?;
        let raised = interrupts.raise(clock).await;
        equal("released", raised, Err(InterruptError::NotYours))?;
    }
    Ok(())
}

/// A device that interrupts without end interrupts once for each time that its driver has served it.
async fn flood() -> Outcome {
    let interrupts = connect().await?;
    let clock = interrupt_of("arm,pl031").await?;
    let interrupt = bound(&interrupts, clock).await?;
    must("raising", interrupts.raise(clock).await)?;
    comes(&interrupt).await?;
    for _ in 0..20 {
        must("raising", interrupts.raise(clock).await)?;
    }
    let early = time::timeout(Duration::from_millis(20), interrupt.wait()).await;
    check("it comes before it is acknowledged", early.is_err())?;
    must("acknowledging", interrupt.acknowledge())?;
    comes(&interrupt).await?;
    must("acknowledging", interrupt.acknowledge())?;
    let more = time::timeout(Duration::from_millis(20), interrupt.wait()).await;
    check("it comes more often than it is acknowledged", more.is_err())?;
    must("releasing", interrupts.release(clock).await)
}

/// A client that closes leaves nothing behind.
async fn left_behind() -> Outcome {
    let (first, second) = (connect().await?, connect().await?);
    let clock = interrupt_of("arm,pl031").await?;
    let source = must("claiming", first.claim(clock, Trigger::Level).await)?;
    let source = OwnedCap::received(source);
    drop(first);
    // The service hears of that a little later.
    for _ in 0..100 {
        if let Ok(other) = second.claim(clock, Trigger::Level).await {
            drop(OwnedCap::received(other));
            check("what was given out is gone", source.identify().is_err())?;
            return must("releasing", second.release(clock).await);
        }
        time::sleep(Duration::from_millis(10)).await;
    }
    Err("the interrupt didn't come back".into())
}
