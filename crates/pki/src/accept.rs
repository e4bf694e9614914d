//! The accept policy: which peers a listener or dialer takes, once their chain is verified.
//!
//! Decides about names, keys and grace only; whether the chain is trusted is asked in `verify`.

use std::fmt;

use crate::agent::AgentId;
use crate::hash::Sha256;
use crate::key::KeyType;
use crate::name::{ClusterName, IdPattern, SpiffeId};
use crate::request::NamePattern;
use crate::san::San;
use crate::time::Lifetime;
use crate::verify::{Peer, Rejection};

/// Which verified peers are accepted.
///
/// ```
/// use certus_pki::accept::{Accept, Allow};
///
/// let web: Allow = "spiffe://prod/worker/web-1".parse()?;
/// let office: Allow = "ip:10.0.0.0/8".parse()?;
/// let accept = Accept::new(Allow::All(vec![web, Allow::Not(Box::new(office))]));
/// assert_eq!(accept.allow().to_string(), "spiffe://prod/worker/web-1 and not ip:10.0.0.0/8");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    allow: Allow,
    required_sans: Vec<NamePattern>,
    server_name: Option<San>,
    keys: KeyPolicy,
    grace: Option<Lifetime>,
}

impl Accept {
    /// Peers that `allow` takes, with any key that certificates here may hold.
    pub fn new(allow: Allow) -> Accept {
        Accept { allow, required_sans: Vec::new(), server_name: None, keys: KeyPolicy::any(), grace: None }
    }

    /// Peers that match one of these; with none, nobody.
    pub fn only(patterns: Vec<IdPattern>) -> Accept {
        Accept::new(Allow::Any(patterns.into_iter().map(Allow::Id).collect()))
    }

    /// Every identity of `cluster`.
    pub fn cluster(cluster: ClusterName) -> Accept {
        Accept::only(vec![IdPattern { cluster, role: None, id: None }])
    }

    /// Also wants each of these to be matched by a name of the peer's certificate.
    #[must_use]
    pub fn requiring(self, required_sans: Vec<NamePattern>) -> Accept {
        Accept { required_sans, ..self }
    }

    /// Also wants the certificate to be for this name, as a client does of the server it dialed
    /// (RFC 9525: names and addresses of the certificate, never its common name).
    #[must_use]
    pub fn named(self, server_name: San) -> Accept {
        Accept { server_name: Some(server_name), ..self }
    }

    /// Also wants the peer's key to be one that `keys` takes.
    #[must_use]
    pub fn with_keys(self, keys: KeyPolicy) -> Accept {
        Accept { keys, ..self }
    }

    /// Takes certificates that ended, for this long after their end; at most [`GRACE_MAX`].
    #[must_use]
    pub fn allowing_expired(self, grace: Lifetime) -> Accept {
        Accept { grace: Some(if grace > GRACE_MAX { GRACE_MAX } else { grace }), ..self }
    }

    /// Who is accepted.
    pub fn allow(&self) -> &Allow {
        &self.allow
    }

    /// The name that a server must have.
    pub fn server_name(&self) -> Option<&San> {
        self.server_name.as_ref()
    }

    /// How long after its end a certificate is still taken.
    pub fn grace(&self) -> Option<Lifetime> {
        self.grace
    }

    /// Which keys are taken.
    pub fn keys(&self) -> &KeyPolicy {
        &self.keys
    }

    /// Whether a verified peer is accepted as far as TLS can tell: who is known by an agent's id too is
    /// asked again when that id is known, by [`Allow::judge`].
    ///
    /// # Errors
    /// The [`Rejection`] with both halves of what was compared.
    pub fn check(&self, peer: &Peer) -> Result<(), Rejection> {
        self.keys.check(peer.key_type)?;
        if let Some(wanted) = self.server_name.as_ref().filter(|wanted| !is_for(peer, wanted)) {
            let came = peer.sans.iter().take(NAMES_SHOWN).map(San::to_string).collect();
            return Err(Rejection::WrongName { expected: wanted.to_string(), came });
        }
        let unmatched = self.required_sans.iter().find(|wanted| !carries(peer, wanted));
        if let Some(wanted) = unmatched {
            let came = peer.sans.iter().take(NAMES_SHOWN).map(San::to_string).collect();
            return Err(Rejection::NameMissing { expected: wanted.to_string(), came });
        }
        self.allow.check(&Caller::verified(peer))
    }
}

/// An expired certificate is a bridge over an outage, not a way of life.
pub const GRACE_MAX: Lifetime = Lifetime::from_days(7);

/// An error is no place for a hundred names.
const NAMES_SHOWN: usize = 10;

/// Whether the certificate is for the name that was dialed: one of its names, or a wildcard for the
/// leftmost label (RFC 9525 6.3).
fn is_for(peer: &Peer, wanted: &San) -> bool {
    peer.sans.iter().any(|carried| match (carried, wanted) {
        (San::Dns(carried), San::Dns(wanted)) => match carried.strip_prefix("*.") {
            Some(domain) => wanted.split_once('.').is_some_and(|(_, below)| below == domain),
            None => carried == wanted,
        },
        (carried, wanted) => carried == wanted,
    })
}

fn carries(peer: &Peer, wanted: &NamePattern) -> bool {
    peer.alt_names().any(|name| wanted.matches(&name))
}

/// Whom a policy is asked about.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Caller<'a> {
    /// Who TLS proved it to be.
    pub peer: Option<&'a Peer>,
    /// Which agent the end-to-end layer proved it to be.
    pub agent: AgentProof,
    /// Whether it came in the clear.
    pub plaintext: bool,
}

/// What the end-to-end layer has said of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentProof {
    /// Nothing yet.
    Awaited,
    /// It does not run on this connection.
    Absent,
    /// The caller holds this key.
    Is(AgentId),
}

impl<'a> Caller<'a> {
    /// Whoever TLS verified, before an end-to-end layer may have spoken.
    pub fn verified(peer: &'a Peer) -> Caller<'a> {
        Caller { peer: Some(peer), agent: AgentProof::Awaited, plaintext: false }
    }

    /// Whoever TLS verified, if anybody, and what the end-to-end layer says.
    pub fn known(peer: Option<&'a Peer>, agent: AgentProof) -> Caller<'a> {
        Caller { peer, agent, plaintext: false }
    }

    /// Somebody who came in the clear.
    pub const fn in_the_clear() -> Caller<'static> {
        Caller { peer: None, agent: AgentProof::Absent, plaintext: true }
    }
}

/// Who is meant: conditions, combined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allow {
    /// Everybody whom the layer below lets in, even those it does not know; never those in the clear.
    Anyone,
    /// Those with such an identity.
    Id(IdPattern),
    /// Those with such a DNS name, address or URI in their certificate.
    Name(NamePattern),
    /// Whoever holds the key with this SHA-256 of its SubjectPublicKeyInfo.
    Key(Sha256),
    /// The agent with this id.
    Agent(AgentId),
    /// Those who come in the clear, where a listener takes them.
    Plaintext,
    /// Those that one of these means; with none, nobody.
    Any(Vec<Allow>),
    /// Those that each of these means.
    All(Vec<Allow>),
    /// Those who are known, and whom this does not mean.
    Not(Box<Allow>),
}

/// What a policy says of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is meant.
    Yes,
    /// It is not.
    No,
    /// That depends on the agent's id, which is awaited.
    Awaited,
}

impl Allow {
    /// Whether `caller` is meant.
    pub fn judge(&self, caller: &Caller<'_>) -> Verdict {
        let of = |yes: bool| if yes { Verdict::Yes } else { Verdict::No };
        match self {
            Allow::Anyone => of(!caller.plaintext),
            Allow::Id(pattern) => {
                of(caller.peer.and_then(|peer| peer.identity.as_ref()).is_some_and(|id| pattern.matches(id)))
            }
            Allow::Name(pattern) => of(caller.peer.is_some_and(|peer| carries(peer, pattern))),
            Allow::Key(key) => of(caller.peer.is_some_and(|peer| peer.key_hash == *key)),
            Allow::Agent(id) => match caller.agent {
                AgentProof::Awaited => Verdict::Awaited,
                AgentProof::Absent => Verdict::No,
                AgentProof::Is(came) => of(came == *id),
            },
            Allow::Plaintext => of(caller.plaintext),
            Allow::Any(ones) => ones.iter().map(|one| one.judge(caller)).fold(Verdict::No, Verdict::or),
            Allow::All(ones) => ones.iter().map(|one| one.judge(caller)).fold(Verdict::Yes, Verdict::and),
            // Who is not known cannot be told from whom it excludes.
            Allow::Not(one) => match (caller.peer, caller.agent) {
                (None, AgentProof::Absent) => Verdict::No,
                (None, AgentProof::Awaited) => Verdict::Awaited,
                _ => one.judge(caller).not(),
            },
        }
    }

    /// Whether `caller` may pass for now.
    ///
    /// # Errors
    /// [`Rejection::NotAllowed`] with who came and who is accepted.
    pub fn check(&self, caller: &Caller<'_>) -> Result<(), Rejection> {
        match self.judge(caller) {
            Verdict::Yes | Verdict::Awaited => Ok(()),
            Verdict::No => {
                let came = match (caller.peer, caller.agent) {
                    (Some(peer), _) => peer.name(),
                    (None, AgentProof::Is(id)) => format!("agent:{id}"),
                    (None, _) if caller.plaintext => "plaintext".to_owned(),
                    (None, _) => "nobody known".to_owned(),
                };
                Err(Rejection::NotAllowed { came, expected: self.to_string() })
            }
        }
    }

    /// Whether one condition in it needs an agent's id.
    pub fn mentions_agents(&self) -> bool {
        self.mentions(&|one| matches!(one, Allow::Agent(_)))
    }

    /// Whether somebody in the clear could be meant.
    pub fn mentions_plaintext(&self) -> bool {
        self.mentions(&|one| matches!(one, Allow::Plaintext))
    }

    /// Whether it means everybody: what public listeners say.
    pub fn is_anyone(&self) -> bool {
        matches!(self, Allow::Anyone) || matches!(self, Allow::Any(ones) if ones.iter().any(Allow::is_anyone))
    }

    /// Whether it means nobody.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Allow::Any(ones) if ones.is_empty())
    }

    fn mentions(&self, what: &dyn Fn(&Allow) -> bool) -> bool {
        match self {
            Allow::Any(ones) | Allow::All(ones) => ones.iter().any(|one| one.mentions(what)),
            Allow::Not(one) => one.mentions(what),
            one => what(one),
        }
    }
}

impl Verdict {
    fn or(self, other: Verdict) -> Verdict {
        match (self, other) {
            (Verdict::Yes, _) | (_, Verdict::Yes) => Verdict::Yes,
            (Verdict::No, Verdict::No) => Verdict::No,
            _ => Verdict::Awaited,
        }
    }

    fn and(self, other: Verdict) -> Verdict {
        self.not().or(other.not()).not()
    }

    fn not(self) -> Verdict {
        match self {
            Verdict::Yes => Verdict::No,
            Verdict::No => Verdict::Yes,
            Verdict::Awaited => Verdict::Awaited,
        }
    }
}

impl From<IdPattern> for Allow {
    fn from(pattern: IdPattern) -> Allow {
        Allow::Id(pattern)
    }
}

impl From<SpiffeId> for Allow {
    fn from(identity: SpiffeId) -> Allow {
        Allow::Id(identity.into())
    }
}

impl std::str::FromStr for Allow {
    type Err = BadAllow;

    /// One condition: `any`, `plaintext`, a SPIFFE id or pattern, or `dns:`, `ip:`, `uri:`, `key:`
    /// (64 hexadecimal digits) and `agent:` before their value.
    fn from_str(text: &str) -> Result<Allow, BadAllow> {
        let bad = |why: &dyn fmt::Display| BadAllow { came: crate::name::shown(text), why: why.to_string() };
        if text == "any" {
            return Ok(Allow::Anyone);
        }
        if text == "plaintext" {
            return Ok(Allow::Plaintext);
        }
        if text.starts_with("spiffe://") {
            return text.parse().map(Allow::Id).map_err(|error| bad(&error));
        }
        let Some((kind, value)) = text.split_once(':') else { return Err(bad(&FORMS)) };
        match kind {
            "dns" | "ip" | "uri" => {
                let pattern: NamePattern = value.parse().map_err(|error| bad(&error))?;
                if pattern.kind() == kind { Ok(Allow::Name(pattern)) } else { Err(bad(&FORMS)) }
            }
            "key" => value.parse().map(Allow::Key).map_err(|error| bad(&error)),
            "agent" => value.parse().map(Allow::Agent).map_err(|error| bad(&error)),
            _ => Err(bad(&FORMS)),
        }
    }
}

const FORMS: &str = "expected any, plaintext, spiffe://CLUSTER/ROLE/ID, dns:NAME, ip:ADDRESS, uri:URI, key:HEX \
                     or agent:HEX";

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, ones: &[Allow], word: &str| {
            for (place, one) in ones.iter().enumerate() {
                if place > 0 {
                    write!(f, " {word} ")?;
                }
                match one {
                    Allow::Any(inner) | Allow::All(inner) if inner.len() > 1 => write!(f, "({one})")?,
                    one => write!(f, "{one}")?,
                }
            }
            Ok(())
        };
        match self {
            Allow::Anyone => f.write_str("any"),
            Allow::Id(pattern) => write!(f, "{pattern}"),
            Allow::Name(pattern) => write!(f, "{}:{pattern}", pattern.kind()),
            Allow::Key(key) => write!(f, "key:{key}"),
            Allow::Agent(id) => write!(f, "agent:{id}"),
            Allow::Plaintext => f.write_str("plaintext"),
            Allow::Any(ones) if ones.is_empty() => f.write_str("nobody: no identity is allowed here"),
            Allow::Any(ones) => joined(f, ones, "or"),
            Allow::All(ones) => joined(f, ones, "and"),
            Allow::Not(one) => match &**one {
                Allow::Any(_) | Allow::All(_) => write!(f, "not ({one})"),
                one => write!(f, "not {one}"),
            },
        }
    }
}

/// Text that is no condition of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{came}` says nobody who could be allowed: {why}")]
pub struct BadAllow {
    /// What came.
    pub came: String,
    /// What is wrong with it.
    pub why: String,
}

/// Which keys are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    ecdsa: bool,
    ed25519: bool,
    rsa_bits_min: Option<u16>,
}

impl KeyPolicy {
    /// Every key that certificates here may hold.
    pub const fn any() -> KeyPolicy {
        KeyPolicy { ecdsa: true, ed25519: true, rsa_bits_min: Some(2048) }
    }

    /// ECDSA and Ed25519: what a mesh of agents takes.
    pub const fn elliptic() -> KeyPolicy {
        KeyPolicy { ecdsa: true, ed25519: true, rsa_bits_min: None }
    }

    /// Those named, of `ecdsa`, `ed25519`, `rsa` (2048 bits and up), `rsa3072` and `rsa4096` (and up).
    ///
    /// # Errors
    /// The word that names no kind of key.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<KeyPolicy, BadKeyKind> {
        let mut policy = KeyPolicy { ecdsa: false, ed25519: false, rsa_bits_min: None };
        for word in words {
            let least = |bits: u16| Some(policy.rsa_bits_min.map_or(bits, |other| other.min(bits)));
            match word {
                "ecdsa" => policy.ecdsa = true,
                "ed25519" => policy.ed25519 = true,
                "rsa" | "rsa2048" => policy.rsa_bits_min = least(2048),
                "rsa3072" => policy.rsa_bits_min = least(3072),
                "rsa4096" => policy.rsa_bits_min = least(4096),
                other => return Err(BadKeyKind { came: crate::name::shown(other) }),
            }
        }
        if policy == (KeyPolicy { ecdsa: false, ed25519: false, rsa_bits_min: None }) {
            return Err(BadKeyKind { came: "nothing".to_owned() });
        }
        Ok(policy)
    }

    /// Whether a key of this type is taken.
    ///
    /// # Errors
    /// [`Rejection::KeyNotAccepted`] with both halves.
    pub fn check(&self, key_type: KeyType) -> Result<(), Rejection> {
        let taken = match key_type {
            KeyType::P256 | KeyType::P384 => self.ecdsa,
            KeyType::Ed25519 => self.ed25519,
            KeyType::Rsa(bits) => self.rsa_bits_min.is_some_and(|least| bits >= least),
        };
        if taken {
            return Ok(());
        }
        Err(Rejection::KeyNotAccepted { expected: self.to_string(), came: key_type })
    }
}

impl fmt::Display for KeyPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rsa = self.rsa_bits_min.map(|bits| format!("RSA of {bits} bits and up"));
        let kinds = [self.ecdsa.then(|| "ECDSA".to_owned()), self.ed25519.then(|| "Ed25519".to_owned()), rsa];
        f.write_str(&kinds.into_iter().flatten().collect::<Vec<_>>().join(" or "))
    }
}

/// A word that names no kind of key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{came}` is not a kind of key, expected ecdsa, ed25519, rsa, rsa3072 or rsa4096")]
pub struct BadKeyKind {
    /// What came.
    pub came: String,
}

#[cfg(test)]
mod tests;
