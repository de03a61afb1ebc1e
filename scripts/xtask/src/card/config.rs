//! `config.txt` as the Raspberry Pi's firmware reads it, as far as it decides what is loaded.
//!
//! The language: a setting a line, `name=value`; `#` starts a comment; `[filter]` limits what follows to some boards
//! until the next one; `initramfs FILE PLACE` has no `=`; a line ends after 98 characters. The firmware passes over what
//! it doesn't know in silence; here it is a [`Complaint`], since silence is what such a mistake is hard to find in.

use std::fmt;

/// What a line of `config.txt` may hold (Raspberry Pi documentation, "What is config.txt?").
const MAX_LINE: usize = 98;
/// Filters that a Raspberry Pi 4 Model B takes. (`[cm4]` and `[pi400]` are other boards of the same chip.)
const FILTERS_OF_4B: [&str; 2] = ["all", "pi4"];
/// Filters of other boards, of no board, and those that depend on a cable.
const OTHER_FILTERS: [&str; 15] = [
    "none", "pi0", "pi0w", "pi02", "pi1", "pi2", "pi3", "pi3+", "pi400", "pi5", "pi500", "cm3",
    "cm4", "cm5", "tryboot",
];
/// Settings that the firmware knows, and that don't change what is loaded or where the console is.
const WITHOUT_EFFECT: [&str; 14] = [
    "arm_boost",
    "arm_freq",
    "auto_initramfs",
    "boot_delay",
    "core_freq",
    "disable_overscan",
    "disable_splash",
    "enable_gic",
    "gpu_mem",
    "hdmi_force_hotplug",
    "init_uart_clock",
    "max_framebuffers",
    "total_mem",
    "uart_2ndstage",
];

/// What is loaded, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) kernel: String,
    pub(crate) kernel_address: Option<u64>,
    /// `None`: the one for the board.
    pub(crate) device_tree: Option<String>,
    pub(crate) command_line: String,
    pub(crate) initramfs: Option<Initramfs>,
    pub(crate) armstub: Option<String>,
    pub(crate) overlays: Vec<String>,
    /// Whether the firmware sets the console's UART up.
    pub(crate) enable_uart: bool,
    pub(crate) is_64_bit: bool,
    pub(crate) complaints: Vec<Complaint>,
}

/// A file that is put beside the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Initramfs {
    pub(crate) file: String,
    pub(crate) place: Place,
}

/// Where an initramfs goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind the kernel.
    FollowsKernel,
    /// To this address.
    At(u64),
}

/// A line that won't do what its writer meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No setting, filter or comment.
    NotALine(String),
    /// The firmware knows no such setting.
    UnknownSetting(String),
    /// The firmware knows no such filter, and passes over what follows.
    UnknownFilter(String),
    /// The setting wants a number.
    NotANumber(String, String),
    /// The firmware reads so many characters of a line.
    TooLong,
    /// The firmware does this, and the reader of `config.txt` here doesn't.
    NotFollowed(String),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config.txt, line {}: ", self.line)?;
        match &self.fault {
            Fault::NotALine(text) => write!(f, "{text:?} is no setting (name=value)"),
            Fault::UnknownSetting(name) => {
                write!(
                    f,
                    "the firmware has no setting {name:?}, and passes over it"
                )
            }
            Fault::UnknownFilter(name) => write!(
                f,
                "the firmware has no filter [{name}], and passes over all that follows it"
            ),
            Fault::NotANumber(name, value) => write!(f, "{name} wants a number, not {value:?}"),
            Fault::TooLong => write!(f, "the firmware reads {MAX_LINE} characters of a line"),
            Fault::NotFollowed(name) => {
                write!(f, "{name} has an effect on a board that isn't shown here")
            }
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kernel: "kernel8.img".to_owned(),
            kernel_address: None,
            device_tree: None,
            command_line: "cmdline.txt".to_owned(),
            initramfs: None,
            armstub: None,
            overlays: Vec::new(),
            enable_uart: false,
            is_64_bit: true,
            complaints: Vec::new(),
        }
    }
}

impl Config {
    /// Reads `text`, as the firmware of a Raspberry Pi 4 Model B does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut config = Self::default();
        let mut is_ours = true;
        for (index, line) in text.lines().enumerate() {
            let mut faults = Vec::new();
            if line.chars().count() > MAX_LINE && !line.starts_with('#') {
                faults.push(Fault::TooLong);
            }
            let end = line
                .char_indices()
                .nth(MAX_LINE)
                .map_or(line.len(), |(at, _)| at);
            let line = line[..end].trim();
            if let Some(filter) = line.strip_prefix('[') {
                let filter = filter.trim_end_matches(']').to_ascii_lowercase();
                is_ours = FILTERS_OF_4B.contains(&&*filter);
                if !is_ours && !OTHER_FILTERS.contains(&&*filter) {
                    faults.push(Fault::UnknownFilter(filter));
                }
            } else if is_ours && !line.is_empty() && !line.starts_with('#') {
                faults.extend(config.set(line));
            }
            let complaint = |fault| Complaint {
                line: index + 1,
                fault,
            };
            config.complaints.extend(faults.into_iter().map(complaint));
        }
        config
    }

    fn set(&mut self, line: &str) -> Option<Fault> {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["initramfs", file, rest @ ..] = &*words {
            let place = match rest {
                [] | ["followkernel" | "0"] => Place::FollowsKernel,
                [address, ..] => match number(address) {
                    Some(address) => Place::At(address),
                    None => return Some(not_a_number("initramfs", address)),
                },
            };
            self.initramfs = Some(Initramfs {
                file: (*file).to_owned(),
                place,
            });
            return None;
        }
        if let ["include", ..] = &*words {
            return Some(Fault::NotFollowed("include".to_owned()));
        }
        let Some((name, value)) = line.split_once('=') else {
            return Some(Fault::NotALine(line.to_owned()));
        };
        let (name, value) = (name.trim(), value.trim());
        let number = || number(value).ok_or_else(|| not_a_number(name, value));
        let outcome = match name {
            "kernel" => {
                self.kernel = value.to_owned();
                Ok(())
            }
            "kernel_address" => number().map(|address| self.kernel_address = Some(address)),
            "device_tree" => {
                self.device_tree = Some(value.to_owned());
                Ok(())
            }
            "cmdline" => {
                self.command_line = value.to_owned();
                Ok(())
            }
            "armstub" => {
                self.armstub = (!value.is_empty()).then(|| value.to_owned());
                Ok(())
            }
            "dtoverlay" => {
                // Parameters follow a comma; an empty name ends an overlay's parameters.
                let overlay = value.split(',').next().unwrap_or_default();
                if !overlay.is_empty() {
                    self.overlays.push(overlay.to_owned());
                }
                Ok(())
            }
            "enable_uart" => number().map(|it| self.enable_uart = it != 0),
            "arm_64bit" => number().map(|it| self.is_64_bit = it != 0),
            "dtparam"
            | "device_tree_address"
            | "os_prefix"
            | "overlay_prefix"
            | "ramfsfile"
            | "ramfsaddr" => Err(Fault::NotFollowed(name.to_owned())),
            _ if WITHOUT_EFFECT.contains(&name) => Ok(()),
            _ => Err(Fault::UnknownSetting(name.to_owned())),
        };
        outcome.err()
    }
}

fn not_a_number(name: &str, value: &str) -> Fault {
    Fault::NotANumber(name.to_owned(), value.to_owned())
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(usize, Fault)> {
        let complaints = Config::parse(text).complaints.into_iter();
        complaints.map(|it| (it.line, it.fault)).collect()
    }

    #[test]
    fn nothing_means_the_firmwares_defaults() {
        let config = Config::parse("# nothing\n\n");
        assert_eq!(config, Config::default());
        assert_eq!(
            (&*config.kernel, &*config.command_line),
            ("kernel8.img", "cmdline.txt")
        );
    }

    #[test]
    fn settings() {
        let config = Config::parse(
            "arm_64bit=1\nkernel=a.img\nkernel_address=0x200000\ndevice_tree=x.dtb\ncmdline=c.txt\narmstub=s.bin\n\
             dtoverlay=disable-bt\ndtoverlay=other,param=1\nenable_uart=1\ninitramfs i.img 0x3000000\ngpu_mem=16\n",
        );
        let expected = Config {
            kernel: "a.img".into(),
            kernel_address: Some(0x20_0000),
            device_tree: Some("x.dtb".into()),
            command_line: "c.txt".into(),
            initramfs: Some(Initramfs {
                file: "i.img".into(),
                place: Place::At(0x300_0000),
            }),
            armstub: Some("s.bin".into()),
            overlays: vec!["disable-bt".into(), "other".into()],
            enable_uart: true,
            is_64_bit: true,
            complaints: vec![],
        };
        assert_eq!(config, expected);
        let follows = Config::parse("initramfs i.img followkernel");
        assert_eq!(follows.initramfs.unwrap().place, Place::FollowsKernel);
    }

    #[test]
    fn filters_choose_the_board() {
        let text = "[pi3]\nkernel=3.img\n[pi4]\nkernel=4.img\n[cm4]\nkernel=cm.img\n[all]\nenable_uart=1\n";
        let config = Config::parse(text);
        assert_eq!((&*config.kernel, config.enable_uart), ("4.img", true));
        assert_eq!(config.complaints, []);
        let unknown = "[pie]\nkernel=x.img\n[all]\n";
        assert_eq!(faults(unknown), [(1, Fault::UnknownFilter("pie".into()))]);
        assert_eq!(Config::parse(unknown).kernel, "kernel8.img");
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        assert_eq!(
            faults("\nkernal=x"),
            [(2, Fault::UnknownSetting("kernal".into()))]
        );
        assert_eq!(
            faults("kernel x.img"),
            [(1, Fault::NotALine("kernel x.img".into()))]
        );
        assert_eq!(
            faults("kernel_address=2M"),
            [(1, Fault::NotANumber("kernel_address".into(), "2M".into()))]
        );
        assert_eq!(faults("initramfs i.img here").len(), 1);
        assert_eq!(
            faults("include other.txt"),
            [(1, Fault::NotFollowed("include".into()))]
        );
    }

    #[test]
    fn a_line_ends_where_the_firmware_stops_reading() {
        let long = format!("kernel={}", "k".repeat(100));
        assert_eq!(faults(&long), [(1, Fault::TooLong)]);
        assert_eq!(
            Config::parse(&long).kernel.len(),
            MAX_LINE - "kernel=".len()
        );
    }
}
