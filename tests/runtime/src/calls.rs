//! Interfaces between programs, over local messages.

use alloc::{rc::Rc, string::String, vec::Vec};
use core::{cell::RefCell, time::Duration};

use capelin_idc::{CallError, Cap, RemoteError, TransportError};
use capelin_rt::{
    Listener, Lmp, RtError, bind, endpoint::Endpoint, memory::Frame, println, spawn, time,
};
use capelin_spawn::Program;
use capelin_suite::{Figure, Outcome, Reporter, ensure, why};

use crate::{
    domains::{LIMIT, image},
    probe::{Probe, ProbeClient, ProbeServer},
};

/// What all clients of a server share.
#[derive(Debug, Default)]
pub(crate) struct State {
    notes: RefCell<Vec<String>>,
}

/// The server for one client.
#[derive(Debug)]
pub(crate) struct Server {
    state: Rc<State>,
    badge: u64,
}

impl Server {
    pub(crate) const fn new(state: Rc<State>, badge: u64) -> Self {
        Self { state, badge }
    }
}

impl Probe for Server {
    async fn add(&self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    async fn reverse(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().rev().copied().collect()
    }

    async fn echo(&self, cap: Cap) -> Result<Cap, CallError> {
        // What came is ours; what goes is the same.
        Ok(cap)
    }

    async fn who(&self) -> u64 {
        self.badge
    }

    async fn hang(&self) -> u64 {
        core::future::pending().await
    }

    async fn note(&self, text: &str) {
        self.state.notes.borrow_mut().push(text.into());
    }

    async fn notes(&self) -> Vec<String> {
        self.state.notes.borrow().clone()
    }
}

pub(crate) async fn run(report: &mut Reporter) {
    report.tell("lmp_calls_within_a_program", within().await);
    report.tell("lmp_bind_is_checked", checked().await);
    report.tell("lmp_calls_between_programs", between().await);
    report.tell("lmp_slow_client_holds_up_nobody", slow_client().await);
    report.tell("lmp_dead_server_is_noticed", dead_server().await);
}

/// Starts a server; gives a capability to bind by.
fn listen(state: &Rc<State>, badge: u64) -> Result<capelin_rt::OwnedCap, String> {
    let listener = Listener::new(16).map_err(why)?;
    let cap = listener.capability(badge).map_err(why)?;
    let state = Rc::clone(state);
    spawn(listener.serve(move |caller| ProbeServer(Server::new(Rc::clone(&state), caller.badge))));
    Ok(cap)
}

async fn within() -> Outcome {
    let server = listen(&Rc::default(), 5)?;
    let client: ProbeClient<Lmp> = bind(server.address()).await.map_err(why)?;
    exercise(&client, 5).await
}

/// Every kind of call.
pub(crate) async fn exercise(client: &ProbeClient<Lmp>, badge: u64) -> Outcome {
    for n in 0..100 {
        ensure!(client.add(n, 1).await == Ok(n + 1), "sum {n}");
    }
    let who = client.who().await;
    ensure!(who == Ok(badge), "{who:?}");
    for length in [0, 1, 54, 55, 56, 500, 60_000] {
        let bytes: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
        let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
        let answer = client.reverse(&bytes).await.map_err(why)?;
        ensure!(answer == reversed, "{length} bytes became {}", answer.len());
    }
    let frame = Frame::new(4096).map_err(why)?.into_shared().0;
    let own = frame.identify().map_err(why)?;
    for _ in 0..20 {
        let back = client.echo(frame.to_send()).await.map_err(why)?;
        let back = capelin_rt::OwnedCap::received(back);
        let identity = back.identify().map_err(why)?;
        ensure!(identity.base == own.base, "{identity:?} for {own:?}");
    }
    client.note("a note").await.map_err(why)?;
    let notes = client.notes().await.map_err(why)?;
    ensure!(notes.iter().any(|note| note == "a note"), "{notes:?}");
    Ok(())
}

async fn checked() -> Outcome {
    use capelin_rt::interfaces::console::ConsoleClient;
    let server = listen(&Rc::default(), 1)?;
    let refused = bind::<ConsoleClient<Lmp>>(server.address()).await;
    let expected = RtError::Call(CallError::Remote(RemoteError::UnknownInterface));
    ensure!(refused.as_ref().err() == Some(&expected), "{refused:?}");
    Ok(())
}

async fn between() -> Outcome {
    let state = Rc::new(State::default());
    let server = listen(&state, 321)?;
    let deaths = Endpoint::new(2).map_err(why)?;
    let domain = Program::new("child")
        .argument("client")
        .word("badge", 321)
        .capability("probe", server.address())
        .death(deaths.for_events(1).map_err(why)?)
        .spawn(&image()?)
        .await
        .map_err(why)?;
    let ended = time::timeout(LIMIT, deaths.receive()).await;
    domain.reclaim().map_err(why)?;
    let event = ended.map_err(|_| "the client doesn't end")?;
    ensure!(
        event.words[1] == 0,
        "the client ended with {}",
        event.words[1]
    );
    ensure!(state.notes.borrow().len() == 1, "its note hasn't come");
    Ok(())
}

/// A client that asks for large replies and takes none, beside one that works.
async fn slow_client() -> Outcome {
    let state = Rc::new(State::default());
    let server = listen(&state, 77)?;
    let domain = Program::new("child")
        .argument("deaf")
        .capability("probe", server.address())
        .spawn(&image()?)
        .await
        .map_err(why)?;
    // Until its requests have been sent, which it tells by a note.
    let mut patience = 2000;
    while state.notes.borrow().is_empty() && patience > 0 {
        time::sleep(Duration::from_millis(5)).await;
        patience -= 1;
    }
    let client: ProbeClient<Lmp> = bind(server.address()).await.map_err(why)?;
    let served = time::timeout(LIMIT, exercise(&client, 77)).await;
    let status = domain.status().map_err(why)?;
    domain.reclaim().map_err(why)?;
    ensure!(patience > 0, "the deaf client couldn't ask: {status:?}");
    served.map_err(|_| "the other client waits")?
}

async fn dead_server() -> Outcome {
    // The child serves; it hands us its endpoint through ours.
    let endpoint = Endpoint::new(2).map_err(why)?;
    endpoint.accept_caps();
    let domain = Program::new("child")
        .argument("server")
        .parent(endpoint.badged(2).map_err(why)?.address())
        .spawn(&image()?)
        .await
        .map_err(why)?;
    let hello = time::timeout(LIMIT, endpoint.receive()).await;
    let hello = hello.map_err(|_| "the server doesn't come up")?;
    let server = hello.cap.ok_or("the server sent no endpoint")?;
    let client: ProbeClient<Lmp> = bind(server.address()).await.map_err(why)?;
    exercise(&client, 3).await?;
    round_trips(&client).await?;
    let hanging = spawn({
        let client = client.clone();
        async move { client.hang().await }
    });
    time::sleep(Duration::from_millis(20)).await;
    ensure!(!hanging.is_finished(), "what hangs has ended");
    domain.reclaim().map_err(why)?;
    let closed = Err(CallError::Transport(TransportError::Closed));
    let ended = time::timeout(LIMIT, hanging).await;
    let ended = ended.map_err(|_| "the call waits for a dead server")?;
    ensure!(ended == closed, "{ended:?}");
    let late = client.add(1, 1).await;
    ensure!(late == closed, "{late:?}");
    Ok(())
}

/// Measures a call to another program and back.
async fn round_trips(client: &ProbeClient<Lmp>) -> Outcome {
    const ROUNDS: u32 = 1000;
    let mut times = Vec::with_capacity(ROUNDS as usize);
    for n in 0..u64::from(ROUNDS) {
        let start = time::now();
        ensure!(client.add(n, 1).await == Ok(n + 1), "sum {n}");
        let taken = time::to_duration(time::now() - start).as_nanos();
        times.push(u64::try_from(taken).map_err(why)?);
    }
    let figure = Figure::of_batches("rt_interface_call", "ns", 1, &mut times);
    println!("{}", figure.ok_or("no calls")?);
    Ok(())
}
