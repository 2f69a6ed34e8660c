//! Captures anonymous pages of processes at work: real content for a guest to swap.
//!
//! The process starts with a clean environment and without address randomisation, is stopped once
//! it has used some processor time (or at its exit, whichever is first), and its pages are picked
//! in an order that the seed decides.

mod kinds;
mod maps;
mod process;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::PagesOptions;
use crate::workspace;
pub(crate) use kinds::Half;
use process::Traced;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// Processor time after which the process is looked at: python3 and rustc hold their working set by
/// then.
const WORK: Duration = Duration::from_millis(1500);
const DEFAULT_SEED: u64 = 1;
const DEFAULT_PAGES: usize = 4096;
/// Pages of each kind that codecs are judged by.
const JUDGED_PAGES: usize = 400;

/// `cargo bale pages`.
pub(crate) fn run(options: &PagesOptions) -> Result<u8> {
    if options.list {
        for kind in kinds::KINDS {
            let here = if kind.command().is_some() { "" } else { " (not on this machine)" };
            println!("{:<8} {:<7} {}{here}", kind.name, kind.half.name(), kind.about);
        }
        return Ok(0);
    }
    let Some(out) = &options.out else { bail!("--out FILE says where the pages go") };
    let wanted = options.pages as usize;
    let (pages, of) = if !options.command.is_empty() {
        (capture_all(&options.command, options.seed, wanted)?, format!("`{}`", options.command[0]))
    } else if let Some(name) = &options.kind {
        let kind = kinds::find(name).with_context(|| {
            format!("there is no kind `{name}`; `cargo bale pages --list` shows them")
        })?;
        let command =
            kind.command().with_context(|| format!("this machine has not what `{name}` takes"))?;
        (capture_all(&command, options.seed, wanted)?, format!("`{name}`"))
    } else {
        let mixture = mixture(options.half, options.seed, wanted)?;
        (mixture.pages, mixture.names.join(", "))
    };
    fs::write(out, &pages).with_context(|| format!("cannot write {}", out.display()))?;
    println!("{} pages of {of} in {}", pages.len() / PAGE, out.display());
    Ok(0)
}

/// Pages of several kinds of processes, in turn, so that any part of them is a mixture too.
struct Mixture {
    pages: Vec<u8>,
    names: Vec<&'static str>,
}

fn mixture(half: Option<Half>, seed: u64, wanted: usize) -> Result<Mixture> {
    let kinds = match half {
        Some(half) => kinds::all(half)?,
        None => kinds::budgeted()?,
    };
    let each = wanted.div_ceil(kinds.len());
    let mut captures = Vec::with_capacity(kinds.len());
    for (kind, command) in &kinds {
        eprintln!("bale: captures {each} pages of {}: {}", kind.name, kind.about);
        // Some more, where another kind has too few.
        captures.push(capture(command, seed, 2 * each)?);
    }
    let mut rests: Vec<_> = captures.iter().map(|capture| capture.chunks_exact(PAGE)).collect();
    let mut pages = Vec::with_capacity(wanted * PAGE);
    while pages.len() < wanted * PAGE {
        let before = pages.len();
        for page in rests.iter_mut().filter_map(Iterator::next) {
            if pages.len() < wanted * PAGE {
                pages.extend_from_slice(page);
            }
        }
        ensure!(
            pages.len() > before,
            "all processes together had only {} pages; ask for fewer with --pages",
            pages.len() / PAGE
        );
    }
    Ok(Mixture { pages, names: kinds.iter().map(|(kind, _)| kind.name).collect() })
}

/// The capture that is made once and kept in the target folder.
pub(crate) fn kept() -> Result<PathBuf> {
    let path = workspace::own_folder()?.join(format!("pages-mixed-{DEFAULT_SEED}.bin"));
    if path.is_file() {
        return Ok(path);
    }
    let pages = mixture(None, DEFAULT_SEED, DEFAULT_PAGES)?.pages;
    // Whole or not at all, also when two runs capture at the same time.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&new, &pages).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("bale: {} pages kept in {}", pages.len() / PAGE, path.display());
    Ok(path)
}

/// Files of the kinds that codecs are judged by, or of one kind, each captured once and kept in the
/// target folder.
pub(crate) fn judged(kind: Option<&str>) -> Result<Vec<PathBuf>> {
    let kinds = match kind {
        None => kinds::all(Half::Judged)?,
        Some(name) => {
            let kind = kinds::find(name).with_context(|| {
                format!("there is no kind `{name}`; `cargo bale pages --list` shows them")
            })?;
            let command = kind
                .command()
                .with_context(|| format!("this machine has not what `{name}` takes"))?;
            vec![(kind, command)]
        }
    };
    let folder = workspace::own_folder()?.join(format!("pages-{DEFAULT_SEED}"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut files = Vec::with_capacity(kinds.len());
    for (kind, command) in kinds {
        let path = folder.join(format!("{}.bin", kind.name));
        if !path.is_file() {
            eprintln!("bale: captures {JUDGED_PAGES} pages of {}: {}", kind.name, kind.about);
            let pages = capture(&command, DEFAULT_SEED, JUDGED_PAGES)?;
            let new = path.with_extension(format!("{}.new", std::process::id()));
            fs::write(&new, &pages).with_context(|| format!("cannot write {}", new.display()))?;
            fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))?;
        }
        files.push(path);
    }
    Ok(files)
}

/// `wanted` pages of the command's process.
fn capture_all(command: &[String], seed: u64, wanted: usize) -> Result<Vec<u8>> {
    let pages = capture(command, seed, wanted)?;
    ensure!(
        pages.len() == wanted * PAGE,
        "`{}` had only {} anonymous pages when it was stopped; ask for fewer with --pages",
        command[0],
        pages.len() / PAGE
    );
    Ok(pages)
}

/// Up to `wanted` pages of the command's process.
fn capture(command: &[String], seed: u64, wanted: usize) -> Result<Vec<u8>> {
    let mut process = Traced::start(command)?;
    process.run_for(WORK).with_context(|| format!("`{}` could not be followed", command[0]))?;
    let mut addresses = maps::anonymous_pages(process.id())?;
    shuffle(&mut addresses, seed);
    let mut pages = Vec::with_capacity(wanted * PAGE);
    let memory = process.memory()?;
    for address in addresses {
        if pages.len() == wanted * PAGE {
            break;
        }
        let mut page = [0; PAGE];
        // A page that another thread gave back meanwhile is left out.
        if std::os::unix::fs::FileExt::read_exact_at(&memory, &mut page, address).is_ok() {
            pages.extend_from_slice(&page);
        }
    }
    Ok(pages)
}

/// Fisher-Yates with SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, 2014).
fn shuffle(addresses: &mut [u64], seed: u64) {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    for at in (1..addresses.len()).rev() {
        let bound = at as u64 + 1;
        let other = usize::try_from(next() % bound).unwrap_or(at);
        addresses.swap(at, other);
    }
}

#[cfg(test)]
mod tests {
    use super::{PAGE, capture, shuffle};

    #[test]
    fn the_seed_decides_the_order() {
        let order = |seed| {
            let mut list: Vec<u64> = (0..100).collect();
            shuffle(&mut list, seed);
            list
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut sorted = order(3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_process_wrote_is_in_the_capture() {
        // The shell keeps the pattern in a variable on its heap; exiting does not take it away
        // before the capture.
        let script =
            "v=BALE_MARKER_; i=0; while [ $i -lt 12 ]; do v=$v$v; i=$((i+1)); done; exit 0";
        let command: Vec<String> = ["/bin/sh", "-c", script].map(String::from).to_vec();
        let pages = capture(&command, 1, 100_000).expect("captured");
        assert!(!pages.is_empty() && pages.len().is_multiple_of(PAGE));
        let full = pages
            .chunks(PAGE)
            .filter(|page| page.windows(24).any(|part| part == b"BALE_MARKER_BALE_MARKER_"))
            .count();
        assert!(full >= 12, "{full} pages hold the pattern, which is 12 pages long");
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        let error = capture(&["/nonexistent/program".into()], 1, 1).expect_err("no such program");
        assert!(format!("{error:#}").contains("/nonexistent/program"), "{error:#}");
    }
}
