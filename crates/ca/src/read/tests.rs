//! Lists page without gaps or repeats, and read a bounded number of rows.

use certus_pki::{Lifetime, UnixTime};

use super::*;
use crate::limits::{CERTS_PER_NODE_MAX, CHANGES_KEPT, ROWS_READ_MAX};
use crate::store::Store;
use crate::tests::{World, id, key, worker};
use crate::{Refusal, Target};

fn collect<T>(mut page_after: impl FnMut(Option<&Cursor>) -> Page<T>) -> Vec<T> {
    let mut found = Vec::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = page_after(cursor.as_ref());
        found.extend(page.items);
        match page.next {
            Some(next) => cursor = Some(Cursor::from_bytes(next.as_bytes())),
            None => return found,
        }
    }
}

#[test]
fn pages_join_up() {
    let mut world = World::founded();
    for number in 0..7 {
        world.worker(number, &format!("web-{number}"));
    }
    for limit in [1, 2, 3, 7, 100] {
        let every = collect(|after| nodes(&world.store, &NodeFilter::default(), after, limit).unwrap());
        assert_eq!(every.len(), 9, "a manager, an operator, seven workers");
        let workers =
            NodeFilter { role: Some(certus_pki::Role::Worker), active: true, ..NodeFilter::default() };
        let workers = collect(|after| nodes(&world.store, &workers, after, limit).unwrap());
        let names: Vec<_> = workers.iter().map(|node| node.identity.id.to_string()).collect();
        assert_eq!(names, ["web-0", "web-1", "web-2", "web-3", "web-4", "web-5", "web-6"]);
        assert_eq!(collect(|after| tokens(&world.store, after, limit).unwrap()).len(), 7);
        assert_eq!(collect(|after| audit(&world.store, after, limit).unwrap()).len(), 15);
    }
}

#[test]
fn active_nodes_are_counted_as_a_list_of_them_would() {
    let mut world = World::founded();
    let check = |world: &World, expected: u64| {
        let filter = NodeFilter { active: true, ..NodeFilter::default() };
        let listed = collect(|after| nodes(&world.store, &filter, after, 3).unwrap());
        assert_eq!((listed.len() as u64, active_nodes(&world.store).unwrap()), (expected, expected));
    };
    check(&world, 2);
    let held = world.worker(1, "web-1");
    world.worker(2, "web-2");
    check(&world, 4);
    world.wait(Lifetime::from_days(60));
    let renewed = world.renew(&held.identity, held.cert, &key()).unwrap();
    world.revoke(Target::Cert(renewed.cert)).unwrap();
    check(&world, 4);
    world.revoke(Target::Node(held.identity)).unwrap();
    check(&world, 3);
}

#[test]
fn certificates_are_found_by_node_by_end_and_by_state() {
    let mut world = World::founded();
    let one = world.worker(1, "web-1");
    // An id that the other is the beginning of.
    let other = world.worker(2, "web-10");
    world.wait(Lifetime::from_days(60));
    let newest = world.renew(&one.identity, one.cert, &key()).unwrap();
    world.revoke(Target::Cert(one.cert)).unwrap();
    let find = |filter: CertFilter| {
        let found = collect(|after| certs(&world.store, &filter, after, 2).unwrap());
        found.into_iter().map(|record| record.cert).collect::<Vec<_>>()
    };
    let of = |node: &str| CertFilter { node: Some(worker(node)), ..CertFilter::default() };
    assert_eq!(find(of("web-1")), [one.cert, newest.cert]);
    assert_eq!(find(of("web-10")), [other.cert]);
    assert_eq!(find(CertFilter { newest: true, ..of("web-1") }), [newest.cert]);
    assert_eq!(find(CertFilter { live_at: Some(world.now), ..of("web-1") }), [newest.cert]);
    assert_eq!(find(CertFilter::default()).len(), 5);
    let soon = CertFilter {
        expiring_before: Some(world.now.plus(Lifetime::from_days(31))),
        live_at: Some(world.now),
        ..CertFilter::default()
    };
    let soon = find(soon);
    assert_eq!(soon.len(), 3, "manager, operator, web-10");
    assert!(soon.contains(&other.cert));
    assert_eq!(certs_by_serial(&world.store, &newest.cert.serial).unwrap().len(), 1);
    assert_eq!(find_node(&world.store, &id("web-10")).unwrap()[0].identity, other.identity);
    let elsewhere = Cursor::from_bytes([0xff; 60]);
    assert!(certs(&world.store, &of("web-1"), Some(&elsewhere), 5).unwrap().items.is_empty());
}

#[test]
fn lists_go_by_role_beginning_issuer_and_revocation_in_either_order() {
    let mut world = World::founded();
    let held: Vec<_> =
        (0..5).map(|n| world.worker(n, ["web-1", "web-10", "db-1", "web-2", "x"][usize::from(n)])).collect();
    world.wait(Lifetime::from_days(60));
    let renewed = world.renew(&held[0].identity, held[0].cert, &key()).unwrap();
    world.revoke(Target::Node(held[2].identity.clone())).unwrap();
    let find = |filter: CertFilter, limit| {
        let found = collect(|after| certs(&world.store, &filter, after, limit).unwrap());
        found.into_iter().map(|record| record.cert).collect::<Vec<_>>()
    };
    let web = CertFilter { id_prefix: Some("web-".into()), ..CertFilter::default() };
    for limit in [1, 2, 100] {
        let by_node = CertFilter { order: CertOrder::Node, ..web.clone() };
        assert_eq!(find(by_node.clone(), limit), [held[0].cert, renewed.cert, held[1].cert, held[3].cert]);
        let newest = CertFilter { newest: true, ..by_node.clone() };
        assert_eq!(find(newest.clone(), limit), [renewed.cert, held[1].cert, held[3].cert]);
        let of_role = CertFilter { role: Some(certus_pki::Role::Worker), ..newest };
        assert_eq!(find(of_role, limit).len(), 3);
        let clients = CertFilter { role: Some(certus_pki::Role::Client), ..by_node };
        assert!(find(clients, limit).is_empty());
        let mut by_expiry = find(web.clone(), limit);
        assert_eq!(by_expiry.pop(), Some(renewed.cert), "it ends last");
        assert_eq!(by_expiry.len(), 3);
        let revoked = CertFilter { revoked: true, ..CertFilter::default() };
        assert_eq!(find(revoked, limit), [held[2].cert]);
        let one = CertFilter { node: Some(worker("web-1")), newest: true, ..CertFilter::default() };
        assert_eq!(find(one.clone(), limit), [renewed.cert]);
        assert_eq!(find(CertFilter { order: CertOrder::Expiry, ..one }, limit), [renewed.cert]);
        let of = |issuer| CertFilter { issuers: Some(vec![issuer]), ..CertFilter::default() };
        assert_eq!(find(of(held[0].cert.issuer), limit).len(), 8);
        assert!(find(of(certus_pki::Sha256::from_bytes([7; 32])), limit).is_empty());
        let nodes_of =
            |filter: NodeFilter| collect(|after| nodes(&world.store, &filter, after, limit).unwrap());
        let web = NodeFilter { id_prefix: Some("web-1".into()), ..NodeFilter::default() };
        assert_eq!(nodes_of(web).len(), 2);
        let revoked = nodes_of(NodeFilter { revoked: true, ..NodeFilter::default() });
        assert_eq!(revoked.iter().map(|node| node.identity.clone()).collect::<Vec<_>>(), [worker("db-1")]);
    }
}

#[test]
fn i6_a_page_reads_a_bounded_number_of_rows() {
    let mut world = World::founded();
    world.worker(1, "web-1");
    let record = node(&world.store, &worker("web-1")).unwrap().unwrap();
    for number in 0..ROWS_READ_MAX + 10 {
        let mut record = record.clone();
        record.identity.id = id(&format!("a{number}"));
        record.state = crate::NodeState::Revoked { at: world.now, reason: certus_pki::Reason::Unspecified };
        world.store.put(Table::Nodes, &key::node(&record.identity), &record.encode()).unwrap();
    }
    let filter = NodeFilter { active: true, role: Some(certus_pki::Role::Worker), ..NodeFilter::default() };
    let page = nodes(&world.store, &filter, None, 10).unwrap();
    assert!(page.items.is_empty() && page.next.is_some());
    let every = collect(|after| nodes(&world.store, &filter, after, 10).unwrap());
    assert_eq!(every.len(), 1);
}

#[test]
fn i6_changes_are_kept_up_to_their_bound() {
    let mut world = World::founded();
    let node = world.worker(1, "web-1");
    let before = epoch(&world.store).unwrap();
    for _ in 0..CHANGES_KEPT {
        world.direct(&node.identity).unwrap();
    }
    let Deltas::Changed(deltas) = deltas_since(&world.store, before, 5).unwrap() else { panic!() };
    assert_eq!(deltas.len(), 5);
    world.direct(&node.identity).unwrap();
    assert_eq!(deltas_since(&world.store, before, 5).unwrap(), Deltas::TooOld);
    let kept = world.store.scan(Table::Changes, Bound::Unbounded, Bound::Unbounded, usize::MAX).unwrap();
    assert_eq!(kept.len() as u64, CHANGES_KEPT);
}

#[test]
fn i6_a_node_is_given_a_bounded_number_of_certificates() {
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    let mut record = node(&world.store, &held.identity).unwrap().unwrap();
    record.window_count = CERTS_PER_NODE_MAX;
    world.store.put(Table::Nodes, &key::node(&held.identity), &record.encode()).unwrap();
    let refusal = world.renew(&held.identity, held.cert, &key()).unwrap_err();
    assert!(matches!(refusal, Refusal::OutOfBounds { .. }), "{refusal:?}");
    world.wait(Lifetime::from_days(90));
    world.renew(&held.identity, held.cert, &key()).unwrap();
    assert_eq!(node(&world.store, &held.identity).unwrap().unwrap().window_count, 1);
}

#[test]
fn keys_sort_as_what_they_say() {
    let times = [i64::MIN, -1, 0, 1, i64::MAX].map(UnixTime::from_secs);
    assert!(times.windows(2).all(|pair| key::time(pair[0]) < key::time(pair[1])));
    assert_eq!(
        key::due_parts(&crate::tests::cluster(), &key::due(times[1], &worker("web-1"))).unwrap(),
        (times[1], worker("web-1"))
    );
}
