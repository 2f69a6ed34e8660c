//! What Bale can decide without hardware. No unsafe code, no target; every module is tested on the
//! host.
//!
//! | module | what it decides |
//! |---|---|
//! | [`device_tree`], [`acpi`] | which memory, cores, interrupt controller, UART and timer a machine has |
//! | [`branch_history`] | what a core does when it comes from a guest, so that its branches steer none of EL2 |
//! | [`handover`], [`boot_config`], [`archive`] | what a boot loader tells the kernel and hands over, and what its user tells it |
//! | [`entropy`] | what random numbers are made of, and what each source is worth |
//! | [`core_kind`] | which cores are meant for speed, and who helps whom |
//! | [`exception`] | what a syndrome register says |
//! | [`schedule`] | which task runs next, which wakes next |
//! | [`turn`] | who serves a device that several notify at once |
//! | [`gate`] | many at once, or one alone |
//! | [`attention`] | how a virtual CPU, wherever it is, is made to look at what has changed |
//! | [`wait`] | who waits for whom: semaphores, mutexes with priority inheritance, event flags |
//! | [`stage2`] | translation tables of a virtual machine |
//! | [`residency`] | which of a machine's pages are resident, and which one is on its way out |
//! | [`guest_image`] | whether a guest's kernel image can be started, and where |
//! | [`guest_layout`] | where kernel, device tree and initial RAM disk go in a guest's memory |
//! | [`guest_tree`] | the device tree that a guest is given |
//! | [`vm_description`] | what a virtual machine is to be, from a text |
//! | [`vgic`] | the interrupt controller that a guest sees |
//! | [`device_map`] | which of its devices a guest reaches at an address |
//! | [`pl011`] | the UART that a guest sees |
//! | [`pl031`] | the clock of the day that a guest sees |
//! | [`virtio`] | its disk, its console |
//! | [`guest_text`] | what of a guest's text may reach the terminal, and how much |
//! | [`system_registers`], [`injection`] | what a guest's trapped registers read as; exceptions given to it |
//! | [`testdev`], [`semihosting`] | how a test suite says what came of it; what Arm's semihosting calls ask for |
//! | [`exit_status`] | what a guest's end comes to as the status of a process |
//! | [`fair_share`] | which group of tasks goes in front on a core, and what is left of its limit |
//! | [`relay`] | a guest's bytes as they are, beside text and log on one line |
//! | [`guest_debug`] | its debug registers, and what the core's hold for it |
//! | [`guest_registers`] | each system register that a guest can reach, and why it tells nothing of others |
//! | [`guest_ram`] | a guest's memory as its devices see it |
//! | [`psci`] | what a guest's firmware calls get for an answer |
//! | [`restarts`] | how often a machine may be started anew |
//! | [`shell`] | line editing, splitting a line into commands and words |
//! | [`console`] | bytes on their way to a serial line |
//! | [`histogram`] | distributions without allocation |
//! | [`log`] | frames of a core's log, of which the newest are kept |
//! | [`last_words`] | what a kernel says last, kept over a warm reboot |
//! | [`trace`] | events of a core, as the kernel keeps them and as the host reads them |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod acpi;
pub mod archive;
pub mod attention;
pub mod boot_config;
pub mod branch_history;
pub mod calendar;
pub mod cfi_flash;
pub mod console;
pub mod core_kind;
pub mod device_map;
pub mod device_tree;
pub mod early_map;
pub mod entropy;
pub mod exception;
pub mod exit_status;
pub mod fair_share;
pub mod gate;
pub mod guest_debug;
pub mod guest_image;
pub mod guest_layout;
pub mod guest_pmu;
pub mod guest_ram;
pub mod guest_registers;
pub mod guest_text;
pub mod guest_timer;
pub mod guest_tree;
pub mod guest_walk;
pub mod handover;
pub mod histogram;
pub mod idle_time;
pub mod injection;
pub mod last_words;
pub mod load_store;
pub mod log;
pub mod map_tables;
pub mod pl011;
pub mod pl031;
pub mod psci;
pub mod relay;
pub mod residency;
pub mod restarts;
pub mod schedule;
pub mod semihosting;
pub mod shell;
pub mod smbios;
pub mod stage2;
pub mod system_registers;
pub mod testdev;
pub mod trace;
pub mod treatment;
pub mod turn;
pub mod vgic;
pub mod virtio;
pub mod vm_description;
pub mod wait;
