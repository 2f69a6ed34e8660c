//! `cargo bale size`: every byte of the image and of static memory, by section, by owner, and the
//! largest symbols.
//!
//! An owner is the crate and the first module in a symbol's name. What no symbol covers (padding,
//! most literals) is a row of its own, so that each column adds up to its sections.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;

use addr2line::{demangle_auto, gimli};
use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SectionKind, elf};
use serde_json::json;

use crate::build;
use crate::cli::SizeOptions;

/// Kinds of memory: code, constants, variables with a value, variables that begin as zeros (stacks
/// and tables among them).
const KINDS: [&str; 4] = ["text", "rodata", "data", "bss"];
/// Owner of what no symbol covers.
const NOBODY: &str = "(no symbol)";
/// Symbols and owners that are shown.
const SHOWN: usize = 25;
/// Columns of a name.
const WIDTH: usize = 42;

/// Builds, and prints.
pub(crate) fn run(options: &SizeOptions) -> Result<u8> {
    let elf = match &options.elf {
        Some(path) => path.clone(),
        None => build::build(&options.setup)?.elf,
    };
    let bytes = fs::read(&elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let sizes = Sizes::of(&bytes).with_context(|| format!("{} cannot be read", elf.display()))?;
    if options.json {
        println!("{}", sizes.json())
    } else {
        sizes.print()
    }
    Ok(0)
}

/// Bytes of each kind.
type Columns = [u64; KINDS.len()];

/// What there is in an ELF.
#[derive(Default)]
struct Sizes {
    /// Name, kind, bytes.
    sections: Vec<(String, usize, u64)>,
    owners: BTreeMap<String, Columns>,
    /// Bytes, kind, name; the largest first.
    symbols: Vec<(u64, usize, String)>,
}

impl Sizes {
    fn of(bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes)?;
        let mut sizes = Self::default();
        let mut left = Columns::default();
        let mut end = None;
        for section in file.sections() {
            if let Some(kind) = kind(&section) {
                // What aligns a section counts as its kind.
                let gap = section.address().saturating_sub(end.unwrap_or(section.address()));
                if gap > 0 {
                    sizes.sections.push((format!("(before {})", section.name()?), kind, gap));
                    left[kind] += gap;
                }
                end = end.max(Some(section.address() + section.size()));
                sizes.sections.push((section.name()?.to_owned(), kind, section.size()));
                left[kind] += section.size();
            }
        }
        // One symbol at a place: others are names of the same thing.
        let mut places = BTreeMap::new();
        for symbol in file.symbols().filter(|symbol| symbol.size() > 0) {
            let section =
                symbol.section_index().and_then(|index| file.section_by_index(index).ok());
            if let Some((section, kind)) =
                section.and_then(|section| kind(&section).map(|kind| (section, kind)))
            {
                // A symbol of the linker script can be longer than its section, and one of a
                // thread's is no address.
                let room = (section.address() + section.size()).saturating_sub(symbol.address());
                if symbol.address() >= section.address() && room > 0 {
                    places.entry(symbol.address()).or_insert((
                        symbol.size().min(room),
                        kind,
                        symbol.name()?,
                    ));
                }
            }
        }
        let mut covered = 0;
        for (address, (size, kind, name)) in places {
            // A byte belongs to the first that covers it.
            let end = address + size;
            let size = end.saturating_sub(address.max(covered));
            covered = covered.max(end);
            let name = demangle_auto(Cow::Borrowed(name), Some(gimli::DW_LANG_Rust));
            sizes.owners.entry(owner(&name)).or_default()[kind] += size;
            left[kind] -= size;
            sizes.symbols.push((size, kind, name.into_owned()));
        }
        sizes.owners.insert(NOBODY.into(), left);
        sizes.symbols.sort_by(|a, b| (b.0, &a.2).cmp(&(a.0, &b.2)));
        Ok(sizes)
    }

    /// Bytes of the sections of these kinds.
    fn sum(&self, kinds: &[usize]) -> u64 {
        self.sections
            .iter()
            .filter(|(_, kind, _)| kinds.contains(kind))
            .map(|(_, _, size)| size)
            .sum()
    }

    fn print(&self) {
        for (name, kind, size) in &self.sections {
            println!("{name:<WIDTH$} {size:>9}  {}", KINDS[*kind]);
        }
        println!("{:<WIDTH$} {:>9}", "in the image", self.sum(&[0, 1, 2]));
        println!("{:<WIDTH$} {:>9}\n", "static memory", self.sum(&[2, 3]));
        println!(
            "{:<WIDTH$} {:>8} {:>8} {:>8} {:>9}",
            "owner", KINDS[0], KINDS[1], KINDS[2], KINDS[3]
        );
        let mut owners: Vec<_> = self.owners.iter().collect();
        owners.sort_by_key(|(_, columns)| core::cmp::Reverse(columns.iter().sum::<u64>()));
        for (place, (owner, columns)) in owners.iter().enumerate() {
            if place == SHOWN {
                let rest = owners[SHOWN..].iter().fold(Columns::default(), |sum, (_, columns)| {
                    core::array::from_fn(|kind| sum[kind] + columns[kind])
                });
                print_columns(&format!("{} more", owners.len() - SHOWN), &rest);
                break;
            }
            print_columns(owner, columns);
        }
        println!("\n{:>9}  {:<6} symbol", "bytes", "kind");
        for (size, kind, name) in self.symbols.iter().take(SHOWN) {
            println!("{size:>9}  {:<6} {}", KINDS[*kind], cut(name, 61));
        }
    }

    fn json(&self) -> serde_json::Value {
        let columns = |columns: &Columns| -> serde_json::Value {
            KINDS
                .iter()
                .zip(columns)
                .map(|(kind, size)| ((*kind).to_owned(), json!(size)))
                .collect()
        };
        let sections = self
            .sections
            .iter()
            .map(|(name, kind, size)| json!({ "name": name, "kind": KINDS[*kind], "bytes": size }));
        let owners: serde_json::Map<_, _> =
            self.owners.iter().map(|(owner, sizes)| (owner.clone(), columns(sizes))).collect();
        let symbols = self
            .symbols
            .iter()
            .map(|(size, kind, name)| json!({ "name": name, "kind": KINDS[*kind], "bytes": size }));
        json!({
            "image_bytes": self.sum(&[0, 1, 2]),
            "static_bytes": self.sum(&[2, 3]),
            "sections": sections.collect::<Vec<_>>(),
            "owners": owners,
            "symbols": symbols.collect::<Vec<_>>(),
        })
    }
}

fn print_columns(name: &str, [text, rodata, data, bss]: &Columns) {
    println!("{:<WIDTH$} {text:>8} {rodata:>8} {data:>8} {bss:>9}", cut(name, WIDTH));
}

fn cut(name: &str, columns: usize) -> String {
    if name.chars().count() <= columns {
        name.into()
    } else {
        name.chars().take(columns - 1).chain(['~']).collect()
    }
}

/// Which kind a section is; none if it has no memory at run time.
fn kind<'a>(section: &impl ObjectSection<'a>) -> Option<usize> {
    let SectionFlags::Elf { sh_flags } = section.flags() else { return None };
    let has = |flag: u32| sh_flags & u64::from(flag) != 0;
    match section.kind() {
        _ if !has(elf::SHF_ALLOC) => None,
        SectionKind::UninitializedData => Some(3),
        _ if has(elf::SHF_EXECINSTR) => Some(0),
        // Written by relocations alone.
        _ if section.name() == Ok(".data.rel.ro") => Some(1),
        _ if has(elf::SHF_WRITE) => Some(2),
        _ => Some(1),
    }
}

/// Crate and first module of a demangled name, as `bale_vmm::disk`; that of the type for a method,
/// `assembly` for a name without a path.
fn owner(name: &str) -> String {
    let path = name
        .trim_start_matches(['<', '&', '*', '[', '('])
        .trim_start_matches("mut ")
        .trim_start_matches("const ");
    let path = path
        .trim_start_matches("dyn ")
        .split([' ', '<', '>', '(', ',', ']'])
        .next()
        .unwrap_or(path);
    let mut parts = path.split("::");
    let (Some(root), Some(next)) = (parts.next(), parts.next()) else {
        return "assembly, primitive types".into();
    };
    // A module only if something of it follows: otherwise it is the item itself.
    let module =
        parts.next().is_some() && next.starts_with(|first: char| first.is_ascii_lowercase());
    if module { format!("{root}::{next}") } else { root.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_its_crate_and_module() {
        for (name, whose) in [
            ("bale_vmm::disk::DiskBay::plug", "bale_vmm::disk"),
            ("<bale_vmm::slot::Slot>::access", "bale_vmm::slot"),
            ("<zsmalloc::pool::Pool<bale_reclaim::pool::Kernel>>::make_classes", "zsmalloc::pool"),
            (
                "<core::str::pattern::CharSearcher as core::str::pattern::Searcher>::next_match",
                "core::str",
            ),
            ("<&mut bale_core::log::Log as core::fmt::Write>::write_str", "bale_core::log"),
            ("bale_vmm::SLOTS", "bale_vmm"),
            ("bale_guest_enter", "assembly, primitive types"),
            ("<[u8]>::escape", "assembly, primitive types"),
        ] {
            assert_eq!(owner(name), whose, "{name}");
        }
    }

    #[test]
    fn every_byte_of_this_program_has_an_owner() {
        let bytes = fs::read(std::env::current_exe().expect("a path")).expect("readable");
        let sizes = Sizes::of(&bytes).expect("an ELF");
        for kind in 0..KINDS.len() {
            let owned: u64 = sizes.owners.values().map(|columns| columns[kind]).sum();
            assert_eq!(owned, sizes.sum(&[kind]), "{}", KINDS[kind]);
        }
        assert!(sizes.owners.keys().any(|owner| owner.starts_with("bale::size")), "our own module");
        assert!(sizes.symbols.is_sorted_by(|a, b| a.0 >= b.0));
    }

    #[test]
    fn what_is_no_elf_is_refused() {
        assert!(Sizes::of(b"").is_err());
        assert!(Sizes::of(b"\x7fELF no more").is_err());
    }
}
