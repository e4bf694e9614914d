//! Every default, lifetime, port and bound that a user can meet, once, each with its reason.
//!
//! `docs/defaults.md` is made from [`TABLE`].

use crate::time::Lifetime;

/// A root is replaced by a planned rotation, not by its end.
pub const ROOT_LIFETIME: Lifetime = Lifetime::from_days(3650);
/// Long enough that signing ahead is rare, short enough that a lost manager's issuer ends by itself.
pub const ISSUER_LIFETIME: Lifetime = Lifetime::from_days(365);
/// Two thirds leave 30 days to notice that renewals fail.
pub const LEAF_LIFETIME: Lifetime = Lifetime::from_days(90);
/// Below this a renewal with its retries has no room.
pub const LEAF_LIFETIME_MIN: Lifetime = Lifetime::from_secs(10);
/// A leaf must fit three times into what is left of its issuer, so that an issuer is never the reason
/// for a short leaf.
pub const ISSUER_OVER_LEAF: u32 = 3;
/// Clocks of joining machines are often some minutes slow.
pub const BACKDATE: Lifetime = Lifetime::from_minutes(5);
/// A token is meant for today.
pub const TOKEN_TTL: Lifetime = Lifetime::from_hours(24);
/// Longer than a fleet's roll-out takes; a stolen token must end.
pub const TOKEN_TTL_MAX: Lifetime = Lifetime::from_days(30);
/// A token admits one node unless it is told otherwise.
pub const TOKEN_USES: u32 = 1;
/// More nodes than one token should admit.
pub const TOKEN_USES_MAX: u32 = 100_000;
/// Renewal is due at this share of the lifetime, in thousandths.
pub const RENEW_AT_PERMILLE: u32 = 667;
/// Renewals of nodes that were issued together spread over this share of the lifetime, earlier only.
pub const RENEW_JITTER_PERMILLE: u32 = 100;
/// First wait after a failed renewal.
pub const BACKOFF_FIRST: Lifetime = Lifetime::from_secs(1);
/// Longest wait between attempts; see also the share of what is left that `renewal` allows.
pub const BACKOFF_MAX: Lifetime = Lifetime::from_minutes(10);
/// A watch stream is silent no longer than this.
pub const HEARTBEAT: Lifetime = Lifetime::from_secs(10);
/// A stream that was silent this long is dead.
pub const SILENCE_MAX: Lifetime = Lifetime::from_secs(30);
/// Revocations not refreshed for this long are stale: an alarm, and with `closed` a refusal.
pub const REVOCATION_STALE_AFTER: Lifetime = Lifetime::from_hours(1);
/// Two heartbeats: with less a living manager would seem gone.
pub const REVOCATION_STALE_AFTER_MIN: Lifetime = Lifetime::from_secs(20);
/// How far the time of the cluster's last change may be ahead of a lone manager's clock. Beyond what
/// clocks differ anyway, and what a certificate is dated back by.
pub const CLOCK_BEHIND_MAX: Lifetime = Lifetime::from_secs(60);
/// How far a lone manager's clock may run ahead of what it knew last without an operator's word. As long
/// as the longest token lives: a wrong clock cannot be taken for a machine that was off over the holidays.
pub const CLOCK_LEAP_MAX: Lifetime = Lifetime::from_days(30);
/// A TLS handshake that takes longer is ended.
pub const HANDSHAKE_TIMEOUT: Lifetime = Lifetime::from_secs(10);
/// A call to a manager that takes longer is given up.
pub const CALL_TIMEOUT: Lifetime = Lifetime::from_secs(10);
/// What an ending daemon gives its connections.
pub const DRAIN: Lifetime = Lifetime::from_secs(10);
/// The managers' API.
pub const API_PORT: u16 = 7443;
/// Where a founded manager listens unless told otherwise.
pub const API_LISTEN: &str = "0.0.0.0:7443";

/// Connections that a manager holds at once: a fleet of 10,000 nodes each has one, and room to renew it.
pub const MANAGER_CONNECTIONS_MAX: usize = 20_000;
/// Of these, callers who have not shown a certificate, of all networks: a fleet that dials again after a
/// manager's restart shows its certificates within milliseconds of a place. Each costs some 20 KiB.
pub const STRANGERS_MAX: usize = 4_096;
/// Of one network (an IPv4 address, an IPv6 /64), so that one address cannot take all places.
pub const STRANGERS_PER_NETWORK_MAX: usize = 1_024;
/// After a handshake without a certificate there is a token to show, and nothing else to do.
pub const STRANGER_LIFE: Lifetime = Lifetime::from_secs(60);
/// Calls without a certificate that one network may make at once: a rack behind one address joins together.
pub const STRANGER_CALLS_BURST: u32 = 200;
/// Calls without a certificate a second that one network may make on and on.
pub const STRANGER_CALLS_PER_SECOND: u32 = 20;
/// The largest request is a certificate request of 16 KiB, or a token with a hundred names.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Streams at once on one connection to a manager: a node needs two.
pub const API_STREAMS_MAX: u32 = 128;
/// Calls at once on one connection to a manager.
pub const API_CALLS_AT_ONCE: usize = 64;
/// Lines a minute about refused callers, one for each reason and network; the rest is counted.
pub const REFUSAL_LINES_MAX: usize = 64;
/// Connections of one listener of a node.
pub const LISTENER_CONNECTIONS_MAX: usize = 10_000;
/// Streams at once of one connection, over h2 and quic.
pub const LISTENER_STREAMS_MAX: u32 = 100;
/// Handshakes of one listener at once: more only make all of them late.
pub const LISTENER_HANDSHAKES_MAX: usize = 512;
/// Files that a daemon wants to be able to open: 10,000 connections, each with one to its service.
pub const FILES_WANTED: u64 = 20_000;

/// Roots of CAs in files that people run by hand (fleet, private): replaced by a planned change.
pub const FILES_ROOT_LIFETIME: Lifetime = ROOT_LIFETIME;
/// Roots of the mesh and dev presets: what the tools whose files these are have always used.
pub const FILES_ROOT_LIFETIME_SHORT: Lifetime = Lifetime::from_days(365);
/// Issuers under a root of ten years: half its life, so that the next fits in.
pub const FILES_ISSUER_LIFETIME: Lifetime = Lifetime::from_days(1825);
/// Issuers under a root of one year; half its life too.
pub const FILES_ISSUER_LIFETIME_SHORT: Lifetime = Lifetime::from_days(180);
/// Leaves of the fleet preset are copied by hand, once a year.
pub const FILES_LEAF_LIFETIME_FLEET: Lifetime = Lifetime::from_days(365);
/// Leaves of the other presets.
pub const FILES_LEAF_LIFETIME: Lifetime = LEAF_LIFETIME;

/// What a user can meet, what it is unless set, and how it is set.
pub struct Default {
    /// What it governs.
    pub name: &'static str,
    /// Its value in words.
    pub value: fn() -> String,
    /// The option that sets it, or `fixed`.
    pub set_by: &'static str,
    /// Why it is what it is.
    pub reason: &'static str,
}

macro_rules! table {
    ($($name:literal, $value:expr, $set_by:literal, $reason:literal;)*) => {
        /// The rows of `docs/defaults.md`.
        pub const TABLE: &[Default] = &[$(Default {
            name: $name,
            value: || $value.to_string(),
            set_by: $set_by,
            reason: $reason,
        }),*];
    };
}

table! {
    "root lifetime", ROOT_LIFETIME, "fixed", "replaced by a planned rotation, not by its end";
    "issuer lifetime", ISSUER_LIFETIME, "`cluster init --issuer-lifetime`", "a lost manager's issuer ends by itself";
    "node certificate lifetime", LEAF_LIFETIME, "`cluster init --leaf-lifetime`", "two thirds leave 30 days to notice that renewals fail";
    "shortest node certificate lifetime", LEAF_LIFETIME_MIN, "fixed", "a renewal with its retries needs room";
    "issuer over leaf", format!("{ISSUER_OVER_LEAF} times"), "fixed", "an issuer is never the reason for a short leaf";
    "notBefore back-dated by", BACKDATE, "fixed", "clocks of joining machines are often some minutes slow";
    "token lifetime", TOKEN_TTL, "`token create --ttl`", "a token is meant for today";
    "longest token lifetime", TOKEN_TTL_MAX, "fixed", "a stolen token must end";
    "token uses", TOKEN_USES, "`token create --uses`", "a token admits one node";
    "renewal due at", format!("{}.{} % of the lifetime", RENEW_AT_PERMILLE / 10, RENEW_AT_PERMILLE % 10), "fixed", "two thirds: one third is left for retries";
    "renewal jitter", format!("up to {} % of the lifetime, earlier only", RENEW_JITTER_PERMILLE / 10), "fixed", "nodes issued together do not renew together";
    "first wait after a failed renewal", BACKOFF_FIRST, "fixed", "most failures are a restart of the manager";
    "longest wait between attempts", BACKOFF_MAX, "fixed", "a manager that is back is found within minutes";
    "heartbeat of the watch stream", HEARTBEAT, "fixed", "three fit into the silence that ends it";
    "silence that ends a watch stream", SILENCE_MAX, "fixed", "a blocked stream is noticed in half a minute";
    "revocations stale after", REVOCATION_STALE_AFTER, "`revocation_stale_after`", "alarm while the managers are away; with `on_revocation_stale: closed` nobody is accepted then";
    "shortest time to stale revocations", REVOCATION_STALE_AFTER_MIN, "fixed", "two heartbeats: with less a living manager would seem gone";
    "a lone manager's clock behind the last change", CLOCK_BEHIND_MAX, "fixed", "beyond it nothing could be issued until that time comes: it says so at start";
    "a lone manager's clock ahead of what it knew", CLOCK_LEAP_MAX, "`manager start --accept-clock`", "a wrong clock must not carry the cluster's time away";
    "handshake timeout", HANDSHAKE_TIMEOUT, "fixed", "a slow client does not hold a place";
    "call timeout", CALL_TIMEOUT, "fixed", "a command answers or says why not";
    "drain at shutdown", DRAIN, "fixed", "open connections may finish";
    "CA in files: root lifetime (fleet, private)", FILES_ROOT_LIFETIME, "`ca init --ca-days`, `tls init --ca-days`", "replaced by a planned change, not by its end";
    "CA in files: root lifetime (mesh, dev)", FILES_ROOT_LIFETIME_SHORT, "`ca init --ca-days`, `cert ca --days`", "what the tools whose files these are have always used";
    "CA in files: issuer lifetime (fleet, private)", FILES_ISSUER_LIFETIME, "`ca add-issuer --days`", "half its root's life: the next fits in";
    "CA in files: issuer lifetime (mesh, dev)", FILES_ISSUER_LIFETIME_SHORT, "`ca add-issuer --days`", "half its root's life: the next fits in";
    "CA in files: leaf lifetime (fleet)", FILES_LEAF_LIFETIME_FLEET, "`cert issue --days`, `tls init --days`", "copied by hand, once a year";
    "CA in files: leaf lifetime (mesh, private, dev)", FILES_LEAF_LIFETIME, "`cert issue --days`", "two thirds leave 30 days to notice";
    "manager: connections at once", MANAGER_CONNECTIONS_MAX, "fixed", "a fleet of 10,000 nodes each has one, and room to renew it";
    "manager: callers without a certificate at once", STRANGERS_MAX, "fixed", "some 20 KiB each; the oldest gives way to the next";
    "manager: of these, from one network", STRANGERS_PER_NETWORK_MAX, "fixed", "one IPv4 address, or IPv6 /64, cannot take all places";
    "manager: a connection without a certificate lasts", STRANGER_LIFE, "fixed", "there is a token to show, and nothing else to do";
    "manager: calls without a certificate at once, of one network", STRANGER_CALLS_BURST, "fixed", "a rack behind one address joins together";
    "manager: calls without a certificate a second, of one network", STRANGER_CALLS_PER_SECOND, "fixed", "refused ones cost a lookup";
    "manager: largest request", format!("{} KiB", REQUEST_BYTES_MAX >> 10), "fixed", "a certificate request of 16 KiB, or a token with a hundred names";
    "manager: streams of a connection", API_STREAMS_MAX, "fixed", "a node needs two";
    "manager: calls at once of a connection", API_CALLS_AT_ONCE, "fixed", "others wait their turn";
    "manager: log lines a minute about refused callers", REFUSAL_LINES_MAX, "fixed", "one for each reason and network, then a count: strangers fill no log";
    "listener: connections at once", LISTENER_CONNECTIONS_MAX, "`limits.connections`", "each has one to its service besides";
    "listener: streams of a connection", LISTENER_STREAMS_MAX, "`limits.streams`", "h2 and quic";
    "listener: handshakes at once", LISTENER_HANDSHAKES_MAX, "`limits.handshakes`", "silent callers give way when they are full";
    "open files a daemon wants", FILES_WANTED, "`LimitNOFILE`", "it raises its limit as far as it may, and warns below this";
    "API address", API_LISTEN, "`cluster init --listen`, `manager start --listen`", "managers are reached from other machines";
}
