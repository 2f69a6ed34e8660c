//! Ratio and time of every codec over files of pages, such as `cargo bale pages` makes.
//!
//! `cargo run --release -p bale-swap --example codecs -- FILE...`

use core::time::Duration;
use std::{env, fs, process, time::Instant};

use bale_swap::{Codec, PAGE_SIZE, Scratch};

const NAMES: [&str; 7] = ["lz4", "lz4hc:1", "lz4hc:6", "lz4hc:9", "page", "deflate:1", "deflate:6"];

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
