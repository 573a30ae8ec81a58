//! The plan: the difference between the current state and the desired one.
//!
//! What is already right never enters the plan, so undo can't touch what this program didn't make.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::host::Host;
use crate::resource::{Goal, Resource, State, Step, Transition, Wanted, each_kind};

/// The changes to come, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Compares every wanted state with the current one. A resource that is made from others (the stack from its files, the
    /// tunnel from the peer list) is also in the plan if one of those is.
    pub fn diff(host: &Host, wanted: Vec<Wanted>) -> Result<Plan> {
        let mut plan = Plan::default();
        for wanted in wanted {
            each_kind!(Wanted, wanted, goal => plan.add(host, goal))?;
        }
        Ok(plan)
    }

    fn add<K: Resource>(&mut self, host: &Host, goal: Goal<K>) -> Result<()>
    where
        Step: From<Transition<K>>,
    {
        let Goal { resource, state: after } = goal;
        if resource.comes_with().is_some_and(|kind| self.steps.iter().any(|step| step.kind() == kind)) {
            return Ok(());
        }
        let before = resource.observe(host)?;
        let follows = self.steps.iter().filter_map(Step::source).any(|source| resource.is_made_from(source));
        if follows || !after.is_met_by(&before) {
            let resource = resource.preview(host)?;
            self.steps.push(Transition { resource, before, after }.into());
        }
        Ok(())
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The packages it installs, without their dependencies.
    pub fn packages(&self) -> BTreeSet<&str> {
        self.steps.iter().flat_map(Step::packages).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Content, File, ResourceKind};

    #[test]
    fn what_is_right_already_is_not_in_the_plan() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("right"), "x").unwrap();
        let want = |name: &str| Goal { resource: File { path: name.into() }, state: Content::Text("x".into()) }.into();
        let plan = Plan::diff(&Host::at(dir.path()).unwrap(), vec![want("/right"), want("/missing")]).unwrap();
        let steps: Vec<String> = plan.steps.iter().map(Step::to_string).collect();
        assert_eq!(steps, ["create file /missing"]);
        assert_eq!(plan.steps[0].kind(), ResourceKind::File);
    }
}
