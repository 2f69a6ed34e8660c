//! The image for QEMU's `virt` machine without benchmarks and self tests.
#![no_std]
#![no_main]

bale_qemu_virt::image!();
