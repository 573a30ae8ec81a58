//! `completions`, and what its scripts ask for at each TAB.
//!
//! A shell passes on the words before the cursor and prints what it gets back: what can follow is decided here alone, by the
//! command line's own types, the same in every shell and never older than the program.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use clap::{Arg, CommandFactory, ValueHint};
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete};
use clap_complete::env::Shells;

use super::explain;
use crate::cli::Cli;
use crate::cluster::inventory::Inventory;
use crate::host::Host;
use crate::preflight;
use crate::product::PRODUCT;
use crate::wireguard::PeerList;

/// The variable by which a script says that it asks, and for which shell.
const ASKED_BY: &str = "MITIGATOR_VPN_COMPLETE";
const PROGRAM: &str = "mitigator-vpn";

/// The script for a shell.
pub(crate) fn script(shell: Shell) -> Vec<u8> {
    let other = match shell {
        Shell::Bash => return include_bytes!("completions/bash.sh").to_vec(),
        Shell::Zsh => return include_bytes!("completions/zsh.sh").to_vec(),
        Shell::Fish => return include_bytes!("completions/fish.fish").to_vec(),
        // clap's enum may grow.
        other @ (Shell::Elvish | Shell::PowerShell | _) => other.to_string(),
    };
    let mut script = Vec::new();
    if let Some(completer) = Shells::builtins().completer(&other) {
        let written = completer.write_registration(ASKED_BY, PROGRAM, PROGRAM, PROGRAM, &mut script);
        written.expect("memory takes all that is written");
    }
    script
}

/// The answer to a script, if one asks: a line for each word that can follow, behind it what it means.
pub fn answer() -> Option<String> {
    let shell = std::env::var(ASKED_BY).ok()?;
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    let words = match &shell[..] {
        // Its own words are split at = and : as well.
        "bash" => split(&words.map(|line| line.to_string_lossy().into_owned()).collect::<String>()),
        _ => words.collect(),
    };
    let described = !matches!(&shell[..], "bash" | "elvish");
    Some(candidates(&Host::live(), words).iter().map(|candidate| line(candidate, described)).collect())
}

fn line(candidate: &CompletionCandidate, described: bool) -> String {
    let value = candidate.get_value().to_string_lossy();
    let meaning = candidate.get_help().map(ToString::to_string);
    match meaning.as_deref().and_then(|text| text.lines().next()).filter(|_| described) {
        Some(meaning) => format!("{value}\t{meaning}\n"),
        None => format!("{value}\n"),
    }
}

/// What can follow, where the last word is the one that is being typed.
fn candidates(host: &Host, words: Vec<OsString>) -> Vec<CompletionCandidate> {
    let Some(index) = words.len().checked_sub(1) else { return Vec::new() };
    // Until it begins with a dash, a word is no option.
    let wants_option = words[index].to_string_lossy().starts_with('-');
    let mut command = with_values(Cli::command(), &Arc::new(Typed::new(host, &words)));
    let mut candidates = complete(&mut command, words, index, None).unwrap_or_default();
    candidates.retain(|found| {
        let is_option = found.get_value().to_string_lossy().starts_with('-');
        !found.is_hide_set() && (wants_option || !is_option)
    });
    candidates
}

/// The same command, whose arguments know what they can be on this machine.
fn with_values(command: clap::Command, typed: &Arc<Typed>) -> clap::Command {
    let name = command.get_name().to_owned();
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = command.mut_args(|arg| with_value(arg, &name, typed));
    names.iter().fold(command, |command, sub| command.mut_subcommand(sub, |sub| with_values(sub, typed)))
}

fn with_value(arg: Arg, command: &str, typed: &Arc<Typed>) -> Arg {
    let of = |values: fn(&Typed) -> Vec<CompletionCandidate>| {
        let typed = typed.clone();
        ArgValueCandidates::new(move || values(&typed))
    };
    match (command, arg.get_id().as_str()) {
        (_, "ignore") => arg.add(of(|_| preflight::checks().map(|check| described(check.id, check.title)).collect())),
        ("explain", "id") => arg.add(of(|_| explain::topics().map(|topic| described(topic.id, topic.title)).collect())),
        ("man", "command") => arg.add(of(|_| commands())),
        ("remove", "member") => arg.add(of(Typed::members)),
        (_, "only" | "accept_key" | "accept_member" | "leave_behind") | ("remove" | "rotate", "name") => {
            arg.add(of(Typed::instances))
        }
        (_, "dir" | "root") => arg.value_hint(ValueHint::DirPath),
        _ => arg,
    }
}

fn described(value: impl Into<OsString>, meaning: impl Into<clap::builder::StyledStr>) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(meaning.into()))
}

fn commands() -> Vec<CompletionCandidate> {
    let whole = Cli::command();
    let shown = whole.get_subcommands().filter(|sub| !sub.is_hide_set());
    shown.map(|sub| CompletionCandidate::new(sub.get_name()).help(sub.get_about().cloned())).collect()
}

/// What has been typed so far, as far as values depend on it.
struct Typed {
    /// The cluster's instances, by name.
    names: Vec<(String, String)>,
    /// The members of this host's list.
    members: Vec<(String, String)>,
}

impl Typed {
    fn new(host: &Host, words: &[OsString]) -> Self {
        let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let given = |options: &[&str], variable: &str, otherwise: &str| {
            let typed = words.iter().enumerate().find_map(|(at, word)| match word.split_once('=') {
                Some((option, value)) if options.contains(&option) => Some(value.to_owned()),
                Some(_) => None,
                None => words.get(at + 1).filter(|_| options.contains(&&word[..])).cloned(),
            });
            let path = typed.or_else(|| std::env::var(variable).ok()).unwrap_or_else(|| otherwise.to_owned());
            std::path::absolute(path).unwrap_or_default()
        };
        let cluster = given(&["-f", "--file"], "MITIGATOR_VPN_CLUSTER_FILE", "cluster.toml");
        let dir = given(&["--dir"], "MITIGATOR_VPN_DIR", PRODUCT.directory);
        Typed { names: instances(host, &cluster), members: members(host, &dir.join(PRODUCT.files.public_conf)) }
    }

    fn instances(&self) -> Vec<CompletionCandidate> {
        self.names.iter().map(|(name, ssh)| described(name, ssh)).collect()
    }

    fn members(&self) -> Vec<CompletionCandidate> {
        self.members.iter().map(|(address, endpoint)| described(address, endpoint)).collect()
    }
}

/// What can't be read has nothing to offer; the command itself says why.
fn instances(host: &Host, file: &Path) -> Vec<(String, String)> {
    let text = host.read_text(file).ok().flatten().unwrap_or_default();
    let instances = Inventory::parse(&file.display().to_string(), &text).map_or_else(|_| Vec::new(), |i| i.instances);
    instances.into_iter().map(|instance| (instance.name, instance.ssh)).collect()
}

fn members(host: &Host, file: &Path) -> Vec<(String, String)> {
    let list = PeerList::read(host, file).ok().flatten().unwrap_or_default();
    list.peers().map(|peer| (peer.address.to_string(), peer.endpoint.to_string())).collect()
}

/// A shell's line as words; the last one is the one that is being typed, and may be empty or not closed yet.
fn split(line: &str) -> Vec<OsString> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ' ' | '\t') => {
                if begun {
                    words.push(std::mem::take(&mut word).into());
                }
                begun = false;
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), close) if open == close => quote = None,
            (None | Some('"'), '\\') => word.extend(chars.next()),
            (_, c) => word.push(c),
        }
        begun = true;
    }
    words.push(word.into());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(line: &str) -> Vec<String> {
        let found = candidates(&Host::live(), split(line));
        found.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn after_every_command_its_own_words_follow_and_hidden_ones_never_do() {
        fn visit(command: &clap::Command, line: &str) {
            let shown: Vec<&str> =
                command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(clap::Command::get_name).collect();
            let mut offered = offered(&format!("{line} "));
            if shown.is_empty() {
                return;
            }
            offered.sort();
            let mut sorted = shown.clone();
            sorted.sort();
            assert_eq!(offered, sorted, "{line}");
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                visit(sub, &format!("{line} {}", sub.get_name()));
            }
        }
        visit(&Cli::command(), PROGRAM);
        assert!(offered("mitigator-vpn sess").is_empty());
    }

    #[test]
    fn values_are_offered_behind_a_space_an_equals_sign_and_a_comma() {
        assert_eq!(offered("mitigator-vpn install --firewall "), ["auto", "report", "none"]);
        assert_eq!(offered("mitigator-vpn install --firewall=r"), ["--firewall=report"]);
        assert_eq!(offered("mitigator-vpn preflight --ignore clock,udp-port-f"), ["clock,udp-port-free"]);
        assert!(offered("mitigator-vpn explain ").contains(&"path-mtu".to_owned()));
    }

    #[test]
    fn a_line_is_split_as_a_shell_does_it() {
        let split = |line: &str| split(line).into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>();
        assert_eq!(split("a  b\\ c 'd e' \"f \\\" g\" h"), ["a", "b c", "d e", "f \" g", "h"]);
        assert_eq!(split("a "), ["a", ""]);
        assert_eq!(split("a 'b c"), ["a", "b c"]);
        assert_eq!(split("a '' "), ["a", "", ""]);
    }
}
