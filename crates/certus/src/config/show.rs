//! The effective configuration: every default filled in, secrets as what they are and not what they say.
//!
//! Under the keys of the document, so that what is shown can be read again where it holds no PEM.

use certus_node::{
    Backend, E2e, Limits, ListenerSpec, MaterialSpec, Mtls, PeerSpec, Pem, ProxyProtocol, TlsSpec, Transport,
};
use certus_pki::{Allow, KeyPolicy, KeyType, Sha256};
use certus_tls::{Action, Versions};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::carry::mtls_word;
use super::{Config, For};

/// A document in the order in which it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doc {
    /// A scalar.
    Text(String),
    /// True or false.
    Flag(bool),
    /// A count.
    Number(u64),
    /// Several.
    List(Vec<Doc>),
    /// Keys and what they say.
    Map(Vec<(&'static str, Doc)>),
}

/// What `config` does. `data_dir` is where it keeps its files if it does not say so itself.
pub(crate) fn show(config: &Config, data_dir: &std::path::Path) -> Doc {
    let dir = config.data_dir.as_deref().unwrap_or(data_dir).display().to_string();
    let mut map = Map::default();
    match config.node {
        For::Agent => {
            let name = config.agent_name.as_ref().map_or("auto", |name| name.as_str());
            map.add("agent", Doc::Map(vec![("id", Doc::text(name)), ("data_dir", Doc::Text(dir))]));
        }
        For::Worker => {
            map.add_some("id", config.id.as_ref().map(Doc::text));
            map.add("data_dir", Doc::Text(dir));
            map.add("managers", Doc::List(config.managers.iter().map(Doc::text).collect()));
            map.add_some("token_file", config.token_file.as_ref().map(|file| Doc::text(file.display())));
            map.add("revocation_stale_after", Doc::text(config.staleness.0.after));
            map.add("on_revocation_stale", Doc::text(super::stale::word(config.staleness.0.then)));
        }
    }
    map.add("tls", tls(&config.tls, true));
    map.add("listeners", Doc::List(config.listeners.iter().map(listener).collect()));
    map.add("peers", Doc::List(config.peers.iter().map(peer).collect()));
    map.done()
}

fn listener(spec: &ListenerSpec) -> Doc {
    let mut map = Map::default();
    map.add("name", Doc::text(&spec.name));
    map.add("transport", Doc::text(spec.transport));
    map.add("address", Doc::text(&spec.address));
    map.add_some("forward", spec.forward.as_ref().map(backend));
    map.add("allow", allow(&spec.allow));
    how(&mut map, spec.plaintext, &spec.tls, true, spec.e2e);
    let ProxyProtocol { accept, send } = spec.proxy_protocol;
    map.add("proxy_protocol", Doc::Map(vec![("accept", Doc::Flag(accept)), ("send", Doc::Flag(send))]));
    map.add_some("path", (spec.transport == Transport::Ws).then(|| Doc::text(&spec.path)));
    let Limits { connections, streams, handshakes } = spec.limits;
    map.add(
        "limits",
        Doc::Map(vec![
            ("connections", Doc::Number(connections as u64)),
            ("streams", Doc::Number(streams.into())),
            ("handshakes", Doc::Number(handshakes as u64)),
        ]),
    );
    map.done()
}

fn peer(spec: &PeerSpec) -> Doc {
    let mut map = Map::default();
    map.add("name", Doc::text(&spec.name));
    map.add("id", Doc::text(&spec.id));
    map.add("transport", Doc::text(spec.transport));
    map.add("address", Doc::text(&spec.address));
    map.add_some("listen", spec.listen.as_ref().map(Doc::text));
    how(&mut map, spec.plaintext, &spec.tls, false, spec.e2e);
    map.add("intermediary", Doc::Flag(spec.intermediary));
    map.add_some("server_name", spec.server_name.as_ref().map(Doc::text));
    map.add_some("http_proxy", spec.http_proxy.as_ref().map(|_| Doc::text("(set)")));
    map.add_some("path", (spec.transport == Transport::Ws).then(|| Doc::text(&spec.path)));
    map.done()
}

fn how(map: &mut Map, plaintext: bool, spec: &TlsSpec, callers: bool, e2e: E2e) {
    map.add("plaintext", Doc::Flag(plaintext));
    map.add_some("tls", (!plaintext).then(|| tls(spec, callers)));
    map.add(
        "e2e",
        Doc::text(match e2e {
            E2e::Auto => "auto",
            E2e::Never => "never",
        }),
    );
}

fn backend(backend: &Backend) -> Doc {
    Doc::text(backend)
}

fn tls(spec: &TlsSpec, callers: bool) -> Doc {
    let mut map = Map::default();
    material(&mut map, &spec.material);
    map.add("strict", Doc::Flag(spec.strict));
    if callers {
        map.add("mtls", Doc::text(mtls_word(spec)));
        if let Mtls::Permissive { until } = spec.mtls {
            map.add("mtls_until", Doc::text(until));
        }
    }
    map.add("key_types", Doc::List(key_types(spec.keys).into_iter().map(Doc::text).collect()));
    map.add("required_sans", Doc::List(spec.required_sans.iter().map(Doc::text).collect()));
    map.add("allow_expired", spec.allow_expired.map_or(Doc::text("off"), Doc::text));
    map.add(
        "versions",
        Doc::text(match spec.versions {
            Versions::Tls13 => "1.3",
            Versions::Tls12AndUp => "1.2+",
        }),
    );
    map.add("on_expiry", action(spec.lifecycle.on_expiry));
    map.add("on_rotation", action(spec.lifecycle.on_rotation));
    map.add("on_revocation", action(spec.lifecycle.on_revocation));
    map.add("on_policy_change", action(spec.lifecycle.on_policy_change));
    map.done()
}

/// What is absent is the node's own.
fn material(map: &mut Map, spec: &MaterialSpec) {
    let parts = [("ca", "ca_pem", &spec.ca), ("cert", "cert_pem", &spec.cert), ("key", "key_pem", &spec.key)];
    for (path_key, pem_key, pem) in parts {
        match pem {
            Some(Pem::File(path)) => map.add(path_key, Doc::text(path.display())),
            Some(Pem::Text(_)) if pem_key == "key_pem" => map.add(pem_key, Doc::text("(set)")),
            Some(Pem::Text(text)) => {
                map.add(pem_key, Doc::Text(format!("(inline, sha256 {})", Sha256::of(text.as_bytes()))));
            }
            None => {}
        }
    }
}

/// The words of `key_types` that mean the policy.
pub(super) fn key_types(keys: KeyPolicy) -> Vec<&'static str> {
    let taken = |key_type| keys.check(key_type).is_ok();
    let rsa = [(2048, "rsa"), (3072, "rsa3072"), (4096, "rsa4096")];
    let rsa = rsa.into_iter().find(|(bits, _)| taken(KeyType::Rsa(*bits))).map(|(_, word)| word);
    let ecdsa = taken(KeyType::P256).then_some("ecdsa");
    let ed25519 = taken(KeyType::Ed25519).then_some("ed25519");
    [ecdsa, ed25519, rsa].into_iter().flatten().collect()
}

fn action(action: Action) -> Doc {
    match action {
        Action::Keep => Doc::text("keep"),
        Action::Cut => Doc::text("cut"),
        Action::Drain(time) => Doc::Text(format!("drain({}s)", time.as_secs())),
    }
}

fn allow(allow: &Allow) -> Doc {
    let each = |ones: &[Allow]| Doc::List(ones.iter().map(inner).collect());
    /// Within a map a list would be a list, and not "any of".
    fn inner(one: &Allow) -> Doc {
        match one {
            Allow::Any(ones) => Doc::Map(vec![("any", Doc::List(ones.iter().map(inner).collect()))]),
            one => super::show::allow(one),
        }
    }
    match allow {
        Allow::Any(ones) => each(ones),
        Allow::All(ones) => Doc::Map(vec![("all", each(ones))]),
        Allow::Not(one) => Doc::Map(vec![("not", inner(one))]),
        one => Doc::text(one),
    }
}

#[derive(Default)]
struct Map(Vec<(&'static str, Doc)>);

impl Map {
    fn add(&mut self, key: &'static str, value: Doc) {
        self.0.push((key, value));
    }

    fn add_some(&mut self, key: &'static str, value: Option<Doc>) {
        self.0.extend(value.map(|value| (key, value)));
    }

    fn done(self) -> Doc {
        Doc::Map(self.0)
    }
}

impl Doc {
    /// A scalar.
    pub(crate) fn text(value: impl ToString) -> Doc {
        Doc::Text(value.to_string())
    }

    /// The document as YAML.
    pub(crate) fn to_yaml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        match self {
            Doc::Map(pairs) => {
                for (place, (key, value)) in pairs.iter().enumerate() {
                    // The first key of a list's element stands behind its dash.
                    if place > 0 || !out.ends_with("- ") {
                        out.push_str(&indent);
                    }
                    out.push_str(key);
                    out.push(':');
                    value.write_behind(out, depth);
                }
            }
            Doc::List(list) => {
                for one in list {
                    out.push_str(&indent);
                    out.push_str("- ");
                    match one {
                        Doc::Map(pairs) if !pairs.is_empty() => one.write(out, depth + 1),
                        one => {
                            out.push_str(&one.inline());
                            out.push('\n');
                        }
                    }
                }
            }
            scalar => {
                out.push_str(&scalar.inline());
                out.push('\n');
            }
        }
    }

    fn write_behind(&self, out: &mut String, depth: usize) {
        match self {
            Doc::Map(pairs) if !pairs.is_empty() => {
                out.push('\n');
                self.write(out, depth + 1);
            }
            Doc::List(list) if list.iter().any(|one| matches!(one, Doc::Map(_))) => {
                out.push('\n');
                self.write(out, depth + 1);
            }
            flat => {
                out.push(' ');
                out.push_str(&flat.inline());
                out.push('\n');
            }
        }
    }

    /// On one line. JSON is YAML.
    fn inline(&self) -> String {
        match self {
            Doc::Text(text) => scalar(text),
            Doc::Flag(flag) => flag.to_string(),
            Doc::Number(number) => number.to_string(),
            Doc::List(list) => format!("[{}]", list.iter().map(Doc::inline).collect::<Vec<_>>().join(", ")),
            Doc::Map(pairs) => {
                let pairs: Vec<_> =
                    pairs.iter().map(|(key, value)| format!("{key}: {}", value.inline())).collect();
                format!("{{{}}}", pairs.join(", "))
            }
        }
    }
}

/// A word as it is where that can be nothing else in YAML, else between quotes. `${` is kept from being
/// read as a name.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'(' | b')'))
        && !matches!(text.to_ascii_lowercase().as_str(), "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    if plain {
        return text.to_owned();
    }
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}

impl Serialize for Doc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Doc::Text(text) => serializer.serialize_str(text),
            Doc::Flag(flag) => serializer.serialize_bool(*flag),
            Doc::Number(number) => serializer.serialize_u64(*number),
            Doc::List(list) => serializer.collect_seq(list),
            Doc::Map(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for (key, value) in pairs {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
