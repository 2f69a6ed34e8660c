//! `cargo bale guest run`: what small raw binaries print and end with, as a loop in a shell would
//! see it.
//!
//! They are put together here, an instruction a word, so that nothing of them is ours but what they
//! do.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::report::{Case, Outcome};
use crate::cli::SetupOptions;
use crate::{setup, workspace};

/// Seconds that a guest has which is to end by itself. Far above what any needs.
const LIMIT: &str = "200";

/// `movz xN, #value, lsl #16 * half`.
const fn movz(register: u32, value: u32, half: u32) -> u32 {
    0xd280_0000 | half << 21 | value << 5 | register
}

/// `movk xN, #value, lsl #16 * half`.
const fn movk(register: u32, value: u32, half: u32) -> u32 {
    0xf280_0000 | half << 21 | value << 5 | register
}

/// `str wT, [xN]`.
const fn store(value: u32, base: u32) -> u32 {
    0xb900_0000 | base << 5 | value
}

/// `str xT, [xN, #8 * place]`.
const fn store_long(value: u32, base: u32, place: u32) -> u32 {
    0xf900_0000 | place << 10 | base << 5 | value
}

const HVC: u32 = 0xd400_0002;
const HLT: u32 = bale_core::semihosting::HLT;
/// `b .`.
const FOREVER: u32 = 0x1400_0000;

/// Writes bytes to the UART, whose address is in x1.
fn print(bytes: &[u8]) -> Vec<u32> {
    let mut words = vec![movz(1, 0x900, 1)];
    words.extend(bytes.iter().flat_map(|byte| [movz(0, (*byte).into(), 0), store(0, 1)]));
    words
}

/// A function of PSCI without arguments.
fn psci(function: u32) -> Vec<u32> {
    vec![movz(0, function, 0), movk(0, 0x8400, 1), HVC]
}

/// SYS_EXIT of semihosting with a status, its block a MiB into memory.
fn leave(status: u32) -> Vec<u32> {
    let block = [movz(1, 0x4010, 1), movz(2, 0x26, 0), movk(2, 2, 1), store_long(2, 1, 0)];
    let status = [movz(2, status, 0), store_long(2, 1, 1), movz(0, 0x18, 0), HLT];
    [&block[..], &status[..]].concat()
}

/// Gives back what it receives, up to a `!`.
fn echo() -> Vec<u32> {
    vec![
        movz(1, 0x900, 1),
        // ldr w0, [x1, #0x18]; tbnz w0, #4, -4; ldr w0, [x1]; str w0, [x1]; cmp w0, #'!'; b.ne -20
        0xb940_1820,
        0x3727_ffe0,
        0xb940_0020,
        store(0, 1),
        0x7100_841f,
        0x54ff_ff61,
    ]
}

/// An arm64 Image that has nothing but its header, with these flags.
fn header(flags: u8) -> Vec<u8> {
    let mut image = vec![0; 64];
    image[0x10] = 64;
    image[0x18] = flags;
    image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    image
}

/// What became of a guest.
struct Seen {
    status: Option<i32>,
    out: Vec<u8>,
    errors: String,
}

impl Seen {
    /// An error unless it ended so, with this on its output, and with this among what was said.
    fn is(&self, status: i32, out: &[u8], said: &str) -> Result<(), String> {
        let Self { status: found, out: printed, errors } = self;
        let good = *found == Some(status) && printed == out && errors.contains(said);
        if good {
            return Ok(());
        }
        let printed = String::from_utf8_lossy(printed);
        Err(format!(
            "status {found:?} for {status}, {said:?} wanted; printed {printed:?}; said {errors}"
        ))
    }
}

impl Seen {
    /// An error unless it ended so, with this among what it printed.
    fn ended(&self, status: i32, among: &[u8]) -> Result<(), String> {
        if self.status == Some(status) && find(&self.out, among).is_some() {
            return Ok(());
        }
        let (found, printed) = (self.status, String::from_utf8_lossy(&self.out));
        Err(format!("status {found:?} for {status}; it printed\n{}", printed.escape_debug()))
    }
}

/// Runs an image.
fn run(name: &str, image: &[u8], options: &[&str], input: &[u8]) -> Result<Seen, String> {
    let say = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let folder = workspace::own_folder().map_err(|error| say("no folder", &error))?;
    let file = Image(folder.join(format!("test-guest-{name}-{}.img", std::process::id())));
    std::fs::write(&file.0, image).map_err(|error| say("no image", &error))?;
    let program = std::env::current_exe().map_err(|error| say("where this program is", &error))?;
    let mut command = Command::new(program);
    command.args(["guest", "run"]).arg(&file.0).args(["--memory", "8M"]).args(options);
    if !options.contains(&"--timeout") {
        command.args(["--timeout", LIMIT]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| say("it does not start", &error))?;
    if let Some(mut to) = child.stdin.take() {
        // One that was refused reads nothing.
        let _ = to.write_all(input);
    }
    let output = child.wait_with_output().map_err(|error| say("no output", &error))?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Seen { status: output.status.code(), out: output.stdout, errors })
}

/// Removed when dropped.
struct Image(PathBuf);

impl Drop for Image {
    fn drop(&mut self) {
        // What cannot be removed is overwritten some day.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn bytes(parts: &[Vec<u32>]) -> Vec<u8> {
    parts.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
}

/// The cases.
pub(super) fn cases() -> Vec<Case<'static>> {
    let case = |name: &str, run: fn() -> Result<(), String>| Case {
        name: format!("guest_run::{name}"),
        run: Box::new(move || Outcome::of(run())),
    };
    vec![
        case("prints_and_powers_off", powers_off),
        case("status", status),
        case("input", input),
        case("time_limit", time_limit),
        case("refused", refused),
        case("edk2", edk2),
        case("u-boot", u_boot),
    ]
}

/// Every byte comes out as it is, and nothing else.
fn powers_off() -> Result<(), String> {
    let all: Vec<u8> = (0..=255).collect();
    let image = bytes(&[print(&all), psci(8)]);
    run("off", &image, &[], b"")?.is(0, &all, "")
}

/// By semihosting, by a restart that is an end, and by a fault.
fn status() -> Result<(), String> {
    let seven = bytes(&[print(b"seven"), leave(7)]);
    run("seven", &seven, &[], b"")?.is(7, b"seven", "1 semihosting calls")?;
    let undefined = run("undefined", &seven, &["--no-semihosting"], b"")?;
    undefined.is(126, b"seven", "no handler for an exception at 0x200")?;
    let again = bytes(&[print(b"again"), psci(9)]);
    run("again", &again, &["--no-reboot"], b"")?.is(0, b"again", "")
}

/// More than anything on the way holds, and none of it is lost.
fn input() -> Result<(), String> {
    let mut text: Vec<u8> = (0..6_000u32).map(|at| b'a' + (at * 7 % 26) as u8).collect();
    text.push(b'!');
    run("echo", &bytes(&[echo(), psci(8)]), &[], &text)?.is(0, &text, "")
}

fn time_limit() -> Result<(), String> {
    let image = bytes(&[print(b"for ever"), vec![FOREVER]]);
    // The limit begins with QEMU, which may not have come to the guest by then.
    let seen = run("forever", &image, &["--timeout", "3"], b"")?;
    let out = seen.out.clone();
    if !b"for ever".starts_with(&out) {
        return Err(format!("it printed {out:?}"));
    }
    seen.is(124, &out, "time limit of 3 s reached")
}

/// UEFI firmware comes to its shell, with a flash for its variables, and turns the machine off.
fn edk2() -> Result<(), String> {
    let image =
        setup::firmware(&SetupOptions { yes: true }).map_err(|error| format!("{error:#}"))?;
    // The first key ends a countdown.
    let talk: [(&[u8], &[u8]); 2] =
        [(b"any other key to continue", b"x"), (b"Shell>", b"reset -s\r")];
    let seen = converse(image, &talk)?;
    seen.ended(0, b"UEFI Interactive Shell")
}

/// A boot loader comes to its prompt, finds the flash, and turns the machine off.
fn u_boot() -> Result<(), String> {
    let image =
        setup::boot_loader(&SetupOptions { yes: true }).map_err(|error| format!("{error:#}"))?;
    let seen = converse(image, &[(b"stop autoboot", b"\n"), (b"=> ", b"poweroff\n")])?;
    seen.ended(0, b"Flash: 32 MiB")
}

/// Runs firmware, and types each text once what belongs before it has come.
fn converse(firmware: &Path, talk: &[(&[u8], &[u8])]) -> Result<Seen, String> {
    let say = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let program = std::env::current_exe().map_err(|error| say("where this program is", &error))?;
    let mut command = Command::new(program);
    command.args(["guest", "run", "--firmware", "--timeout", LIMIT]).arg(firmware);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(|error| say("it does not start", &error))?;
    let (Some(mut to), Some(mut from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("it has no pipes".into());
    };
    let mut talk = talk.iter();
    let mut next = talk.next();
    let (mut out, mut seen) = (Vec::new(), 0);
    let mut piece = [0; 4096];
    loop {
        let count = from.read(&mut piece).map_err(|error| say("no output", &error))?;
        if count == 0 {
            break;
        }
        out.extend_from_slice(&piece[..count]);
        if let Some((before, text)) = next
            && let Some(at) = find(&out[seen..], before)
        {
            seen += at + before.len();
            // One that has ended reads nothing.
            let _ = to.write_all(text);
            next = talk.next();
        }
    }
    let status = child.wait().map_err(|error| say("no status", &error))?;
    Ok(Seen { status: status.code(), out, errors: String::new() })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Before it runs, by name.
fn refused() -> Result<(), String> {
    // Pages of 16 KiB: the flags' bits 1 and 2.
    run("granule", &header(2 << 1), &[], b"")?.is(
        125,
        b"",
        "pages of 16 KiB, which these cores have not",
    )?;
    run("endian", &header(1), &[], b"")?.is(125, b"", "big-endian")?;
    let mut x86 = vec![0; 1024];
    x86[0x202..0x206].copy_from_slice(b"HdrS");
    run("x86", &x86, &[], b"")?.is(125, b"", "a kernel for x86")?;
    run("large", &header(0), &["--raw", "--load", "0x40800000"], b"")?.is(125, b"", "does not fit")
}
