//! What a program needs to start.

/// The program header that names a loader.
const PT_INTERP: u32 = 3;

/// Whether a program asks for a loader, and so for libraries; `None` when this is no 64-bit ELF program of a
/// little-endian machine, the only kind we are built for.
pub(super) fn is_dynamic(bytes: &[u8]) -> Option<bool> {
    let number = |at: usize, size: usize| {
        let bytes = bytes.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |sum: usize, byte| sum << 8 | usize::from(*byte)))
    };
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut kinds = (0..count).map(|i| number(table.checked_add(i * size)?, 4));
    kinds.try_fold(false, |found, kind| Some(found || kind? == PT_INTERP as usize))
}

/// The files in what ldd(1) prints: the loader and the libraries, but not what the kernel itself maps in.
pub(super) fn libraries(listed: &str) -> impl Iterator<Item = &str> {
    listed.lines().filter_map(|line| {
        let file = line.split_once("=> ").map_or(line, |(_, file)| file).trim();
        file.split(" (").next().filter(|file| file.starts_with('/'))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The smallest thing that looks like a program with one program header of this kind.
    pub fn program(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes.extend(kind.to_le_bytes());
        bytes.extend([0; 52]);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn a_program_that_names_a_loader_is_dynamic() {
        assert_eq!(is_dynamic(&program(1, b"")), Some(false));
        assert_eq!(is_dynamic(&program(PT_INTERP, b"")), Some(true));
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(is_dynamic(&own), Some(!cfg!(target_feature = "crt-static")));
    }

    #[test]
    fn a_damaged_program_is_none() {
        let mut far = program(1, b"");
        far[32..40].fill(0xff);
        for damaged in [&b""[..], b"#!/bin/sh\n", &program(1, b"")[..66], &far] {
            assert_eq!(is_dynamic(damaged), None);
        }
    }

    #[test]
    fn libraries_are_read_from_ldd() {
        let listed = "\tlinux-vdso.so.1 (0x00007ff9396e8000)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007ff9394f5000)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007ff9396ea000)\n";
        let files: Vec<_> = libraries(listed).collect();
        assert_eq!(files, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }
}
