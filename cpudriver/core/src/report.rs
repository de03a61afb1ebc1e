//! What the kernel says: into its log, and on the console while that is its own.

use core::fmt::{self, Write};

use crate::delivery::program_timer;
use crate::log::{CONSOLE_STUCK_PER_SECOND, Log, SHOWN_AT_ONCE};
use crate::machine::{Machine, Objects};
use crate::narrow::index;
use crate::state::Core;

impl<M: Machine> Core<M> {
    /// Adds bytes to the log, and to the console while that is the kernel's.
    pub(crate) fn log_bytes(&mut self, text: &[u8]) {
        self.log.push(text);
        if !self.show_log() {
            let now = self.machine.now();
            program_timer(self, now);
        }
    }

    /// Writes to the console, while that is the kernel's, what it takes of the log
    /// without being waited for, [`SHOWN_AT_ONCE`] bytes at most. The timer sees to
    /// the rest. Whether there is none.
    pub(crate) fn show_log(&mut self) -> bool {
        if self.log_is_shown() {
            return true;
        }
        let (from, bytes) = self.log.read(self.log.shown);
        let bytes = &bytes[..bytes.len().min(SHOWN_AT_ONCE)];
        let taken = self.machine.write_console(bytes) as u64;
        self.log.shown = from + taken;
        let now = self.machine.now();
        let busy = now.wrapping_sub(self.log.shown_at);
        if taken != 0 || self.log_is_shown() {
            self.log.shown_at = now;
        } else if busy > self.frequency / CONSOLE_STUCK_PER_SECOND {
            // It costs output, and nothing else.
            self.log.shown = self.log.end();
        }
        self.log_is_shown()
    }

    /// Waits until the console has all of the log, or is stuck: before a core's last
    /// words.
    pub fn finish_log(&mut self) {
        while !self.show_log() {}
    }

    /// Adds a line that names this kernel.
    pub fn log_line(&mut self, line: fmt::Arguments<'_>) {
        let kernel = self.kernel;
        let _ = writeln!(Writer(&mut self.log), "cpu {kernel}: {line}");
        // The console is looked at once, however many pieces the line has.
        self.log_bytes(&[]);
    }

    /// Reports the registers of a dispatcher that a fault ended. Any program may have it do so,
    /// so the registers go into the log without what formats anything at all.
    pub(crate) fn report_fault(&mut self, dcb: crate::dcb::DcbRef) {
        use capelin_abi::dispatcher::context;
        let fault = self.objects.dcb(dcb).fault;
        let at = self.objects.dcb_address(dcb);
        let kernel = self.kernel;
        let mut log = Writer(&mut self.log);
        let [pc, sp] = [fault[context::PC], fault[context::SP]];
        let [syndrome, address] = [fault[context::WORDS], fault[context::WORDS + 1]];
        let _ = writeln!(
            log,
            "cpu {kernel}: dispatcher {at} ended by a fault: ESR {syndrome:#x} FAR {address:#x} PC {pc:#x} SP {sp:#x}"
        );
        for (number, row) in fault[..32].chunks(4).enumerate() {
            let _ = write!(log, "cpu {kernel}:   x{:<2}", 4 * number);
            for &word in row {
                log.0.push(b" ");
                log.0.push(&hexadecimal(word));
            }
            log.0.push(b"\n");
        }
        self.log_bytes(&[]);
    }
}

/// All digits of `word`.
fn hexadecimal(word: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    core::array::from_fn(|place| DIGITS[index(word >> (60 - 4 * place) & 0xf)])
}

/// Writes to the log alone.
struct Writer<'a>(&'a mut Log);

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push(text.as_bytes());
        Ok(())
    }
}
