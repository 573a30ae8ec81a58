//! The files themselves: there, readable, writable, whole.

use std::path::Path;

use crate::compose::split_compose_file;
use crate::facts::{PrivateConfFile, TextFile};
use crate::host::Obstacle;
use crate::message;
use crate::message::{Message, quoted};
use crate::preflight::{Inputs, Judgement, explained, id};
use crate::product::PRODUCT;
use crate::settings::StackKind;

pub(super) fn instance_writable(inputs: &Inputs) -> Judgement {
    let (instance, dir) = (&inputs.facts.instance, inputs.settings.dir.display());
    if !instance.dir_exists && inputs.settings.stack == StackKind::Vendor {
        return Judgement::fail(
            message!("there is no directory {dir}", dir),
            message!("install Mitigator first, or name its directory: --dir DIR"),
        );
    }
    let Some(unwritable) = &instance.unwritable else {
        return Judgement::pass(message!("{dir} can be written", dir));
    };
    let path = unwritable.path.display();
    let hint = match unwritable.reason {
        Obstacle::ReadOnly => Message::command(format!("mount -o remount,rw \"$(findmnt -n -o TARGET -T {path})\"")),
        Obstacle::Immutable => Message::command(format!("chattr -i {path}")),
        Obstacle::Permission | Obstacle::Other(_) => {
            message!("run this as root; see: {command}", command = format!("ls -ld {path}"))
        }
    };
    Judgement::fail(unwritable.message(), hint)
}

pub(super) fn interrupted_write(inputs: &Inputs) -> Judgement {
    let interrupted = &inputs.facts.instance.interrupted;
    if interrupted.is_empty() {
        return Judgement::pass(message!("no write was interrupted"));
    }
    Judgement::warn(
        message!("a write to {files} was interrupted; the next install completes it", files = interrupted.join(", ")),
        Message::command(format!("ls -la {}", inputs.settings.dir.display())),
    )
}

pub(super) fn conf_is_file(inputs: &Inputs) -> Judgement {
    let (instance, layout) = (&inputs.facts.instance, inputs.settings.layout());
    let mut found = Vec::new();
    let mut unusable = |path: &Path, reason: &Message, directory: bool, hint: Message| {
        let path = &path.display().to_string();
        found.push(if directory {
            Judgement::fail(
                message!("{path} is a directory; Docker makes one where a file to mount is missing", path),
                Message::command(format!("rmdir {path}")),
            )
        } else {
            Judgement::fail(reason.clone(), hint)
        });
    };
    if let TextFile::Unusable { reason, directory } = &instance.public_conf {
        let path = layout.public_conf();
        let hint = Message::command(format!("mitigator-vpn peers check {}", path.display()));
        unusable(&path, reason, *directory, hint);
    }
    let private_conf = layout.private_conf();
    if let PrivateConfFile::Unusable { reason, directory } = &instance.private_conf {
        unusable(&private_conf, reason, *directory, explained(id::CONF_IS_FILE));
    }
    if let TextFile::Unusable { reason, directory } = &instance.overlay {
        let path = layout.overlay();
        let hint = Message::command(format!("ls -l {}", path.display()));
        unusable(&path, reason, *directory, hint);
    }
    match &instance.private_conf {
        PrivateConfFile::Present { mode, .. } => {
            if mode & 0o077 != 0 {
                let mode = format!("{mode:03o}");
                found.push(Judgement::warn(
                    message!("vpn-private.conf can be read by others than its owner (mode {mode})", mode),
                    Message::command(format!("chmod 600 {}", private_conf.display())),
                ));
            }
            Judgement::of_all(found, message!("both files can be used"))
        }
        PrivateConfFile::Absent | PrivateConfFile::Unusable { .. } => {
            Judgement::of_all(found, message!("there is no private key here yet"))
        }
    }
}

pub(super) fn env_file(inputs: &Inputs) -> Judgement {
    let (env, path) = (&inputs.facts.instance.env, inputs.settings.layout().env());
    let path = path.display();
    if let Some(problem) = &env.problem {
        return Judgement::fail(Message::foreign(problem), Message::command(format!("ls -ld {path}")));
    }
    // Where compose can't be asked, as in a mounted tree, nobody knows which of the two it will be.
    let generation = inputs.facts.stack.commands.first().map(|command| command.generation);
    let found = env.line_problems.iter().map(|problem| {
        let judgement = match problem.stops {
            Some(stops) if generation == Some(stops) => Judgement::fail,
            Some(_) | None => Judgement::warn,
        };
        judgement(Message::from(problem), Message::command(format!("sed -n {}p {path}", problem.line)))
    });
    let mut found: Vec<Judgement> = found.collect();
    if has_lost_our_keys(inputs) {
        found.push(Judgement::warn(
            message!("{key} isn't in .env, though a key and a list are here: an update of Mitigator has replaced it, most likely; install puts it back", key = PRODUCT.env.vpn_address),
            Message::command(inputs.settings.command("install")),
        ));
    }
    let fine = if env.exists {
        message!("every line can be read")
    } else {
        message!("there is no .env yet; install makes it")
    };
    Judgement::of_all(found, fine)
}

/// The vendor's update downloads `.env` anew (FN-9).
fn has_lost_our_keys(inputs: &Inputs) -> bool {
    let instance = &inputs.facts.instance;
    let set_up = matches!(
        (&instance.private_conf, &instance.public_conf, &instance.overlay),
        (PrivateConfFile::Present { .. }, TextFile::Text(_), TextFile::Text(_))
    );
    set_up && !instance.env.values.contains_key(PRODUCT.env.vpn_address)
}

pub(super) fn compose_files(inputs: &Inputs) -> Judgement {
    let (instance, env) = (&inputs.facts.instance, inputs.settings.layout().env());
    let env = env.display();
    let value = |key: &str| instance.env.values.get(key).map(String::as_str);
    let separator = value(PRODUCT.env.compose_separator);
    let Some(named) = value(PRODUCT.env.compose_file).filter(|named| !named.is_empty()) else {
        return Judgement::pass(message!("COMPOSE_FILE isn't set: compose takes its default files"));
    };
    // What install writes may be missing before.
    let ours = |file: &str| {
        let name = file.trim_start_matches("./");
        name == PRODUCT.files.overlay || (name == PRODUCT.files.base && inputs.settings.stack == StackKind::Default)
    };
    let mut found = Vec::new();
    let missing = split_compose_file(named, separator).filter(|file| !instance.compose_files.contains(*file));
    for file in missing.filter(|file| !ours(file)) {
        let look = format!("ls -l {}", inputs.settings.dir.join(file).display());
        found.push(Judgement::fail(
            message!("COMPOSE_FILE names {file}, which isn't there", file),
            message!(
                "{command}; put the file back, or remove its name from COMPOSE_FILE in {env}",
                command = look,
                env = env.to_string()
            ),
        ));
    }
    let names: Vec<&str> = split_compose_file(named, separator).map(|file| file.trim_start_matches("./")).collect();
    let overrides =
        instance.compose_files.iter().filter(|file| file.contains(".override.") && !names.contains(&file.as_str()));
    found.extend(overrides.map(|file| {
        Judgement::warn(
            message!("COMPOSE_FILE doesn't name {file}, so compose leaves it out", file),
            message!(
                "if it should count, add it in {env}; else remove it: {command}",
                env = env.to_string(),
                command = format!("rm {}", quoted(&inputs.settings.dir.join(file).display().to_string()))
            ),
        )
    }));
    let spaced = named.split(separator.filter(|s| !s.is_empty()).unwrap_or(":")).any(|file| file != file.trim());
    if spaced {
        found.push(Judgement::warn(
            message!("a space in COMPOSE_FILE counts as part of a file's name; install removes it"),
            Message::command(format!("grep {} {env}", PRODUCT.env.compose_file)),
        ));
    }
    Judgement::of_all(found, message!("COMPOSE_FILE is {value}", value = named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::Generation;
    use crate::compose::dotenv::DotenvProblem;
    use crate::facts::Facts;
    use crate::host::Unwritable;
    use crate::preflight::Severity::{Fail, Pass, Warn};
    use crate::preflight::tests::{outcome, outcome_with};
    use crate::settings::Settings;
    use crate::wireguard::PublicKey;

    fn unusable(reason: &str, directory: bool) -> TextFile {
        TextFile::Unusable { reason: Message::foreign(reason), directory }
    }

    #[test]
    fn a_host_without_our_files_is_fine() {
        for id in ["instance-writable", "interrupted-write", "conf-is-file", "env-file", "compose-files"] {
            assert_eq!(outcome(id, &Facts::healthy()).0, Pass, "{id}");
        }
    }

    #[test]
    fn what_cant_be_written_fails_with_its_own_way_out() {
        for (reason, path, detail, hint) in [
            (Obstacle::ReadOnly, "/srv/mitigator", "read-only file system", "-T /srv/mitigator)"),
            (Obstacle::Immutable, "/srv/mitigator/.env", "marked immutable", "chattr -i /srv/mitigator/.env"),
            (Obstacle::Permission, "/srv/mitigator", "permission denied", "as root"),
        ] {
            let mut facts = Facts::healthy();
            facts.instance.unwritable = Some(Unwritable { path: path.into(), reason });
            let (severity, text) = outcome("instance-writable", &facts);
            assert!(severity == Fail && text.contains(path) && text.contains(detail) && text.contains(hint), "{text}");
        }
    }

    #[test]
    fn only_the_default_stack_may_begin_without_a_directory() {
        let mut facts = Facts::healthy();
        facts.instance.dir_exists = false;
        assert_eq!(outcome("instance-writable", &facts).0, Fail);
        let settings = Settings { stack: StackKind::Default, ..Settings::default() };
        assert_eq!(outcome_with("instance-writable", &facts, &settings).0, Pass);
    }

    #[test]
    fn a_cut_off_write_is_told() {
        let mut facts = Facts::healthy();
        facts.instance.interrupted = vec!["vpn-public.conf".into()];
        let (severity, text) = outcome("interrupted-write", &facts);
        assert!(severity == Warn && text.contains("vpn-public.conf was interrupted"), "{text}");
    }

    #[test]
    fn directories_and_unreadable_files_fail_all_at_once() {
        let mut facts = Facts::healthy();
        facts.instance.public_conf = unusable("", true);
        facts.instance.private_conf = PrivateConfFile::Unusable {
            reason: Message::foreign("vpn-private.conf: line 1: no PrivateKey in it"),
            directory: false,
        };
        facts.instance.overlay = unusable("not UTF-8", false);
        let (severity, text) = outcome("conf-is-file", &facts);
        assert_eq!(severity, Fail);
        assert!(text.contains("/srv/mitigator/vpn-public.conf is a directory"), "{text}");
        assert!(text.contains("line 1: no PrivateKey") && text.contains("not UTF-8"), "{text}");
        assert!(text.contains("rmdir /srv/mitigator/vpn-public.conf"), "{text}");
    }

    #[test]
    fn a_private_key_that_others_may_read_warns() {
        let mut facts = Facts::healthy();
        let mut private = |mode| {
            let public = PublicKey::from_bytes([7; 32]);
            facts.instance.private_conf =
                PrivateConfFile::Present { public, port: None, mode, template: String::new() };
            outcome("conf-is-file", &facts)
        };
        assert_eq!(private(0o400).0, Pass);
        let (severity, text) = private(0o644);
        assert!(severity == Warn && text.contains("mode 644") && text.contains("chmod 600"), "{text}");
    }

    #[test]
    fn an_env_that_stops_the_compose_in_use_fails_and_any_other_oddity_warns() {
        let mut facts = Facts::healthy();
        facts.instance.env.line_problems = vec![DotenvProblem {
            line: 3,
            reason: Message::foreign("a quote that is never closed"),
            stops: Some(Generation::V2),
        }];
        let (severity, text) = outcome("env-file", &facts);
        assert!(
            severity == Fail && text.contains("line 3") && text.contains("sed -n 3p /srv/mitigator/.env"),
            "{text}"
        );
        facts.stack.commands[0].generation = Generation::V1;
        assert_eq!(outcome("env-file", &facts).0, Warn);
        facts.stack.commands.clear();
        assert_eq!(outcome("env-file", &facts).0, Warn);
        facts.instance.env.line_problems.clear();
        facts.instance.env.problem = Some(Message::foreign("/srv/mitigator/.env is a directory, not a file"));
        assert_eq!(outcome("env-file", &facts).0, Fail);
    }

    #[test]
    fn a_named_file_that_is_gone_fails_and_a_space_warns() {
        let mut facts = Facts::healthy();
        let mut with = |named: &str, separator: Option<&str>| {
            let env = &mut facts.instance.env.values;
            env.insert("COMPOSE_FILE".into(), named.into());
            env.remove("COMPOSE_PATH_SEPARATOR");
            env.extend(separator.map(|s| ("COMPOSE_PATH_SEPARATOR".to_owned(), s.to_owned())));
            outcome("compose-files", &facts)
        };
        assert_eq!(with("docker-compose.yml:docker-compose.vpn.yml", None).0, Pass);
        assert_eq!(with("docker-compose.yml,docker-compose.vpn.yml", Some(",")).0, Pass);
        let (severity, text) = with("docker-compose.yml:gone.yml", None);
        assert!(
            severity == Fail && text.contains("names gone.yml") && text.contains("/srv/mitigator/gone.yml"),
            "{text}"
        );
        let (severity, text) = with("docker-compose.yml: docker-compose.vpn.yml", None);
        assert!(severity == Warn && text.contains("a space"), "{text}");
        assert_eq!(with("", None).0, Pass);
    }
}
