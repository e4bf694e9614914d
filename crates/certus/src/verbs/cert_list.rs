//! `certus cert list`: what has been issued, and how it is.

mod order;
mod unknown;

use certus_pki::{Explanation, UnixTime};
use certus_wire::v1;
use serde::Serialize;

use self::order::Collected;
use super::Context;
use super::cursor::{Cursor, Kind};
use super::show::{self, IssuedData, State};
use crate::args::{List, Order};
use crate::managers::{Managers, PAGE};
use crate::terminal::{Exit, Listing, count, thousands};

/// What stands behind the certificates.
#[derive(Serialize)]
struct Rest {
    /// Whether the limit left some out.
    more: bool,
    /// Where to go on, for `--after`.
    next: Option<String>,
    /// Nodes of the cluster, each with one newest certificate.
    nodes: u64,
}

const HEADINGS: &[&str] = &["NODE", "ROLE", "SERIAL", "EXPIRES", "RENEWS", "STATE"];

pub(super) async fn run(context: &Context, list: List) -> Result<Exit, Explanation> {
    let managers = context.managers().await?;
    let now = show::now();
    if list.unknown {
        return Ok(unknown::show(context, &managers.status().await?.unrecorded, now));
    }
    let order = list.sort.unwrap_or_else(|| usual(&list));
    let mut listing = Listing::new(context.terminal, "certificates", HEADINGS);
    let next = if order::has_index(order, &list) {
        stream(&managers, &list, order, now, &mut listing).await?
    } else {
        let (certs, next) = Collected::fetch(&managers, &list, order, now).await?;
        print(&mut listing, &certs, now);
        next
    };
    let nodes = managers.status().await?.nodes;
    let next = next.map(|next| next.to_string());
    let rest = Rest { more: next.is_some(), next, nodes };
    let shown = listing.shown();
    listing.end(&rest, || footer(&list, shown, &rest));
    Ok(Exit::Done)
}

/// By what there is an index for: those of one node, a role or a beginning stand together.
fn usual(list: &List) -> Order {
    let named = list.node.is_some() || list.role.is_some() || list.prefix.is_some();
    if named && list.expiring.is_none() { Order::Node } else { Order::Expires }
}

/// Prints page by page. Returns where the next list goes on, where there is more.
async fn stream(
    managers: &Managers,
    list: &List,
    order: Order,
    now: UnixTime,
    listing: &mut Listing,
) -> Result<Option<Cursor>, Explanation> {
    let kind = Kind::of(order);
    let mut after = Cursor::given(list.after.as_deref(), kind)?;
    let limit = list.limit.map_or(u64::MAX, u64::from);
    loop {
        let wanted = u32::try_from(limit - listing.shown()).unwrap_or(PAGE).min(PAGE);
        let page = managers.certs(request(list, order, now, after, wanted)).await?;
        let read = print(listing, &page.certs, now);
        if page.next.is_empty() || !read {
            return Ok(None);
        }
        if listing.shown() >= limit {
            return Ok(Some(Cursor::new(kind, page.next)));
        }
        after = page.next;
    }
}

fn request(list: &List, order: Order, now: UnixTime, after: Vec<u8>, limit: u32) -> v1::ListCertsRequest {
    let order = match order {
        Order::Node => v1::CertOrder::Node,
        Order::Expires | Order::Issued => v1::CertOrder::Expiry,
    };
    v1::ListCertsRequest {
        after,
        limit,
        node: list.node.clone(),
        role: list.role.map(|role| role.to_string()),
        id_prefix: list.prefix.clone().unwrap_or_default(),
        expiring_before: list.expiring.map(|within| now.plus(within).secs()),
        revoked: list.revoked,
        issuer: list.issuer.clone(),
        all: list.all,
        order: order.into(),
        without_der: true,
    }
}

/// False where nobody reads any more.
fn print(listing: &mut Listing, certs: &[v1::Cert], now: UnixTime) -> bool {
    listing.page(certs, |cert| IssuedData::of(cert, now), |cert| row(cert, now))
}

fn row(cert: &v1::Cert, now: UnixTime) -> Vec<String> {
    let state = State::of(cert, now);
    let renews = match state {
        State::Ok => show::at(cert.renew_by).relative_to(now),
        State::Overdue => {
            show::at(now.secs()).relative_to(show::at(cert.renew_by)).replace("in ", "overdue ")
        }
        State::Replaced | State::Revoked | State::Expired => "-".to_owned(),
    };
    vec![
        show::short_node(&cert.node),
        show::role(&cert.node),
        show::serial(cert).map(|serial| serial.short()).unwrap_or_default(),
        show::at(cert.not_after).relative_to(now),
        renews,
        state.words(cert, now),
    ]
}

fn footer(list: &List, shown: u64, rest: &Rest) -> String {
    let filtered = list.node.is_some()
        || list.role.is_some()
        || list.prefix.is_some()
        || list.issuer.is_some()
        || list.expiring.is_some()
        || list.after.is_some()
        || rest.more;
    let all = list.all || list.revoked;
    let last = match (all, filtered) {
        (false, true) => format!("{} of {}", thousands(shown), thousands(rest.nodes)),
        (true, true) if rest.more => format!("the first {}", thousands(shown)),
        _ => count(shown, "certificate"),
    };
    match &rest.next {
        Some(next) => format!("{last}\nmore      --after {next}"),
        None => last,
    }
}
