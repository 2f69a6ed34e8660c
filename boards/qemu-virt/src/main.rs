//! The image for QEMU's `virt` machine that measures itself: with benchmarks and self tests.
#![no_std]
#![no_main]

bale_qemu_virt::image!(commands: [bale_bench::COMMANDS, bale_selftest::COMMANDS]);
