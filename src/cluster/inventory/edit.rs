//! Edits of cluster.toml: an instance is added or removed, every other byte stays. The text is never rendered anew: what is
//! taken out is a range of its bytes, and what is added is added at its end.

use std::fmt::Write;
use std::ops::Range;

use toml_edit::{Document, Item, Table, value};

use super::{DeclaredInstance, RemovedMember};
use crate::error::{Error, Result};
use crate::message;
use crate::message::Message;
use crate::wireguard::PeerList;

/// The byte order mark that some editors begin a file with.
const MARK: char = '\u{feff}';

/// The text with one more instance at its end. One that comes back after it was removed has the generation in which it does.
pub(crate) fn add(text: &str, instance: &DeclaredInstance, generation: Option<u32>) -> Result<String> {
    Sections::of(text)?.named("instance")?;
    Ok(append(text, &section(instance, generation)))
}

/// The text without an instance; with notes of the member that was removed, for each key that a list still has of it.
pub(crate) fn remove(text: &str, name: &str, removed: &[RemovedMember]) -> Result<String> {
    let file = Sections::of(text)?;
    let gone = file.named("instance")?.into_iter().filter(|table| says(table, "name", name));
    let mut text = file.without(gone);
    file.named("removed")?;
    for RemovedMember { vpn_address, public_key, generation } in removed {
        let mut note = Table::new();
        note["vpn-address"] = value(vpn_address.to_string());
        if let Some(key) = public_key {
            note["public-key"] = value(key.to_string());
        }
        if *generation > 1 {
            note["generation"] = value(i64::from(*generation));
        }
        let comment = format!("# {name} has left; a host that was down then may still list it\n");
        let note = format!("{comment}[[removed]]\n{note}");
        text = append(&text, &note);
    }
    Ok(text)
}

/// A cluster.toml from a list. ssh is given the endpoints' addresses, for a person to correct.
pub(crate) fn import(list: &PeerList) -> String {
    let mut text =
        String::from("# made from a vpn-public.conf: give the instances their names, and ssh where it goes\n");
    for (n, peer) in (1..).zip(list.peers()) {
        let instance = DeclaredInstance {
            name: format!("instance-{n}"),
            ssh: format!("root@{}", peer.endpoint.ip()),
            address: peer.address,
            endpoint: peer.endpoint,
        };
        let _ = write!(text, "\n{}", section(&instance, None));
    }
    text
}

fn section(instance: &DeclaredInstance, generation: Option<u32>) -> String {
    let mut table = Table::new();
    table["name"] = value(&instance.name);
    table["ssh"] = value(&instance.ssh);
    table["vpn-address"] = value(instance.address.to_string());
    table["endpoint"] = value(instance.endpoint.to_string());
    if let Some(generation) = generation {
        table["generation"] = value(i64::from(generation));
    }
    format!("[[instance]]\n{table}")
}

/// With the line ends that the text has.
fn append(text: &str, section: &str) -> String {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let gap = match text.trim_start_matches(MARK) {
        "" => 0,
        text if text.ends_with('\n') => 1,
        _ => 2,
    };
    format!("{text}{}{}", newline.repeat(gap), section.replace('\n', newline))
}

fn says(table: &Table, key: &str, text: &str) -> bool {
    table.get(key).and_then(Item::as_str) == Some(text)
}

/// A cluster.toml, and where its sections are.
struct Sections<'t> {
    text: &'t str,
    /// Bytes of the byte order mark, which the spans of the document don't count.
    mark: usize,
    document: Document<&'t str>,
}

impl<'t> Sections<'t> {
    fn of(text: &'t str) -> Result<Self> {
        let unmarked = text.strip_prefix(MARK).unwrap_or(text);
        let document = Document::parse(unmarked).map_err(|error| Error::input(Message::foreign(error.message())))?;
        Ok(Sections { text, mark: text.len() - unmarked.len(), document })
    }

    /// The `[[key]]` sections. An array in one value, `key = [{…}]`, says the same and isn't edited.
    fn named(&self, key: &str) -> Result<Vec<&Table>> {
        match self.document.get(key) {
            None => Ok(Vec::new()),
            Some(Item::ArrayOfTables(tables)) => Ok(tables.iter().collect()),
            Some(item) => {
                let (line, section) = (self.line_of(item), format!("[[{key}]]"));
                Err(Error::input(message!("line {line}: '{key}' is one value, which is not edited", line, key))
                    .hint(message!("write each of its tables as a section: {section}", section)))
            }
        }
    }

    fn line_of(&self, item: &Item) -> usize {
        let at = item.span().map_or(0, |span| self.mark + span.start);
        self.text[..at].matches('\n').count() + 1
    }

    /// The text without these sections.
    fn without<'d>(&self, sections: impl Iterator<Item = &'d Table>) -> String {
        let mut text = self.text.to_owned();
        let mut lines: Vec<Range<usize>> = sections.map(|table| self.lines(table)).collect();
        lines.sort_by_key(|lines| lines.start);
        lines.into_iter().rev().for_each(|lines| text.replace_range(lines, ""));
        text
    }

    /// The lines of a section: the comments directly above it, and the blank line above those, go with it; what comes after
    /// its last value stays.
    fn lines(&self, table: &Table) -> Range<usize> {
        let Range { start: header, end } = extent(table);
        let (header, end) = (self.mark + header, self.mark + end);
        let end = self.text[end..].find('\n').map_or(self.text.len(), |length| end + length + 1);
        // A line of a value can look like a comment.
        let others = self.document.iter().flat_map(|(_, item)| extents(item));
        let values =
            others.map(|extent| self.mark + extent.end).filter(|end| *end <= header).max().unwrap_or(self.mark);
        let floor = self.text[values..header].find('\n').map_or(header, |length| values + length + 1);
        let floor = if values == self.mark { self.mark } else { floor };
        let mut start = self.text[..header].rfind('\n').map_or(self.mark, |at| at + 1);
        let above = |start: usize| {
            let before = self.text.get(floor..start)?.strip_suffix('\n')?;
            let at = before.rfind('\n').map_or(floor, |at| floor + at + 1);
            Some((at, self.text[at..start].trim()))
        };
        while let Some((at, _)) = above(start).filter(|(_, line)| line.starts_with('#')) {
            start = at;
        }
        if let Some((at, _)) = above(start).filter(|(_, line)| line.is_empty()) {
            start = at;
        }
        start..end
    }
}

/// From the header of a section to the end of its last value.
fn extent(table: &Table) -> Range<usize> {
    let header = table.span().unwrap_or_default();
    let values = table.iter().filter_map(|(_, item)| item.span()).map(|span| span.end);
    header.start..values.fold(header.end, usize::max)
}

/// Where the values of a document's item are.
fn extents(item: &Item) -> Vec<Range<usize>> {
    match item {
        Item::None => Vec::new(),
        Item::Value(value) => value.span().into_iter().collect(),
        Item::Table(table) => vec![extent(table)],
        Item::ArrayOfTables(tables) => tables.iter().map(extent).collect(),
    }
}

#[cfg(test)]
mod tests;
