//! The assembly sequences around the MMU (`translation.S`), and their tests.
//!
//! | function | does |
//! | --- | --- |
//! | `capelin_discard_lines` | drops lines that were written with the MMU off |
//! | `capelin_write_back_lines` | writes back lines that will be written with the MMU off |
//! | `capelin_enable_translation` | turns the MMU on; `…_el2`: at EL2 |
//! | `capelin_leave_translation` | turns it off and goes on elsewhere; `…_el2`: at EL2 |
//! | `capelin_replace_root` | replaces the kernel's tables under the code that runs |
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "sequences in assembly")
)]

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(include_str!("translation.S"));

/// The system instructions of the function `name` in `text`, in their order.
#[cfg(test)]
pub(crate) fn system_instructions(text: &str, name: &str) -> std::vec::Vec<std::string::String> {
    const SYSTEM: [&str; 8] = ["msr", "dsb", "isb", "tlbi", "dc", "ic", "eret", "hvc"];
    instructions(text, name, &SYSTEM)
}

/// The instructions of the function `name` in `text` that `chosen` names, in their order.
#[cfg(test)]
fn instructions(text: &str, name: &str, chosen: &[&str]) -> std::vec::Vec<std::string::String> {
    let label = std::format!("{name}:");
    text.lines()
        .skip_while(|line| line.trim() != label)
        .take_while(|line| line.trim() != ".popsection")
        .filter_map(|line| {
            let code = line.split("//").next()?.trim();
            // A number in front is a local label.
            let code = code.split_once(": ").map_or(code, |(_, code)| code.trim());
            let words: std::vec::Vec<_> = code.split_whitespace().collect();
            chosen.contains(words.first()?).then(|| words.join(" "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{instructions, system_instructions};

    fn trace(name: &str) -> std::vec::Vec<std::string::String> {
        system_instructions(include_str!("translation.S"), name)
    }

    /// As [`trace`], with calls and where it ends.
    fn trace_with_calls(name: &str) -> std::vec::Vec<std::string::String> {
        let chosen = ["msr", "dsb", "isb", "tlbi", "dc", "ic", "bl", "br"];
        instructions(include_str!("translation.S"), name, &chosen)
    }

    #[test]
    fn lines_are_dropped_before_anybody_reads() {
        assert_eq!(trace("capelin_discard_lines"), ["dc ivac, x0", "dsb sy"]);
    }

    #[test]
    fn lines_are_written_back_before_anybody_writes_past_them() {
        assert_eq!(
            trace("capelin_write_back_lines"),
            ["dc civac, x0", "dsb sy"]
        );
    }

    #[test]
    fn at_el2_translation_begins_in_the_same_order() {
        assert_eq!(
            trace("capelin_enable_translation_el2"),
            [
                "msr mair_el2, x3",
                "msr tcr_el2, x4",
                "msr ttbr0_el2, x0",
                "dsb sy",
                "tlbi alle2",
                "ic iallu",
                "dsb nsh",
                "isb",
                "msr sctlr_el2, x2",
                "isb"
            ]
        );
    }

    /// Lines are written back only when no more can become dirty; then nothing that was
    /// translated or fetched before is used any more.
    #[test]
    fn caches_are_off_before_lines_are_written_back() {
        for (name, control, invalidate) in [
            (
                "capelin_leave_translation",
                "msr sctlr_el1, x0",
                "tlbi vmalle1",
            ),
            (
                "capelin_leave_translation_el2",
                "msr sctlr_el2, x0",
                "tlbi alle2",
            ),
        ] {
            assert_eq!(
                trace_with_calls(name),
                [
                    "isb",
                    control,
                    "isb",
                    "bl capelin_write_back_lines",
                    invalidate,
                    "ic iallu",
                    "dsb nsh",
                    "isb",
                    "br x4"
                ]
            );
        }
    }

    #[test]
    fn tables_are_complete_and_the_tlb_is_empty_when_translation_begins() {
        assert_eq!(
            trace("capelin_enable_translation"),
            [
                "msr mair_el1, x3",
                "msr tcr_el1, x4",
                "msr ttbr0_el1, x0",
                "msr ttbr1_el1, x1",
                "dsb sy",
                "tlbi vmalle1",
                "ic iallu",
                "dsb nsh",
                "isb",
                "msr sctlr_el1, x2",
                "isb"
            ]
        );
    }

    /// Break before make: no walk of the new tables before the old translations are
    /// gone, none of the old ones after.
    #[test]
    fn the_kernels_half_is_empty_between_two_roots() {
        assert_eq!(
            trace("capelin_replace_root"),
            [
                "msr ttbr1_el1, x1",
                "isb",
                "dsb nshst",
                "tlbi vmalle1",
                "dsb nsh",
                "isb",
                "msr ttbr1_el1, x0",
                "isb",
                "msr vbar_el1, x3",
                "isb"
            ]
        );
    }
}
