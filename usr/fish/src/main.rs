//! The shell (`docs/090-shell.md`).
//!
//! With a kernel argument `capelin.exec=COMMANDS` it runs these, tells how many failed, and turns
//! the machine off; else it takes commands from the console for ever.
//!
//! | module | does |
//! | --- | --- |
//! | [`input`] | reads the console beside everything else; tells Ctrl-C apart |
//! | [`jobs`] | programs that go on by themselves |
//! | [`services`] | binds to the system services when they are first needed |
//! | [`shell`] | runs commands |
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

mod caps;
mod card;
mod failure;
mod input;
mod jobs;
mod services;
mod shell;

use alloc::{format, string::String, vec};

use capelin_interfaces::handover;
use capelin_report::{BootTime, ExecStatus};
use capelin_rt::{Env, ExitCode, RtError, time, vspace::window};
use fish::{
    PROMPT, arguments,
    editor::{Editor, Event, MAX_LINE},
    percent,
};

use crate::{
    input::Input,
    shell::{Outcome, Shell},
};

capelin_rt::main!(run);

async fn run(env: Env) -> ExitCode {
    let mut shell = Shell::start(env.core()).await;
    let text = match kernel_arguments(&env) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("error: the kernel's arguments: {error}\n");
            shell.write(&message).await;
            String::new()
        }
    };
    let arguments = arguments::parse(&text);
    for word in &arguments.unknown {
        let message = format!("error: {word}: no such kernel argument\n");
        shell.write(&message).await;
    }
    if let Some(since) = env.word(handover::ENTRY_TICKS) {
        let message = format!("{}\n", boot_time(since));
        shell.write(&message).await;
    }
    match arguments.exec {
        Some(encoded) => execute(shell, encoded).await,
        None => converse(shell).await,
    }
}

/// What the boot took, from the counter's value `since` on.
fn boot_time(since: u64) -> BootTime {
    let took = time::to_duration(time::now().saturating_sub(since));
    BootTime(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
}

/// The kernel's arguments, as `init` hands them over; empty when there are none.
fn kernel_arguments(env: &Env) -> Result<String, RtError> {
    let Some(frame) = env.capability(handover::KERNEL_ARGUMENTS) else {
        return Ok(String::new());
    };
    let bytes = env.word(handover::BYTES).unwrap_or(0);
    let bytes = usize::try_from(bytes).map_err(|_| RtError::InvalidSize)?;
    let mut text = vec![0; bytes];
    window::peek(frame, 0, &mut text)?;
    // It was a text when init wrote it.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Runs the commands of the kernel argument and turns the machine off.
async fn execute(mut shell: Shell, encoded: &str) -> ExitCode {
    let mut failed = 0;
    let mut ending = Outcome::PowerOff;
    match percent::decode(encoded) {
        Ok(text) => {
            for command in fish::words::script(&text) {
                shell.write(&format!("{PROMPT}{command}\n")).await;
                match shell.run(command).await {
                    Ok(Outcome::Done) => {}
                    Ok(outcome) => {
                        ending = outcome;
                        break;
                    }
                    Err(failure) => {
                        failed += 1;
                        shell.report(&failure).await;
                    }
                }
            }
        }
        Err(error) => {
            failed = 1;
            shell
                .write(&format!("error: {} {error}\n", arguments::EXEC))
                .await;
        }
    }
    shell.write(&format!("{}\n", ExecStatus(failed))).await;
    shell.end(ending).await;
    ExitCode::FAILURE
}

/// Takes commands from the console.
async fn converse(mut shell: Shell) -> ExitCode {
    let Some(console) = shell.console() else {
        shell
            .write("fish: there is no console to read from\n")
            .await;
        return ExitCode::FAILURE;
    };
    let input = match Input::start(console).await {
        Ok(input) => input,
        Err(error) => {
            shell
                .write(&format!("fish: cannot read the console: {error}\n"))
                .await;
            return ExitCode::FAILURE;
        }
    };
    let mut editor = Editor::new(PROMPT);
    loop {
        match next_line(&mut shell, &input, &mut editor).await {
            Some(Event::Line(line)) => {
                for command in fish::words::commands(&line) {
                    match input.or_interrupt(shell.run(command)).await {
                        Some(Ok(Outcome::Done)) => {}
                        // It comes back only when that has failed, and has said so.
                        Some(Ok(outcome)) => shell.end(outcome).await,
                        Some(Err(failure)) => shell.report(&failure).await,
                        None => {
                            shell.interrupt().await;
                            break;
                        }
                    }
                }
            }
            Some(Event::TooLong) => {
                shell
                    .write(&format!(
                        "error: the line has more than {MAX_LINE} characters; nothing was run\n"
                    ))
                    .await;
            }
            Some(Event::Interrupted) => {}
            Some(Event::EndOfInput) => {
                shell
                    .write("poweroff turns the machine off, reboot starts it again\n")
                    .await;
            }
            None => return ExitCode::FAILURE,
        }
    }
}

/// Edits a line; `None` when the console has ended.
async fn next_line(shell: &mut Shell, input: &Input, editor: &mut Editor) -> Option<Event> {
    let mut shown = String::new();
    editor.start(&mut shown);
    loop {
        // What was typed ahead is shown with one write.
        let mut event = None;
        while event.is_none()
            && let Some(byte) = input.try_next()
        {
            event = editor.feed(byte, &mut shown);
        }
        if !shown.is_empty() {
            shell.write_bytes(shown.as_bytes()).await;
            shown.clear();
        }
        if event.is_some() {
            return event;
        }
        let event = editor.feed(input.next().await?, &mut shown);
        if event.is_some() {
            shell.write_bytes(shown.as_bytes()).await;
            return event;
        }
    }
}
