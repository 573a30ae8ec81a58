//! `explain`: more about a check than fits beside a finding; offline.

use crate::error::{Error, Result};
use crate::preflight::{self, Check};
use crate::report::Output;

/// Explains one check, or lists them all.
pub fn run(id: Option<&str>, output: &Output) -> Result<()> {
    let text = match id {
        None => preflight::checks().map(|check| format!("{:<20} {}\n", check.id, check.title)).collect(),
        Some(id) => explanation(find(id)?),
    };
    output.bytes(text.as_bytes())
}

/// Refuses ids that no check has: a typo in `--ignore` must not look as if it worked.
pub fn known_ids(ids: &[String]) -> Result<()> {
    ids.iter().try_for_each(|id| find(id).map(drop))
}

fn explanation(check: &Check) -> String {
    let note = check.note.map_or(String::new(), |note| format!(" ({note})"));
    format!("{}: {}{note}\n\n{}\n", check.id, check.title, check.explain.trim())
}

fn find(id: &str) -> Result<&'static Check> {
    preflight::checks().find(|check| check.id == id).ok_or_else(|| {
        let ids: Vec<&str> = preflight::checks().map(|check| check.id).collect();
        Error::input(format!("no check is called '{id}'")).hint(format!("one of: {}", ids.join(" ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_id_is_bad_input_and_the_ids_are_named() {
        let error = known_ids(&["clokc".into()]).unwrap_err();
        assert_eq!(error.class().exit_code(), 2);
        assert!(error.way_out().unwrap().starts_with("one of: "));
    }
}
