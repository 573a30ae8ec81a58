//! The end state of one instance, as a list of resources in the order in which they are set. It is the procedure that an
//! operator would follow by hand; the P-numbers are the steps of that procedure.
//!
//! Pure: everything it decides on is in the facts and settings.

mod apt_source;

use std::path::{Path, PathBuf};

use crate::compose;
use crate::compose::dotenv::Dotenv;
use crate::distro::Distro;
use crate::error::{Class, Context, Error, Result};
use crate::facts::{Facts, PrivateConfFile, TextFile, WireGuardSupport};
use crate::gateway::stack as default_stack;
use crate::message;
use crate::message::Message;
use crate::policy::{self, ModuleSource};
use crate::product::PRODUCT;
use crate::resource::{
    Content, Directory, EnvKey, EnvLine, File, FirewallRule, GatewayImage, Goal, Liveness, Module, Opening, Packages,
    Presence, PrivateContent, PrivateFile, Resource, SourceFile, Stack, StackRestart, Tunnel, Wanted,
};
use crate::settings::{FirewallPolicy, Restart, Settings};
use crate::wireguard::{LineProblem, Peer, PeerList, PrivateConf, PrivateKey, PublicKey};

/// The module's name, in `modprobe` and in the autoload file.
const MODULE: &str = "wireguard";
const AUTOLOAD_DIR: &str = "/etc/modules-load.d";

/// What is generated for a run.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The key that the instance gets if it has none.
    pub key: PrivateKey,
    /// The digest of this executable, which the default gateway's image is named by.
    pub executable: String,
}

/// The list under construction.
#[derive(Default)]
struct List(Vec<Wanted>);

impl List {
    fn want<K: Resource>(&mut self, resource: K, state: K::State)
    where
        Wanted: From<Goal<K>>,
    {
        self.0.push(Goal { resource, state }.into());
    }
}

/// What one instance consists of.
pub fn resources(
    facts: &Facts,
    distro: Option<&Distro>,
    settings: &Settings,
    generated: &Generated,
) -> Result<Vec<Wanted>> {
    // Nothing follows from a question without an answer, whatever check was ignored.
    if let Some(unread) = facts.undecided().next() {
        let refused = Error::new(
            Class::Refused,
            message!("what has to change can't be known: {reason}", reason = &unread.reason),
        );
        return Err(refused.hint(Message::command("mitigator-vpn explain host-readable")));
    }
    let mut list = List::default();
    let dir = &settings.dir;
    let file = |name: &str| File { path: dir.join(name) };

    if facts.live {
        // P1, P4
        if let Some(source) = distro.and_then(|distro| apt_source::apt_source(facts, distro, settings)) {
            list.want(source, SourceFile::Present);
        }
        for names in distro.map(|distro| transactions(facts, distro, settings)).unwrap_or_default() {
            let packages = Packages::new(names);
            let all = packages.wanted();
            list.want(packages, all);
        }
        // P2
        if loads_a_module(facts, distro) {
            list.want(Module { name: MODULE.into() }, Presence::Present);
        }
    }
    // P3
    if !facts.live || loads_a_module(facts, distro) {
        list.want(Directory { path: AUTOLOAD_DIR.into() }, Presence::Present);
        list.want(File { path: Path::new(AUTOLOAD_DIR).join("mitigator.conf") }, Content::Text(format!("{MODULE}\n")));
    }
    // P6
    if facts.live && settings.firewall == FirewallPolicy::Auto {
        for rule in FirewallRule::wanted(facts, settings) {
            list.want(rule, Opening::Present);
        }
    }
    // On a live host the vendor's directory is there, or preflight has refused.
    for path in with_parents(dir) {
        list.want(Directory { path }, Presence::Present);
    }
    if policy::uses_default_stack(facts, settings) {
        let userspace = !facts.kernel.wireguard.usable() && !loads_a_module(facts, distro);
        let image = GatewayImage::of_executable(&generated.executable, userspace);
        let base = default_stack::compose_file(&image.reference, userspace);
        if facts.live {
            list.want(image, Presence::Present);
        }
        list.want(file(PRODUCT.files.base), Content::Text(base));
    }
    // P5: before the list, which needs its public half.
    let (public, private) = private_conf(facts, settings, &generated.key)?;
    let path = settings.layout().private_conf();
    list.want(PrivateFile { path, fresh: Some(generated.key.clone()) }, private);
    // P7, P8
    list.want(public_file(settings), Content::Text(public_conf(facts, settings, public)?.to_text()));
    // P9
    list.want(file(PRODUCT.files.overlay), Content::Text(PRODUCT.overlay.into()));
    // P10, P11
    for (key, value) in env_keys(facts, settings)? {
        let line = env_line(facts, &key, &value)?;
        list.want(EnvKey { path: settings.layout().env(), key }, EnvLine::Line(line));
    }
    // P12, C2
    let restart = match settings.restart {
        Restart::Full => Some(StackRestart::Full),
        Restart::Gateway => Some(StackRestart::Gateway),
        Restart::None => None,
    };
    if let (true, Some(restart), Some(compose)) = (facts.live, restart, facts.stack.commands.first()) {
        list.want(Stack { dir: dir.clone(), compose: compose.clone(), restart }, Liveness::Running);
        let public_conf = settings.layout().public_conf();
        list.want(Tunnel { dir: dir.clone(), public_conf, compose: compose.clone() }, Liveness::Running);
    }
    Ok(list.0)
}

/// vpn-public.conf.
pub(crate) fn public_file(settings: &Settings) -> File {
    File { path: settings.layout().public_conf() }
}

/// The packages to install. A kernel is a transaction of its own: undo leaves a running kernel and removes the rest.
fn transactions(facts: &Facts, distro: &Distro, settings: &Settings) -> Vec<Vec<String>> {
    let next = match policy::module_route(facts, distro) {
        Some(ModuleSource::NextBoot { kernel, .. }) => kernel,
        Some(ModuleSource::Package(_) | ModuleSource::Dkms { .. }) | None => Vec::new(),
    };
    let missing = policy::missing_packages(facts, distro, settings).into_iter();
    let (kernel, rest): (Vec<_>, Vec<_>) = missing.partition(|name| next.contains(name));
    [kernel, rest].into_iter().filter(|names| !names.is_empty()).collect()
}

/// Whether WireGuard is, or will be, a module that this host itself may load (FN-19).
fn loads_a_module(facts: &Facts, distro: Option<&Distro>) -> bool {
    let module = matches!(facts.kernel.wireguard, WireGuardSupport::Loaded | WireGuardSupport::Loadable);
    let to_come = || distro.is_some_and(|distro| policy::module_route(facts, distro).is_some());
    facts.machine.container.is_none() && (module || to_come())
}

/// `/srv/mitigator` needs `/srv` first.
fn with_parents(dir: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = dir.ancestors().filter(|p| p.parent().is_some()).map(PathBuf::from).collect();
    dirs.reverse();
    dirs
}

/// The private file. An existing key is always kept (FN-47).
fn private_conf(facts: &Facts, settings: &Settings, fresh: &PrivateKey) -> Result<(PublicKey, PrivateContent)> {
    Ok(match &facts.instance.private_conf {
        PrivateConfFile::Present { public, template, .. } => {
            let template = PrivateConf::template_with_port(template, settings.port);
            (*public, PrivateContent::Private { template, public: *public })
        }
        PrivateConfFile::Absent => {
            let conf = PrivateConf::fresh(fresh.clone(), settings.port);
            (fresh.public(), PrivateContent::Private { template: conf.template, public: fresh.public() })
        }
        // It may hold a key that must not be lost.
        PrivateConfFile::Unusable { reason, .. } => return Err(Error::input(reason.clone())),
    })
}

/// The list: the one that is here, the one from `--peers`, and this instance's section. No member is dropped (FN-49).
fn public_conf(facts: &Facts, settings: &Settings, public: PublicKey) -> Result<PeerList> {
    let own = Peer {
        public_key: public,
        address: settings.vpn_address.ok_or_else(|| missing("--vpn-address", settings))?,
        endpoint: settings.endpoint.ok_or_else(|| missing("--endpoint", settings))?,
        keepalive: None,
    };
    let here = match &facts.instance.public_conf {
        TextFile::Text(text) => Some(PeerList::parse_named(PRODUCT.files.public_conf, text)?),
        TextFile::Absent => None,
        // It is never replaced by a list without the others, whatever check was ignored.
        TextFile::Unusable { reason, .. } => return Err(Error::input(reason.clone())),
    };
    let given = settings.peers.as_deref().map(|text| PeerList::parse_named("--peers", text)).transpose()?;
    if let (true, Some(list)) = (settings.whole_list, &given) {
        let listed = list.by_address(own.address).map(|peer| (peer.public_key, peer.endpoint));
        return match listed == Some((own.public_key, own.endpoint)) {
            true => Ok(list.clone()),
            false => Err(Error::input(message!(
                "the whole list has another section for {address} than this host",
                address = own.address
            ))),
        };
    }
    // This instance's own section is renewed in both (FN-53), so that an old one is no contradiction.
    let renewed = |list: Option<PeerList>| match list {
        Some(mut list) if list.by_address(own.address).is_some() => list.put(own.clone()).map(|()| Some(list)),
        list => Ok(list),
    };
    let (here, given) = (renewed(here)?, renewed(given)?);
    let mut list = match (here, given) {
        (Some(here), Some(given)) => PeerList::merge(&here, &given)
            .map_err(|problems| LineProblem::error("--peers", &problems))
            .context(message!("the list here and the one given contradict each other"))?,
        (Some(list), None) | (None, Some(list)) => list,
        (None, None) => PeerList::default(),
    };
    list.put(own)?;
    Ok(list)
}

/// The keys of `.env` that are ours, with their values (FN-32, FN-33).
fn env_keys(facts: &Facts, settings: &Settings) -> Result<Vec<(String, String)>> {
    let address = settings.vpn_address.ok_or_else(|| missing("--vpn-address", settings))?;
    let values = &facts.instance.env.values;
    let files = compose::extend_compose_file(
        values.get(PRODUCT.env.compose_file).map(String::as_str),
        values.get(PRODUCT.env.compose_separator).map(String::as_str),
        &settings.dir,
        &facts.instance.compose_files,
    );
    let mut keys =
        vec![(PRODUCT.env.compose_file.to_owned(), files), (PRODUCT.env.vpn_address.to_owned(), address.to_string())];
    // The overlay has a default for the usual prefix; then no line is needed.
    if settings.prefix != PRODUCT.prefix || values.contains_key(PRODUCT.env.vpn_prefix) {
        keys.push((PRODUCT.env.vpn_prefix.to_owned(), settings.prefix.to_string()));
    }
    Ok(keys)
}

/// The line of `.env` that sets a key: the existing one with a new value, or a new one.
fn env_line(facts: &Facts, key: &str, value: &str) -> Result<String> {
    let there = facts.instance.env.lines.get(key).map_or("", String::as_str);
    let mut env = Dotenv::parse(there.as_bytes());
    env.set(key, value)?;
    Ok(env.line(key).unwrap_or_default())
}

fn missing(option: &str, settings: &Settings) -> Error {
    Error::input(message!("{option} is needed: this instance has none yet", option))
        .hint(Message::command(settings.command("install --vpn-address 10.8.3.1 --endpoint 192.0.2.1:4567")))
}
