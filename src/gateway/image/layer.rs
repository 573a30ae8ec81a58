//! The one layer of the image: a file tree as a tar whose bytes depend on nothing but its content.

use std::collections::BTreeMap;
use std::io::{self, Write};

use tar::{Builder, EntryType, Header};

/// A file tree, by path; parents come before what is in them.
#[derive(Debug, Default)]
pub(super) struct Layer(BTreeMap<String, Entry>);

#[derive(Debug)]
enum Entry {
    Directory,
    Program(Vec<u8>),
    Link(String),
}

impl Layer {
    /// A directory, its parents included.
    pub fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            self.0.entry(path[..end].to_owned()).or_insert(Entry::Directory);
        }
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.put(path, Entry::Link(target.to_owned()));
    }

    /// A file that can be executed.
    pub fn program(&mut self, path: &str, bytes: Vec<u8>) {
        self.put(path, Entry::Program(bytes));
    }

    fn put(&mut self, path: &str, entry: Entry) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
        self.0.insert(path.trim_matches('/').to_owned(), entry);
    }

    /// Writes the tar.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let mut archive = Builder::new(out);
        for (path, entry) in &self.0 {
            match entry {
                Entry::Directory if path.is_empty() => {}
                Entry::Directory => {
                    let mut header = header(EntryType::Directory, 0o755);
                    archive.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Entry::Program(bytes) => append_file(&mut archive, path, bytes, 0o755)?,
                Entry::Link(target) => archive.append_link(&mut header(EntryType::Symlink, 0o777), path, target)?,
            }
        }
        archive.into_inner()?.flush()
    }
}

/// Appends a regular file.
pub(super) fn append_file(archive: &mut Builder<impl Write>, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut header = header(EntryType::Regular, mode);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes)
}

/// No time, and root as the owner.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}
