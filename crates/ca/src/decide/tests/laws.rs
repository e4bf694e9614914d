//! What holds for every sequence of commands: refusals change nothing, equal logs give equal state,
//! and what was revoked stays so.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use certus_pki::{CertId, Grant, Lifetime, PrivateKey, Role, SpiffeId, TokenId, UnixTime};
use proptest::prelude::*;

use crate::store::{MemStore, Row, Table, View};
use crate::tests::{START, World, id, key, operator, secret, settings, worker};
use crate::{Command, NodeState, RenewAsk, Reply, Target, apply, cert, find_node, node, state_hash};

/// One step of a cluster's life; small numbers, so that steps meet each other.
#[derive(Clone, Debug)]
enum Step {
    Found,
    Token { token: u8, named: Option<u8>, uses: u32, replace: bool, role: Role, grant: Grant, days: u32 },
    VoidToken { token: u8 },
    Join { token: u8, node: u8, key: usize, tamper: bool },
    Renew { node: u8, back: usize, key: usize, tamper: bool },
    RevokeNode { node: u8 },
    RevokeCert { place: usize },
    Direct { node: u8 },
    Issuer { days: u32 },
    RepeatSerial,
    Replay { place: usize },
    Wait { hours: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let role = prop_oneof![9 => Just(Role::Worker), 1 => Just(Role::Client)];
    let grant = prop_oneof![9 => Just(Grant::None), 1 => Just(Grant::Read)];
    let named = prop_oneof![1 => Just(None), 1 => (0..3u8).prop_map(Some)];
    let uses = prop_oneof![1 => Just(0u32), 9 => Just(1), 2 => Just(2)];
    let days = prop_oneof![9 => 1..3u32, 1 => Just(40u32)];
    let token = (0..20u8, named, uses, prop::bool::weighted(0.1), role, grant, days);
    prop_oneof![
        1 => Just(Step::Found),
        8 => token.prop_map(|(token, named, uses, stray, role, grant, days)| {
            let replace = named.is_some() != stray;
            Step::Token { token, named, uses, replace, role, grant, days }
        }),
        1 => (0..20u8).prop_map(|token| Step::VoidToken { token }),
        12 => (0..20u8, 0..3u8, 0..KEYS, prop::bool::weighted(0.1))
            .prop_map(|(token, node, key, tamper)| Step::Join { token, node, key, tamper }),
        8 => (0..3u8, 0..3usize, 0..KEYS, prop::bool::weighted(0.1))
            .prop_map(|(node, back, key, tamper)| Step::Renew { node, back, key, tamper }),
        1 => (0..3u8).prop_map(|node| Step::RevokeNode { node }),
        1 => (2..9usize).prop_map(|place| Step::RevokeCert { place }),
        1 => (0..3u8).prop_map(|node| Step::Direct { node }),
        1 => prop_oneof![Just(100u32), Just(300)].prop_map(|days| Step::Issuer { days }),
        1 => Just(Step::RepeatSerial),
        2 => (0..40usize).prop_map(|place| Step::Replay { place }),
        1 => prop_oneof![4 => 1..5u32, 1 => Just(24 * 50)].prop_map(|hours| Step::Wait { hours }),
    ]
}

const KEYS: usize = 8;

/// The command that a step comes to in the world as it is. Where the plan says no, it is the command
/// of a manager that signs nevertheless.
fn command(world: &mut World, keys: &[PrivateKey], step: &Step) -> Option<Command> {
    match step {
        Step::Found => Some(world.genesis(settings())),
        Step::Token { token, named, uses, replace, role, grant, days } => {
            let mut create = world.token(*token);
            create.id = named.map(name);
            (create.uses, create.replace, create.role, create.grant) = (*uses, *replace, *role, *grant);
            create.ttl = Lifetime::from_days(*days);
            Some(Command::CreateToken(create))
        }
        Step::VoidToken { token } => {
            Some(Command::RevokeToken { token: TokenId::from(secret(*token)), by: operator() })
        }
        Step::Join { token, node, key, tamper } => {
            let ask = token_ask(world, *token, *node, &keys[*key]);
            let planned = world.admit(&ask).ok();
            let mut der = match planned {
                Some(Command::Admit { der, .. }) => der,
                _ => against_the_plan(world, worker(name(*node).as_str()), &keys[*key]),
            };
            if *tamper {
                der.truncate(der.len() / 2);
            }
            Some(Command::Admit { ask, planned_at: world.now, der })
        }
        Step::Renew { node, back, key, tamper } => {
            let record = find_node(&world.store, &name(*node)).unwrap().pop()?;
            let mut history: Vec<CertId> = held(&world.store, &record.identity);
            history.reverse();
            let from = *history.get(*back)?;
            let public_key = certus_pki::Signer::public_key(&keys[*key]).clone();
            let ask = RenewAsk { node: record.identity.clone(), from, public_key };
            let planned_at = world.now.minus(Lifetime::from_secs(if *tamper { 600 } else { 0 }));
            let der = match world.renewal(&ask).ok() {
                Some(Command::Renew { der, .. }) => der,
                _ => against_the_plan(world, record.identity, &keys[*key]),
            };
            Some(Command::Renew { ask, planned_at, der })
        }
        Step::RevokeNode { node } => {
            let record = find_node(&world.store, &name(*node)).unwrap().pop()?;
            Some(revoke(Target::Node(record.identity)))
        }
        Step::RevokeCert { place } => Some(revoke(Target::Cert(*every(&world.store).get(*place)?))),
        Step::Direct { node } => {
            let node = find_node(&world.store, &name(*node)).unwrap().pop()?.identity;
            Some(Command::Direct { node, directive: certus_pki::Directive::RenewNow, by: operator() })
        }
        Step::Issuer { days } => {
            let _ = world.add_issuer(Lifetime::from_days(*days));
            world.log.pop().map(|(_, command)| command)
        }
        Step::RepeatSerial => {
            world.serials -= 1;
            None
        }
        Step::Replay { place } => world.log.get(*place).map(|(_, command)| command.clone()),
        Step::Wait { hours } => {
            world.wait(Lifetime::from_hours(*hours));
            None
        }
    }
}

/// Joins with the token of that number, or with the one that names the node, if there is one.
fn token_ask(world: &World, token: u8, node: u8, key: &PrivateKey) -> crate::JoinAsk {
    let live = (0..20).filter(|number| {
        let found = crate::token(&world.store, &TokenId::from(secret(*number))).unwrap();
        found.is_some_and(|found| found.is_live(world.now) && found.id.is_none_or(|id| id == name(node)))
    });
    let numbers: Vec<u8> = live.collect();
    let chosen = numbers.get(usize::from(token) % (numbers.len() + 1)).copied().unwrap_or(token);
    world.ask(chosen, name(node).as_str(), key)
}

fn against_the_plan(world: &mut World, identity: SpiffeId, key: &PrivateKey) -> Vec<u8> {
    let plan = settings().plan(identity, certus_pki::Signer::public_key(key).clone(), Vec::new(), world.now);
    let serial = world.serial();
    world.issuer.sign_leaf(&plan, serial, &world.issuer_key).unwrap()
}

fn revoke(target: Target) -> Command {
    Command::Revoke { target, reason: certus_pki::Reason::KeyCompromise, by: operator() }
}

fn name(number: u8) -> certus_pki::NodeId {
    id(&format!("n{number}"))
}

fn rows(store: &MemStore, table: Table) -> Vec<Row> {
    store.scan(table, Bound::Unbounded, Bound::Unbounded, usize::MAX).unwrap()
}

fn every(store: &MemStore) -> Vec<CertId> {
    let rows = rows(store, Table::Certs);
    rows.iter().map(|(_, value)| crate::format::decode_cert(value).unwrap().cert).collect()
}

/// A node's certificates, oldest first.
fn held(store: &MemStore, identity: &SpiffeId) -> Vec<CertId> {
    let filter = crate::CertFilter { node: Some(identity.clone()), ..Default::default() };
    let page = crate::certs(store, &filter, None, 100).unwrap();
    page.items.into_iter().map(|record| record.cert).collect()
}

/// Everything but the audit.
fn truth(store: &MemStore) -> Vec<(Table, Row)> {
    let tables = Table::ALL.into_iter().filter(|table| *table != Table::Audit);
    tables
        .flat_map(|table| rows(store, table).into_iter().map(move |row| (table, row)))
        .filter(|(table, (key, _))| *table != Table::Meta || key != b"audit")
        .collect()
}

/// Whether the indexes say what the records say.
fn check_indexes(store: &MemStore) {
    let certs = rows(store, Table::Certs);
    assert_eq!(certs.len(), rows(store, Table::ByExpiry).len());
    assert_eq!(certs.len(), rows(store, Table::ByNode).len());
    let mut due = BTreeSet::new();
    for (_, value) in rows(store, Table::Nodes) {
        let node = crate::format::decode_node(&value).unwrap();
        let newest = cert(store, &node.newest).unwrap().unwrap();
        assert_eq!(newest.node, node.identity);
        if node.state == NodeState::Active && node.identity.role != Role::Client {
            due.insert((newest.renew_by, node.identity));
        }
    }
    let listed = crate::due(store, UnixTime::from_secs(i64::MAX), 1000).unwrap();
    let listed: BTreeSet<_> = listed.into_iter().map(|due| (due.renew_by, due.node)).collect();
    assert_eq!(due, listed);
    for (_, value) in rows(store, Table::Tokens) {
        let token = crate::format::decode_token(&value).unwrap();
        assert!(token.used <= token.uses);
    }
    for (key, _) in rows(store, Table::Revoked) {
        assert!(certs.iter().any(|(cert, _)| *cert == key));
    }
}

/// Runs the steps from a founded cluster and hands every command and its answer to `check`.
fn run(
    steps: &[Step],
    mut check: impl FnMut(&MemStore, &MemStore, &Command, &Result<Reply, crate::Refusal>),
) -> World {
    let keys: Vec<PrivateKey> = (0..KEYS).map(|_| key()).collect();
    let mut world = World::founded();
    for step in steps {
        let before = world.store.clone();
        let Some(command) = command(&mut world, &keys, step) else { continue };
        // Making an issuer applies it as a trial.
        world.store = before.clone();
        let reply = world.apply(&command);
        check(&before, &world.store, &command, &reply);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn i8_a_refused_command_changes_nothing(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps, |before, after, command, reply| {
            if reply.is_err() {
                assert_eq!(truth(before), truth(after), "{command:?}");
                let authenticated = !matches!(command, Command::Genesis(_) | Command::Admit { .. });
                let grown = rows(after, Table::Audit).len() - rows(before, Table::Audit).len();
                assert_eq!(grown, usize::from(authenticated), "{command:?}");
            }
            check_indexes(after);
        });
    }

    #[test]
    fn i2_equal_logs_give_equal_state(steps in prop::collection::vec(step(), 1..60)) {
        let world = run(&steps, |_, _, _, _| ());
        let mut replica = MemStore::default();
        for (at, command) in &world.log {
            // As a replica gets it: through its bytes.
            let bytes = crate::format::encode_command(command);
            let command = crate::format::decode_command(&bytes).unwrap();
            apply(&mut replica, *at, &command).unwrap().ok();
        }
        prop_assert_eq!(state_hash(&replica).unwrap(), state_hash(&world.store).unwrap());
        prop_assert_eq!(replica, world.store);
    }

    #[test]
    fn i10_what_was_revoked_stays_revoked(steps in prop::collection::vec(step(), 1..60)) {
        let mut gone: BTreeMap<SpiffeId, BTreeSet<CertId>> = BTreeMap::new();
        run(&steps, |before, after, command, reply| {
            match (command, reply) {
                (Command::Revoke { target: Target::Node(node), .. }, Ok(_)) => {
                    gone.insert(node.clone(), held(after, node).into_iter().collect());
                }
                (Command::Renew { ask, .. }, Ok(_)) => {
                    assert!(!gone.get(&ask.node).is_some_and(|certs| certs.contains(&ask.from)));
                }
                (Command::Admit { ask, .. }, Ok(Reply::Admitted(issued)))
                    if node(before, &issued.node).unwrap().is_some() && !issued.again =>
                {
                    let token = crate::token(before, &TokenId::from(ask.secret_hash)).unwrap().unwrap();
                    assert!(token.replace && token.id.as_ref() == Some(&issued.node.id));
                }
                _ => (),
            }
            for certs in gone.values() {
                for revoked in certs {
                    let record = cert(after, revoked).unwrap().unwrap();
                    // Those that had ended before their node was revoked needed no revocation.
                    let last_at = crate::cluster(after).unwrap().unwrap().last_at;
                    assert!(!record.is_live(START) || record.not_after < last_at);
                }
            }
        });
    }
}
