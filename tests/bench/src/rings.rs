//! URPC: one message through a ring whose both ends are here.

use alloc::vec::Vec;
use capelin_rt::time;
use capelin_suite::figures::{BATCHES, Figures};
use capelin_suite::{Outcome, why};
use capelin_urpc::{Channel, Label, Line, RingConfig};

/// Messages of a batch.
const MESSAGES: u64 = 10_000;

/// Sends and receives one message after the other, seven words each.
pub(crate) fn run() -> Outcome {
    let config = RingConfig::default();
    let lines: Vec<Line> = (0..2 * config.lines()).map(|_| Line::new()).collect();
    let mut there = Channel::create(&lines, config, config).map_err(why)?;
    let mut here = Channel::attach(&lines).map_err(why)?;
    let mut figures = Figures::new("urpc-one-way", MESSAGES);
    for _ in 0..BATCHES {
        let mut received = 0;
        let start = time::now();
        for number in 0..MESSAGES {
            if here.tx.try_send_line(Label::new(1), &[number; 7]).is_err() {
                break;
            }
            let Ok(Some(message)) = there.rx.try_recv() else {
                break;
            };
            let words = message.line();
            received += words[0] ^ words[1] ^ words[2] ^ words[3] ^ words[4] ^ words[5] ^ words[6];
        }
        figures.note(start);
        if received != MESSAGES * (MESSAGES - 1) / 2 {
            return Err("messages were lost".into());
        }
    }
    figures.print();
    Ok(())
}
