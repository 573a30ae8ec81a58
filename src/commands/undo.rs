//! `undo`: takes back what install did, by the journal.

use std::fmt::Write;
use std::process::ExitCode;

use super::confirm_or;
use crate::cli::Global;
use crate::converge::guard;
use crate::converge::journal::{Journal, Receipt};
use crate::converge::recover;
use crate::converge::{resume, undo};
use crate::error::{Class, Result};
use crate::host::Host;
use crate::lang;
use crate::message;
use crate::report::{Outcome, Output, UndoDocument};

/// Asks, takes back, reports.
pub fn run(host: &mut Host, global: &Global, output: &Output) -> Result<ExitCode> {
    let _lock = host.lock()?;
    guard::refuse_beside_open(host)?;
    let receipt = Receipt::load(host)?;
    let (changes, others) = undo::of_instance(&receipt.changes, &global.dir);
    if !changes.is_empty() && !global.yes {
        let mut list = String::new();
        for change in undo::order(&changes) {
            let _ = writeln!(list, "  {}", output.lang().render(&change.step.noun()));
        }
        let question = message!("take all of this back? The VPN of this instance goes with it.");
        confirm_or(
            message!("to take it back without a question: {command}", command = "mitigator-vpn undo --yes"),
            &question,
            output,
            || output.bytes(list.as_bytes()),
        )?;
    }
    if others.is_empty() {
        resume::disarm(host)?;
    }
    recover::complete_writes_to(host, changes.iter().filter_map(|change| change.step.path()))?;
    let undone = match receipt.last_run {
        Some(_) => undo::run(host, &changes, &output.progress())?,
        None => {
            Journal::clear(host)?;
            Vec::new()
        }
    };
    for other in others {
        let command = format!("mitigator-vpn undo --dir {}", other.display());
        lang::warn(&message!("another instance stays, and what belongs to the whole host: {command}", command));
    }
    let document = UndoDocument::new(undone);
    output.document(&document)?;
    Ok(if document.outcome == Outcome::Fail { Class::Step.into() } else { ExitCode::SUCCESS })
}
