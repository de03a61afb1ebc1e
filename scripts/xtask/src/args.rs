//! Command-line arguments: `--name value`, `--name=value`, and bare words.

use std::collections::VecDeque;

use crate::error::{Error, Result};

/// One argument, as [`Args::next`] takes it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arg {
    /// `--name`; a value given as `--name=value` waits for [`Args::value`].
    Option(String),
    /// A word without leading dashes.
    Word(String),
}

/// The arguments not yet taken.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    rest: VecDeque<String>,
    /// The value of `--name=value`, until it is asked for, and the option's name.
    attached: Option<(String, String)>,
}

impl Args {
    pub(crate) fn new(arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            rest: arguments.into_iter().map(Into::into).collect(),
            attached: None,
        }
    }

    /// The next argument.
    ///
    /// # Errors
    /// If the argument before was `--name=value` and nobody asked for the value.
    pub(crate) fn next(&mut self) -> Result<Option<Arg>> {
        if let Some((name, _)) = self.attached.take() {
            return Err(Error::Usage(format!("--{name} takes no value")));
        }
        let Some(argument) = self.rest.pop_front() else {
            return Ok(None);
        };
        let Some(option) = argument.strip_prefix("--") else {
            return Ok(Some(Arg::Word(argument)));
        };
        let name = match option.split_once('=') {
            Some((name, value)) => {
                self.attached = Some((name.to_owned(), value.to_owned()));
                name
            }
            None => option,
        };
        Ok(Some(Arg::Option(name.to_owned())))
    }

    /// The value of the option just taken, which is `name`.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn value(&mut self, name: &str) -> Result<String> {
        if let Some((_, value)) = self.attached.take() {
            return Ok(value);
        }
        self.rest
            .pop_front()
            .ok_or_else(|| Error::Usage(format!("--{name} needs a value")))
    }

    /// As [`Args::value`], parsed.
    ///
    /// # Errors
    /// If there is none or it doesn't parse.
    pub(crate) fn parsed<T: std::str::FromStr>(&mut self, name: &str) -> Result<T> {
        let value = self.value(name)?;
        value
            .parse()
            .map_err(|_| Error::Usage(format!("--{name} can't be {value:?}")))
    }

    /// Everything that is left, as it stands.
    pub(crate) fn take_rest(&mut self) -> Vec<String> {
        self.rest.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_value() {
        let mut args = Args::new(["--smp", "4", "--mem=2G", "word"]);
        assert_eq!(args.next().unwrap(), Some(Arg::Option("smp".into())));
        assert_eq!(args.parsed::<u32>("smp").unwrap(), 4);
        assert_eq!(args.next().unwrap(), Some(Arg::Option("mem".into())));
        assert_eq!(args.value("mem").unwrap(), "2G");
        assert_eq!(args.next().unwrap(), Some(Arg::Word("word".into())));
        assert_eq!(args.next().unwrap(), None);
    }

    #[test]
    fn a_value_may_look_like_an_option_or_hold_an_equals_sign() {
        let mut args = Args::new(["--append", "--x", "--exec=a=b"]);
        args.next().unwrap();
        assert_eq!(args.value("append").unwrap(), "--x");
        args.next().unwrap();
        assert_eq!(args.value("exec").unwrap(), "a=b");
    }

    #[test]
    fn missing_and_surplus_values_are_refused() {
        let mut args = Args::new(["--smp"]);
        args.next().unwrap();
        assert!(args.parsed::<u32>("smp").is_err());
        let mut args = Args::new(["--el2=yes", "x"]);
        args.next().unwrap();
        assert!(args.next().is_err());
        let mut args = Args::new(["--smp", "four"]);
        args.next().unwrap();
        assert!(args.parsed::<u32>("smp").is_err());
    }
}
