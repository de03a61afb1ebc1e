//! What a program tries that no program should get by with: each part is an argument, and most leave something
//! behind that the next program would suffer from.

use alloc::{format, rc::Rc, string::String, vec::Vec};

use capelin_interfaces::{
    monitor::{DomainId, MonitorClient, MonitorError},
    service,
    skb::SkbClient,
};
use capelin_rt::{Lmp, endpoint::Endpoint, services, spawn};
use capelin_suite::{Outcome, Reporter, check, equal, must};

/// Connections of one program, and waits on each.
const CONNECTIONS: usize = 10;
const WAITS: usize = 4;

/// Runs the part called `what`. Whether there is such a part.
pub(crate) async fn run(report: &mut Reporter, core: u16, what: &str) -> bool {
    let outcome = match what {
        "adopt" => adopt().await,
        "waits" => leave_waits(core).await,
        "asserts" => assert_clauses().await,
        "knows-nothing" => know_nothing().await,
        _ => return false,
    };
    report.tell(&format!("outsider/{what}"), outcome);
    true
}

async fn monitor() -> Result<MonitorClient<Lmp>, String> {
    must("monitor", services::connect(service::MONITOR).await)
}

/// What isn't a program isn't listed as one.
async fn adopt() -> Outcome {
    let monitor = monitor().await?;
    let endpoint = must("endpoint", Endpoint::new(1))?;
    let badged = must("badge", endpoint.badged(1))?;
    let adopted = monitor.adopt("init", 1, badged.give()).await;
    equal("an endpoint", adopted, Err(MonitorError::NotAllowed))?;
    let domains = must("domains", monitor.domains(0).await)?;
    let first = domains.first().map(|domain| domain.id);
    let first = first.ok_or("no domains")?;
    let badged = must("badge", endpoint.badged(1))?;
    let adopted = monitor.adopt_cspace(first, badged.give()).await;
    equal("its CSpace", adopted, Err(MonitorError::NotAllowed))
}

/// Ends while it waits on many connections for what never ends.
async fn leave_waits(core: u16) -> Outcome {
    let mut waiting = Vec::new();
    for _ in 0..CONNECTIONS {
        let monitor = Rc::new(monitor().await?);
        for _ in 0..WAITS {
            let monitor = Rc::clone(&monitor);
            waiting.push(spawn(
                async move { monitor.wait(DomainId::new(core, 1)).await },
            ));
        }
        // The waits have been sent when this is answered.
        must("domains", monitor.domains(core).await)?;
    }
    Ok(())
}

async fn skb() -> Result<SkbClient<Lmp>, String> {
    must("skb", services::connect(service::SKB).await)
}

/// Tells the knowledge base what is nobody else's business, and defines what others use anew.
async fn assert_clauses() -> Outcome {
    let skb = skb().await?;
    must(
        "clause",
        skb.assert_clause("secret(of, one, program)").await,
    )?;
    must("rule", skb.assert_clause("member(outsider, _)").await)?;
    let found = must("query", skb.query("member(X, [1])", 0).await)?;
    check(
        "it sees what it has said",
        format!("{found:?}").contains("outsider"),
    )
}

/// Another program's clauses aren't there.
async fn know_nothing() -> Outcome {
    let skb = skb().await?;
    let found = format!("{:?}", skb.query("secret(A, B, C)", 0).await);
    check("it knows another's secret", !found.contains("program"))?;
    let found = format!("{:?}", skb.query("member(X, [1])", 0).await);
    check("it uses another's rules", !found.contains("outsider"))
}
