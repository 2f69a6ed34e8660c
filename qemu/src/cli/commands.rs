//! Commands for the kernel's shell as a user gives them: on the command line, or in a file.

use std::fs;

/// Bytes of a line at the kernel's shell.
const LONGEST_LINE: usize = 512;

/// Commands, a line of the shell each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Commands(Vec<String>);

impl Commands {
    /// The lines, in the order in which they are run.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// `a; b; c`, or `@FILE`.
pub(super) fn commands(text: &str) -> Result<Commands, String> {
    match text.strip_prefix('@') {
        None => given(text),
        Some(name) => {
            let bytes = fs::read(name).map_err(|error| format!("cannot read {name}: {error}"))?;
            let text = String::from_utf8(bytes).map_err(|_| format!("{name} is no UTF-8 text"))?;
            script(&text).map_err(|wrong| format!("{name}, {wrong}"))
        }
    }
}

/// Separated by semicolons, empty ones left out.
fn given(text: &str) -> Result<Commands, String> {
    let commands = text.split(';').map(str::trim).filter(|command| !command.is_empty());
    commands.map(checked).collect::<Result<_, _>>().map(Commands)
}

/// A line each; empty ones and those that begin with `#` are left out.
fn script(text: &str) -> Result<Commands, String> {
    let lines = text.lines().map(str::trim).zip(1..);
    let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let checked = |(line, number)| checked(line).map_err(|wrong| format!("line {number}: {wrong}"));
    lines.map(checked).collect::<Result<_, _>>().map(Commands)
}

/// What the shell would not take as it stands is refused here.
fn checked(line: &str) -> Result<String, String> {
    let strange = line.chars().find(|character| !matches!(character, ' '..='~'));
    match strange {
        Some(strange) => Err(format!("the shell takes printable ASCII alone, not {strange:?}")),
        None if line.len() > LONGEST_LINE => {
            Err(format!("{} characters; the shell takes {LONGEST_LINE} in a line", line.len()))
        }
        None => Ok(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Commands, LONGEST_LINE, commands, script};

    fn lines(commands: &Commands) -> Vec<&str> {
        commands.lines().collect()
    }

    #[test]
    fn semicolons_separate_what_is_given() {
        let found = commands("pool; bench run free ;; drain;").expect("good");
        assert_eq!(lines(&found), ["pool", "bench run free", "drain"]);
        assert_eq!(commands(" ; "), Ok(Commands::default()));
    }

    #[test]
    fn a_script_has_a_line_each() {
        let found =
            script("# what is there\n\n  pool; drain \r\n\t# and more\nvm list # x").expect("good");
        assert_eq!(lines(&found), ["pool; drain", "vm list # x"]);
        assert_eq!(script("# nothing"), Ok(Commands::default()));
    }

    #[test]
    fn what_the_shell_does_not_take_is_named() {
        let longest = "x".repeat(LONGEST_LINE);
        assert!(script(&longest).is_ok());
        for (text, wrong) in [
            (
                format!("pool\n\n{longest}x"),
                "line 3: 513 characters; the shell takes 512 in a line",
            ),
            (
                "pool\nvm\x03list".into(),
                "line 2: the shell takes printable ASCII alone, not '\\u{3}'",
            ),
            (
                "p\u{f6}\u{f6}l".into(),
                "line 1: the shell takes printable ASCII alone, not '\u{f6}'",
            ),
        ] {
            assert_eq!(script(&text), Err(wrong.into()), "{text}");
        }
        assert!(commands(&format!("pool; {longest}x")).is_err());
    }

    #[test]
    fn a_file_is_read_at_once() {
        let path = std::env::temp_dir().join(format!("bale-commands-{}", std::process::id()));
        let named = format!("@{}", path.display());
        let says = |wanted: &str| {
            let wrong = commands(&named).expect_err("bad");
            assert!(wrong.contains(wanted) && !wrong.contains('\n'), "{wrong}");
        };
        says("cannot read");
        std::fs::write(&path, b"pool\n\xff").expect("written");
        says("is no UTF-8 text");
        std::fs::write(&path, "pool\nx\ty").expect("written");
        says(", line 2: ");
        std::fs::write(&path, "pool\n# more\ndrain").expect("written");
        assert_eq!(lines(&commands(&named).expect("good")), ["pool", "drain"]);
        std::fs::remove_file(&path).expect("removed");
        says("cannot read");
    }
}
