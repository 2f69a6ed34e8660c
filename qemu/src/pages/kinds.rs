//! Kinds of processes that pages are taken from; which of them are there is looked up.
//!
//! They are in two halves. A codec is designed on the first; goals, budgets and the figures of the
//! documents are of the second, which no design decision looks at: a codec that is tuned to the
//! pages it is measured on measures its tuning.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::{toolchain, workspace};

/// Fewer kinds than this are no mixture.
const LEAST: usize = 5;

/// What a kind's pages are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Half {
    /// Codecs are designed on them.
    Design,
    /// Codecs are judged by them, and by nothing else.
    Judged,
}

impl Half {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Design => "design",
            Self::Judged => "judged",
        }
    }
}

/// A kind of process.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) half: Half,
    pub(crate) about: &'static str,
    command: fn() -> Option<Vec<String>>,
}

const fn design(
    name: &'static str,
    about: &'static str,
    command: fn() -> Option<Vec<String>>,
) -> Kind {
    Kind { name, half: Half::Design, about, command }
}

const fn judged(
    name: &'static str,
    about: &'static str,
    command: fn() -> Option<Vec<String>>,
) -> Kind {
    Kind { name, half: Half::Judged, about, command }
}

pub(crate) static KINDS: &[Kind] = &[
    design("python", "syntax trees: small objects and pointers", python),
    design("rustc", "a compiler at work on the allocator", rustc),
    design("perl", "hashes of arrays and strings", perl),
    design("awk", "an associative array of numbered lines", awk),
    design("bash", "an array of short strings", bash),
    design("sort", "lines of source text, and records of them", sort),
    design("git", "this repository's objects, being compared", git),
    design("lua", "tables of tables and strings", lua),
    design("tcl", "lists, dictionaries and strings", tcl),
    design("gdb", "symbols of a program, read for debugging", gdb),
    judged("node", "a collected heap: objects, maps and parsed JSON", node),
    judged("java", "a collected heap: classes of the run-time system, being printed", java),
    judged("sqlite3", "a database in memory, its tables and an index", sqlite3),
    judged("cc1plus", "a compiler at work on all headers of the library", cc1plus),
    judged("files", "contents of files as a cache holds them", files),
    judged("ruby", "a collected heap: hashes, arrays and strings", ruby),
    judged("php", "arrays of arrays and strings", php),
    judged("redis", "a store of keys: hashes, lists and strings", redis),
    judged("ffmpeg", "pictures and an encoder's state", ffmpeg),
    judged("guile", "a collected heap: pairs, vectors and symbols", guile),
];

impl Kind {
    /// The command, if this machine has what it takes.
    pub(crate) fn command(&self) -> Option<Vec<String>> {
        (self.command)()
    }
}

/// The kind of this name.
pub(crate) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The kinds that the store's budgets were reached on: their figures compare with those of before.
const BUDGETED: [&str; 7] = ["python", "rustc", "perl", "awk", "bash", "sort", "git"];

/// Kinds that this machine has, with their commands.
type Found = Vec<(&'static Kind, Vec<String>)>;

/// The kinds of one half that this machine has.
///
/// # Errors
/// If they are too few, with the names of those that are missing.
pub(crate) fn all(half: Half) -> Result<Found> {
    found(half.name(), |kind| kind.half == half)
}

/// The kinds of the budgets that this machine has.
///
/// # Errors
/// If they are too few, with the names of those that are missing.
pub(crate) fn budgeted() -> Result<Found> {
    found("mixed", |kind| BUDGETED.contains(&kind.name))
}

fn found(what: &str, wanted: impl Fn(&Kind) -> bool) -> Result<Found> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for kind in KINDS.iter().filter(|kind| wanted(kind)) {
        match kind.command() {
            Some(command) => found.push((kind, command)),
            None => missing.push(kind.name),
        }
    }
    ensure!(
        found.len() >= LEAST,
        "a mixture of {what} pages wants {LEAST} kinds of processes; install some of: {}",
        missing.join(", ")
    );
    Ok(found)
}

/// A program with arguments, if it is there.
fn program(path: &str, arguments: &[&str]) -> Option<Vec<String>> {
    let words = || [path].into_iter().chain(arguments.iter().copied()).map(str::to_owned).collect();
    Path::new(path).is_file().then(words)
}

/// Python reads its own library and keeps all syntax trees: some hundred MiB of objects, strings
/// and pointers.
const PYTHON: &str = "import ast,glob,os
folder=os.path.dirname(os.__file__)
kept=[]
for path in sorted(glob.glob(folder+'/*.py')+glob.glob(folder+'/*/*.py')):
    try: kept.append((path,ast.parse(open(path,encoding='utf-8').read())))
    except (OSError,SyntaxError,ValueError): pass";

fn python() -> Option<Vec<String>> {
    program("/usr/bin/python3", &["-I", "-S", "-c", PYTHON])
}

fn rustc() -> Option<Vec<String>> {
    // The real compiler: rustup's stand-in needs an environment.
    let sysroot = toolchain::output(workspace::command("rustc").args(["--print", "sysroot"]))?;
    let rustc = Path::new(sysroot.trim()).join("bin/rustc").display().to_string();
    let source = workspace::root().join("allocator/src/lib.rs").display().to_string();
    let options = [
        "--edition=2024",
        "--crate-name=zsmalloc",
        "--crate-type=lib",
        "--emit=metadata=/dev/null",
    ];
    program(&rustc, &[&options[..], &["--cap-lints=allow", &source]].concat())
}

fn perl() -> Option<Vec<String>> {
    let script =
        "my %h; for my $i (1..400000) { $h{\"key$i\"} = [$i, \"value \" x ($i % 7), { n => $i }] }";
    program("/usr/bin/perl", &["-e", script])
}

fn awk() -> Option<Vec<String>> {
    let script = "BEGIN { for (i = 0; i < 400000; i++) \
                  a[\"line \" i] = sprintf(\"%d words of text %x\", i, i * 40503) }";
    program("/usr/bin/awk", &[script])
}

fn bash() -> Option<Vec<String>> {
    program(
        "/bin/bash",
        &["-c", "for ((i = 0; i < 300000; i++)); do a[i]=\"item $i of many\"; done"],
    )
}

/// Modules of perl, several times over, so that sorting them takes longer than we wait.
fn sort() -> Option<Vec<String>> {
    let mut modules = Vec::new();
    for folder in fs::read_dir("/usr/lib").ok()?.flatten() {
        collect_modules(&folder.path().join("perl-base"), &mut modules);
    }
    modules.sort();
    let modules: Vec<String> = modules.iter().map(|path| path.display().to_string()).collect();
    let mut command = program("/usr/bin/sort", &["-S", "256M"])?;
    command.extend(std::iter::repeat_n(modules, 40).flatten());
    (command.len() > 100).then_some(command)
}

fn collect_modules(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_modules(&path, found);
        } else if path.extension().is_some_and(|end| end == "pm" || end == "pl") {
            found.push(path);
        }
    }
}

fn git() -> Option<Vec<String>> {
    let root = workspace::root().display().to_string();
    let options = ["--window=200", "--no-reuse-delta", "--no-reuse-object", "--threads=1"];
    // A source tree without its history has no objects to compare.
    workspace::root().join(".git").exists().then_some(())?;
    program(
        "/usr/bin/git",
        &[&["-C", &root, "pack-objects", "--all", "--stdout"], &options[..]].concat(),
    )
}

fn lua() -> Option<Vec<String>> {
    let script = "t = {} for i = 1, 600000 do \
                  t[i] = { id = i, name = 'entry ' .. i, next = t[i - 1], weight = i * 0.37 } end";
    ["/usr/bin/lua5.4", "/usr/bin/lua5.3", "/usr/bin/lua"]
        .iter()
        .find_map(|path| program(path, &["-e", script]))
}

/// Tcl takes no script in its arguments: the shell hands it over.
fn tcl() -> Option<Vec<String>> {
    program("/usr/bin/tclsh", &[])?;
    let script = "for {set i 0} {$i < 400000} {incr i} { \
                  dict set d key$i [list $i [expr {$i * 0.5}] \"value number $i\"] }";
    program("/bin/sh", &["-c", &format!("exec /usr/bin/tclsh <<'END'\n{script}\nEND\n")])
}

fn gdb() -> Option<Vec<String>> {
    let rustc = rustc()?;
    program("/usr/bin/gdb", &["-nx", "-batch", "-ex", "info functions ^a", &rustc[0]])
}

const NODE: &str = "const kept = []; for (let i = 0; i < 400000; i++) {
    const o = { id: i, name: 'user ' + i, tags: ['a' + i % 7, 'b' + i % 11], at: i * 1.5, on: i % 3 == 0 };
    kept.push(i % 2 ? o : JSON.parse(JSON.stringify(o)));
    if (i % 5 == 0) kept.push(new Map([[o.name, o], [i, o.tags]]));
}";

fn node() -> Option<Vec<String>> {
    program("/usr/bin/node", &["-e", NODE])
}

/// The tool that prints classes is itself a program of the Java machine, and needs no source.
fn java() -> Option<Vec<String>> {
    let classes = [
        "String",
        "Thread",
        "ClassLoader",
        "Character",
        "Math",
        "StringBuilder",
        "System",
        "Class",
    ];
    let classes = classes.map(|name| format!("java.lang.{name}"));
    let more =
        ["HashMap", "TreeMap", "Collections", "Arrays", "Formatter", "Locale", "Scanner", "Date"];
    let more = more.map(|name| format!("java.util.{name}"));
    let mut command = program("/usr/bin/javap", &["-J-Xmx256m", "-v", "-p"])?;
    command.extend(classes.into_iter().chain(more));
    Some(command)
}

const SQLITE: &str = "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, city TEXT, born INTEGER, score REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900000)
INSERT INTO people SELECT i, 'person number ' || i, 'city ' || (i * 7919 % 1000), 1900 + i % 120, i * 0.731 FROM n;
CREATE INDEX by_city ON people (city, born);
SELECT city, count(*), avg(score) FROM people GROUP BY city;";

fn sqlite3() -> Option<Vec<String>> {
    program("/usr/bin/sqlite3", &[":memory:", SQLITE])
}

fn cc1plus() -> Option<Vec<String>> {
    // The compiler proper; its driver would only wait for it. It names itself and its headers.
    let ask = |what: &str| toolchain::output(std::process::Command::new("g++").arg(what));
    let compiler = ask("-print-prog-name=cc1plus")?;
    let machine = ask("-dumpmachine")?;
    let version = ask("-dumpversion")?;
    let (machine, version) = (machine.trim(), version.trim());
    let headers = [
        format!("/usr/include/{machine}/c++/{version}/bits/stdc++.h"),
        format!("/usr/include/c++/{version}/{machine}/bits/stdc++.h"),
    ];
    let headers = headers.iter().find(|path| Path::new(path).is_file())?;
    program(
        compiler.trim(),
        &["-quiet", "-imultiarch", machine, "-O2", "-std=c++20", headers, "-o", "/dev/null"],
    )
}

/// A cache of files: documents, libraries, programs and packed data, as they come.
const FILES: &str = "import os
kept=[]; room=64<<20
for folder in ('/usr/share','/usr/lib','/usr/bin','/etc'):
    left=room//4
    for base,dirs,names in os.walk(folder):
        dirs.sort()
        for name in sorted(names):
            try:
                with open(os.path.join(base,name),'rb') as file: part=file.read(1<<16)
            except OSError: continue
            kept.append(part); left-=len(part)
            if left<0: break
        if left<0: break
n=0
while True: n+=1";

fn files() -> Option<Vec<String>> {
    program("/usr/bin/python3", &["-I", "-S", "-c", FILES])
}

fn ruby() -> Option<Vec<String>> {
    let script = "k = {}; 400000.times { |i| \
                  k[\"key #{i}\"] = [i, i * 0.5, { name: \"n#{i % 977}\", list: [i, i + 1] }, :sym] }";
    program("/usr/bin/ruby", &["--disable-gems", "-e", script])
}

fn php() -> Option<Vec<String>> {
    let script = "ini_set('memory_limit', '1G'); $k = []; for ($i = 0; $i < 900000; $i++) \
                  $k[\"key$i\"] = ['id' => $i, 'title' => \"item $i of many\", 'list' => [$i, $i * 0.5]];";
    program("/usr/bin/php", &["-n", "-r", script])
}

/// The server, and a client beside it that has a script fill it; the script works in the server.
fn redis() -> Option<Vec<String>> {
    program("/usr/bin/redis-cli", &[])?;
    program("/usr/bin/redis-server", &[])?;
    let socket = std::env::temp_dir().join(format!("bale-redis-{}", std::process::id()));
    let socket = socket.display();
    let script = "for i = 1, 300000 do redis.call('HSET', 'user:' .. i, 'name', 'user ' .. i, 'mail', \
                  i .. '@example.org', 'at', i * 86400) redis.call('RPUSH', 'list:' .. i % 100, i) \
                  redis.call('SET', 'session:' .. redis.sha1hex(i), i % 977) end";
    let server = format!(
        "(sleep 1; /usr/bin/redis-cli -s {socket} EVAL \"{script}\" 0) & \
         exec /usr/bin/redis-server --port 0 --unixsocket {socket} --save '' --dir /tmp"
    );
    program("/bin/sh", &["-c", &server])
}

fn ffmpeg() -> Option<Vec<String>> {
    let source = "testsrc2=size=1280x720:rate=25:duration=120,noise=alls=12:allf=t";
    let options = ["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", source];
    let output = ["-c:v", "mpeg4", "-threads", "1", "-f", "null", "-"];
    program("/usr/bin/ffmpeg", &[&options[..], &output].concat())
}

fn guile() -> Option<Vec<String>> {
    let script = "(define kept (make-hash-table)) (let loop ((i 0)) (if (< i 900000) (begin \
                  (hash-set! kept (string-append \"key \" (number->string i)) \
                  (list i (* i 0.5) (vector i 'symbol (number->string i 16)) (cons i i))) (loop (+ i 1)))))";
    ["/usr/bin/guile", "/usr/bin/guile-3.0"]
        .iter()
        .find_map(|path| program(path, &["--no-auto-compile", "-c", script]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{BUDGETED, Half, KINDS, LEAST, all, budgeted, find};

    #[test]
    fn kinds_have_names_of_their_own() {
        for kind in KINDS {
            assert_eq!(find(kind.name).map(|found| found.about), Some(kind.about));
        }
        assert!(find("none").is_none());
    }

    /// What is judged by was never designed on: no kind, and no program, is in both halves.
    #[test]
    fn the_halves_are_apart_and_of_one_size() {
        let names = |half| -> BTreeSet<&str> {
            KINDS.iter().filter(|kind| kind.half == half).map(|kind| kind.name).collect()
        };
        let (design, judged) = (names(Half::Design), names(Half::Judged));
        assert!(design.is_disjoint(&judged));
        assert_eq!(design.len(), judged.len());
        assert!(judged.len() >= 2 * LEAST);
        assert!(BUDGETED.iter().all(|name| design.contains(name)));
        // Kinds that were designed on once cannot become judges.
        for old in ["python", "rustc", "perl", "awk", "bash", "sort", "git", "lua", "tcl", "gdb"] {
            assert!(design.contains(old), "{old} was designed on");
        }
    }

    #[test]
    fn this_machine_has_mixtures() {
        assert!(budgeted().is_ok());
        for half in [Half::Design, Half::Judged] {
            let found = all(half).expect("five kinds");
            assert!(found.iter().all(|(kind, _)| kind.half == half));
            assert!(found.iter().all(|(_, command)| std::path::Path::new(&command[0]).is_file()));
        }
    }
}
