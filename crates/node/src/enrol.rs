//! Becoming somebody: with credentials that are kept here, or else with a token.

use certus_pki::explain::{Explain, Explanation};
use certus_pki::verify::verify_peer;
use certus_pki::{JoinToken, NodeId, Purpose, Rejection, Role, UnixTime, code};

use crate::api::{JoinError, Joined, is_dialable, join_any};
use crate::files::{FileError, Fresh, IdentityDir, NodeDir, Stored};
use crate::spec::NodeOptions;

/// The credentials to run with, and where they are kept.
pub struct Enrolled {
    /// Where they are kept.
    pub dir: IdentityDir,
    /// The credentials.
    pub stored: Stored,
}

/// Takes the credentials that are kept, if they are usable; else joins with the token.
///
/// # Errors
/// There are no usable credentials, and no manager admitted it.
pub async fn enrol(
    node_dir: &NodeDir,
    options: &NodeOptions,
    managers: &[String],
) -> Result<Enrolled, EnrolError> {
    let id = match &options.id {
        Some(id) => id.clone(),
        None => only_id(node_dir, options.role)?,
    };
    let dir = node_dir.identity(options.role, &id);
    let kept = dir.load().map_err(EnrolError::File)?;
    let unusable = match kept {
        Some(stored) if dir.is_removed(&stored.leaf).map_err(EnrolError::File)? => {
            Some(EnrolError::Removed { id: id.clone() })
        }
        Some(stored) => match usable(&stored, (options.clock)()) {
            Ok(()) => return Ok(Enrolled { dir, stored }),
            Err(why) => Some(EnrolError::Unusable { id: id.clone(), why }),
        },
        None => None,
    };
    let token = match (&options.token, unusable) {
        (Some(token), _) => token,
        (None, Some(unusable)) => return Err(unusable),
        (None, None) => return Err(EnrolError::NoToken { role: options.role, id }),
    };
    let stored = join_somewhere(&dir, options, managers, token, &id).await?;
    node_dir.keep_managers(managers).map_err(EnrolError::File)?;
    Ok(Enrolled { dir, stored })
}

fn only_id(node_dir: &NodeDir, role: Role) -> Result<NodeId, EnrolError> {
    let mut ids = node_dir.enrolled(role).map_err(EnrolError::File)?;
    match ids.len() {
        1 => Ok(ids.remove(0)),
        _ => Err(EnrolError::WhichId { role, ids }),
    }
}

fn usable(stored: &Stored, now: UnixTime) -> Result<(), Rejection> {
    verify_peer(&stored.chain, &stored.bundle, now, Purpose::Client).map(drop)
}

async fn join_somewhere(
    dir: &IdentityDir,
    options: &NodeOptions,
    managers: &[String],
    token: &JoinToken,
    id: &NodeId,
) -> Result<Stored, EnrolError> {
    // Where the configured ones are gone, those of an earlier life may be there.
    let mut addresses = managers.to_vec();
    addresses.extend(learned(dir).into_iter().filter(|address| !managers.contains(address)));
    // The key stays the same until there is a certificate over it, or a refusal.
    let key = dir.pending_key(None).map_err(EnrolError::File)?;
    let joined = join_any(&addresses, token, options.role, id, &key, &options.clock).await;
    let (manager, joined) = joined.map_err(|error| error.map_or(EnrolError::NoManager, EnrolError::Join))?;
    let Joined { identity, chain, bundle, managers } = joined;
    dir.store(&Fresh { key: &key, chain: &chain, bundle: &bundle }).map_err(EnrolError::File)?;
    dir.keep_managers(&dialable(managers)).map_err(EnrolError::File)?;
    tracing::info!(%identity, manager, epoch = %bundle.epoch(), "joined");
    dir.load().map_err(EnrolError::File)?.ok_or(EnrolError::NoManager)
}

/// Where managers said that they are. A list that cannot be read keeps no node from starting.
pub(crate) fn learned(dir: &IdentityDir) -> Vec<String> {
    let kept = dir.managers().unwrap_or_else(|error| {
        tracing::warn!(why = %error.explain(), "what managers said of their addresses cannot be read");
        Vec::new()
    });
    dialable(kept)
}

fn dialable(addresses: Vec<String>) -> Vec<String> {
    addresses.into_iter().filter(|address| is_dialable(address)).collect()
}

/// A process that is nobody.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// A file cannot be used.
    #[error(transparent)]
    File(FileError),
    /// No manager admitted it.
    #[error(transparent)]
    Join(JoinError),
    /// There is nothing here, and no token.
    #[error("node {id} is not enrolled, and no token was given")]
    NoToken {
        /// As what.
        role: Role,
        /// Who.
        id: NodeId,
    },
    /// It is not said which node it is.
    #[error("{} are kept here for the role {role}, and no id was given", match .ids.len() { 0 => "no credentials".to_owned(), count => format!("credentials of {count} nodes") })]
    WhichId {
        /// As what.
        role: Role,
        /// Whose credentials are kept.
        ids: Vec<NodeId>,
    },
    /// A token, and nobody to show it to.
    #[error("no manager's address is known")]
    NoManager,
    /// A manager said so before.
    #[error("node {id} was removed from the cluster")]
    Removed {
        /// Who.
        id: NodeId,
    },
    /// What is kept is not usable any more.
    #[error("the credentials of {id} are not usable: {why}")]
    Unusable {
        /// Whose.
        id: NodeId,
        /// Why not.
        why: Rejection,
    },
}

impl Explain for EnrolError {
    fn explain(&self) -> Explanation {
        let again = |id: &NodeId| {
            format!("certus token create --id {id} --replace, then start with --token-file FILE")
        };
        match self {
            EnrolError::File(error) => error.explain(),
            EnrolError::Join(error) => error.explain(),
            EnrolError::NoToken { role, id } => Explanation::new(code::NOT_ENROLLED, self.to_string()).hint(
                format!("certus token create --role {role} --id {id}, then start with --token-file FILE"),
            ),
            EnrolError::WhichId { ids, .. } => {
                let ids: Vec<_> = ids.iter().map(NodeId::as_str).collect();
                let told = Explanation::new(code::NOT_ENROLLED, self.to_string());
                let told = if ids.is_empty() { told } else { told.fact("kept", ids.join(", ")) };
                told.hint("say which with --id ID")
            }
            EnrolError::NoManager => Explanation::new(code::UNREACHABLE, self.to_string())
                .hint("name one with --manager HOST:PORT"),
            EnrolError::Removed { id } => Explanation::new(code::REMOVED, self.to_string()).hint(again(id)),
            EnrolError::Unusable { id, why } => {
                let mut told = Explanation::new(code::OWN_CERTIFICATE, self.to_string());
                told.facts = why.explain().facts;
                told.hint(again(id))
            }
        }
    }
}
