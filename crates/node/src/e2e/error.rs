//! Why there is no session, or none any more, in words.

use std::io;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{AgentId, Code, code, defaults};
use certus_tls::explain_read_error;

/// A session that did not come to be, or broke.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum E2eError {
    /// We dialled, and the other end cannot prove that it is the agent that was expected.
    #[error("the other end does not hold the key of {expected}")]
    WrongPeer {
        /// Whom we dialled.
        expected: AgentId,
        /// Who the other end says it is, unproven, if it says so.
        claims: Option<AgentId>,
    },
    /// We dialled the right agent, and it does not accept us. This answer is proven to be its own.
    #[error("the agent {} does not accept this agent", .peer.short())]
    RefusedUs {
        /// Who refused.
        peer: AgentId,
        /// Who was refused.
        us: AgentId,
        /// The code of its reason.
        code: Code,
    },
    /// An agent called that is not accepted here.
    #[error("the agent {peer} was refused: {}", .why.message)]
    Refused {
        /// Who called; that it holds the key now is not proven yet.
        peer: AgentId,
        /// Why it is not accepted.
        why: Explanation,
    },
    /// The right agent answered, but the two ends bind the session to different things.
    #[error("the two ends bind the session to different things")]
    Differs {
        /// What this end binds it to.
        here: String,
        /// What the other end says it binds it to.
        there: String,
    },
    /// Somebody called whose first message does not open here.
    #[error("the first message is not for this agent, or the two ends bind the session differently")]
    NotForUs {
        /// Who we are.
        us: AgentId,
        /// What this end binds the session to.
        here: String,
    },
    /// What came has not the form of anything that an agent sends.
    #[error("the other end does not speak this end-to-end protocol")]
    Malformed {
        /// What could have come.
        expected: String,
        /// What came.
        came: String,
    },
    /// A sealed message does not open.
    #[error("what came was changed on its way, or is not from the agent at the other end")]
    Changed,
    /// The stream ended, but the other end did not say so.
    #[error("the session was cut off: the stream ended without the other end's word that it ends")]
    CutOff,
    /// The expected id is one of the few that are no key.
    #[error("no agent can have the id {id}")]
    NotAKey {
        /// The id.
        id: AgentId,
    },
    /// The stream below failed.
    #[error("the connection ended during the end-to-end handshake")]
    Io {
        /// What the stream said.
        #[source]
        error: io::Error,
    },
    /// It took too long.
    #[error("the end-to-end handshake did not end within {} s", defaults::HANDSHAKE_TIMEOUT.secs())]
    Timeout,
    /// Something that should not fail did.
    #[error("the end-to-end session failed here: {words}")]
    Library {
        /// What failed.
        words: String,
    },
}

impl E2eError {
    /// What is inside an error that an [`E2eStream`](super::E2eStream) gave while it was read or written.
    pub fn inside(error: &io::Error) -> Option<&E2eError> {
        error.get_ref()?.downcast_ref()
    }

    pub(super) fn library(error: snow::Error) -> E2eError {
        E2eError::Library { words: error.to_string() }
    }

    pub(super) fn io(error: io::Error) -> E2eError {
        E2eError::Io { error }
    }

    pub(super) fn into_io(self) -> io::Error {
        let kind = match self {
            E2eError::CutOff => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }
}

impl Explain for E2eError {
    fn explain(&self) -> Explanation {
        let failed = || Explanation::new(code::E2E_FAILED, self.to_string());
        match self {
            E2eError::WrongPeer { expected, claims } => {
                let told =
                    Explanation::new(code::E2E_WRONG_PEER, self.to_string()).fact("expected", expected);
                let told = match claims {
                    Some(claims) => told.fact("it says it is", claims),
                    None => told.fact("came", "nothing that such a key could have made"),
                };
                told.hint("check the address; an agent prints its id at its start")
            }
            E2eError::RefusedUs { peer, us, code } => Explanation::new(code::E2E_REFUSED, self.to_string())
                .fact("refused by", peer)
                .fact("this agent", us)
                .fact("its reason", code)
                .hint("add this agent's id to `allow` of the other end's listener; its log has the reason"),
            E2eError::Refused { peer, why } => why.clone().fact("agent", peer),
            E2eError::Differs { here, there } => {
                failed().fact("here", here).fact("there", there).hint(if here == there {
                    "TLS ends somewhere between the two: if it is a proxy of yours, both ends have to say so"
                } else {
                    "give both ends the same transport, and say on both or on neither that a proxy ends TLS"
                })
            }
            E2eError::NotForUs { us, here } => failed()
                .fact("this agent", us)
                .fact("here", here)
                .hint("the dialler's log says which: the id it expects, or what it binds the session to"),
            E2eError::Malformed { expected, came } => failed()
                .halves(expected, came)
                .hint("check that the address is the right port, and that both ends use `e2e`"),
            E2eError::Io { error } => match explain_read_error(error) {
                Some(refused) => refused.explain(),
                None => failed()
                    .fact("the system says", error)
                    .hint("look at the other end's log, and check that both ends use `e2e`"),
            },
            E2eError::Timeout => Explanation::new(code::HANDSHAKE_TIMEOUT, self.to_string())
                .hint("check that both ends use `e2e`: one that does not waits for the other to speak"),
            E2eError::NotAKey { .. } => failed().hint("an agent prints its id at its start: copy that"),
            E2eError::Changed | E2eError::CutOff | E2eError::Library { .. } => failed(),
        }
    }
}
