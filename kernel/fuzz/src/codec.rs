//! Each codec with any page, with any bytes for a compressed page, and with its own output spoilt.

use arbitrary::{Result, Unstructured};
use bale_swap::{Codec, PAGE_SIZE, Scratch};

const NAMES: [&str; 9] =
    ["lz4", "lz4hc:2", "lz4hc:9", "page", "token", "deflate:1", "deflate:6", "zstd:1", "zstd:6"];

pub(crate) fn run(bytes: &[u8]) {
    // Too few bytes for a choice are no input.
    let _ = run_one(&mut Unstructured::new(bytes));
}

fn run_one(input: &mut Unstructured<'_>) -> Result<()> {
    let codec = Codec::from_name(input.choose(&NAMES)?).expect("a codec's name");
    let mut scratch = Scratch::new();
    if input.arbitrary()? {
        codec.check(input.take_rest_slice(), &mut scratch);
        return Ok(());
    }
    let spoilt: [(u16, u8); 2] = input.arbitrary()?;
    let page = page(input)?;
    let Some(packed) = codec.compress(&page, &mut scratch).map(<[u8]>::to_vec) else {
        return Ok(());
    };
    assert!(packed.len() < PAGE_SIZE, "longer than the page");
    let mut back = [0x5a; PAGE_SIZE];
    codec.decompress(&packed, &mut back, &mut scratch).expect("its own output is read");
    assert!(back == page, "another page came back");
    let mut bad = packed;
    for (place, value) in spoilt {
        let place = usize::from(place) % bad.len();
        bad[place] ^= value;
    }
    codec.check(&bad, &mut scratch);
    Ok(())
}

/// A page of pieces: bytes of the input, repeated as often as it says.
fn page(input: &mut Unstructured<'_>) -> Result<[u8; PAGE_SIZE]> {
    let mut page = [0; PAGE_SIZE];
    let mut at = 0;
    while at < PAGE_SIZE && !input.is_empty() {
        let (length, times): (u8, u8) = input.arbitrary()?;
        let piece = input.bytes(usize::from(length).min(input.len()))?;
        for _ in 0..=times {
            let here = piece.len().min(PAGE_SIZE - at);
            page[at..at + here].copy_from_slice(&piece[..here]);
            at += here;
        }
    }
    Ok(page)
}

trait Rest<'a> {
    /// Everything that is left.
    fn take_rest_slice(&mut self) -> &'a [u8];
}

impl<'a> Rest<'a> for Unstructured<'a> {
    fn take_rest_slice(&mut self) -> &'a [u8] {
        self.bytes(self.len()).unwrap_or_default()
    }
}
