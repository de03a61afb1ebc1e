//! Many queries at a time, cursors, changes, errors.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use capelin_interfaces::{
    service,
    skb::{SkbClient, SkbError, Solutions},
};
use capelin_rt::{Lmp, executor::yield_now, future::race, services, spawn, sync::Event, time};
use capelin_suite::{Outcome, Reporter, check, equal, must};

async fn connect() -> Result<SkbClient<Lmp>, String> {
    must("connecting", services::connect(service::SKB).await)
}

fn values(solutions: &Solutions) -> Vec<&str> {
    let found = solutions.solutions.iter();
    found.filter_map(|solution| solution.get("X")).collect()
}

pub(crate) async fn run(report: &mut Reporter) {
    report.tell("skb/cursors", cursors().await);
    report.tell("skb/old-cursors-make-room", old_cursors_make_room().await);
    report.tell("skb/dropped-queries", dropped_queries().await);
    report.tell("skb/rights", rights().await);
    report.tell("skb/greed", greed().await);
    report.tell(
        "skb/look-ups-beside-an-endless-query",
        look_ups_beside_an_endless_query().await,
    );
    report.tell("skb/endless-query", endless_query().await);
    report.tell("skb/changes", changes().await);
    report.tell("skb/errors", errors().await);
    report.tell("skb/modules", modules().await);
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

/// A client that opens more than it may loses those that it asked for longest ago.
async fn old_cursors_make_room() -> Outcome {
    let (skb, other) = (connect().await?, connect().await?);
    let others = must("another client", other.query("repeat", 1).await)?;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.extend(must("one more", skb.query("repeat", 1).await)?.cursor);
    }
    equal("all have a cursor", open.len(), 10)?;
    let oldest = skb.next(open[0], 1).await;
    equal("the oldest", oldest, Err(SkbError::NoSuchCursor))?;
    must("the newest", skb.next(open[9], 1).await)?;
    // Cursors are each client's own.
    let kept = others.cursor.ok_or("there is more")?;
    must("another's own", other.next(kept, 1).await)?;
    let stolen = other.next(open[9], 1).await;
    equal("another's", stolen, Err(SkbError::NoSuchCursor))
}

/// As with Ctrl-C: the client never learns the cursor.
async fn dropped_queries() -> Outcome {
    let skb = connect().await?;
    for _ in 0..6 {
        let query = skb.query("repeat, fail", 0);
        let given_up = time::timeout(Duration::from_millis(200), query).await;
        check("it is endless", given_up.is_err())?;
    }
    let answer = must("the next one", skb.query("X = 1", 0).await)?;
    equal("the next one", values(&answer), ["1"].into())
}

async fn rights() -> Outcome {
    let (skb, other) = (connect().await?, connect().await?);
    let cores = must("asking", skb.query("core(X, _, _)", 0).await)?;
    let change = skb.assert_clause("core(9, 9, 9)").await;
    equal("adding a fact", change, Err(SkbError::ReadOnly))?;
    let change = skb.retract_clause("core(_, _, _)").await;
    equal("removing a fact", change, Err(SkbError::ReadOnly))?;
    let change = skb.consult("boot_tree(0, []).").await;
    equal("changing a rule", change, Err(SkbError::ReadOnly))?;
    for (goal, expected) in [
        ("retractall(core(_, _, _))", "permission_error"),
        ("abolish(core/3)", "permission_error"),
        ("'$clause'(core(_, _, _), B, X)", "existence_error"),
        ("'$erase'(core(_, _, _), 1)", "existence_error"),
    ] {
        match skb.query(goal, 0).await {
            Err(SkbError::Evaluation(term)) => check(&term, term.contains(expected))?,
            told => return Err(alloc::format!("{goal}: {told:?}")),
        }
    }
    must("one's own", skb.assert_clause("own(1)").await)?;
    let own = must("one's own", skb.query("own(X)", 0).await)?;
    equal("one's own", values(&own), ["1"].into())?;
    check("another's", other.query("own(X)", 0).await.is_err())?;
    let still = other.query("core(X, _, _)", 0).await;
    equal("the cores", still, Ok(cores))
}

/// What once ended the server for good.
async fn greed() -> Outcome {
    let (skb, lists, other) = (connect().await?, connect().await?, connect().await?);
    let much = "between(1, 300000, X), assertz(j(X, X, X)), fail";
    let bound = SkbError::ResourceLimit("client_memory".into());
    equal("much", skb.query(much, 0).await, Err(bound))?;
    for goal in ["j(7, X, Y)", "j(Y, 7, X)"] {
        let found = must("a look-up", skb.query(goal, 0).await)?;
        equal("a look-up", values(&found), ["7"].into())?;
    }
    for _ in 0..4 {
        let goal = "numlist(1, 10000, L), member(X, L)";
        match lists.query(goal, 1).await {
            // As much as there is.
            Ok(_) | Err(SkbError::ResourceLimit(_) | SkbError::TooLong) => {}
            Err(error) => return Err(alloc::format!("long lists: {error}")),
        }
    }
    let answer = must("others", other.query("module(fish, X), X > 0", 0).await)?;
    equal("others", answer.solutions.len(), 1)
}

/// The middle one of some look-ups' times.
async fn look_up_time(skb: &SkbClient<Lmp>) -> Result<Duration, String> {
    let mut times = Vec::new();
    for _ in 0..31 {
        let start = time::now();
        let answer = must("a look-up", skb.query("core(0, X, _)", 0).await)?;
        times.push(time::now().saturating_sub(start));
        equal("a look-up", answer.solutions.len(), 1)?;
    }
    times.sort_unstable();
    Ok(time::to_duration(times[times.len() / 2]))
}

/// The server gives way to whoever is about to ask.
async fn look_ups_beside_an_endless_query() -> Outcome {
    let (endless, quick) = (connect().await?, connect().await?);
    let alone = look_up_time(&quick).await?;
    let stop = Event::new();
    let stopped = stop.clone();
    // Ending it here ends its connection, and with that the work on it.
    let search = spawn(async move { race(endless.query("repeat, fail", 0), stopped.wait()).await });
    yield_now().await;
    let beside = look_up_time(&quick).await?;
    check("the endless one is still at work", !search.is_finished())?;
    stop.set();
    search.await;
    capelin_rt::println!("look-ups: {alone:?} alone, {beside:?} beside an endless query");
    // By instructions (`--icount`, as the case runs it) 52 µs alone; at most half a millisecond.
    let bound = alone * 8 + Duration::from_micros(80);
    check("a look-up waits for a few slices only", beside < bound)
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
