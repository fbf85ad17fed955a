//! What a child holds in its memory (proc(5): `/proc/PID/maps`, `/proc/PID/mem`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use wasm_encoder::Encode;

use super::section::NAME_PREFIX;

/// No mapping with modules in it is larger than this, in bytes; what is larger is address space that V8 reserves.
const LARGEST: u64 = 128 << 20;

/// Everything that a process has written, as it was at one time.
pub(super) struct Memory(Vec<Region>);

struct Region {
    begins: u64,
    bytes: Vec<u8>,
}

impl Memory {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let regions = maps.lines().filter_map(writable).filter_map(|(begins, ends)| {
            let mut bytes = vec![0; usize::try_from(ends - begins).ok()?];
            // What the kernel does not show, such as a device's, holds nothing of V8's.
            memory.read_exact_at(&mut bytes, begins).ok()?;
            Some(Region { begins, bytes })
        });
        Ok(Self(regions.collect()))
    }

    /// The name of the section in which this Envoy looks for what was compiled before: proxy-wasm's, with V8's
    /// version and the platform.
    pub(super) fn section_name(&self) -> Option<&str> {
        let mut found = self.places(NAME_PREFIX.as_bytes()).into_iter().filter_map(|(region, at)| {
            let rest = region.bytes.get(at..)?;
            let length = rest.iter().position(|byte| *byte == 0)?;
            std::str::from_utf8(rest.get(..length)?).ok()
        });
        let is_name = |text: &str| {
            let rest = text.strip_prefix(NAME_PREFIX).unwrap_or_default();
            let (version, platform) = rest.split_once('_').unwrap_or_default();
            version.split('.').count() == 4
                && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
                && !platform.is_empty()
                && platform.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        found.find(|text| is_name(text))
    }

    /// A module as V8's C interface serialises it: the length of its bytes, these, and what was compiled. Where
    /// it ends is told by the vector that owns it, a length before an address.
    pub(super) fn serialized(&self, wasm: &[u8]) -> Option<&[u8]> {
        let mut begins_with = Vec::new();
        wasm.encode(&mut begins_with);
        let mut found = self.places(&begins_with).into_iter().filter_map(|(region, at)| {
            let address = region.begins + at as u64;
            let rest = region.bytes.get(at..)?;
            let mut owners = self.places(&address.to_le_bytes()).into_iter().filter_map(|(owner, at)| {
                let length = owner.bytes.get(at.checked_sub(8)?..at)?;
                usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()
            });
            let fits = |length: &usize| (begins_with.len() + 1..=rest.len()).contains(length);
            rest.get(..owners.find(fits)?)
        });
        found.next()
    }

    fn places<'a>(&'a self, bytes: &[u8]) -> Vec<(&'a Region, usize)> {
        let finder = memchr::memmem::Finder::new(bytes);
        let in_region = |region: &'a Region| finder.find_iter(&region.bytes).map(move |at| (region, at));
        self.0.iter().flat_map(in_region).collect()
    }
}

/// The addresses of a private mapping that is written to and is no file's.
fn writable(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (begins, ends) = fields.next()?.split_once('-')?;
    let (mode, inode) = (fields.next()?, fields.nth(2)?);
    let address = |text| u64::from_str_radix(text, 16).ok();
    let (begins, ends) = (address(begins)?, address(ends)?);
    (mode.starts_with("rw") && inode == "0" && ends - begins <= LARGEST).then_some((begins, ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WASM: &[u8] = b"\0asm\x01\0\0\0 and what follows";

    /// At 0x1000 something that is none, then a module with what was compiled; at 0x9000 who owns it.
    fn memory(length: u64) -> Memory {
        let mut heap = b"stray precompiled_wee8_v and ".to_vec();
        heap.extend_from_slice(b"precompiled_wee8_v14.6.202.10_linux_x86_64\0");
        heap.extend_from_slice(WASM);
        let at = 0x1000 + heap.len() as u64;
        heap.push(WASM.len() as u8);
        heap.extend_from_slice(WASM);
        heap.extend_from_slice(b"compiled!rest");
        let owner = [[7_u64, at, length, at].map(u64::to_le_bytes).concat(), vec![0; 3]].concat();
        Memory(vec![Region { begins: 0x1000, bytes: heap }, Region { begins: 0x9000, bytes: owner }])
    }

    #[test]
    fn what_was_compiled_ends_where_its_owner_says() {
        let whole = 1 + WASM.len() + b"compiled!".len();
        let memory = memory(whole as u64);
        assert!(memory.serialized(WASM).unwrap().ends_with(b"compiled!"));
        assert_eq!(memory.serialized(WASM).unwrap().len(), whole);
        assert_eq!(memory.serialized(b"\0asm\x01\0\0\0 another"), None);
        assert_eq!(memory.section_name(), Some("precompiled_wee8_v14.6.202.10_linux_x86_64"));
    }

    #[test]
    fn an_owner_of_less_or_of_more_than_is_there_is_none() {
        for length in [WASM.len() as u64, 1 << 40] {
            assert_eq!(memory(length).serialized(WASM), None);
        }
    }

    #[test]
    fn a_mapping_counts_if_it_is_written_to_and_no_files() {
        assert_eq!(writable("1000-3000 rw-p 00000000 00:00 0 "), Some((0x1000, 0x3000)));
        assert_eq!(writable("1000-3000 rw-p 00000000 00:00 0  [heap]"), Some((0x1000, 0x3000)));
        for line in [
            "1000-3000 r--p 00000000 00:00 0",
            "1000-3000 rw-p 00000000 fe:00 17 /usr/bin/envoy",
            "1000-300000000000 rw-p 00000000 00:00 0",
            "",
        ] {
            assert_eq!(writable(line), None, "{line}");
        }
    }
}
