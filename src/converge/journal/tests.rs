//! What a journal says, and how it stays small.

use super::*;
use crate::converge::undo::{self, Fate, Undone};
use crate::error::Class;
use crate::progress::Progress;
use crate::resource::{Content, File, ResourceKind, Transition};

fn write(text: &str) -> Step {
    let (resource, after) = (File { path: "/f".into() }, Content::Text(text.into()));
    Transition { resource, before: Content::Absent, after }.into()
}

const COMPOSE: &str = r#"{"words":["docker","compose"],"generation":"V2","version":"2.26.1"}"#;
const PUBLIC: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

/// A begun step of each kind as 0.1.0 has written it: kind, resource, before, after.
fn records() -> Vec<(ResourceKind, String, String)> {
    let record = |kind: ResourceKind, resource: &str, states: &str| {
        let line = format!(r#"{{"begin":{{"step":3,"resource":{{"{}":{resource}}},{states}}}}}"#, kind.word());
        (kind, line, states.to_owned())
    };
    let appears = r#""before":"absent","after":"present""#;
    let restarts = r#""before":"outdated","after":"running""#;
    ResourceKind::ALL
        .iter()
        .map(|kind| match kind {
            ResourceKind::AptSource => record(
                *kind,
                r#"{"path":"/etc/apt/sources.list.d/x.list","suite":"x","beside":["http://a.example x"],"mirror":null,"archive":"http://a.example"}"#,
                appears,
            ),
            ResourceKind::Packages => record(
                *kind,
                r#"{"names":["wireguard-tools"],"brings":["dkms"],"leftovers":["dkms"]}"#,
                r#""before":{"packages":{"dkms":null,"wireguard-tools":"1.0"}},"after":{"packages":{"dkms":"","wireguard-tools":""}}"#,
            ),
            ResourceKind::Module => record(*kind, r#"{"name":"wireguard"}"#, appears),
            ResourceKind::FirewallRule => {
                record(*kind, r#"{"backend":"nftables","place":"inet filter input","port":4567}"#, appears)
            }
            ResourceKind::Directory => record(*kind, r#"{"path":"/srv/mitigator"}"#, appears),
            ResourceKind::File => {
                record(*kind, r#"{"path":"/f"}"#, r#""before":{"text":"old\n"},"after":{"text":"new\n"}"#)
            }
            ResourceKind::PrivateFile => record(
                *kind,
                r#"{"path":"/srv/mitigator/vpn-private.conf"}"#,
                &format!(r#""before":"absent","after":{{"private":{{"template":"[Interface]\n","public":"{PUBLIC}"}}}}"#),
            ),
            ResourceKind::EnvKey => record(
                *kind,
                r#"{"path":"/srv/mitigator/.env","key":"COMPOSE_FILE"}"#,
                r#""before":"empty","after":{"line":"COMPOSE_FILE=a.yml"}"#,
            ),
            ResourceKind::GatewayImage => record(*kind, r#"{"reference":"x:1","userspace":false}"#, appears),
            ResourceKind::Stack => {
                record(*kind, &format!(r#"{{"dir":"/srv/mitigator","compose":{COMPOSE},"restart":"full"}}"#), restarts)
            }
            ResourceKind::Tunnel => record(
                *kind,
                &format!(r#"{{"dir":"/srv/mitigator","public_conf":"/srv/mitigator/vpn-public.conf","compose":{COMPOSE}}}"#),
                restarts,
            ),
        })
        .collect()
}

#[test]
fn a_record_of_each_kind_is_read_and_written_as_0_1_0_wrote_it() {
    for (kind, line, _) in records() {
        let receipt = Receipt::parse(&format!("{line}\n")).unwrap();
        assert_eq!(receipt.changes[0].step.kind(), kind, "{line}");
        let record = Record::Begin { step: 3, run: None, change: receipt.changes[0].step.clone() };
        assert_eq!(serde_json::to_string(&record).unwrap(), line);
    }
}

#[test]
fn a_state_of_another_kind_is_bad_input_and_its_line_is_named() {
    let run = r#"{"run":{"format":1,"version":"0.1.0","at":1,"ignored":[]}}"#;
    for (kind, line, states) in records() {
        let is_live = matches!(kind, ResourceKind::Stack | ResourceKind::Tunnel);
        let foreign =
            if is_live { r#""before":"absent","after":"present""# } else { r#""before":"stopped","after":"running""# };
        let error = Receipt::parse(&format!("{run}\n{}\n", line.replace(&states, foreign))).unwrap_err();
        assert_eq!(error.class(), Class::Input);
        let words = error.to_string();
        assert!(words.starts_with("line 2: not a journal record: ") && words.contains(kind.word()), "{words}");
    }
}

#[test]
fn a_torn_record_is_cut_off_and_the_next_run_writes_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::at(dir.path()).unwrap();
    let mut journal = Journal::open(&mut host, Some(&RunStart::ignoring(&[]))).unwrap();
    let step = journal.begin(&write("x")).unwrap();
    journal.done(step).unwrap();
    drop(journal);
    let path = dir.path().join("var/lib/mitigator-vpn/journal.ndjson");
    let whole = std::fs::read_to_string(&path).unwrap();
    for cut in [1, 5, 12] {
        std::fs::write(&path, format!("{whole}{}", &r#"{"begin":{"step":1,"#[..cut])).unwrap();
        let mut journal = Journal::open(&mut host, Some(&RunStart::ignoring(&["clock".into()]))).unwrap();
        assert_eq!(journal.begin(&write("y")).unwrap(), 1);
        drop(journal);
        let receipt = Receipt::load(&host).unwrap();
        assert_eq!(receipt.changes.len(), 2);
        assert!(receipt.changes[0].done && !receipt.changes[1].done);
        assert_eq!(receipt.ignored, ["clock"]);
    }
}

#[test]
fn a_damaged_record_names_its_line_and_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::at(dir.path()).unwrap();
    drop(Journal::open(&mut host, Some(&RunStart::ignoring(&[]))).unwrap());
    let path = dir.path().join("var/lib/mitigator-vpn/journal.ndjson");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}nonsense\n")).unwrap();
    let error = Receipt::load(&host).unwrap_err();
    assert!(error.to_string().contains("journal.ndjson: line 2: not a journal record"), "{error}");
    assert!(error.way_out().unwrap().contains("mv "), "{error}");
}

#[test]
fn closing_every_step_leaves_nothing_to_undo() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::at(dir.path()).unwrap();
    let mut journal = Journal::open(&mut host, Some(&RunStart::ignoring(&[]))).unwrap();
    let step = journal.begin(&write("x")).unwrap();
    journal.close(step).unwrap();
    assert!(Receipt::load(&host).unwrap().changes.is_empty());
    journal.remove(&mut host).unwrap();
    assert!(!dir.path().join("var/lib/mitigator-vpn").exists());
}

/// A peer list as operators keep it.
fn list(members: usize, change: impl Fn(usize) -> usize) -> String {
    let member = |n: usize| {
        let (key, a, b, port) = (format!("{n:043}="), n >> 8, n & 255, change(n));
        format!(
            "# Branch {n}, Kazan\n[Peer]\nPublicKey = {key}\nAllowedIPs = 10.8.{a}.{b}/32\nEndpoint = 192.0.2.1:{port}\n\n"
        )
    };
    (0..members).map(member).collect()
}

fn rewrite(before: &str, after: &str) -> Step {
    let text = |text: &str| Content::Text(text.to_owned());
    let (resource, before, after) = (File { path: "/list".into() }, text(before), text(after));
    Transition { resource, before, after }.into()
}

/// A run of these steps.
fn run(host: &mut Host, steps: &[Step]) -> RunId {
    let start = RunStart::ignoring(&[]);
    let mut journal = Journal::open(host, Some(&start)).unwrap();
    for step in steps {
        let number = journal.begin(step).unwrap();
        journal.done(number).unwrap();
    }
    start.id
}

fn undo_all(host: &mut Host) {
    let changes = Receipt::load(host).unwrap().changes;
    undo::run(host, &changes, &Progress::Silent).unwrap();
}

fn length(dir: &Path) -> u64 {
    std::fs::metadata(dir.join(&JOURNAL[1..])).unwrap().len()
}

/// A run as [`Journal`] writes it, without the file.
fn noted(receipt: &mut Receipt, text: &mut String, step: &Step) {
    if let Some(shorter) = compaction::compacted(receipt).unwrap() {
        *receipt = Receipt { next_step: receipt.next_step, ..Receipt::parse(&shorter).unwrap() };
        *text = shorter;
    }
    let number = receipt.next_step;
    let id = Some(RunId::try_from(format!("{number:016x}")).unwrap());
    let start =
        RunRecord { format: FORMAT, version: "1".into(), at: 1, ignored: vec![], id: id.clone(), merged: false };
    let begin = Record::Begin { step: number, run: id, change: step.clone() };
    for record in [Record::Run(start), begin, Record::Done { step: number }] {
        *text += &record.lines(&mut receipt.texts).unwrap();
        receipt.take(record).unwrap();
    }
    receipt.whole = text.len() as u64;
}

#[test]
fn a_journal_of_a_thousand_members_stays_below_a_mebibyte_however_many_runs_there_are_and_undo_is_exact() {
    let original = list(1000, |_| 4567);
    let mut members: Vec<String> = original.split_inclusive("\n\n").map(str::to_owned).collect();
    let (mut receipt, mut text, mut now, mut longest) = (Receipt::default(), String::new(), original.clone(), [0, 0]);
    for n in 0..1000 {
        // Each run gives one member another port.
        let member = &mut members[n * 7 % 1000];
        *member = list_with(member, n * 7 % 1000, 10_000 + n);
        let next = members.concat();
        noted(&mut receipt, &mut text, &rewrite(&now, &next));
        let half = &mut longest[n / 500];
        *half = text.len().max(*half);
        now = next;
    }
    // It repeats itself: what the first runs need is what any number of them needs.
    assert!(longest[0] < 1 << 20 && longest[1] <= longest[0] + 4096, "{longest:?} bytes");

    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::at(dir.path()).unwrap();
    std::fs::create_dir_all(dir.path().join(&STATE_DIR[1..])).unwrap();
    std::fs::write(dir.path().join(&JOURNAL[1..]), text).unwrap();
    std::fs::write(dir.path().join("list"), &now).unwrap();
    undo_all(&mut host);
    assert_eq!(std::fs::read_to_string(dir.path().join("list")).unwrap(), original);
    assert!(!dir.path().join("var/lib/mitigator-vpn").exists());
}

/// The list with another port for one of its members.
fn list_with(list: &str, member: usize, port: usize) -> String {
    let start = list.find(&format!("# Branch {member}, Kazan")).unwrap();
    let at = start + list[start..].find("192.0.2.1:").unwrap() + "192.0.2.1:".len();
    let end = at + list[at..].find('\n').unwrap();
    format!("{}{port}{}", &list[..at], &list[end..])
}

#[test]
fn what_others_do_between_runs_neither_fills_the_journal_nor_is_lost() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut host = Host::at(dir.path()).unwrap();
    let mut theirs = String::new();
    let mut longest = 0;
    for n in 0..400 {
        theirs = list(200, |member| if member == 7 { 10_000 + n } else { 4567 });
        let ours = list_with(&theirs, 9, 5000 + n);
        run(&mut host, &[rewrite(&theirs, &ours)]);
        std::fs::write(dir.path().join("list"), ours).unwrap();
        longest = longest.max(length(dir.path()));
    }
    assert!(longest < 1 << 18, "{longest} bytes");
    undo_all(&mut host);
    // The last change that was not ours stays, as without compaction.
    assert_eq!(std::fs::read_to_string(dir.path().join("list")).unwrap(), theirs);
}

#[test]
fn a_run_is_taken_back_alone_and_what_another_one_has_changed_since_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::at(dir.path()).unwrap();
    let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).ok();
    let make = |name: &str, before: &str, after: &str| -> Step {
        let content = |text: &str| if text.is_empty() { Content::Absent } else { Content::Text(text.into()) };
        std::fs::write(dir.path().join(name), after).unwrap();
        let resource = File { path: Path::new("/").join(name) };
        Transition { resource, before: content(before), after: content(after) }.into()
    };
    let mine = run(&mut host, &[make("mine", "", "x"), make("both", "", "x")]);
    let theirs = run(&mut host, &[make("theirs", "", "x"), make("both", "x", "y")]);
    let fates = undo::of_run(&mut host, &mine, &Progress::Silent).unwrap();
    assert!(matches!(fates[0].fate, Fate::Kept(_)), "{fates:?}");
    assert_eq!(fates[1].fate, Fate::TakenBack);
    assert_eq!((text("mine"), text("theirs"), text("both")), (None, Some("x".into()), Some("y".into())));
    assert_eq!(undo::of_run(&mut host, &theirs, &Progress::Silent).unwrap().len(), 2);
    assert_eq!((text("theirs"), text("both")), (None, Some("x".into())));
}

#[test]
fn a_run_that_has_become_part_of_others_says_so_when_it_is_to_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::at(dir.path()).unwrap();
    let first = run(&mut host, &[rewrite("0", "1")]);
    for n in 1..200 {
        run(&mut host, &[rewrite(&n.to_string(), &(n + 1).to_string())]);
    }
    std::fs::write(dir.path().join("list"), "200").unwrap();
    for _ in 0..2 {
        let fates = undo::of_run(&mut host, &first, &Progress::Silent).unwrap();
        assert!(matches!(&fates[..], [Undone { fate: Fate::Kept(_), .. }]), "{fates:?}");
        for n in 200..300 {
            run(&mut host, &[rewrite(&n.to_string(), &(n + 1).to_string())]);
        }
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("list")).unwrap(), "200");
}

#[test]
fn a_step_that_was_cut_off_is_not_joined_to_what_was_found_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::at(dir.path()).unwrap();
    let mut journal = Journal::open(&mut host, Some(&RunStart::ignoring(&[]))).unwrap();
    journal.begin(&rewrite("original", "x")).unwrap();
    for n in 0..100 {
        run(&mut host, &[rewrite(&format!("torn {n}"), &format!("torn {}", n + 1))]);
    }
    let changes = Receipt::load(&host).unwrap().changes;
    assert!(!changes[0].done && changes.len() < 30, "{changes:?}");
    std::fs::write(dir.path().join("list"), "torn 100").unwrap();
    undo_all(&mut host);
    assert_eq!(std::fs::read_to_string(dir.path().join("list")).unwrap(), "original");
}

#[test]
fn a_newer_programs_journal_is_left_alone_and_the_way_out_is_that_program() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::at(dir.path()).unwrap();
    run(&mut host, &[rewrite("a", "b")]);
    let path = dir.path().join(&JOURNAL[1..]);
    let newer = std::fs::read_to_string(&path).unwrap()
        + "{\"what\":\"ever\"}\n{\"run\":{\"format\":7,\"version\":\"0.9.0\",\"at\":\"noon\"}}\n{\"run\":{\"format\":3,\"version\":\"0.8.0\",\"at\":\"noon\"}}\n{\"begin\":7}\n";
    std::fs::write(&path, &newer).unwrap();
    for refused in [
        Receipt::load(&host).map(drop),
        Journal::open(&mut host, Some(&RunStart::ignoring(&[]))).map(drop),
        undo::of_run(&mut host, &RunId::fresh(), &Progress::Silent).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("a newer mitigator-vpn (0.9.0)"), "{error}");
        let hint = error.way_out().unwrap().to_string();
        assert!(hint.contains("use mitigator-vpn 0.9.0 or a newer one") && !hint.contains("mv"), "{hint}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
    assert_eq!(host.list(Path::new(STATE_DIR)).unwrap(), ["journal.ndjson"]);
}

#[test]
fn a_record_with_a_path_that_no_run_notes_is_damage_and_named() {
    for (kind, line, _) in records() {
        for (from, to) in [("\"/srv", "\"/srv/../etc"), ("\"/f\"", "\"/x/../f\""), ("\"/", "\"")] {
            let odd = line.replacen(from, to, 1);
            if odd == line || matches!(kind, ResourceKind::Module | ResourceKind::FirewallRule) {
                continue;
            }
            let words = Receipt::parse(&format!("{line}\n{odd}\n")).unwrap_err().to_string();
            assert!(words.starts_with("line 2: a path that no run has noted: "), "{words}");
        }
    }
}

#[test]
fn the_format_that_is_written_has_its_recordings() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/journals/format-{FORMAT}"));
    assert!(recorded.is_dir(), "{} is missing: tests/journals/README.md", recorded.display());
}
