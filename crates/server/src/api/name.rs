//! What a person means by a name: a node, with or without its role, or a certificate's serial.

use certus_ca::store::{Fault, View};
use certus_ca::{CertRecord, NodeRecord};
use certus_pki::explain::Explanation;
use certus_pki::{ClusterName, NodeId, Role, Serial, Sha256, SpiffeId, code};

/// What a name stands for.
pub(crate) enum Named {
    Node(Box<NodeRecord>),
    Cert(Box<CertRecord>),
}

/// Finds what `name` stands for: `web-1`, `worker/web-1`, `spiffe://prod/worker/web-1` or a serial.
///
/// A node is found before a serial: ids are chosen by people, and a serial is 32 digits long.
pub(crate) fn find(view: &dyn View, name: &str) -> Result<Result<Named, Explanation>, Fault> {
    let Some(cluster) = certus_ca::cluster(view)? else {
        return Ok(Err(Explanation::new(code::NOT_FOUNDED, "the cluster is not founded yet")));
    };
    let mut nodes = match identity(&cluster.name, name) {
        Some(identity) => certus_ca::node(view, &identity)?.into_iter().collect(),
        None => match name.parse::<NodeId>() {
            Ok(id) => certus_ca::find_node(view, &id)?,
            Err(_) => Vec::new(),
        },
    };
    if nodes.len() > 1 {
        let names: Vec<String> =
            nodes.iter().map(|node| format!("{}/{}", node.identity.role, node.identity.id)).collect();
        return Ok(Err(Explanation::new(code::UNKNOWN_NODE, format!("`{name}` is the id of several nodes"))
            .fact("nodes", names.join(", "))
            .hint("name one of them with its role")));
    }
    if let Some(node) = nodes.pop() {
        return Ok(Ok(Named::Node(Box::new(node))));
    }
    if let Ok(serial) = name.parse::<Serial>()
        && let Some(cert) = certus_ca::certs_by_serial(view, &serial)?.pop()
    {
        return Ok(Ok(Named::Cert(Box::new(cert))));
    }
    let shown: String = name.chars().take(80).collect();
    Ok(Err(Explanation::new(code::UNKNOWN_NODE, format!("no node and no certificate is called `{shown}`"))
        .halves("a node's id, ROLE/ID, or a serial in hexadecimal", shown)
        .hint("certus cert list --all")))
}

/// The node that `name` stands for; a serial stands for none here.
pub(crate) fn node(view: &dyn View, name: &str) -> Result<Result<Box<NodeRecord>, Explanation>, Fault> {
    Ok(match find(view, name)? {
        Ok(Named::Node(node)) => Ok(node),
        Ok(Named::Cert(cert)) => {
            let words = format!("`{name}` is the serial of a certificate of {}", cert.node.id);
            Err(Explanation::new(code::UNKNOWN_NODE, words)
                .halves("a node's id, or ROLE/ID", "a serial")
                .hint(format!("certus node info {}/{}", cert.node.role, cert.node.id)))
        }
        Err(unknown) => Err(unknown.hint("certus node list")),
    })
}

/// The issuers that `text` stands for: those of a manager, or those whose key hash begins so. The short
/// form of a hash, `5f1c…a2`, is one too.
pub(crate) fn issuers(view: &dyn View, text: &str) -> Result<Result<Vec<Sha256>, Explanation>, Fault> {
    let managers = certus_ca::managers(view)?;
    let id = text.strip_prefix("manager/").unwrap_or(text);
    let of_manager = managers.into_iter().filter(|manager| manager.node.id.as_str() == id);
    let mut found: Vec<Sha256> = of_manager.flat_map(|manager| manager.issuers).collect();
    let (begins, ends) = text.split_once('…').unwrap_or((text, ""));
    if found.is_empty() && begins.len() >= HASH_DIGITS_MIN {
        let hashes = certus_ca::issuers(view)?.into_iter().map(|issuer| issuer.key_hash);
        let begins = begins.to_ascii_lowercase();
        found = hashes
            .filter(|hash| {
                let hash = hash.to_string();
                hash.starts_with(&begins) && hash.ends_with(ends)
            })
            .collect();
    }
    if found.is_empty() {
        let shown: String = text.chars().take(80).collect();
        return Ok(Err(Explanation::new(
            code::UNKNOWN_CERTIFICATE,
            format!("no issuer is called `{shown}`"),
        )
        .halves("the beginning of an issuer's key hash, or a manager's id", shown)
        .hint("certus cluster status lists the issuers")));
    }
    Ok(Ok(found))
}

/// Fewer would name several by chance in a cluster of nine managers.
const HASH_DIGITS_MIN: usize = 4;

fn identity(cluster: &ClusterName, name: &str) -> Option<SpiffeId> {
    if name.starts_with("spiffe://") {
        return name.parse().ok();
    }
    let (role, id) = name.split_once('/')?;
    let (role, id) = (role.parse::<Role>().ok()?, id.parse().ok()?);
    Some(SpiffeId { cluster: cluster.clone(), role, id })
}
