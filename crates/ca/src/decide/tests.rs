//! The life of a cluster in small steps: founding, tokens, joining, renewing, revoking.

mod generation;
mod join;
mod laws;
mod managers;
mod renew;
mod revoke;
mod root;

use certus_pki::{
    CaPlan, Change, Directive, Epoch, Explain, Grant, Lifetime, Purpose, Role, Serial, Signer, UnixTime,
    Validity, code, defaults, verify_peer,
};

use crate::store::MemStore;
use crate::tests::{START, World, cluster, identity, key, operator, settings, worker};
use crate::{
    Command, Deltas, NodeState, Refusal, Reply, Settings, bundle, check_settings, deltas_since, node, token,
};

#[test]
fn nothing_is_done_before_the_founding_and_no_second_one_after() {
    let mut world = World::unfounded();
    let token = world.token(1);
    assert_eq!(world.apply(&Command::CreateToken(token)), Err(Refusal::NotFounded));
    assert_eq!(world.store, MemStore::default());

    let genesis = world.genesis(settings());
    let epoch = Epoch { generation: 0, revision: 1 };
    assert_eq!(world.apply(&genesis), Ok(Reply::Founded { epoch }));
    let second = world.apply(&genesis).unwrap_err();
    assert_eq!(second, Refusal::AlreadyFounded { cluster: cluster(), at: START });
    assert_eq!(second.explain().code, code::ALREADY_FOUNDED);
}

#[test]
fn the_founded_cluster_trusts_its_manager_and_its_operator() {
    let mut world = World::unfounded();
    let genesis = world.genesis(settings());
    world.apply(&genesis).unwrap();
    let Command::Genesis(genesis) = genesis else { panic!() };
    let bundle = bundle(&world.store).unwrap().unwrap();
    for (der, role, purpose) in [
        (&genesis.manager_der, Role::Manager, Purpose::Server),
        (&genesis.operator_der, Role::Client, Purpose::Client),
    ] {
        let peer = verify_peer(&[der, &genesis.issuer_der], &bundle, START, purpose).unwrap();
        let record = node(&world.store, peer.identity.as_ref().unwrap()).unwrap().unwrap();
        assert_eq!((record.identity.role, record.newest), (role, peer.cert));
    }
    assert_eq!(node(&world.store, &operator()).unwrap().unwrap().grant, Grant::Admin);
    assert_eq!(node(&world.store, &identity(Role::Manager, "m1")).unwrap().unwrap().grant, Grant::None);
}

#[test]
fn a_founding_whose_certificates_are_not_its_own_is_refused() {
    let mut world = World::unfounded();
    let Command::Genesis(genesis) = world.genesis(settings()) else { panic!() };
    let mut swapped = genesis.clone();
    std::mem::swap(&mut swapped.manager_der, &mut swapped.operator_der);
    let mut foreign = genesis.clone();
    foreign.root_der = World::unfounded().root.certificate().der.clone();
    let mut renamed = genesis.clone();
    renamed.cluster = "other".parse().unwrap();
    let mut short = genesis.clone();
    short.settings.leaf_lifetime = Lifetime::from_days(30);
    for wrong in [swapped, foreign, renamed, short] {
        let refusal = world.apply(&Command::Genesis(wrong)).unwrap_err();
        assert_eq!(refusal.code(), code::PLAN_MISMATCH, "{refusal:?}");
    }
    world.wait(Lifetime::from_hours(1));
    let late = world.apply(&Command::Genesis(genesis)).unwrap_err();
    assert!(matches!(late, Refusal::StalePlan { .. }), "{late:?}");
    assert_eq!(world.store, MemStore::default());
}

#[test]
fn an_issuer_must_outlive_its_leaves_three_times_over() {
    let days = |leaf, issuer| Settings {
        leaf_lifetime: Lifetime::from_days(leaf),
        issuer_lifetime: Lifetime::from_days(issuer),
    };
    assert_eq!(check_settings(&days(90, 270)), Ok(()));
    let short = check_settings(&days(90, 269)).unwrap_err();
    assert!(matches!(short, Refusal::IssuerTooShort { .. }));
    assert_eq!(
        short.explain().to_string(),
        "CT-2205: an issuer must live 3 times as long as its leaves \
         (expected an issuer lifetime of at least 270d; came 269d; leaf lifetime 90d)"
    );
    let tiny = Settings { leaf_lifetime: Lifetime::from_secs(9), issuer_lifetime: Lifetime::from_days(1) };
    assert!(matches!(check_settings(&tiny), Err(Refusal::OutOfBounds { .. })));
    assert!(matches!(check_settings(&days(90, 4000)), Err(Refusal::OutOfBounds { .. })));
}

#[test]
fn clients_are_not_made_to_renew_at_the_pace_of_daemons() {
    let fast =
        Settings { leaf_lifetime: Lifetime::from_minutes(2), issuer_lifetime: defaults::ISSUER_LIFETIME };
    assert_eq!(fast.lifetime_of(Role::Worker), Lifetime::from_minutes(2));
    assert_eq!(fast.lifetime_of(Role::Client), defaults::LEAF_LIFETIME);
    let tight =
        Settings { leaf_lifetime: Lifetime::from_minutes(2), issuer_lifetime: Lifetime::from_minutes(6) };
    assert_eq!(tight.lifetime_of(Role::Client), Lifetime::from_minutes(2));
}

#[test]
fn tokens_stay_within_their_bounds() {
    let mut world = World::founded();
    let make = |change: &dyn Fn(&mut crate::CreateToken)| {
        let mut token = world.token(1);
        change(&mut token);
        token
    };
    let wrong = [
        make(&|token| token.ttl = Lifetime::from_days(31)),
        make(&|token| token.uses = 0),
        make(&|token| token.uses = 100_001),
        make(&|token| (token.id, token.uses) = (Some("web-1".parse().unwrap()), 2)),
        make(&|token| token.sans = vec!["web.internal".parse().unwrap(); 101]),
        make(&|token| token.replace = true),
        make(&|token| token.grant = Grant::Read),
    ];
    for token in wrong {
        let refusal = world.create(token).unwrap_err();
        assert!(matches!(refusal, Refusal::OutOfBounds { .. }), "{refusal:?}");
    }
    let mut foreign = world.token(1);
    foreign.root = certus_pki::Sha256::of(b"another root");
    assert!(matches!(world.create(foreign), Err(Refusal::RootNotActive { .. })));
    let good = world.token(1);
    let id = world.create(good.clone()).unwrap();
    assert!(token(&world.store, &id).unwrap().unwrap().is_live(world.now));
    assert!(matches!(world.create(good), Err(Refusal::AlreadyExists { .. })));
}

#[test]
fn nobody_hands_on_more_than_it_has() {
    let mut world = World::founded();
    let client = |world: &World, number: u8, grant: Grant| {
        let mut token = world.token(number);
        (token.role, token.grant) = (Role::Client, grant);
        token
    };
    let operate = client(&world, 1, Grant::Operate);
    world.create(operate).unwrap();
    let mut ask = world.ask(1, "ann", &crate::tests::key());
    ask.role = Role::Client;
    let command = world.admit(&ask).unwrap();
    world.apply(&command).unwrap();
    let ann = identity(Role::Client, "ann");
    assert_eq!(node(&world.store, &ann).unwrap().unwrap().grant, Grant::Operate);

    let mut admin = client(&world, 2, Grant::Admin);
    admin.by = ann.clone();
    let mut manager = world.token(3);
    (manager.role, manager.by) = (Role::Manager, ann.clone());
    for token in [admin, manager] {
        assert!(matches!(world.create(token), Err(Refusal::NotPermitted { .. })));
    }
    let mut plain = world.token(4);
    plain.by = ann;
    world.create(plain).unwrap();
    let mut stranger = world.token(5);
    stranger.by = worker("nobody");
    assert!(matches!(world.create(stranger), Err(Refusal::NotPermitted { .. })));
}

#[test]
fn a_new_issuer_is_pushed_and_its_leaves_are_recorded() {
    let mut world = World::founded();
    let before = crate::epoch(&world.store).unwrap();
    let (issuer, key) = world.add_issuer(defaults::ISSUER_LIFETIME).unwrap();
    let Deltas::Changed(deltas) = deltas_since(&world.store, before, 10).unwrap() else { panic!() };
    assert!(
        matches!(&deltas[0].changes[..], [Change::IssuerAdded(added)] if added.key_hash == issuer.key_hash())
    );
    assert!(bundle(&world.store).unwrap().unwrap().has_issuer(&issuer.key_hash()));
    (world.issuer, world.issuer_key) = (issuer, key);
    let node = world.worker(1, "web-1");
    assert_eq!(node.cert.issuer, world.issuer.key_hash());
}

#[test]
fn what_is_no_issuer_is_not_added() {
    let mut world = World::founded();
    assert!(matches!(world.add_issuer(Lifetime::from_days(200)), Err(Refusal::IssuerTooShort { .. })));
    let foreign = World::unfounded().issuer.certificate().der.clone();
    let root = world.root.certificate().der.clone();
    let known = world.issuer.certificate().der.clone();
    let add = |der: &[u8]| Command::AddIssuer { der: der.to_vec(), by: operator() };
    assert!(matches!(world.apply(&add(&foreign)), Err(Refusal::PlanMismatch { .. })));
    assert!(matches!(world.apply(&add(&root)), Err(Refusal::PlanMismatch { .. })));
    assert!(matches!(world.apply(&add(b"nonsense")), Err(Refusal::PlanMismatch { .. })));
    assert!(matches!(world.apply(&add(&known)), Err(Refusal::AlreadyExists { .. })));
}

/// The root's name and key identifier are not secret; its signature is what counts.
#[test]
fn an_issuer_that_only_names_the_root_is_not_added() {
    let mut world = World::founded();
    let plan = CaPlan::issuer(&cluster(), "m2", Validity::starting(START, defaults::ISSUER_LIFETIME));
    let good =
        world.root.sign_ca(&plan, key().public_key(), Serial::from_random([9; 16]), &world.root_key).unwrap();
    let mut forged = good.certificate().der.clone();
    *forged.last_mut().unwrap() ^= 1;
    let refusal = world.apply(&Command::AddIssuer { der: forged, by: operator() }).unwrap_err();
    assert!(
        matches!(&refusal, Refusal::PlanMismatch { what, .. } if what == "issuer: signature"),
        "{refusal}"
    );
    assert_eq!(crate::issuers(&world.store).unwrap().len(), 1);
    world.apply(&Command::AddIssuer { der: good.certificate().der.clone(), by: operator() }).unwrap();
}

#[test]
fn issuers_that_ended_leave_the_bundle_when_the_next_is_added() {
    let mut world = World::founded();
    let first = world.issuer.key_hash();
    world.wait(Lifetime::from_days(300));
    world.add_issuer(defaults::ISSUER_LIFETIME).unwrap();
    let trusted = |world: &World| bundle(&world.store).unwrap().unwrap();
    assert!(trusted(&world).has_issuer(&first), "it has not ended yet");
    world.wait(Lifetime::from_days(100));
    let mut follower = trusted(&world);
    let before = follower.epoch();
    world.add_issuer(defaults::ISSUER_LIFETIME).unwrap();
    assert!(!trusted(&world).has_issuer(&first) && trusted(&world).issuers().len() == 2);
    let Deltas::Changed(deltas) = deltas_since(&world.store, before, 10).unwrap() else { panic!() };
    deltas.iter().for_each(|delta| follower.apply(delta));
    // What has ended is refused by its end, whether or not it is remembered as struck.
    let follower = follower.with_struck([]);
    assert_eq!(follower, trusted(&world), "who is told of the change has what a newcomer has");
}

#[test]
fn orders_go_to_active_nodes_only() {
    let mut world = World::founded();
    let node = world.worker(1, "web-1");
    let before = crate::epoch(&world.store).unwrap();
    let revision = before.revision + 1;
    assert_eq!(world.direct(&node.identity), Ok(Reply::Directed { revision }));
    let removed =
        Command::Direct { node: node.identity.clone(), directive: Directive::Removed, by: operator() };
    assert!(matches!(world.apply(&removed), Err(Refusal::OutOfBounds { .. })));
    assert!(matches!(world.direct(&worker("web-9")), Err(Refusal::UnknownNode { .. })));
    world.revoke(crate::Target::Node(node.identity.clone())).unwrap();
    assert!(matches!(world.direct(&node.identity), Err(Refusal::AlreadyRevoked { .. })));
}

#[test]
fn time_does_not_go_back() {
    let mut world = World::founded();
    let create = world.token(1);
    world.create(create).unwrap();
    world.now = START.plus(Lifetime::from_hours(25));
    let create = world.token(2);
    world.create(create).unwrap();
    world.now = START;
    let refusal = world.join(1, "web-1", &crate::tests::key()).unwrap_err();
    assert!(matches!(refusal, Refusal::TokenExpired { now, .. } if now > START), "{refusal:?}");
    let latest = START.plus(Lifetime::from_hours(25));
    let create = world.token(3);
    let id = world.create(create).unwrap();
    assert_eq!(token(&world.store, &id).unwrap().unwrap().created_at, latest);
    assert_eq!(crate::cluster(&world.store).unwrap().unwrap().last_at, latest);
}

#[test]
fn every_change_is_in_the_audit_chain() {
    let mut world = World::founded();
    let node = world.worker(1, "web-1");
    world.revoke(crate::Target::Node(node.identity.clone())).unwrap();
    world.revoke(crate::Target::Node(node.identity.clone())).unwrap_err();
    let page = crate::audit(&world.store, None, 100).unwrap();
    let refused: Vec<_> = page.items.iter().map(|record| record.refused).collect();
    assert_eq!(refused, [None, None, None, None, Some(code::ALREADY_REVOKED)]);
    for pair in page.items.windows(2) {
        assert_eq!(pair[1].previous, certus_pki::Sha256::of(&crate::format::encode_audit(&pair[0])));
        assert_eq!(pair[1].number, pair[0].number + 1);
    }
    let state = crate::node(&world.store, &node.identity).unwrap().unwrap().state;
    assert!(matches!(state, NodeState::Revoked { at, .. } if at == UnixTime::from_secs(START.secs())));
}
