//! When two names are of one machine, and which machine is this one. Files of hosts, Slurm's nodes and the search for
//! lost hosts all go by this rule.
//!
//! Names are names of hosts as DNS has them: without regard to case, or to a dot at their end. A name and the same name
//! with a domain behind it are one machine; two names with different domains are two. To `mpirun` each is called by the
//! name that the user has written ([`crate::start`] has it keep domains, which it would cut off).
//!
//! Limits: two unlike names of one other machine are two machines here, as they are to `mpirun`.

use std::net::{IpAddr, ToSocketAddrs, UdpSocket};

/// Whether two names are of one machine, by their letters alone.
pub fn are_one(one: &str, other: &str) -> bool {
    let (one, other) = (canonical(one), canonical(other));
    one == other || is_short_for(&one, &other) || is_short_for(&other, &one)
}

/// Whether it is an address and no name.
pub fn is_address(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}

/// The addresses that a name has here; none where nobody knows it.
pub fn addresses_of(name: &str) -> Vec<IpAddr> {
    (canonical(name).as_str(), 0).to_socket_addrs().map_or(Vec::new(), |all| all.map(|found| found.ip()).collect())
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn is_short_for(short: &str, long: &str) -> bool {
    !is_address(short) && !is_address(long) && long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'))
}

/// The machine that this process runs on.
#[derive(Debug, Clone)]
pub struct ThisMachine {
    name: String,
}

impl ThisMachine {
    /// As the kernel calls it.
    pub fn new() -> Self {
        Self::called(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim())
    }

    /// With this name.
    pub fn called(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// What the kernel calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `name` is one of its names or addresses, as far as it shows without asking anybody.
    pub fn is_evidently(&self, name: &str) -> bool {
        let own = ["localhost", "localhost.localdomain"].contains(&canonical(name).as_str());
        own || !self.name.is_empty() && are_one(&self.name, name) || name.parse().is_ok_and(is_own)
    }

    /// Whether `name` is one of its names or addresses, also by what the system says of the name.
    pub fn is(&self, name: &str) -> bool {
        self.is_evidently(name) || addresses_of(name).into_iter().any(is_own)
    }
}

/// An address that one can listen at is one's own.
fn is_own(address: IpAddr) -> bool {
    address.is_loopback() || !address.is_unspecified() && UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_machines_in_any_spelling_and_another_domain_is_another_machine() {
        for (one, other) in [
            ("gpu01", "gpu01"),
            ("gpu01", "GPU01"),
            ("gpu01.", "gpu01"),
            ("gpu01", "gpu01.site.example"),
            ("Gpu01.site", "gpu01.SITE.example."),
        ] {
            assert!(are_one(one, other) && are_one(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("gpu01", "gpu011"),
            ("gpu01.rack1.example", "gpu01.rack2.example"),
            ("gpu01.a", "gpu02.a"),
            ("10.0.0.1", "10.0.0.11"),
            ("10.0.0", "10.0.0.1"),
        ] {
            assert!(!are_one(one, other) && !are_one(other, one), "{one} {other}");
        }
    }

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        let this = ThisMachine::called("login.site.example");
        for name in ["localhost", "LOCALHOST.", "127.0.0.1", "127.0.0.2", "login", "login.site.example", "Login.site"] {
            assert!(this.is_evidently(name) && this.is(name), "{name}");
        }
        for name in ["gpu01", "login.other.example", "login2", "192.0.2.77", "0.0.0.0"] {
            assert!(!this.is_evidently(name), "{name}");
        }
        assert!(!ThisMachine::called("").is_evidently("gpu01"));
        assert_eq!(ThisMachine::new().name().trim(), ThisMachine::new().name());
    }
}
