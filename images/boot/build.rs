//! Passes the linker scripts of the boot driver, and of its test's stand-in for
//! the CPU driver.
//!
//! The image must run wherever a loader puts it. It is linked as a position
//! independent executable at address 0; what still needs the real address is left
//! as `R_AARCH64_RELATIVE` records (`-z notext`, since constants lie in read-only
//! sections), which the entry code applies.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rerun-if-changed=boot.ld");
    println!("cargo::rerun-if-changed=tests/probe/probe.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-arg-bin=boot=-T{folder}/boot.ld");
        println!("cargo::rustc-link-arg-bin=boot-probe=-T{folder}/tests/probe/probe.ld");
        for argument in ["-pie", "-znotext", "--no-dynamic-linker", "-zrelro"] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
