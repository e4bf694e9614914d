//! The document as YAML has it: every key the reader knows, each scalar with its place.
//!
//! Says nothing about what values mean; unknown keys end here.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use zeroize::Zeroizing;

/// A scalar, in whatever form it was written.
pub(super) type Text = Spanned<String>;
/// A scalar that may be a secret.
pub(super) type Hidden = Spanned<Secret>;
/// Words, lists and maps within each other.
pub(super) type Tree = Spanned<Branch>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) id: Option<Text>,
    pub(super) data_dir: Option<Text>,
    pub(super) manager: Option<Text>,
    #[serde(default)]
    pub(super) managers: Vec<Text>,
    pub(super) token_file: Option<Text>,
    pub(super) revocation_stale_after: Option<Text>,
    pub(super) on_revocation_stale: Option<Text>,
    pub(super) agent: Option<Spanned<RawAgent>>,
    pub(super) tls: Option<RawTls>,
    #[serde(default)]
    pub(super) listeners: Vec<Spanned<RawListener>>,
    #[serde(default)]
    pub(super) peers: Vec<Spanned<RawPeer>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAgent {
    pub(super) id: Option<Text>,
    pub(super) data_dir: Option<Text>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) ca: Option<Text>,
    pub(super) cert: Option<Text>,
    pub(super) key: Option<Text>,
    pub(super) ca_pem: Option<Hidden>,
    pub(super) cert_pem: Option<Hidden>,
    pub(super) key_pem: Option<Hidden>,
    pub(super) strict: Option<Text>,
    pub(super) mtls: Option<Text>,
    pub(super) mtls_until: Option<Text>,
    pub(super) key_types: Option<Tree>,
    pub(super) required_sans: Option<Tree>,
    pub(super) allow_expired: Option<Text>,
    pub(super) versions: Option<Text>,
    pub(super) on_expiry: Option<Text>,
    pub(super) on_rotation: Option<Text>,
    pub(super) on_revocation: Option<Text>,
    pub(super) on_policy_change: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListener {
    pub(super) name: Option<Text>,
    pub(super) transport: Text,
    pub(super) address: Text,
    pub(super) forward: Option<Text>,
    pub(super) allow: Option<Tree>,
    pub(super) tls: Option<RawTls>,
    pub(super) plaintext: Option<Text>,
    pub(super) e2e: Option<Text>,
    pub(super) proxy_protocol: Option<RawProxyProtocol>,
    pub(super) path: Option<Text>,
    pub(super) limits: Option<RawLimits>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProxyProtocol {
    pub(super) accept: Option<Text>,
    pub(super) send: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) connections: Option<Text>,
    pub(super) streams: Option<Text>,
    pub(super) handshakes: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPeer {
    pub(super) name: Option<Text>,
    pub(super) id: Text,
    pub(super) transport: Text,
    pub(super) address: Text,
    pub(super) listen: Option<Text>,
    pub(super) tls: Option<RawTls>,
    pub(super) plaintext: Option<Text>,
    pub(super) e2e: Option<Text>,
    pub(super) intermediary: Option<Text>,
    pub(super) server_name: Option<Text>,
    pub(super) http_proxy: Option<Hidden>,
    pub(super) path: Option<Text>,
}

/// Text that is zeroed when it is dropped, and has no way to be shown.
pub(super) struct Secret(pub(super) Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(|text| Secret(Zeroizing::new(text)))
    }
}

/// One word, several, or a map.
pub(super) enum Branch {
    Word(String),
    List(Vec<Tree>),
    Map(Vec<(Text, Tree)>),
}

impl<'de> Deserialize<'de> for Branch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Branch, D::Error> {
        deserializer.deserialize_any(BranchVisitor)
    }
}

struct BranchVisitor;

impl<'de> Visitor<'de> for BranchVisitor {
    type Value = Branch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word, a list or a map")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Branch, E> {
        Ok(Branch::Word(word.to_owned()))
    }

    fn visit_bool<E: serde::de::Error>(self, word: bool) -> Result<Branch, E> {
        Ok(Branch::Word(word.to_string()))
    }

    fn visit_i64<E: serde::de::Error>(self, word: i64) -> Result<Branch, E> {
        Ok(Branch::Word(word.to_string()))
    }

    fn visit_u64<E: serde::de::Error>(self, word: u64) -> Result<Branch, E> {
        Ok(Branch::Word(word.to_string()))
    }

    fn visit_f64<E: serde::de::Error>(self, word: f64) -> Result<Branch, E> {
        Ok(Branch::Word(word.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Branch, A::Error> {
        let mut list = Vec::new();
        while let Some(one) = seq.next_element()? {
            list.push(one);
        }
        Ok(Branch::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Branch, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Branch::Map(pairs))
    }
}

impl Branch {
    /// Whether one of its words is such.
    pub(super) fn mentions(&self, such: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Branch::Word(word) => such(word),
            Branch::List(list) => list.iter().any(|one| one.value.mentions(such)),
            Branch::Map(pairs) => pairs.iter().any(|(_, inner)| inner.value.mentions(such)),
        }
    }
}
