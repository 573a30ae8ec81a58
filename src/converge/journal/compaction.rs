//! Compaction: what several runs have done to a resource becomes one change, from how it stood before the first of them to
//! how the last of them left it.
//!
//! Undo does the same with the result. Two changes become one where they join up: the second one found what the first one
//! had left. Where somebody else came in between, undo stops there, and both stay.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::record::{Record, RunRecord};
use super::texts::Texts;
use super::{FORMAT, JournaledChange, Receipt, RunId};
use crate::error::{Context, Result};
use crate::message;
use crate::resource::{Step, each_kind};

/// As many changes that could be part of others are left alone.
const MOST_CHANGES: usize = 16;
/// As many texts.
const MOST_TEXTS: usize = 64;
/// A longer journal is compacted if that shortens it by an eighth.
const LONG: u64 = 512 << 10;
/// The last runs are remembered by name.
pub(super) const MOST_RUNS: usize = 64;
/// Changes to one resource with other people's changes between them: the first and the last ones are kept. Those between
/// them count only for somebody who has put back exactly what one of them left.
const MOST_PARTS: usize = 3;
/// The last changes to each resource stay as they are: they are the ones that can be taken back without the others.
const RECENT: usize = 4;

/// The journal with as few records as possible, if it is time for that and if that makes it shorter.
pub(super) fn compacted(receipt: &Receipt) -> Result<Option<String>> {
    let is_due = surplus(&receipt.changes)? >= MOST_CHANGES || receipt.texts.len() > MOST_TEXTS;
    if !is_due && receipt.whole < LONG {
        return Ok(None);
    }
    let (kept, merged) = merged(&receipt.changes)?;
    let text = text(receipt, &kept, &merged)?;
    let limit = if is_due { receipt.whole } else { receipt.whole / 8 * 7 };
    Ok(Some(text).filter(|text| (text.len() as u64) < limit))
}

fn text(receipt: &Receipt, kept: &[JournaledChange], merged: &BTreeSet<RunId>) -> Result<String> {
    let mut texts = Texts::default();
    let mut lines = String::new();
    let (older, last) = receipt.runs.split_at(receipt.runs.len().saturating_sub(MOST_RUNS));
    let ignored: BTreeSet<&String> = older.iter().flat_map(|run| &run.ignored).collect();
    for (at, run) in last.iter().enumerate() {
        let older = ignored.iter().copied().filter(|check| at == 0 && !run.ignored.contains(check));
        let run = RunRecord {
            format: FORMAT,
            ignored: run.ignored.iter().chain(older).cloned().collect(),
            merged: run.merged || run.id.as_ref().is_some_and(|id| merged.contains(id)),
            ..run.clone()
        };
        lines += &Record::Run(run).lines(&mut texts)?;
    }
    for JournaledChange { number, run, step, done } in kept {
        let begin = Record::Begin { step: *number, run: run.clone(), change: step.clone() };
        lines += &begin.lines(&mut texts)?;
        if *done {
            lines += &Record::Done { step: *number }.lines(&mut texts)?;
        }
    }
    Ok(lines)
}

/// How many changes could be part of others.
fn surplus(changes: &[JournaledChange]) -> Result<usize> {
    let mut of_resource: BTreeMap<String, usize> = BTreeMap::new();
    for change in changes {
        let resource = each_kind!(Step, &change.step, step => serde_json::to_string(&step.resource));
        *of_resource.entry(resource.context(message!("a journal record"))?).or_default() += 1;
    }
    Ok(of_resource.into_values().map(|count| count.saturating_sub(RECENT + MOST_PARTS)).sum())
}

/// The changes that are left, and the runs of which changes have become part of others.
fn merged(changes: &[JournaledChange]) -> Result<(Vec<JournaledChange>, BTreeSet<RunId>)> {
    let mut of_resource: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for change in changes {
        let part = Part::of(change)?;
        of_resource.entry(part.resource.to_string()).or_default().push(part);
    }
    let mut kept = Vec::new();
    let mut runs = BTreeSet::new();
    for mut parts in of_resource.into_values() {
        let recent = parts.split_off(parts.len().saturating_sub(RECENT));
        let mut joined: Vec<Part> = Vec::new();
        for part in parts {
            match joined.pop() {
                None => joined.push(part),
                Some(first) if first.joins(&part) => {
                    runs.extend(first.run.iter().chain(&part.run).cloned());
                    joined.push(Part { run: None, number: first.number, before: first.before, ..part });
                }
                Some(first) => joined.extend([first, part]),
            }
        }
        // It is as it was before the first of them.
        joined.retain(|part| part.is_live || part.run.is_some() || part.before != part.after);
        while joined.len() > MOST_PARTS {
            runs.extend(joined.remove(1).run);
        }
        kept.extend(joined.into_iter().chain(recent));
    }
    kept.sort_by_key(|part| part.number);
    Ok((kept.into_iter().map(Part::change).collect::<Result<_>>()?, runs))
}

/// A change whose states can be compared, whatever kind they are of.
struct Part {
    number: u64,
    run: Option<RunId>,
    resource: Value,
    before: Value,
    after: Value,
    done: bool,
    is_live: bool,
}

impl Part {
    fn of(change: &JournaledChange) -> Result<Part> {
        let mut step = serde_json::to_value(&change.step).context(message!("a journal record"))?;
        Ok(Part {
            number: change.number,
            run: change.run.clone(),
            resource: step["resource"].take(),
            before: step["before"].take(),
            after: step["after"].take(),
            done: change.done,
            is_live: change.step.is_live(),
        })
    }

    /// Whether nobody else has changed the resource between the two. Of what runs, only how it stood first counts. A change
    /// that was never finished has left what was there, or what it was to leave; anything else may be torn and stays alone.
    fn joins(&self, next: &Part) -> bool {
        self.is_live || self.after == next.before || !self.done && self.before == next.before
    }

    fn change(self) -> Result<JournaledChange> {
        let Part { number, run, resource, before, after, done, is_live: _ } = self;
        let step = serde_json::json!({ "resource": resource, "before": before, "after": after });
        let step: Step = serde_json::from_value(step).context(message!("a journal record"))?;
        Ok(JournaledChange { number, run, step, done })
    }
}
