//! Words to typed commands.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use crate::{
    usage::{Usage, find},
    words::{self, WordsError},
};

/// Round trips that `ping` makes unless told otherwise.
pub const DEFAULT_ROUNDS: u32 = 1000;
/// Round trips that `ping` makes at most.
pub const MAX_ROUNDS: u32 = 10_000;
/// Random bytes that are printed unless the command says how many.
const DEFAULT_BYTES: u32 = 16;
/// The most random bytes.
const MAX_BYTES: u32 = capelin_interfaces::entropy::MOST;
/// `repeat`s within each other at most.
pub const MAX_DEPTH: usize = 8;

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Explain all commands, or one.
    Help(Option<String>),
    /// List the cores.
    Cores,
    /// List the domains of all cores.
    Ps,
    /// Memory by node and by core.
    Mem,
    /// The capabilities of a domain: this one, or one with this name or id.
    Caps(Option<String>),
    /// Solve a goal.
    Skb(String),
    /// Measure round trips to a core's monitor.
    Ping {
        /// Kernel id.
        core: u16,
        /// Round trips.
        rounds: u32,
    },
    /// Run a program, on this core when `core` is `None`, and wait for it.
    Run {
        /// Kernel id.
        core: Option<u16>,
        /// A module's name.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// It was called by its name alone, like a command.
        is_bare: bool,
    },
    /// Start a program, and don't wait for it.
    Start {
        /// Kernel id.
        core: Option<u16>,
        /// A module's name.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// List the programs that were started so.
    Jobs,
    /// Wait for one of them, or for all.
    Wait(Option<Target>),
    /// End a program.
    Kill(Target),
    /// Run commands several times.
    Repeat {
        /// How many times, at least once.
        count: u32,
        /// The commands, at least one.
        body: Vec<Self>,
    },
    /// Print words.
    Echo(String),
    /// List the devices and their drivers.
    Devices,
    /// What the firmware knows of the board.
    Board,
    /// How warm the chip is.
    Temperature,
    /// So many random bytes.
    Random(u32),
    /// Something about files.
    File(FileCommand),
    /// The kernel log of a core, or of this one.
    Dmesg(Option<u16>),
    /// List the modules of the archive.
    Modules,
    /// Whether a core's CPU driver can read a physical address.
    Probe {
        /// Kernel id.
        core: u16,
        /// Physical address.
        address: u64,
    },
    /// List a CPU driver's own map.
    KernelMap(u16),
    /// End a core's CPU driver by a panic.
    PanicCore(u16),
    /// Start the machine again.
    Reboot,
    /// Turn the machine off.
    PowerOff,
}

/// What is done with files; paths begin at the top folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileCommand {
    /// List a folder, or one file.
    List(String),
    /// Write a file to the console.
    Show(String),
    /// Copy a file.
    Copy {
        /// That file.
        from: String,
        /// The new one, or the folder that it comes into.
        to: String,
    },
    /// Remove a file, or a folder that is empty.
    Remove(String),
    /// Make a folder.
    MakeFolder(String),
    /// How much room there is.
    Space,
}

/// A program that a command is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A job of this shell's, by its number: `%1`.
    Job(u32),
    /// Any domain, by core and number: `0.7`.
    Domain(u16, u64),
}

impl Target {
    fn read(word: &str) -> Option<Self> {
        if let Some(job) = word.strip_prefix('%') {
            return job.parse().ok().map(Self::Job);
        }
        let (core, number) = word.split_once('.')?;
        Some(Self::Domain(core.parse().ok()?, number.parse().ok()?))
    }
}

/// What is wrong with a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// Its words can't be told apart.
    Words(WordsError),
    /// An argument is missing; how the command is used.
    Missing(&'static Usage),
    /// An argument too many.
    TooMany(&'static Usage, String),
    /// An argument that should be something else.
    NotA(&'static Usage, String, &'static str),
    /// More than [`MAX_DEPTH`] commands hold each other.
    TooDeep(&'static Usage),
    /// `&` after what isn't a program.
    NotStarted,
}

impl From<WordsError> for CommandError {
    fn from(error: WordsError) -> Self {
        Self::Words(error)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(error) => error.fmt(f),
            Self::Missing(usage) => write!(f, "an argument is missing; usage: {usage}"),
            Self::TooMany(usage, word) => write!(f, "{word} is too much; usage: {usage}"),
            Self::NotA(usage, word, expected) => {
                write!(f, "{word} is not {expected}; usage: {usage}")
            }
            Self::NotStarted => f.write_str("only programs go on by themselves: PROGRAM &"),
            Self::TooDeep(usage) => {
                write!(f, "more than {MAX_DEPTH} within each other; usage: {usage}")
            }
        }
    }
}

impl core::error::Error for CommandError {}

/// Reads a command, which isn't empty. A name that isn't a command's is a program's.
///
/// # Errors
/// See [`CommandError`].
pub fn parse(text: &str) -> Result<Command, CommandError> {
    parse_within(text, 0)
}

/// As [`parse`], within so many other commands.
fn parse_within(text: &str, depth: usize) -> Result<Command, CommandError> {
    let (name, rest) = words::split_first(text);
    // Quotes and backslashes of a goal, or of another command, are its own.
    match (name, find(name)) {
        ("skb", Some(usage)) if rest.is_empty() => return Err(CommandError::Missing(usage)),
        ("skb", _) => return Ok(Command::Skb(rest.to_string())),
        ("repeat", Some(usage)) => return repeat(usage, rest, depth),
        _ => {}
    }
    if let Some(text) = text.strip_suffix('&').filter(|text| !text.ends_with('\\')) {
        return match parse_within(text.trim_end(), depth)? {
            Command::Run {
                core,
                program,
                arguments,
                ..
            } if !program.is_empty() => Ok(Command::Start {
                core,
                program,
                arguments,
            }),
            _ => Err(CommandError::NotStarted),
        };
    }
    let mut words = words::words(text)?.into_iter();
    let name = words.next().unwrap_or_default();
    let Some(usage) = find(&name) else {
        return Ok(Command::Run {
            core: None,
            program: name,
            arguments: words.collect(),
            is_bare: true,
        });
    };
    let mut arguments = Arguments { usage, words };
    let command = arguments.command()?;
    match arguments.words.next() {
        Some(word) => Err(CommandError::TooMany(usage, word)),
        None => Ok(command),
    }
}

/// Reads what follows `repeat`.
fn repeat(usage: &'static Usage, text: &str, depth: usize) -> Result<Command, CommandError> {
    let (count, text) = words::split_first(text);
    if text.is_empty() {
        return Err(CommandError::Missing(usage));
    }
    let number = count.parse().ok().filter(|&number| number > 0);
    let count = number.ok_or_else(|| {
        CommandError::NotA(usage, count.to_string(), "a number of times, 1 or more")
    })?;
    if depth == MAX_DEPTH {
        return Err(CommandError::TooDeep(usage));
    }
    let commands = words::group(text).unwrap_or_else(|| alloc::vec![text]);
    let body: Vec<_> = commands
        .into_iter()
        .map(|command| parse_within(command, depth + 1))
        .collect::<Result<_, _>>()?;
    if body.is_empty() {
        return Err(CommandError::Missing(usage));
    }
    Ok(Command::Repeat { count, body })
}

struct Arguments<I> {
    usage: &'static Usage,
    words: I,
}

impl<I: Iterator<Item = String>> Arguments<I> {
    fn command(&mut self) -> Result<Command, CommandError> {
        Ok(match self.usage.name {
            "board" => Command::Board,
            "caps" => Command::Caps(self.words.next()),
            "cat" => Command::File(FileCommand::Show(self.word()?)),
            "core" => match self.word()?.as_str() {
                "panic" => Command::PanicCore(self.core()?),
                other => {
                    return Err(CommandError::NotA(self.usage, other.into(), "panic"));
                }
            },
            "cores" => Command::Cores,
            "cp" => Command::File(FileCommand::Copy {
                from: self.word()?,
                to: self.word()?,
            }),
            "devices" => Command::Devices,
            "df" => Command::File(FileCommand::Space),
            "dmesg" => Command::Dmesg(self.optional_core()?),
            "help" => Command::Help(self.words.next()),
            "jobs" => Command::Jobs,
            "kill" => {
                let target = self.target()?;
                Command::Kill(target.ok_or(CommandError::Missing(self.usage))?)
            }
            "kmap" => Command::KernelMap(self.core()?),
            "ls" => {
                let path = self.words.next();
                Command::File(FileCommand::List(path.unwrap_or_else(|| "/".into())))
            }
            "mem" => Command::Mem,
            "mkdir" => Command::File(FileCommand::MakeFolder(self.word()?)),
            "modules" => Command::Modules,
            "oncore" => Command::Run {
                core: Some(self.core()?),
                program: self.word()?,
                arguments: self.words.by_ref().collect(),
                is_bare: false,
            },
            "ping" => Command::Ping {
                core: self.core()?,
                rounds: self.rounds()?,
            },
            "poweroff" => Command::PowerOff,
            "probe" => Command::Probe {
                core: self.core()?,
                address: self.address()?,
            },
            "ps" => Command::Ps,
            "random" => Command::Random(self.bytes()?),
            "reboot" => Command::Reboot,
            "rm" => Command::File(FileCommand::Remove(self.word()?)),
            "run" => Command::Run {
                core: None,
                program: self.word()?,
                arguments: self.words.by_ref().collect(),
                is_bare: false,
            },
            "temperature" => Command::Temperature,
            "wait" => Command::Wait(self.target()?),
            // `skb` and `repeat` have been read before.
            _ => Command::Echo(self.words.by_ref().collect::<Vec<_>>().join(" ")),
        })
    }

    fn word(&mut self) -> Result<String, CommandError> {
        self.words.next().ok_or(CommandError::Missing(self.usage))
    }

    fn target(&mut self) -> Result<Option<Target>, CommandError> {
        let Some(word) = self.words.next() else {
            return Ok(None);
        };
        match Target::read(&word) {
            Some(target) => Ok(Some(target)),
            None => Err(CommandError::NotA(self.usage, word, "a job or a domain")),
        }
    }

    fn core(&mut self) -> Result<u16, CommandError> {
        self.optional_core()?
            .ok_or(CommandError::Missing(self.usage))
    }

    fn optional_core(&mut self) -> Result<Option<u16>, CommandError> {
        let Some(word) = self.words.next() else {
            return Ok(None);
        };
        // The highest number stands for "this core" in the interfaces.
        let core = word.parse().ok().filter(|&core| core != u16::MAX);
        core.map(Some)
            .ok_or(CommandError::NotA(self.usage, word, "the number of a core"))
    }

    fn rounds(&mut self) -> Result<u32, CommandError> {
        let Some(word) = self.words.next() else {
            return Ok(DEFAULT_ROUNDS);
        };
        let rounds = word.parse().ok();
        rounds
            .filter(|rounds| (1..=MAX_ROUNDS).contains(rounds))
            .ok_or(CommandError::NotA(
                self.usage,
                word,
                "a number from 1 to 10000",
            ))
    }

    fn bytes(&mut self) -> Result<u32, CommandError> {
        let Some(word) = self.words.next() else {
            return Ok(DEFAULT_BYTES);
        };
        let bytes = word.parse().ok();
        bytes
            .filter(|bytes| (1..=MAX_BYTES).contains(bytes))
            .ok_or(CommandError::NotA(
                self.usage,
                word,
                "a number from 1 to 4096",
            ))
    }

    fn address(&mut self) -> Result<u64, CommandError> {
        let word = self.word()?;
        let address = match word.strip_prefix("0x") {
            // `from_str_radix` takes a sign; an address has none.
            Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
            Some(_) => None,
            None => word.parse().ok(),
        };
        address.ok_or(CommandError::NotA(self.usage, word, "an address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::COMMANDS;
    use proptest::prelude::*;

    #[test]
    fn commands_are_read() {
        assert_eq!(parse("cores"), Ok(Command::Cores));
        assert_eq!(parse("devices"), Ok(Command::Devices));
        assert_eq!(parse("board"), Ok(Command::Board));
        assert_eq!(parse("temperature"), Ok(Command::Temperature));
        assert_eq!(parse("random"), Ok(Command::Random(16)));
        assert_eq!(parse("random 4096"), Ok(Command::Random(4096)));
        for bad in ["random 0", "random 4097", "random x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse(" ping 7 1000 "),
            Ok(Command::Ping {
                core: 7,
                rounds: 1000
            })
        );
        assert_eq!(
            parse("ping 7"),
            Ok(Command::Ping {
                core: 7,
                rounds: DEFAULT_ROUNDS
            })
        );
        assert_eq!(
            parse("skb  X = 'a b', atom(X)"),
            Ok(Command::Skb("X = 'a b', atom(X)".into()))
        );
        assert_eq!(parse("echo a  'b  c'"), Ok(Command::Echo("a b  c".into())));
        assert_eq!(
            parse("oncore 5 hello -v"),
            Ok(Command::Run {
                core: Some(5),
                program: "hello".into(),
                arguments: alloc::vec!["-v".into()],
                is_bare: false
            })
        );
        assert_eq!(
            parse("probe 1 0x40000000"),
            Ok(Command::Probe {
                core: 1,
                address: 0x4000_0000
            })
        );
        assert!(matches!(
            parse("hello"),
            Ok(Command::Run {
                is_bare: true,
                core: None,
                ..
            })
        ));
    }

    #[test]
    fn files_are_named() {
        let file = |it| Ok(Command::File(it));
        assert_eq!(parse("ls"), file(FileCommand::List("/".into())));
        assert_eq!(parse("ls logs"), file(FileCommand::List("logs".into())));
        assert_eq!(parse("cat 'a b'"), file(FileCommand::Show("a b".into())));
        let copy = FileCommand::Copy {
            from: "/a".into(),
            to: "/b".into(),
        };
        assert_eq!(parse("cp /a /b"), file(copy));
        assert_eq!(parse("rm x"), file(FileCommand::Remove("x".into())));
        assert_eq!(parse("mkdir x"), file(FileCommand::MakeFolder("x".into())));
        assert_eq!(parse("df"), file(FileCommand::Space));
        for wrong in ["cat", "cp", "cp a", "cp a b c", "rm", "mkdir", "df x"] {
            let is_refused = matches!(
                parse(wrong),
                Err(CommandError::Missing(_) | CommandError::TooMany(..))
            );
            assert!(is_refused, "{wrong}");
        }
    }

    #[test]
    fn repetitions_hold_commands() {
        let run = |program: &str| Command::Run {
            core: None,
            program: program.into(),
            arguments: Vec::new(),
            is_bare: false,
        };
        let repeated = |count, body| Ok(Command::Repeat { count, body });
        assert_eq!(
            parse("repeat 600 run hello"),
            repeated(600, alloc::vec![run("hello")])
        );
        assert_eq!(
            parse("repeat 2 repeat 3 skb (a;b), X = 'c d'"),
            repeated(
                2,
                alloc::vec![Command::Repeat {
                    count: 3,
                    body: alloc::vec![Command::Skb("(a;b), X = 'c d'".into())],
                }]
            )
        );
        assert_eq!(
            parse("repeat 2 (run a; repeat 3 (ps); echo ')')"),
            repeated(
                2,
                alloc::vec![
                    run("a"),
                    Command::Repeat {
                        count: 3,
                        body: alloc::vec![Command::Ps],
                    },
                    Command::Echo(")".into()),
                ]
            )
        );
        let text = |line: &str| parse(line).unwrap_err().to_string();
        for line in ["repeat", "repeat 3", "repeat 3 ()", "repeat 3 (;)"] {
            assert!(text(line).starts_with("an argument is missing"), "{line}");
        }
        for line in [
            "repeat 0 ps",
            "repeat -1 ps",
            "repeat ps ps",
            "repeat 4294967296 ps",
        ] {
            assert!(text(line).contains("is not a number of times"), "{line}");
        }
        assert_eq!(text("repeat 2 cores all"), "all is too much; usage: cores");
        let deep = |depth: usize| parse(&("repeat 1 ".repeat(depth) + "ps"));
        assert!(deep(MAX_DEPTH).is_ok());
        assert!(matches!(deep(MAX_DEPTH + 1), Err(CommandError::TooDeep(_))));
        assert!(matches!(deep(100_000), Err(CommandError::TooDeep(_))));
    }

    #[test]
    fn wrong_arguments_are_named() {
        let text = |line: &str| parse(line).unwrap_err().to_string();
        assert_eq!(
            text("ping x"),
            "x is not the number of a core; usage: ping CORE [ROUNDS]"
        );
        assert_eq!(
            text("oncore 5"),
            "an argument is missing; usage: oncore CORE PROGRAM [ARGUMENT]..."
        );
        assert_eq!(text("cores all"), "all is too much; usage: cores");
        assert_eq!(text("skb "), "an argument is missing; usage: skb GOAL");
        assert_eq!(text("echo 'a"), "the ' at character 6 is not closed");
        for line in ["ping -1", "ping 65535", "ping 1 0", "ping 1 10001"] {
            assert!(matches!(parse(line), Err(CommandError::NotA(..))), "{line}");
        }
        for line in ["probe 1 0x+5", "probe 1 0x", "probe 0 0x10000000000000000"] {
            assert!(matches!(parse(line), Err(CommandError::NotA(..))), "{line}");
        }
    }

    #[test]
    fn every_command_of_the_table_is_read_as_itself() {
        assert!(COMMANDS.is_sorted_by_key(|usage| usage.name));
        for usage in COMMANDS {
            let sample = match usage.name {
                "cat" | "mkdir" | "rm" => "/a",
                "core" => "panic 1",
                "cp" => "/a /b",
                "kill" => "%1",
                "kmap" => "1",
                "oncore" => "1 hello",
                "ping" => "1",
                "probe" => "1 1",
                "repeat" => "2 ps",
                "run" => "hello",
                "skb" => "true",
                _ => "",
            };
            let command = parse(&alloc::format!("{} {sample}", usage.name));
            let is_echo = matches!(command, Ok(Command::Echo(_)));
            let is_bare = matches!(command, Ok(Command::Run { is_bare: true, .. }));
            assert!(command.is_ok() && !is_bare, "{}", usage.name);
            assert_eq!(is_echo, usage.name == "echo");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "(caps|ping|probe|echo|run|skb|repeat 2|x) [0-9a-fx'\\\\ ]*") {
            if let Err(error) = parse(&line) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    #[test]
    fn programs_go_on_by_themselves() {
        let started = |core, name: &str, arguments: &[&str]| {
            Ok(Command::Start {
                core,
                program: name.into(),
                arguments: arguments.iter().map(|&word| word.into()).collect(),
            })
        };
        assert_eq!(parse("hello &"), started(None, "hello", &[]));
        assert_eq!(parse("hello a&"), started(None, "hello", &["a"]));
        assert_eq!(
            parse("oncore 3 hello b &"),
            started(Some(3), "hello", &["b"])
        );
        for wrong in ["cores &", "&", "hello & &", "repeat 2 cores &"] {
            assert_eq!(parse(wrong), Err(CommandError::NotStarted), "{wrong}");
        }
        // Not what is quoted or escaped.
        for whole in ["hello '&'", "hello \\&"] {
            assert!(matches!(parse(whole), Ok(Command::Run { .. })), "{whole}");
        }
        assert_eq!(parse("jobs"), Ok(Command::Jobs));
        assert_eq!(parse("wait"), Ok(Command::Wait(None)));
        assert_eq!(parse("wait %2"), Ok(Command::Wait(Some(Target::Job(2)))));
        assert_eq!(parse("kill 3.17"), Ok(Command::Kill(Target::Domain(3, 17))));
        for wrong in [
            "kill",
            "kill x",
            "kill 3",
            "kill %",
            "kill 1.2.3",
            "wait -1.2",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
