//! What `run` can be asked for, and what of it fits together.

use std::path::PathBuf;
use std::time::Duration;

use capelin_platform::Emulator;
use capelin_report::EXEC_ARGUMENT;

use super::exec;
use super::numa::NumaSpec;
use super::size::Size;
use crate::build::Profile;
use crate::card::loader::Stub;
use crate::card::uboot::Form;
use crate::error::{Error, Result};
use crate::platforms;
use lexopt::Parser;
use lexopt::prelude::{Long, ValueExt};

/// Time that `--exec` gives the guest unless `--timeout` says otherwise.
const EXEC_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of kernel arguments: Linux hands no longer word to a program (`MAX_ARG_STRLEN`, 32 pages).
const MAX_APPEND_BYTES: usize = 32 * 4096 - 2;
/// QEMU's `virt` board has no more.
const MAX_CORES: u32 = 512;
/// A GICv2 has eight CPU interfaces.
const MAX_CORES_GICV2: u32 = 8;

/// Text of `run --help`.
pub(crate) const HELP: &str = "\
usage: scripts/run [OPTION…]

Builds Capelin and boots it on QEMU. The terminal is the guest's console, Ctrl-C included; Ctrl-A X quits.

machine
  --platform NAME   qemu-virt (default); rpi4: its card image, on a machine of fixed shape; ampere: its disk, under UEFI;
                    generic: its disk, by U-Boot
  --smp N           cores, 1 to 512 (4)
  --mem SIZE        memory, such as 512M or 4G (1G, or 512M and 8M a core if that is more)
  --numa N          N nodes, cores and memory split evenly
  --numa SPEC       one clause a node: 0:mem=512M,cpus=0-2;1:mem=1G,cpus=3+5;2:mem=0  (dist=10/20/… for a row)
  --gic 2|3|4       interrupt controller (3); 2 has 8 cores at most, 4 implies --el2
  --cpu MODEL       cortex-a72 (default), cortex-a53, neoverse-n1, max, …
  --el2             enter at EL2
  --form FORM       generic: what U-Boot loads: plain (an Image and an initrd), gzip (the Image compressed), fit
  --boot FROM       ampere: disk, iso (the ISO image in a drive) or pxe (the folder, by network)
  --acpi on|off     ampere: firmware has ACPI's tables (on), or a device tree
  --console DEVICE  uart (default); virtio, virtio-pci: a virtio console is the terminal, and the tree tells of no UART
  --dtb FILE        this device tree instead of QEMU's
  --icount          deterministic: one host thread, one instruction a nanosecond, seed 1

what runs
  --image NAME      images/NAME.toml, or one of tests/images.toml (qemu-virt)
  --kernel FILE     this boot image (rpi4: card image) instead of one built here
  --disk FILE       ampere: this disk, ISO image (--boot iso) or folder (--boot pxe) instead of one made for this run;
                    generic: this disk
  --exec \"A; B\"     give these commands to the shell, power off, and exit with 0 only if all succeeded
  --script FILE     likewise with the lines of a file; what follows # on a line is a comment
  --program NAME …  likewise this program, which is put into the image if it isn't there; what follows are its
                    arguments (cargo run -p NAME does this)
  --stub NAME       rpi4: stock (spin table, no PSCI) or tf-a (PSCI), instead of what the card's config.txt says
  --append ARGS     more kernel arguments
  --initrd FILE     an initrd

how
  --timeout S       give up after S seconds (60 with --exec, else never)
  --release         build programs that run fast, as tests and benches do, instead of programs that build fast
  --card keep       rpi4: what the guest writes to the card image stays there, instead of being forgotten
  --card none       rpi4: the card is pulled once firmware has read it
  --no-build        run what was built last
  --dry-run         print QEMU's command line and stop
  --qemu-args …     everything that follows goes to QEMU

exit status: 0 fine; 1 a command of --exec failed; 2 usage; 3 build or set-up failed; 4 timed out; 5 the guest ended
before its time or gave up; 128+N ended by signal N";

/// What becomes of a card once firmware has read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CardUse {
    /// It is in its slot; what is written is forgotten, so that two guests can run at once.
    #[default]
    Forgotten,
    /// It is in its slot; what is written stays.
    Kept,
    /// It is pulled.
    Pulled,
}

/// What UEFI boots from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BootFrom {
    /// The disk.
    #[default]
    Disk,
    /// The ISO image, in a drive for discs.
    Iso,
    /// The one file, by PXE.
    Network,
}

/// The device that the console is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ConsoleDevice {
    /// The board's UART.
    #[default]
    Uart,
    /// A virtio console in a slot.
    Virtio,
    /// A virtio console on the PCI bus.
    VirtioPci,
}

/// A parsed `run` command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunOptions {
    pub(crate) platform: String,
    pub(crate) stub: Stub,
    pub(crate) card: CardUse,
    pub(crate) cores: u32,
    pub(crate) memory: Option<Size>,
    pub(crate) numa: Option<NumaSpec>,
    pub(crate) gic: u32,
    pub(crate) cpu: String,
    pub(crate) el2: bool,
    /// What U-Boot loads.
    pub(crate) form: Form,
    pub(crate) boot: BootFrom,
    /// Whether firmware has ACPI's tables; else it has a device tree.
    pub(crate) acpi: bool,
    pub(crate) console: ConsoleDevice,
    pub(crate) dtb: Option<PathBuf>,
    pub(crate) icount: bool,
    pub(crate) image: String,
    pub(crate) kernel: Option<PathBuf>,
    /// What firmware boots from, if it isn't made for this run.
    pub(crate) disk: Option<PathBuf>,
    pub(crate) exec: Option<String>,
    /// A program that the image must hold.
    pub(crate) program: Option<String>,
    pub(crate) append: Option<String>,
    pub(crate) initrd: Option<PathBuf>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) build: bool,
    pub(crate) profile: Profile,
    pub(crate) dry_run: bool,
    pub(crate) help: bool,
    pub(crate) qemu_args: Vec<String>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            platform: "qemu-virt".to_owned(),
            stub: Stub::AsConfigured,
            card: CardUse::default(),
            cores: 4,
            memory: None,
            numa: None,
            gic: 3,
            cpu: "cortex-a72".to_owned(),
            el2: false,
            form: Form::Plain,
            boot: BootFrom::default(),
            acpi: true,
            console: ConsoleDevice::default(),
            dtb: None,
            icount: false,
            image: "qemu-virt".to_owned(),
            kernel: None,
            disk: None,
            exec: None,
            program: None,
            append: None,
            initrd: None,
            timeout: None,
            build: true,
            profile: Profile::Quick,
            dry_run: false,
            help: false,
            qemu_args: Vec::new(),
        }
    }
}

impl RunOptions {
    /// Parses and checks the arguments of `run`.
    ///
    /// # Errors
    /// If an option is unknown, lacks its value, or contradicts another.
    pub(crate) fn parse(mut args: Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(argument) = args.next()? {
            match argument {
                Long("platform") => options.platform = args.value()?.string()?,
                Long("stub") => {
                    options.stub = match &*args.value()?.string()? {
                        "stock" => Stub::Stock,
                        "tf-a" => Stub::TrustedFirmware,
                        other => return Err(Error::Usage(format!("--stub can't be {other:?}"))),
                    }
                }
                Long("card") => {
                    options.card = match &*args.value()?.string()? {
                        "keep" => CardUse::Kept,
                        "none" => CardUse::Pulled,
                        other => return Err(Error::Usage(format!("--card can't be {other:?}"))),
                    }
                }
                Long("smp") => options.cores = args.value()?.parse()?,
                Long("mem") => options.memory = Some(args.value()?.parse()?),
                Long("numa") => options.numa = Some(args.value()?.string()?.parse()?),
                Long("gic") => options.gic = args.value()?.parse()?,
                Long("cpu") => options.cpu = args.value()?.string()?,
                Long("el2") => options.el2 = true,
                Long("form") => {
                    options.form = match &*args.value()?.string()? {
                        "plain" => Form::Plain,
                        "gzip" => Form::Gzip,
                        "fit" => Form::Fit,
                        other => return Err(Error::Usage(format!("--form can't be {other:?}"))),
                    }
                }
                Long("boot") => {
                    options.boot = match &*args.value()?.string()? {
                        "disk" => BootFrom::Disk,
                        "iso" => BootFrom::Iso,
                        "pxe" => BootFrom::Network,
                        other => return Err(Error::Usage(format!("--boot can't be {other:?}"))),
                    }
                }
                Long("acpi") => {
                    options.acpi = match &*args.value()?.string()? {
                        "on" => true,
                        "off" => false,
                        other => return Err(Error::Usage(format!("--acpi can't be {other:?}"))),
                    }
                }
                Long("console") => {
                    options.console = match &*args.value()?.string()? {
                        "uart" => ConsoleDevice::Uart,
                        "virtio" => ConsoleDevice::Virtio,
                        "virtio-pci" => ConsoleDevice::VirtioPci,
                        other => return Err(Error::Usage(format!("--console can't be {other:?}"))),
                    }
                }
                Long("dtb") => options.dtb = Some(args.value()?.into()),
                Long("icount") => options.icount = true,
                Long("image") => options.image = args.value()?.string()?,
                Long("kernel") => options.kernel = Some(args.value()?.into()),
                Long("disk") => options.disk = Some(args.value()?.into()),
                Long("exec") => options.set_commands(args.value()?.string()?)?,
                Long("script") => {
                    let path = PathBuf::from(args.value()?);
                    let text = std::fs::read_to_string(&path);
                    options.set_commands(text.map_err(|error| Error::File(path, error))?)?;
                }
                Long("program") => {
                    let program = args.value()?.string()?;
                    options.set_commands(exec::command(&program, &rest(&mut args)?))?;
                    options.program = Some(program);
                }
                Long("append") => options.append = Some(args.value()?.string()?),
                Long("initrd") => options.initrd = Some(args.value()?.into()),
                Long("timeout") => {
                    let seconds: f64 = args.value()?.parse()?;
                    let timeout = Duration::try_from_secs_f64(seconds);
                    let bad = |_| Error::Usage(format!("--timeout can't be {seconds}"));
                    options.timeout = Some(timeout.map_err(bad)?);
                }
                Long("release") => options.profile = Profile::Release,
                Long("no-build") => options.build = false,
                Long("dry-run") => options.dry_run = true,
                Long("help") => options.help = true,
                Long("qemu-args") => options.qemu_args = rest(&mut args)?,
                other => return Err(other.unexpected().into()),
            }
        }
        options.check()?;
        Ok(options)
    }

    fn set_commands(&mut self, commands: String) -> Result<()> {
        match self.exec.replace(commands) {
            None => Ok(()),
            Some(_) => Err(Error::Usage("one list of commands is enough".to_owned())),
        }
    }

    fn check(&mut self) -> Result<()> {
        let refuse = |what: &str| Err(Error::Usage(what.to_owned()));
        let emulator = platforms::find(&self.platform)?.emulator;
        if self.form != Form::Plain && !matches!(emulator, Emulator::UBoot(_)) {
            return refuse("--form is for platforms that boot by U-Boot");
        }
        if self.boot != BootFrom::default() && !matches!(emulator, Emulator::Uefi(_)) {
            return refuse("--boot is for platforms that boot by UEFI");
        }
        if self.disk.is_some() {
            if !matches!(emulator, Emulator::Uefi(_) | Emulator::UBoot(_)) {
                return refuse("--disk is for platforms that boot by UEFI or U-Boot");
            }
            if self.exec.is_some() || self.append.is_some() || self.kernel.is_some() {
                return refuse("what is on a disk that is there already isn't changed");
            }
        }
        if self.card != CardUse::default() && !matches!(emulator, Emulator::Raspberry(_)) {
            return refuse("--card is for platforms that boot a card");
        }
        if self.console != ConsoleDevice::Uart && !matches!(emulator, Emulator::Virt) {
            return refuse("--console is for boots without firmware");
        }
        match emulator {
            Emulator::Virt if self.stub != Stub::AsConfigured => {
                return refuse("--stub is for platforms that boot a card");
            }
            Emulator::Virt => {}
            Emulator::Missing => {
                return Err(Error::Usage("no emulator shows this platform".to_owned()));
            }
            Emulator::Raspberry(board) => self.check_fixed(board.machine)?,
            Emulator::Uefi(_) | Emulator::UBoot(_) => {
                if self.dtb.is_some() || self.initrd.is_some() {
                    return refuse("--dtb and --initrd are for boots without firmware");
                }
                if self.stub != Stub::AsConfigured {
                    return refuse("--stub is for platforms that boot a card");
                }
            }
        }
        if !(1..=MAX_CORES).contains(&self.cores) {
            return refuse("--smp wants 1 to 512 cores");
        }
        if !(2..=4).contains(&self.gic) {
            return refuse("--gic wants 2, 3 or 4");
        }
        if self.gic == 2 && self.cores > MAX_CORES_GICV2 {
            return refuse("a GICv2 has 8 cores at most");
        }
        if self.memory == Some(Size(0)) {
            return refuse("--mem wants more than nothing");
        }
        if self.memory.is_some() && matches!(self.numa, Some(NumaSpec::Nodes(_))) {
            return refuse("--mem and memory in --numa exclude each other");
        }
        if let Some(commands) = &self.exec {
            let bytes = exec::argument(commands).len();
            let appended = self.append.as_deref().unwrap_or_default();
            if appended.contains(EXEC_ARGUMENT) {
                return refuse("--append brings commands, and so does --exec or --script");
            }
            if bytes + appended.len() > MAX_APPEND_BYTES {
                return Err(Error::Usage(format!(
                    "the commands take {bytes} bytes as a kernel argument, and QEMU takes {MAX_APPEND_BYTES}"
                )));
            }
        }
        if self.kernel.is_some() {
            self.build = false;
        }
        // QEMU's GICv4 is only there with the virtualisation extensions.
        self.el2 |= self.gic == 4;
        Ok(())
    }

    /// Refuses what a machine of fixed shape, which boots a card, can't be asked for.
    fn check_fixed(&self, machine: &str) -> Result<()> {
        let usual = Self::default();
        for (name, is_usual) in [
            ("smp", self.cores == usual.cores),
            ("mem", self.memory == usual.memory),
            ("numa", self.numa == usual.numa),
            ("gic", self.gic == usual.gic),
            ("cpu", self.cpu == usual.cpu),
            ("el2", self.el2 == usual.el2),
            ("dtb", self.dtb == usual.dtb),
            ("image", self.image == usual.image),
            ("initrd", self.initrd == usual.initrd),
        ] {
            if !is_usual {
                return Err(Error::Usage(format!(
                    "--{name} can't be had: {machine} is as it is, and boots its card"
                )));
            }
        }
        Ok(())
    }

    /// Memory of the machine: what was asked for, or enough for the cores.
    pub(crate) fn memory(&self) -> Size {
        let by_cores = Size::mib(512 + 8 * u64::from(self.cores));
        self.memory.unwrap_or(by_cores.max(Size::mib(1024)))
    }

    /// Time that the guest has, if it is limited.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout.or(self.exec.is_some().then_some(EXEC_TIMEOUT))
    }
}

/// Everything that is left, as it stands.
fn rest(args: &mut Parser) -> Result<Vec<String>> {
    let rest = args.raw_args()?;
    Ok(rest.map(ValueExt::string).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<RunOptions> {
        RunOptions::parse(Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn defaults() {
        let options = parse("").unwrap();
        assert_eq!(options, RunOptions::default());
        assert_eq!(options.memory(), Size::mib(1024));
        assert_eq!(options.timeout(), None);
    }

    #[test]
    fn memory_grows_with_the_cores() {
        let options = parse("--smp 256").unwrap();
        assert_eq!(options.memory(), Size::mib(2560));
        let options = parse("--smp 256 --mem 2G").unwrap();
        assert_eq!(options.memory(), Size::mib(2048));
    }

    #[test]
    fn exec_limits_the_time() {
        assert_eq!(parse("--exec ps").unwrap().timeout(), Some(EXEC_TIMEOUT));
        let options = parse("--exec ps --timeout 0.5").unwrap();
        assert_eq!(options.timeout(), Some(Duration::from_millis(500)));
    }

    #[test]
    fn scripts_are_read() {
        let path = std::env::temp_dir().join(format!("capelin-script-{}", std::process::id()));
        std::fs::write(&path, "echo a # b\nps\n").unwrap();
        let line = format!("--script {}", path.display());
        let options = parse(&line);
        let twice = parse(&format!("{line} --exec ps"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(options.unwrap().exec.as_deref(), Some("echo a # b\nps\n"));
        assert!(matches!(twice, Err(Error::Usage(_))));
        assert!(matches!(parse(&line), Err(Error::File(..))), "it is gone");
    }

    #[test]
    fn commands_that_qemu_cannot_take_are_refused() {
        let parse = |commands: String| {
            RunOptions::parse(Parser::from_args(["--exec".to_owned(), commands]))
        };
        let room = MAX_APPEND_BYTES - EXEC_ARGUMENT.len();
        assert!(parse("x".repeat(room)).is_ok());
        assert!(matches!(parse("x".repeat(room + 1)), Err(Error::Usage(_))));
        assert!(matches!(parse(" ".repeat(room / 2)), Err(Error::Usage(_))));
    }

    #[test]
    fn qemu_takes_the_rest_as_it_stands() {
        let options = parse("--smp 2 --qemu-args -d int --smp 9").unwrap();
        assert_eq!(options.cores, 2);
        assert_eq!(options.qemu_args, ["-d", "int", "--smp", "9"]);
    }

    #[test]
    fn a_program_takes_the_rest_as_its_arguments() {
        let options = parse("--smp 2 --program hello a --smp 9").unwrap();
        assert_eq!(
            (options.cores, options.program.as_deref()),
            (2, Some("hello"))
        );
        assert_eq!(options.exec.as_deref(), Some(r#"hello "a" "--smp" "9""#));
        assert_eq!(options.timeout(), Some(EXEC_TIMEOUT));
    }

    #[test]
    fn gicv4_comes_with_el2() {
        assert!(parse("--gic 4").unwrap().el2);
        assert!(!parse("--gic 3").unwrap().el2);
    }

    #[test]
    fn a_given_kernel_is_not_built() {
        assert!(!parse("--kernel x.img").unwrap().build);
    }

    #[test]
    fn contradictions_are_refused() {
        for line in [
            "--smp 0",
            "--smp 513",
            "--smp",
            "--gic 5",
            "--gic 2 --smp 9",
            "--mem 0",
            "--mem lots",
            "--mem 1G --numa 0:mem=1G,cpus=0-3",
            "--exec ps --exec ps",
            "--exec ps --append capelin.exec=ps",
            "--platform toaster",
            "--platform ampere --dtb x",
            "--platform ampere --initrd x",
            "--acpi perhaps",
            "--boot iso",
            "--disk x",
            "--platform ampere --disk x --exec ps",
            "--platform ampere --disk x --append a",
            "--platform generic --boot pxe",
            "--platform ampere --boot floppy",
            "--platform rpi4 --smp 2",
            "--platform rpi4 --gic 2",
            "--platform rpi4 --initrd x",
            "--platform rpi4 --stub mine",
            "--platform rpi4 --card lost",
            "--card keep",
            "--platform ampere --card none",
            "--stub stock",
            "--timeout -1",
            "--timeout soon",
            "--frobnicate",
            "word",
        ] {
            assert!(matches!(parse(line), Err(Error::Usage(_))), "{line}");
        }
    }

    #[test]
    fn help_names_every_option() {
        for option in [
            "platform",
            "smp",
            "mem",
            "numa",
            "gic",
            "cpu",
            "el2",
            "boot",
            "disk",
            "acpi",
            "dtb",
            "icount",
            "image",
            "kernel",
            "exec",
            "script",
            "program",
            "stub",
            "append",
            "initrd",
            "timeout",
            "release",
            "no-build",
            "dry-run",
            "qemu-args",
        ] {
            assert!(HELP.contains(&format!("--{option} ")), "--{option}");
        }
    }
}
