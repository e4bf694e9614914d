//! `certus.yaml`: what a node carries, and the scalar options it may be told there.
//!
//! Text goes in, checked values come out; a mistake is an error with its line. Values that came from
//! the environment, and documents that hold PEM, are never printed.

mod expand;

use std::path::{Path, PathBuf};

use certus_node::{Backend, ListenerSpec, PeerSpec, Transport};
use certus_pki::{Allow, Explanation, NodeId, code};
use serde::Deserialize;
use serde_saphyr::Spanned;

/// Larger than any configuration; what is larger is not read.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// A node's configuration, checked.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// The node's id.
    pub(crate) id: Option<NodeId>,
    /// Where it keeps its key and certificate.
    pub(crate) data_dir: Option<PathBuf>,
    /// Managers to ask.
    pub(crate) managers: Vec<String>,
    /// The file that holds the token.
    pub(crate) token_file: Option<PathBuf>,
    /// Where the node accepts.
    pub(crate) listeners: Vec<ListenerSpec>,
    /// Whom it dials.
    pub(crate) peers: Vec<PeerSpec>,
}

type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    id: Option<Text>,
    data_dir: Option<Text>,
    manager: Option<Text>,
    #[serde(default)]
    managers: Vec<Text>,
    token_file: Option<Text>,
    #[serde(default)]
    listeners: Vec<RawListener>,
    #[serde(default)]
    peers: Vec<RawPeer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListener {
    name: Text,
    transport: Text,
    address: Text,
    forward: Text,
    #[serde(default)]
    allow: Vec<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeer {
    name: Text,
    id: Text,
    transport: Text,
    address: Text,
    listen: Text,
}

impl Config {
    /// Reads a file, with the process' environment for its names.
    pub(crate) fn read(path: &Path) -> Result<Config, Explanation> {
        let cannot = |error: std::io::Error| {
            Explanation::new(code::FILE, format!("cannot read {}", path.display()))
                .fact("the system says", error)
        };
        let bytes = std::fs::metadata(path).map_err(cannot)?.len();
        if bytes > CONFIG_BYTES_MAX {
            return Err(Explanation::new(code::CONFIGURATION, "the configuration is too large")
                .halves(format!("at most {CONFIG_BYTES_MAX} bytes"), bytes));
        }
        let text = std::fs::read_to_string(path).map_err(cannot)?;
        Config::parse(&text, path, &|name| std::env::var(name).ok())
    }

    /// Reads a text; `path` is named in errors, `lookup` knows the values of names.
    pub(crate) fn parse(
        text: &str,
        path: &Path,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, Explanation> {
        let reader = Reader { text, path, lookup };
        let options = serde_saphyr::options! { with_snippet: false };
        // An empty document is an empty configuration.
        let raw: Option<RawConfig> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| reader.not_yaml(&error))?;
        let Some(raw) = raw else { return Ok(Config::default()) };
        let mut config = Config {
            id: raw.id.map(|id| reader.parsed("id", &id)).transpose()?,
            data_dir: raw.data_dir.map(|dir| reader.path_of(&dir)).transpose()?,
            token_file: raw.token_file.map(|file| reader.path_of(&file)).transpose()?,
            ..Config::default()
        };
        for manager in raw.manager.iter().chain(&raw.managers) {
            config.managers.push(reader.address("manager", manager)?);
        }
        for listener in &raw.listeners {
            config.listeners.push(reader.listener(listener)?);
        }
        for peer in &raw.peers {
            config.peers.push(reader.peer(peer)?);
        }
        reader.unique("listener", raw.listeners.iter().map(|listener| &listener.name))?;
        reader.unique("peer", raw.peers.iter().map(|peer| &peer.name))?;
        Ok(config)
    }
}

/// One document while it is read.
struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    fn listener(&self, raw: &RawListener) -> Result<ListenerSpec, Explanation> {
        let allow = raw.allow.iter().map(|id| self.parsed("allow", id)).collect::<Result<_, _>>()?;
        Ok(ListenerSpec::new(
            self.value(&raw.name)?.text,
            self.transport(&raw.transport)?,
            self.address("address", &raw.address)?,
            self.backend(&raw.forward)?,
            Allow::Any(allow),
        ))
    }

    fn peer(&self, raw: &RawPeer) -> Result<PeerSpec, Explanation> {
        Ok(PeerSpec::new(
            self.value(&raw.name)?.text,
            self.parsed("id", &raw.id)?,
            self.transport(&raw.transport)?,
            self.address("address", &raw.address)?,
            self.address("listen", &raw.listen)?,
        ))
    }

    fn backend(&self, raw: &Text) -> Result<Backend, Explanation> {
        match self.value(raw)?.text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Backend::Unix(path.into())),
            Some(_) => Err(self.wrong(raw, "forward: the path of a socket must begin with /")),
            None => self.address("forward", raw).map(Backend::Tcp),
        }
    }

    fn transport(&self, raw: &Text) -> Result<Transport, Explanation> {
        let value = self.value(raw)?.text;
        match value.as_str() {
            "tcp" => Ok(Transport::Tcp),
            "h2" | "ws" | "quic" => Err(self.at(
                raw,
                Explanation::new(
                    code::TRANSPORT_UNAVAILABLE,
                    format!("transport `{value}` does not exist yet"),
                )
                .halves("tcp", value)
                .hint("transport: tcp"),
            )),
            _ => Err(self.wrong(raw, "transport: not a transport").fact("expected", "tcp")),
        }
    }

    fn address(&self, key: &str, raw: &Text) -> Result<String, Explanation> {
        let value = self.value(raw)?;
        if is_address(&value.text) {
            return Ok(value.text);
        }
        let told = self.wrong(raw, &format!("{key}: not an address"));
        let told = told.fact("expected", "HOST:PORT, as 127.0.0.1:9443 or [::1]:9443");
        Err(if value.substituted { told } else { told.fact("came", value.text) })
    }

    fn parsed<T: std::str::FromStr>(&self, key: &str, raw: &Text) -> Result<T, Explanation>
    where
        T::Err: std::fmt::Display,
    {
        let value = self.value(raw)?;
        value.text.parse().map_err(|error: T::Err| {
            if value.substituted {
                self.wrong(raw, &format!("{key}: what its name stands for is not what belongs here"))
            } else {
                self.wrong(raw, &format!("{key}: {error}"))
            }
        })
    }

    fn path_of(&self, raw: &Text) -> Result<PathBuf, Explanation> {
        let value = self.value(raw)?.text;
        if value.is_empty() { Err(self.wrong(raw, "an empty path")) } else { Ok(value.into()) }
    }

    fn value(&self, raw: &Text) -> Result<expand::Expanded, Explanation> {
        expand::expand(&raw.value, self.lookup).map_err(|error| self.wrong(raw, &error.to_string()))
    }

    fn unique<'t>(&self, what: &str, names: impl Iterator<Item = &'t Text>) -> Result<(), Explanation> {
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            if !seen.insert(&name.value) {
                let message = format!("two {what}s have the same name");
                return Err(self.wrong(name, &message).fact("name", &name.value));
            }
        }
        Ok(())
    }

    fn wrong(&self, raw: &Text, message: &str) -> Explanation {
        self.at(raw, Explanation::new(code::CONFIGURATION, message))
    }

    fn at(&self, raw: &Text, told: Explanation) -> Explanation {
        self.place(told, raw.referenced.line())
    }

    fn not_yaml(&self, error: &serde_saphyr::Error) -> Explanation {
        let rendered = error.without_snippet().to_string();
        let message = rendered.lines().next().unwrap_or_default();
        let message = message.split(" at line ").next().unwrap_or_default();
        // The parser's own words may repeat a value; without it they are still enough.
        let message = if self.printable() { message } else { "the document is not what is expected" };
        let message = message.strip_prefix("error: ").unwrap_or(message).trim_end_matches(['.', ':']);
        let line = error.location().map_or(0, |location| location.line());
        self.place(Explanation::new(code::CONFIGURATION, message), line)
    }

    /// File, line, and the line itself where the document may be shown.
    fn place(&self, mut told: Explanation, line: u64) -> Explanation {
        told.facts.insert(0, ("file".to_owned(), format!("{}, line {line}", self.path.display())));
        let shown = usize::try_from(line).ok().and_then(|line| self.text.lines().nth(line.checked_sub(1)?));
        match shown {
            Some(shown) if self.printable() && !holds_secret(shown) => told.fact("it says", shown.trim()),
            _ => told,
        }
    }

    /// Whether lines of the document may be shown.
    fn printable(&self) -> bool {
        !self.text.contains("-----BEGIN") && !self.text.contains("${")
    }
}

/// Whether a line holds a word as long as a token or a key, which may have been put there by mistake.
fn holds_secret(line: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.len() >= SECRET_CHARS_MIN)
}

/// Half a token: shorter words are names, addresses and paths.
const SECRET_CHARS_MIN: usize = 32;

/// HOST:PORT with a host of some form and a port that is a number.
pub(crate) fn is_address(text: &str) -> bool {
    if text.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_ok = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    !host.is_empty() && host_ok && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests;
