//! A cluster in memory for this room's own tests: fixed times, counted serials, real certificates.

use certus_pki::{
    CaPlan, CertId, ClusterName, Directive, Grant, Issuer, KeyType, Lifetime, NodeId, PrivateKey, Reason,
    Role, Serial, Sha256, Signer, SpiffeId, TokenId, UnixTime, Validity, defaults,
};

use crate::store::MemStore;
use crate::{
    Admission, Command, CreateToken, Enlist, Genesis, Issued, JoinAsk, Refusal, RenewAsk, Reply, Settings,
    Target, apply, plan_join, plan_renew,
};

/// 2026-11-22 00:00:00Z.
pub(crate) const START: UnixTime = UnixTime::from_secs(1_795_305_600);

/// A manager in miniature: it plans, signs, and applies.
pub(crate) struct World {
    pub(crate) store: MemStore,
    pub(crate) now: UnixTime,
    pub(crate) root: Issuer,
    pub(crate) root_key: PrivateKey,
    pub(crate) issuer: Issuer,
    pub(crate) issuer_key: PrivateKey,
    pub(crate) serials: u8,
    /// Every command that was applied, for replays.
    pub(crate) log: Vec<(UnixTime, Command)>,
}

/// A node that joined: what it holds.
pub(crate) struct Node {
    pub(crate) identity: SpiffeId,
    pub(crate) cert: CertId,
}

pub(crate) fn key() -> PrivateKey {
    PrivateKey::generate(KeyType::P256).ok().unwrap()
}

pub(crate) fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

pub(crate) fn identity(role: Role, name: &str) -> SpiffeId {
    SpiffeId { cluster: cluster(), role, id: id(name) }
}

pub(crate) fn worker(name: &str) -> SpiffeId {
    identity(Role::Worker, name)
}

pub(crate) fn manager(name: &str) -> SpiffeId {
    identity(Role::Manager, name)
}

pub(crate) fn operator() -> SpiffeId {
    identity(Role::Client, "operator")
}

pub(crate) fn cluster() -> ClusterName {
    "prod".parse().unwrap()
}

pub(crate) fn secret(number: u8) -> Sha256 {
    Sha256::of(&[b's', number])
}

pub(crate) fn settings() -> Settings {
    Settings { leaf_lifetime: defaults::LEAF_LIFETIME, issuer_lifetime: defaults::ISSUER_LIFETIME }
}

impl World {
    /// A cluster, founded at [`START`].
    pub(crate) fn founded() -> World {
        let mut world = World::unfounded();
        let genesis = world.genesis(settings());
        world.apply(&genesis).unwrap();
        world
    }

    /// What is needed to found one.
    pub(crate) fn unfounded() -> World {
        let (root_key, issuer_key) = (key(), key());
        let root = CaPlan::root(&cluster(), Validity::starting(START, defaults::ROOT_LIFETIME));
        let root = Issuer::self_signed(&root, Serial::from_random([1; 16]), &root_key).unwrap();
        let plan = CaPlan::issuer(&cluster(), "m1", Validity::starting(START, defaults::ISSUER_LIFETIME));
        let serial = Serial::from_random([2; 16]);
        let issuer = root.sign_ca(&plan, issuer_key.public_key(), serial, &root_key).unwrap();
        let store = MemStore::default();
        World { store, now: START, root, root_key, issuer, issuer_key, serials: 10, log: Vec::new() }
    }

    pub(crate) fn genesis(&mut self, settings: Settings) -> Command {
        let mut leaf = |identity: SpiffeId| {
            let plan = settings.plan(identity, key().public_key().clone(), Vec::new(), self.now);
            let serial = self.serial();
            self.issuer.sign_leaf(&plan, serial, &self.issuer_key).unwrap()
        };
        let manager_der = leaf(identity(Role::Manager, "m1"));
        let operator_der = leaf(operator());
        Command::Genesis(Genesis {
            cluster: cluster(),
            settings,
            root_der: self.root.certificate().der.clone(),
            root_key_sealed: b"sealed".to_vec(),
            issuer_der: self.issuer.certificate().der.clone(),
            manager_der,
            operator_der,
            generation: 0,
        })
    }

    pub(crate) fn serial(&mut self) -> Serial {
        self.serials += 1;
        Serial::from_random([self.serials; 16])
    }

    pub(crate) fn apply(&mut self, command: &Command) -> Result<Reply, Refusal> {
        self.log.push((self.now, command.clone()));
        apply(&mut self.store, self.now, command).unwrap()
    }

    pub(crate) fn wait(&mut self, time: Lifetime) {
        self.now = self.now.plus(time);
    }

    /// A token for any one worker.
    pub(crate) fn token(&self, number: u8) -> CreateToken {
        CreateToken {
            secret_hash: secret(number),
            root: self.root.key_hash(),
            role: Role::Worker,
            id: None,
            sans: Vec::new(),
            ttl: defaults::TOKEN_TTL,
            uses: 1,
            replace: false,
            grant: Grant::None,
            by: operator(),
        }
    }

    pub(crate) fn create(&mut self, token: CreateToken) -> Result<TokenId, Refusal> {
        match self.apply(&Command::CreateToken(token))? {
            Reply::TokenCreated { token, .. } => Ok(token),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn ask(&self, token: u8, name: &str, key: &PrivateKey) -> JoinAsk {
        let public_key = key.public_key().clone();
        JoinAsk { secret_hash: secret(token), role: Role::Worker, id: id(name), public_key }
    }

    /// Plans, signs with the next serial, and wraps it up. An answer given before is signed as nothing.
    pub(crate) fn admit(&mut self, ask: &JoinAsk) -> Result<Command, Refusal> {
        let admission = plan_join(&self.store, self.now, ask).unwrap()?;
        let der = self.sign(admission);
        Ok(Command::Admit { ask: ask.clone(), planned_at: self.now, der })
    }

    pub(crate) fn renewal(&mut self, ask: &RenewAsk) -> Result<Command, Refusal> {
        let admission = plan_renew(&self.store, self.now, ask).unwrap()?;
        let der = self.sign(admission);
        Ok(Command::Renew { ask: ask.clone(), planned_at: self.now, der })
    }

    fn sign(&mut self, admission: Admission) -> Vec<u8> {
        match admission {
            Admission::New(plan) => {
                let serial = self.serial();
                self.issuer.sign_leaf(&plan, serial, &self.issuer_key).unwrap()
            }
            Admission::Again { der } => der,
        }
    }

    pub(crate) fn join(&mut self, token: u8, name: &str, key: &PrivateKey) -> Result<Issued, Refusal> {
        let ask = self.ask(token, name, key);
        let command = self.admit(&ask)?;
        match self.apply(&command)? {
            Reply::Admitted(issued) => Ok(issued),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn renew(
        &mut self,
        node: &SpiffeId,
        from: CertId,
        key: &PrivateKey,
    ) -> Result<Issued, Refusal> {
        let ask = RenewAsk { node: node.clone(), from, public_key: key.public_key().clone() };
        let command = self.renewal(&ask)?;
        match self.apply(&command)? {
            Reply::Renewed(issued) => Ok(issued),
            other => panic!("{other:?}"),
        }
    }

    /// A worker with a token of its own, number `token`.
    pub(crate) fn worker(&mut self, token: u8, name: &str) -> Node {
        let create = self.token(token);
        self.create(create).unwrap();
        let issued = self.join(token, name, &key()).unwrap();
        Node { identity: issued.node, cert: issued.cert }
    }

    /// A second person who may do everything.
    pub(crate) fn admin(&mut self, token: u8, name: &str) {
        let create = CreateToken { role: Role::Client, grant: Grant::Admin, ..self.token(token) };
        self.create(create).unwrap();
        let ask = JoinAsk { role: Role::Client, ..self.ask(token, name, &key()) };
        let command = self.admit(&ask).unwrap();
        self.apply(&command).unwrap();
    }

    /// An issuer below the root, not yet known to the cluster.
    pub(crate) fn fresh_issuer(&mut self, name: &str) -> (Issuer, PrivateKey) {
        let (key, serial) = (key(), self.serial());
        let validity = Validity::starting(self.now, defaults::ISSUER_LIFETIME);
        let plan = CaPlan::issuer(&cluster(), name, validity);
        (self.root.sign_ca(&plan, key.public_key(), serial, &self.root_key).unwrap(), key)
    }

    /// A second manager, joined with token `token` and enlisted; the founder has announced itself.
    pub(crate) fn second_manager(&mut self, token: u8) -> (SpiffeId, Issuer, PrivateKey) {
        let (m1, address) = (manager("m1"), "m1.internal:7443".to_owned());
        self.apply(&Command::Announce { node: m1.clone(), address }).unwrap();
        self.join_manager(token);
        let (issuer, key) = self.fresh_issuer("m2");
        let enlist = self.enlist("m2", &issuer);
        self.apply(&Command::Enlist(enlist)).unwrap();
        (manager("m2"), issuer, key)
    }

    /// The node `m2` of role manager, without a number yet.
    pub(crate) fn join_manager(&mut self, token: u8) {
        let create = CreateToken { role: Role::Manager, id: Some(id("m2")), ..self.token(token) };
        self.create(create).unwrap();
        let ask = JoinAsk { role: Role::Manager, ..self.ask(token, "m2", &key()) };
        let command = self.admit(&ask).unwrap();
        self.apply(&command).unwrap();
    }

    pub(crate) fn enlist(&self, name: &str, issuer: &Issuer) -> Enlist {
        Enlist {
            node: manager(name),
            address: format!("{name}.internal:7443"),
            issuer_der: issuer.certificate().der.clone(),
            voter: true,
            by: manager("m1"),
        }
    }

    pub(crate) fn revoke(&mut self, target: Target) -> Result<Reply, Refusal> {
        self.apply(&Command::Revoke { target, reason: Reason::KeyCompromise, by: operator() })
    }

    pub(crate) fn direct(&mut self, node: &SpiffeId) -> Result<Reply, Refusal> {
        let directive = Directive::RenewNow;
        self.apply(&Command::Direct { node: node.clone(), directive, by: operator() })
    }

    pub(crate) fn add_issuer(&mut self, lifetime: Lifetime) -> Result<(Issuer, PrivateKey), Refusal> {
        let (key, serial) = (key(), self.serial());
        let plan = CaPlan::issuer(&cluster(), "m2", Validity::starting(self.now, lifetime));
        let issuer = self.root.sign_ca(&plan, key.public_key(), serial, &self.root_key).unwrap();
        let der = issuer.certificate().der.clone();
        self.apply(&Command::AddIssuer { der, by: operator() })?;
        Ok((issuer, key))
    }
}
