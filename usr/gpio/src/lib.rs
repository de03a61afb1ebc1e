//! Reads and sets the pins of a board: what is asked for, and what is said of a pin.
//!
//! ```text
//! gpio                                  the pins of the header
//! gpio PIN [in|out|high|low|up|down|float]...
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use alloc::{format, vec::Vec};
use core::fmt;

use capelin_interfaces::gpio::{Function, Level, PinState, Pull};

/// How it is called.
pub const USAGE: &str = "gpio [PIN [in|out|high|low|up|down|float]...]";

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// How it is with the pins of the header.
    All,
    /// Of this pin, these in order, and how it is then.
    Pin(u32, Vec<Step>),
}

/// What is done to a pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It becomes an input.
    Input,
    /// It becomes an output of the level that it has.
    Output,
    /// It becomes an output of this level.
    Drive(Level),
    /// This holds it.
    Pull(Pull),
}

/// A word that means nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownWord(String);

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} means nothing; usage: {USAGE}", self.0)
    }
}

impl core::error::Error for UnknownWord {}

impl Request {
    /// Reads the arguments.
    ///
    /// # Errors
    /// The first word that means nothing.
    pub fn read(words: &[String]) -> Result<Self, UnknownWord> {
        let Some((pin, steps)) = words.split_first() else {
            return Ok(Self::All);
        };
        let number = pin.parse().map_err(|_| UnknownWord(pin.clone()))?;
        let steps = steps.iter().map(|word| {
            Ok(match word.as_str() {
                "in" => Step::Input,
                "out" => Step::Output,
                "high" => Step::Drive(Level::High),
                "low" => Step::Drive(Level::Low),
                "up" => Step::Pull(Pull::Up),
                "down" => Step::Pull(Pull::Down),
                "float" => Step::Pull(Pull::None),
                _ => return Err(UnknownWord(word.clone())),
            })
        });
        Ok(Self::Pin(number, steps.collect::<Result<_, _>>()?))
    }
}

/// How it is with a pin, a line.
#[must_use]
pub fn line(pin: u32, state: &PinState) -> String {
    let function = match state.function {
        Function::Input => String::from("input"),
        Function::Output => String::from("output"),
        Function::Alternate(which) => format!("device {which}"),
    };
    let level = match state.level {
        Level::Low => "low",
        Level::High => "high",
    };
    let pull = match state.pull {
        Some(Pull::Up) => "pulled up",
        Some(Pull::Down) => "pulled down",
        Some(Pull::None) => "not pulled",
        None => "pull not known",
    };
    format!("{pin:>3}  {function:<8}  {level:<4}  {pull}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, UnknownWord> {
        let words: Vec<String> = text.split_whitespace().map(Into::into).collect();
        Request::read(&words)
    }

    #[test]
    fn words_are_read_in_order() {
        assert_eq!(read(""), Ok(Request::All));
        assert_eq!(read("17"), Ok(Request::Pin(17, Vec::new())));
        let steps = [
            Step::Pull(Pull::Up),
            Step::Input,
            Step::Drive(Level::Low),
            Step::Drive(Level::High),
            Step::Output,
            Step::Pull(Pull::Down),
            Step::Pull(Pull::None),
        ];
        let all = read("4 up in low high out down float");
        assert_eq!(all, Ok(Request::Pin(4, steps.into())));
        for (text, word) in [
            ("x", "x"),
            ("-1 in", "-1"),
            ("4 in on", "on"),
            ("4 HIGH", "HIGH"),
        ] {
            assert_eq!(read(text), Err(UnknownWord(word.into())));
        }
    }

    #[test]
    fn a_line_tells_all() {
        let state = |function, level, pull| PinState {
            function,
            level,
            pull,
        };
        let input = state(Function::Input, Level::High, Some(Pull::Up));
        assert_eq!(line(4, &input), "  4  input     high  pulled up");
        let console = state(Function::Alternate(5), Level::Low, None);
        assert_eq!(line(14, &console), " 14  device 5  low   pull not known");
    }
}
