//! Files of hosts, in Open MPI's syntax: a line `gpu01 slots=8` per host, `#` begins a comment. A host that stands
//! without slots in several lines has one for each of them, as in the files that batch systems write.
//!
//! Stricter than Open MPI: a host without `slots` in one line alone is an error, because a default would be this
//! machine's number of cores; so are two names of one machine ([`crate::place::machine`]), which `mpirun` may take for
//! two, and everything that only some `mpirun`s understand.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use tercet_configs::{ExitCode, read_text};

use crate::exit::Fail;
use crate::place::machine::{ThisMachine, addresses_of, are_one, is_address};
use crate::place::placement::Host;

/// More on one host is a typing mistake.
const MAX_SLOTS: usize = 1 << 16;

/// The hosts of a file, in its order.
///
/// # Errors
/// [`ExitCode::Usage`] with file and line for what cannot be understood.
pub fn read(file: &Path) -> Result<Vec<Host>, Fail> {
    let wrong = |what: String| Fail::new(ExitCode::Usage, format!("hosts {}: {what}", file.display()));
    let text = read_text(file).map_err(|error| wrong(error.to_string()))?;
    parse(&text, &ThisMachine::new(), addresses_of).map_err(wrong)
}

/// A host and the first line that it stands in.
#[derive(Debug)]
struct Entry {
    line: usize,
    name: String,
    slots: Option<NonZeroUsize>,
    /// Lines without slots.
    num_bare: usize,
}

fn parse(text: &str, this: &ThisMachine, addresses: impl Fn(&str) -> Vec<IpAddr> + Sync) -> Result<Vec<Host>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_end().contains('\r') && !text.contains('\n') {
        return Err("its lines end with CR alone: `tr '\\r' '\\n'` makes lines of them".into());
    }
    for (line, words) in text.lines().enumerate().map(|(i, line)| (i + 1, line)) {
        let at = |what: String| format!("line {line}: {what}");
        let Some((name, slots)) = parse_line(words).map_err(at)? else { continue };
        match entries.iter_mut().find(|known| are_one(&known.name, &name)) {
            None => entries.push(Entry { line, name, slots, num_bare: usize::from(slots.is_none()) }),
            Some(known) if known.name == name && known.slots.is_none() && slots.is_none() => known.num_bare += 1,
            Some(known) => return Err(at(stands_twice(&name, known))),
        }
    }
    no_machine_has_two_names(&entries, this, addresses)?;
    if entries.is_empty() {
        return Err("names no host: write a line like `gpu01 slots=8` for each".into());
    }
    entries.into_iter().map(Entry::host).collect()
}

impl Entry {
    fn host(self) -> Result<Host, String> {
        let Self { line, name, slots, num_bare } = self;
        let repeated = NonZeroUsize::new(num_bare).filter(|lines| lines.get() > 1);
        match slots.or(repeated) {
            Some(slots) => Ok(Host { name, slots }),
            None => Err(format!("line {line}: {name} has no slots: write `{name} slots=N`, N being its GPUs")),
        }
    }
}

fn stands_twice(name: &str, known: &Entry) -> String {
    let remedy = "give a host one line with all its slots";
    match known.name == name {
        true => format!("{name} is on line {} already: {remedy}", known.line),
        false => format!(
            "{name} and {} on line {} are names of one machine: {remedy}; two machines need names that differ with their \
             domains",
            known.name, known.line
        ),
    }
}

/// Names that do not show it may still be this machine's, or those of an address in the file: the system is asked, as
/// `mpirun` asks it, where the file has names of both kinds.
fn no_machine_has_two_names(
    entries: &[Entry],
    this: &ThisMachine,
    addresses: impl Fn(&str) -> Vec<IpAddr> + Sync,
) -> Result<(), String> {
    let here: Vec<bool> = entries.iter().map(|entry| this.is_evidently(&entry.name)).collect();
    let all_named = entries.iter().zip(&here).all(|(entry, here)| !here && !is_address(&entry.name));
    if entries.len() < 2 || all_named {
        return Ok(());
    }
    let found: Vec<Vec<IpAddr>> = thread::scope(|scope| {
        let asked: Vec<_> = entries.iter().map(|entry| scope.spawn(|| addresses(&entry.name))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let is_here = |i: usize| here[i] || found[i].iter().any(|address| this.is_evidently(&address.to_string()));
    for i in 0..entries.len() {
        let both_here = |other: usize| is_here(i) && is_here(other);
        let same_address = |other: usize| {
            (is_address(&entries[i].name) || is_address(&entries[other].name))
                && found[i].iter().any(|address| found[other].contains(address))
        };
        if let Some(other) = (0..i).find(|other| both_here(*other) || same_address(*other)) {
            return Err(format!("line {}: {}", entries[i].line, stands_twice(&entries[i].name, &entries[other])));
        }
    }
    Ok(())
}

/// A host and its slots, as far as the line has any.
fn parse_line(line: &str) -> Result<Option<(String, Option<NonZeroUsize>)>, String> {
    let line = line.split_once('#').map_or(line, |(before, _)| before);
    // Open MPI lets blanks stand around the sign.
    let spaced = line.replace('=', " = ");
    let mut words = spaced.split_whitespace().peekable();
    let Some(name) = words.next() else { return Ok(None) };
    if words.peek() == Some(&"=") {
        return Err(format!("{:?}: a line begins with a host's name, as in `gpu01 slots=8`", line.trim()));
    }
    if !is_host_name(name) {
        return Err(no_host_name(name));
    }
    let (mut slots, mut max_slots) = (None, None);
    while let Some(key) = words.next() {
        let value = words.next_if_eq(&"=").and_then(|_| words.next_if(|word| *word != "="));
        let word = value.map_or(key.to_owned(), |value| format!("{key}={value}"));
        let number = || {
            let number =
                value.and_then(|value| value.parse().ok()).filter(|number: &NonZeroUsize| number.get() <= MAX_SLOTS);
            number.ok_or_else(|| format!("{word:?}: expected a number above 0, as in slots=8, and at most {MAX_SLOTS}"))
        };
        match key {
            "slots" if slots.is_none() => slots = Some(number()?),
            "max_slots" | "max-slots" if max_slots.is_none() => max_slots = Some(number()?),
            "slots" | "max_slots" | "max-slots" => return Err(format!("{key} is given twice")),
            "user" | "username" | "user-name" | "user_name" | "port" => {
                return Err(format!("{word:?}: users and ports of hosts go to ~/.ssh/config, which ssh reads"));
            }
            _ => return Err(format!("{word:?} is unknown: expected `{name} slots=N`")),
        }
    }
    if max_slots.is_some_and(|max| slots.is_some_and(|slots| max < slots)) {
        return Err(format!("{name} has more slots than max_slots"));
    }
    if let (None, Some(max)) = (slots, max_slots) {
        return Err(format!("{name} has no slots: write `{name} slots={max}`"));
    }
    Ok(Some((name.into(), slots)))
}

/// Names and addresses; a leading dash would be an option to ssh.
fn is_host_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

fn no_host_name(name: &str) -> String {
    // An address may stand in brackets, with a port behind them, or have a network interface behind it.
    let inside = name.strip_prefix('[').unwrap_or(name);
    let address = inside.split([']', '%']).next().unwrap_or(inside);
    let remedy = match name {
        _ if name.contains('@') => "users go to ~/.ssh/config, which ssh reads".into(),
        _ if address.parse::<Ipv6Addr>().is_ok() => {
            "mpirun does not take an IPv6 address for a host: give the host a name in /etc/hosts or \
             ~/.ssh/config"
                .into()
        }
        _ if name.contains('[') => {
            format!("a range: write a line for each host (`scontrol show hostnames '{name}'` writes ranges out)")
        }
        _ if name.contains(',') => "write a line for each host".into(),
        _ => match name.split_once(':') {
            Some((host, slots)) if is_host_name(host) && slots.bytes().all(|b| b.is_ascii_digit()) => {
                format!("write `{host} slots={slots}`")
            }
            _ => "expected letters, digits, dots, dashes".into(),
        },
    };
    format!("{name:?} is not a host name: {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine called login.site, where two names are known.
    fn hosts(text: &str) -> Result<Vec<(String, usize)>, String> {
        let known = |name: &str| match name {
            "gpu07" | "10.0.0.7" => vec!["10.0.0.7".parse().unwrap()],
            "alias" | "127.0.0.1" | "localhost" => vec!["127.0.0.1".parse().unwrap()],
            _ => Vec::new(),
        };
        let hosts = parse(text, &ThisMachine::called("login.site"), known)?;
        Ok(hosts.into_iter().map(|host| (host.name, host.slots.get())).collect())
    }

    fn owned(hosts: &[(&str, usize)]) -> Vec<(String, usize)> {
        hosts.iter().map(|(name, slots)| ((*name).to_owned(), *slots)).collect()
    }

    #[test]
    fn hosts_keep_their_order_and_their_spelling() {
        for (text, expected) in [
            (
                "# our three\ngpu02 slots=8\n\n  10.0.0.7\tslots=4 max_slots=8 # half\nlogin-1.site slots=1",
                &[("gpu02", 8), ("10.0.0.7", 4), ("login-1.site", 1)][..],
            ),
            ("\u{feff}gpu01 slots=2\r\nGPU02.site slots = 3\r\n", &[("gpu01", 2), ("GPU02.site", 3)]),
            (
                "n1.rack1.example slots= 2\nn1.rack2.example slots =2",
                &[("n1.rack1.example", 2), ("n1.rack2.example", 2)],
            ),
            ("localhost slots=2\ngpu01 slots=8", &[("localhost", 2), ("gpu01", 8)]),
            // As batch systems write them.
            ("gpu01\ngpu01\ngpu02\ngpu01\ngpu02\n", &[("gpu01", 3), ("gpu02", 2)]),
        ] {
            assert_eq!(hosts(text), Ok(owned(expected)), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            ("gpu01 slots=8\ngpu02 slot=8", "line 2: \"slot=8\" is unknown: expected `gpu02 slots=N`"),
            ("gpu01 slots=0", "line 1: \"slots=0\": expected a number above 0"),
            ("gpu01 slots=99999999999999999999", "line 1: \"slots=99999999999999999999\": expected a number above 0"),
            ("gpu01 slots=8000000", "at most 65536"),
            ("gpu01 slots", "line 1: \"slots\": expected a number above 0"),
            ("gpu01 slots=", "line 1: \"slots\": expected a number above 0"),
            ("gpu01 slots=-1", "line 1: \"slots=-1\""),
            ("gpu01 slots=8 slots=8", "line 1: slots is given twice"),
            ("gpu01 slots=8 max_slots=4", "line 1: gpu01 has more slots than max_slots"),
            ("gpu01 max_slots=4", "line 1: gpu01 has no slots: write `gpu01 slots=4`"),
            ("gpu01", "line 1: gpu01 has no slots"),
            ("gpu01\ngpu01\ngpu02", "line 3: gpu02 has no slots"),
            ("gpu01\ngpu01 slots=2", "line 2: gpu01 is on line 1 already"),
            ("gpu01 gpu02 slots=8", "line 1: \"gpu02\" is unknown"),
            ("slots=8", "line 1: \"slots=8\": a line begins with a host's name"),
            ("-oProxyCommand=sh slots=8", "line 1: \"-oProxyCommand=sh slots=8\": a line begins"),
            ("-oProxy slots=8", "line 1: \"-oProxy\" is not a host name"),
            ("me@gpu01 slots=8", "line 1: \"me@gpu01\" is not a host name: users go to ~/.ssh/config"),
            ("gpu01 slots=8 username=me", "users and ports of hosts go to ~/.ssh/config"),
            ("gpu01:8", "line 1: \"gpu01:8\" is not a host name: write `gpu01 slots=8`"),
            ("gpu[01-12] slots=8", "line 1: \"gpu[01-12]\" is not a host name: a range: write a line for each host"),
            ("fe80::1 slots=8", "does not take an IPv6 address"),
            ("[fe80::1] slots=8", "\"[fe80::1]\" is not a host name: mpirun does not take an IPv6 address"),
            ("[fe80::1%eth0]:22", "does not take an IPv6 address"),
            ("fe80::1%eth0 slots=8", "does not take an IPv6 address"),
            ("gpu01 slots=8\rgpu02 slots=8\r", "its lines end with CR alone"),
            ("gpu01,gpu02 slots=8", "write a line for each host"),
            ("// gpu01 slots=8", "line 1: \"//\" is not a host name"),
            ("# nothing\n", "names no host"),
        ] {
            let error = hosts(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_machine_that_stands_twice_is_refused_under_whatever_names() {
        for (text, expected) in [
            ("\ngpu01 slots=8\n\ngpu01 slots=8", "line 4: gpu01 is on line 2 already"),
            ("gpu01 slots=8\nGPU01 slots=8", "line 2: GPU01 and gpu01 on line 1 are names of one machine"),
            ("gpu01 slots=8\ngpu01. slots=8", "line 2: gpu01. and gpu01 on line 1 are names of one machine"),
            ("gpu01.site slots=8\ngpu01 slots=8", "line 2: gpu01 and gpu01.site on line 1 are names of one machine"),
            ("localhost slots=2\ngpu01 slots=1\n127.0.0.1 slots=2", "line 3: 127.0.0.1 and localhost on line 1"),
            ("login slots=2\nlocalhost slots=2", "line 2: localhost and login on line 1"),
            ("localhost slots=2\nalias slots=2", "line 2: alias and localhost on line 1"),
            ("gpu07 slots=2\n10.0.0.7 slots=2", "line 2: 10.0.0.7 and gpu07 on line 1"),
        ] {
            let error = hosts(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
