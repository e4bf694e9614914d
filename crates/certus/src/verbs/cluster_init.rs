//! `certus cluster init`: founds a cluster and goes on as its first manager.

use std::net::SocketAddr;
use std::sync::Arc;

use certus_node::{Fresh, system_clock};
use certus_pki::{ClusterName, Explain, Explanation, code};
use certus_server::{FoundOptions, Founded, ManagerOptions, StartError};
use serde::Serialize;

use super::cluster_autolock::{KEEP, with_fresh};
use super::{Context, node_start, secret};
use crate::args::Init;
use crate::daemon::Ending;
use crate::home::{self, Home, Known};
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    cluster: String,
    root_key_hash: String,
    root_expires_at: String,
    manager: String,
    address: String,
    data_dir: String,
    operator: String,
    home: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unlock_key: Option<String>,
}

pub(super) async fn run(context: &Context, init: Init) -> Result<Exit, Explanation> {
    let data_dir = init.data_dir.clone().unwrap_or_else(|| context.home.data_dir("manager"));
    // The cluster before its operator: --force replaces an identity, and never a cluster.
    certus_server::refuse_founded(&data_dir).map_err(|error| error.explain())?;
    if !init.force {
        context.home.refuse_replacing()?;
    }
    // Before anything is made: what was founded cannot be founded again on another address.
    try_address(init.listen, !init.no_start)?;
    let mut options = FoundOptions::new(
        init.name.clone(),
        data_dir.clone(),
        init.listen,
        init.id.clone().unwrap_or_else(home::host_id),
        home::operator_id(),
    );
    options.leaf_lifetime = init.leaf_lifetime;
    options.issuer_lifetime = init.issuer_lifetime;
    options.root_key_type = init.root_key_type;
    options.key_type = init.key_type;
    let mut printed = None;
    if init.autolock {
        let (key, fresh) = with_fresh(secret::given(init.passphrase_file.as_deref())?)?;
        printed = fresh.then(|| key.as_str().to_owned());
        options.autolock = Some(Arc::new(key));
    }
    let address = dialable(init.listen);
    let keeping = |founded: &Founded| keep(&context.home, &init.name, founded, &address);
    let founded = certus_server::found_keeping(&options, system_clock(), keeping).await;
    let founded = founded.map_err(|error| error.explain())?;

    let report = Report {
        cluster: init.name.to_string(),
        root_key_hash: founded.root.to_string(),
        root_expires_at: founded.root_not_after.to_string(),
        manager: founded.manager.to_string(),
        address: address.clone(),
        data_dir: data_dir.display().to_string(),
        operator: founded.operator.identity.to_string(),
        home: context.home.dir().display().to_string(),
        unlock_key: printed,
    };
    context.terminal.report(&report, || words(&report, &founded));
    if init.no_start {
        context.terminal.say(&format!("\nnext      certus manager start --data-dir {}", report.data_dir));
        return Ok(Exit::Done);
    }
    context.terminal.say(
        "\nnext      certus token create --role worker      in another terminal; ctrl-c ends this manager",
    );
    let mut manager = ManagerOptions::new(data_dir);
    manager.advertise.clone_from(&init.advertise);
    manager.passphrase = options.autolock;
    node_start::manager(manager, &mut Ending::listen()?).await
}

/// Refuses an address at which no manager could serve; what is not served `now` may come later.
fn try_address(listen: SocketAddr, now: bool) -> Result<(), Explanation> {
    if listen.port() == 0 {
        let words = "others could not know a port that the system chooses at each start";
        let told = Explanation::new(code::LISTEN, words).halves("a port from 1 to 65535", listen);
        return Err(told.hint("--listen 127.0.0.1:7443"));
    }
    if now {
        let tried = std::net::TcpListener::bind(listen);
        tried.map_err(|error| StartError::Listen { address: listen, error }.explain())?;
    }
    Ok(())
}

/// Keeps the operator's identity and the manager's address for later commands.
pub(crate) fn keep(
    home: &Home,
    name: &ClusterName,
    founded: &Founded,
    address: &str,
) -> Result<(), Explanation> {
    let operator = &founded.operator;
    let fresh = Fresh { key: &operator.key, chain: &operator.chain, bundle: &operator.bundle };
    home.keep(&fresh, Known::new(name, address.to_owned(), founded.root))
}

/// The address by which commands on this machine reach a manager that listens there.
pub(crate) fn dialable(listen: SocketAddr) -> String {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address.to_string()
}

fn words(report: &Report, founded: &Founded) -> String {
    format!(
        "founded   {}   root {}, until {}\nmanager   {}   {}, data in {}\noperator  {}   kept in {}",
        report.cluster,
        founded.root.short(),
        founded.root_not_after.date(),
        report.manager,
        report.address,
        report.data_dir,
        report.operator,
        report.home,
    ) + &unlock_words(report)
}

fn unlock_words(report: &Report) -> String {
    let key = report.unlock_key.as_ref();
    key.map_or_else(String::new, |key| format!("\nunlock    {key}\n          {KEEP}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_can_be_dialled_from_this_machine() {
        let dialed = |text: &str| dialable(text.parse().unwrap());
        assert_eq!(dialed("0.0.0.0:7443"), "127.0.0.1:7443");
        assert_eq!(dialed("[::]:7443"), "[::1]:7443");
        assert_eq!(dialed("10.0.0.7:7443"), "10.0.0.7:7443");
    }
}
