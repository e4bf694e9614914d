//! What the managers' answers mean: clocks, reachability, renewals, versions, the quorum, the root.

use std::collections::BTreeMap;

use certus_pki::{Code, Explanation, Lifetime, UnixTime, code, defaults};
use certus_wire::v1;

use super::process::Process;
use super::reach::{Answer, Reached};
use super::{Check, Finding, failure, warning};
use crate::terminal::count;

/// NTP keeps machines within milliseconds; whole seconds are compared, and a busy machine takes some.
const SKEW_WARNING_S: u64 = 10;
/// A fresh certificate is not valid yet for who is later than this.
const SKEW_FAILURE_S: u64 = defaults::BACKDATE.secs() as u64;
/// Entries that a busy log has in some seconds.
const BEHIND_ENTRIES: u64 = 1_000;
/// A planned rotation of the root wants some months.
const ROOT_ENDS_WITHIN: Lifetime = Lifetime::from_days(180);
/// Of many the first are enough to see.
const NAMED_MAX: usize = 20;

pub(super) fn clock(reached: &Reached) -> Check {
    let known: Vec<(&str, i64)> =
        reached.answers.iter().filter_map(|answer| Some((answer.address.as_str(), answer.ahead?))).collect();
    let Some((_, worst)) = known.iter().max_by_key(|(_, ahead)| ahead.unsigned_abs()) else {
        return Check::skipped("clock", reached.nobody.unwrap_or("no manager told its clock"));
    };
    let seen = match worst.unsigned_abs() {
        0 | 1 => format!("within a second of {}", count(known.len() as u64, "manager")),
        off => format!("up to {} off the managers'", span(off)),
    };
    let off = known.iter().filter(|(_, ahead)| ahead.unsigned_abs() > SKEW_WARNING_S);
    Check::of("clock", seen, off.map(|(address, ahead)| skew(address, *ahead)).collect())
}

fn skew(address: &str, ahead: i64) -> Finding {
    let off = ahead.unsigned_abs();
    let way = if ahead > 0 { "behind" } else { "ahead of" };
    let told = Explanation::new(
        code::CLOCK_SKEW,
        format!("this machine's clock is {} {way} the manager's at {address}", span(off)),
    )
    .halves(format!("at most {SKEW_WARNING_S} s"), span(off))
    .hint("timedatectl, or chronyc tracking, on both machines: set right the one that is wrong");
    if off > SKEW_FAILURE_S { failure(told) } else { warning(told) }
}

/// `90 s`, `12 min`, `5 h`, `3 d`: the largest unit that has two of it.
fn span(secs: u64) -> String {
    let unit = [(86_400, "d"), (3_600, "h"), (60, "min")].into_iter().find(|(unit, _)| secs >= unit * 2);
    unit.map_or_else(|| format!("{secs} s"), |(unit, name)| format!("{} {name}", secs / unit))
}

pub(super) fn reachability(reached: &Reached) -> Check {
    if let Some(why) = reached.nobody {
        return Check::skipped("reachability", why);
    }
    let (good, bad): (Vec<_>, Vec<_>) = reached.answers.iter().partition(|answer| answer.info.is_ok());
    let good: Vec<&str> = good.iter().map(|answer| answer.address.as_str()).collect();
    let seen = match good.is_empty() {
        true => "no manager answers".to_owned(),
        false => format!("{} of {} answer: {}", good.len(), reached.answers.len(), good.join(", ")),
    };
    Check::of("reachability", seen, bad.into_iter().filter_map(unreached).collect())
}

fn unreached(answer: &Answer) -> Option<Finding> {
    let why = answer.info.as_ref().err()?;
    let mut told = why.clone();
    told.message = format!("the manager at {} cannot be used: {}", answer.address, why.message);
    Some(failure(told))
}

/// The cluster's own forecast; `name` is the check that wants it.
fn status<'a>(name: &'static str, reached: &'a Reached) -> Result<&'a v1::ClusterStatus, Check> {
    let nobody = reached.nobody.unwrap_or("no manager could be asked");
    match &reached.status {
        None => Err(Check::skipped(name, nobody)),
        Some(Ok(status)) => Ok(status),
        Some(Err(why)) if why.code == code::PERMISSION_DENIED => {
            Err(Check::skipped(name, "only an operator's identity may ask for it"))
        }
        Some(Err(why)) => Err(Check::of(name, "the cluster does not say", vec![failure(why.clone())])),
    }
}

pub(super) fn renewals(reached: &Reached) -> Check {
    let status = match status("renewals", reached) {
        Ok(status) => status,
        Err(check) => return check,
    };
    let now = UnixTime::from_secs(status.now);
    let mut findings: Vec<Finding> = overdue(&status.overdue, now).into_iter().collect();
    let last = |all: &[v1::Authority]| all.iter().map(|one| UnixTime::from_secs(one.not_after)).max();
    let room = Lifetime::from_secs(status.leaf_lifetime_secs.saturating_mul(2));
    let (issuer, root) = (last(&status.issuers), last(&status.roots));
    findings.extend(issuer.and_then(|end| ends("the last issuer", end, room, now)));
    findings.extend(root.and_then(|end| ends("the root", end, ROOT_ENDS_WITHIN, now)));
    let end = |end: Option<UnixTime>| end.map_or_else(|| "never".to_owned(), |end| end.relative_to(now));
    let seen = format!(
        "{}, {} overdue; the last issuer ends {}, the root {}",
        count(status.nodes, "node"),
        status.overdue.len(),
        end(issuer),
        end(root)
    );
    Check::of("renewals", seen, findings)
}

fn overdue(nodes: &[v1::OverdueNode], now: UnixTime) -> Option<Finding> {
    let first = nodes.first()?;
    let told = Explanation::new(
        code::RENEWAL_OVERDUE,
        format!("{} did not renew in time: their certificates will end", count(nodes.len() as u64, "node")),
    );
    let named = nodes.iter().take(NAMED_MAX).fold(told, |told, node| {
        let due = UnixTime::from_secs(node.renew_by).relative_to(now);
        told.fact(&node.node, format!("its renewal was due {due}"))
    });
    let node = first.node.rsplit('/').next().unwrap_or(&first.node);
    Some(failure(named.hint(format!("see the node's log; certus cert info {node}"))))
}

fn ends(what: &str, end: UnixTime, room: Lifetime, now: UnixTime) -> Option<Finding> {
    if end > now.plus(room) {
        return None;
    }
    let told = Explanation::new(
        code::AUTHORITY_ENDS,
        format!("{what} of the cluster ends {}", end.relative_to(now)),
    )
    .halves(format!("more than {room} left"), end)
    .hint("certus cluster status; a manager signs the next issuer by itself while it has the root's key");
    Some(if end <= now { failure(told) } else { warning(told) })
}

pub(super) fn versions(reached: &Reached) -> Check {
    let infos =
        reached.answers.iter().filter_map(|answer| Some((&answer.address, answer.info.as_ref().ok()?)));
    let managers: BTreeMap<&str, &str> =
        infos.map(|(address, info)| (address.as_str(), info.version.as_str())).collect();
    if managers.is_empty() {
        return Check::skipped("versions", reached.nobody.unwrap_or("no manager told its version"));
    }
    let own = env!("CARGO_PKG_VERSION");
    Check::of("versions", format!("this command is {own}"), mixed(own, &managers).into_iter().collect())
}

fn mixed(own: &str, managers: &BTreeMap<&str, &str>) -> Option<Finding> {
    if managers.values().all(|version| *version == own) {
        return None;
    }
    let told =
        Explanation::new(code::VERSIONS_DIFFER, "different versions work together").fact("this command", own);
    let named = managers.iter().fold(told, |told, (address, version)| told.fact(address, version));
    Some(warning(named.hint("finish the upgrade: docs/upgrade.md says in which order")))
}

pub(super) fn quorum(reached: &Reached) -> Check {
    let managers = reached.managers();
    if managers.is_empty() {
        return Check::skipped("quorum", reached.nobody.unwrap_or("no manager says who the managers are"));
    }
    let voters: Vec<&v1::Manager> = managers.iter().filter(|manager| manager.voter).collect();
    let leader = managers.iter().find(|manager| manager.leader);
    let away = |voter: &&&v1::Manager| {
        reached.answers.iter().any(|answer| answer.address == voter.address && answer.info.is_err())
    };
    let away: Vec<String> = voters.iter().filter(away).map(|voter| short(voter)).collect();
    let mut findings = Vec::new();
    if leader.is_none() {
        let told = Explanation::new(code::QUORUM, "no manager leads: nothing is issued, renewed or revoked");
        findings.push(failure(told.hint("certus manager list; start the managers that are away")));
    }
    findings.extend(few(voters.len(), &away));
    findings.extend(managers.iter().filter_map(behind));
    let leads = leader.map_or_else(|| "nobody".to_owned(), short);
    Check::of("quorum", format!("{}, {leads} leads", count(voters.len() as u64, "voter")), findings)
}

/// Whether more may be lost: by number, and by who is away.
fn few(voters: usize, away: &[String]) -> Option<Finding> {
    let (majority, here) = (voters / 2 + 1, voters - away.len());
    let told = |words: String| {
        let told = Explanation::new(code::QUORUM, words)
            .halves(format!("more than {majority} of {voters} voters"), here);
        if away.is_empty() { told } else { told.fact("away", away.join(", ")) }
    };
    if here < majority {
        let told = told("too few managers are here to decide anything".to_owned());
        return Some(failure(told.hint("start them; if they are lost for good: certus cluster recover")));
    }
    if !away.is_empty() && here == majority {
        let told = told("no further manager may be lost".to_owned());
        return Some(warning(told.hint("start the one that is away, or remove it and join another")));
    }
    if voters == 2 {
        let told = told("of two managers neither may be lost".to_owned());
        return Some(warning(told.hint("certus token create --role manager; then certus manager join")));
    }
    None
}

fn behind(manager: &v1::Manager) -> Option<Finding> {
    let entries = manager.behind.filter(|entries| *entries > BEHIND_ENTRIES)?;
    let told = Explanation::new(code::QUORUM, format!("manager {} is behind", short(manager)))
        .halves(format!("at most {BEHIND_ENTRIES} entries of the log"), entries)
        .hint("see its log and its disk; it catches up by itself when it can");
    Some(warning(told))
}

fn short(manager: &v1::Manager) -> String {
    manager.node.rsplit('/').next().unwrap_or(&manager.node).to_owned()
}

pub(super) fn root(reached: &Reached, processes: &[Process]) -> Check {
    let locked = processes.iter().flat_map(|process| {
        let reasons = process.reasons.iter().filter(|reason| reason.code == code::LOCKED);
        reasons.map(|reason| failure(reason.clone()))
    });
    let mut findings: Vec<Finding> = locked.collect();
    let status = match status("root", reached) {
        Ok(status) => status,
        Err(_) if !findings.is_empty() => return Check::of("root", "a manager here is locked", findings),
        Err(check) => return check,
    };
    let Some(state) = &status.root_state else { return Check::skipped("root", "the managers do not say") };
    let (now, until) = (UnixTime::from_secs(status.now), UnixTime::from_secs(state.issuing_until));
    if let Some(alert) = &state.alert {
        let number = u16::try_from(alert.code).unwrap_or_default();
        let mut told = Explanation::new(Code::from_number(number), alert.message.clone());
        told.facts = alert.facts.iter().map(|fact| (fact.label.clone(), fact.value.clone())).collect();
        told.hint.clone_from(&alert.hint);
        findings.push(if until <= now { failure(told) } else { warning(told) });
    }
    let place = match state.offline {
        true => format!("offline; issuing goes on until {}", until.relative_to(now)),
        false => "in the cluster".to_owned(),
    };
    let lock = if state.autolock { "on" } else { "off" };
    Check::of("root", format!("the root's key is {place}; autolock is {lock}"), findings)
}

#[cfg(test)]
mod tests;
