//! Progress of long work, on stderr: a spinner on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::host::{Advance, Listener};
use crate::lang::{self, Lang};
use crate::message;
use crate::message::{Message, printable};

/// Where progress goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A spinner for the task at hand, a line for each finished one, in this language.
    Terminal(Lang),
    /// A line when a task starts, in this language.
    Lines(Lang),
    /// One JSON object a line, on stdout (`--json=events`).
    Events,
    /// Nothing.
    Silent,
}

/// A task under way. Dropped without [`Task::done`] it counts as failed.
pub struct Task {
    name: Message,
    lang: Lang,
    bar: Option<ProgressBar>,
    events: bool,
    finished: bool,
}

impl Progress {
    /// What fits the stderr of this process.
    pub fn detect(lang: Lang) -> Self {
        if std::io::stderr().is_terminal() { Progress::Terminal(lang) } else { Progress::Lines(lang) }
    }

    /// Starts a task.
    pub fn start(&self, name: impl Into<Message>) -> Task {
        let name = name.into();
        let mut bar = None;
        let lang = self.lang();
        match self {
            Progress::Terminal(_) => {
                let style = style("{spinner} {msg} {elapsed:.dim}");
                let spinner = ProgressBar::new_spinner().with_style(style).with_message(lang.render(&name));
                spinner.enable_steady_tick(Duration::from_millis(100));
                bar = Some(spinner);
            }
            // A closed stderr is no reason to stop half way.
            Progress::Lines(_) => drop(writeln!(std::io::stderr(), "{}", lang::shown(&lang.render(&name)))),
            Progress::Events => event("start", &name),
            Progress::Silent => {}
        }
        Task { name, lang, bar, events: *self == Progress::Events, finished: false }
    }

    fn lang(&self) -> Lang {
        match self {
            Progress::Terminal(lang) | Progress::Lines(lang) => *lang,
            Progress::Events | Progress::Silent => Lang::En,
        }
    }
}

impl Task {
    /// Shows how far long commands have come, as part of this task.
    pub fn listener(&self) -> Listener {
        let (name, lang, bar, events) = (self.name.clone(), self.lang, self.bar.clone(), self.events);
        Arc::new(move |advance: Advance| {
            if let Some(bar) = bar.as_ref().filter(|bar| !bar.is_finished()) {
                bar.set_style(style("{spinner} {msg} {bar:20} {pos} % {elapsed:.dim}"));
                bar.set_length(100);
                bar.set_position(advance.percent as u64);
                bar.set_message(format!("{}: {}", lang.render(&name), printable(&advance.doing)));
            }
            if events {
                line(&serde_json::json!({
                    "event": "advance", "task": name.to_string(), "percent": advance.percent,
                    "doing": advance.doing
                }));
            }
        })
    }

    /// It worked.
    pub fn done(mut self) {
        self.finished = true;
        self.end("done");
    }

    fn end(&self, outcome: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            let word = if self.finished { message!("ok") } else { message!("failed") };
            let word = self.lang.render(&word);
            let mark = if self.finished { console::style(word).green() } else { console::style(word).red() };
            drop(writeln!(std::io::stderr(), "{mark} {}", lang::shown(&self.lang.render(&self.name))));
        }
        if self.events {
            event(outcome, &self.name);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.finished {
            self.end("failed");
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid")
}

fn event(what: &str, task: &Message) {
    line(&serde_json::json!({ "event": what, "task": task.to_string() }));
}

fn line(event: &serde_json::Value) {
    drop(writeln!(std::io::stdout(), "{event}"));
}
