//! The words and the arithmetic of certificates: names, keys, issuing, verifying, explaining.
//!
//! Pure: no clock, no files, no sockets. Time, serial numbers and lifetimes are arguments, so issuing
//! as a library is a first-class use:
//!
//! ```
//! use certus_pki::{CaPlan, ClusterName, Issuer, KeyType, PrivateKey, Serial, UnixTime, Validity};
//!
//! let now = UnixTime::from_secs(1_800_000_000);
//! let key = PrivateKey::generate(KeyType::P256)?;
//! let plan = CaPlan::root(
//!     &"prod".parse::<ClusterName>()?,
//!     Validity::starting(now, certus_pki::defaults::ROOT_LIFETIME),
//! );
//! let root = Issuer::self_signed(&plan, Serial::from_random([7; 16]), &key)?;
//! assert_eq!(root.subject(), "CN=prod root");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod accept;
pub mod agent;
pub mod alt;
pub mod bundle;
pub mod cert;
pub mod chain;
pub mod code;
pub mod constraints;
pub mod crl;
pub mod csr;
pub mod defaults;
pub mod details;
pub mod explain;
mod hash;
pub mod issue;
pub mod key;
pub mod name;
pub mod pem;
pub mod pin;
pub mod pkcs12;
pub mod renewal;
pub mod request;
pub mod revoke;
mod san;
mod serial;
pub mod subject;
pub mod time;
pub mod token;
pub mod verify;

pub use accept::{Accept, AgentProof, Allow, Caller, KeyPolicy, Verdict};
pub use agent::{AgentId, NotAnAgentId};
pub use alt::{AltName, Names};
pub use bundle::{Bundle, Change, Delta, Directive, Epoch, IssuerRef, Root};
pub use cert::Certificate;
pub use chain::{ChainQuery, ChainRejection, VerifiedChain, verify_chain};
pub use code::Code;
pub use constraints::{NameConstraints, Subtree};
pub use crl::{Crl, CrlPlan, RevokedCert};
pub use csr::Csr;
pub use explain::{Explain, Explanation};
pub use hash::Sha256;
pub use issue::{AuthorityPlan, CaPlan, CertPlan, Issuer, KeyUses, LeafPlan, Usage, Validity};
pub use key::{KeyFacts, KeyForm, KeyType, Passphrase, PrivateKey, PublicKey, Signer};
pub use name::{ClusterName, Grant, IdPattern, NodeId, Role, SpiffeId};
pub use request::{Claims, NamePattern, Request, TakeNames};
pub use revoke::{CertId, Reason, Revocation};
pub use san::San;
pub use serial::Serial;
pub use subject::Subject;
pub use time::{Lifetime, UnixTime};
pub use token::{JoinToken, TokenId};
pub use verify::{Issuers, Peer, PeerQuery, Purpose, Rejection, verify_peer};
