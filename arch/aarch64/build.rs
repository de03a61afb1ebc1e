//! Passes the linker script of the program that tests this crate on a board.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rerun-if-changed=tests/probe/probe.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-arg-bin=arch-probe=-T{folder}/tests/probe/probe.ld");
    }
}
