//! Codecs beside the libraries in C that one would take in their place, over files of pages such as
//! `cargo bale pages` makes, a kind of process each. `cargo bale bench codecs` captures the kinds
//! that codecs are judged by and runs this.
//!
//! `cargo run --release -p bale-swap --example codecs -- FILE...`
//!
//! Times are the host's, and only their ratios mean something. They are minima over rounds, in
//! which all codecs take turns on the same few pages: whatever disturbs the machine disturbs them
//! alike. A round goes over all pages before it meets one again, so that no predictor of jumps has
//! learnt it by heart.

use core::{hint::black_box, time::Duration};
use std::{env, fs, io, path::Path, process, time::Instant};

use bale_swap::{Codec, PAGE_SIZE, Scratch};
use lz4::block::{compress_to_buffer, decompress_to_buffer};
use zstd::bulk::{Compressor, Decompressor};

/// Pages that are timed together: a clock takes as long as a tenth of a page.
const GROUP: usize = 8;
/// Rounds over all pages.
const ROUNDS: usize = 7;
/// What everything is held against.
const YARDSTICK: usize = 0;
const LIBZSTD: [i32; 3] = [1, 3, 9];
const OWN: [&str; 7] = ["token", "page", "lz4", "lz4hc:6", "deflate:6", "zstd:1", "zstd:6"];

type Page = [u8; PAGE_SIZE];

/// Something that packs pages.
enum Packer {
    Own(Codec, Box<Scratch>),
    Lz4,
    Zstd(Compressor<'static>, Decompressor<'static>),
}

impl Packer {
    /// The packed page's length; that of a page if it does not get shorter.
    fn pack(&mut self, page: &Page, out: &mut [u8]) -> usize {
        let length = match self {
            Self::Own(codec, scratch) => codec.compress(page, scratch).map(|bytes| {
                out[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            }),
            Self::Lz4 => compress_to_buffer(page, None, false, out).ok(),
            Self::Zstd(compressor, _) => compressor.compress_to_buffer(page, out).ok(),
        };
        length.map_or(PAGE_SIZE, |length| length.min(PAGE_SIZE))
    }

    fn unpack(&mut self, bytes: &[u8], page: &mut Page) -> bool {
        match self {
            Self::Own(codec, scratch) => codec.decompress(bytes, page, scratch).is_some(),
            Self::Lz4 => decompress_to_buffer(bytes, Some(4096), page).is_ok(),
            Self::Zstd(_, decompressor) => {
                decompressor.decompress_to_buffer(bytes, &mut page[..]).is_ok()
            }
        }
    }
}

/// What a packer takes for the pages of one kind: bytes, and nanoseconds a page.
#[derive(Clone, Copy, Default)]
struct Figures {
    ratio: f64,
    pack: f64,
    unpack: f64,
}

fn main() {
    let files: Vec<String> = env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: codecs FILE...");
        process::exit(2);
    }
    let (names, mut packers) = packers().unwrap_or_else(|error| fail("libzstd", &error));
    let mut kinds = Vec::new();
    for file in &files {
        let bytes = fs::read(file).unwrap_or_else(|error| fail(file, &error));
        let (pages, _) = bytes.as_chunks::<PAGE_SIZE>();
        // What a device stores without any codec is no codec's merit.
        let pages: Vec<&Page> =
            pages.iter().filter(|page| page[8..] != page[..PAGE_SIZE - 8]).collect();
        if pages.is_empty() {
            fail(file, &io::Error::other("no page that is not same-filled"));
        }
        let kind = Path::new(file)
            .file_stem()
            .map_or_else(|| file.clone(), |stem| stem.to_string_lossy().into_owned());
        let figures = measure(&mut packers, &pages);
        show(&format!("{kind}, {} pages", pages.len()), &names, &figures);
        kinds.push((kind, figures));
    }
    report(&names, &kinds);
}

fn fail(what: &str, error: &io::Error) -> ! {
    eprintln!("{what}: {error}");
    process::exit(1);
}

fn packers() -> io::Result<(Vec<String>, Vec<Packer>)> {
    let (mut names, mut packers) = (vec!["liblz4".to_owned()], vec![Packer::Lz4]);
    for name in OWN {
        let Some(codec) = Codec::from_name(name) else { return Err(io::Error::other(name)) };
        names.push(name.to_owned());
        packers.push(Packer::Own(codec, Box::new(Scratch::new())));
    }
    for level in LIBZSTD {
        names.push(format!("libzstd:{level}"));
        packers.push(Packer::Zstd(Compressor::new(level)?, Decompressor::new()?));
    }
    Ok((names, packers))
}

fn measure(packers: &mut [Packer], pages: &[&Page]) -> Vec<Figures> {
    let count = pages.len() as f64;
    let mut out = vec![0; 2 * PAGE_SIZE];
    let packed: Vec<Vec<Vec<u8>>> = packers
        .iter_mut()
        .map(|packer| {
            let mut packed = Vec::new();
            for page in pages {
                let length = packer.pack(page, &mut out);
                let mut back = [0; PAGE_SIZE];
                if length < PAGE_SIZE {
                    assert!(
                        packer.unpack(&out[..length], &mut back) && back == **page,
                        "a page is lost"
                    );
                }
                packed.push(out[..length].to_vec());
            }
            packed
        })
        .collect();
    let groups: Vec<_> = pages.chunks(GROUP).collect();
    let mut packing = vec![vec![Duration::MAX; groups.len()]; packers.len()];
    let mut unpacking = packing.clone();
    let mut back = [0; PAGE_SIZE];
    for round in 0..ROUNDS {
        for (group, pages) in groups.iter().enumerate() {
            for turn in 0..packers.len() {
                let which = (turn + round) % packers.len();
                let packer = &mut packers[which];
                let start = Instant::now();
                for page in *pages {
                    black_box(packer.pack(page, &mut out));
                }
                keep(&mut packing[which][group], start.elapsed());
                let packed = &packed[which][group * GROUP..][..pages.len()];
                let start = Instant::now();
                for bytes in packed.iter().filter(|bytes| bytes.len() < PAGE_SIZE) {
                    black_box(packer.unpack(bytes, &mut back));
                }
                keep(&mut unpacking[which][group], start.elapsed());
            }
        }
    }
    let mean = |times: &[Duration]| times.iter().sum::<Duration>().as_nanos() as f64 / count;
    (0..packers.len())
        .map(|which| {
            let bytes: usize = packed[which].iter().map(Vec::len).sum();
            let ratio = count * PAGE_SIZE as f64 / bytes as f64;
            Figures { ratio, pack: mean(&packing[which]), unpack: mean(&unpacking[which]) }
        })
        .collect()
}

fn keep(least: &mut Duration, time: Duration) {
    *least = time.min(*least);
}

fn show(title: &str, names: &[String], figures: &[Figures]) {
    eprintln!(
        "{title}\n  {:<10} {:>6} {:>9} {:>6} {:>7} {:>7}",
        "", "ratio", "to liblz4", "ns", "ns back", "to liblz4"
    );
    let than = figures[YARDSTICK];
    for (name, own) in names.iter().zip(figures) {
        eprintln!(
            "  {name:<10} {:6.3} {:9.3} {:6.0} {:7.0} {:4.2} {:4.2}",
            own.ratio,
            own.ratio / than.ratio,
            own.pack,
            own.unpack,
            own.pack / than.pack,
            own.unpack / than.unpack
        );
    }
}

/// The means, each kind in equal parts, as lines of a report.
fn report(names: &[String], kinds: &[(String, Vec<Figures>)]) {
    println!(
        "{{\"report\":\"bench\",\"board\":\"host\",\"cores\":1,\"cpu\":\"host\",\"counter\":\"none\",\"clock_hz\":1000000000,\"build\":\"{}\",\"seed\":1}}",
        env!("CARGO_PKG_VERSION")
    );
    let all: Vec<Figures> = (0..names.len())
        .map(|which| {
            let mean = |of: &dyn Fn(&Figures) -> f64| {
                kinds.iter().map(|(_, figures)| of(&figures[which])).sum::<f64>()
                    / kinds.len() as f64
            };
            // The ratio of equal parts is that of the mean lengths.
            Figures {
                ratio: 1.0 / mean(&|own| 1.0 / own.ratio),
                pack: mean(&|own| own.pack),
                unpack: mean(&|own| own.unpack),
            }
        })
        .collect();
    show("all kinds in equal parts", names, &all);
    let than = all[YARDSTICK];
    let say = |name: &str, value: f64| {
        println!(
            "{{\"suite\":\"codecs\",\"name\":\"{name}\",\"value\":{value:.1},\"unit\":\"%\",\"n\":{}}}",
            kinds.len()
        );
    };
    for (which, name) in names.iter().enumerate().skip(1) {
        let name = name.replace(':', "-");
        say(&format!("{name}-ratio"), 100.0 * all[which].ratio / than.ratio);
        say(&format!("{name}-compress"), 100.0 * all[which].pack / than.pack);
        say(&format!("{name}-decompress"), 100.0 * all[which].unpack / than.unpack);
        let by_kind = |of: &dyn Fn(&Figures) -> f64| -> Vec<f64> {
            kinds
                .iter()
                .map(|(_, figures)| 100.0 * of(&figures[which]) / of(&figures[YARDSTICK]))
                .collect()
        };
        let least = by_kind(&|own| own.ratio).into_iter().fold(f64::INFINITY, f64::min);
        let most = by_kind(&|own| own.unpack).into_iter().fold(0.0, f64::max);
        say(&format!("{name}-ratio-least"), least);
        say(&format!("{name}-decompress-most"), most);
    }
}
