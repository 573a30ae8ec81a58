//! Every duration that concerns a tunnel, with its reason. Most follow from WireGuard's own timers, which are constants
//! of its protocol (whitepaper, section 6.1).

use std::time::Duration;

/// Seconds after which a session is dead: WireGuard rejects packets under a key older than this (Reject-After-Time).
pub(crate) const SESSION: u64 = 180;
/// Seconds after which a sender makes a new session before anything else (Rekey-After-Time).
pub(crate) const REKEY: u64 = 120;

/// How long a peer without a session is waited for. WireGuard retries a handshake every 5 s (Rekey-Timeout), so this is
/// time for three attempts.
pub(crate) const WITHOUT_SESSION: Duration = Duration::from_secs(12);
/// How long a peer with a session is waited for. WireGuard gives up a session 15 s after a packet that nothing answered
/// (Keepalive-Timeout + Rekey-Timeout) and then makes a new one. A peer with nothing to send replies with a keepalive
/// after 10 s.
pub(crate) const WITH_SESSION: Duration = Duration::from_secs(18);
/// How long a probe may take that asks who answers before a change: a peer that is up answers at once, even if it has to
/// make a session first.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);
/// How long peers are waited for that may not have this instance's key yet.
pub(crate) const STRANGERS: Duration = Duration::from_secs(2);

/// How long the peer that begins a handshake is ahead of the other: longer than a packet's round trip.
pub(crate) const HEAD_START: Duration = Duration::from_millis(500);
/// How often a silent peer is sent an echo request.
pub(crate) const SPEAK_EVERY: Duration = Duration::from_secs(1);
/// The first pause between two looks at the device. On a local network an answer takes less than that.
pub(crate) const FIRST_TICK: Duration = Duration::from_millis(15);
/// The longest pause between two looks. Each pause is twice the one before, up to this.
pub(crate) const LONGEST_TICK: Duration = Duration::from_millis(120);

/// The longest round trip of an echo request when the path MTU is measured.
pub(crate) const ECHO: Duration = Duration::from_secs(1);
/// The shortest time to wait for an echo reply once the round trip is known to be short: a busy host may delay one.
pub(crate) const QUICK_ECHO: Duration = Duration::from_millis(200);
/// The pause between two pairs of echo requests that confirm a size.
pub(crate) const ECHO_PAIR: Duration = Duration::from_millis(250);
