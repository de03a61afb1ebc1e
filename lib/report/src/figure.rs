//! What an operation costs.

use core::fmt::{self, Display, Formatter};

/// A number with two decimals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hundredths(pub u64);

impl Hundredths {
    /// The whole number `value`; the largest there is, if that is too large.
    #[must_use]
    pub const fn whole(value: u64) -> Self {
        Self(value.saturating_mul(100))
    }

    /// The `count`th part of `value`, cut off after two decimals.
    #[must_use]
    pub fn share(value: u64, count: u64) -> Self {
        let count = count.max(1);
        // The whole part and the rest apart: `value` times a hundred may not fit.
        let rest = u128::from(value % count) * 100 / u128::from(count);
        // The rest is less than `count`, so that is less than a hundred.
        let decimals = u64::try_from(rest).unwrap_or(99);
        Self((value / count).saturating_mul(100).saturating_add(decimals))
    }

    /// The number that `text` writes with at most two decimals.
    fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > 2 {
            return None;
        }
        let tens = if decimals.len() == 1 { 10 } else { 1 };
        let decimals: u64 = decimals.parse().ok()?;
        let whole: u64 = whole.parse().ok()?;
        whole
            .checked_mul(100)?
            .checked_add(decimals * tens)
            .map(Self)
    }
}

impl Display for Hundredths {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 % 100 {
            0 => write!(f, "{}", self.0 / 100),
            decimals => write!(f, "{}.{decimals:02}", self.0 / 100),
        }
    }
}

/// A figure: what one operation takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figure<'a> {
    /// Of what; one word.
    pub name: &'a str,
    /// The figure, as a rule the mean.
    pub value: Hundredths,
    /// Its unit; one word.
    pub unit: &'a str,
    /// Operations that were measured.
    pub n: Option<u64>,
    /// The least of several measurements.
    pub min: Option<Hundredths>,
    /// That of several measurements which as many are above as below.
    pub median: Option<Hundredths>,
}

/// Why a line that begins like a figure is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FigureError {
    /// A name, a value and a unit are needed.
    TooFewWords,
    /// A value isn't a decimal number with at most two decimals, or `n` isn't a whole one.
    NotANumber,
    /// What follows the unit isn't `KEY=VALUE`.
    NotAnAttribute,
}

impl Display for FigureError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooFewWords => "a figure has a name, a value and a unit",
            Self::NotANumber => "not a number with at most two decimals",
            Self::NotAnAttribute => "what follows a figure's unit is KEY=VALUE",
        })
    }
}

impl core::error::Error for FigureError {}

const PREFIX: &str = "bench: ";

impl<'a> Figure<'a> {
    /// A figure that was measured as a whole, once.
    #[must_use]
    pub const fn single(name: &'a str, value: u64, unit: &'a str) -> Self {
        Self {
            name,
            value: Hundredths::whole(value),
            unit,
            n: Some(1),
            min: None,
            median: None,
        }
    }

    /// What one operation takes, of `batches` of `operations` operations each, of which each took as
    /// many `unit` as its number says; they are sorted. The value is their mean. `None` if there is
    /// no batch.
    #[must_use]
    pub fn of_batches(
        name: &'a str,
        unit: &'a str,
        operations: u64,
        batches: &mut [u64],
    ) -> Option<Self> {
        batches.sort_unstable();
        let least = batches.first()?;
        let median = batches.get(batches.len() / 2)?;
        let n = operations * batches.len() as u64;
        Some(Self {
            name,
            value: Hundredths::share(batches.iter().sum(), n),
            unit,
            n: Some(n),
            min: Some(Hundredths::share(*least, operations)),
            median: Some(Hundredths::share(*median, operations)),
        })
    }

    /// The figure in `line`; `None` if it doesn't begin like one.
    ///
    /// # Errors
    /// [`FigureError`], if it begins like one and isn't. Keys that nobody knows are passed over.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Result<Self, FigureError>> {
        line.strip_prefix(PREFIX).map(Self::fields)
    }

    fn fields(text: &'a str) -> Result<Self, FigureError> {
        let number = |word| Hundredths::parse(word).ok_or(FigureError::NotANumber);
        let mut words = text.split_whitespace();
        let (Some(name), Some(value), Some(unit)) = (words.next(), words.next(), words.next())
        else {
            return Err(FigureError::TooFewWords);
        };
        let mut figure = Self {
            name,
            value: number(value)?,
            unit,
            n: None,
            min: None,
            median: None,
        };
        for word in words {
            match word.split_once('=').ok_or(FigureError::NotAnAttribute)? {
                ("n", n) => figure.n = Some(n.parse().map_err(|_| FigureError::NotANumber)?),
                ("min", value) => figure.min = Some(number(value)?),
                ("median", value) => figure.median = Some(number(value)?),
                _ => {}
            }
        }
        Ok(figure)
    }
}

impl Display for Figure<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{} {} {}", self.name, self.value, self.unit)?;
        if let Some(n) = self.n {
            write!(f, " n={n}")?;
        }
        for (key, value) in [("min", self.min), ("median", self.median)] {
            if let Some(value) = value {
                write!(f, " {key}={value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn means_minima_and_medians() {
        let figure = Figure::of_batches("yield", "instructions", 4, &mut [1000, 1001, 900]);
        let line = "bench: yield 241.75 instructions n=12 min=225 median=250";
        assert_eq!(figure.unwrap().to_string(), line);
        assert_eq!(Figure::of_batches("nothing", "ns", 4, &mut []), None);
        let share = Hundredths::share(u64::MAX, 10_000);
        assert_eq!(share, Hundredths(u64::MAX / 100));
        assert_eq!(Hundredths::share(5, 0), Hundredths(500));
    }

    #[test]
    fn what_is_no_figure() {
        let read = |line| Figure::parse(line).map(|figure| figure.map(|figure| figure.name));
        assert_eq!(read("bench x 1 ns"), None);
        assert_eq!(read(" bench: x 1 ns"), None);
        assert_eq!(read("bench: x"), Some(Err(FigureError::TooFewWords)));
        for line in [
            "bench: x y z",
            "bench: x inf ns",
            "bench: x 1e3 ns",
            "bench: x -1 ns",
            "bench: x +1 ns",
            "bench: x 1.234 ns",
            "bench: x . ns",
            "bench: x 1 ns n=many",
            "bench: x 1 ns min=",
            "bench: x 184467440737095517 ns",
        ] {
            assert_eq!(read(line), Some(Err(FigureError::NotANumber)), "{line}");
        }
        let odd = read("bench: x 1 ns hello");
        assert_eq!(odd, Some(Err(FigureError::NotAnAttribute)));
        assert_eq!(read("bench: x 1.5 ns color=blue\r"), Some(Ok("x")));
    }

    fn hundredths() -> impl Strategy<Value = Hundredths> {
        any::<u64>().prop_map(Hundredths)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            name in "[a-z][a-z_-]{0,20}", unit in "[A-Za-z]{1,12}", value in hundredths(),
            n: Option<u64>, min in proptest::option::of(hundredths()),
            median in proptest::option::of(hundredths()),
        ) {
            let figure = Figure { name: &name, value, unit: &unit, n, min, median };
            let line = format!("{figure}\r");
            prop_assert_eq!(Figure::parse(&line), Some(Ok(figure)));
        }

        #[test]
        fn no_line_makes_it_panic(line in "(bench: )?[ -~]{0,60}") {
            let _ = Figure::parse(&line);
        }
    }
}
