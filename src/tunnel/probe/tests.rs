//! A probe against a simulated device and clock.

use super::*;
use crate::wireguard::device::Implementation;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 8, 3, 2);

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 8, 3, last)
}

fn key(last: u8) -> PublicKey {
    PublicKey::from_bytes([last; 32])
}

/// A device, and the time since the probe began.
struct Simulation {
    device: Option<Device>,
    probe: Probe,
    elapsed: Duration,
}

impl Simulation {
    /// Peers with these last octets, none of which has a session.
    fn new(peers: &[u8]) -> Simulation {
        let addresses: Vec<Ipv4Addr> = peers.iter().map(|last| address(*last)).collect();
        let observed =
            |last: &u8| ObservedPeer { allowed: vec![address(*last).into()], ..ObservedPeer::new(key(*last)) };
        let device = Device {
            name: "wg0".parse().unwrap(),
            implementation: Implementation::Kernel,
            public_key: Some(key(2)),
            listen_port: Some(4567),
            peers: peers.iter().map(observed).collect(),
        };
        let probe = Probe::new(&addresses, None, timings::WITH_SESSION);
        Simulation { device: Some(device), probe, elapsed: Duration::ZERO }
    }

    fn peer(&mut self, last: u8) -> &mut ObservedPeer {
        let device = self.device.as_mut().expect("there is a device");
        device.peers.iter_mut().find(|peer| peer.public_key == key(last)).expect("there is such a peer")
    }

    /// With a session of that age in seconds, in which bytes have come already.
    fn with_session(mut self, last: u8, age: u64) -> Simulation {
        self.peer(last).last_handshake = Some(now(Duration::ZERO) - Duration::from_secs(age));
        self.peer(last).rx_bytes = 1_000;
        self
    }

    /// What the probe does that many milliseconds after it began.
    fn at(&mut self, milliseconds: u64) -> Next {
        self.elapsed = Duration::from_millis(milliseconds);
        let observation = Observation {
            device: self.device.as_ref(),
            now: now(self.elapsed),
            elapsed: self.elapsed,
            own_address: || Some(OWN),
        };
        self.probe.next(observation)
    }

    /// The second in which the probe ends.
    fn end(&mut self) -> u64 {
        let ends = (0..60_000).step_by(250).find(|at| self.at(*at) == Next::Done);
        ends.expect("it ends within a minute") / 1_000
    }

    fn reachability(&self, last: u8) -> Reachability {
        self.probe.peers.iter().find(|peer| peer.address == address(last)).expect("it was asked for").reachability
    }
}

fn now(elapsed: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + elapsed
}

fn speak(to: &[u8]) -> Next {
    Next::Speak(to.iter().map(|last| address(*last)).collect())
}

#[test]
fn a_healthy_peer_ends_the_probe_with_its_first_reply() {
    let mut simulation = Simulation::new(&[1]).with_session(1, 60);
    assert_eq!(simulation.at(0), speak(&[1]));
    assert_eq!(simulation.at(15), Next::Wait);
    simulation.peer(1).rx_bytes += 64;
    assert_eq!(simulation.at(45), Next::Done);
    assert_eq!(simulation.reachability(1), Reachability::Answers);
}

#[test]
fn a_young_session_alone_is_no_answer() {
    let mut simulation = Simulation::new(&[1]).with_session(1, 3);
    assert_eq!(simulation.end(), 18);
    assert_eq!(simulation.reachability(1), Reachability::Silent);
}

#[test]
fn a_peer_without_a_session_is_waited_for_12_seconds() {
    for age in [None, Some(timings::SESSION + 1)] {
        let mut simulation = Simulation::new(&[1]);
        if let Some(age) = age {
            simulation = simulation.with_session(1, age);
        }
        assert_eq!(simulation.end(), 12);
        assert_eq!(simulation.reachability(1), Reachability::NoHandshake);
    }
}

#[test]
fn a_session_that_dies_meanwhile_is_not_waited_for_any_longer() {
    let mut simulation = Simulation::new(&[1]).with_session(1, timings::SESSION - 14);
    assert_eq!(simulation.end(), 15);
}

#[test]
fn one_that_answers_at_last_still_counts() {
    let mut simulation = Simulation::new(&[1]).with_session(1, 60);
    assert_ne!(simulation.at(0), Next::Done);
    assert_ne!(simulation.at(16_000), Next::Done);
    simulation.peer(1).last_handshake = Some(now(Duration::from_secs(16)));
    simulation.peer(1).rx_bytes += 92;
    assert_eq!(simulation.at(17_000), Next::Done);
    assert_eq!(simulation.reachability(1), Reachability::Answers);
}

#[test]
fn a_handshake_initiation_proves_no_way_back() {
    // Before the first session, and in the time of an old one.
    let mut simulation = Simulation::new(&[1, 3]).with_session(3, 60);
    assert_ne!(simulation.at(0), Next::Done);
    simulation.peer(1).rx_bytes += INITIATION;
    simulation.peer(3).rx_bytes += 3 * INITIATION;
    assert_eq!(simulation.end(), 18);
    assert_eq!(simulation.reachability(1), Reachability::NoHandshake);
    assert_eq!(simulation.reachability(3), Reachability::Silent);
}

#[test]
fn of_two_without_a_session_the_lower_address_begins() {
    let mut simulation = Simulation::new(&[1, 3, 4]).with_session(4, timings::REKEY);
    assert_eq!(simulation.at(0), speak(&[3, 4]), "we are 2");
    assert_eq!(simulation.at(400), Next::Wait);
    assert_eq!(simulation.at(500), speak(&[1, 3, 4]));
    assert_eq!(simulation.at(1_400), Next::Wait);
    assert_eq!(simulation.at(1_500), speak(&[1, 3, 4]));
}

#[test]
fn a_session_that_needs_no_handshake_is_spoken_in_at_once() {
    let mut simulation = Simulation::new(&[1]).with_session(1, timings::REKEY - 1);
    assert_eq!(simulation.at(0), speak(&[1]));
}

#[test]
fn only_silent_peers_are_spoken_to_again() {
    let mut simulation = Simulation::new(&[3, 4]);
    assert_eq!(simulation.at(0), speak(&[3, 4]));
    *simulation.peer(3) =
        ObservedPeer { last_handshake: Some(now(Duration::ZERO)), rx_bytes: 92, ..simulation.peer(3).clone() };
    assert_eq!(simulation.at(500), speak(&[4]));
}

#[test]
fn patience_ends_it_sooner() {
    let mut simulation = Simulation::new(&[1]).with_session(1, 3);
    simulation.probe.patience = timings::STRANGERS;
    assert_eq!(simulation.end(), 2);
}

#[test]
fn a_device_that_is_being_made_is_waited_for() {
    let mut simulation = Simulation::new(&[3]);
    let device = simulation.device.take();
    assert_eq!(simulation.at(0), Next::Wait);
    assert_eq!(simulation.reachability(3), Reachability::NotAPeer);
    simulation.device = device;
    assert_eq!(simulation.at(3_000), speak(&[3]), "the first to speak, although late");
    simulation.device = None;
    assert_eq!(simulation.at(12_000), Next::Done);
}

#[test]
fn what_came_since_a_change_counts() {
    let before = Simulation::new(&[1]).with_session(1, 60);
    let baseline = Baseline::of(before.device.as_ref());
    // The same device with 64 bytes more, and one made anew with fewer bytes than the old one had.
    for (handshake, bytes) in [(now(Duration::ZERO) - Duration::from_secs(60), 1_064), (now(Duration::ZERO), 92)] {
        let mut simulation = Simulation::new(&[1]);
        simulation.probe.since = Some(baseline.clone());
        let peer = simulation.peer(1);
        (peer.last_handshake, peer.rx_bytes) = (Some(handshake), bytes);
        assert_eq!(simulation.at(0), Next::Done, "nothing has to be sent");
    }
    let mut simulation = Simulation::new(&[1]).with_session(1, 60);
    simulation.probe.since = Some(baseline);
    assert_ne!(simulation.at(0), Next::Done, "nothing came since");
}

#[test]
fn nobody_to_ask_is_nothing_to_wait_for() {
    assert_eq!(Simulation::new(&[]).at(0), Next::Done);
}
