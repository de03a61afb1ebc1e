//! Typed calls to another program on this core.

use alloc::string::ToString;
use alloc::vec;

use capelin_idc::interface;
use capelin_rt::interfaces::monitor::{MonitorClient, THIS_CORE};
use capelin_rt::interfaces::service;
use capelin_rt::sync::Event;
use capelin_rt::{Listener, Lmp, services, spawn, time};
use capelin_suite::figures::{BATCHES, Figures};
use capelin_suite::{Outcome, why};

/// Calls of a batch.
const CALLS: u64 = 500;
/// Under which name the server registers.
const NAME: &str = "bench-echo";

/// Answers.
#[interface(name = "bench-echo", version = 1)]
pub(crate) trait Echo {
    /// The value, unchanged.
    async fn echo(&self, value: u64) -> u64;
    /// The server ends; nobody answers.
    #[oneway]
    async fn stop(&self);
}

/// The server's side.
struct Server {
    stop: Event,
}

impl Echo for Server {
    async fn echo(&self, value: u64) -> u64 {
        value
    }

    async fn stop(&self) {
        self.stop.set();
    }
}

/// Serves one client until it says stop.
pub(crate) async fn serve(_count: u64) -> Outcome {
    let listener = Listener::new(16).map_err(why)?;
    services::register(NAME, &listener, 1).await.map_err(why)?;
    let stop = Event::default();
    let stopped = stop.clone();
    spawn(listener.serve(move |_| EchoServer(Server { stop: stop.clone() })));
    stopped.wait().await;
    Ok(())
}

/// Times request and reply through the stubs of both sides.
pub(crate) async fn run() -> Outcome {
    let monitor: MonitorClient<Lmp> = services::connect(service::MONITOR).await.map_err(why)?;
    let arguments = vec!["serve".to_string(), CALLS.to_string()];
    let server = monitor.spawn(THIS_CORE, "bench", &arguments).await;
    let server = server.map_err(why)?;
    let echo: EchoClient<Lmp> = services::wait_for(NAME).await.map_err(why)?;
    let mut figures = Figures::new("lmp-rpc-typed", CALLS);
    for _ in 0..BATCHES {
        let start = time::now();
        for number in 0..CALLS {
            if echo.echo(number).await != Ok(number) {
                return Err("no echo".into());
            }
        }
        figures.note(start);
    }
    figures.print();
    let _ = echo.stop().await;
    // Its exit code doesn't matter; that it is gone does.
    let _ = monitor.wait(server).await;
    Ok(())
}
