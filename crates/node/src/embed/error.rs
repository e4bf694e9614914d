//! Why an endpoint is not built, does not listen or does not connect.

use std::io;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{Lifetime, code};
use certus_tls::HandshakeError;

use super::GRACE_MAX;

/// An endpoint that is not built, or an end of it that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Nothing says where certificates come from.
    #[error("no source of certificates is named")]
    NoSource,
    /// Something that the source needs was not given to the builder.
    #[error("development certificates need {0}")]
    Missing(&'static str),
    /// Expired certificates would be taken for too long.
    #[error("certificates that ended are to be taken for too long")]
    GraceTooLong {
        /// For how long.
        asked: Lifetime,
    },
    /// A policy about peers, where nobody's chain is verified.
    #[error("the policy names peers, and no chain is verified")]
    NothingVerified,
    /// Peers shall be verified, and there is nothing to verify them by.
    #[error("an ephemeral certificate has no authority by which peers could be verified")]
    NoAuthority,
    /// The first certificates cannot be used.
    #[error("{}", .0.message)]
    Material(Explanation),
    /// An address is not to be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// An address to connect to that names no host, or no port.
    #[error("`{came}` cannot be connected to")]
    BadAddress {
        /// What came.
        came: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody answers there.
    #[error("{}", .0.message)]
    Unreachable(Explanation),
    /// The handshake failed, or the peer refused us after it.
    #[error("no connection was made")]
    Handshake(#[source] HandshakeError),
}

impl Explain for EndpointError {
    fn explain(&self) -> Explanation {
        let told = || Explanation::new(code::CONFIGURATION, self.to_string());
        match self {
            EndpointError::NoSource => told()
                .halves("development() or tls(options)", "neither")
                .hint("while trying things out: Node::builder().id(ID).cert_dir(DIR).development()"),
            EndpointError::Missing(what) => told().halves(what, "none"),
            EndpointError::GraceTooLong { asked } => told()
                .halves(format!("at most {GRACE_MAX}"), asked)
                .hint("renew the certificates: nothing is taken that ended longer ago"),
            EndpointError::NothingVerified => told()
                .halves(
                    "verified chains, or a policy that takes everybody",
                    "both switched off and asked for",
                )
                .hint("take danger::unverified off"),
            EndpointError::NoAuthority => told()
                .halves("roots", "none")
                .hint("client_certificates(NotAsked) for a public service; development() or files() else"),
            EndpointError::Material(why) | EndpointError::Unreachable(why) => why.clone(),
            EndpointError::Listen { error, .. } => Explanation::new(code::LISTEN, self.to_string())
                .fact("the system says", error)
                .hint("see who has it: ss -lnp"),
            EndpointError::BadAddress { why, came } => told().halves(why, came),
            EndpointError::Handshake(error) => error.explain(),
        }
    }
}
