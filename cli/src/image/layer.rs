//! The one layer: a tar archive (POSIX.1-1988 ustar) with one file, in gzip (RFC 1952).

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};

/// What Istio's agent looks for.
const FILE: &[u8] = b"plugin.wasm";

const BLOCK: usize = 512;

pub(super) struct Layer {
    pub(super) tar: Vec<u8>,
    pub(super) gzip: Vec<u8>,
}

impl Layer {
    pub(super) fn of(module: &[u8]) -> io::Result<Self> {
        let tar = tar(module);
        let gzip = gzip(&tar)?;
        Ok(Self { tar, gzip })
    }
}

/// Owner 0, read-only, of the year 1970.
fn tar(module: &[u8]) -> Vec<u8> {
    let mut header = Vec::with_capacity(BLOCK);
    let mut field = |content: &[u8], length: usize| {
        header.extend_from_slice(content);
        header.extend(std::iter::repeat_n(0, length.saturating_sub(content.len())));
    };
    field(FILE, 100);
    field(b"0000444", 8);
    field(b"0000000", 8);
    field(b"0000000", 8);
    field(format!("{:011o}", module.len()).as_bytes(), 12);
    field(b"00000000000", 12);
    // The sum is made over blanks in its own place.
    field(b"        ", 8);
    field(b"0", 1);
    field(b"", 100);
    field(b"ustar\x0000", 8);
    field(b"", 247);
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header.splice(SUM, format!("{sum:06o}\0 ").into_bytes());
    let mut tar = header;
    tar.extend_from_slice(module);
    let padded = tar.len().next_multiple_of(BLOCK) + 2 * BLOCK;
    tar.resize(padded, 0);
    tar
}

/// Where a header has its sum.
const SUM: std::ops::Range<usize> = 148..156;

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    // Neither a time nor a file name, and no word of the system it was made on.
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
