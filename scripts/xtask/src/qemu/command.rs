//! QEMU's command line.

use std::ffi::OsString;
use std::path::Path;

use super::exec;
use super::numa::{self, Node};
use super::options::{ConsoleDevice, RunOptions};
use crate::error::Result;

/// The emulator.
pub(crate) const QEMU: &str = "qemu-system-aarch64";

/// How the guest's console is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Console {
    /// To the terminal, with QEMU's own keys behind Ctrl-A.
    Terminal,
    /// To standard input and output as they are.
    Plain,
}

impl Console {
    /// What QEMU's `-serial` calls it.
    pub(crate) fn backend(self) -> &'static str {
        match self {
            Self::Terminal => "mon:stdio",
            Self::Plain => "stdio",
        }
    }
}

/// What a `virt` board starts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a> {
    /// This boot image, as QEMU's own loader does it.
    Kernel(&'a Path),
    /// This firmware, which boots from this.
    Firmware {
        firmware: &'a Path,
        source: Source<'a>,
    },
}

/// What firmware boots from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// A disk.
    Disk(&'a Path),
    /// A disc in its drive.
    Disc(&'a Path),
    /// The file of this name in this folder, by network: QEMU's own has a server of DHCP and TFTP.
    Network { folder: &'a Path, file: &'a str },
}

impl Source<'_> {
    /// What a machine has of it. What the guest writes to a disk is forgotten.
    fn add(self, line: &mut Line) {
        let with = |text: &str, path: &Path| {
            let mut value = OsString::from(text);
            value.push(path);
            value
        };
        match self {
            Self::Disk(disk) => {
                line.add(
                    "-drive",
                    with("if=none,id=disk,format=raw,snapshot=on,file=", disk),
                );
                line.add("-device", "virtio-blk-pci,drive=disk");
            }
            Self::Disc(disc) => {
                line.add(
                    "-drive",
                    with(
                        "if=none,id=disc,media=cdrom,format=raw,readonly=on,file=",
                        disc,
                    ),
                );
                line.add("-device", "virtio-scsi-pci");
                line.add("-device", "scsi-cd,drive=disc");
            }
            Self::Network { folder, file } => {
                line.add(
                    "-netdev",
                    with(&format!("user,id=net,bootfile={file},tftp="), folder),
                );
                // The ROM would be for other firmware.
                line.add("-device", "virtio-net-pci,netdev=net,romfile=");
            }
        }
    }
}

/// The arguments that boot as `options` ask for.
///
/// # Errors
/// If the NUMA shape doesn't fit the machine.
pub(crate) fn arguments(
    options: &RunOptions,
    start: Start<'_>,
    console: Console,
) -> Result<Vec<OsString>> {
    let nodes = options
        .numa
        .as_ref()
        .map(|spec| spec.resolve(options.cores, options.memory()))
        .transpose()?;
    let memory = match &nodes {
        Some(nodes) => super::size::Size(nodes.iter().map(|node| node.memory.0).sum()),
        None => options.memory(),
    };
    let mut machine = format!("virt,gic-version={}", options.gic);
    if options.el2 {
        machine.push_str(",virtualization=on");
    }
    if !options.acpi {
        machine.push_str(",acpi=off");
    }

    let mut line = Line::default();
    line.add("-M", machine);
    line.add("-cpu", options.cpu.as_str());
    line.add(
        "-smp",
        topology(options.cores, nodes.as_deref().unwrap_or_default()),
    );
    line.add("-m", memory.to_string());
    line.0.extend(
        numa::arguments(&nodes.unwrap_or_default())
            .into_iter()
            .map(Into::into),
    );
    if options.icount {
        line.add("-accel", "tcg,thread=single");
        line.add("-icount", "shift=0,sleep=off");
        line.add("-seed", "1");
    } else {
        line.add("-accel", "tcg,thread=multi");
    }
    line.add("-nic", "none");
    line.add("-display", "none");
    line.add("-monitor", "none");
    line.add_console(options.console, console);
    line.0.push("-no-reboot".into());
    let kernel = match start {
        Start::Kernel(kernel) => kernel,
        Start::Firmware { firmware, source } => {
            line.add("-bios", firmware);
            source.add(&mut line);
            line.0.extend(options.qemu_args.iter().map(Into::into));
            return Ok(line.0);
        }
    };
    line.add("-kernel", kernel);
    if let Some(initrd) = &options.initrd {
        line.add("-initrd", initrd);
    }
    if let Some(dtb) = &options.dtb {
        line.add("-dtb", dtb);
    }
    let kernel_arguments: Vec<_> = options
        .append
        .iter()
        .cloned()
        .chain(options.exec.as_deref().map(exec::argument))
        .collect();
    if !kernel_arguments.is_empty() {
        line.add("-append", kernel_arguments.join(" "));
    }
    line.0.extend(options.qemu_args.iter().map(Into::into));
    Ok(line.0)
}

/// The cores, in sockets as large as can be of which none has cores of two nodes, as servers are built: of each two
/// cores that share a socket and not a node, QEMU says in a line that guests may misbehave. All its sockets are of one
/// size, so with odd numbers they are small.
fn topology(cores: u32, nodes: &[Node]) -> String {
    if nodes.is_empty() {
        return cores.to_string();
    }
    let ranges = nodes.iter().flat_map(|node| &node.cores);
    // Where a node starts or ends, a socket does.
    let each = ranges.fold(cores, |each, &(first, last)| {
        gcd(gcd(each, first), last + 1)
    });
    format!("{cores},sockets={},cores={each},threads=1", cores / each)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }

    /// The device that is the console, connected to `to`.
    fn add_console(&mut self, device: ConsoleDevice, to: Console) {
        let bus = match device {
            ConsoleDevice::Uart => return self.add("-serial", to.backend()),
            ConsoleDevice::Virtio => "virtio-serial-device",
            ConsoleDevice::VirtioPci => "virtio-serial-pci",
        };
        match to {
            Console::Plain => self.add("-chardev", "stdio,id=console"),
            Console::Terminal => {
                self.add("-chardev", "stdio,id=console,mux=on,signal=off");
                self.add("-mon", "chardev=console");
            }
        }
        self.add("-serial", "null");
        self.add("-device", bus);
        self.add("-device", "virtconsole,chardev=console");
    }
}

/// The command line as a person would type it.
pub(crate) fn quoted(arguments: &[OsString]) -> String {
    let quote = |argument: &OsString| {
        let text = argument.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+%@".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text.into_owned()
        } else {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
    };
    std::iter::once(QEMU.to_owned())
        .chain(arguments.iter().map(quote))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lexopt::Parser;

    fn line(options: &[&str]) -> String {
        let options = RunOptions::parse(Parser::from_args(options.iter().copied())).unwrap();
        quoted(&arguments(&options, Start::Kernel(Path::new("k.img")), Console::Plain).unwrap())
    }

    #[test]
    fn the_default_machine() {
        assert_eq!(
            line(&[]),
            "qemu-system-aarch64 -M virt,gic-version=3 -cpu cortex-a72 -smp 4 -m 1G \
             -accel tcg,thread=multi -nic none -display none -monitor none -serial stdio -no-reboot \
             -kernel k.img"
        );
    }

    #[test]
    fn counting_instructions_needs_one_thread_and_a_seed() {
        let line = line(&["--icount"]);
        assert!(line.contains("-accel tcg,thread=single -icount shift=0,sleep=off -seed 1"));
        assert!(!line.contains("thread=multi"));
    }

    #[test]
    fn entry_at_el2() {
        assert!(line(&["--el2"]).contains("-M virt,gic-version=3,virtualization=on "));
    }

    #[test]
    fn kernel_arguments_come_in_one_option() {
        let line = line(&["--append", "capelin.log=debug", "--exec", "ps; ps"]);
        assert!(line.ends_with("-append 'capelin.log=debug capelin.exec=ps%3B%20ps'"));
    }

    #[test]
    fn memory_is_the_nodes_sum() {
        let line = line(&["--numa", "0:mem=512M,cpus=0-3;1:mem=1G"]);
        assert!(line.contains("-m 1536M "), "{line}");
    }

    #[test]
    fn even_nodes_are_sockets() {
        let even = line(&["--smp", "8", "--numa", "2"]);
        assert!(even.contains("-smp 8,sockets=2,cores=4,threads=1 "));
        let odd = line(&["--smp", "3", "--numa", "2"]);
        assert!(odd.contains("-smp 3,sockets=3,cores=1,threads=1 "));
        let uneven = line(&[
            "--smp",
            "12",
            "--numa",
            "0:mem=1G,cpus=0-3+8-9;1:cpus=4-7+10-11",
        ]);
        assert!(uneven.contains("-smp 12,sockets=6,cores=2,threads=1 "));
        let one = line(&["--smp", "6", "--numa", "1"]);
        assert!(one.contains("-smp 6,sockets=1,cores=6,threads=1 "));
    }

    #[test]
    fn firmware_boots_from_what_there_is() {
        let options = RunOptions::parse(Parser::from_args(["--platform", "ampere"])).unwrap();
        let line = |source| {
            let firmware = Path::new("efi.fd");
            let start = Start::Firmware { firmware, source };
            quoted(&arguments(&options, start, Console::Plain).unwrap())
        };
        let disk = line(Source::Disk(Path::new("d.img")));
        assert!(disk.ends_with(
            "-bios efi.fd -drive if=none,id=disk,format=raw,snapshot=on,file=d.img \
             -device virtio-blk-pci,drive=disk"
        ));
        let disc = line(Source::Disc(Path::new("d.iso")));
        assert!(disc.contains("media=cdrom") && disc.contains("readonly=on,file=d.iso"));
        let network = line(Source::Network {
            folder: Path::new("served"),
            file: "BOOTAA64.EFI",
        });
        assert!(network.contains("user,id=net,bootfile=BOOTAA64.EFI,tftp=served "));
        assert!(!network.contains("-drive"), "nothing else to boot from");
    }

    #[test]
    fn a_virtio_console_is_the_terminal() {
        let plain = line(&["--console", "virtio"]);
        let expected = "-chardev stdio,id=console -serial null -device virtio-serial-device \
                        -device virtconsole,chardev=console -no-reboot";
        assert!(plain.contains(expected), "{plain}");
        let pci = line(&["--console", "virtio-pci"]);
        assert!(pci.contains("-device virtio-serial-pci -device virtconsole"));
    }

    #[test]
    fn awkward_words_are_quoted() {
        assert_eq!(
            quoted(&["it's".into(), "".into(), "a;b".into()]),
            r"qemu-system-aarch64 'it'\''s' '' 'a;b'"
        );
    }
}
