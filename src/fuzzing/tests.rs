//! All targets on a stable compiler: the corpora of `fuzz/`, what was once found, and mutations of both.
//!
//! `MITIGATOR_VPN_FUZZ_SEED=N` repeats the mutations of a run, `MITIGATOR_VPN_FUZZ_SECONDS=N` takes another time for each
//! target.

#![expect(clippy::print_stdout, reason = "the figures and seeds go to the log")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{TARGETS, run};

/// For each target; all together take a minute.
const TIME: Duration = Duration::from_millis(3500);
/// Longer inputs find the same in more time.
const LONGEST: usize = 4096;

fn fuzz(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(part)
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The inputs in the tree, each with its name.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let dirs = [fuzz("corpus").join(target), fuzz("found").join(target)];
    let files = dirs.iter().flat_map(|dir| names_in(dir).into_iter().map(|name| dir.join(name)));
    files.map(|file| (file.display().to_string(), std::fs::read(&file).unwrap())).collect()
}

/// A generator of numbers that one seed makes the same again (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }

    fn range(&mut self, bytes: &[u8], longest: usize) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() + 1);
        start..start + self.below((bytes.len() - start).min(longest) + 1)
    }

    /// An input with a few changes: bytes and pieces of it and of others come, go, move and repeat.
    fn mutation(&mut self, inputs: &[(String, Vec<u8>)]) -> Vec<u8> {
        const BYTES: &[u8] = b"\n\r\t\0 =:#'\"\\${}[],/@-0917aZ\x1b\xff\xe2\x80\xae";
        let mut bytes = inputs[self.below(inputs.len())].1.clone();
        for _ in 0..=self.below(6) {
            let at = self.range(&bytes, 64);
            let other = &inputs[self.below(inputs.len())].1;
            let new = match self.below(6) {
                0 => Vec::new(),
                1 => vec![BYTES[self.below(BYTES.len())]],
                2 => vec![self.below(256) as u8],
                3 => other[self.range(other, 256)].to_vec(),
                4 => bytes[self.range(&bytes, 64)].repeat(1 + self.below(4)),
                _ => [&bytes[at.clone()], &bytes[at.clone()]].concat(),
            };
            bytes.splice(at, new);
        }
        bytes.truncate(LONGEST);
        bytes
    }
}

fn try_out(target: &str, bytes: &[u8], what: &str) {
    let tried = catch_unwind(AssertUnwindSafe(|| run(target, bytes)));
    assert!(tried.is_ok(), "{target} breaks a promise on {what}: b\"{}\"", bytes.escape_ascii());
}

fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    std::env::var("MITIGATOR_VPN_FUZZ_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("a number")).max(1)
}

fn keeps_its_promises(target: &str) {
    let inputs = inputs(target);
    assert!(!inputs.is_empty(), "{target} has no corpus");
    for (file, bytes) in &inputs {
        try_out(target, bytes, file);
    }
    let seconds =
        std::env::var("MITIGATOR_VPN_FUZZ_SECONDS").map(|n| Duration::from_secs(n.parse().expect("a number")));
    let (seed, end) = (seed(), Instant::now() + seconds.unwrap_or(TIME));
    let (mut numbers, mut count) = (Numbers(seed), 0_usize);
    while Instant::now() < end {
        let bytes = numbers.mutation(&inputs);
        try_out(target, &bytes, &format!("mutation {count} of MITIGATOR_VPN_FUZZ_SEED={seed}"));
        count += 1;
    }
    println!("{target}: {count} mutations of {} inputs, seed {seed}", inputs.len());
}

/// One test a target, so that they run side by side and are named when they fail.
macro_rules! each_target {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            keeps_its_promises(stringify!($name));
        })*

        #[test]
        fn each_target_has_its_test_its_corpus_and_its_file_for_cargo_fuzz() {
            let targets: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(BTreeSet::from([$(stringify!($name)),*]), targets);
            assert_eq!(names_in(&fuzz("corpus")).iter().map(String::as_str).collect::<BTreeSet<_>>(), targets);
            let manifest = std::fs::read_to_string(fuzz("Cargo.toml")).unwrap();
            for name in targets {
                let file = format!("fuzz_targets/{name}.rs");
                assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"{file}\"\n")), "{name}");
                assert!(std::fs::read_to_string(fuzz(&file)).unwrap().contains(&format!("run(\"{name}\", ")), "{name}");
            }
        }
    };
}

each_target! {
    apt_sources cluster_toml compose_config dotenv_v1 dotenv_v2 dpkg_status firewalld iptables_save journal mountinfo nft
    os_release peers private_conf reply request ufw
}

#[test]
fn a_seed_makes_the_same_mutations_again() {
    let inputs = inputs("peers");
    let mutations = |seed| {
        let mut numbers = Numbers(seed);
        (0..100).map(|_| numbers.mutation(&inputs)).collect::<Vec<_>>()
    };
    assert_eq!(mutations(7), mutations(7));
    assert_ne!(mutations(7), mutations(8));
}
