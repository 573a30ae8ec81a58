//! The agent: the process on a host while the operator's side is connected to it.
//!
//! It uses the same code as the commands on that host: look, survey, plan, apply, take back. Requests come in on standard
//! input, replies go out on standard output, and the agent ends with its input. A request that has begun is finished first,
//! so a broken connection leaves nothing half done.

mod guard;
mod keys;
mod look;

use std::io::{BufRead, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::look::look;
use super::protocol::{self, AgentError, Hello, Look, MAX_LINE, PROTOCOL, Reply, Request};
use crate::compose::{self, GatewayContainer};
use crate::converge;
use crate::converge::apply;
use crate::converge::impact::{Impact, impact};
use crate::converge::journal::{RunId, RunStart};
use crate::converge::plan::Plan;
use crate::converge::recover;
use crate::converge::survey::{FileSurvey, HostSurvey};
use crate::converge::undo::{self, Fate, Undone};
use crate::error::{Class, Context, Error, Result};
use crate::facts::PrivateConfFile;
use crate::host::{Host, Lock};
use crate::message;
use crate::message::Message;
use crate::preflight::{Finding, Severity};
use crate::product::PRODUCT;
use crate::progress::Progress;
use crate::resource::{Content, File, Goal, Liveness, Step, Transition, Tunnel};
use crate::settings::{Restart, Settings};
use crate::tunnel::{self, Baseline, ProbedPeer, mtu};
use crate::wireguard::{History, ListDigest, Peer, PeerList, PrivateConf, PublicKey};

/// How long to wait for another run on the host.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// How long taking back a guarded change may take.
const AFTER_A_GUARD: Duration = Duration::from_secs(120);

/// The agent of one connection.
struct Agent<'h> {
    host: &'h mut Host,
    /// The tunnel's counters before the last change over this connection.
    baseline: Option<Baseline>,
    /// The runs over this connection that may be taken back, the oldest first.
    runs: Vec<RunId>,
    /// The addresses of both ends of the connection.
    connection: Vec<IpAddr>,
    /// Guards a change that could cut off the connection.
    guard: Option<(RunId, Duration)>,
    /// Held while this connection gives the host a new key, also while that is taken back on all hosts.
    rotation: Option<Lock>,
}

/// Answers requests until the input ends. `connection` is sshd's `SSH_CONNECTION`.
pub fn run(host: &mut Host, connection: &str, mut input: impl BufRead, mut output: impl Write) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    say(&mut output, &Hello { protocol: PROTOCOL, version, now })?;
    let connection = connection.split(' ').filter_map(|word| word.parse().ok()).collect();
    let mut agent = Agent { host, baseline: None, runs: Vec::new(), connection, guard: None, rotation: None };
    while let Some(line) = next_line(&mut input)? {
        let request = protocol::decode(&line).context(message!("a request"));
        let reply = request.and_then(|request| agent.answer(request));
        let reply = reply.unwrap_or_else(|error| Reply::Failed(AgentError::from(&error)));
        let said = say(&mut output, &reply);
        // The reply may be lost with the connection: that is what a guard is for.
        agent.stand_guard()?;
        said?;
    }
    Ok(())
}

/// The next request. One that has no end ends the session.
fn next_line(input: &mut impl BufRead) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    input.take(MAX_LINE as u64 + 1).read_until(b'\n', &mut bytes).context(message!("standard input"))?;
    if bytes.len() > MAX_LINE && bytes.last() != Some(&b'\n') {
        return Err(protocol::too_long()).context(message!("standard input"));
    }
    let line = String::from_utf8(bytes).map_err(|_| Error::input(message!("standard input is not UTF-8 text")))?;
    Ok((!line.is_empty()).then_some(line))
}

fn say(output: &mut impl Write, words: &impl serde::Serialize) -> Result<()> {
    let line = serde_json::to_string(words).context(message!("a reply"))? + "\n";
    output.write_all(line.as_bytes()).and_then(|()| output.flush()).context(message!("standard output"))
}

impl Agent<'_> {
    fn answer(&mut self, request: Request) -> Result<Reply> {
        match request {
            Request::Look(settings) => {
                let through_vpn = guard::is_through_vpn(&settings, &self.connection);
                look(self.host, &settings).map(|look| Reply::Look(Box::new(Look { through_vpn, ..look })))
            }
            Request::Survey(settings) => survey(self.host, settings).map(Reply::Survey),
            Request::MakeKey { settings, history } => self.make_key(&settings, &history).map(Reply::Key),
            Request::Apply { settings, seen, guard, history } => self.apply(settings, seen, guard, &history),
            Request::Remember { settings, history } => {
                let _lock = lock(self.host)?;
                self.remember(&settings, &history).map(|()| Reply::Done)
            }
            Request::StageKey(settings) => {
                let claimed = self.host.claim(keys::ROTATION)?;
                self.rotation = Some(claimed.ok_or_else(keys::is_rotating)?);
                keys::stage(self.host, &settings).map(Reply::Key)
            }
            Request::SwitchKey { settings, seen, guard, history } => self.switch_key(&settings, seen, guard, &history),
            Request::Confirm(name) => {
                let _lock = await_lock(self.host, |_| Ok(()))?;
                converge::guard::confirm(self.host, &name).map(|()| Reply::Done)
            }
            Request::DropOldKey { settings, keys } => {
                if self.rotation.is_none() && self.host.is_claimed(keys::ROTATION)? {
                    return Err(keys::is_rotating());
                }
                keys::drop_old(self.host, &settings, keys)?;
                self.rotation = None;
                Ok(Reply::Done)
            }
            Request::Probe { settings, members, patience, sizes } => {
                self.probe(&settings.dir, &members, patience, sizes).map(Reply::Probed)
            }
            Request::TakeBack => self.take_back(),
        }
    }

    /// Makes the private key and the directory it is in, and nothing else.
    fn make_key(&mut self, settings: &Settings, history: &History) -> Result<PublicKey> {
        let _lock = lock(self.host)?;
        let private = settings.layout().private_conf();
        self.host.recover(&private)?;
        let mut files = FileSurvey::take(self.host, settings)?;
        if let PrivateConfFile::Present { public, .. } = files.facts.instance.private_conf {
            let memory = History::read(self.host, &settings.layout().history())?.with(history);
            let is_retired = settings.vpn_address.is_some_and(|own| memory.is_retired(own, public));
            if !is_retired {
                return Ok(public);
            }
            let start = self.start(settings);
            return keys::replace(self.host, settings, &start);
        }
        let is_parent =
            |step: &Step| matches!(step, Step::Directory(step) if settings.dir.starts_with(&step.resource.path));
        files.plan.steps.retain(|step| is_parent(step) || step.path() == Some(&private));
        let start = self.start(settings);
        apply::run(self.host, &files.plan, &start, &Progress::Silent)?;
        let made = PrivateConf::read(self.host, &private)?.map(|conf| conf.key.public());
        made.ok_or_else(|| Error::unexpected(message!("{path} isn't there", path = self.host.display(&private))))
    }

    /// Compare and swap: the list that was seen must still be here, under the host's lock (FN-52).
    fn apply(
        &mut self,
        settings: Settings,
        seen: Option<ListDigest>,
        guard: Duration,
        history: &History,
    ) -> Result<Reply> {
        let _lock = lock(self.host)?;
        if let Some(conflict) = self.conflict(&settings, seen, history)? {
            return Ok(conflict);
        }
        let files = FileSurvey::take(self.host, &settings)?;
        let (gateway, running) = compose::containers(self.host, &settings.dir)?;
        let stack = Liveness::of_containers(gateway.as_ref(), running);
        match impact(&files.of_instance(&settings), stack, true, &settings) {
            Impact::Install { .. } => {
                let mut survey = HostSurvey::take(self.host, settings.into());
                if survey.is_refused() {
                    return Ok(Reply::Refused(remarkable(survey.findings)));
                }
                let plan = survey.plan(self.host)?;
                // First, unless the directory is still to be made.
                if self.host.stat(&survey.settings.dir)?.is_some() {
                    self.remember(&survey.settings, history)?;
                }
                let start = self.prepare(&plan, &survey.settings, gateway, guard)?;
                // The operator has agreed to an install, whatever packages it takes.
                let agree = |_: &HostSurvey, _: &Plan| Ok(());
                let applied = apply::run_surveyed(self.host, &mut survey, plan, &start, &Progress::Silent, agree)?;
                self.remember(&survey.settings, history)?;
                self.applied(&applied)
            }
            Impact::Nothing | Impact::List => {
                let mut plan = files.plan;
                plan.steps.retain(|step| step.path() == Some(&settings.layout().public_conf()));
                plan.steps.splice(0..0, self.memory(&settings, history)?);
                plan.steps.extend(reconfigure(self.host, &settings, gateway.as_ref())?);
                self.change(&plan, &settings, gateway, guard)
            }
        }
    }

    /// Takes the new key and the list that has it into use together: with one of them alone no peer could answer this host.
    fn switch_key(
        &mut self,
        settings: &Settings,
        seen: Option<ListDigest>,
        guard: Duration,
        history: &History,
    ) -> Result<Reply> {
        let _lock = lock(self.host)?;
        if let Some(conflict) = self.conflict(settings, seen, history)? {
            return Ok(conflict);
        }
        let gateway = compose::containers(self.host, &settings.dir)?.0;
        let mut plan = keys::switch(self.host, settings)?;
        plan.steps.splice(0..0, self.memory(settings, history)?);
        plan.steps.extend(reconfigure(self.host, settings, gateway.as_ref())?);
        self.change(&plan, settings, gateway, guard)
    }

    /// The reply if the operator's side has seen another list than the one that is here, or brings back somebody who is gone
    /// by this host's memory. Interrupted writes are completed first.
    fn conflict(&mut self, settings: &Settings, seen: Option<ListDigest>, history: &History) -> Result<Option<Reply>> {
        recover::complete_writes(self.host, settings.layout())?;
        let here = PeerList::read(self.host, &settings.layout().public_conf())?;
        let same = here.as_ref().map(PeerList::digest) == seen;
        let memory = History::read(self.host, &settings.layout().history())?.with(history);
        let given =
            settings.peers.as_deref().map(|text| PeerList::parse_named(PRODUCT.files.public_conf, text)).transpose()?;
        let is_here = |peer: &Peer| here.as_ref().is_some_and(|list| list.by_address(peer.address) == Some(peer));
        let revives = given.is_some_and(|list| list.peers().any(|peer| memory.is_gone(peer) && !is_here(peer)));
        Ok((!same || revives).then_some(Reply::Conflict))
    }

    /// The step that makes the host remember this in addition, if it doesn't yet.
    fn memory(&self, settings: &Settings, history: &History) -> Result<Option<Step>> {
        let path = settings.layout().history();
        let now = History::read(self.host, &path)?;
        let all = now.with(history);
        if all == now {
            return Ok(None);
        }
        let goal = Goal { resource: File { path }, state: Content::Text(all.to_text()) };
        Ok(Some(goal.transition(self.host)?.into()))
    }

    /// Makes the host remember this, as a run of its own.
    fn remember(&mut self, settings: &Settings, history: &History) -> Result<()> {
        let steps = Vec::from_iter(self.memory(settings, history)?);
        if steps.is_empty() {
            return Ok(());
        }
        let start = self.start(settings);
        apply::run(self.host, &Plan { steps }, &start, &Progress::Silent)
    }

    fn change(
        &mut self,
        plan: &Plan,
        settings: &Settings,
        gateway: Option<GatewayContainer>,
        patience: Duration,
    ) -> Result<Reply> {
        let start = self.prepare(plan, settings, gateway, patience)?;
        apply::run(self.host, plan, &start, &Progress::Silent)?;
        self.applied(plan)
    }

    /// Notes the tunnel's counters and the journal's position before a change, and posts a guard if the change could cut off
    /// the connection.
    fn prepare(
        &mut self,
        plan: &Plan,
        settings: &Settings,
        gateway: Option<GatewayContainer>,
        patience: Duration,
    ) -> Result<RunStart> {
        let device = gateway.map(|gateway| tunnel::observe(self.host, gateway.pid)).transpose()?.flatten();
        self.baseline = Some(Baseline::of(device.as_ref()));
        let start = self.start(settings);
        if guard::is_needed(plan, settings, &self.connection) {
            converge::guard::arm(self.host, &start.id, patience)?;
            self.guard = Some((start.id.clone(), patience));
        }
        Ok(start)
    }

    fn applied(&mut self, plan: &Plan) -> Result<Reply> {
        if let Some((run, _)) = &self.guard {
            converge::guard::begin_to_wait(self.host, run)?;
        }
        Ok(Reply::Applied {
            steps: plan.steps.iter().map(Step::message).collect(),
            guarded: self.guard.as_ref().map(|(run, _)| run.to_string()),
            sets_vpn_address: plan.steps.iter().any(Step::sets_vpn_address),
        })
    }

    /// Waits until a guarded change is confirmed over a new connection or taken back, which is its guard's work and not ours.
    fn stand_guard(&mut self) -> Result<()> {
        let Some((run, patience)) = self.guard.take() else { return Ok(()) };
        let deadline = Instant::now() + patience + AFTER_A_GUARD;
        while converge::guard::is_open(self.host, &run)? && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// A new run, which may be taken back from now on.
    fn start(&mut self, settings: &Settings) -> RunStart {
        let start = RunStart::ignoring(&settings.ignore);
        self.runs.push(start.id.clone());
        start
    }

    /// Which members answer, since the last change over this connection if there was one.
    fn probe(&self, dir: &Path, members: &[Ipv4Addr], patience: Duration, sizes: bool) -> Result<Vec<ProbedPeer>> {
        let gateway = || Ok(compose::containers(self.host, dir)?.0.map(|gateway| gateway.pid));
        let (_, mut peers) = tunnel::probe(self.host, gateway, members, self.baseline.as_ref(), patience)?;
        if let Some(process) = gateway()?.filter(|_| sizes) {
            mtu::measure(self.host, process, &mut peers);
        }
        Ok(peers)
    }

    fn take_back(&mut self) -> Result<Reply> {
        let _lock = lock(self.host)?;
        while let Some(run) = self.runs.pop() {
            for Undone { resource, fate, hints } in undo::of_run(self.host, &run, &Progress::Silent)? {
                match fate {
                    Fate::TakenBack => {}
                    Fate::Kept(now) => {
                        let stays = message!("{resource} stays: somebody has changed it since: {now}", resource, now);
                        return Err(Error::new(Class::Step, stays));
                    }
                    Fate::Needed(reason) | Fate::Failed(reason) => {
                        let error =
                            Error::new(Class::Step, message!("{left}: {right}", left = resource, right = reason));
                        return Err(hints.into_iter().fold(error, Error::then));
                    }
                }
            }
        }
        Ok(Reply::Done)
    }
}

/// Takes the host's lock, waiting for another run on it.
fn lock(host: &mut Host) -> Result<Lock> {
    await_lock(host, converge::guard::settle)
}

/// As [`lock`], if `agree` has nothing against it.
fn await_lock(host: &mut Host, agree: impl Fn(&mut Host) -> Result<()>) -> Result<Lock> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match host.lock().and_then(|lock| agree(host).map(|()| lock)) {
            Err(error) if error.class() == Class::Locked && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(50));
            }
            other => return other,
        }
    }
}

/// What a whole install would do, unless a check forbids it.
fn survey(host: &Host, settings: Settings) -> Result<protocol::Survey> {
    let survey = HostSurvey::take(host, settings.into());
    let plan = if survey.is_refused() { Plan::default() } else { survey.plan(host)? };
    Ok(protocol::Survey {
        refused: survey.is_refused(),
        steps: plan.steps.iter().map(Step::message).collect(),
        impact: if survey.is_refused() { Impact::Nothing } else { survey.impact(&plan) },
        findings: remarkable(survey.findings),
    })
}

/// The findings that forbid an install or warn.
fn remarkable(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.retain(|finding| matches!(finding.outcome, Severity::Fail | Severity::Warn));
    findings
}

/// The step that brings a changed file to the tunnel, without a restart (C2).
fn reconfigure(host: &Host, settings: &Settings, gateway: Option<&GatewayContainer>) -> Result<Option<Step>> {
    let Some(gateway) = gateway.filter(|_| settings.restart != Restart::None) else { return Ok(None) };
    let compose = compose::command_for(host, gateway)?.ok_or_else(|| {
        let hint = Message::command("mitigator-vpn explain compose");
        Error::new(Class::Step, message!("there is no compose command")).hint(hint)
    })?;
    let public_conf = settings.layout().public_conf();
    let resource = Tunnel { dir: settings.dir.clone(), public_conf, compose };
    Ok(Some(Transition { resource, before: Liveness::Outdated, after: Liveness::Running }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::Note;
    use std::path::PathBuf;

    struct Far {
        dir: tempfile::TempDir,
    }

    impl Far {
        fn new() -> Far {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("srv/mitigator")).unwrap();
            Far { dir }
        }

        fn settings(&self) -> Settings {
            Settings {
                vpn_address: Some([10, 8, 3, 1].into()),
                endpoint: Some("192.0.2.1:4567".parse().unwrap()),
                restart: Restart::None,
                ..Settings::default()
            }
        }

        /// The replies to these requests, over the wire.
        fn ask(&self, requests: &[Request]) -> Vec<Reply> {
            let input: String = requests.iter().map(|r| serde_json::to_string(r).unwrap() + "\n").collect();
            let mut output = Vec::new();
            run(&mut Host::at(self.dir.path()).unwrap(), "", input.as_bytes(), &mut output).unwrap();
            let text = String::from_utf8(output).unwrap();
            text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join("srv/mitigator").join(name)
        }
    }

    #[test]
    fn a_key_is_made_once_and_only_its_public_half_leaves() {
        let far = Far::new();
        let make = |history: &History| Request::MakeKey { settings: far.settings(), history: history.clone() };
        let mut history = History::default();
        let replies = far.ask(&[make(&history), make(&history)]);
        let [Reply::Key(first), Reply::Key(second)] = &replies[..] else { panic!("{replies:?}") };
        assert_eq!(first, second);
        history.retire([10, 8, 3, 1].into(), *first, Note::default());
        let replies = far.ask(&[make(&history), make(&history)]);
        let [Reply::Key(other), Reply::Key(second)] = &replies[..] else { panic!("{replies:?}") };
        assert!(other == second && other != first, "a retired key is replaced, once");
        assert_eq!(std::fs::read_dir(far.path(".")).unwrap().count(), 1, "and not kept");
        let text = std::fs::read_to_string(far.path("vpn-private.conf")).unwrap();
        let secret = text.split("PrivateKey = ").nth(1).unwrap().trim().to_owned();
        assert!(!format!("{replies:?}").contains(&secret));
        assert!(!far.path("vpn-public.conf").exists(), "and nothing else is made");
    }

    #[test]
    fn an_endless_request_ends_the_session() {
        let far = Far::new();
        let endless = std::io::BufReader::new(std::io::repeat(b'x'));
        let error = run(&mut Host::at(far.dir.path()).unwrap(), "", endless, Vec::new()).unwrap_err();
        assert!(error.to_string().contains("5 MiB"), "{error}");
    }

    #[test]
    fn what_is_no_request_is_answered_and_the_session_goes_on() {
        let far = Far::new();
        let mut output = Vec::new();
        let look = serde_json::to_string(&Request::Look(far.settings())).unwrap();
        run(&mut Host::at(far.dir.path()).unwrap(), "", format!("{{}}\n{look}\n").as_bytes(), &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("failed") && lines[2].contains("look"), "{text}");
    }
}
