//! The managers' API as bytes: the generated types, and their conversions to the words of `pki`.
//!
//! Decides nothing. Whatever comes from the network passes a `TryFrom` here before it is believed.

mod bundle;
pub mod codec;
mod convert;
pub mod status;

pub use bundle::{bundle_from_wire, bundle_to_wire, credentials_from_wire};
pub use convert::{
    Malformed, cert_id, cert_id_to_wire, csr_of, epoch, epoch_to_wire, hash, identity, parsed, reason,
    secret_hash, serial, token_id,
};

/// The generated types and services of `certus.v1`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("certus.v1");
}

/// A token's secret is in it, and is not shown (I7).
impl std::fmt::Debug for v1::JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (role, id) = (&self.role, &self.id);
        f.debug_struct("JoinRequest").field("role", role).field("id", id).finish_non_exhaustive()
    }
}

/// A token is in it, and is not shown (I7).
impl std::fmt::Debug for v1::CreateTokenReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateTokenReply").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Messages larger than this are refused: a bundle of 100,000 revocations has about 10 MB.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// The name of every call, `/certus.v1.Service/Method`, in the order of the protocol.
///
/// The table of who may call what is held against this list.
pub const CALLS: &[&str] = &[
    "/certus.v1.Bootstrap/Info",
    "/certus.v1.Bootstrap/Join",
    "/certus.v1.Node/Renew",
    "/certus.v1.Node/Watch",
    "/certus.v1.Cluster/Status",
    "/certus.v1.Cluster/Bundle",
    "/certus.v1.Cluster/CreateToken",
    "/certus.v1.Cluster/ListTokens",
    "/certus.v1.Cluster/RevokeToken",
    "/certus.v1.Cluster/ListNodes",
    "/certus.v1.Cluster/GetNode",
    "/certus.v1.Cluster/ListCerts",
    "/certus.v1.Cluster/GetCert",
    "/certus.v1.Cluster/Revoke",
    "/certus.v1.Cluster/Enforcement",
    "/certus.v1.Cluster/Rotate",
    "/certus.v1.Cluster/ListManagers",
    "/certus.v1.Cluster/PromoteManager",
    "/certus.v1.Cluster/RemoveManager",
    "/certus.v1.Quorum/Replicate",
    "/certus.v1.Quorum/Snapshot",
    "/certus.v1.Quorum/Propose",
    "/certus.v1.Quorum/ReadIndex",
    "/certus.v1.Quorum/Enlist",
    "/certus.v1.Quorum/Keys",
    "/certus.v1.Quorum/Retire",
    "/certus.v1.Quorum/Connected",
    "/certus.v1.Quorum/EnforcementHere",
];

#[cfg(test)]
mod tests {
    use super::v1;

    #[test]
    fn i7_messages_do_not_show_the_secrets_they_carry() {
        let secret = vec![0xab; 16];
        let join = v1::JoinRequest {
            secret: secret.clone(),
            role: "worker".into(),
            id: "web-1".into(),
            csr: vec![],
        };
        let shown = format!("{join:?} {:?}", v1::CreateTokenReply { token: "abab".into(), expires_at: 7 });
        assert!(shown.contains("web-1") && shown.contains('7'), "{shown}");
        assert!(!shown.contains("171") && !shown.contains("ab"), "{shown}");
    }

    /// The list of calls is written by hand, the protocol is the truth.
    #[test]
    fn calls_are_those_of_the_protocol() {
        let protocol = include_str!("../proto/certus/v1/certus.proto");
        let mut service = "";
        let mut calls = Vec::new();
        for line in protocol.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("service ") {
                service = name.trim_end_matches(" {");
            }
            if let Some(call) = line.strip_prefix("rpc ") {
                let method = call.split('(').next().unwrap_or_default();
                calls.push(format!("/certus.v1.{service}/{method}"));
            }
        }
        assert_eq!(calls, super::CALLS);
    }
}
