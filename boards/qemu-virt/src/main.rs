//! The kernel for QEMU's `virt` machine.
#![no_std]
#![no_main]

bale_qemu_virt::image!();
