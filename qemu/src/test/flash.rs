//! The image of a board, and the tool that writes it, as a user calls it: onto plain files and,
//! where root runs the tests, loop devices.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::report::{Case, Outcome};
use crate::workspace;

type Check = fn(&Place) -> Result<(), String>;

pub(super) fn cases() -> Vec<Case<'static>> {
    let plain: [(&str, Check); 6] = [
        ("flash::the_same_image_each_time", same_image),
        ("flash::a_file_holds_the_image", written),
        ("flash::what_is_too_small_or_no_disk_is_refused", refused),
        ("flash::nobody_to_ask_is_a_no", nobody),
        ("flash::a_write_error_half_way_is_said", half_way),
        ("flash::a_folder_gets_the_files", folder),
    ];
    let loops: [(&str, Check); 3] = [
        ("flash::a_fixed_disk_wants_force", fixed),
        ("flash::a_protected_disk_is_refused", protected),
        ("flash::a_disk_in_use_is_refused", in_use),
    ];
    let plain = plain.into_iter().map(|(name, check)| (name, check, false));
    plain
        .chain(loops.into_iter().map(|(name, check)| (name, check, true)))
        .map(|(name, check, wants_loop)| {
            let run = move || match wants_loop && !Loop::possible() {
                true => Outcome::skipped("loop devices want root and losetup"),
                false => Outcome::of(Place::new(name).and_then(|place| check(&place))),
            };
            Case { name: name.into(), run: Box::new(run) }
        })
        .collect()
}

/// A folder of one case, removed when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Result<Self, String> {
        let name = name.replace(':', "-");
        let path = std::env::temp_dir().join(format!("bale-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(text)?;
        Ok(Self(path))
    }

    /// A file of zeroes that takes no room.
    fn file(&self, name: &str, bytes: u64) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        File::create(&path).and_then(|file| file.set_len(bytes)).map_err(text)?;
        Ok(path)
    }

    /// The image without guests, made by the tool.
    fn image(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.0.join(name);
        let out = path.display().to_string();
        succeeds(tool(&["image", "radxa-o6", "--no-guest", "--out", &out]))?;
        fs::read(path).map_err(text)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed lies among temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// This program with these arguments, and nobody at its input.
fn tool(arguments: &[&str]) -> Command {
    let mut command = workspace::command(std::env::current_exe().unwrap_or_default());
    command.args(arguments).stdin(Stdio::null());
    command
}

fn flash(device: &Path, options: &[&str]) -> Command {
    let mut command = tool(&["flash", "radxa-o6", "--no-guest", "--device"]);
    command.arg(device).args(options);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn succeeds(mut command: Command) -> Result<String, String> {
    let output = command.output().map_err(text)?;
    if output.status.success() { Ok(said(&output)) } else { Err(said(&output)) }
}

/// The command fails and says this.
fn fails(mut command: Command, word: &str) -> Result<(), String> {
    let output = command.output().map_err(text)?;
    let said = said(&output);
    match output.status.code() {
        Some(1..) if said.contains(word) => Ok(()),
        code => Err(format!("status {code:?}, wanted `{word}`:\n{said}")),
    }
}

fn ensure(condition: bool, why: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(why.into()) }
}

/// With guests and pages: the same input gives the same bytes.
fn same_image(place: &Place) -> Result<(), String> {
    let image = |name: &str| {
        let path = place.0.join(name);
        succeeds(tool(&["image", "radxa-o6", "--out", &path.display().to_string()]))?;
        // FAT counts time in steps of two seconds.
        std::thread::sleep(std::time::Duration::from_millis(2100));
        fs::read(path).map_err(text)
    };
    let (first, second) = (image("first")?, image("second")?);
    match first.iter().zip(&second).position(|(one, other)| one != other) {
        None => ensure(first.len() == second.len(), "the images differ in length"),
        Some(place) => Err(format!("the images differ at byte {place}")),
    }
}

fn written(place: &Place) -> Result<(), String> {
    let image = place.image("image")?;
    let device = place.file("device", image.len() as u64 + (8 << 20))?;
    let said = succeeds(flash(&device, &["--overwrite"]))?;
    ensure(said.contains("read back and compared"), &said)?;
    let holds = fs::read(&device).map_err(text)?;
    ensure(holds.starts_with(&image), "the file does not begin with the image")?;
    ensure(holds.len() == image.len() + (8 << 20), "the file has another length")
}

fn refused(place: &Place) -> Result<(), String> {
    let small = place.file("small", 1 << 20)?;
    fails(flash(&small, &["--overwrite"]), "it has 1048576 bytes, the image takes")?;
    let other = small.display().to_string() + "-other";
    fails(flash(&small, &["--overwrite", "--force", &other]), "nothing was written")?;
    ensure(fs::read(&small).map_err(text)?.iter().all(|byte| *byte == 0), "something was written")?;
    for path in ["/dev/full", "/dev/null"] {
        fails(flash(Path::new(path), &["--overwrite"]), "neither a disk nor a file")?;
    }
    fails(flash(&place.0, &["--overwrite"]), "neither a disk nor a file")?;
    fails(flash(&place.0.join("none"), &["--overwrite"]), "there is no device")
}

fn nobody(place: &Place) -> Result<(), String> {
    let device = place.file("device", 512 << 20)?;
    fails(flash(&device, &[]), "there is nobody to ask; --overwrite writes without asking")?;
    let start = fs::read(&device).map_err(text)?;
    ensure(start.iter().all(|byte| *byte == 0), "something was written")
}

/// Makes a write beyond so many bytes of a file an error.
fn limit_writes(bytes: u64) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: ignores a signal that would end the process.
    let ignored = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // SAFETY: the pointer is to a value of our own.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    if ignored == libc::SIG_ERR || set != 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// The kernel refuses to let the file grow beyond half of the image (setrlimit(2), RLIMIT_FSIZE).
fn half_way(place: &Place) -> Result<(), String> {
    let image = place.image("image")?;
    let half = image.len() as u64 / 2;
    let device = place.file("device", image.len() as u64)?;
    let mut command = flash(&device, &["--overwrite"]);
    // SAFETY: `limit_writes` makes only calls that are safe between fork and exec
    // (signal-safety(7)), and allocates nothing.
    unsafe { command.pre_exec(move || limit_writes(half)) };
    fails(command, "does not hold the image: writing stopped after ")?;
    // Nothing that a firmware would start: its table is written last.
    let start = fs::read(&device).map_err(text)?;
    ensure(start[512..520] != *b"EFI PART", "half an image has a partition table")
}

fn folder(place: &Place) -> Result<(), String> {
    let stick = place.0.join("stick");
    let to = stick.display().to_string();
    fails(tool(&["flash", "radxa-o6", "--no-guest", "--to", &to]), "there is no folder")?;
    fs::create_dir(&stick).map_err(text)?;
    succeeds(tool(&["flash", "radxa-o6", "--no-guest", "--to", &to]))?;
    for (file, start) in
        [("EFI/BOOT/BOOTAA64.EFI", b"MZ".as_slice()), ("bale/kernel.elf", b"\x7fELF")]
    {
        let bytes = fs::read(stick.join(file)).map_err(|error| format!("{file}: {error}"))?;
        ensure(bytes.starts_with(start), &format!("{file} does not look like one"))?;
    }
    Ok(())
}

/// A loop device, detached when dropped.
struct Loop(PathBuf);

impl Loop {
    fn possible() -> bool {
        rustix::process::getuid().is_root()
            && workspace::command("losetup")
                .arg("--find")
                .output()
                .is_ok_and(|output| output.status.success())
    }

    fn new(file: &Path, options: &[&str]) -> Result<Self, String> {
        let mut command = workspace::command("losetup");
        command.args(["--find", "--show"]).args(options).arg(file);
        Ok(Self(succeeds(command)?.trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // What stays attached holds a file that is gone.
        let _ = workspace::command("losetup").arg("--detach").arg(&self.0).output();
    }
}

fn fixed(place: &Place) -> Result<(), String> {
    let image = place.image("image")?;
    let file = place.file("disk", image.len() as u64 + (8 << 20))?;
    let disk = Loop::new(&file, &[])?;
    fails(flash(&disk.0, &["--overwrite"]), "neither removable nor on USB")?;
    let name = disk.0.display().to_string();
    let said = succeeds(flash(&disk.0, &["--overwrite", "--force", &name]))?;
    ensure(said.contains("read back and compared"), &said)?;
    drop(disk);
    ensure(
        fs::read(&file).map_err(text)?.starts_with(&image),
        "the disk does not begin with the image",
    )
}

fn protected(place: &Place) -> Result<(), String> {
    let file = place.file("disk", 512 << 20)?;
    let disk = Loop::new(&file, &["--read-only"])?;
    let name = disk.0.display().to_string();
    fails(flash(&disk.0, &["--overwrite", "--force", &name]), "it is write-protected")
}

fn in_use(place: &Place) -> Result<(), String> {
    let file = place.file("disk", 512 << 20)?;
    let disk = Loop::new(&file, &[])?;
    // As a file system that is mounted holds it.
    let user =
        OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(&disk.0).map_err(text)?;
    let name = disk.0.display().to_string();
    fails(flash(&disk.0, &["--overwrite", "--force", &name]), "cannot open")?;
    drop(user);
    Ok(())
}
