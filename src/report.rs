//! What the program says: to people as lines, to programs as JSON whose shape is published by `schema`.
//!
//! stdout carries results and nothing else; progress and errors go to stderr.

mod cluster;
mod documents;
mod failure;
mod gateway;
mod peers;
mod text;

use std::io::{ErrorKind, Write};

use schemars::{JsonSchema, schema_for};
use serde::Serialize;

pub use cluster::{
    AppliedHost, Cell, ClusterApplyDocument, ClusterList, ClusterPlanDocument, ClusterStatusDocument,
    HostStatusDocument, PlannedHost,
};
pub use documents::{
    Counts, Document, FindingDocument, HostId, InstallDocument, InstanceDocument, MemberDocument, Outcome,
    PlanDocument, PreflightDocument, StatusDocument, StepDocument, Text, UndoDocument, UndoFate, UndoneDocument,
};
pub use failure::{ErrorDocument, FailureDocument};
pub use gateway::{GatewayStatusDocument, PeerStatus, ReconfiguredDocument};
pub use peers::{ListId, PeersChangeDocument, PeersCheckDocument, PeersDiffDocument, PeersDocument, ProblemDocument};

use crate::cli::{Color, Global, Json};
use crate::error::{Context, Result};
use crate::lang::{self, Lang};
use crate::message;
use crate::progress::Progress;

/// The version of the JSON documents.
pub const SCHEMA: u32 = 1;

/// Where results go, and in which form.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: Option<Json>,
    lang: Lang,
}

impl Output {
    /// As the global options say; sets the colours for the whole process.
    pub fn new(global: &Global) -> Self {
        let always = match global.color {
            Color::Always => Some(true),
            Color::Never => Some(false),
            // For console, CLICOLOR_FORCE outweighs it.
            Color::Auto => std::env::var_os("NO_COLOR").filter(|value| !value.is_empty()).map(|_| false),
        };
        // Otherwise console looks at each terminal by itself.
        if let Some(always) = always {
            console::set_colors_enabled(always);
            console::set_colors_enabled_stderr(always);
        }
        let lang = match global.json {
            // What programs read is English, and so is what they pass on.
            Some(_) => Lang::En,
            None => global.lang.unwrap_or_else(|| Lang::of_locale(|name| std::env::var_os(name))),
        };
        Output { json: global.json, lang }
    }

    /// For programs, in this form.
    pub fn of(json: Json) -> Self {
        Output { json: Some(json), lang: Lang::En }
    }

    /// Whether results are JSON.
    pub fn is_json(&self) -> bool {
        self.json.is_some()
    }

    /// The language of what is printed for people; English with `--json`.
    pub fn lang(&self) -> Lang {
        self.lang
    }

    /// Where the progress of long work goes.
    pub fn progress(&self) -> Progress {
        match self.json {
            Some(Json::Events) => Progress::Events,
            Some(Json::Document) => Progress::Silent,
            None => Progress::detect(self.lang),
        }
    }

    /// The result of a command, in the form that was asked for.
    pub fn document(&self, document: &impl Document) -> Result<()> {
        match self.json {
            None => self.text(&document.text(self.lang)),
            Some(Json::Document) => {
                let text = serde_json::to_string_pretty(document).context(message!("a JSON document"))?;
                self.bytes(format!("{text}\n").as_bytes())
            }
            Some(Json::Events) => {
                let line = serde_json::json!({ "event": "result", "result": document });
                self.bytes(format!("{line}\n").as_bytes())
            }
        }
    }

    /// Text for people, on stdout, in what their terminal can show.
    pub fn text(&self, text: &str) -> Result<()> {
        self.bytes(lang::shown(text).as_bytes())
    }

    /// Bytes as they are, on stdout. A reader that has gone away is no failure.
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other.context(message!("writing to standard output")),
        }
    }
}

/// The JSON schemas of all documents, by command.
pub fn schema() -> String {
    #[derive(Serialize)]
    struct Schemas {
        schema: u32,
        preflight: schemars::Schema,
        plan: schemars::Schema,
        install: schemars::Schema,
        status: schemars::Schema,
        undo: schemars::Schema,
        #[serde(rename = "peers list")]
        peers_list: schemars::Schema,
        #[serde(rename = "peers check")]
        peers_check: schemars::Schema,
        #[serde(rename = "peers add, peers remove")]
        peers_change: schemars::Schema,
        #[serde(rename = "peers diff")]
        peers_diff: schemars::Schema,
        #[serde(rename = "cluster plan")]
        cluster_plan: schemars::Schema,
        #[serde(rename = "cluster apply, cluster add, cluster remove, cluster rotate")]
        cluster_apply: schemars::Schema,
        #[serde(rename = "cluster status")]
        cluster_status: schemars::Schema,
        #[serde(rename = "gateway status")]
        gateway_status: schemars::Schema,
        #[serde(rename = "gateway reconfigure")]
        gateway_reconfigure: schemars::Schema,
        #[serde(rename = "an error, of any command")]
        failure: schemars::Schema,
    }
    fn of<T: JsonSchema>() -> schemars::Schema {
        schema_for!(T)
    }
    let schemas = Schemas {
        schema: SCHEMA,
        preflight: of::<PreflightDocument>(),
        plan: of::<PlanDocument>(),
        install: of::<InstallDocument>(),
        status: of::<StatusDocument>(),
        undo: of::<UndoDocument>(),
        peers_list: of::<PeersDocument>(),
        peers_check: of::<PeersCheckDocument>(),
        peers_change: of::<PeersChangeDocument>(),
        peers_diff: of::<PeersDiffDocument>(),
        cluster_plan: of::<ClusterPlanDocument>(),
        cluster_apply: of::<ClusterApplyDocument>(),
        cluster_status: of::<ClusterStatusDocument>(),
        gateway_status: of::<GatewayStatusDocument>(),
        gateway_reconfigure: of::<ReconfiguredDocument>(),
        failure: of::<FailureDocument>(),
    };
    serde_json::to_string_pretty(&schemas).expect("a schema is plain data") + "\n"
}
