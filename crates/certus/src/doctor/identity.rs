//! The identities of this machine: valid, and when they renew.

use std::path::Path;

use certus_node::files::Looked;
use certus_node::{MaterialSpec, Pem};
use certus_pki::verify::verify_peer;
use certus_pki::{Certificate, Explain, Explanation, Purpose, Role, UnixTime, code, defaults, renewal};

use super::{Check, Finding, Place, failure, warning};

pub(super) fn check(place: &Place) -> Check {
    let (mut seen, mut findings) = (Vec::new(), Vec::new());
    for (path, looked) in &place.identities {
        match looked {
            Ok(looked) => {
                seen.push(words(looked, place.now));
                findings.extend(judged(looked, path, place.now));
            }
            Err(why) => findings.push(failure(why.clone())),
        }
    }
    if let Some(config) = &place.config {
        let own = config.listeners.iter().map(|one| &one.tls).chain(config.peers.iter().map(|one| &one.tls));
        let mut materials: Vec<&MaterialSpec> = own
            .chain([&config.tls])
            .map(|tls| &tls.material)
            .filter(|material| !material.is_empty())
            .collect();
        materials.dedup();
        for material in materials {
            in_files(material, place.now, &mut seen, &mut findings);
        }
    }
    if seen.is_empty() && findings.is_empty() {
        return Check::skipped("identity", "this machine has none");
    }
    Check::of("identity", seen.join("; "), findings)
}

fn words(looked: &Looked, now: UnixTime) -> String {
    let (_, due) = times(&looked.leaf);
    let renews = match looked.identity.role {
        Role::Client => "renewed by use".to_owned(),
        _ if due > now => format!("renews {}", due.relative_to(now)),
        _ => format!("its renewal was due {}", due.relative_to(now)),
    };
    let lock = if looked.key.is_none() { ", its key is locked" } else { "" };
    format!("{} ends {}, {renews}{lock}", looked.identity, looked.leaf.not_after.relative_to(now))
}

/// When it was issued, and when its renewal is due at the latest.
fn times(leaf: &Certificate) -> (UnixTime, UnixTime) {
    let issued = leaf.not_before.plus(defaults::BACKDATE);
    (issued, renewal::overdue_at(issued, leaf.not_after))
}

fn judged(looked: &Looked, path: &Path, now: UnixTime) -> Option<Finding> {
    let place = path.display();
    if looked.removed {
        let told = Explanation::new(code::REMOVED, format!("{} is of the cluster no more", looked.identity));
        return Some(failure(told.fact("directory", place).hint("join again with a new token")));
    }
    if let Err(rejection) = verify_peer(&looked.chain, &looked.bundle, now, Purpose::Client) {
        let told = rejection.explain().fact("directory", place);
        return Some(failure(told.hint(again(looked.identity.role))));
    }
    let (_, due) = times(&looked.leaf);
    if due >= now || looked.identity.role == Role::Client {
        return None;
    }
    let told = Explanation::new(code::RENEWAL_OVERDUE, format!("{} did not renew in time", looked.identity))
        .halves(format!("a renewal by {due}"), format!("none by {now}"))
        .fact("ends", looked.leaf.not_after)
        .hint("does its daemon run, and does it reach a manager? see its log");
    Some(warning(told))
}

/// What brings an identity back.
fn again(role: Role) -> &'static str {
    match role {
        Role::Client => "certus cluster operator, on a manager's machine, makes a new one",
        Role::Manager => "start the manager: it gives itself a new certificate",
        Role::Worker => "certus worker start --token-file FILE joins again with a new token",
    }
}

/// Certificates that the configuration names.
fn in_files(material: &MaterialSpec, now: UnixTime, seen: &mut Vec<String>, findings: &mut Vec<Finding>) {
    let Some(Pem::File(path)) = &material.cert else { return };
    let read = std::fs::read_to_string(path).map_err(|error| {
        let told = Explanation::new(code::FILE, format!("cannot read {}", path.display()));
        told.fact("the system says", error)
    });
    let leaf = read.and_then(|text| Certificate::many_from_pem(&text).map_err(|error| error.explain()));
    let leaf = match leaf {
        Ok(mut all) => all.swap_remove(0),
        Err(why) => return findings.push(failure(why)),
    };
    seen.push(format!("{} ends {}", path.display(), leaf.not_after.relative_to(now)));
    let ends = |code, words: &str| {
        Explanation::new(code, format!("{} {words}", path.display()))
            .halves(format!("an end after {now}"), leaf.not_after)
            .hint("put a new certificate in its place: it is taken up by itself")
    };
    if leaf.not_after < now {
        findings.push(failure(ends(code::EXPIRED, "has ended")));
    } else if renewal::needs_rotation(&leaf, now, defaults::RENEW_AT_PERMILLE) {
        findings.push(warning(ends(code::RENEWAL_OVERDUE, "is past two thirds of its life")));
    }
}
