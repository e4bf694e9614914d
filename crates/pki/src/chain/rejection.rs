//! Why a chain is refused, with both halves.

use crate::alt::AltName;
use crate::cert::BadCertificate;
use crate::code;
use crate::crl::BadCrl;
use crate::explain::{Explain, Explanation};
use crate::hash::Sha256;
use crate::revoke::Reason;
use crate::serial::Serial;
use crate::time::UnixTime;
use crate::verify::Purpose;

/// A rule for certificates that one breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenRule {
    /// Whose certificate.
    pub which: String,
    /// Which part of it.
    pub rule: &'static str,
    /// Where the rule stands.
    pub source: &'static str,
    /// What the rule asks for.
    pub expected: String,
    /// What the certificate says.
    pub came: String,
    /// What to do.
    pub hint: Option<&'static str>,
}

impl BrokenRule {
    /// The rejection for it.
    #[expect(clippy::new_ret_no_self, reason = "a rule is only ever the reason of a rejection")]
    pub(super) fn new(
        which: &str,
        rule: &'static str,
        source: &'static str,
        expected: impl Into<String>,
        came: &str,
    ) -> ChainRejection {
        let (which, expected, came) = (which.to_owned(), expected.into(), came.to_owned());
        ChainRejection::Rule(Box::new(BrokenRule { which, rule, source, expected, came, hint: None }))
    }
}

/// Why a chain is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainRejection {
    /// No trusted root has the name of the last issuer.
    #[error("{which}: its issuer is neither trusted nor among the intermediates")]
    UnknownAuthority {
        /// The last certificate that was found.
        which: String,
        /// The issuer it names.
        issuer: String,
        /// The trusted roots, the first few.
        roots: Vec<String>,
    },
    /// An issuer of the right name has another key, or the certificate was altered.
    #[error("{which} is not signed with the key of {issuer}")]
    BadSignature {
        /// Whose certificate.
        which: String,
        /// Whose key it was held against.
        issuer: String,
    },
    /// Its time is over.
    #[error("{which} expired {}", .not_after.relative_to(*.now))]
    Expired {
        /// Whose certificate.
        which: String,
        /// The time asked about.
        now: UnixTime,
        /// Its last moment.
        not_after: UnixTime,
    },
    /// Its time has not come.
    #[error("{which} becomes valid {}", .not_before.relative_to(*.now))]
    NotYetValid {
        /// Whose certificate.
        which: String,
        /// The time asked about.
        now: UnixTime,
        /// Its first moment.
        not_before: UnixTime,
    },
    /// Its purposes are others.
    #[error("{which} is not for a TLS {}", purpose(*.needed))]
    WrongPurpose {
        /// Whose certificate.
        which: String,
        /// The side asked about.
        needed: Purpose,
        /// What it is for.
        came: String,
    },
    /// It does not carry the name.
    #[error("the certificate is not for {expected}")]
    WrongName {
        /// The name looked for.
        expected: AltName,
        /// The names it carries, the first few.
        came: Vec<String>,
        /// Its common name, which does not count.
        common_name: Option<String>,
    },
    /// A name that a CA above may not sign for.
    #[error("{which}: {ca} may not sign for {name}")]
    OutsideConstraints {
        /// Whose certificate.
        which: String,
        /// The CA with the constraints.
        ca: String,
        /// The name.
        name: String,
        /// What the constraints allow.
        expected: String,
    },
    /// It was revoked.
    #[error("{which} was revoked ({reason})")]
    Revoked {
        /// Whose certificate.
        which: String,
        /// Its serial number.
        serial: Serial,
        /// Since when.
        at: UnixTime,
        /// Why.
        reason: Reason,
    },
    /// A revocation list that cannot be gone by.
    #[error("the revocation list of {issuer} is not usable")]
    Crl {
        /// The CA it is of.
        issuer: String,
        /// What is wrong.
        #[source]
        error: BadCrl,
    },
    /// Lists were given, and none is of the leaf's issuer.
    #[error("none of the revocation lists is of {issuer}, who issued {which}")]
    NoCrl {
        /// Whose certificate.
        which: String,
        /// Its issuer.
        issuer: String,
    },
    /// More CA certificates than were allowed.
    #[error("{came} CA certificates stand between leaf and root")]
    TooDeep {
        /// How many.
        came: usize,
        /// How many were allowed.
        max: u8,
    },
    /// A rule of the profile is broken.
    #[error("{}: {} breaks a rule", .0.which, .0.rule)]
    Rule(Box<BrokenRule>),
    /// A certificate that cannot be read.
    #[error("{which} cannot be read")]
    Certificate {
        /// Which one.
        which: String,
        /// What is wrong.
        #[source]
        error: BadCertificate,
    },
    /// A chain of nothing.
    #[error("the chain holds no certificate")]
    Empty,
    /// The key does not belong to the certificate.
    #[error("the key does not fit the certificate")]
    WrongKey {
        /// The certificate's key.
        expected: Sha256,
        /// The key that came.
        came: Sha256,
    },
    /// More certificates or names than are looked at.
    #[error("{came} were given, at most {max} are looked at")]
    TooMany {
        /// How many.
        came: usize,
        /// How many are looked at.
        max: usize,
    },
    /// Certificates made to be slow.
    #[error("the certificates cross-sign each other so often that no path was found within bounds")]
    TooMuchWork,
    /// The second validator does not agree.
    #[error("the chain breaks a rule of path validation: {why}")]
    Path {
        /// Which one, in webpki's words.
        why: String,
    },
}

const fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Server => "server",
        Purpose::Client => "client",
    }
}

impl ChainRejection {
    pub(super) fn hint(mut self, text: &'static str) -> ChainRejection {
        if let ChainRejection::Rule(rule) = &mut self {
            rule.hint = Some(text);
        }
        self
    }
}

impl Explain for ChainRejection {
    fn explain(&self) -> Explanation {
        let new = |code| Explanation::new(code, self.to_string());
        match self {
            ChainRejection::UnknownAuthority { issuer, roots, .. } => {
                let roots = if roots.is_empty() { "no readable root".to_owned() } else { roots.join(" or ") };
                new(code::UNKNOWN_AUTHORITY)
                    .halves(roots, issuer)
                    .hint("give the missing certificate with --intermediates, or its root with --ca")
            }
            ChainRejection::BadSignature { issuer, .. } => new(code::BAD_SIGNATURE)
                .halves(format!("a signature by the key of {issuer}"), "one that is not")
                .hint("the CA was made anew under its old name, or the certificate was altered"),
            ChainRejection::Expired { now, not_after, .. } => {
                new(code::EXPIRED).fact("now", now).fact("not after", not_after)
            }
            ChainRejection::NotYetValid { now, not_before, .. } => {
                new(code::NOT_YET_VALID).fact("now", now).fact("not before", not_before)
            }
            ChainRejection::WrongPurpose { needed, came, .. } => {
                let expected = match needed {
                    Purpose::Server => "extended key usage serverAuth",
                    Purpose::Client => "extended key usage clientAuth",
                };
                new(code::WRONG_PURPOSE).halves(expected, came)
            }
            ChainRejection::WrongName { expected, came, common_name } => {
                let names = if came.is_empty() { "no names".to_owned() } else { came.join(", ") };
                let new = new(code::WRONG_NAME).halves(expected, names);
                match common_name {
                    Some(name) if came.is_empty() => new
                        .fact("common name", name)
                        .hint("a common name is not looked at (RFC 9525): issue it with subjectAltName"),
                    _ => new,
                }
            }
            ChainRejection::OutsideConstraints { name, expected, .. } => {
                new(code::OUTSIDE_CONSTRAINTS).halves(expected, name)
            }
            ChainRejection::Revoked { serial, at, .. } => {
                new(code::REVOKED).fact("serial", serial).fact("revoked", at)
            }
            ChainRejection::Crl { issuer, error } => error.explain().fact("list of", issuer),
            ChainRejection::NoCrl { issuer, .. } => new(code::BAD_CRL)
                .halves(format!("a list of {issuer}"), "lists of others")
                .hint("give it with --crl, or leave --crl out"),
            ChainRejection::TooDeep { came, max } => {
                new(code::BROKEN_RULE).halves(format!("at most {max}"), came)
            }
            ChainRejection::Rule(rule) => {
                let new = new(code::BROKEN_RULE).halves(&rule.expected, &rule.came).fact("rule", rule.source);
                if let Some(hint) = rule.hint { new.hint(hint) } else { new }
            }
            ChainRejection::Certificate { which, error } => error.explain().fact("which", which),
            ChainRejection::TooMany { came, max } => {
                new(code::OUT_OF_BOUNDS).halves(format!("at most {max}"), came)
            }
            ChainRejection::Empty => new(code::NO_CERTIFICATE).halves("a certificate", "none"),
            ChainRejection::WrongKey { expected, came } => new(code::KEY_MISMATCH).halves(expected, came),
            ChainRejection::TooMuchWork => new(code::OUT_OF_BOUNDS),
            ChainRejection::Path { why } => {
                new(code::MALFORMED_CERTIFICATE).halves("a chain valid by RFC 5280 6", why)
            }
        }
    }
}
