//! Takes all that it can get of each service, and keeps it.
//!
//! Not by the runtime, which is modest: one endpoint, and as many badged capabilities to it as the
//! service takes for clients. On each connection it begins a long message that never ends. What
//! one client may have is bounded, and said to be when it goes over; meanwhile there is something
//! left for others: programs that it has started find what they need.

use alloc::{format, string::String, vec::Vec};
use core::time::Duration;

use capelin_abi::{PAGE_SIZE, SysError, lmp::COUNTED_BADGE, syscall::SendFlags};
use capelin_interfaces::{
    console::ConsoleClient,
    memory::{ANY_NODE, MemoryClient, MemoryError},
    monitor::{DomainState, MonitorClient},
    names::{NamesClient, NamesError},
    service,
    skb::SkbClient,
    system::SystemClient,
};
use capelin_rt::{
    Lmp, OwnedCap, RtError,
    endpoint::{Endpoint, Received},
    idc::{Client, Fragment, InterfaceId, Kind, RemoteError, WireHeader},
    println, services, sys, time,
};
use capelin_suite::{Outcome, Reporter, check, equal, must};

/// More connections than any service has for all.
const MANY: u64 = 2000;
/// Bytes that each message is said to have.
const LONG: u16 = 40_000;
/// How long a service may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Programs that are started on each core meanwhile.
const OTHERS: u32 = 20;

/// Takes what it can, tells how that went, and looks how others fare.
pub(crate) async fn run(report: &mut Reporter) {
    // The runtime's own connections, among them the console's, come first.
    let names = services::names().await;
    let monitor = services::connect::<MonitorClient<Lmp>>(service::MONITOR).await;
    let memory = services::memory().await;
    println!("greedy: begins");
    let mut kept = Vec::new();
    report.tell("greedy/names", register(&names).await);
    for (name, interface) in [
        (service::NAMES, NamesClient::<Lmp>::INTERFACE),
        (service::MEMORY, MemoryClient::<Lmp>::INTERFACE),
        (service::CONSOLE, ConsoleClient::<Lmp>::INTERFACE),
        (service::SKB, SkbClient::<Lmp>::INTERFACE),
        (service::MONITOR, MonitorClient::<Lmp>::INTERFACE),
        (service::SYSTEM, SystemClient::<Lmp>::INTERFACE),
    ] {
        let title = format!("greedy/connections-of-{name}");
        let taken = take(name, interface).await;
        report.tell(&title, taken.map(|taken| kept.push(taken)));
    }
    let mut taken = Vec::new();
    report.tell("greedy/memory", take_memory(&memory, &mut taken).await);
    report.tell("greedy/others", others(&monitor).await);
}

/// Takes memory until it gets no more, in large pieces and then in small ones: that is much, and no
/// more than is left.
async fn take_memory(
    memory: &Result<MemoryClient<Lmp>, RtError>,
    taken: &mut Vec<OwnedCap>,
) -> Outcome {
    let memory = must("memory", memory.as_ref())?;
    let before = must("stats", memory.stats(ANY_NODE).await)?;
    let mut bytes = 0;
    for piece in [8 << 20, 1 << 20, 64 << 10] {
        loop {
            match memory.allocate(piece, PAGE_SIZE, ANY_NODE).await {
                Ok(ram) => taken.push(OwnedCap::received(ram)),
                Err(MemoryError::ShareUsed) => break,
                Err(error) => return Err(format!("after {bytes} bytes: {error:?}")),
            }
            bytes += piece;
            check("it gets more than there is", bytes < before.total_bytes)?;
        }
    }
    let after = must("stats", memory.stats(ANY_NODE).await)?;
    // On another core than the boot core, its monitor has fetched a little for itself.
    const OF_MONITOR: u64 = 4 << 20;
    check(
        "it gets more than it leaves",
        bytes <= after.free_bytes - after.reserve_bytes() + OF_MONITOR,
    )?;
    check("it gets little", bytes > before.free_bytes / 3)
}

/// Programs on both cores run, and end well: each needs names, memory and its console.
async fn others(monitor: &Result<MonitorClient<Lmp>, RtError>) -> Outcome {
    let monitor = must("monitor", monitor.as_ref())?;
    for _ in 0..OTHERS {
        for core in 0..2 {
            let started = must("start", monitor.spawn(core, "hello", &[]).await)?;
            let ended = must("wait", monitor.wait(started).await)?;
            equal("its end", ended, DomainState::Exited(0))?;
        }
    }
    Ok(())
}

/// Registers names until there are no more for it.
async fn register(names: &Result<NamesClient<Lmp>, RtError>) -> Outcome {
    let names = must("names", names.as_ref())?;
    let endpoint = must("endpoint", Endpoint::new(1))?;
    for number in 0..MANY {
        let badged = must("badge", endpoint.badged(1))?;
        let name = format!("greedy{number}");
        match names.register(&name, badged.give()).await {
            Ok(()) => {}
            Err(NamesError::ShareUsed) => return check("some", number > 0),
            Err(error) => return Err(format!("after {number} names: {error:?}")),
        }
    }
    Err("it gives out names without end".into())
}

/// All connections of one service that it gives to one client.
struct Taken {
    _endpoint: Endpoint,
    _connections: Vec<OwnedCap>,
}

async fn take(name: &str, interface: InterfaceId) -> Result<Taken, String> {
    let server = must("look-up", endpoint_of(name).await)?;
    let endpoint = must("endpoint", Endpoint::new(8))?;
    endpoint.accept_caps();
    let mut connections = Vec::new();
    for number in 1..=MANY {
        // The service has the only copy.
        let replies = must("badge", endpoint.badged(COUNTED_BADGE | number))?;
        let header = WireHeader::new(interface, Kind::Bind, 0, 0);
        let bind = Fragment::new(header, &[0, 0]);
        let sent = send(&server, &bind, Some(replies));
        must("bind", sent)?;
        match answer(&endpoint).await? {
            (Kind::Bound, _, Some(connection)) => connections.push(connection),
            (Kind::Failure, Some(RemoteError::ShareUsed), _) => break,
            (_, error, _) => {
                return Err(format!("after {number} connections: {error:?}"));
            }
        }
    }
    check(
        "it gives out connections without end",
        connections.len() < 100,
    )?;
    begin_long_messages(&endpoint, interface, &connections).await?;
    Ok(Taken {
        _endpoint: endpoint,
        _connections: connections,
    })
}

/// One body may always be kept for a client, but not one on each connection.
async fn begin_long_messages(
    endpoint: &Endpoint,
    interface: InterfaceId,
    connections: &[OwnedCap],
) -> Outcome {
    for (number, connection) in connections.iter().enumerate() {
        let header = WireHeader::new(interface, Kind::Request, 0, 1).at(true, true);
        let mut body = [0; 56];
        body[..2].copy_from_slice(&LONG.to_le_bytes());
        let begun = Fragment::new(header, &body);
        must("request", send(connection, &begun, None))?;
        if number == 0 {
            continue;
        }
        match answer(endpoint).await? {
            (Kind::Failure, Some(RemoteError::ShareUsed), _) => {}
            (_, error, _) => return Err(format!("long message {number}: {error:?}")),
        }
    }
    Ok(())
}

async fn endpoint_of(name: &str) -> Result<OwnedCap, RtError> {
    match capelin_rt::env::capability(name) {
        Some(passed) => OwnedCap::copy_of(passed),
        None => {
            let found = services::names().await?.look_up(name).await;
            found
                .map(OwnedCap::received)
                .map_err(|_| RtError::NoService)
        }
    }
}

/// Sends `fragment`, with which `given` is given away, when there is room.
fn send(target: &OwnedCap, fragment: &Fragment, given: Option<OwnedCap>) -> Result<(), SysError> {
    let (payload, count) = fragment.payload_words();
    let mut words = [0; 8];
    words[0] = fragment.header().to_word();
    words[1..].copy_from_slice(payload);
    let cap = given.as_ref().map(OwnedCap::address);
    let flags = cap.map_or(SendFlags::empty(), |_| SendFlags::MOVE);
    loop {
        match sys::send(target.address(), cap, flags, &words[..=count]) {
            Err(SysError::EndpointFull | SysError::NoReceiveSlot) => {
                // If that fails, we only try again at once.
                let _ = sys::yield_now();
            }
            result => {
                if result.is_ok() {
                    given.into_iter().for_each(OwnedCap::forget);
                }
                return result;
            }
        }
    }
}

/// The next answer: its kind, the error that it tells of, and the capability that came along.
async fn answer(
    endpoint: &Endpoint,
) -> Result<(Kind, Option<RemoteError>, Option<OwnedCap>), String> {
    loop {
        let received = time::timeout(PATIENCE, endpoint.receive()).await;
        let Received {
            words,
            cap,
            is_event,
            ..
        } = must("no answer", received)?;
        let header = WireHeader::from_word(words[0]).filter(|_| !is_event);
        let Some(header) = header else { continue };
        // Two bytes of length, and then the error.
        let error = (header.kind() == Kind::Failure)
            .then(|| RemoteError::from_wire(words[1].to_le_bytes()[2]));
        return Ok((header.kind(), error, cap));
    }
}
