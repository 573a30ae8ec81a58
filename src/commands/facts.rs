//! `facts`: all that was read from this host. What preflight and plan decide on, and nothing else, so a host that they are
//! wrong about can be sent along with the report, and becomes a test.

use super::resolve;
use crate::cli::{Global, InstallOptions};
use crate::error::{Context, Result};
use crate::facts::Facts;
use crate::host::Host;
use crate::message;
use crate::report::Output;

/// Prints the facts. Their shape is this version's own and no promise.
pub(crate) fn run(host: &Host, global: &Global, output: &Output) -> Result<()> {
    let (facts, _) = Facts::gather(host, &resolve::typed(global, &InstallOptions::default(), None).settings);
    let text = serde_json::to_string_pretty(&facts).context(message!("writing the facts"))?;
    output.bytes(format!("{text}\n").as_bytes())
}
