//! Clients of the real rules: they found, make tokens, join, renew and revoke, some of it wrongly.
//!
//! Keys come from seeds and are Ed25519, whose signatures have no chance in them, so that a run can
//! be repeated byte for byte. Never for a real cluster.

use std::ops::Bound;

use certus_ca::store::{Fault, Table, View};
use certus_ca::{
    Admission, CertFilter, Command, CreateToken, Genesis, JoinAsk, NodeFilter, NodeState, RenewAsk, Settings,
    Target, plan_join, plan_renew,
};
use certus_pki::{
    CaPlan, CertId, ClusterName, Directive, Grant, Issuer, Lifetime, NodeId, PrivateKey, Reason, Role,
    Serial, Sha256, Signer, SpiffeId, TokenId, UnixTime, Validity, defaults,
};
use certus_server::CaMachine;

use crate::chance::Chance;
use crate::sim::{Broken, Invariant, Subject, Workload};

impl Subject for CaMachine {
    fn accepted(reply: &Self::Reply) -> bool {
        reply.is_ok()
    }

    fn is_audit(table: Table, key: &[u8]) -> bool {
        table == Table::Audit || (table == Table::Meta && key == b"audit")
    }
}

/// An operator and nodes, with a manager's issuer that signs for them.
pub struct Authority {
    cluster: ClusterName,
    root: Issuer,
    issuer: Issuer,
    issuer_key: PrivateKey,
    genesis: Genesis,
    tokens: u64,
    last_serial: Serial,
}

impl Authority {
    /// Of a cluster that is founded at `start` (Unix seconds), by the first command.
    ///
    /// # Panics
    /// If the certificates cannot be made: a bug.
    pub fn new(seed: u64, start: i64) -> Authority {
        let mut chance = Chance::new(seed);
        let start = UnixTime::from_secs(start);
        let cluster: ClusterName = "prod".parse().expect("a name");
        let (root_key, issuer_key) = (key(&mut chance), key(&mut chance));
        let settings =
            Settings { leaf_lifetime: defaults::LEAF_LIFETIME, issuer_lifetime: defaults::ISSUER_LIFETIME };
        let plan = CaPlan::root(&cluster, Validity::starting(start, defaults::ROOT_LIFETIME));
        let root = Issuer::self_signed(&plan, serial(&mut chance), &root_key).expect("a root");
        let plan = CaPlan::issuer(&cluster, "m1", Validity::starting(start, settings.issuer_lifetime));
        let issuer = root.sign_ca(&plan, issuer_key.public_key(), serial(&mut chance), &root_key);
        let issuer = issuer.expect("an issuer");
        let mut leaf = |role, id: &str| {
            let identity = SpiffeId { cluster: cluster.clone(), role, id: id.parse().expect("an id") };
            let public_key = key(&mut chance).public_key().clone();
            let plan = settings.plan(identity, public_key, Vec::new(), start);
            issuer.sign_leaf(&plan, serial(&mut chance), &issuer_key).expect("a leaf")
        };
        let genesis = Genesis {
            cluster: cluster.clone(),
            settings,
            root_der: root.certificate().der.clone(),
            root_key_sealed: b"sealed".to_vec(),
            issuer_der: issuer.certificate().der.clone(),
            manager_der: leaf(Role::Manager, "m1"),
            operator_der: leaf(Role::Client, "operator"),
            generation: 0,
        };
        let last_serial = serial(&mut chance);
        Authority { cluster, root, issuer, issuer_key, genesis, tokens: 0, last_serial }
    }

    fn operator(&self) -> SpiffeId {
        self.identity(Role::Client, "operator".parse().expect("an id"))
    }

    fn identity(&self, role: Role, id: NodeId) -> SpiffeId {
        SpiffeId { cluster: self.cluster.clone(), role, id }
    }

    fn create_token(&mut self, chance: &mut Chance) -> Command {
        self.tokens += u64::from(!chance.once_in(10));
        Command::CreateToken(CreateToken {
            secret_hash: secret(self.tokens),
            root: self.root.key_hash(),
            role: Role::Worker,
            id: None,
            sans: Vec::new(),
            ttl: Lifetime::from_secs(600 + u32::try_from(chance.below(6_000)).unwrap_or(0)),
            uses: 1 + u32::from(chance.once_in(3)),
            replace: false,
            grant: Grant::None,
            by: self.operator(),
        })
    }

    fn admit(&mut self, chance: &mut Chance, known: &dyn View, at: UnixTime) -> Command {
        let token = self.tokens.saturating_sub(chance.below(TOKENS_BACK));
        let id = format!("web-{}", chance.below(NODES + self.tokens));
        let ask = JoinAsk {
            secret_hash: secret(token),
            role: Role::Worker,
            id: id.parse().expect("an id"),
            public_key: key(chance).public_key().clone(),
        };
        let planned = plan_join(known, at, &ask).expect("a state that can be read");
        let identity = self.identity(Role::Worker, ask.id.clone());
        let der = self.sign(chance, planned.ok(), identity, ask.public_key.clone(), at);
        Command::Admit { ask, planned_at: at, der }
    }

    /// With its newest certificate; sometimes with one that is older, or another's.
    fn renew(&mut self, chance: &mut Chance, known: &dyn View, at: UnixTime) -> Option<Command> {
        let node = pick(chance, nodes(known))?;
        let certs = certs(known);
        let from = match chance.once_in(5) {
            true => pick(chance, certs)?.cert,
            false => node.newest,
        };
        let ask =
            RenewAsk { node: node.identity.clone(), from, public_key: key(chance).public_key().clone() };
        let planned = plan_renew(known, at, &ask).expect("a state that can be read");
        let der = self.sign(chance, planned.ok(), node.identity, ask.public_key.clone(), at);
        Some(Command::Renew { ask, planned_at: at, der })
    }

    fn revoke(&self, chance: &mut Chance, known: &dyn View) -> Option<Command> {
        let target = match chance.once_in(2) {
            true => Target::Node(pick(chance, workers(known))?.identity),
            false => Target::Cert(pick(chance, worker_certs(known))?),
        };
        Some(Command::Revoke { target, reason: Reason::KeyCompromise, by: self.operator() })
    }

    /// As planned. A manager that was refused signs all the same: `apply` must say no.
    fn sign(
        &mut self,
        chance: &mut Chance,
        planned: Option<Admission>,
        identity: SpiffeId,
        public_key: certus_pki::PublicKey,
        at: UnixTime,
    ) -> Vec<u8> {
        let plan = match planned {
            Some(Admission::Again { der }) => return der,
            Some(Admission::New(plan)) => plan,
            None => self.genesis.settings.plan(identity, public_key, Vec::new(), at),
        };
        if !chance.once_in(20) {
            self.last_serial = serial(chance);
        }
        self.issuer.sign_leaf(&plan, self.last_serial, &self.issuer_key).expect("a leaf")
    }
}

impl Workload for Authority {
    type Machine = CaMachine;

    fn command(&mut self, chance: &mut Chance, known: &dyn View, now: i64) -> Command {
        let cluster = certus_ca::cluster(known).expect("a state that can be read");
        let Some(cluster) = cluster else { return Command::Genesis(self.genesis.clone()) };
        // A manager whose clock went back plans at the cluster's time, but for one in ten.
        let now = UnixTime::from_secs(now);
        let at = if chance.once_in(10) { now } else { now.max(cluster.last_at) };
        let command = match chance.below(16) {
            0 => Some(Command::Genesis(self.genesis.clone())),
            1..=4 => None,
            5..=8 => Some(self.admit(chance, known, at)),
            9..=12 => self.renew(chance, known, at),
            13 => self.revoke(chance, known),
            14 => {
                let number = self.tokens.saturating_sub(chance.below(TOKENS_BACK));
                let token = TokenId::from(secret(number));
                Some(Command::RevokeToken { token, by: self.operator() })
            }
            _ => pick(chance, nodes(known)).map(|node| Command::Direct {
                node: node.identity,
                directive: Directive::RenewNow,
                by: self.operator(),
            }),
        };
        command.unwrap_or_else(|| self.create_token(chance))
    }

    fn check(&self, before: &dyn View, after: &dyn View) -> Result<(), Broken> {
        let tables = [Table::Certs, Table::Nodes, Table::Tokens];
        if tables.into_iter().all(|table| rows(before, table) == rows(after, table)) {
            return Ok(());
        }
        check_certs(before, after)?;
        check_nodes(before, after)?;
        check_tokens(before, after)
    }
}

fn check_certs(before: &dyn View, after: &dyn View) -> Result<(), Broken> {
    for was in certs(before) {
        let now = certus_ca::cert(after, &was.cert).map_err(unreadable)?;
        let now = now.ok_or_else(|| (Invariant::I4, format!("{:?} is on record no more", was.cert)))?;
        if now.der != was.der {
            let what = format!("{:?} was {}'s, is another of {}", was.cert, was.node, now.node);
            return Err((Invariant::I5, what));
        }
        if was.revoked.is_some() && now.revoked != was.revoked {
            let what = format!("{:?} was revoked {:?}, is {:?}", was.cert, was.revoked, now.revoked);
            return Err((Invariant::I10, what));
        }
    }
    Ok(())
}

fn check_nodes(before: &dyn View, after: &dyn View) -> Result<(), Broken> {
    for was in nodes(before) {
        let now = certus_ca::node(after, &was.identity).map_err(unreadable)?;
        let renewed = now.as_ref().filter(|now| now.newest != was.newest);
        if let Some(from) = renewed.and_then(|now| now.previous) {
            let from = certus_ca::cert(before, &from).map_err(unreadable)?;
            if let Some((at, reason)) = from.and_then(|from| from.revoked) {
                let what = format!("{} renewed with what was revoked {at}: {reason:?}", was.identity);
                return Err((Invariant::I10, what));
            }
        }
        let now = now.map(|now| (now.state, now.newest));
        let barred = matches!(was.state, NodeState::Revoked { .. });
        if now.is_none() || (barred && now != Some((was.state, was.newest))) {
            let what = format!("{} was {:?}, is {now:?}", was.identity, was.state);
            return Err((Invariant::I10, what));
        }
    }
    Ok(())
}

fn check_tokens(before: &dyn View, after: &dyn View) -> Result<(), Broken> {
    for was in certus_ca::tokens(before, None, PAGE).map_err(unreadable)?.items {
        let now = certus_ca::token(after, &was.token).map_err(unreadable)?;
        let kept = now.as_ref().is_some_and(|now| {
            let void = was.revoked_at.is_none() || now.revoked_at == was.revoked_at;
            void && now.used >= was.used && now.used <= now.uses
        });
        if !kept {
            return Err((Invariant::I10, format!("a token was {was:?}, is {now:?}")));
        }
        // Whom it admitted is indexed by the keys they showed: never more than it has uses.
        let admitted = rows(after, Table::ByKey);
        let admitted = admitted.iter().filter(|(key, _)| key.starts_with(was.secret_hash.as_bytes()));
        let admitted = admitted.count();
        if admitted > was.uses as usize {
            let what = format!("token {} has {} uses and admitted {admitted} keys", was.token, was.uses);
            return Err((Invariant::I10, what));
        }
    }
    Ok(())
}

fn unreadable(fault: Fault) -> Broken {
    (Invariant::Alive, fault.to_string())
}

fn nodes(view: &dyn View) -> Vec<certus_ca::NodeRecord> {
    let page = certus_ca::nodes(view, &NodeFilter::default(), None, PAGE);
    page.expect("a state that can be read").items
}

fn workers(view: &dyn View) -> Vec<certus_ca::NodeRecord> {
    nodes(view).into_iter().filter(|node| node.identity.role == Role::Worker).collect()
}

fn certs(view: &dyn View) -> Vec<certus_ca::CertRecord> {
    let page = certus_ca::certs(view, &CertFilter::default(), None, PAGE);
    page.expect("a state that can be read").items
}

fn worker_certs(view: &dyn View) -> Vec<CertId> {
    certs(view).into_iter().filter(|cert| cert.node.role == Role::Worker).map(|cert| cert.cert).collect()
}

fn rows(view: &dyn View, table: Table) -> Vec<certus_ca::store::Row> {
    view.scan(table, Bound::Unbounded, Bound::Unbounded, usize::MAX).unwrap_or_default()
}

fn pick<T>(chance: &mut Chance, from: Vec<T>) -> Option<T> {
    let place = usize::try_from(chance.below(from.len() as u64)).ok()?;
    from.into_iter().nth(place)
}

fn secret(number: u64) -> Sha256 {
    Sha256::of(&number.to_be_bytes())
}

fn serial(chance: &mut Chance) -> Serial {
    let mut random = [0; 16];
    random[..8].copy_from_slice(&chance.draw().to_be_bytes());
    random[8..].copy_from_slice(&chance.draw().to_be_bytes());
    Serial::from_random(random)
}

fn key(chance: &mut Chance) -> PrivateKey {
    // RFC 8410 7: a PKCS#8 version 1 document around a seed.
    let mut der =
        vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    der.extend((0..4).flat_map(|_| chance.draw().to_be_bytes()));
    PrivateKey::from_pkcs8_der(&der).expect("a key")
}

/// Nodes at first; there are more as tokens are made.
const NODES: u64 = 6;
/// How far back a token that is shown may lie: some are used, some void.
const TOKENS_BACK: u64 = 6;
/// More than a run makes, so that one page is all.
const PAGE: usize = 1_000;
