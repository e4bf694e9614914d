//! `tls:` sections: the node's, with a listener's or peer's own on top, field by field.

use std::time::Duration;

use certus_node::{MaterialSpec, Mtls, Pem, TlsSpec};
use certus_pki::accept::GRACE_MAX;
use certus_pki::{Explanation, KeyPolicy, Lifetime, NamePattern, UnixTime, code};
use certus_tls::{Action, Lifecycle, Versions};

use super::For;
use super::raw::{RawTls, Text};
use super::reader::Reader;

/// A connection that has not finished in a day is not finishing.
const DRAIN_MAX: Lifetime = Lifetime::from_hours(24);

/// `mtls` as a word; `permissive` wants its end besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MtlsWord {
    /// Callers must show a certificate.
    Required,
    /// They are not asked for one.
    Off,
    /// They may also come in the clear, for a while.
    Permissive,
}

impl MtlsWord {
    /// The words that the configuration and the command line know.
    pub(crate) const WORDS: [(&'static str, MtlsWord); 3] =
        [("true", MtlsWord::Required), ("false", MtlsWord::Off), ("permissive", MtlsWord::Permissive)];
}

/// What one section says; what it leaves out is said elsewhere.
#[derive(Clone, Default)]
pub(super) struct Layer {
    pub(super) material: MaterialSpec,
    strict: Option<bool>,
    pub(super) mtls: Option<MtlsWord>,
    until: Option<UnixTime>,
    keys: Option<KeyPolicy>,
    required_sans: Option<Vec<NamePattern>>,
    allow_expired: Option<Option<Lifetime>>,
    versions: Option<Versions>,
    on_expiry: Option<Action>,
    on_rotation: Option<Action>,
    on_revocation: Option<Action>,
    on_policy_change: Option<Action>,
}

/// The node's own section, and what holds where it says nothing.
pub(super) struct Base<'a> {
    pub(super) node: For,
    pub(super) raw: Option<&'a RawTls>,
    pub(super) layer: Layer,
}

/// Which end of a connection a section is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The node's own section, for both.
    Node,
    /// A listener's.
    Listener,
    /// A peer's: callers are no matter.
    Peer,
}

impl Reader<'_> {
    /// One section.
    pub(super) fn layer(&self, raw: &RawTls) -> Result<Layer, Explanation> {
        let each = |tree: &super::raw::Tree| {
            let words = self.words("required_sans", tree)?;
            let pattern = |(word, substituted): (String, bool)| {
                word.parse().map_err(|error| self.unfit("required_sans", tree, substituted, &error))
            };
            words.into_iter().map(pattern).collect::<Result<Vec<NamePattern>, _>>()
        };
        let keys = |tree: &super::raw::Tree| {
            let words = self.words("key_types", tree)?;
            let substituted = words.iter().any(|(_, substituted)| *substituted);
            let policy = KeyPolicy::of_words(words.iter().map(|(word, _)| word.as_str()));
            policy.map_err(|error| self.unfit("key_types", tree, substituted, &error))
        };
        let action =
            |key: &'static str, raw: &Option<Text>| raw.as_ref().map(|raw| self.action(key, raw)).transpose();
        let versions = [("1.3", Versions::Tls13), ("1.2+", Versions::Tls12AndUp)];
        Ok(Layer {
            material: self.material(raw)?,
            strict: raw.strict.as_ref().map(|raw| self.flag("strict", raw)).transpose()?,
            mtls: raw.mtls.as_ref().map(|raw| self.one_of("mtls", raw, &MtlsWord::WORDS)).transpose()?,
            until: raw.mtls_until.as_ref().map(|raw| self.parsed("mtls_until", raw)).transpose()?,
            keys: raw.key_types.as_ref().map(keys).transpose()?,
            required_sans: raw.required_sans.as_ref().map(each).transpose()?,
            allow_expired: raw.allow_expired.as_ref().map(|raw| self.grace(raw)).transpose()?,
            versions: raw.versions.as_ref().map(|raw| self.one_of("versions", raw, &versions)).transpose()?,
            on_expiry: action("on_expiry", &raw.on_expiry)?,
            on_rotation: action("on_rotation", &raw.on_rotation)?,
            on_revocation: action("on_revocation", &raw.on_revocation)?,
            on_policy_change: action("on_policy_change", &raw.on_policy_change)?,
        })
    }

    fn grace(&self, raw: &Text) -> Result<Option<Lifetime>, Explanation> {
        if raw.value == "off" {
            return Ok(None);
        }
        let grace: Lifetime = self.parsed("allow_expired", raw)?;
        if grace > GRACE_MAX {
            let told = self.wrong(raw, "allow_expired: an expired certificate is a bridge over an outage");
            return Err(told.halves(format!("at most {GRACE_MAX}"), grace));
        }
        Ok(Some(grace))
    }

    fn action(&self, key: &str, raw: &Text) -> Result<Action, Explanation> {
        let value = self.value(raw)?;
        let drain = value.text.strip_prefix("drain(").and_then(|rest| rest.strip_suffix(')'));
        match (value.text.as_str(), drain) {
            ("keep", _) => Ok(Action::Keep),
            ("cut", _) => Ok(Action::Cut),
            (_, Some(time)) => {
                let time: Lifetime =
                    time.parse().map_err(|error| self.unfit(key, raw, value.substituted, &error))?;
                if time > DRAIN_MAX {
                    let told = self.wrong(raw, &format!("{key}: too long to wait for connections to finish"));
                    return Err(told.halves(format!("at most {DRAIN_MAX}"), time));
                }
                Ok(Action::Drain(Duration::from_secs(time.secs().into())))
            }
            _ => Err(self
                .wrong(raw, &format!("{key}: not what can be done with a connection"))
                .fact("expected", "keep, cut or drain(30s)")),
        }
    }

    /// The node's section, or with `own` a listener's or peer's on top of it.
    pub(super) fn tls(
        &self,
        base: &Base<'_>,
        own: Option<&RawTls>,
        end: End,
    ) -> Result<TlsSpec, Explanation> {
        let layer = own.map(|raw| self.layer(raw)).transpose()?.unwrap_or_default();
        let below = &base.layer;
        let default = base.node.tls();
        let mtls = layer.mtls.or(below.mtls);
        let until = layer.until.or(below.until);
        let spec = TlsSpec {
            material: base.own_material(&layer.material, end),
            strict: layer.strict.or(below.strict).unwrap_or(default.strict),
            mtls: match (mtls, until) {
                (None, _) => default.mtls,
                (Some(MtlsWord::Required), _) => Mtls::Required,
                (Some(MtlsWord::Off), _) => Mtls::Off,
                (Some(MtlsWord::Permissive), Some(until)) => Mtls::Permissive { until },
                (Some(MtlsWord::Permissive), None) => return Err(self.without_end(base, own)),
            },
            keys: layer.keys.or(below.keys).unwrap_or(default.keys),
            required_sans: layer
                .required_sans
                .or_else(|| below.required_sans.clone())
                .unwrap_or(default.required_sans),
            allow_expired: layer.allow_expired.or(below.allow_expired).unwrap_or(default.allow_expired),
            versions: layer.versions.or(below.versions).unwrap_or(default.versions),
            lifecycle: Lifecycle {
                on_expiry: layer.on_expiry.or(below.on_expiry).unwrap_or(default.lifecycle.on_expiry),
                on_rotation: layer.on_rotation.or(below.on_rotation).unwrap_or(default.lifecycle.on_rotation),
                on_revocation: layer
                    .on_revocation
                    .or(below.on_revocation)
                    .unwrap_or(default.lifecycle.on_revocation),
                on_policy_change: layer
                    .on_policy_change
                    .or(below.on_policy_change)
                    .unwrap_or(default.lifecycle.on_policy_change),
            },
        };
        if let Some(raw) = own.and_then(|own| own.mtls_until.as_ref())
            && !matches!(spec.mtls, Mtls::Permissive { .. })
        {
            return Err(
                self.wrong(raw, "mtls_until: says until when `mtls: permissive` holds, and mtls is not")
            );
        }
        let has_ca = layer.material.ca.is_some() || below.material.ca.is_some() || base.node == For::Worker;
        if !has_ca && (spec.strict || (end != End::Peer && spec.mtls != Mtls::Off)) {
            return Err(self.without_ca(base, own, &spec));
        }
        Ok(spec)
    }

    fn without_end(&self, base: &Base<'_>, own: Option<&RawTls>) -> Explanation {
        let message = "mtls: permissive needs mtls_until, when plaintext ends";
        let key = own.and_then(|own| own.mtls.as_ref()).or(base.raw.and_then(|raw| raw.mtls.as_ref()));
        let told = match key {
            Some(key) => self.wrong(key, message),
            None => Explanation::new(code::CONFIGURATION, message),
        };
        told.hint("mtls_until: 2026-12-31T00:00:00Z")
    }

    fn without_ca(&self, base: &Base<'_>, own: Option<&RawTls>, spec: &TlsSpec) -> Explanation {
        let (word, key): (_, fn(&RawTls) -> Option<&Text>) = if spec.strict {
            ("strict", |raw| raw.strict.as_ref())
        } else {
            ("mtls", |raw| raw.mtls.as_ref())
        };
        let message = format!("{word}: needs a ca: nothing says whose certificates are trusted");
        let told = match own.and_then(key).or(base.raw.and_then(key)) {
            Some(key) => self.wrong(key, &message),
            None => Explanation::new(code::CONFIGURATION, message),
        };
        told.halves("ca or ca_pem in the same `tls`, or in the node's", "neither")
    }
}

impl Base<'_> {
    /// What stands in the place of the node's own. An agent's global material is its own already; a
    /// worker has its cluster's, so there it must be told of each listener and peer.
    fn own_material(&self, own: &MaterialSpec, end: End) -> MaterialSpec {
        let pair =
            |spec: &MaterialSpec| -> (Option<Pem>, Option<Pem>) { (spec.cert.clone(), spec.key.clone()) };
        let inherit = self.node == For::Worker && end != End::Node;
        let (cert, key) = match (own.cert.is_some(), inherit) {
            (false, true) => pair(&self.layer.material),
            _ => pair(own),
        };
        let ca = own.ca.clone().or_else(|| self.layer.material.ca.clone().filter(|_| inherit));
        MaterialSpec { cert, key, ca }
    }
}
