//! Every file of a host at one moment, to be compared with another moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::Host;
use super::call::Call;

/// What is left out, and why.
pub type Exclusion = (&'static str, &'static str);

/// Never compared on a running host.
pub const NOT_ON_DISK: &[Exclusion] = &[
    ("/proc", "the kernel's"),
    ("/sys", "the kernel's"),
    ("/dev", "the kernel's"),
    ("/run", "gone with the next boot"),
    ("/tmp", "gone with the next boot"),
    ("/var/tmp", "systemd makes private directories in it for each service it starts"),
    ("/var/lib/docker", "the daemon's own; containers, images and networks are asked of the daemon"),
    ("/var/lib/containerd", "the daemon's own"),
    ("/var/log", "logs are there to be written"),
];

/// Not compared where packages were installed and removed again: which packages there are is asked of dpkg.
pub const PACKAGES_CAME_AND_WENT: &[Exclusion] = &[
    ("/var/lib/apt", "package lists were fetched"),
    ("/var/cache/apt", "apt's cache of them"),
    ("/var/lib/dpkg", "dpkg's database is rewritten in another order"),
    ("/var/cache/debconf", "debconf rotates its database whenever a package is configured"),
    ("/var/cache/ldconfig", "made anew by each ldconfig"),
    ("/etc/ld.so.cache", "made anew by each ldconfig"),
];

/// One file, directory or link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    kind: String,
    mode: String,
    owner: String,
    inode: String,
    modified: String,
    changed: String,
    size: String,
    link: String,
    bytes: String,
}

/// The files of a host, by path.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    entries: BTreeMap<String, Entry>,
}

impl Snapshot {
    /// Looks at everything below `root` on the host, on this one file system.
    pub fn take(host: &impl Host, root: &str, excluded: &[Exclusion]) -> Self {
        let mut find = vec!["find", root, "-xdev"];
        let excluded: Vec<String> =
            excluded.iter().map(|(path, _)| format!("{}{path}", root.trim_end_matches('/'))).collect();
        for path in &excluded {
            find.extend(["-path", path, "-prune", "-o"]);
        }
        let looked =
            Call::new(host, find.iter().copied().chain(["-printf", r"%y\0%m\0%U:%G\0%i\0%T@\0%C@\0%s\0%l\0%P\0"]));
        let looked = looked.run().exits(0);
        let mut snapshot = Snapshot::parse(&looked.out());

        let script = r#""$@" -type f -print0 | xargs -0 -r sha256sum -z"#;
        let digested = Call::new(host, ["sh", "-c", script, "sh"].into_iter().chain(find)).run().exits(0);
        for record in digested.out().split('\0').filter(|record| !record.is_empty()) {
            let (digest, path) = record.split_once("  ").expect("a digest and a path");
            let path =
                format!("/{}", path.strip_prefix(root).expect("find was asked about this").trim_start_matches('/'));
            if let Some(entry) = snapshot.entries.get_mut(&path) {
                entry.bytes = digest.to_owned();
            }
        }
        snapshot
    }

    fn parse(printed: &str) -> Self {
        let fields: Vec<&str> = printed.split('\0').collect();
        let entries = fields.chunks_exact(9).map(|f| {
            let own = |at: usize| f[at].to_owned();
            let entry = Entry {
                kind: own(0),
                mode: own(1),
                owner: own(2),
                inode: own(3),
                modified: own(4),
                changed: own(5),
                size: own(6),
                link: own(7),
                bytes: String::new(),
            };
            (format!("/{}", f[8]), entry)
        });
        Snapshot { entries: entries.collect() }
    }

    /// The same, without what is excluded.
    pub fn without(mut self, excluded: &[Exclusion]) -> Self {
        let below =
            |path: &str, dir: &str| path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.entries.retain(|path, _| !excluded.iter().any(|(dir, _)| below(path, dir)));
        self
    }

    /// Only what lies below a directory.
    pub fn below(mut self, dir: &str) -> Self {
        self.entries
            .retain(|path, _| path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        self
    }

    /// Nobody has written anything since: bytes, modes, owners, inodes and times are what they were.
    #[track_caller]
    pub fn is_untouched_in(&self, later: &Snapshot) {
        assert!(!self.entries.is_empty(), "an empty snapshot proves nothing");
        let report = self.report(later, Entry::touched);
        assert!(report.is_empty(), "files were touched:\n{report}");
    }

    /// Everything reads as it did: bytes, modes and owners are what they were; that files were written, nobody denies.
    #[track_caller]
    pub fn is_given_back_in(&self, later: &Snapshot) {
        assert!(!self.entries.is_empty(), "an empty snapshot proves nothing");
        let report = self.report(later, Entry::differs);
        assert!(report.is_empty(), "files are not as they were:\n{report}");
    }

    /// The paths whose content, mode or owner differ, or which are on one side only.
    pub fn differing(&self, later: &Snapshot) -> Vec<String> {
        self.compare(later, Entry::differs).into_keys().collect()
    }

    fn report(&self, later: &Snapshot, how: fn(&Entry, &Entry) -> Vec<String>) -> String {
        let mut report = String::new();
        for (path, what) in self.compare(later, how) {
            let _ = writeln!(report, "  {path}: {}", what.join(", "));
        }
        report
    }

    fn compare(&self, later: &Snapshot, how: fn(&Entry, &Entry) -> Vec<String>) -> BTreeMap<String, Vec<String>> {
        let paths: BTreeSet<&String> = self.entries.keys().chain(later.entries.keys()).collect();
        let compared = paths.into_iter().filter_map(|path| {
            let what = match (self.entries.get(path), later.entries.get(path)) {
                (Some(old), Some(new)) => how(old, new),
                (Some(_), None) => vec!["gone".to_owned()],
                (None, Some(new)) => vec![format!("new ({} of {} bytes)", new.kind, new.size)],
                (None, None) => Vec::new(),
            };
            (!what.is_empty()).then(|| (path.clone(), what))
        });
        compared.collect()
    }
}

impl Entry {
    fn differs(&self, new: &Entry) -> Vec<String> {
        let changed = |name: &str, old: &str, new: &str| (old != new).then(|| format!("{name} {old} → {new}"));
        let bytes = (self.bytes != new.bytes).then(|| format!("bytes ({} → {})", self.size, new.size));
        [
            changed("type", &self.kind, &new.kind),
            changed("mode", &self.mode, &new.mode),
            changed("owner", &self.owner, &new.owner),
            changed("link", &self.link, &new.link),
            bytes,
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn touched(&self, new: &Entry) -> Vec<String> {
        let mut what = self.differs(new);
        let properties = [
            ("inode", &self.inode, &new.inode),
            ("modified", &self.modified, &new.modified),
            // What was put back to look untouched still has this one.
            ("changed", &self.changed, &new.changed),
        ];
        what.extend(
            properties
                .into_iter()
                .filter(|(_, old, new)| old != new)
                .map(|(name, old, new)| format!("{name} {old} → {new}")),
        );
        what
    }
}
