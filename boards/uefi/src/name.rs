//! Names of files, and what is said of files that are not taken.

use heapless::String;
use uefi::println;

/// Longest name or path of a file of ours.
pub(crate) const LONGEST: usize = 64;
/// Plain files of guests at most.
pub(crate) const MOST: usize = 64;

/// A file's name, or its path with `\\` between the folders.
pub(crate) type Name = String<LONGEST>;

/// Says that a file is not taken.
pub(crate) fn left_out(name: &str, why: &str) {
    println!("bale: {name} is left out: {why}");
}
