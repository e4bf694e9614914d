//! Admission: the one function that every handshake, full or resumed, ends with (I11).
//!
//! It checks the peer's chain against the newest snapshot and policy, registers the connection, and
//! checks again if either moved meanwhile. Only then may a byte reach the application.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use certus_pki::{Accept, AgentProof, Caller, Issuers, Peer, PeerQuery, Purpose, Rejection, UnixTime};

use crate::connection::{Admission, Admitted, Registered};
use crate::credentials::{Credentials, Snapshot};
use crate::identity::Identity;
use crate::lifecycle::Lifecycle;
use crate::lock;
use crate::registry::{CutRecord, EndId, EndRules};
use crate::stream::PeerIdentity;
use crate::verdicts::{Verdicts, chain_hash};
use crate::verifier::Notes;

/// What stands between peers and one listener or dialer: whom it trusts, and whom of those it accepts.
pub(crate) struct Gate {
    pub(crate) credentials: Credentials,
    accept: Mutex<Arc<Accept>>,
    /// Held while one policy is put in force, so that the last one set is the last one enforced.
    setting: Mutex<()>,
    /// Which side of the connection its peers are on.
    purpose: Purpose,
    unknown: Unknown,
    /// Which issuers peers may come from.
    issuers: Issuers,
    /// Until when callers in the clear are taken, in Unix seconds.
    clear_until: AtomicI64,
    verdicts: Verdicts,
    end: EndId,
}

/// What becomes of peers of whom TLS says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// They are refused.
    Refused,
    /// They pass, whatever the policy says: who is served without a certificate is decided above.
    LetIn,
    /// The policy is asked.
    Judged,
}

/// What one judgement was made by.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) accept: Arc<Accept>,
}

impl View {
    pub(crate) fn same(&self, other: &View) -> bool {
        Arc::ptr_eq(&self.snapshot, &other.snapshot) && Arc::ptr_eq(&self.accept, &other.accept)
    }
}

/// What a finished handshake says of the peer.
pub(crate) struct Finished {
    /// The peer's chain; rustls restores it on resumption.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) resumed: bool,
    /// Who we were in it.
    pub(crate) own: Option<Arc<Identity>>,
    pub(crate) notes: Notes,
}

impl Gate {
    pub(crate) fn new(
        credentials: Credentials,
        accept: Accept,
        purpose: Purpose,
        unknown: Unknown,
        (issuers, lifecycle): (Issuers, Lifecycle),
    ) -> Gate {
        let rules = EndRules { lifecycle, issuers, grace: accept.grace() };
        let end = credentials.registry().new_end(rules);
        let accept = Mutex::new(Arc::new(accept));
        let (setting, verdicts) = (Mutex::new(()), Verdicts::default());
        let clear_until = AtomicI64::new(i64::MAX);
        Gate { credentials, accept, setting, purpose, unknown, issuers, clear_until, verdicts, end }
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.credentials.now()
    }

    /// The newest trust and policy.
    pub(crate) fn view(&self) -> View {
        View { snapshot: self.credentials.current(), accept: lock(&self.accept).clone() }
    }

    /// Replaces the policy, and cuts the connections that the new one does not accept.
    pub(crate) fn set_accept(&self, accept: Accept) -> Vec<CutRecord> {
        let _one_at_a_time = lock(&self.setting);
        let accept = Arc::new(accept);
        *lock(&self.accept) = accept.clone();
        let (snapshot, now) = (self.credentials.current(), self.credentials.now());
        self.credentials.registry().recheck(self.end, &accept, (snapshot.bundle(), now))
    }

    /// Judges the live connections by the trust of another gate, which is to follow this one.
    pub(crate) fn judge_by(&self, next: &Gate) -> Vec<CutRecord> {
        let (view, now) = (next.view(), next.now());
        let rules = EndRules { issuers: next.issuers, grace: view.accept.grace(), ..EndRules::default() };
        self.credentials.registry().judge_by(self.end, &rules, view.snapshot.bundle(), now)
    }

    /// Until when callers in the clear are taken; those for whom that is past end as their rules say.
    pub(crate) fn set_clear_until(&self, until: UnixTime) -> Vec<CutRecord> {
        let _one_at_a_time = lock(&self.setting);
        self.clear_until.store(until.secs(), Ordering::Release);
        self.credentials.registry().clear_until(self.end, until, self.credentials.now())
    }

    /// Whether the peer with this chain is trusted and accepted.
    pub(crate) fn judge<C: AsRef<[u8]>>(&self, view: &View, chain: &[C]) -> Result<Peer, Rejection> {
        let (bundle, now) = (view.snapshot.bundle(), self.credentials.now());
        let hash = chain_hash(chain);
        if let Some(peer) = self.verdicts.find(view, &hash, now) {
            return Ok(peer);
        }
        let query = PeerQuery::new(bundle, now, self.purpose);
        let peer = PeerQuery { issuers: self.issuers, grace: view.accept.grace(), ..query }.verify(chain)?;
        view.accept.check(&peer)?;
        self.verdicts.keep(view, hash, now, &peer);
        Ok(peer)
    }

    /// Whether `peer`, verified when its session began, may resume it. Signatures are not checked
    /// here: admission does, and a change of roots ends every session. A refusal leads to a full
    /// handshake, in which the peer gets the alert that fits.
    pub(crate) fn may_resume(&self, peer: &Peer) -> bool {
        let view = self.view();
        let bundle = view.snapshot.bundle();
        self.credentials.now() <= peer.chain_not_after
            && bundle.has_issuer(&peer.cert.issuer)
            && bundle.revocation(&peer.cert).is_none()
            && view.accept.check(peer).is_ok()
    }

    /// Admits a peer, or says why not.
    pub(crate) fn admission(self: &Arc<Gate>, finished: Finished) -> Result<Admission, Rejection> {
        self.admit(finished).map(|registered| Admission::new(registered, Some(self.clone())))
    }

    /// Admits a peer to the registry, or says why not.
    pub(crate) fn admit(&self, finished: Finished) -> Result<Registered, Rejection> {
        self.admit_while(finished, || ())
    }

    /// [`Gate::admit`], with something happening between verification and registration.
    pub(crate) fn admit_while(
        &self,
        finished: Finished,
        between: impl FnOnce(),
    ) -> Result<Registered, Rejection> {
        let Finished { chain, resumed, own, notes } = finished;
        let view = self.view();
        let peer = match notes.verified {
            // The full handshake that just ended verified this very chain by this very view: what can
            // have changed since is the time.
            Some((earlier, peer))
                if !resumed && earlier.same(&view) && self.credentials.now() <= peer.chain_not_after =>
            {
                Some(peer)
            }
            _ => self.judge_or_anonymous(&view, &chain)?.map(Arc::new),
        };
        between();
        let epoch = view.snapshot.epoch();
        let registered = self.credentials.registry().register(Admitted {
            peer: peer.map(|peer| PeerIdentity::new(peer, epoch)),
            let_in: chain.is_empty() && self.unknown == Unknown::LetIn,
            chain,
            own,
            plaintext: false,
            clear_until: None,
            epoch,
            purpose: self.purpose,
            end: self.end,
            resumed,
            since: self.credentials.now(),
        });
        // What is published from here on finds the connection in the registry; what was published
        // since the first look is looked at here.
        let newest = self.view();
        let registry = self.credentials.registry();
        if !newest.same(&view)
            && let Some(peer) = self.judge_or_anonymous(&newest, &registered.connection.chain)?
        {
            registry.lives_until(&registered.connection, &peer);
        }
        if let Some(current) = newest.snapshot.identity() {
            registry.rotated_meanwhile(&registered.connection, current);
        }
        Ok(registered)
    }

    fn judge_or_anonymous(&self, view: &View, chain: &[Vec<u8>]) -> Result<Option<Peer>, Rejection> {
        match self.unknown {
            Unknown::LetIn if chain.is_empty() => Ok(None),
            Unknown::Judged if chain.is_empty() => {
                let nobody = Caller::known(None, AgentProof::Awaited);
                view.accept.allow().check(&nobody).map(|()| None)
            }
            _ => self.judge(view, chain).map(Some),
        }
    }

    /// Admits somebody of whom nothing is known: in the clear, or behind somebody who ended TLS.
    pub(crate) fn admit_unknown(self: &Arc<Gate>, plaintext: bool) -> Result<Admission, Rejection> {
        let until = || UnixTime::from_secs(self.clear_until.load(Ordering::Acquire));
        let (registry, known) = (self.credentials.registry(), until());
        let registered = registry.register(Admitted {
            peer: None,
            chain: Vec::new(),
            own: None,
            let_in: false,
            plaintext,
            clear_until: plaintext.then_some(known),
            epoch: self.credentials.current().epoch(),
            purpose: self.purpose,
            end: self.end,
            resumed: false,
            since: self.credentials.now(),
        });
        // What is set from here on finds the connection in the registry.
        if plaintext && until() != known {
            registry.clear_until(self.end, until(), self.credentials.now());
        }
        let admission = Admission::new(registered, Some(self.clone()));
        admission.recheck().map(|()| admission)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.credentials.registry().end_gone(self.end);
    }
}
