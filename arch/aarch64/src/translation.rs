//! The assembly sequences around the MMU (`translation.S`), and their tests.
//!
//! | function | does |
//! | --- | --- |
//! | `capelin_discard_lines` | drops lines that were written with the MMU off |
//! | `capelin_enable_translation` | turns the MMU on |
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
    let label = std::format!("{name}:");
    text.lines()
        .skip_while(|line| line.trim() != label)
        .take_while(|line| line.trim() != ".popsection")
        .filter_map(|line| {
            let code = line.split("//").next()?.trim();
            // A number in front is a local label.
            let code = code.split_once(": ").map_or(code, |(_, code)| code.trim());
            let words: std::vec::Vec<_> = code.split_whitespace().collect();
            SYSTEM.contains(words.first()?).then(|| words.join(" "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::system_instructions;

    fn trace(name: &str) -> std::vec::Vec<std::string::String> {
        system_instructions(include_str!("translation.S"), name)
    }

    #[test]
    fn lines_are_dropped_before_anybody_reads() {
        assert_eq!(trace("capelin_discard_lines"), ["dc ivac, x0", "dsb sy"]);
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
