//! The test support detects what it is there to detect.

use crate::support::Host;
use crate::support::secret::Canary;
use crate::support::snapshot::Snapshot;
use crate::support::tree::TreeHost;

#[test]
fn a_snapshot_sees_every_way_to_touch_a_file() {
    let touch: [(&str, &str, &str); 7] = [
        ("one byte", "printf 'x' | dd of=$1/f conv=notrunc status=none", "bytes"),
        ("its mode", "chmod 600 $1/f", "mode"),
        ("a rewrite of the same bytes", "printf 'same' >$1/f", "modified"),
        ("the same bytes put there by rename", "cp -p $1/f $1/g && mv $1/g $1/f", "inode"),
        (
            "a time put back",
            "touch -r $1/f $1/g; chmod 600 $1/f; chmod 644 $1/f; touch -r $1/g $1/f; rm $1/g",
            "changed",
        ),
        ("a file that came and went", "touch $1/d/g; rm $1/d/g", "/d: modified"),
        ("a link that leads elsewhere", "ln -sfn elsewhere $1/l", "link"),
    ];
    for (what, script, expected) in touch {
        let tree = TreeHost::bare().file("/f", "same").mode("/f", 0o644).directory("/d").link("/l", "f");
        let before = tree.snapshot();
        tree.shell(script).arg("sh").arg(tree.at("").display().to_string()).run().exits(0);
        let later = tree.snapshot();
        let seen = std::panic::catch_unwind(|| before.is_untouched_in(&later)).expect_err(what);
        let seen = seen.downcast_ref::<String>().expect("an assertion has a text");
        assert!(seen.contains(expected), "{what}: {seen}");
    }
}

#[test]
fn a_snapshot_of_untouched_files_is_equal_and_excluded_ones_are_left_out() {
    let tree = TreeHost::bare().file("/var/log/a", "1").file("/var/logs", "2");
    let before = tree.snapshot();
    before.is_untouched_in(&tree.snapshot());
    tree.write("/var/log/a", "changed");
    let excluded = [("/var/log", "logs are there to be written")];
    before.clone().without(&excluded).is_untouched_in(&tree.snapshot().without(&excluded));
    tree.write("/var/logs", "changed");
    assert_eq!(before.without(&excluded).differing(&tree.snapshot().without(&excluded)), ["/var/logs"]);
}

#[test]
fn a_snapshot_reads_again_what_may_have_changed_since_an_earlier_one() {
    let tree = TreeHost::bare().file("/f", "old").file("/g", "same");
    let root = tree.at("").display().to_string();
    let before = tree.snapshot();
    tree.shell("cp -p $0/f $0/time; printf new >$0/f; touch -r $0/time $0/f; rm $0/time")
        .arg(root.clone())
        .run()
        .exits(0);
    let later = Snapshot::take(&tree, &root, &[], &before);
    assert_eq!(before.differing(&later), ["/f"]);
    tree.snapshot().is_untouched_in(&later);
}

#[test]
fn a_planted_leak_of_a_key_is_caught_in_every_form_and_a_public_key_is_none() {
    let canary = Canary::new();
    let shell = |script: &str| {
        let tree = TreeHost::bare();
        tree.shell(script).arg(canary.text.clone()).run().exits(0).stdout
    };
    for (form, script) in [
        ("base64", "printf 'PrivateKey = %s' \"$0\""),
        ("base64", "printf 'key: %.12s…' \"$0\""),
        ("base64", "printf %s \"$0\" | tail -c 20"),
        ("base64url", "printf %s \"$0\" | tr '+/' '-_'"),
        ("hex", "printf %s \"$0\" | base64 -d | od -An -v -tx1 | tr -d ' \\n'"),
        ("hex in capitals", "printf %s \"$0\" | base64 -d | od -An -v -tx1 | tr -d ' \\n' | tr a-f A-F"),
        ("raw bytes", "printf %s \"$0\" | base64 -d"),
        ("the Debug of an array", "printf %s \"$0\" | base64 -d | od -An -v -tu1 | xargs | sed 's/ /, /g'"),
    ] {
        let leaked = shell(script);
        let found = canary.leaks_in(&leaked);
        assert!(found == Some(form) || found == Some("base64"), "{form} is seen as {found:?}: {script}");
    }
    assert_eq!(canary.leaks_in(canary.public.as_bytes()), None);
    assert_eq!(canary.leaks_in(Canary::new().private_conf().as_bytes()), None);
}

#[test]
fn a_failed_call_shows_a_long_output_by_its_beginning_and_its_end() {
    let tree = TreeHost::bare();
    let long = tree.call("seq 1000").run().to_string();
    assert_eq!(long.matches("stdout: ").count(), 141, "{long}");
    for line in ["stdout: 40\n", "stdout: … 860 lines …\n", "stdout: 901\n", "stdout: 1000\n"] {
        assert!(long.contains(line), "{line}{long}");
    }
    let short = tree.call("seq 200").run().to_string();
    assert_eq!(short.matches("stdout: ").count(), 200, "{short}");
}
