//! Ratio and time of every codec over files of pages, such as `cargo bale pages` makes, and libzstd's ratio beside them.
//!
//! `cargo run --release -p bale-swap --example codecs -- FILE...`

use core::time::Duration;
use std::{env, fs, io, process, time::Instant};

use bale_swap::{Codec, PAGE_SIZE, Scratch};
use zstd::bulk::{Compressor, decompress};

/// What stands before a frame of Zstandard elsewhere.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

const NAMES: [&str; 12] = [
    "lz4",
    "lz4hc:1",
    "lz4hc:6",
    "lz4hc:9",
    "page",
    "token",
    "deflate:1",
    "deflate:6",
    "deflate:9",
    "zstd:1",
    "zstd:6",
    "zstd:9",
];

fn main() {
    let files: Vec<String> = env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: codecs FILE...");
        process::exit(2);
    }
    let mut scratch = Scratch::new();
    for file in &files {
        let bytes = match fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) => {
                eprintln!("{file}: {error}");
                process::exit(1);
            }
        };
        let (pages, _) = bytes.as_chunks::<PAGE_SIZE>();
        // What a device stores without any codec is no codec's merit.
        let pages: Vec<_> = pages.iter().filter(|page| page[8..] != page[..PAGE_SIZE - 8]).collect();
        println!("{file}: {} pages that are not same-filled", pages.len());
        for codec in NAMES.iter().filter_map(|name| Codec::from_name(name)) {
            run(codec, &pages, &mut scratch);
        }
        for level in [3, 9, 19] {
            if let Err(error) = library(level, &pages) {
                eprintln!("libzstd: {error}");
                process::exit(1);
            }
        }
    }
}

fn run(codec: Codec, pages: &[&[u8; PAGE_SIZE]], scratch: &mut Scratch) {
    let (mut compressing, mut decompressing) = (Duration::ZERO, Duration::ZERO);
    let (mut stored, mut raw) = (0, 0);
    for page in pages {
        let start = Instant::now();
        let bytes = codec.compress(page, scratch).map(<[u8]>::to_vec);
        compressing += start.elapsed();
        let Some(bytes) = bytes else {
            raw += 1;
            stored += PAGE_SIZE;
            continue;
        };
        stored += bytes.len();
        let mut out = [0; PAGE_SIZE];
        let start = Instant::now();
        let decoded = codec.decompress(&bytes, &mut out, scratch);
        decompressing += start.elapsed();
        assert!(decoded.is_some() && out == **page, "{codec} loses a page");
        if matches!(codec, Codec::Zstd(_)) {
            let read = decompress(&[&MAGIC, &bytes[..]].concat(), PAGE_SIZE);
            assert!(read.is_ok_and(|read| read == page[..]), "libzstd reads another page");
        }
    }
    let count = pages.len().max(1);
    let ratio = (count * PAGE_SIZE) as f64 / stored.max(1) as f64;
    println!(
        "  {:<10} ratio {ratio:.3}, {raw} raw, {:?} and {:?} a page",
        codec.to_string(),
        compressing / u32::try_from(count).unwrap_or(u32::MAX),
        decompressing / u32::try_from(count - raw).unwrap_or(u32::MAX).max(1),
    );
}

/// Ratio of libzstd's frames, without a checksum and without the magic number, which ours do not have.
fn library(level: i32, pages: &[&[u8; PAGE_SIZE]]) -> io::Result<()> {
    let mut compressor = Compressor::new(level)?;
    let mut stored = 0;
    for page in pages {
        stored += (compressor.compress(&page[..])?.len() - MAGIC.len()).min(PAGE_SIZE);
    }
    let ratio = (pages.len() * PAGE_SIZE) as f64 / stored.max(1) as f64;
    println!("  {:<10} ratio {ratio:.3}", format!("libzstd:{level}"));
    Ok(())
}
