//! Checks of: the instance's files and its place in the cluster.

mod files;
mod member;

use super::{Check, Needs, Part, id};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: id::INSTANCE_WRITABLE,
        title: "the instance's directory is there and can be written",
        note: None,
        needs: Needs::Files,
        rests_on: &[Part::Instance],
        run: files::instance_writable,
        explain: "\
Install writes vpn-private.conf, vpn-public.conf, docker-compose.vpn.yml and .env into the instance's directory,
/srv/mitigator unless --dir says otherwise. Mitigator's own installation makes that directory; without it there is no
stack to join a VPN with.

It is decided by asking the system whether the directory and each of the four files could be written; nothing is.
A read-only file system: `mount -o remount,rw MOUNT`, after looking into `dmesg` for why it became one.
A file marked immutable: `lsattr FILE`, then `chattr -i FILE`.
No directory: install Mitigator first, or try this project's own gateway with `--stack default`.",
    },
    Check {
        id: id::INTERRUPTED_WRITE,
        title: "no earlier write was cut off",
        note: Some("FN-40"),
        needs: Needs::Files,
        rests_on: &[Part::Instance],
        run: files::interrupted_write,
        explain: "\
A file that a container has mounted is written in place, because the container would keep the old one otherwise. The new
content is first put beside it under the name .NAME.mitigator-vpn-redo. If the host crashes in between, that copy stays,
and NAME may be half old and half new.

This program reads such a file as if the write had been completed; the container doesn't. The next `install`, `undo` or
`peers add` completes it. Until then don't run `reconfigure` by hand.",
    },
    Check {
        id: id::CONF_IS_FILE,
        title: "vpn-public.conf and vpn-private.conf are files that can be used",
        note: Some("FN-38"),
        needs: Needs::Files,
        rests_on: &[Part::Instance],
        run: files::conf_is_file,
        explain: "\
Where a file that a container mounts is missing, Docker makes a directory of its name, and nothing works until that is
gone. An empty one is removed with `rmdir`; the gateway must not run meanwhile, for it would make it again.

Both files are read more strictly than by `wg`, which accepts ports over 65535, two members with one address and Windows
line ends. Every bad line is named; see them again with `mitigator-vpn peers check FILE`.
An unreadable vpn-private.conf is never replaced, since the key in it may still be recovered. Put it back from a backup,
or remove it; then a new key is made, and every other instance needs the new list.
Only root should be able to read vpn-private.conf: `chmod 600 FILE`.",
    },
    Check {
        id: id::ENV_FILE,
        title: ".env can be read, and both generations of compose read the same",
        note: Some("FN-34"),
        needs: Needs::Files,
        rests_on: &[Part::Instance],
        run: files::env_file,
        explain: "\
docker-compose 1 and 2 read .env by different rules. Version 1 skips a line it can't read, version 2 refuses the whole
file: a name with a space or a quote in it, a quote that is never closed, a `${` without its `}`. Version 1 refuses
a file that isn't UTF-8. They also differ on `$`, on backslashes in quotes, and on a `#` behind a tab.

Every line is read by both rules. What stops the version that is in use here fails; everything else is a warning, with
the line. Install changes only lines with COMPOSE_FILE or a key that begins with MITIGATOR_VPN_; correct any other line
by hand: `sed -n 3p /srv/mitigator/.env` shows line 3.",
    },
    Check {
        id: id::COMPOSE_FILES,
        title: "every file that COMPOSE_FILE names is there",
        note: Some("FN-33"),
        needs: Needs::Files,
        rests_on: &[Part::Instance],
        run: files::compose_files,
        explain: "\
COMPOSE_FILE in .env lists the files that docker-compose merges, joined by colons (or by COMPOSE_PATH_SEPARATOR). One
that isn't there stops compose. A space after a colon counts as part of a name. While the variable isn't set, compose
takes docker-compose.override.yml by itself; setting it turns that off.

Install extends the list: what is in use stays, in its order, an override that compose took by itself is named, spaces
are removed, docker-compose.vpn.yml comes last. A name whose file is gone has to be removed by hand, or its file put
back: only you know which.",
    },
    Check {
        id: id::VPN_ADDRESS,
        title: "the VPN address fits into the cluster's network",
        note: Some("FN-42"),
        needs: Needs::Files,
        rests_on: &[Part::Instance],
        run: member::vpn_address,
        explain: "\
All instances have addresses in one network, a /24 unless --prefix (MITIGATOR_VPN_PREFIX in .env) says otherwise. An
address outside of it is not reached. No host may have the first or the last address of a network, a multicast address
or a loopback address.

It is compared with the addresses in vpn-public.conf and in the list given with --peers, and with what .env says so far.
`mitigator-vpn peers list` shows the addresses in use. A larger network for all: the same --prefix on every instance.
Another address than so far has to be entered in Mitigator's web interface, too.",
    },
    Check {
        id: id::ADDRESS_UNIQUE,
        title: "no other member has this address, endpoint or key",
        note: Some("FN-53"),
        needs: Needs::Files,
        rests_on: &[Part::Instance],
        run: member::address_unique,
        explain: "\
Where two members share a VPN address, WireGuard silently takes the last one in the file, and the other is cut off. A
section with this instance's VPN address counts as its own if it also has its endpoint or its key:
  same endpoint, and no key here yet   the instance was made anew: its new key replaces the old one in place (a warning)
  same key, another endpoint           the instance has moved: its endpoint changes (a warning)
  neither                              the address is taken (a failure)

After a warning every other instance needs the new list before it can be reached. If an instance is gone for good, take
it out on all of them: `mitigator-vpn peers remove ADDRESS`, then `docker-compose exec -T gateway reconfigure`.",
    },
    Check {
        id: id::KEY_PAIR,
        title: "the private key here belongs to the own section in the list",
        note: Some("FN-47"),
        needs: Needs::Files,
        rests_on: &[Part::Instance],
        run: member::key_pair,
        explain: "\
The other instances know this one by the public key in its section of vpn-public.conf. If the private key here has
another public half, no handshake succeeds, and no log says why. An existing private key is never replaced.

It is decided by deriving the public half of the key in vpn-private.conf. Which of the two is right:
  the list     put the vpn-private.conf that belongs to it back from a backup
  the key      `mitigator-vpn peers remove ADDRESS`, then install: it lists the key that is here; every other instance
               needs the new list",
    },
    Check {
        id: id::SAMPLE_KEY,
        title: "no key is one that documentation publishes",
        note: Some("FN-46"),
        needs: Needs::Files,
        rests_on: &[Part::Instance],
        run: member::sample_key,
        explain: "\
The documentation prints a key pair as an example. Everybody can know the private key of an instance that uses it. They
can't decrypt old traffic, but they can impersonate this instance in the VPN.

The private key here: remove vpn-private.conf and install again; a new key is made and replaces the old one in place.
Every other instance needs the new list then. Another member's: the same, on that instance.",
    },
];
