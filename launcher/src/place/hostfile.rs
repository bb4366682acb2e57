//! Files of hosts, in Open MPI's syntax: a line `gpu01 slots=8` per host, `#` begins a comment.
//!
//! Stricter than Open MPI: a host without `slots` is an error, because a default would be this machine's number of
//! cores; so is a host that stands twice, which there adds up.

use std::num::NonZeroUsize;
use std::path::Path;

use tercet_configs::ExitCode;

use crate::exit::Fail;
use crate::place::Host;

/// The hosts of a file, in its order.
///
/// # Errors
/// [`ExitCode::Usage`] with file and line for what cannot be understood.
pub fn read(file: &Path) -> Result<Vec<Host>, Fail> {
    let wrong = |what: String| Fail::new(ExitCode::Usage, format!("hosts {}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<Vec<Host>, String> {
    let mut hosts: Vec<(usize, Host)> = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line)) {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        let at = |what: String| format!("line {number}: {what}");
        let Some(host) = parse_line(line).map_err(at)? else { continue };
        if let Some((first, _)) = hosts.iter().find(|(_, known)| known.name == host.name) {
            return Err(at(format!(
                "{} is on line {first} already: give a host one line with all its slots",
                host.name
            )));
        }
        hosts.push((number, host));
    }
    match hosts.is_empty() {
        true => Err("names no host: write a line like `gpu01 slots=8` for each".into()),
        false => Ok(hosts.into_iter().map(|(_, host)| host).collect()),
    }
}

fn parse_line(line: &str) -> Result<Option<Host>, String> {
    let mut words = line.split_whitespace();
    let Some(name) = words.next() else { return Ok(None) };
    if !is_host_name(name) {
        return Err(format!(
            "{name:?} is no host name: expected letters, digits, dots, dashes (users go to ~/.ssh/config)"
        ));
    }
    let (mut slots, mut max_slots) = (None, None);
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let value = || value.parse().map_err(|_| format!("{word:?}: expected a number above 0, as in slots=8"));
        match key {
            "slots" if slots.is_none() => slots = Some(value()?),
            "max_slots" | "max-slots" if max_slots.is_none() => max_slots = Some(value()?),
            "slots" | "max_slots" | "max-slots" => return Err(format!("{key} is given twice")),
            _ => return Err(format!("{word:?} is unknown: expected `{name} slots=N`")),
        }
    }
    let slots: NonZeroUsize =
        slots.ok_or_else(|| format!("{name} has no slots: write `{name} slots=N`, N being its GPUs"))?;
    if max_slots.is_some_and(|max: NonZeroUsize| max < slots) {
        return Err(format!("{name} has more slots than max_slots"));
    }
    Ok(Some(Host { name: name.into(), slots }))
}

/// Names and addresses; a leading dash would be an option to ssh.
fn is_host_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_keep_their_order() {
        let hosts = parse("# our three\ngpu02 slots=8\n\n  10.0.0.7\tslots=4 max_slots=8 # half\nlogin-1.site slots=1")
            .unwrap();
        let found: Vec<_> = hosts.iter().map(|host| (host.name.as_str(), host.slots.get())).collect();
        assert_eq!(found, [("gpu02", 8), ("10.0.0.7", 4), ("login-1.site", 1)]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            ("gpu01 slots=8\ngpu02 slot=8", "line 2: \"slot=8\" is unknown: expected `gpu02 slots=N`"),
            ("gpu01 slots=0", "line 1: \"slots=0\": expected a number above 0"),
            ("gpu01 slots", "line 1: \"slots\": expected a number above 0"),
            ("gpu01 slots=-1", "line 1: \"slots=-1\""),
            ("gpu01 slots=8 slots=8", "line 1: slots is given twice"),
            ("gpu01 slots=8 max_slots=4", "line 1: gpu01 has more slots than max_slots"),
            ("gpu01", "line 1: gpu01 has no slots"),
            ("\ngpu01 slots=8\n\ngpu01 slots=8", "line 4: gpu01 is on line 2 already"),
            ("-oProxyCommand=sh slots=8", "line 1: \"-oProxyCommand=sh\" is no host name"),
            ("me@gpu01 slots=8", "line 1: \"me@gpu01\" is no host name"),
            ("# nothing\n", "names no host"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
