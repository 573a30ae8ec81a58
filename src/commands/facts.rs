//! `facts`: everything that preflight and plan decide on. The output can be attached to a report of a wrong decision and
//! recorded as a test.

use super::resolve;
use crate::cli::{Global, InstallOptions};
use crate::error::{Context, Result};
use crate::facts::Facts;
use crate::host::Host;
use crate::message;
use crate::report::Output;

/// Prints the facts as JSON. Their shape may change with every version.
pub(crate) fn run(host: &Host, global: &Global, output: &Output) -> Result<()> {
    let (facts, _) = Facts::gather(host, &resolve::typed(global, &InstallOptions::default(), None).settings);
    let text = serde_json::to_string_pretty(&facts).context(message!("writing the facts"))?;
    output.bytes(format!("{text}\n").as_bytes())
}
