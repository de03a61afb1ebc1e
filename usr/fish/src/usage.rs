//! How each command is used.

use core::fmt;

/// How a command is used.
#[derive(PartialEq, Eq, Debug)]
pub struct Usage {
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if self.arguments.is_empty() {
            return Ok(());
        }
        write!(f, " {}", self.arguments)
    }
}

const fn usage(name: &'static str, arguments: &'static str, summary: &'static str) -> Usage {
    Usage {
        name,
        arguments,
        summary,
    }
}

/// All commands, sorted by name.
pub static COMMANDS: &[Usage] = &[
    usage(
        "board",
        "",
        "tell what the firmware knows of the board: model, serial number, memory, clocks",
    ),
    usage(
        "caps",
        "[DOMAIN]",
        "list the capabilities of this domain, or of one named or numbered as in ps",
    ),
    usage("cat", "FILE", "show a file of the card"),
    usage(
        "core",
        "panic CORE",
        "end the CPU driver of a core by a panic, to see what becomes of the others",
    ),
    usage(
        "cores",
        "",
        "list the cores: id, MPIDR, node, state, home memory, upcalls per second",
    ),
    usage(
        "cp",
        "FILE FILE|FOLDER",
        "copy a file of the card; what the second held goes",
    ),
    usage(
        "devices",
        "",
        "list the devices of the machine: driver, and how it stands with it",
    ),
    usage("df", "", "tell how much room there is on the card"),
    usage("dmesg", "[CORE]", "show the kernel log of a core"),
    usage("echo", "[WORD]...", "print the words"),
    usage("help", "[COMMAND]", "explain the commands"),
    usage(
        "jobs",
        "",
        "list the programs that were started by PROGRAM &, which isn't waited for",
    ),
    usage(
        "kill",
        "JOB|DOMAIN",
        "end a program: a job (%1), or one numbered as in ps (0.7)",
    ),
    usage(
        "kmap",
        "CORE",
        "list what the CPU driver of a core has mapped",
    ),
    usage(
        "ls",
        "[FOLDER]",
        "list what is on the card, or in a folder of it",
    ),
    usage("mem", "", "show memory by node and by core"),
    usage("mkdir", "FOLDER", "make a folder on the card"),
    usage("modules", "", "list the programs that can be run"),
    usage(
        "oncore",
        "CORE PROGRAM [ARGUMENT]...",
        "run a program on a core and wait for it",
    ),
    usage(
        "ping",
        "CORE [ROUNDS]",
        "measure round trips to the monitor of a core (1000, at most 10000)",
    ),
    usage("poweroff", "", "turn the machine off"),
    usage(
        "probe",
        "CORE ADDRESS",
        "tell whether the CPU driver of a core can read a physical address",
    ),
    usage("ps", "", "list the domains of all cores"),
    usage(
        "random",
        "[BYTES]",
        "print random bytes of a device (16, or 1 to 4096)",
    ),
    usage("reboot", "", "start the machine again"),
    usage(
        "repeat",
        "N COMMAND",
        "run a command N times, or several: repeat N (COMMAND; COMMAND); Ctrl-C ends it",
    ),
    usage(
        "rm",
        "FILE|FOLDER",
        "remove a file of the card, or a folder that is empty",
    ),
    usage(
        "run",
        "PROGRAM [ARGUMENT]...",
        "run a program, of the archive or the card, here and wait for it; its name alone does, too",
    ),
    usage(
        "skb",
        "GOAL",
        "solve a goal over the facts of the machine, as: skb core(C, Mpidr, Node)",
    ),
    usage(
        "temperature",
        "",
        "tell how warm the chip is, and at which temperature it is slowed down",
    ),
    usage(
        "wait",
        "[JOB|DOMAIN]",
        "wait until a program has ended (%1, 0.7), or all jobs have",
    ),
];

/// How the command `name` is used.
#[must_use]
pub fn find(name: &str) -> Option<&'static Usage> {
    COMMANDS.iter().find(|usage| usage.name == name)
}
