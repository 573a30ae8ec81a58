//! What has to change: the difference between how things stand and how they should.
//!
//! What is already right never enters the plan, so undo can't touch what this program didn't make.

use std::collections::BTreeSet;
use std::fmt;

use similar::{ChangeTag, TextDiff};

use crate::desired::Wanted;
use crate::error::Result;
use crate::host::Host;
use crate::resource::{Resource, State};

/// One change to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What changes.
    pub resource: Resource,
    /// How it stands.
    pub before: State,
    /// How it will stand.
    pub after: State,
}

/// The changes to come, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Compares every wanted resource with how it stands. A resource that is made from others (the stack from its
    /// files, the tunnel from the peer list) is in the plan also when one of those is.
    pub fn diff(host: &Host, wanted: Vec<Wanted>) -> Result<Plan> {
        let mut steps: Vec<Step> = Vec::new();
        for Wanted { resource, state } in wanted {
            let restarts = steps.iter().any(|step| matches!(step.resource, Resource::Stack(_)));
            if restarts && matches!(resource, Resource::Tunnel(_)) {
                // A stack that starts brings its tunnel up from the files by itself.
                continue;
            }
            let before = resource.observe(host)?;
            let follows = steps.iter().any(|step| resource.is_made_from(&step.resource));
            if follows || !state.is_met_by(&before) {
                let resource = match resource {
                    // What comes along, as far as apt knows today; apply asks again with fresh lists.
                    Resource::Packages(packages) => Resource::Packages(packages.preview(host)?),
                    other => other,
                };
                steps.push(Step { resource, before, after: state });
            }
        }
        Ok(Plan { steps })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The packages it installs, without what comes along.
    pub fn packages(&self) -> BTreeSet<&str> {
        let names = self.steps.iter().filter_map(|step| match &step.resource {
            Resource::Packages(packages) => Some(&packages.names),
            _ => None,
        });
        names.flatten().map(String::as_str).collect()
    }
}

impl Step {
    /// `create`, `change`, `remove`, `apply`: the verb of this step.
    pub fn verb(&self) -> &'static str {
        match (&self.before, &self.after) {
            (State::Outdated | State::Running, _) if matches!(self.resource, Resource::Tunnel(_)) => "reconfigure",
            (State::Stopped, State::Running) => "start",
            (_, State::Running) => "restart",
            (_, State::Packages(_)) => "install",
            (State::Absent | State::Empty, _) => match self.resource {
                Resource::FirewallRule(_) => "open",
                Resource::Module(_) => "load",
                _ => "create",
            },
            _ => "change",
        }
    }

    /// The lines that change, `-` before the old ones and `+` before the new ones; empty where a noun says it all.
    pub fn diff(&self) -> Vec<String> {
        let (old, new) = (self.before.text(), self.after.text());
        TextDiff::from_lines(&old, &new)
            .iter_all_changes()
            .filter_map(|change| match change.tag() {
                ChangeTag::Equal => None,
                ChangeTag::Delete => Some(format!("- {}", change.value().trim_end())),
                ChangeTag::Insert => Some(format!("+ {}", change.value().trim_end())),
            })
            .collect()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb(), self.resource)
    }
}
