//! How much of the host's processors a process has taken.

use std::fs;

/// Clock ticks per second in `/proc/PID/stat` (proc(5); `sysconf(_SC_CLK_TCK)` is 100 on Linux).
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of process `process`, in seconds; `None` if it has ended.
pub(super) fn of(process: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    seconds(&stat.ok()?, 14)
}

/// User and system time of all our children that have ended, and theirs, in seconds.
pub(super) fn ended_children() -> Option<f64> {
    seconds(&fs::read_to_string("/proc/self/stat").ok()?, 16)
}

/// The sum of two neighbouring times in the line of `/proc/PID/stat`, which has fields from 1 on, the second a name in
/// parentheses.
fn seconds(stat: &str, first: usize) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(first.checked_sub(3)?);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (qemu) (x) S 1 2 3 4 5 6 7 8 9 10 250 50 700 100 20 0 5 0 1 2";
        assert_eq!(seconds(stat, 14), Some(3.0));
        assert_eq!(seconds(stat, 16), Some(8.0));
        assert_eq!(seconds("42 (qemu) S 1 2", 14), None);
        assert_eq!(seconds("", 14), None);
    }

    #[test]
    fn a_childs_time_is_ours_when_it_has_ended() {
        let before = ended_children().unwrap();
        let work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", work]).status();
        assert!(status.unwrap().success());
        assert!(ended_children().unwrap() > before);
        assert!(of(std::process::id()).is_some());
    }
}
