//! The files in the instance's directory.
//!
//! What may be a secret never becomes a fact: of vpn-private.conf only the template is read, of `.env` only our values, and
//! a list that can't be parsed is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Reading;
use crate::compose::dotenv::{Dotenv, DotenvProblem};
use crate::compose::split_compose_file;
use crate::error::Error;
use crate::gateway::stack as default_stack;
use crate::host::{Host, Kind, MAX_FILE, Unwritable};
use crate::message::Message;
use crate::product::PRODUCT;
use crate::settings::Settings;
use crate::wireguard::{PeerList, PrivateConf, PublicKey};

/// The files in the instance's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceFacts {
    /// Whether the directory exists.
    pub dir_exists: bool,
    /// vpn-public.conf.
    pub public_conf: TextFile,
    /// vpn-private.conf, without its secret.
    pub private_conf: PrivateConfFile,
    /// `.env`.
    pub env: EnvFile,
    /// docker-compose.vpn.yml.
    pub overlay: TextFile,
    /// Whether docker-compose.yml is the default stack's. The text of the vendor's isn't read.
    pub default_stack: bool,
    /// Which `docker-compose*.yml`/`compose*.yaml` names exist in the directory, and which of the names in COMPOSE_FILE.
    pub compose_files: BTreeSet<String>,
    /// Files whose last write was interrupted and has to be completed.
    pub interrupted: Vec<String>,
    /// Why the directory can't be written (a read-only file system, say); `None` when it can.
    pub unwritable: Option<Unwritable>,
}

/// A text file, or why it isn't one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextFile {
    /// Nothing there.
    #[default]
    Absent,
    /// Its content.
    Text(String),
    /// It can't be used: the reason, and whether it is a directory (FN-38).
    Unusable {
        /// The reason.
        reason: Message,
        /// Docker makes a directory where a mount source is missing.
        directory: bool,
    },
}

/// vpn-private.conf, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrivateConfFile {
    /// Nothing there.
    #[default]
    Absent,
    /// A usable key.
    Present {
        /// The public half of the key in it.
        public: PublicKey,
        /// `ListenPort`, if the file names one.
        port: Option<u16>,
        /// Permission bits.
        mode: u32,
        /// The file's text with the private key cut out (see `wireguard::PrivateConf`).
        template: String,
    },
    /// It can't be used.
    Unusable {
        /// The reason, which never quotes the file.
        reason: Message,
        /// Docker makes a directory where a mount source is missing.
        directory: bool,
    },
}

/// `.env`, as far as this program owns it. Other keys are never read into facts: they may be secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvFile {
    /// Whether the file exists.
    pub exists: bool,
    /// Why it can't be read at all.
    pub problem: Option<Message>,
    /// What compose refuses in it, skips, or reads differently in v1 and v2.
    #[serde(rename = "oddities", default)]
    pub line_problems: Vec<DotenvProblem>,
    /// The raw lines of the same keys as `values`.
    pub lines: BTreeMap<String, String>,
    /// Values of `COMPOSE_FILE`, `COMPOSE_PATH_SEPARATOR`, `COMPOSE_PROJECT_NAME` and every `MITIGATOR_VPN_*`.
    pub values: BTreeMap<String, String>,
}

/// The files this program writes, all in the instance's directory.
const OURS: [&str; 5] = [
    PRODUCT.files.public_conf,
    PRODUCT.files.private_conf,
    PRODUCT.files.env,
    PRODUCT.files.overlay,
    PRODUCT.files.base,
];

/// Reads this part of the facts.
pub(crate) fn gather(reading: &Reading, settings: &Settings) -> InstanceFacts {
    let (dir, layout) = (&settings.dir, settings.layout());
    let host = reading.host;
    let env = env_file(host, &layout.env());
    InstanceFacts {
        dir_exists: reading.is(dir, Kind::Directory),
        public_conf: public_conf(reading, &layout.public_conf()),
        private_conf: private_conf(reading, &layout.private_conf()),
        overlay: text_file(reading, &layout.overlay()),
        default_stack: has_default_stack(reading, &layout.base()),
        compose_files: compose_files(reading, dir, &env),
        interrupted: OURS
            .into_iter()
            .filter(|name| reading.known(host.is_interrupted(&dir.join(name))))
            .map(str::to_owned)
            .collect(),
        unwritable: unwritable(reading, dir),
        env,
    }
}

fn public_conf(reading: &Reading, path: &Path) -> TextFile {
    match PeerList::read(reading.host, path) {
        Ok(Some(list)) => TextFile::Text(list.to_text()),
        Ok(None) => TextFile::Absent,
        Err(error) => unusable(reading, path, error),
    }
}

fn text_file(reading: &Reading, path: &Path) -> TextFile {
    match reading.host.read_text(path) {
        Ok(Some(text)) => TextFile::Text(text),
        Ok(None) => TextFile::Absent,
        Err(error) => unusable(reading, path, error),
    }
}

fn unusable(reading: &Reading, path: &Path, error: Error) -> TextFile {
    TextFile::Unusable { reason: Message::from(&error), directory: reading.is(path, Kind::Directory) }
}

fn private_conf(reading: &Reading, path: &Path) -> PrivateConfFile {
    match PrivateConf::read(reading.host, path) {
        Ok(Some(PrivateConf { key, port, template })) => {
            let mode = reading.known(reading.host.stat(path)).map_or(0, |stat| stat.mode);
            PrivateConfFile::Present { public: key.public(), port, mode, template }
        }
        Ok(None) => PrivateConfFile::Absent,
        Err(error) => {
            PrivateConfFile::Unusable { reason: Message::from(&error), directory: reading.is(path, Kind::Directory) }
        }
    }
}

fn env_file(host: &Host, path: &Path) -> EnvFile {
    match host.read(path) {
        Ok(None) => EnvFile::default(),
        Err(error) => EnvFile { exists: true, problem: Some(Message::from(&error)), ..EnvFile::default() },
        Ok(Some(bytes)) => {
            let dotenv = Dotenv::parse(&bytes);
            let values: BTreeMap<String, String> = dotenv.ours().map(|(key, value)| (key.to_owned(), value)).collect();
            let lines = values.keys().filter_map(|key| Some((key.clone(), dotenv.line(key)?))).collect();
            EnvFile { exists: true, problem: None, line_problems: dotenv.problems(), values, lines }
        }
    }
}

fn has_default_stack(reading: &Reading, base: &Path) -> bool {
    let text = reading.known(reading.host.read_database(base, MAX_FILE));
    text.is_some_and(|text| text.starts_with(default_stack::FIRST_LINE))
}

fn compose_files(reading: &Reading, dir: &Path, env: &EnvFile) -> BTreeSet<String> {
    let value = |key: &str| env.values.get(key).map(String::as_str);
    let compose = |name: &str| {
        (name.starts_with("docker-compose") || name.starts_with("compose"))
            && (name.ends_with(".yml") || name.ends_with(".yaml"))
    };
    let named =
        split_compose_file(value(PRODUCT.env.compose_file).unwrap_or_default(), value(PRODUCT.env.compose_separator));
    let present = reading.list(dir).into_iter().filter(|name| compose(name));
    present.chain(named.map(str::to_owned)).filter(|name| reading.is(&dir.join(name), Kind::File)).collect()
}

/// The first of the directory and our files in it that can't be written.
fn unwritable(reading: &Reading, dir: &Path) -> Option<Unwritable> {
    let files = OURS.iter().map(|name| dir.join(name)).filter(|path| reading.is(path, Kind::File));
    std::iter::once(dir.to_owned()).chain(files).find_map(|path| reading.known(reading.host.why_unwritable(&path)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::compose::Generation;
    use crate::wireguard::PrivateKey;

    struct Tree {
        dir: tempfile::TempDir,
    }

    impl Tree {
        fn new(files: &[(&str, &[u8])]) -> Tree {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("srv/mitigator")).unwrap();
            for (name, content) in files {
                fs::write(dir.path().join("srv/mitigator").join(name), content).unwrap();
            }
            Tree { dir }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.dir.path().join("srv/mitigator").join(name)
        }

        fn gather(&self) -> InstanceFacts {
            gather(&Reading::of(&Host::at(self.dir.path()).unwrap()), &Settings::default())
        }
    }

    const PEER: &str = "[Peer]\nPublicKey = acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc=\nAllowedIPs = 10.8.3.1/32\nEndpoint = 192.0.2.1:4567\n";

    #[test]
    fn the_files_of_an_installed_instance_are_read_without_secrets() {
        let key = PrivateKey::generate();
        let conf = PrivateConf::fresh(key.clone(), 4567);
        let tree = Tree::new(&[
            ("vpn-public.conf", PEER.as_bytes()),
            ("vpn-private.conf", conf.template_with(&key).as_bytes()),
            (".env", b"COMPOSE_FILE=docker-compose.yml:other/a.yml:b.yml\nPASSWORD=hunter2\nMITIGATOR_VPN_ADDRESS=10.8.3.1\n"),
            ("docker-compose.yml", b"services: {}\n"),
            ("b.yml", b""),
            ("compose.override.yaml", b""),
            ("README", b""),
        ]);
        fs::set_permissions(tree.path("vpn-private.conf"), fs::Permissions::from_mode(0o640)).unwrap();
        let facts = tree.gather();
        assert!(facts.dir_exists && facts.unwritable.is_none() && facts.interrupted.is_empty());
        assert_eq!(facts.public_conf, TextFile::Text(PEER.into()));
        assert_eq!(
            facts.private_conf,
            PrivateConfFile::Present { public: key.public(), port: Some(4567), mode: 0o640, template: conf.template }
        );
        assert_eq!(facts.env.values["MITIGATOR_VPN_ADDRESS"], "10.8.3.1");
        assert_eq!(facts.overlay, TextFile::Absent);
        let files: Vec<&String> = facts.compose_files.iter().collect();
        assert_eq!(files, ["b.yml", "compose.override.yaml", "docker-compose.yml"]);
        let recorded = serde_json::to_string(&facts).unwrap();
        assert!(!recorded.contains("hunter2") && !recorded.contains(&key.expose()[..20]), "{recorded}");
    }

    #[test]
    fn an_empty_host_gives_empty_facts() {
        let empty = tempfile::tempdir().unwrap();
        let facts = gather(&Reading::of(&Host::at(empty.path()).unwrap()), &Settings::default());
        assert_eq!(facts, InstanceFacts::default());
    }

    #[test]
    fn the_reason_of_an_unusable_file_quotes_nothing_of_it() {
        let key = PrivateKey::generate().expose().to_string();
        let tree = Tree::new(&[
            ("vpn-public.conf", format!("{PEER}PrivateKey = {key}\n").as_bytes()),
            ("vpn-private.conf", format!("PrivateKey = {key}\n").as_bytes()),
            (".env", format!("A B={key}\n").as_bytes()),
        ]);
        fs::create_dir(tree.path("docker-compose.vpn.yml")).unwrap();
        let facts = tree.gather();
        let TextFile::Unusable { reason, directory: false } = &facts.public_conf else { panic!("{facts:?}") };
        assert!(reason.to_string().contains("line 5: PrivateKey: a secret in the public list"), "{reason}");
        let PrivateConfFile::Unusable { reason, directory: false } = &facts.private_conf else { panic!("{facts:?}") };
        assert!(reason.to_string().contains("line 1: stands outside of any section"), "{reason}");
        assert_eq!(facts.env.line_problems[1].stops, Some(Generation::V2));
        assert!(matches!(&facts.overlay, TextFile::Unusable { directory: true, .. }));
        assert!(!serde_json::to_string(&facts).unwrap().contains(&key[..20]));
    }

    #[test]
    fn an_interrupted_write_is_seen() {
        let tree = Tree::new(&[("vpn-public.conf", b"torn"), (".vpn-public.conf.mitigator-vpn-redo", PEER.as_bytes())]);
        // As this program makes and announces it: any other file of that name is nothing.
        let redo = tree.path(".vpn-public.conf.mitigator-vpn-redo");
        std::fs::set_permissions(redo, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let digest = Sha256::digest([b"vpn-public.conf\0", PEER.as_bytes()].concat());
        let announced: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let state = tree.dir.path().join("var/lib/mitigator-vpn");
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join(format!("redo-{announced}")), "").unwrap();
        let facts = tree.gather();
        assert_eq!(facts.interrupted, ["vpn-public.conf"]);
        assert_eq!(facts.public_conf, TextFile::Text(PEER.into()));
    }
}
