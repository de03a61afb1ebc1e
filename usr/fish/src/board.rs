//! What a board's firmware says, as text.

use alloc::{format, string::String};

use capelin_interfaces::firmware::{Board, Clock, Temperature};

use crate::report::bytes;

/// The clocks that are told, with their names.
pub const CLOCKS: &[(Clock, &str)] = &[
    (Clock::Arm, "arm"),
    (Clock::Core, "core"),
    (Clock::Uart, "uart"),
    (Clock::Emmc2, "emmc2"),
];

/// Temperatures, in degrees Celsius.
#[must_use]
pub fn temperature(temperature: &Temperature) -> String {
    let degrees = |mc: u32| format!("{}.{} °C", mc / 1000, mc % 1000 / 100);
    let (now, limit) = (temperature.now_mc, temperature.limit_mc);
    format!("{}, slowed down from {} on\n", degrees(now), degrees(limit))
}

/// The board, some lines.
#[must_use]
pub fn describe(board: &Board) -> String {
    let revision = Revision::of(board.revision);
    let model = match &revision {
        Some(it) => format!(
            "{} 1.{}, {} of memory, made by {}",
            it.model,
            it.minor,
            bytes(it.memory_bytes),
            it.maker
        ),
        None => String::from("not known"),
    };
    format!(
        "model     {model}\nrevision  {:x}\nserial    {:016x}\nmemory    {} at {:#x} below 1 GiB\n\
         firmware  of {}\n",
        board.revision,
        board.serial,
        bytes(board.memory_bytes.into()),
        board.memory_base,
        date(board.firmware),
    )
}

/// A clock, a line.
#[must_use]
pub fn clock(name: &str, hz: u32) -> String {
    if hz == 0 {
        return format!("clock     {name} stands still\n");
    }
    let (mhz, rest) = (hz / 1_000_000, hz % 1_000_000 / 1000);
    format!("clock     {name} {mhz}.{rest:03} MHz\n")
}

/// What a new-style revision code tells ("Raspberry Pi revision codes").
struct Revision {
    model: &'static str,
    minor: u32,
    memory_bytes: u64,
    maker: &'static str,
}

impl Revision {
    fn of(code: u32) -> Option<Self> {
        const NEW_STYLE: u32 = 1 << 23;
        if code & NEW_STYLE == 0 {
            return None;
        }
        let model = match code >> 4 & 0xff {
            0x08 => "Raspberry Pi 3 Model B",
            0x0d => "Raspberry Pi 3 Model B+",
            0x11 => "Raspberry Pi 4 Model B",
            0x12 => "Raspberry Pi Zero 2 W",
            0x13 => "Raspberry Pi 400",
            0x14 => "Compute Module 4",
            0x15 => "Compute Module 4S",
            0x17 => "Raspberry Pi 5",
            _ => "another Raspberry Pi",
        };
        let maker = match code >> 16 & 0xf {
            0 => "Sony UK",
            1 => "Egoman",
            2 | 4 => "Embest",
            3 => "Sony Japan",
            5 => "Stadium",
            _ => "others",
        };
        Some(Self {
            model,
            minor: code & 0xf,
            memory_bytes: (256 << 20) << (code >> 20 & 7),
            maker,
        })
    }
}

/// The day of a point in time given in seconds since 1970.
fn date(seconds: u32) -> String {
    // Days since the first of March of the year 0, in eras of 400 years.
    const TO_1970: u32 = 719_468;
    const ERA: u32 = 146_097;
    let days = seconds / 86_400 + TO_1970;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    // The year begins with March.
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_codes_are_read() {
        let model = |code| Revision::of(code).map(|it| (it.model, it.minor, it.memory_bytes >> 20));
        assert_eq!(model(0xb0_3115), Some(("Raspberry Pi 4 Model B", 5, 2048)));
        assert_eq!(model(0xd0_3115), Some(("Raspberry Pi 4 Model B", 5, 8192)));
        assert_eq!(model(0xa0_3111), Some(("Raspberry Pi 4 Model B", 1, 1024)));
        assert_eq!(model(0xc0_3130), Some(("Raspberry Pi 400", 0, 4096)));
        assert_eq!(model(0x00_0010), None, "old style");
    }

    #[test]
    fn days_are_told_rightly() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_661_874_000, "2022-08-30"),
            (1_709_164_800, "2024-02-29"),
            (1_735_603_199, "2024-12-30"),
            (u32::MAX, "2106-02-07"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn figures_have_their_units() {
        let warm = Temperature {
            now_mc: 48_312,
            limit_mc: 85_000,
        };
        assert_eq!(temperature(&warm), "48.3 °C, slowed down from 85.0 °C on\n");
        assert_eq!(clock("arm", 1_500_000_000), "clock     arm 1500.000 MHz\n");
        assert_eq!(clock("uart", 48_001_500), "clock     uart 48.001 MHz\n");
        assert_eq!(clock("emmc2", 0), "clock     emmc2 stands still\n");
    }
}
