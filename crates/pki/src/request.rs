//! Requests read with what they ask for (RFC 2986), and the policy that decides what of it is taken.
//!
//! The key in a request is proven; everything else is a claim of whoever wrote it, and is never taken
//! unless a [`TakeNames`] says so name by name.

use std::fmt;
use std::str::FromStr;

use const_oid::db::rfc5912;
use der::asn1::{AnyRef, SetOfVec};
use der::{Decode, Encode, Reader, SliceReader, Tag};
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, SubjectAltName};

use crate::alt::{AltName, Names, TooManyNames};
use crate::cert::usage_of;
use crate::code;
use crate::constraints::Subtree;
use crate::csr::{BadRequest, Csr, REQUEST_BYTES_MAX};
use crate::explain::{Explain, Explanation};
use crate::issue::Usage;
use crate::issue::encode::encoding;
use crate::issue::offline::{add, signed};
use crate::key::{PublicKey, Signer};
use crate::name::shown;
use crate::pem;
use crate::subject::Subject;

/// A request whose key is proven, with its claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The key that asks: its maker holds the private half.
    pub public_key: PublicKey,
    /// What it asks for, unproven.
    pub claims: Claims,
}

/// What a request asks for. Nothing of it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The subject.
    pub subject: Subject,
    /// The names of kinds that are issued here.
    pub names: Vec<AltName>,
    /// How many names are of other kinds, or not well-formed.
    pub other_names: usize,
    /// Whether it wants to be a CA.
    pub is_ca: bool,
    /// Which sides of a connection it wants to be on; nothing where it does not say.
    pub usage: Option<Usage>,
    /// The object identifiers of all extensions it asks for.
    pub extensions: Vec<String>,
}

impl Request {
    /// Reads a request and checks that it is signed with the key it names.
    ///
    /// # Errors
    /// As [`Csr::read`]; a request whose attributes cannot be read is refused too.
    pub fn read(der: &[u8]) -> Result<Request, BadRequest> {
        let public_key = Csr::read(der)?.public_key;
        Ok(Request { public_key, claims: Claims::read(der).map_err(malformed)? })
    }

    /// The one request in a PEM text.
    pub fn from_pem(text: &str) -> Result<Request, BadRequest> {
        let blocks = pem::decode(text).map_err(BadRequest::Pem)?;
        let is_request = |block: &&pem::Block| {
            matches!(block.label.as_str(), pem::CERTIFICATE_REQUEST | "NEW CERTIFICATE REQUEST")
        };
        let mut requests = blocks.iter().filter(is_request);
        match (requests.next(), requests.next()) {
            (Some(block), None) => Request::read(&block.der),
            (None, _) => Err(BadRequest::NotOne { came: 0 }),
            (Some(_), Some(_)) => Err(BadRequest::NotOne { came: 2 + requests.count() }),
        }
    }
}

impl Csr {
    /// A request for a certificate over `key`, with the names it should carry, DER.
    ///
    /// ```
    /// use certus_pki::{Csr, KeyType, Names, PrivateKey, request::Request};
    ///
    /// let key = PrivateKey::generate(KeyType::P256)?;
    /// let names = Names::new(["web.example.com".parse()?])?;
    /// let der = Csr::make_for(&key, &"CN=web,O=Example".parse()?, &names)?;
    /// let request = Request::read(&der)?;
    /// assert_eq!(request.claims.names, [names.iter().next().unwrap().clone()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn make_for(key: &dyn Signer, subject: &Subject, names: &Names) -> Result<Vec<u8>, BadRequest> {
        #[derive(der::Sequence)]
        struct Info<'a> {
            version: u8,
            subject: AnyRef<'a>,
            key: AnyRef<'a>,
            #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
            attributes: SetOfVec<Attribute>,
        }
        let attributes = match names.is_empty() {
            true => SetOfVec::new(),
            false => {
                let list = names.iter().map(AltName::to_general_name).collect::<Result<Vec<_>, _>>();
                let mut extensions = Vec::new();
                add(&mut extensions, subject.is_empty(), &SubjectAltName(list.map_err(malformed)?))
                    .map_err(|error| BadRequest::Malformed { why: error.to_string() })?;
                let value = der::Any::encode_from(&extensions).map_err(malformed)?;
                let values = SetOfVec::try_from(vec![value]).map_err(malformed)?;
                SetOfVec::try_from(vec![Attribute { oid: rfc5912::ID_EXTENSION_REQ, values }])
                    .map_err(malformed)?
            }
        };
        let info = Info {
            version: 0,
            subject: AnyRef::from_der(subject.der()).map_err(malformed)?,
            key: AnyRef::from_der(key.public_key().spki_der()).map_err(malformed)?,
            attributes,
        };
        let info = info.to_der().map_err(malformed)?;
        signed(&info, key).map_err(|error| BadRequest::Malformed { why: encoding(error).to_string() })
    }
}

fn malformed(error: der::Error) -> BadRequest {
    BadRequest::Malformed { why: error.to_string() }
}

impl Claims {
    fn read(der: &[u8]) -> Result<Claims, der::Error> {
        debug_assert!(der.len() <= REQUEST_BYTES_MAX);
        let info = AnyRef::from_der(der)?.sequence(|fields| {
            let info = AnyRef::decode(fields)?;
            AnyRef::decode(fields)?;
            AnyRef::decode(fields)?;
            Ok::<AnyRef<'_>, der::Error>(info)
        })?;
        let mut reader = SliceReader::new(info.value())?;
        u8::decode(&mut reader)?;
        let subject = AnyRef::decode(&mut reader)?.to_der()?;
        AnyRef::decode(&mut reader)?;
        let subject =
            Subject::from_der(&subject).map_err(|_| der::Error::from(Tag::Sequence.value_error()))?;
        let mut claims = Claims {
            subject,
            names: Vec::new(),
            other_names: 0,
            is_ca: false,
            usage: None,
            extensions: Vec::new(),
        };
        // The attributes stand under [0] IMPLICIT SET OF; some writers leave them out.
        if !reader.is_finished() {
            let attributes = AnyRef::decode(&mut reader)?;
            let mut attributes = SliceReader::new(attributes.value())?;
            while !attributes.is_finished() {
                let attribute = Attribute::decode(&mut attributes)?;
                if attribute.oid == rfc5912::ID_EXTENSION_REQ {
                    for value in attribute.values.iter() {
                        value.decode_as::<Vec<Extension>>()?.iter().try_for_each(|e| claims.take(e))?;
                    }
                }
            }
        }
        Ok(claims)
    }

    fn take(&mut self, extension: &Extension) -> Result<(), der::Error> {
        use const_oid::AssociatedOid;
        let value = extension.extn_value.as_bytes();
        self.extensions.push(extension.extn_id.to_string());
        if extension.extn_id == SubjectAltName::OID {
            for name in &SubjectAltName::from_der(value)?.0 {
                match AltName::from_general_name(name) {
                    Some(name) => self.names.push(name),
                    None => self.other_names += 1,
                }
            }
        } else if extension.extn_id == BasicConstraints::OID {
            self.is_ca |= BasicConstraints::from_der(value)?.ca;
        } else if extension.extn_id == ExtendedKeyUsage::OID {
            self.usage = Some(usage_of(&ExtendedKeyUsage::from_der(value)?.0));
        }
        Ok(())
    }
}

/// Where the names of a signed request come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeNames {
    /// The certificate carries none.
    None,
    /// These, whatever the request asks for.
    Listed(Names),
    /// Those the request asks for, if each matches a pattern; none is left out silently.
    FromRequest {
        /// What may be asked for.
        allow: Vec<NamePattern>,
    },
}

impl TakeNames {
    /// The names a certificate for `claims` carries.
    ///
    /// # Errors
    /// A name that no pattern allows, names of kinds that are not issued, more than a certificate carries.
    pub fn names(&self, claims: &Claims) -> Result<Names, NameNotAllowed> {
        let allow = match self {
            TakeNames::None => return Ok(Names::none()),
            TakeNames::Listed(names) => return Ok(names.clone()),
            TakeNames::FromRequest { allow } => allow,
        };
        if claims.other_names > 0 {
            return Err(NameNotAllowed::Kind { came: claims.other_names });
        }
        if let Some(name) = claims.names.iter().find(|name| !allow.iter().any(|p| p.matches(name))) {
            let allowed = allow.iter().map(NamePattern::to_string).collect();
            return Err(NameNotAllowed::Name { came: name.to_string(), allowed });
        }
        Names::new(claims.names.iter().cloned()).map_err(NameNotAllowed::TooMany)
    }
}

/// Names that a request may ask for.
///
/// `web.example.com` is that name; `*.example.com` any name one label below, and that wildcard itself;
/// `.example.com` any name below, at any depth, wildcards too; `10.0.0.0/8` and `10.0.0.7` addresses;
/// `ann@example.com` and `*@example.com` e-mail addresses; `spiffe://prod/worker/*` URIs that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    text: String,
    kind: Pattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Exactly(AltName),
    OneLabelBelow(String),
    AnyBelow(String),
    Within(Subtree),
    MailOf(String),
    UriPrefix(String),
}

impl NamePattern {
    /// The kind of the names meant: `dns`, `ip`, `email`, `uri`.
    pub const fn kind(&self) -> &'static str {
        match &self.kind {
            Pattern::Exactly(name) => name.kind(),
            Pattern::OneLabelBelow(_) | Pattern::AnyBelow(_) => "dns",
            Pattern::Within(_) => "ip",
            Pattern::MailOf(_) => "email",
            Pattern::UriPrefix(_) => "uri",
        }
    }

    /// Whether `name` is one of those meant.
    pub fn matches(&self, name: &AltName) -> bool {
        match (&self.kind, name) {
            (Pattern::Exactly(expected), name) => expected == name,
            (Pattern::OneLabelBelow(domain), AltName::Dns(name)) => {
                let label = name.strip_suffix(domain.as_str()).and_then(|left| left.strip_suffix('.'));
                label.is_some_and(|label| !label.contains('.'))
            }
            (Pattern::AnyBelow(domain), AltName::Dns(name)) => {
                name.strip_suffix(domain.as_str()).is_some_and(|left| left.len() > 1 && left.ends_with('.'))
            }
            (Pattern::Within(range), name) => range.contains(name) == Some(true),
            (Pattern::MailOf(host), AltName::Email(address)) => {
                address.rsplit_once('@').is_some_and(|(_, of)| of == host)
            }
            (Pattern::UriPrefix(prefix), AltName::Uri(uri)) => {
                // A dot segment would lead out again.
                uri.starts_with(prefix.as_str())
                    && !uri.split('/').any(|segment| matches!(segment, "." | ".."))
            }
            _ => false,
        }
    }
}

impl FromStr for NamePattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<NamePattern, BadPattern> {
        let bad = || BadPattern { came: shown(text) };
        let dns = |text: &str| match AltName::dns(text) {
            Ok(AltName::Dns(name)) if !name.starts_with("*.") => Ok(name),
            _ => Err(bad()),
        };
        let kind = if let Some(prefix) = text.strip_suffix('*').filter(|prefix| prefix.contains("://")) {
            // Up to a slash at least: a prefix that ends within a host would match other hosts.
            let host = prefix.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
            if !host.contains('/') || host.starts_with('/') {
                return Err(bad());
            }
            Pattern::UriPrefix(prefix.to_owned())
        } else if let Some(host) = text.strip_prefix("*@") {
            Pattern::MailOf(dns(host)?)
        } else if let Some(domain) = text.strip_prefix("*.") {
            Pattern::OneLabelBelow(dns(domain)?)
        } else if let Some(domain) = text.strip_prefix('.') {
            Pattern::AnyBelow(dns(domain)?)
        } else if text.contains('/') && !text.contains("://") {
            Pattern::Within(format!("ip:{text}").parse().map_err(|_| bad())?)
        } else {
            Pattern::Exactly(text.parse().map_err(|_| bad())?)
        };
        Ok(NamePattern { text: text.to_owned(), kind })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Text that is no pattern of names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{came}` is not a pattern of names, expected a name, *.example.com, .example.com, 10.0.0.0/8, *@example.com or spiffe://prod/worker/*"
)]
pub struct BadPattern {
    came: String,
}

impl Explain for BadPattern {
    fn explain(&self) -> Explanation {
        Explanation::new(code::BAD_NAME, self.to_string())
    }
}

/// A request that asks for names it does not get.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameNotAllowed {
    /// One that no pattern allows.
    #[error("the request asks for {came}, which is not allowed")]
    Name {
        /// The name.
        came: String,
        /// The patterns.
        allowed: Vec<String>,
    },
    /// Names of other kinds, or that are not well-formed.
    #[error("the request asks for {came} names of kinds that are not issued")]
    Kind {
        /// How many.
        came: usize,
    },
    /// More than a certificate carries.
    #[error("the request asks for too many names")]
    TooMany(#[source] TooManyNames),
}

impl Explain for NameNotAllowed {
    fn explain(&self) -> Explanation {
        let new = Explanation::new(code::NAME_NOT_ALLOWED, self.to_string());
        match self {
            NameNotAllowed::Name { came, allowed } => {
                let allowed = if allowed.is_empty() { "no name".to_owned() } else { allowed.join(" or ") };
                new.halves(allowed, came)
                    .hint("allow it with --allow-name PATTERN, or state the names with --san")
            }
            NameNotAllowed::Kind { .. } => new.hint("state the names with --san"),
            NameNotAllowed::TooMany(many) => many.explain(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, name, expected) in [
            ("web.example.com", "web.example.com", true),
            ("web.example.com", "*.example.com", false),
            ("*.example.com", "web.example.com", true),
            ("*.example.com", "*.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            (".example.com", "a.b.example.com", true),
            (".example.com", "*.b.example.com", true),
            (".example.com", "example.com", false),
            (".example.com", "badexample.com", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.7", "10.0.0.8", false),
            ("*@example.com", "ann@example.com", true),
            ("*@example.com", "ann@mail.example.com", false),
            ("spiffe://prod/worker/*", "spiffe://prod/worker/a", true),
            ("spiffe://prod/worker/*", "spiffe://prod/worker/../manager/a", false),
            ("spiffe://prod/worker/*", "spiffe://prod/manager/a", false),
        ] {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&name.parse().unwrap()), expected, "{pattern} {name}");
        }
        for text in ["", "*", "*.", "spiffe://prod*", "10.0.0.1/8", "*.*.x"] {
            assert!(text.parse::<NamePattern>().is_err(), "{text}");
        }
    }
}
