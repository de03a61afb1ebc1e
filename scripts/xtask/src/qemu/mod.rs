//! `cargo xtask run`: Capelin on QEMU.
//!
//! [`options`] says what can be asked for, [`numa`] and [`size`] read its harder words, [`command`] makes QEMU's
//! command line of it ([`raspberry`] where a card is booted, [`uefi`] where a disk is; [`tree`] where the console isn't the UART), [`exec`] speaks with the guest's shell, [`console`] supervises, and keeps a
//! [`transcript`].

pub(crate) mod command;
pub(crate) mod console;
pub(crate) mod exec;
pub(crate) mod numa;
pub(crate) mod options;
pub(crate) mod raspberry;
pub(crate) mod size;
mod transcript;
pub(crate) mod tree;
pub(crate) mod uefi;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use capelin_platform::{Emulator, Medium};

use crate::build::Image;
use crate::card::contents::Firmware;
use crate::error::{Error, Result};
use crate::{card, platforms};
use command::{Console, Start};
use console::{End, Limits, Report};
use lexopt::Parser;
use options::RunOptions;

/// Time to power off in after the guest's last word.
const GRACE: Duration = Duration::from_secs(5);

/// The recipe.
///
/// # Errors
/// If the image doesn't build, QEMU doesn't start, or the guest doesn't end well.
pub(crate) fn main(args: Parser) -> Result<()> {
    let options = RunOptions::parse(args)?;
    if options.help {
        println!("{}", options::HELP);
        return Ok(());
    }
    let terminal = Terminal::saved(&options);
    let console = if terminal.is_some() {
        Console::Terminal
    } else {
        Console::Plain
    };
    if options.dry_run {
        let guest = Guest::of(&options, Building::Never)?;
        println!("{}", command::quoted(&guest.arguments(&options, console)?));
        match guest {
            Guest::Card(card) => {
                eprintln!("what firmware would load is in {}", card.keep().display());
            }
            Guest::Disk(server) => eprintln!("it boots from {}", server.keep().display()),
            Guest::Image(_) => {}
        }
        return Ok(());
    }
    let report = boot(&options, console, &mut io::stdout())?;
    drop(terminal);
    match report.end {
        End::PoweredOff(None | Some(0)) => Ok(()),
        End::PoweredOff(Some(count)) => Err(Error::GuestFailures(count)),
        end => {
            tell_tail(&report.tail);
            Err(Error::Guest(end))
        }
    }
}

/// Builds if asked to, and runs the guest to its end.
///
/// # Errors
/// If the image doesn't build or QEMU can't be started.
pub(crate) fn boot(options: &RunOptions, console: Console, sink: &mut dyn Write) -> Result<Report> {
    let building = if options.build {
        Building::First
    } else {
        Building::Never
    };
    let guest = Guest::of(options, building)?;
    // What the card's firmware would pass over in silence comes before what the guest says.
    let remarks: String = match &guest {
        Guest::Card(card) => card.remarks().iter().map(|it| format!("{it}\n")).collect(),
        Guest::Image(_) | Guest::Disk(_) => String::new(),
    };
    // Who doesn't take the guest's output doesn't take this either.
    let _ = sink.write_all(remarks.as_bytes());
    let mut options = options.clone();
    let _tree = match &guest {
        Guest::Image(kernel) => tree::hide_uart(&mut options, kernel)?,
        Guest::Card(_) | Guest::Disk(_) => None,
    };
    let mut qemu = Command::new(command::QEMU);
    qemu.args(guest.arguments(&options, console)?);
    if options.exec.is_some() {
        qemu.stdin(Stdio::null());
    } else if io::stdin().is_terminal() {
        qemu.stdin(own_terminal());
    }
    let limits = Limits {
        timeout: options.timeout(),
        grace: GRACE,
        expects_status: options.exec.is_some(),
    };
    let mut report = console::supervise(qemu, &limits, sink)
        .map_err(|error| Error::Spawn(command::QEMU.to_owned(), error))?;
    report.output.insert_str(0, &remarks);
    Ok(report)
}

/// The terminal, opened anew. QEMU makes its input non-blocking, which would make our output so, too: a shell opens
/// the terminal once for both. Where that can't be done, the terminal is shared, and our writes are patient.
fn own_terminal() -> Stdio {
    std::fs::File::open("/proc/self/fd/0").map_or_else(|_| Stdio::inherit(), Stdio::from)
}

/// Whether what is booted is built before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Building {
    First,
    Never,
}

/// What is booted.
enum Guest {
    /// A boot image on the `virt` board.
    Image(PathBuf),
    /// What is on a card.
    Card(Box<raspberry::Unpacked>),
    /// What firmware reads: UEFI or U-Boot.
    Disk(uefi::Server),
}

impl Guest {
    fn of(options: &RunOptions, building: Building) -> Result<Self> {
        let platform = platforms::find(&options.platform)?;
        if let Emulator::Raspberry(board) = platform.emulator {
            let path = match (&options.kernel, building) {
                (Some(card), _) => card.clone(),
                (None, Building::First) => {
                    card::image(platform, &Firmware::Distribution, options.profile)?
                }
                (None, Building::Never) => card::image_path(platform, options.profile)?,
            };
            let card = raspberry::Unpacked::of(&path, &board, options)?;
            return Ok(Self::Card(Box::new(card)));
        }
        if let Some(path) = &options.disk {
            let (firmware, network_file) = match (platform.emulator, platform.medium) {
                (Emulator::Uefi(it), Medium::Disk(disk)) => {
                    ((it.package, it.firmware), disk.network_file)
                }
                (Emulator::UBoot(it), _) => ((it.package, it.firmware), ""),
                _ => {
                    return Err(Error::Usage(
                        "--disk is for firmware that reads one".to_owned(),
                    ));
                }
            };
            let server = uefi::Server::given(firmware, network_file, path.clone(), options.boot)?;
            return Ok(Self::Disk(server));
        }
        let image = Image::new(&options.image, options.program.as_deref(), options.profile)?;
        let kernel = match (&options.kernel, building) {
            (Some(kernel), _) => kernel.clone(),
            (None, Building::First) => {
                image.build()?;
                image.path()
            }
            (None, Building::Never) => image.path(),
        };
        if let (Emulator::Uefi(emulator), Medium::Disk(disk)) = (platform.emulator, platform.medium)
        {
            let loader = match building {
                Building::First => image.loader()?,
                Building::Never => image.loader_path(),
            };
            let server = uefi::Server::of((&disk, &emulator), (&kernel, &loader), options)?;
            return Ok(Self::Disk(server));
        }
        if let (Emulator::UBoot(emulator), Medium::Volume(volume)) =
            (platform.emulator, platform.medium)
        {
            let server = uefi::Server::of_uboot((&volume, &emulator), &kernel, options)?;
            return Ok(Self::Disk(server));
        }
        Ok(Self::Image(kernel))
    }

    /// QEMU's arguments.
    fn arguments(&self, options: &RunOptions, console: Console) -> Result<Vec<OsString>> {
        match self {
            Self::Card(card) => Ok(card.arguments(options, console)),
            Self::Disk(server) => {
                let start = Start::Firmware {
                    firmware: &server.firmware,
                    source: server.source(),
                };
                command::arguments(options, start, console)
            }
            Self::Image(kernel) => {
                if !options.dry_run {
                    for file in [Some(kernel), options.initrd.as_ref(), options.dtb.as_ref()]
                        .into_iter()
                        .flatten()
                    {
                        std::fs::metadata(file)
                            .map_err(|error| Error::File(file.clone(), error))?;
                    }
                }
                command::arguments(options, Start::Kernel(kernel), console)
            }
        }
    }
}

fn tell_tail(tail: &[String]) {
    let line = "-".repeat(27);
    let text = format!(
        "\n--- last console output ---\n{}\n{line}\n",
        tail.join("\n")
    );
    // Nobody is left to tell if it fails.
    let _ = console::patiently_write(&mut io::stderr(), text.as_bytes());
}

/// The terminal's settings, which QEMU changes and, when it is killed, doesn't put back.
struct Terminal(String);

impl Terminal {
    /// The terminal as it is now, if the guest is going to have it.
    fn saved(options: &RunOptions) -> Option<Self> {
        if options.exec.is_some() || !io::stdin().is_terminal() {
            return None;
        }
        let output = Command::new("stty")
            .arg("-g")
            .stdin(Stdio::inherit())
            .output()
            .ok()?;
        let settings = String::from_utf8(output.stdout).ok()?;
        Some(Self(settings.trim().to_owned()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // There is nobody to tell if it fails.
        let _ = Command::new("stty")
            .arg(&self.0)
            .stdin(Stdio::inherit())
            .status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{boot_image, tests::tiny_guest};

    /// Boots a guest of a dozen instructions on QEMU itself.
    fn booted(name: &str, text: &str, powers_off: bool, options: &[&str]) -> (End, String) {
        let image = boot_image(&tiny_guest(text, powers_off), &[]).unwrap();
        let path = std::env::temp_dir().join(format!("capelin-{name}-{}.img", std::process::id()));
        std::fs::write(&path, image).unwrap();
        let kernel = path.to_str().unwrap();
        let arguments = [&["--kernel", kernel, "--smp", "1"], options].concat();
        let options = RunOptions::parse(Parser::from_args(arguments)).unwrap();
        let report = boot(&options, Console::Plain, &mut io::sink());
        std::fs::remove_file(&path).unwrap();
        let report = report.unwrap();
        // An emulator that fails speaks on standard error, which only the last lines have.
        let output = match report.end {
            End::Crashed(_) => report.tail.concat(),
            _ => report.output,
        };
        (report.end, output)
    }

    #[test]
    fn a_guest_that_succeeds() {
        let text = "hello\ncapelin: exec status 0\n";
        for options in [
            &["--exec", "x"][..],
            &["--exec=x", "--icount"],
            &["--exec=x", "--gic=2"],
        ] {
            let (end, output) = booted("succeeds", text, true, options);
            assert_eq!(end, End::PoweredOff(Some(0)));
            assert_eq!(output, text);
        }
    }

    #[test]
    fn a_guest_that_powers_off_too_early() {
        let (end, _) = booted("early", "hello\n", true, &["--exec", "x"]);
        assert_eq!(end, End::Premature);
    }

    #[test]
    fn a_guest_that_hangs() {
        let options = ["--exec", "x", "--timeout", "1.5"];
        let (end, output) = booted("hangs", "hello\n", false, &options);
        assert!(matches!(end, End::TimedOut(_)), "{end:?}");
        assert_eq!(output, "hello\n");
    }

    #[test]
    fn qemu_has_nothing_to_say_of_any_shape() {
        // QEMU puts a new file in the place of the one that is named: not even a device
        // would survive that.
        let tree = std::env::temp_dir().join(format!("capelin-shape-{}.dtb", std::process::id()));
        let dump = format!("dumpdtb={}", tree.display());
        for shape in [
            "--smp 4",
            "--smp 200 --numa 6",
            "--smp 2 --numa 4",
            "--smp 7 --numa 3",
            "--smp 300 --numa 7",
            "--smp 5 --numa 0:mem=1G,cpus=0+2;1:mem=1G,cpus=1+3-4",
            "--smp 4 --numa 0:mem=512M,cpus=0-2;1:mem=1G,cpus=3;2:mem=256M",
            "--smp 4 --numa 0:mem=1G,cpus=0-2;1:cpus=3",
        ] {
            let options = RunOptions::parse(Parser::from_args(shape.split_whitespace())).unwrap();
            let arguments = command::arguments(
                &options,
                Start::Kernel("/dev/null".as_ref()),
                Console::Plain,
            );
            // It makes the machine, and doesn't run it.
            let output = Command::new(command::QEMU)
                .args(arguments.unwrap())
                .args(["-M", &dump])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(output.status.success(), "{shape}: {output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{shape}");
            std::fs::remove_file(&tree).unwrap();
        }
    }

    #[test]
    fn a_machine_that_qemu_refuses() {
        let options = ["--exec", "x", "--cpu", "no-such-core"];
        let (end, output) = booted("refused", "", true, &options);
        assert!(matches!(end, End::Crashed(_)), "{end:?}");
        assert!(output.contains("no-such-core"), "{output}");
    }
}
