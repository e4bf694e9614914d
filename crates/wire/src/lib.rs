//! The managers' API as bytes: the generated types, and their conversions to the words of `pki`.
//!
//! Decides nothing. Whatever comes from the network passes a `TryFrom` here before it is believed.

mod bundle;
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
    "/certus.v1.Cluster/ListCerts",
    "/certus.v1.Cluster/GetCert",
    "/certus.v1.Cluster/Revoke",
    "/certus.v1.Cluster/Enforcement",
    "/certus.v1.Cluster/Rotate",
];

#[cfg(test)]
mod tests {
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
