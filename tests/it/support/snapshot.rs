//! All files of a host at one moment, to be compared with another moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::Host;
use super::call::Call;

/// A path that is left out, and the reason.
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

/// Not compared where packages were installed and removed: the list of packages is compared instead.
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
    /// Of a host without a single file.
    pub const NOTHING: Self = Snapshot { entries: BTreeMap::new() };

    /// Looks at everything below `root` on the host, on its file system. Only files that differ from `earlier` in inode,
    /// size or times are read: a write changes at least one of these.
    pub fn take(host: &impl Host, root: &str, excluded: &[Exclusion], earlier: &Snapshot) -> Self {
        let base = root.trim_end_matches('/');
        let excluded: Vec<String> = excluded.iter().map(|(path, _)| format!("{base}{path}")).collect();
        let mut find = vec!["find", root, "-xdev"];
        for path in &excluded {
            find.extend(["-path", path, "-prune", "-o"]);
        }
        find.extend(["-printf", r"%y\0%m\0%U:%G\0%i\0%T@\0%C@\0%s\0%l\0%P\0"]);
        let mut snapshot = Snapshot::parse(&Call::new(host, find).run().exits(0).out());

        let mut unread = String::new();
        for (path, entry) in snapshot.entries.iter_mut().filter(|(_, entry)| entry.kind == "f") {
            match earlier.entries.get(path).filter(|known| known.touched(entry, Bytes::Unread).is_empty()) {
                Some(known) => entry.bytes.clone_from(&known.bytes),
                None => unread.extend([base, path, "\0"]),
            }
        }
        let digest = Call::new(host, ["xargs", "-0", "-r", "sha256sum", "-z"]).stdin(unread);
        for record in digest.run().exits(0).out().split('\0').filter(|record| !record.is_empty()) {
            let (digest, path) = record.split_once("  ").expect("a digest and a path");
            let path = path.strip_prefix(base).expect("it was asked about this");
            snapshot.entries.get_mut(path).expect("it was asked about this").bytes = digest.to_owned();
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

    /// Nothing was written: bytes, modes, owners, inodes and times are the same.
    #[track_caller]
    pub fn is_untouched_in(&self, later: &Snapshot) {
        assert!(!self.entries.is_empty(), "an empty snapshot proves nothing");
        let report = self.report(later, |old, new| old.touched(new, Bytes::Read));
        assert!(report.is_empty(), "files were touched:\n{report}");
    }

    /// Bytes, modes and owners are the same. Files may have been written in between.
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

/// Whether the bytes of a file are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Read,
    Unread,
}

impl Entry {
    /// Differences that a reader of the file sees.
    fn differs(&self, new: &Entry) -> Vec<String> {
        let properties = [
            ("type", &self.kind, &new.kind),
            ("mode", &self.mode, &new.mode),
            ("owner", &self.owner, &new.owner),
            ("link", &self.link, &new.link),
        ];
        let mut what = changed(&properties);
        if self.bytes != new.bytes {
            what.push(format!("bytes ({} → {})", self.size, new.size));
        }
        what
    }

    /// Differences that show a write, even one of the same bytes.
    fn touched(&self, new: &Entry, bytes: Bytes) -> Vec<String> {
        let mut what = if bytes == Bytes::Read { self.differs(new) } else { Vec::new() };
        what.extend(changed(&[
            ("inode", &self.inode, &new.inode),
            ("modified", &self.modified, &new.modified),
            // The change time can't be set back.
            ("changed", &self.changed, &new.changed),
        ]));
        // A directory's size depends on its file system.
        if self.kind == "f" {
            what.extend(changed(&[("size", &self.size, &new.size)]));
        }
        what
    }
}

fn changed(properties: &[(&str, &String, &String)]) -> Vec<String> {
    let differing = properties.iter().filter(|(_, old, new)| old != new);
    differing.map(|(name, old, new)| format!("{name} {old} → {new}")).collect()
}
