//! What a real shell offers at TAB, with the script that `completions` prints for it.

use std::process::{Command, Stdio};

use clap::CommandFactory;
use mitigator_vpn::cli::Cli;

use crate::support::has_program;
use crate::support::tree::TreeHost;
use crate::unit::peers::two;

const CLUSTER: &str = "\
[[instance]]
name = \"msk-1\"
ssh = \"root@msk-1.example\"
vpn-address = \"10.8.3.1\"
endpoint = \"192.0.2.1:4567\"

[[instance]]
name = \"msk-2\"
ssh = \"root@msk-2.example\"
vpn-address = \"10.8.3.2\"
endpoint = \"192.0.2.2:4567\"
";

#[test]
fn bash_completes_every_command_and_its_values() {
    // M-* inserts all that could follow.
    typed_into("bash", "bash --norc --noprofile -i", "", "\x1b*");
}

#[test]
fn zsh_completes_every_command_and_its_values() {
    let all = "autoload -U compinit; compinit -u -D\n\
               all() { _main_complete; compstate[insert]=all; compstate[list]= }\n\
               zle -C all complete-word all; bindkey '^X' all; bindkey '^A' beginning-of-line\n";
    typed_into("zsh", "zsh -f -i", all, "\x18");
}

#[test]
fn fish_completes_every_command_and_its_values() {
    if !has_program("fish") {
        return;
    }
    let world = World::new("fish");
    for (line, expected) in world.expected() {
        let ask = format!("source {}; complete -C '{line}'", world.tree.at("/script").display());
        let out = world.shell("fish").args(["--no-config", "-c", &ask]).output().expect("fish is there");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let offered = said.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned());
        assert_eq!(sorted(offered), sorted(expected), "{line}");
    }
}

/// Types each line and the key that inserts all that can follow, then has the shell print the line.
fn typed_into(shell: &str, start: &str, prepare: &str, insert_all: &str) {
    if !has_program(shell) || !has_program("script") {
        return;
    }
    let world = World::new(shell);
    let expected = world.expected();
    let mut keys = format!("{prepare}source {}\n", world.tree.at("/script").display());
    for (line, _) in &expected {
        keys += &format!("{line}{insert_all}\x01echo OFFERED: \n");
    }
    keys += "exit\n";
    let mut child = world
        .shell("script")
        .args(["-qec", start, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is there");
    std::io::Write::write_all(&mut child.stdin.take().expect("it is piped"), keys.as_bytes()).expect("it reads");
    let out = child.wait_with_output().expect("our own child");
    let screen = String::from_utf8_lossy(&out.stdout).replace('\r', "\n");
    let printed: Vec<&str> = screen.lines().filter_map(|line| line.strip_prefix("OFFERED: ")).collect();
    assert_eq!(printed.len(), expected.len(), "{screen}");
    for ((line, expected), printed) in expected.iter().zip(printed) {
        // The last word is replaced by what it can be.
        let before = line.rfind(' ').map_or("", |at| &line[..at]);
        let offered = printed.strip_prefix(before).unwrap_or_else(|| panic!("{printed}")).split_whitespace();
        let typed = line[before.len()..].trim().to_owned();
        let nothing = if typed.is_empty() { Vec::new() } else { vec![typed] };
        let expected = if expected.is_empty() { nothing } else { expected.clone() };
        assert_eq!(sorted(offered.map(str::to_owned)), sorted(expected), "{shell}: {line}");
    }
}

fn sorted(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut words: Vec<String> = words.into_iter().collect();
    words.sort();
    words
}

/// Files to complete from, the program by its name, and a shell's script.
struct World {
    tree: TreeHost,
}

impl World {
    fn new(shell: &str) -> World {
        let program = env!("CARGO_BIN_EXE_mitigator-vpn");
        let script = Command::new(program).args(["completions", shell]).output().expect("the program runs").stdout;
        let tree = TreeHost::bare().file("/cluster.toml", CLUSTER).file("/vpn-public.conf", two());
        let tree = tree.file("/script", String::from_utf8(script).expect("a script is text")).file("/bin/.keep", "");
        std::os::unix::fs::symlink(program, tree.at("/bin/mitigator-vpn")).expect("a directory of our own");
        World { tree }
    }

    fn shell(&self, program: &str) -> Command {
        let path = format!("{}:{}", self.tree.at("/bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        command.env("PATH", path).env("HOME", self.tree.at("/")).env("TERM", "dumb");
        command
    }

    /// What is typed, and what can be in place of its last word.
    fn expected(&self) -> Vec<(String, Vec<String>)> {
        fn visit(command: &clap::Command, line: &str, lines: &mut Vec<(String, Vec<String>)>) {
            let shown: Vec<&clap::Command> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
            if !shown.is_empty() {
                lines.push((format!("{line} "), shown.iter().map(|sub| sub.get_name().to_owned()).collect()));
            }
            shown.iter().for_each(|sub| visit(sub, &format!("{line} {}", sub.get_name()), lines));
        }
        let mut lines = Vec::new();
        visit(&Cli::command(), "mitigator-vpn", &mut lines);
        let tree = self.tree.at("/");
        let tree = tree.display().to_string();
        let tree = tree.trim_end_matches('/');
        for (line, words) in [
            ("sess", &[][..]),
            ("explain path-", &["path-mtu"]),
            ("preflight --ignore clock,udp-port-f", &["clock,udp-port-free"]),
            ("install --firewall=r", &["--firewall=report"]),
            ("install --restart ", &["full", "gateway", "none"]),
            ("cluster remove -f TREE/cluster.toml ", &["msk-1", "msk-2"]),
            ("cluster status --file=TREE/cluster.toml --only msk-1,msk", &["msk-1,msk-1", "msk-1,msk-2"]),
            ("peers remove --dir TREE ", &["10.8.3.1", "10.8.3.2"]),
            ("peers list TREE/clu", &["TREE/cluster.toml"]),
            ("man clu", &["cluster"]),
        ] {
            let line = format!("mitigator-vpn {}", line.replace("TREE", tree));
            lines.push((line, words.iter().map(|word| word.replace("TREE", tree)).collect()));
        }
        lines
    }
}
