//! What a person is told to do is right, and can be typed as it stands.

use crate::support::Host;
use crate::support::tree::TreeHost;
use crate::unit::bad_input::{INSTANCE, KEY_A, KEY_B, PUBLIC, section};

/// What is typed as the hint says: with the file's own name, and without removing what is somebody's.
#[test]
fn a_list_given_that_is_none_is_named_as_it_was_typed_with_the_way_to_one() {
    let tree = TreeHost::with_vendor_stack()
        .file("/empty.conf", "")
        .file("/private.conf", format!("[Interface]\nPrivateKey = {KEY_A}\n"))
        .file("/good.conf", section(KEY_B, "10.8.3.7/32", "192.0.2.7:4567"))
        .directory("/lists");
    let before = tree.snapshot();
    for (file, hint) in
        [("/empty.conf", "scp root@"), ("/private.conf", "vpn-private.conf"), ("/lists", "/lists/vpn-public.conf")]
    {
        let path = tree.at(file).display().to_string();
        for command in ["preflight", "plan", "install --yes"] {
            let ran = tree
                .vpn(&format!("{command} {INSTANCE}"))
                .arg("--peers")
                .arg(&path)
                .run()
                .exits(2)
                .says(&path)
                .says(hint);
            assert!(!ran.err().contains("rm ") && !ran.err().contains("rmdir") && !ran.err().contains(KEY_A), "{ran}");
        }
    }
    before.is_untouched_in(&tree.snapshot());
    let list = std::fs::read(tree.at("/good.conf")).expect("our own file");
    tree.vpn(&format!("preflight {INSTANCE} --peers -")).stdin(list).run().exits(0).says("10.8.3.1 and 1 other member");
}

#[test]
fn options_that_are_nearly_right_are_told_what_is_right() {
    let tree = TreeHost::with_vendor_stack();
    let install = |options: &str| tree.vpn(&format!("install {options} --yes")).run().exits(2);
    install("--vpn-address 10.8.3.1/24 --endpoint 192.0.2.1").says("--vpn-address 10.8.3.1 --prefix 24");
    install("--vpn-address 10.8.3.1 --endpoint 192.0.2.1:70000").says("port 70000 can't be sent to: use 1 to 65535");
    install(&format!("{INSTANCE} --ignore firewal")).says("did you mean firewall?");
    tree.vpn("explain udp-port").run().exits(2).says("did you mean udp-port-free?");
    tree.vpn("preflight --vpn-address 8.8.8.8 --endpoint 192.0.2.1").run().exits(0).says("an address of the Internet");
}

#[test]
fn a_newer_programs_journal_is_told_by_every_command_and_never_moved_away() {
    let tree = TreeHost::with_vendor_stack();
    tree.vpn(&format!("install {INSTANCE} --yes")).run().exits(0);
    let journal = "/var/lib/mitigator-vpn/journal.ndjson";
    let newer = r#"{"run":{"format":9,"version":"7.1.0","at":1,"ignored":[]}}"#;
    tree.write(journal, tree.text(journal) + newer + "\n");
    let before = tree.snapshot();
    for (command, code) in [("preflight", 3), ("plan", 3), ("status", 5), ("install --yes", 2), ("undo --yes", 2)] {
        let ran = tree.vpn(command).run().exits(code).says("use mitigator-vpn 7.1.0 or a newer one");
        assert!(!ran.out().contains("mv ") && !ran.err().contains("mv "), "{ran}");
    }
    before.is_untouched_in(&tree.snapshot());
}

#[test]
fn status_tells_each_part_by_itself() {
    let tree = TreeHost::with_vendor_stack();
    let status = |words: &str| tree.vpn("status").run().exits(5).says(words);
    status("no VPN is set up here; set it up: mitigator-vpn install");
    tree.vpn(&format!("install {INSTANCE} --yes")).run().exits(0);
    tree.vpn("status").run().exits(0).says("10.8.3.1  ").says("whether a tunnel is up isn't known");
    // A bad line beside other differences, which a failed check hid.
    tree.write(PUBLIC, tree.text(PUBLIC) + "nonsense\n");
    tree.write("/srv/mitigator/docker-compose.vpn.yml", tree.text("/srv/mitigator/docker-compose.vpn.yml") + "# a\n");
    let ran = status("differs:");
    assert!(!ran.out().contains("no VPN is set up here") && !ran.out().contains("no tunnel is up"), "{ran}");
    assert!(ran.out().contains("10.8.3.1  ") && ran.out().contains("peers check"), "{ran}");
}

#[test]
fn a_refusal_shows_what_stands_in_the_way_and_nothing_that_passed() {
    let tree = TreeHost::with_vendor_stack();
    for command in ["plan", "install --yes"] {
        let ran = tree.vpn(&format!("{command} --vpn-address 10.8.3.0 --endpoint 192.0.2.1")).run().exits(3);
        assert!(ran.out().contains("FAIL") && !ran.out().contains("\npass "), "{ran}");
    }
    let all = tree.vpn("preflight --vpn-address 10.8.3.0 --endpoint 192.0.2.1").run().exits(3);
    assert!(all.out().contains("\npass "), "{all}");
}

#[test]
fn every_command_has_its_manual_page_nested_ones_included() {
    let tree = TreeHost::bare();
    for (command, name) in [
        ("man", "mitigator-vpn"),
        ("man install", "install"),
        ("man peers add", "peers"),
        ("man cluster apply", "cluster"),
    ] {
        let page = tree.vpn(command).run().exits(0);
        assert!(page.out().contains(".TH") && page.out().contains(name), "{page}");
    }
    assert!(tree.vpn("man peers add").run().out().contains("public\\-key"));
    tree.vpn("man peers adds").run().exits(2).says("there is no command 'adds'");
}

#[test]
fn a_locale_that_is_not_utf_8_gets_ascii() {
    let tree = TreeHost::with_vendor_stack();
    for (locale, is_russian) in
        [("ru_RU.KOI8-R", false), ("ru_RU.CP1251", false), ("de_DE.ISO-8859-1", false), ("ru_RU.UTF-8", true)]
    {
        for command in [
            "preflight --vpn-address 10.8.3.0",
            "explain clock",
            "install --yes --vpn-address 10.8.3.0 --endpoint 192.0.2.1",
        ] {
            let ran = tree.vpn(command).env("LC_ALL", locale).run();
            assert_eq!(ran.stdout.is_ascii() && ran.stderr.is_ascii(), !is_russian, "{locale}: {ran}");
        }
    }
}

#[test]
fn an_override_that_compose_leaves_out_and_a_lost_env_are_told_with_their_likely_cause() {
    let tree = TreeHost::with_vendor_stack();
    tree.vpn(&format!("install {INSTANCE} --yes")).run().exits(0);
    tree.write("/srv/mitigator/docker-compose.override.yml", "services: {}\n");
    tree.vpn("preflight").run().exits(0).says("COMPOSE_FILE doesn't name docker-compose.override.yml");
    tree.write("/srv/mitigator/.env", "");
    tree.vpn("preflight").run().exits(0).says("an update of Mitigator has replaced it, most likely");
    tree.vpn("install --yes").run().exits(0);
    tree.vpn("preflight").run().exits(0).does_not_say("an update of Mitigator");
}
