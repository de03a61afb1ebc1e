//! Many queries at a time, cursors, changes, errors.

use alloc::{string::String, vec::Vec};

use capelin_interfaces::{
    service,
    skb::{SkbClient, SkbError, Solutions},
};
use capelin_rt::{Lmp, executor::yield_now, services, spawn};

use crate::report::{Outcome, Report, check, equal, must};

async fn connect() -> Result<SkbClient<Lmp>, String> {
    must("connecting", services::connect(service::SKB).await)
}

fn values(solutions: &Solutions) -> Vec<&str> {
    let found = solutions.solutions.iter();
    found.filter_map(|solution| solution.get("X")).collect()
}

pub(crate) async fn run(report: &mut Report) {
    report.test("skb/cursors", cursors()).await;
    report.test("skb/limits-of-cursors", limits()).await;
    report.test("skb/endless-query", endless_query()).await;
    report.test("skb/changes", changes()).await;
    report.test("skb/errors", errors()).await;
    report.test("skb/modules", modules()).await;
}

async fn cursors() -> Outcome {
    let skb = connect().await?;
    let goal = "member(X, [a, b, c, d, e])";
    let first = must("the first", skb.query(goal, 2).await)?;
    equal("the first", values(&first), ["a", "b"].into())?;
    let cursor = first.cursor.ok_or("there is more")?;
    let second = must("the second", skb.next(cursor, 2).await)?;
    equal("the second", values(&second), ["c", "d"].into())?;
    let third = must("the third", skb.next(cursor, 2).await)?;
    equal("the third", values(&third), ["e"].into())?;
    equal("the end", third.cursor, None)?;
    let after = skb.next(cursor, 2).await;
    equal("after the end", after, Err(SkbError::NoSuchCursor))
}

async fn limits() -> Outcome {
    let (skb, other) = (connect().await?, connect().await?);
    let mut open = Vec::new();
    let refused = loop {
        match skb.query("repeat", 1).await {
            Ok(solutions) => open.extend(solutions.cursor),
            Err(error) => break error,
        }
        check("there is a limit", open.len() < 100)?;
    };
    equal("at the limit", refused, SkbError::TooManyCursors)?;
    // Cursors are each client's own.
    must("another client", other.query("repeat", 1).await)?;
    let stolen = other.next(99, 1).await;
    equal("another's", stolen, Err(SkbError::NoSuchCursor))?;
    must("closing", skb.close(open[0]).await)?;
    must("after closing", skb.query("repeat", 1).await)?;
    Ok(())
}

async fn endless_query() -> Outcome {
    let (endless, quick) = (connect().await?, connect().await?);
    let search = spawn(async move { endless.query("repeat, fail", 0).await });
    for _ in 0..20 {
        yield_now().await;
        let answer = must("the quick one", quick.query("X = 1", 0).await)?;
        equal("the quick one", values(&answer), ["1"].into())?;
    }
    check("the endless one is still at work", !search.is_finished())?;
    let bound = SkbError::ResourceLimit("steps".into());
    equal("the endless one", search.await, Err(bound))
}

async fn changes() -> Outcome {
    let skb = connect().await?;
    let program = "visit(1). visit(2). :- assertz(visit(3)). visit(4).";
    equal("consulting", skb.consult(program).await, Ok(3))?;
    must("asserting", skb.assert_clause("visit(5)").await)?;
    let retracted = skb.retract_clause("visit(2)").await;
    equal("retracting", retracted, Ok(true))?;
    let retracted = skb.retract_clause("visit(2)").await;
    equal("retracting again", retracted, Ok(false))?;
    let left = must("asking", skb.query("visit(X)", 0).await)?;
    equal("what is left", values(&left), ["1", "3", "4", "5"].into())?;
    let removed = skb.query("retractall(visit(_))", 0).await;
    must("removing", removed).map(drop)
}

async fn errors() -> Outcome {
    let skb = connect().await?;
    let syntax = SkbError::Syntax {
        line: 2,
        column: 3,
        kind: "operator_expected".into(),
    };
    equal("syntax", skb.query("a,\nb c", 0).await, Err(syntax))?;
    let failed = skb.consult(":- true. :- fail.").await;
    equal("a directive", failed, Err(SkbError::DirectiveFailed(2)))?;
    match skb.query("nobody_knows(1)", 0).await {
        Err(SkbError::Evaluation(term)) => check(&term, term.contains("nobody_knows/1")),
        other => Err(alloc::format!("an unknown procedure: {other:?}")),
    }
}

async fn modules() -> Outcome {
    let skb = connect().await?;
    let answer = must("asking", skb.query("module(fish, X), X > 0", 0).await)?;
    equal("modules", answer.solutions.len(), 1)
}
