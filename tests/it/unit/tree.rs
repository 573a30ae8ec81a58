//! The end state in a host's tree: exactly the documented bytes, nothing else touched, and all of it undone.

use crate::support::Host;
use crate::support::secret::Canary;
use crate::support::tree::{TreeHost, VENDOR_STACK};
use mitigator_vpn::wireguard::PrivateKey;

const INSTALL: &str = "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --yes";
pub const INSTALL_2: &str = "install --vpn-address 10.8.3.2 --endpoint 192.0.2.2 --yes";

pub const PRIVATE: &str = "/srv/mitigator/vpn-private.conf";
pub const PUBLIC: &str = "/srv/mitigator/vpn-public.conf";
const OVERLAY: &str = "/srv/mitigator/docker-compose.vpn.yml";
pub const ENV: &str = "/srv/mitigator/.env";
const AUTOLOAD: &str = "/etc/modules-load.d/mitigator.conf";
const STATE: &str = "/var/lib/mitigator-vpn";

/// The vendor's page, byte for byte.
const DOCUMENTED_OVERLAY: &str = r#"version: "2.2"
services:
  gateway:
    environment:
      GATEWAY_ADDRESS: "${MITIGATOR_VPN_ADDRESS:-10.8.3.1}/${MITIGATOR_VPN_PREFIX:-24}"
    volumes:
    - ./vpn-public.conf:/srv/public.conf:ro
    - ./vpn-private.conf:/srv/private.conf:ro
"#;

/// A list edited by hand.
pub const HAND_WRITTEN: &str = "\
# Moscow, rack 7. Ask Ivan before you touch it.
[Peer]
PublicKey = acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc=
  AllowedIPs=10.8.3.1/32   # first
Endpoint = 192.0.2.1:4567

# the end
";

/// The key in a private file.
fn key(tree: &TreeHost) -> PrivateKey {
    let text = tree.text(PRIVATE);
    let line = text.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).expect("a private key");
    line.parse().expect("a private key")
}

fn section(key: &str, n: u8) -> String {
    format!("[Peer]\nPublicKey = {key}\nAllowedIPs = 10.8.3.{n}/32\nEndpoint = 192.0.2.{n}:4567\n")
}

#[test]
fn the_first_instance_has_exactly_the_documented_files() {
    let tree = TreeHost::with_vendor_stack();
    let before = tree.snapshot();
    tree.vpn(INSTALL).run().exits(0).says("live host");

    let key = key(&tree);
    assert_eq!(tree.text(PRIVATE), format!("[Interface]\nListenPort = 4567\nPrivateKey = {}\n", *key.expose()));
    assert_eq!(tree.text(PUBLIC), section(&key.public().to_string(), 1));
    assert_eq!(tree.text(OVERLAY), DOCUMENTED_OVERLAY);
    assert_eq!(
        tree.text(ENV),
        "COMPOSE_FILE=docker-compose.yml:docker-compose.vpn.yml\nMITIGATOR_VPN_ADDRESS=10.8.3.1\n"
    );
    assert_eq!(tree.text(AUTOLOAD), "wireguard\n");

    assert_eq!(tree.mode_of(PRIVATE), 0o600);
    assert_eq!(tree.mode_of(ENV), 0o600);
    for path in [PUBLIC, OVERLAY, AUTOLOAD] {
        assert_eq!(tree.mode_of(path), 0o644, "{path}");
    }
    let mut expected = vec![PRIVATE, PUBLIC, OVERLAY, ENV, AUTOLOAD, STATE];
    expected.sort_unstable();
    let mut differing = before.differing(&tree.snapshot());
    differing.retain(|path| !path.starts_with(&format!("{STATE}/")));
    assert_eq!(differing, expected, "these and no others");
}

#[test]
fn a_host_without_a_stack_gets_the_projects_own() {
    let tree = TreeHost::bare();
    tree.vpn(INSTALL).arg("--stack=default").run().exits(0);
    let stack = tree.text("/srv/mitigator/docker-compose.yml");
    assert!(stack.contains("gateway:") && stack.contains("mitigator-vpn-gateway:"), "{stack}");
    assert_eq!(tree.text(OVERLAY), DOCUMENTED_OVERLAY);
}

#[test]
fn the_vendors_stack_is_never_changed() {
    let tree = TreeHost::with_vendor_stack();
    let before = tree.snapshot().below("/srv/mitigator/docker-compose.yml");
    tree.vpn(INSTALL).arg("--stack=default").run().exits(0);
    before.is_untouched_in(&tree.snapshot().below("/srv/mitigator/docker-compose.yml"));
    assert_eq!(tree.text("/srv/mitigator/docker-compose.yml"), VENDOR_STACK);
}

#[test]
fn a_later_instance_keeps_the_members_list_and_adds_itself() {
    let tree = TreeHost::with_vendor_stack().file("/root/peers.conf", HAND_WRITTEN);
    let peers = tree.at("/root/peers.conf").display().to_string();
    tree.vpn(INSTALL_2).arg(format!("--peers={peers}")).run().exits(0);
    let list = tree.text(PUBLIC);
    let own = section(&key(&tree).public().to_string(), 2);
    let rest = list.strip_prefix(HAND_WRITTEN).unwrap_or_else(|| panic!("the list was rewritten:\n{list}"));
    assert_eq!(rest.trim_start_matches('\n'), own);
}

#[test]
fn a_list_that_is_here_is_extended_and_keeps_comments_and_order() {
    let canary = Canary::new();
    let tree = TreeHost::with_vendor_stack().file(PUBLIC, HAND_WRITTEN).file(PRIVATE, canary.private_conf());
    let tree = tree.mode(PUBLIC, 0o640);
    tree.vpn(INSTALL_2).run().exits(0);
    assert_eq!(tree.text(PUBLIC), format!("{HAND_WRITTEN}\n{}", section(&canary.public, 2)));
    assert_eq!(tree.mode_of(PUBLIC), 0o640);
}

#[test]
fn an_existing_key_and_the_words_around_it_stay() {
    let canary = Canary::new();
    let text =
        format!("# do not lose this\n[Interface]\nPrivateKey={}\nListenPort = 4567\nFwMark = 0x10\n", canary.text);
    let tree = TreeHost::with_vendor_stack().file(PRIVATE, &text).mode(PRIVATE, 0o640);
    let before = tree.snapshot().below(PRIVATE);
    tree.vpn(INSTALL).run().exits(0);
    before.is_untouched_in(&tree.snapshot().below(PRIVATE));
    assert_eq!(tree.text(PUBLIC), section(&canary.public, 1));
}

/// `.env` before and after (FN-33, FN-34). The instance has the address 10.8.3.2.
const ENVS: [(&str, &str, &str); 11] = [
    ("empty", "", "COMPOSE_FILE={files}\nMITIGATOR_VPN_ADDRESS=10.8.3.2\n"),
    (
        "with secrets and comments",
        "# db\nPOSTGRES_PASSWORD='a b$c#d'\n\nTOKEN=\"x\\\"y\"\n",
        "# db\nPOSTGRES_PASSWORD='a b$c#d'\n\nTOKEN=\"x\\\"y\"\nCOMPOSE_FILE={files}\nMITIGATOR_VPN_ADDRESS=10.8.3.2\n",
    ),
    ("without a last line end", "A=1", "A=1\nCOMPOSE_FILE={files}\nMITIGATOR_VPN_ADDRESS=10.8.3.2"),
    ("CRLF", "A=1\r\nB=2\r\n", "A=1\r\nB=2\r\nCOMPOSE_FILE={files}\r\nMITIGATOR_VPN_ADDRESS=10.8.3.2\r\n"),
    (
        "a byte order mark",
        "\u{feff}A=1\nMITIGATOR_VPN_ADDRESS=10.8.3.9\n",
        "\u{feff}A=1\nMITIGATOR_VPN_ADDRESS=10.8.3.2\nCOMPOSE_FILE={files}\n",
    ),
    (
        "double quotes and a comment behind",
        "MITIGATOR_VPN_ADDRESS=\"10.8.3.9\" # was 8\nA=1\n",
        "MITIGATOR_VPN_ADDRESS=\"10.8.3.2\" # was 8\nA=1\nCOMPOSE_FILE={files}\n",
    ),
    (
        "single quotes and export",
        "export MITIGATOR_VPN_ADDRESS='10.8.3.9'\n",
        "export MITIGATOR_VPN_ADDRESS='10.8.3.2'\nCOMPOSE_FILE={files}\n",
    ),
    (
        "duplicates, of which the last counts",
        "MITIGATOR_VPN_ADDRESS=10.8.3.7\nA=1\nMITIGATOR_VPN_ADDRESS=10.8.3.9\n",
        "MITIGATOR_VPN_ADDRESS=10.8.3.7\nA=1\nMITIGATOR_VPN_ADDRESS=10.8.3.2\nCOMPOSE_FILE={files}\n",
    ),
    (
        "an empty address",
        "MITIGATOR_VPN_ADDRESS=\nA=1\n",
        "MITIGATOR_VPN_ADDRESS=10.8.3.2\nA=1\nCOMPOSE_FILE={files}\n",
    ),
    (
        "files of its own",
        "COMPOSE_FILE=docker-compose.yml:extra.yml\n",
        "COMPOSE_FILE=docker-compose.yml:extra.yml:docker-compose.vpn.yml\nMITIGATOR_VPN_ADDRESS=10.8.3.2\n",
    ),
    (
        "another separator",
        "COMPOSE_PATH_SEPARATOR=,\nCOMPOSE_FILE=docker-compose.yml,extra.yml\n",
        "COMPOSE_PATH_SEPARATOR=,\nCOMPOSE_FILE=docker-compose.yml,extra.yml,docker-compose.vpn.yml\nMITIGATOR_VPN_ADDRESS=10.8.3.2\n",
    ),
];

#[test]
fn an_env_of_any_dialect_changes_in_exactly_the_lines_needed_and_back() {
    for (what, before, after) in ENVS {
        let tree = TreeHost::with_vendor_stack().file(ENV, before).file("/srv/mitigator/extra.yml", VENDOR_STACK);
        let tree = tree.mode(ENV, 0o640);
        let snapshot = tree.snapshot();
        tree.vpn(INSTALL_2).run().exits(0);
        let after = after.replace("{files}", "docker-compose.yml:docker-compose.vpn.yml");
        assert_eq!(tree.text(ENV), after, "{what}");
        assert_eq!(tree.mode_of(ENV), 0o640, "{what}");
        tree.vpn(INSTALL_2).run().exits(0);
        assert_eq!(tree.text(ENV), after, "{what}, again");
        tree.vpn("undo --yes").run().exits(0);
        snapshot.is_given_back_in(&tree.snapshot());
    }
}

#[test]
fn an_existing_override_stays_in_use() {
    let tree = TreeHost::with_vendor_stack().file("/srv/mitigator/docker-compose.override.yml", VENDOR_STACK);
    tree.vpn(INSTALL).run().exits(0);
    let env = tree.text(ENV);
    assert!(
        env.starts_with("COMPOSE_FILE=docker-compose.yml:docker-compose.override.yml:docker-compose.vpn.yml\n"),
        "{env}"
    );
}

#[test]
fn a_link_that_an_operator_made_stays_one() {
    let tree = TreeHost::with_vendor_stack().file("/etc/mitigator/env", "A=1\n").link(ENV, "/etc/mitigator/env");
    tree.vpn(INSTALL).run().exits(0);
    assert!(tree.at(ENV).is_symlink());
    let text = tree.text("/etc/mitigator/env");
    assert!(text.starts_with("A=1\nCOMPOSE_FILE="), "{text}");
}

#[test]
fn a_second_run_plans_nothing_and_writes_nothing() {
    let tree = TreeHost::with_vendor_stack().file(ENV, "A=1\n").file(PUBLIC, HAND_WRITTEN);
    tree.vpn(INSTALL_2).run().exits(0);
    let before = tree.snapshot();
    let plan = tree.vpn("plan --vpn-address 10.8.3.2 --endpoint 192.0.2.2 --json").run().exits(0).json();
    assert_eq!(plan["steps"], serde_json::json!([]));
    let again = tree.vpn(INSTALL_2).arg("--json").run().exits(0).json();
    assert_eq!(again["steps"], serde_json::json!([]));
    // A run without options finds everything where the first run put it.
    tree.vpn("install").run().exits(0);
    before.is_untouched_in(&tree.snapshot());
}

#[test]
fn undo_gives_back_an_empty_tree() {
    let tree = TreeHost::bare();
    let before = tree.snapshot();
    tree.vpn(INSTALL).arg("--stack=default").run().exits(0);
    tree.vpn("undo --yes").run().exits(0);
    before.is_given_back_in(&tree.snapshot());
    let done = tree.snapshot();
    tree.vpn("undo --yes").run().exits(0);
    done.is_untouched_in(&tree.snapshot());
}

#[test]
fn undo_gives_back_every_file_of_an_instance_byte_for_byte() {
    let canary = Canary::new();
    let tree = TreeHost::with_vendor_stack()
        .file(ENV, "\u{feff}export MITIGATOR_VPN_ADDRESS=\"10.8.3.9\" # old\r\nTOKEN=x")
        .file(PUBLIC, HAND_WRITTEN)
        .file(PRIVATE, format!("# ours\n[Interface]\nPrivateKey = {}\nListenPort = 5000\n", canary.text))
        .file(OVERLAY, "# the vendor's, changed by hand\nversion: \"2.2\"\n")
        .file(AUTOLOAD, "# by hand\nwireguard")
        .mode(ENV, 0o604)
        .mode(PRIVATE, 0o640);
    let before = tree.snapshot();
    tree.vpn(INSTALL_2).arg("--port=4567").run().exits(0);
    // Runs add up: one more member, another endpoint.
    tree.vpn("install --vpn-address 10.8.3.2 --endpoint 192.0.2.22 --yes").run().exits(0);
    assert_ne!(before.differing(&tree.snapshot()), Vec::<String>::new());
    tree.vpn("undo --yes").run().exits(0);
    before.is_given_back_in(&tree.snapshot());
}

#[test]
fn undo_keeps_what_somebody_has_changed_since_and_says_so() {
    let tree = TreeHost::with_vendor_stack().file(ENV, "A=1\n");
    tree.vpn(INSTALL).run().exits(0);
    tree.write(OVERLAY, "# mine now\n");
    tree.write(ENV, tree.text(ENV).replace("10.8.3.1", "10.8.3.77") + "B=2\n");
    let undone = tree.vpn("undo --yes --json").run().exits(0).json();
    assert_eq!(undone["outcome"], "warn");
    let kept: Vec<&str> = undone["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|change| change["fate"] == "kept")
        .map(|change| change["resource"].as_str().expect("a name"))
        .collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(tree.text(OVERLAY), "# mine now\n");
    assert_eq!(tree.text(ENV), "A=1\nMITIGATOR_VPN_ADDRESS=10.8.3.77\nB=2\n");
    assert!(!tree.has(PUBLIC) && !tree.has(PRIVATE) && !tree.has(AUTOLOAD) && !tree.has(STATE));
}

/// FN-9: the vendor's update downloads `.env` anew. FN-47, FN-50: lost or edited files are reported, and repaired from
/// what is left.
#[test]
fn lost_or_edited_files_are_reported_by_status_and_repaired_by_a_run_without_options() {
    type Harm = fn(&TreeHost);
    let harms: [(&str, Harm); 6] = [
        ("an update", |tree| tree.write(ENV, "VERSION=23.12\n")),
        ("no .env", |tree| tree.remove(ENV)),
        ("another overlay", |tree| tree.write(OVERLAY, "version: \"2.2\"\n")),
        ("no overlay", |tree| tree.remove(OVERLAY)),
        ("no autoload", |tree| tree.remove(AUTOLOAD)),
        ("a lost port", |tree| tree.write(PRIVATE, tree.text(PRIVATE).replace("ListenPort = 4567\n", ""))),
    ];
    for (what, harm) in harms {
        let tree = TreeHost::with_vendor_stack().file(PUBLIC, HAND_WRITTEN);
        tree.vpn(INSTALL_2).run().exits(0);
        let installed = [PUBLIC, PRIVATE, OVERLAY, AUTOLOAD].map(|path| tree.text(path));
        tree.vpn("status").run().exits(0);
        harm(&tree);
        tree.vpn("status").run().exits(5).says("mend it: ");
        tree.vpn("install --yes").run().exits(0);
        tree.vpn("status").run().exits(0);
        assert_eq!([PUBLIC, PRIVATE, OVERLAY, AUTOLOAD].map(|path| tree.text(path)), installed, "{what}");
        assert!(tree.text(ENV).contains("MITIGATOR_VPN_ADDRESS=10.8.3.2\n"), "{what}");
    }
}

#[test]
fn nothing_is_written_before_a_yes() {
    let tree = TreeHost::with_vendor_stack();
    let before = tree.snapshot();
    tree.vpn("install --vpn-address 10.8.3.1 --endpoint 192.0.2.1").run().exits(2).says("--yes");
    tree.vpn("plan --vpn-address 10.8.3.1 --endpoint 192.0.2.1").run().exits(0).says("vpn-public.conf");
    tree.vpn("preflight --vpn-address 10.8.3.1 --endpoint 192.0.2.1").run().exits(0);
    tree.vpn("status").run().exits(5);
    tree.vpn("undo --yes").run().exits(0);
    before.is_untouched_in(&tree.snapshot());
}

#[test]
fn variables_of_an_operators_shell_change_nothing_that_is_theirs_alone() {
    let tree = TreeHost::with_vendor_stack();
    let shell = tree.vpn(INSTALL).env("COMPOSE_FILE", "/elsewhere.yml").env("MITIGATOR_VPN_ADDRESS", "10.8.3.99");
    shell.run().exits(0);
    assert_eq!(
        tree.text(ENV),
        "COMPOSE_FILE=docker-compose.yml:docker-compose.vpn.yml\nMITIGATOR_VPN_ADDRESS=10.8.3.1\n"
    );
}
