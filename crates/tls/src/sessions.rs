//! The sessions that one listener's peers may resume, with whom each belongs to.
//!
//! Stateful and bounded: a ticket is a random name for a session kept here, good for one use, and dead
//! when the listener's identity, roots or policy change, because then it gets a new store. A revocation
//! is seen when a session is offered, so nobody else's is disturbed.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use certus_pki::{Lifetime, Peer, UnixTime};
use rustls::server::StoresServerSessions;

use crate::admit::Gate;
use crate::lock;
use crate::verifier::note;

/// Two tickets each for two thousand peers; a session takes about 2 KiB. The oldest gives way.
pub(crate) const SESSIONS_MAX: usize = 4096;

/// RFC 8446 4.6.1 allows seven days; rustls tells peers one.
const SESSION_LIFETIME: Lifetime = Lifetime::from_days(1);

/// One configuration's sessions.
pub(crate) struct Sessions {
    gate: Arc<Gate>,
    /// Off only in the test that admission alone keeps I11.
    screened: bool,
    stored: Mutex<Stored>,
}

#[derive(Default)]
struct Stored {
    sessions: HashMap<Vec<u8>, Session>,
    /// Oldest first; names of sessions that were taken stay until they come to the front.
    order: VecDeque<Vec<u8>>,
}

#[derive(Clone)]
struct Session {
    value: Vec<u8>,
    /// Nobody known where a listener takes callers without a certificate.
    peer: Option<Arc<Peer>>,
    until: UnixTime,
}

impl Sessions {
    pub(crate) fn new(gate: Arc<Gate>, screened: bool) -> Arc<Sessions> {
        Arc::new(Sessions { gate, screened, stored: Mutex::default() })
    }

    fn offered(&self, session: Session) -> Option<Vec<u8>> {
        let welcome = session.peer.as_ref().is_none_or(|peer| self.gate.may_resume(peer));
        let over = self.gate.credentials.now() > session.until;
        if over || (self.screened && !welcome) {
            return None;
        }
        note(|notes| notes.session = session.peer);
        Some(session.value)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let peer = note(|notes| {
            let verified = notes.verified.as_ref().map(|(_, peer)| peer.clone());
            verified.or_else(|| notes.session.clone())
        });
        // Outside one of our handshakes nobody is known to whom a session could be bound.
        let Some(peer) = peer else { return false };
        let until = self.gate.credentials.now().plus(SESSION_LIFETIME);
        let mut stored = lock(&self.stored);
        while stored.order.len() >= SESSIONS_MAX {
            let Some(oldest) = stored.order.pop_front() else { break };
            stored.sessions.remove(&oldest);
        }
        stored.order.push_back(key.clone());
        stored.sessions.insert(key, Session { value, peer, until });
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let session = lock(&self.stored).sessions.get(key).cloned()?;
        self.offered(session)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let session = lock(&self.stored).sessions.remove(key)?;
        self.offered(session)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}
