//! Writers that share a line of time, readers that don't.

use alloc::{format, string::String, vec::Vec};
use core::time::Duration;

use capelin_interfaces::{
    console::{ConsoleClient, ConsoleError, ConsoleMode},
    service,
};
use capelin_rt::{Lmp, executor::yield_now, services, spawn, time};
use capelin_suite::{Outcome, Reporter, equal, must};

/// Lines that each writer writes.
const LINES: usize = 20;

async fn connect() -> Result<ConsoleClient<Lmp>, String> {
    must("connecting", services::connect(service::CONSOLE).await)
}

pub(crate) async fn run(report: &mut Reporter) {
    report.tell("console/lines-in-pieces", lines_in_pieces().await);
    report.tell("console/long-write", long_write().await);
    report.tell("console/one-reader", one_reader().await);
}

/// The lines are `<1:0>` and so on. The runner sees to it that no line holds a piece of another.
async fn lines_in_pieces() -> Outcome {
    let mut writers = Vec::new();
    for number in 1..=3 {
        let console = connect().await?;
        writers.push(spawn(async move {
            for line in 0..LINES {
                for piece in [
                    format!("<{number}:"),
                    format!("{line}"),
                    String::from(">\n"),
                ] {
                    console.write(piece.as_bytes()).await?;
                    yield_now().await;
                }
            }
            Ok::<_, ConsoleError>(())
        }));
    }
    for writer in writers {
        must("writing", writer.await)?;
    }
    Ok(())
}

/// More than the driver keeps and more than one message holds.
async fn long_write() -> Outcome {
    let console = connect().await?;
    let line = [[b'='; 63].as_slice(), b"\n"].concat();
    for _ in 0..10 {
        let block = line.repeat(64);
        must("writing", console.write(&block).await)?;
    }
    must("flushing", console.flush().await)
}

async fn one_reader() -> Outcome {
    let (first, second) = (connect().await?, connect().await?);
    must("the first", first.set_mode(ConsoleMode::Line).await)?;
    let refused = second.read(1).await;
    equal("the second", refused, Err(ConsoleError::NotForeground))?;
    drop(first);
    // The driver hears of that a little later.
    for _ in 0..100 {
        if second.set_mode(ConsoleMode::Raw).await.is_ok() {
            return Ok(());
        }
        time::sleep(Duration::from_millis(10)).await;
    }
    Err("the session didn't come back".into())
}
