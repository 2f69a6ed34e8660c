//! A program for Linux at a fixed address: nothing relocates it at its start.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=--no-pie");
        // Debian also has kernels with pages of 16 and 64 KiB.
        println!("cargo:rustc-link-arg-bins=-zmax-page-size=65536");
    }
}
