//! The clock.

use std::time::SystemTime;

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::host::Host;

/// The clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Whether something keeps the kernel's clock right (`adjtimex`); `None` where unknown.
    pub synchronised: Option<bool>,
    /// Today by this clock, `2026-11-22`; empty where unknown.
    pub today: String,
}

/// Reads this part of the facts.
pub(crate) fn gather(host: &Host) -> Clock {
    Clock { synchronised: synchronised(host), today: today() }
}

/// Today by this machine's clock.
pub(crate) fn today() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    date(now.as_secs() / 86400)
}

/// What timedatectl calls synchronised, asked from the kernel: timedatectl would start a daemon, which creates
/// directories.
#[expect(unsafe_code, reason = "no crate here has adjtimex")]
fn synchronised(host: &Host) -> Option<bool> {
    if !host.is_live() {
        return None;
    }
    // SAFETY: a timex of zeros is valid, and with modes 0 the kernel only writes into it.
    let (answer, state) = unsafe {
        let mut state: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut state), state)
    };
    // The kernel's estimate of the error is 16 s from boot until the clock is first set, and again some hours after
    // the last time.
    (answer >= 0).then_some(state.maxerror < 16_000_000)
}

/// The ISO date of a day counted from 1 January 1970. Years are counted from March, so that the leap day
/// comes last.
fn date(days: u64) -> String {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates_across_leap_years_and_centuries() {
        let known = [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (19_722, "2023-12-31"),
            (19_782, "2024-02-29"),
            (20_779, "2026-11-22"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ];
        for (days, iso) in known {
            assert_eq!(date(days), iso);
        }
    }

    #[test]
    fn a_mounted_tree_has_no_clock_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let clock = gather(&Host::at(dir.path()).unwrap());
        assert_eq!(clock.synchronised, None);
        assert_eq!(clock.today.len(), 10);
    }
}
