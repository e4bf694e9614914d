//! What a right configuration says that its author may not have meant.

use certus_node::{E2e, ListenerSpec, Mtls, Pem, TlsSpec};
use certus_pki::{Allow, Certificate, UnixTime};

use super::Config;

/// What should be looked at again, one line each.
pub(crate) fn warnings(config: &Config, now: UnixTime) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.listeners.is_empty() && config.peers.is_empty() {
        warnings.push("it names no listener and no peer: nothing is carried".to_owned());
    }
    of_material("the node", &config.tls, now, &mut warnings);
    for listener in &config.listeners {
        of_listener(listener, now, &mut warnings);
    }
    for peer in config.peers.iter().filter(|peer| !peer.plaintext) {
        of_tls(&format!("peer {}", peer.name), &peer.tls, now, &mut warnings);
        if peer.listen.as_deref().is_some_and(|listen| !is_loopback(listen)) {
            warnings.push(format!(
                "peer {} listens beyond this machine: whoever reaches {} is carried under this node's name",
                peer.name,
                peer.listen.as_deref().unwrap_or_default()
            ));
        }
    }
    warnings
}

fn of_listener(listener: &ListenerSpec, now: UnixTime, warnings: &mut Vec<String>) {
    let name = &listener.name;
    if listener.allow.is_nobody() {
        warnings.push(nobody(name));
    }
    if listener.e2e == E2e::Never && listener.allow.is_anyone() {
        warnings.push(format!("listener {name} is open to everybody: e2e: never with allow: any"));
    }
    if listener.plaintext && !is_loopback(&listener.address) {
        let address = &listener.address;
        warnings.push(format!("listener {name} speaks plaintext on {address}, beyond this machine"));
    }
    let shows_none = listener.plaintext || listener.tls.mtls == Mtls::Off;
    if shows_none && !listener.allow.is_nobody() && only_by_certificate(&listener.allow) {
        let why = if listener.plaintext { "plaintext: true" } else { "mtls: false" };
        warnings.push(format!(
            "listener {name} lets nobody in: `allow` names certificates, and with {why} callers show none"
        ));
    }
    if !listener.plaintext {
        if matches!(listener.tls.mtls, Mtls::Permissive { .. }) && !listener.allow.mentions_plaintext() {
            warnings.push(format!("listener {name} is permissive, and its `allow` has no plaintext"));
        }
        of_tls(&format!("listener {name}"), &listener.tls, now, warnings);
    }
}

/// Certificates in the document, which nothing renews.
fn of_material(whose: &str, tls: &TlsSpec, now: UnixTime, warnings: &mut Vec<String>) {
    let read = |pem: &Option<Pem>| match pem {
        Some(Pem::Text(text)) => Certificate::many_from_pem(text).unwrap_or_default(),
        _ => Vec::new(),
    };
    let (cert, ca) = (read(&tls.material.cert), read(&tls.material.ca));
    for (what, certificate) in
        cert.first().map(|leaf| ("certificate", leaf)).into_iter().chain(ca.iter().map(|ca| ("ca", ca)))
    {
        if certificate.not_after <= now {
            warnings
                .push(format!("{whose} has a {what} that ended {}", certificate.not_after.relative_to(now)));
        }
    }
    let key_type = cert.first().map(|leaf| leaf.public_key.key_type());
    if let Some(key_type) = key_type.filter(|key_type| tls.keys.check(*key_type).is_err()) {
        warnings.push(format!(
            "{whose} shows a certificate with a key of type {key_type}, which nodes of these key_types ({}) refuse",
            tls.keys
        ));
    }
}

fn of_tls(whose: &str, tls: &TlsSpec, now: UnixTime, warnings: &mut Vec<String>) {
    of_material(whose, tls, now, warnings);
    if let Some(grace) = tls.allow_expired {
        warnings.push(format!("{whose} takes certificates up to {grace} after their end"));
    }
    match tls.mtls {
        Mtls::Permissive { until } if until <= now && whose.starts_with("listener") => {
            warnings
                .push(format!("{whose} is permissive no more: mtls_until was {}", until.relative_to(now)));
        }
        _ => {}
    }
}

/// Whether only who shows a certificate can be meant.
fn only_by_certificate(allow: &Allow) -> bool {
    match allow {
        Allow::Id(_) | Allow::Name(_) | Allow::Key(_) => true,
        Allow::Any(ones) => ones.iter().all(only_by_certificate),
        Allow::All(ones) => ones.iter().any(only_by_certificate),
        _ => false,
    }
}

/// What is said of a listener without `allow`.
fn nobody(listener: &str) -> String {
    format!("listener {listener} has no `allow`: nobody is let in")
}

fn is_loopback(address: &str) -> bool {
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => address.rsplit_once(':').is_some_and(|(host, _)| host == "localhost"),
    }
}
