//! A QEMU process whose UART is ours.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::monitor::Socket;
use crate::toolchain::QEMU;

/// How the image gets into the machine.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// By QEMU's boot protocol: device tree in x0, initrd, boot arguments.
    Kernel(PathBuf),
    /// Files put at these addresses, nothing else: the boot core begins at the first with no device
    /// tree in x0.
    Loader(Vec<(PathBuf, u64)>),
    /// By UEFI firmware from a disk image, which holds boot arguments and bundle too.
    Uefi { firmware: PathBuf, disk: PathBuf, acpi: bool },
}

/// A machine to start.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) cores: u32,
    /// As QEMU's -m takes it.
    pub(crate) memory: String,
    /// As QEMU's -cpu takes it.
    pub(crate) cpu: String,
    /// Version of the interrupt controller.
    pub(crate) gic: u32,
    /// Whether the machine has EL2.
    pub(crate) virtualization: bool,
    pub(crate) start: Start,
    pub(crate) initrd: Option<PathBuf>,
    /// Boot arguments.
    pub(crate) arguments: String,
    /// Further arguments for QEMU.
    pub(crate) extra: Vec<String>,
    /// It starts anew when it asks for it; else it ends.
    pub(crate) reboots: bool,
}

impl Config {
    /// The usual machine with this kernel Image.
    pub(crate) fn new(image: PathBuf) -> Self {
        Self {
            cores: 12,
            memory: "1G".into(),
            cpu: "cortex-a72".into(),
            gic: 3,
            virtualization: true,
            start: Start::Kernel(image),
            initrd: None,
            arguments: String::new(),
            extra: Vec::new(),
            reboots: false,
        }
    }

    /// Memory of so many GiB, of which the host provides what is touched: more than it has.
    pub(crate) fn set_sparse_memory(&mut self, gib: u64) {
        self.memory = format!("{gib}G");
        let memory = format!("memory-backend-ram,id=sparse,size={gib}G,reserve=off");
        self.extra.extend([
            "-object".into(),
            memory,
            "-machine".into(),
            "memory-backend=sparse".into(),
        ]);
    }

    fn command_line(&self) -> Vec<OsString> {
        let virtualization = if self.virtualization { "on" } else { "off" };
        let mut line: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| line.extend(words.iter().map(OsString::from));
        let acpi =
            if matches!(self.start, Start::Uefi { acpi: false, .. }) { ",acpi=off" } else { "" };
        add(&[
            "-machine",
            &format!("virt,virtualization={virtualization},gic-version={}{acpi}", self.gic),
        ]);
        add(&["-cpu", &self.cpu, "-smp", &self.cores.to_string(), "-m", &self.memory]);
        // Debian's QEMU 7.2 lacks the network card's ROM, and no network is wanted.
        add(&["-net", "none", "-display", "none", "-monitor", "none"]);
        if !self.reboots {
            add(&["-no-reboot"]);
        }
        add(&["-chardev", "stdio,id=uart,signal=off", "-serial", "chardev:uart"]);
        match &self.start {
            Start::Kernel(image) => {
                line.extend(["-kernel".into(), image.into()]);
                if !self.arguments.is_empty() {
                    line.extend(["-append".into(), (&self.arguments).into()]);
                }
                if let Some(initrd) = &self.initrd {
                    line.extend(["-initrd".into(), initrd.into()]);
                }
            }
            Start::Loader(files) => {
                for (index, (file, address)) in files.iter().enumerate() {
                    let begins = if index == 0 { "cpu-num=0," } else { "" };
                    let place = format!("loader,addr={address:#x},{begins}force-raw=on,file=");
                    let mut device = OsString::from(place);
                    device.push(file);
                    line.extend(["-device".into(), device]);
                }
            }
            Start::Uefi { firmware, disk, .. } => {
                let mut drive = OsString::from("if=none,id=disk,format=raw,readonly=on,file=");
                drive.push(disk);
                line.extend(["-bios".into(), firmware.into(), "-drive".into(), drive]);
                line.extend(["-device", "virtio-blk-pci,drive=disk"].map(OsString::from));
            }
        }
        line.extend(self.extra.iter().map(OsString::from));
        line
    }
}

/// What happens while a machine runs.
pub(crate) enum Event {
    /// The UART sent these bytes.
    Serial(Vec<u8>),
    /// The UART is closed: QEMU is ending.
    SerialEnd,
    /// Somebody typed these bytes; none at the end of the input.
    Input(Vec<u8>),
}

/// What the host has of a machine, QEMU's or a board: its UART.
pub(crate) trait Link {
    /// Types into the UART.
    fn send(&mut self, bytes: &[u8]) -> Result<()>;

    /// Waits for the machine to end by itself, ends it after `patience` where that can be done, and
    /// says what was wrong with it, or nothing.
    fn finish(&mut self, patience: Duration) -> Result<String>;

    /// Where each core is, as lines of a backtrace; nothing where nobody can tell from outside.
    fn cores(&self) -> String {
        String::new()
    }
}

impl Link for Machine {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Self::send(self, bytes)
    }

    fn finish(&mut self, patience: Duration) -> Result<String> {
        let (status, complaints) = Self::finish(self, patience)?;
        let (wrong, warning) = judge(status, complaints);
        if !warning.is_empty() {
            eprintln!("bale: QEMU warns: {warning}");
        }
        Ok(wrong)
    }

    fn cores(&self) -> String {
        self.monitor.cores()
    }
}

/// What was wrong with a QEMU that has ended so, and what it only warned of: it writes both to the
/// same place, and its status tells which they were.
fn judge(status: ExitStatus, complaints: String) -> (String, String) {
    match (status.success(), complaints.is_empty()) {
        (true, _) => (String::new(), complaints),
        (false, true) => (status.to_string(), String::new()),
        (false, false) => (complaints, String::new()),
    }
}

/// A running QEMU; dropped, it is ended.
pub(crate) struct Machine {
    child: Child,
    input: Option<ChildStdin>,
    monitor: Socket,
    complaints: Option<JoinHandle<String>>,
}

impl Machine {
    /// Starts QEMU; what its UART says goes to `events`.
    pub(crate) fn start(config: &Config, events: Sender<Event>) -> Result<Self> {
        let mut command = Command::new(QEMU);
        command.args(config.command_line());
        let monitor = Socket::new();
        command.args(["-qmp", &monitor.argument()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec, one async-signal-safe call.
        unsafe { command.pre_exec(end_with_parent) };
        let mut child = command.spawn().with_context(|| format!("{QEMU} does not start"))?;
        let input = child.stdin.take();
        let mut output = child.stdout.take().context("QEMU has no output")?;
        let mut errors = child.stderr.take().context("QEMU has no error output")?;
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A send fails once nobody listens any more; an error on the pipe is its end.
            while let Ok(count) = output.read(&mut buffer) {
                if count == 0 || events.send(Event::Serial(buffer[..count].to_vec())).is_err() {
                    break;
                }
            }
            let _ = events.send(Event::SerialEnd);
        });
        let complaints = thread::spawn(move || {
            let mut text = Vec::new();
            // What could be read is what there is.
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        Ok(Self { child, input, monitor, complaints: Some(complaints) })
    }

    /// Types into the UART.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self.input.as_mut().context("QEMU has no input")?;
        input
            .write_all(bytes)
            .and_then(|()| input.flush())
            .context("QEMU does not take input any more")
    }

    /// Waits for QEMU to end by itself; ends it after `patience`. Its status, and what it
    /// complained about.
    pub(crate) fn finish(&mut self, patience: Duration) -> Result<(ExitStatus, String)> {
        let deadline = Instant::now() + patience;
        while self.child.try_wait()?.is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        // An error means that it has ended already.
        let _ = self.child.kill();
        let status = self.child.wait()?;
        let complaints =
            self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Ok((status, complaints))
    }
}

/// However the tool ends, QEMU ends with it.
fn end_with_parent() -> std::io::Result<()> {
    // SAFETY: changes this process only.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::{Config, Start, judge};

    fn line(config: &Config) -> String {
        config
            .command_line()
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_usual_machine() {
        let mut config = Config::new("bale.img".into());
        config.arguments = "exec log=defmt".into();
        config.initrd = Some("bundle.tar".into());
        let line = line(&config);
        for part in [
            "-machine virt,virtualization=on,gic-version=3",
            "-smp 12",
            "-net none",
            "-kernel bale.img",
            "-append exec log=defmt",
            "-initrd bundle.tar",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn a_warning_is_no_end() {
        let warning = || "qemu-system-aarch64: warning: something is deprecated".to_owned();
        assert_eq!(judge(ExitStatus::from_raw(0), warning()), (String::new(), warning()));
        assert_eq!(judge(ExitStatus::from_raw(1 << 8), warning()), (warning(), String::new()));
        let killed = judge(ExitStatus::from_raw(9), String::new());
        assert!(killed.0.contains("signal: 9") && killed.1.is_empty(), "{killed:?}");
    }

    #[test]
    fn a_loader_gives_no_boot_protocol() {
        let mut config = Config::new("x".into());
        config.start =
            Start::Loader(vec![("bale.img".into(), 0x4020_0000), ("bale.dtb".into(), 0x4800_0000)]);
        config.arguments = "exec".into();
        let line = line(&config);
        assert!(
            line.contains("loader,addr=0x40200000,cpu-num=0,force-raw=on,file=bale.img"),
            "{line}"
        );
        assert!(line.contains("loader,addr=0x48000000,force-raw=on,file=bale.dtb"), "{line}");
        assert!(!line.contains("-append") && !line.contains("-kernel"), "{line}");
    }
}
