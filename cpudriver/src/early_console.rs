//! What can be said before the core's state is installed.

#![expect(unsafe_code, reason = "a value that is written at boot")]

use core::fmt;
use core::mem::MaybeUninit;

use capelin_aarch64::console::EarlyConsole;

use crate::boot_cell::BootCell;

/// The console for messages before the state is installed. It begins as zeros, as all
/// that isn't constant here does ([`is_own_image`](crate::image::is_own_image)).
pub(crate) struct BootConsole {
    is_set: bool,
    console: MaybeUninit<EarlyConsole>,
}

impl BootConsole {
    pub(crate) fn set(&mut self, console: Option<EarlyConsole>) {
        self.is_set = console.is_some();
        if let Some(console) = console {
            self.console.write(console);
        }
    }

    fn get(&mut self) -> Option<&mut EarlyConsole> {
        if self.is_set {
            // SAFETY: `set` has written it.
            Some(unsafe { self.console.assume_init_mut() })
        } else {
            None
        }
    }
}

pub(crate) fn boot_console() -> &'static mut BootConsole {
    static CONSOLE: BootCell<BootConsole> = BootCell::new(BootConsole {
        is_set: false,
        console: MaybeUninit::zeroed(),
    });
    // SAFETY: boot is single-threaded, and no reference outlives a statement.
    unsafe { &mut *CONSOLE.get() }
}

/// Says something on the console, before the log exists.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    if let Some(console) = boot_console().get() {
        let _ = fmt::Write::write_fmt(console, format_args!("capelin: {what}\n"));
    }
}
