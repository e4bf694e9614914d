//! Joining: five refusals for five causes, retries, races for the last use, ids that are taken.

use certus_pki::{
    Explain, Grant, Lifetime, Reason, Role, San, Serial, Sha256, Signer, UnixTime, code, defaults,
};

use crate::store::{Store, Table};
use crate::tests::{World, id, key, operator, secret, worker};
use crate::{
    Admission, Barred, Command, Refusal, Reply, Target, cert, cluster, due, latest_cert, node, plan_join,
    token,
};

#[test]
fn a_node_joins_with_what_its_token_says() {
    let mut world = World::founded();
    let mut create = world.token(1);
    create.sans = vec!["web-1.internal".parse().unwrap(), "10.0.0.7".parse().unwrap()];
    create.id = Some(id("web-1"));
    let sans: Vec<San> = create.sans.clone();
    let token_id = world.create(create).unwrap();
    let issued = world.join(1, "web-1", &key()).unwrap();
    assert!(!issued.again);
    let record = node(&world.store, &worker("web-1")).unwrap().unwrap();
    assert_eq!((record.sans, record.grant, record.newest), (sans, Grant::None, issued.cert));
    assert_eq!(record.admitted_by, Some(token_id));
    assert_eq!(token(&world.store, &token_id).unwrap().unwrap().used, 1);
    let held = latest_cert(&world.store, &worker("web-1")).unwrap().unwrap();
    assert_eq!(held.der, issued.der);
    assert_eq!(held.not_after, world.now.plus(defaults::LEAF_LIFETIME));
    assert_eq!(held.renew_by.secs_since(world.now) / 86_400, 60);
    let overdue = due(&world.store, UnixTime::from_secs(i64::MAX), 10).unwrap();
    assert!(overdue.iter().any(|due| due.node == worker("web-1") && due.renew_by == held.renew_by));
    assert_eq!(
        due(&world.store, held.renew_by, 10).unwrap().iter().filter(|d| d.node == worker("web-1")).count(),
        0
    );
}

#[test]
fn each_cause_has_its_own_refusal() {
    let mut world = World::founded();
    let mut named = world.token(1);
    named.id = Some(id("web-1"));
    let token_id = world.create(named).unwrap();
    let spare = world.token(2);
    let spare = world.create(spare).unwrap();

    let codes = |world: &mut World, token, name: &str| world.join(token, name, &key()).unwrap_err().code();
    assert_eq!(codes(&mut world, 9, "web-1"), code::UNKNOWN_TOKEN);
    assert_eq!(codes(&mut world, 1, "web-2"), code::TOKEN_WRONG_ID);
    let mut ask = world.ask(1, "web-1", &key());
    ask.role = Role::Client;
    assert_eq!(world.admit(&ask).unwrap_err().code(), code::TOKEN_WRONG_ROLE);
    world.join(1, "web-1", &key()).unwrap();
    assert_eq!(codes(&mut world, 1, "web-1"), code::TOKEN_USED_UP);
    world.apply(&Command::RevokeToken { token: spare, by: operator() }).unwrap();
    assert_eq!(codes(&mut world, 2, "web-2"), code::TOKEN_REVOKED);
    let again = world.apply(&Command::RevokeToken { token: spare, by: operator() });
    assert!(matches!(again, Err(Refusal::TokenRevoked { .. })));
    world.wait(defaults::TOKEN_TTL);
    assert_eq!(codes(&mut world, 1, "web-1"), code::TOKEN_EXPIRED);
    assert_eq!(token(&world.store, &token_id).unwrap().unwrap().used, 1);
}

#[test]
fn an_expired_token_says_when_by_whom_and_what_to_do() {
    let mut world = World::founded();
    let create = world.token(1);
    world.create(create).unwrap();
    world.wait(Lifetime::from_hours(27));
    let explained = world.join(1, "web-3", &key()).unwrap_err().explain();
    assert_eq!(
        explained.to_string(),
        "CT-2103: the token expired 3 h ago (now 2026-11-23T03:00:00Z; expired 2026-11-23T00:00:00Z, \
         made by spiffe://prod/client/operator with --ttl 1d)"
    );
    assert_eq!(explained.hint.as_deref(), Some("certus token create --role worker --id web-3"));
}

#[test]
fn the_same_token_and_key_get_the_same_certificate() {
    let mut world = World::founded();
    let create = world.token(1);
    let token_id = world.create(create).unwrap();
    let key = key();
    let first = world.join(1, "web-1", &key).unwrap();
    world.wait(Lifetime::from_days(3));
    let state = world.store.clone();
    let ask = world.ask(1, "web-1", &key);
    let der = first.der.clone();
    assert_eq!(plan_join(&world.store, world.now, &ask).unwrap(), Ok(Admission::Again { der }));
    let second = world.join(1, "web-1", &key).unwrap();
    assert!(second.again);
    assert_eq!((second.cert, second.der), (first.cert, first.der));
    assert_eq!(world.store, state, "a retry writes nothing");
    assert_eq!(token(&world.store, &token_id).unwrap().unwrap().used, 1);
    // Not under another id, and not once it has ended.
    assert_eq!(world.join(1, "web-2", &key).unwrap_err().code(), code::TOKEN_EXPIRED);
    world.wait(defaults::LEAF_LIFETIME);
    assert_eq!(world.join(1, "web-1", &key).unwrap_err().code(), code::TOKEN_EXPIRED);
}

#[test]
fn of_two_that_race_for_the_last_use_exactly_one_wins() {
    let mut world = World::founded();
    let create = world.token(1);
    world.create(create).unwrap();
    let (one, other) = (world.ask(1, "web-1", &key()), world.ask(1, "web-2", &key()));
    // Both are planned and signed before either is applied.
    let (one, other) = (world.admit(&one).unwrap(), world.admit(&other).unwrap());
    let (one, other) = (world.apply(&one), world.apply(&other));
    assert!(matches!(one, Ok(Reply::Admitted(_))));
    assert!(matches!(other, Err(Refusal::TokenUsedUp { uses: 1, .. })), "{other:?}");
    assert_eq!(node(&world.store, &worker("web-2")).unwrap(), None);
}

#[test]
fn of_two_that_race_with_one_key_the_second_gets_the_first_ones_certificate() {
    let mut world = World::founded();
    let create = world.token(1);
    world.create(create).unwrap();
    let ask = world.ask(1, "web-1", &key());
    let (one, other) = (world.admit(&ask).unwrap(), world.admit(&ask).unwrap());
    let Ok(Reply::Admitted(one)) = world.apply(&one) else { panic!() };
    let Ok(Reply::Admitted(other)) = world.apply(&other) else { panic!() };
    assert!(other.again && other.cert == one.cert && other.der == one.der);
}

#[test]
fn an_id_in_use_is_not_taken_over() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    let mut create = world.token(2);
    create.id = Some(id("web-1"));
    world.create(create).unwrap();
    let refusal = world.join(2, "web-1", &key()).unwrap_err();
    assert_eq!(refusal.code(), code::ID_IN_USE);
    let hint = refusal.explain().hint.unwrap();
    assert_eq!(hint, "certus token create --role worker --id web-1 --replace");
    // Neither by a node that raced with the first.
    let create = world.token(3);
    world.create(create).unwrap();
    let ask = world.ask(3, "web-7", &key());
    let late = world.admit(&ask).unwrap();
    world.worker(4, "web-7");
    assert!(matches!(world.apply(&late), Err(Refusal::IdInUse { .. })));
    assert_eq!(cert(&world.store, &held.cert).unwrap().unwrap().revoked, None);
}

#[test]
fn a_replacing_token_begins_a_new_lineage_and_revokes_the_old() {
    let mut world = World::founded();
    let first = key();
    let create = world.token(1);
    world.create(create).unwrap();
    let old = world.join(1, "web-1", &first).unwrap();
    world.wait(Lifetime::from_days(60));
    let newer = world.renew(&old.node, old.cert, &key()).unwrap();
    let mut create = world.token(2);
    (create.id, create.replace) = (Some(id("web-1")), true);
    world.create(create).unwrap();
    let before = crate::revision(&world.store).unwrap();
    let kept = key();
    let issued = world.join(2, "web-1", &kept).unwrap();
    assert_eq!(crate::revision(&world.store).unwrap(), before + 1);
    for ended in [old.cert, newer.cert] {
        let record = cert(&world.store, &ended).unwrap().unwrap();
        assert_eq!(record.revoked, Some((world.now, Reason::Superseded)));
    }
    let bundle = crate::bundle(&world.store).unwrap().unwrap();
    assert_eq!(bundle.revocations().len(), 2);
    let record = node(&world.store, &worker("web-1")).unwrap().unwrap();
    assert_eq!((record.newest, record.previous), (issued.cert, None));
    // The old key is not let in again, not even by a token made for the id.
    let mut create = world.token(3);
    (create.id, create.replace) = (Some(id("web-1")), true);
    world.create(create).unwrap();
    let refusal = world.join(3, "web-1", &first).unwrap_err();
    assert!(matches!(refusal, Refusal::RenewalBarred { why: Barred::KeyRevoked { .. }, .. }), "{refusal:?}");
    // Nor does the holder take its own place with the key it has.
    let refusal = world.join(3, "web-1", &kept).unwrap_err();
    assert!(matches!(refusal, Refusal::RenewalBarred { why: Barred::KeyNotFresh, .. }), "{refusal:?}");
}

#[test]
fn a_certificate_that_is_not_as_planned_is_not_recorded() {
    let mut world = World::founded();
    let create = world.token(1);
    world.create(create).unwrap();
    let mine = key();
    let ask = world.ask(1, "web-1", &mine);
    let Ok(Admission::New(plan)) = plan_join(&world.store, world.now, &ask).unwrap() else { panic!() };
    let planned_at = world.now;
    let state = world.store.clone();
    let mut try_with = |change: &dyn Fn(&mut certus_pki::LeafPlan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        let serial = world.serial();
        let der = world.issuer.sign_leaf(&plan, serial, &world.issuer_key).unwrap();
        world.apply(&Command::Admit { ask: ask.clone(), planned_at, der }).unwrap_err()
    };
    let wrong = [
        try_with(&|plan| plan.identity = worker("web-2")),
        try_with(&|plan| plan.identity.role = Role::Manager),
        try_with(&|plan| plan.public_key = key().public_key().clone()),
        try_with(&|plan| plan.sans = vec!["evil.internal".parse().unwrap()]),
        try_with(&|plan| plan.validity.not_after = plan.validity.not_after.plus(Lifetime::from_secs(1))),
    ];
    for refusal in wrong {
        assert!(matches!(refusal, Refusal::PlanMismatch { .. }), "{refusal:?}");
    }
    let mut foreign = World::unfounded();
    let serial = foreign.serial();
    let der = foreign.issuer.sign_leaf(&plan, serial, &foreign.issuer_key).unwrap();
    let refusal = world.apply(&Command::Admit { ask: ask.clone(), planned_at, der }).unwrap_err();
    assert!(matches!(refusal, Refusal::IssuerNotActive { .. }), "{refusal:?}");
    assert_eq!(world.store, state);
}

#[test]
fn only_an_active_issuer_that_lives_long_enough_signs() {
    let mut world = World::founded();
    let create = world.token(1);
    world.create(create).unwrap();
    let ask = world.ask(1, "web-1", &key());
    let command = world.admit(&ask).unwrap();
    let good = crate::issuers(&world.store).unwrap().pop().unwrap();
    let mut with = |change: &dyn Fn(&mut crate::IssuerRecord)| {
        let mut issuer = good.clone();
        change(&mut issuer);
        let row = crate::format::encode_issuer(&issuer);
        world.store.put(Table::Issuers, issuer.key_hash.as_bytes(), &row).unwrap();
        world.apply(&command)
    };
    assert!(matches!(with(&|issuer| issuer.active = false), Err(Refusal::IssuerNotActive { .. })));
    assert!(matches!(with(&|issuer| issuer.subject_der.clear()), Err(Refusal::IssuerNotActive { .. })));
    let soon = with(&|issuer| issuer.not_after = UnixTime::from_secs(0));
    assert!(matches!(soon, Err(Refusal::EndsTooSoon { .. })), "{soon:?}");
    with(&|_| ()).unwrap();
}

#[test]
fn a_plan_of_another_time_is_stale() {
    let mut world = World::founded();
    let create = world.token(1);
    world.create(create).unwrap();
    let ask = world.ask(1, "web-1", &key());
    let command = world.admit(&ask).unwrap();
    world.wait(Lifetime::from_secs(121));
    assert!(matches!(world.apply(&command), Err(Refusal::StalePlan { .. })));
    world.now = world.now.minus(Lifetime::from_secs(1));
    world.apply(&command).unwrap();
}

#[test]
fn i5_serials_never_repeat() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    let create = world.token(2);
    world.create(create).unwrap();
    let ask = world.ask(2, "web-2", &key());
    let Ok(Admission::New(plan)) = plan_join(&world.store, world.now, &ask).unwrap() else { panic!() };
    let sign = |world: &World, serial: Serial| {
        let der = world.issuer.sign_leaf(&plan, serial, &world.issuer_key).unwrap();
        Command::Admit { ask: ask.clone(), planned_at: world.now, der }
    };
    let command = sign(&world, held.cert.serial);
    assert_eq!(world.apply(&command), Err(Refusal::SerialRepeated { cert: held.cert }));
    // Not even under another issuer.
    let (issuer, issuer_key) = world.add_issuer(defaults::ISSUER_LIFETIME).unwrap();
    (world.issuer, world.issuer_key) = (issuer, issuer_key);
    let command = sign(&world, held.cert.serial);
    assert_eq!(world.apply(&command), Err(Refusal::SerialRepeated { cert: held.cert }));
    let fresh = world.serial();
    let command = sign(&world, fresh);
    world.apply(&command).unwrap();
    // Nor does a revision, or the time.
    let before = cluster(&world.store).unwrap().unwrap();
    world.revoke(Target::Cert(held.cert)).unwrap();
    let after = cluster(&world.store).unwrap().unwrap();
    assert!(after.epoch > before.epoch && after.last_at >= before.last_at);
}

#[test]
fn a_secret_that_shares_only_its_beginning_is_unknown() {
    let mut world = World::founded();
    let create = world.token(1);
    world.create(create).unwrap();
    let mut bytes = *secret(1).as_bytes();
    bytes[31] ^= 1;
    let mut ask = world.ask(1, "web-1", &key());
    ask.secret_hash = Sha256::from_bytes(bytes);
    assert!(matches!(world.admit(&ask), Err(Refusal::UnknownToken { .. })));
}
