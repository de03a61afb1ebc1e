//! What can be said before the core's state is installed.

use core::fmt;

use capelin_aarch64::console::EarlyConsole;
use spin::Once;

/// The console for messages before the state is installed. It begins as zeros, as all
/// that isn't constant here does ([`is_own_image`](crate::image::is_own_image)).
static CONSOLE: Once<EarlyConsole> = Once::new();

/// What is said from here on is said on `console`.
pub(crate) fn set(console: EarlyConsole) {
    CONSOLE.call_once(|| console);
}

/// Says something on the console, before the log exists.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    if let Some(&console) = CONSOLE.get() {
        let mut console = console;
        // Nobody is there to be told that it doesn't take text.
        let _ = fmt::Write::write_fmt(&mut console, format_args!("capelin: {what}\n"));
    }
}
