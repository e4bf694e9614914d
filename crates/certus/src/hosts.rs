//! Hosts that get a certificate, from the command line or a YAML file, checked.
//!
//! `NAME`, `NAME=IP`, `NAME=IP+OTHER-NAME+…`, a bare address, or `[IPv6]`.

use std::collections::BTreeSet;

use certus_pki::{AltName, Explain, Explanation, Names, code};
use serde::Deserialize;

/// More hosts than anybody copies files to by hand.
const HOSTS_MAX: usize = 100_000;

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// What it is called: its directory, and the common name.
    pub(crate) name: String,
    /// Every name and address it is reached by, its own name first.
    pub(crate) names: Names,
}

impl Host {
    /// Reads one as the command line has it.
    pub(crate) fn parse(text: &str) -> Result<Host, Explanation> {
        let text = text.trim();
        let (name, others) = text.split_once('=').unwrap_or((text, ""));
        Host::of(name, others.split('+').filter(|other| !other.is_empty())).map_err(|told| {
            told.fact("host", text).hint("NAME, NAME=IP, NAME=IP+OTHER-NAME, an IP, or [IPv6]")
        })
    }

    fn of<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> Result<Host, Explanation> {
        let read = |text: &str| text.trim().parse::<AltName>().map_err(|error| error.explain());
        let own = read(name)?;
        if !matches!(own, AltName::Dns(_) | AltName::Ip(_)) {
            let told = Explanation::new(code::BAD_NAME, format!("`{name}` is not a host"));
            return Err(told.halves("a DNS name or an address", own.kind()));
        }
        let all = std::iter::once(Ok(own.clone())).chain(others.map(read));
        let names = Names::new(all.collect::<Result<Vec<_>, _>>()?).map_err(|error| error.explain())?;
        Ok(Host { name: own.value(), names })
    }
}

/// The hosts of both sources, in order; one that comes twice is an error.
pub(crate) fn all(words: &[String], yaml: Option<&str>) -> Result<Vec<Host>, Explanation> {
    let mut hosts = words.iter().map(|word| Host::parse(word)).collect::<Result<Vec<_>, _>>()?;
    if let Some(yaml) = yaml {
        hosts.extend(from_yaml(yaml)?);
    }
    if hosts.len() > HOSTS_MAX {
        let told = Explanation::new(code::OUT_OF_BOUNDS, "too many hosts for one call");
        return Err(told.halves(format!("at most {HOSTS_MAX}"), hosts.len()));
    }
    let mut seen = BTreeSet::new();
    match hosts.iter().find(|host| !seen.insert(host.name.clone())) {
        Some(twice) => Err(Explanation::new(code::USAGE, format!("the host `{}` stands twice", twice.name))
            .hint("join its names: NAME=IP+OTHER-NAME")),
        None => Ok(hosts),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    hosts: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Short(String),
    Long(Long),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    name: String,
    #[serde(default)]
    names: Vec<String>,
}

fn from_yaml(text: &str) -> Result<Vec<Host>, Explanation> {
    let options = serde_saphyr::options! { with_snippet: false };
    let file: File = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let message = error.without_snippet().to_string();
        let message =
            message.lines().next().unwrap_or_default().split(" at line ").next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message).trim_end_matches(['.', ':']);
        Explanation::new(code::CONFIGURATION, format!("the hosts file is not understood: {message}"))
            .fact("line", line)
            .hint("certus tls init --help shows one")
    })?;
    file.hosts
        .iter()
        .map(|entry| match entry {
            Entry::Short(text) => Host::parse(text),
            Entry::Long(long) => Host::of(&long.name, long.names.iter().map(String::as_str))
                .map_err(|told| told.fact("host", &long.name)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(host: &Host) -> String {
        let names: Vec<String> = host.names.iter().map(ToString::to_string).collect();
        format!("{}: {}", host.name, names.join(" "))
    }

    #[test]
    fn hosts_are_read_in_every_spelling() {
        for (text, expected) in [
            ("host-a", "host-a: dns:host-a"),
            ("Host-A=192.168.1.10", "host-a: dns:host-a ip:192.168.1.10"),
            ("b=192.168.1.11+alt.name", "b: dns:b ip:192.168.1.11 dns:alt.name"),
            ("c=[2001:db8::7]", "c: dns:c ip:2001:db8::7"),
            ("10.0.0.7", "10.0.0.7: ip:10.0.0.7"),
            ("[::1]", "::1: ip:::1"),
            ("*.x.org", "*.x.org: dns:*.x.org"),
        ] {
            assert_eq!(shown(&Host::parse(text).unwrap()), expected);
        }
        for text in ["", "a b", "a=b c", "=10.0.0.1", "ann@example.com", "10.0.0.256"] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_says_the_same() {
        let yaml = "hosts:\n  - name: host-a\n    names: [192.168.1.10, alt.name]\n  - host-b=10.0.0.1\n";
        let hosts = all(&["host-c".into()], Some(yaml)).unwrap();
        let shown: Vec<String> = hosts.iter().map(shown).collect();
        let expected = ["host-c: dns:host-c", "host-a: dns:host-a ip:192.168.1.10 dns:alt.name"];
        assert_eq!(shown[..2], expected);
        for bad in ["hosts: 7", "hosts:\n  - name: a\n    nams: [b]", "hosts:\n  - a b", "x: []"] {
            assert!(all(&[], Some(bad)).is_err(), "{bad}");
        }
        assert!(all(&["a".into(), "A=10.0.0.1".into()], None).is_err());
    }
}
