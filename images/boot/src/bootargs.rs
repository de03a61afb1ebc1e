//! The kernel's arguments (`/chosen/bootargs`) that decide how cores start
//! (`docs/047-running.md`): words separated by spaces, up to the shell's commands.

use capelin_abi::boot::Mitigations;

/// The shell's commands follow, to the end.
const COMMANDS: &str = "capelin.exec=";
const MITIGATIONS: &str = "mitigations=";

/// A value that an argument can't have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownValue<'a>(pub &'a str);

impl core::fmt::Display for UnknownValue<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{MITIGATIONS}{} is neither", self.0)?;
        let mut word = "";
        for value in Mitigations::ALL {
            write!(f, "{word} {}", value.name())?;
            word = " nor";
        }
        Ok(())
    }
}

/// What `mitigations=` says, the last of them if there are several.
///
/// # Errors
/// [`UnknownValue`]: then nothing is switched off.
pub fn mitigations(bootargs: &str) -> Result<Mitigations, UnknownValue<'_>> {
    let words = bootargs.split_ascii_whitespace();
    let value = words
        .take_while(|word| !word.starts_with(COMMANDS))
        .filter_map(|word| word.strip_prefix(MITIGATIONS))
        .last();
    value.map_or(Ok(Mitigations::default()), |value| {
        let mut known = Mitigations::ALL.into_iter();
        known
            .find(|known| known.name() == value)
            .ok_or(UnknownValue(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn mitigations_are_on_unless_they_are_switched_off() {
        use Mitigations::{Auto, Off};
        for (text, value) in [
            ("", Auto),
            ("console=ttyAMA0 quiet", Auto),
            ("mitigations=off", Off),
            ("quiet mitigations=off root=/dev/sda", Off),
            ("mitigations=off mitigations=auto", Auto),
            ("mitigations=auto\tmitigations=off ", Off),
            // Not the word.
            ("xmitigations=off", Auto),
            ("capelin.mitigations=off", Auto),
            // What the shell is told is its own.
            ("capelin.exec=echo mitigations=off", Auto),
            ("mitigations=off capelin.exec=ps", Off),
        ] {
            assert_eq!(mitigations(text), Ok(value), "{text:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_switches_nothing_off() {
        for value in ["", "Off", "off,nosmt", "offf", "0"] {
            let text = std::format!("mitigations=off mitigations={value}");
            let unknown = mitigations(&text).unwrap_err();
            assert_eq!(unknown, UnknownValue(value));
            assert_eq!(
                unknown.to_string(),
                std::format!("mitigations={value} is neither auto nor off")
            );
        }
    }
}
