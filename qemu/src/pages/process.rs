//! A process that we start, let work for a while, and stop (ptrace(2)).

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::ptr::null_mut;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Longer than this in real time is an error: the process waits for something that will not come.
const LIMIT: Duration = Duration::from_secs(60);

/// A process under our control; dropped, it is ended.
pub(super) struct Traced {
    child: Child,
}

impl Traced {
    /// Starts a command: clean environment, no address randomisation, no input and output; it waits
    /// at its entry.
    pub(super) fn start(command: &[String]) -> Result<Self> {
        let (program, arguments) = command.split_first().context("no command")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8");
        command.env("PYTHONHASHSEED", "0").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: between fork and exec, async-signal-safe calls only.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn().with_context(|| format!("`{program}` does not start"))?;
        Ok(Self { child })
    }

    pub(super) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(-1)
    }

    /// Lets it work until it has used this much processor time or is about to exit; then it stands
    /// still.
    pub(super) fn run_for(&mut self, work: Duration) -> Result<()> {
        self.wait_at_entry()?;
        let started = Instant::now();
        let mut stopping = false;
        loop {
            match self.poll()? {
                // About to exit: its memory is still there (PTRACE_EVENT_EXIT).
                Some(status) if status >> 8 == libc::SIGTRAP | libc::PTRACE_EVENT_EXIT << 8 => {
                    return Ok(());
                }
                Some(status) if libc::WIFSTOPPED(status) => match libc::WSTOPSIG(status) {
                    libc::SIGSTOP if stopping => return Ok(()),
                    // Another exec, and stops that we did not ask for.
                    libc::SIGTRAP | libc::SIGSTOP => self.go_on(0)?,
                    signal => self.go_on(signal)?,
                },
                Some(_) => bail!("it ended before it could be stopped"),
                None => thread::sleep(Duration::from_millis(5)),
            }
            if !stopping && self.worked()? >= work {
                // SAFETY: a signal to our own child, which was not waited for yet.
                unsafe { libc::kill(self.id(), libc::SIGSTOP) };
                stopping = true;
            }
            if started.elapsed() > LIMIT {
                bail!("it neither worked nor ended within {} s", LIMIT.as_secs());
            }
        }
    }

    /// Its memory, to be read at the addresses of its map.
    pub(super) fn memory(&self) -> Result<File> {
        File::open(format!("/proc/{}/mem", self.id()))
            .context("the process's memory cannot be read")
    }

    /// The stop that every exec under PTRACE_TRACEME begins with.
    fn wait_at_entry(&self) -> Result<()> {
        let mut status = 0;
        // SAFETY: waits for our own child.
        if unsafe { libc::waitpid(self.id(), &raw mut status, 0) } != self.id()
            || !libc::WIFSTOPPED(status)
        {
            bail!("it did not stop at its entry");
        }
        let options = libc::PTRACE_O_TRACEEXIT | libc::PTRACE_O_EXITKILL;
        // SAFETY: options for our own child, which is stopped; no memory of ours is touched.
        if unsafe {
            libc::ptrace(libc::PTRACE_SETOPTIONS, self.id(), null_mut::<u8>(), i64::from(options))
        } != 0
        {
            return Err(std::io::Error::last_os_error()).context("ptrace is not allowed here");
        }
        self.go_on(0)
    }

    fn go_on(&self, signal: i32) -> Result<()> {
        // SAFETY: our own child, which is stopped; no memory of ours is touched.
        if unsafe {
            libc::ptrace(libc::PTRACE_CONT, self.id(), null_mut::<u8>(), i64::from(signal))
        } != 0
        {
            return Err(std::io::Error::last_os_error()).context("it cannot be continued");
        }
        Ok(())
    }

    /// A change of state, if there was one.
    fn poll(&self) -> Result<Option<i32>> {
        let mut status = 0;
        // SAFETY: asks for our own child.
        match unsafe { libc::waitpid(self.id(), &raw mut status, libc::WNOHANG) } {
            0 => Ok(None),
            id if id == self.id() => Ok(Some(status)),
            _ => Err(std::io::Error::last_os_error()).context("it is gone"),
        }
    }

    /// Processor time used (proc(5): fields 14 and 15 of stat, in ticks).
    fn worked(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // SAFETY: asks for a constant.
        let per_second =
            u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1);
        let ticks = processor_ticks(&stat).context("its state cannot be read")?;
        Ok(Duration::from_millis(ticks * 1000 / per_second))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        // In the stop before its exit it would not notice the signal.
        // SAFETY: lets go of our own child; no memory of ours is touched.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.id(), null_mut::<u8>(), 0i64) };
        let _ = self.child.wait();
    }
}

fn prepare() -> std::io::Result<()> {
    // SAFETY: changes this process only.
    if unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) } == -1 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: makes the parent our tracer; the other arguments are ignored.
    if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, null_mut::<u8>(), 0i64) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// User and system time; the program's name, in parentheses, may hold anything.
fn processor_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(11);
    Some(words.next()?.parse::<u64>().ok()? + words.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::processor_ticks;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20 0 1";
        assert_eq!(processor_ticks(stat), Some(42));
        assert_eq!(processor_ticks("7 (x"), None);
    }
}
