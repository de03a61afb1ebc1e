//! The loader's configuration file: lines `name = value`, comments after `#` at a line's
//! start.
//!
//! ```text
//! kernel = \EFI\capelin\capelin.img
//! arguments = capelin.log=debug
//! ```

use core::fmt;

/// Where the file is on the volume that the loader came from.
pub const PATH: &str = r"\EFI\capelin\capelin.conf";

/// What the file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Configuration<'a> {
    /// The boot image, by its path on the same volume.
    pub kernel: &'a str,
    /// The command line.
    pub arguments: Option<&'a str>,
}

/// What is wrong with the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigurationError {
    /// A line is no `name = value`.
    NoValue {
        /// From 1.
        line: usize,
    },
    /// No such name is known.
    UnknownName {
        /// From 1.
        line: usize,
    },
    /// A name stands twice.
    Twice {
        /// From 1.
        line: usize,
    },
    /// There is no line for the kernel.
    NoKernel,
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValue { line } => write!(f, "line {line} is no `name = value`"),
            Self::UnknownName { line } => {
                write!(f, "line {line}: the names are `kernel` and `arguments`")
            }
            Self::Twice { line } => write!(f, "line {line}: its name stands there twice"),
            Self::NoKernel => f.write_str("no line `kernel = PATH` names the boot image"),
        }
    }
}

impl core::error::Error for ConfigurationError {}

impl<'a> Configuration<'a> {
    /// Reads the file's text.
    ///
    /// # Errors
    ///
    /// The first line that is wrong, or that none names the kernel.
    pub fn parse(text: &'a str) -> Result<Self, ConfigurationError> {
        let (mut kernel, mut arguments) = (None, None);
        // Editors of some systems begin a file with U+FEFF.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let (name, value) = content
                .split_once('=')
                .ok_or(ConfigurationError::NoValue { line })?;
            let place = match name.trim() {
                "kernel" => &mut kernel,
                "arguments" => &mut arguments,
                _ => return Err(ConfigurationError::UnknownName { line }),
            };
            if place.replace(value.trim()).is_some() {
                return Err(ConfigurationError::Twice { line });
            }
        }
        Ok(Self {
            kernel: kernel
                .filter(|kernel| !kernel.is_empty())
                .ok_or(ConfigurationError::NoKernel)?,
            arguments: arguments.filter(|arguments| !arguments.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_and_values() {
        let text = "\u{feff}# Capelin\r\n\r\nkernel = \\a.img\r\narguments= x=1 y = 2 # z \r\n";
        let expected = Configuration {
            kernel: "\\a.img",
            arguments: Some("x=1 y = 2 # z"),
        };
        assert_eq!(Configuration::parse(text), Ok(expected));
        let least = Configuration::parse("kernel=k\narguments=").unwrap();
        assert_eq!(least.arguments, None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let error = |text| Configuration::parse(text).unwrap_err();
        assert_eq!(error("kernel"), ConfigurationError::NoValue { line: 1 });
        let unknown = error("# x\nkernal = k");
        assert_eq!(unknown, ConfigurationError::UnknownName { line: 2 });
        let twice = error("kernel=a\nkernel=b");
        assert_eq!(twice, ConfigurationError::Twice { line: 2 });
        assert_eq!(error("arguments=x"), ConfigurationError::NoKernel);
        assert_eq!(error("kernel= "), ConfigurationError::NoKernel);
    }
}
