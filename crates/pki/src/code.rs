//! Stable codes of everything that can go wrong, each with an entry in `docs/troubleshooting.md`.
//!
//! A code is never reused for another meaning. 11xx: a peer's certificate or agent id; 12xx: keys, files
//! and encodings; 21xx: tokens and joining; 22xx: what the CA refuses; 23xx: reaching a manager;
//! 31xx: a node's own affairs; 41xx: founding, the manager's store, CA directories; 51xx: usage and configuration.
//! A code is never reused for another meaning. 11xx: a peer's certificate; 12xx: keys, files and
//! encodings; 21xx: tokens and joining; 22xx: what the CA refuses; 23xx: reaching a manager;
//! 31xx: a node's own affairs; 32xx: how connections travel; 33xx: what a check-up finds; 41xx: founding, the manager's store, CA directories; 51xx: usage and configuration.

use std::fmt;

/// A stable code, printed `CT-1101`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

impl Code {
    /// The code with this number, for one that came over the wire.
    pub const fn from_number(number: u16) -> Code {
        Code(number)
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CT-{:04}", self.0)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        $($(#[$doc])* pub const $name: Code = Code($number);)*

        /// Every code there is, in order.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    /// The chain ends at a root that is not trusted here.
    UNKNOWN_AUTHORITY = 1101;
    /// A certificate's last moment has passed.
    EXPIRED = 1102;
    /// A certificate's first moment has not come.
    NOT_YET_VALID = 1103;
    /// The peer sent no certificate where one is required.
    NO_CERTIFICATE = 1104;
    /// The certificate was revoked.
    REVOKED = 1105;
    /// The issuer is not, or no longer, one of the cluster's.
    ISSUER_NOT_ACTIVE = 1106;
    /// The certificate names another cluster.
    WRONG_CLUSTER = 1107;
    /// The identity is not one that is accepted here.
    NOT_ALLOWED = 1108;
    /// The certificate may not be used for this side of a connection.
    WRONG_PURPOSE = 1109;
    /// The certificate carries no single identity.
    NO_IDENTITY = 1110;
    /// A CA certificate was presented as a leaf, or a leaf without digitalSignature.
    NOT_A_LEAF = 1111;
    /// A signature in the chain does not verify.
    BAD_SIGNATURE = 1112;
    /// A certificate is not well-formed, or breaks a rule of RFC 5280.
    MALFORMED_CERTIFICATE = 1113;
    /// The peer ended the handshake because of our certificate.
    PEER_REJECTED_US = 1114;
    /// The handshake failed for a reason other than a certificate.
    HANDSHAKE_FAILED = 1115;
    /// The handshake did not end in time.
    HANDSHAKE_TIMEOUT = 1116;
    /// The other end does not hold the key of the agent that was expected.
    E2E_WRONG_PEER = 1117;
    /// The other end does not accept this agent.
    E2E_REFUSED = 1118;
    /// The end-to-end session is malformed or cut off, or the two ends bind it to different things.
    E2E_FAILED = 1119;
    /// The certificate lacks a name that is required of peers.
    NAME_MISSING = 1120;
    /// The certificate's key is of a kind that is not accepted.
    KEY_NOT_ACCEPTED = 1121;
    /// The caller came in the clear where that is not accepted.
    PLAINTEXT = 1122;

    /// A private key does not fit its certificate.
    KEY_MISMATCH = 1201;
    /// A key is of a type or size that is not accepted.
    BAD_KEY = 1202;
    /// Text or bytes are not the PEM or DER they should be.
    BAD_ENCODING = 1203;
    /// A certificate request is not acceptable.
    BAD_REQUEST = 1204;
    /// A name is not one that a certificate may carry.
    BAD_NAME = 1205;
    /// A signature could not be made.
    SIGNING_FAILED = 1206;
    /// A passphrase does not open what it should.
    WRONG_PASSPHRASE = 1207;
    /// A key or a container is encrypted, and no passphrase was given.
    PASSPHRASE_NEEDED = 1208;
    /// A revocation list cannot be read, or is not one to go by.
    BAD_CRL = 1209;
    /// A PKCS#12 container cannot be read or made.
    BAD_PKCS12 = 1210;
    /// A name is outside a CA's name constraints.
    OUTSIDE_CONSTRAINTS = 1211;
    /// A request asks for a name that the signing policy does not allow.
    NAME_NOT_ALLOWED = 1212;
    /// The certificate is not for the name that was looked for.
    WRONG_NAME = 1213;
    /// A certificate breaks a rule for its place in a chain.
    BROKEN_RULE = 1214;

    /// The manager's chain does not hold the root the token pins.
    WRONG_PIN = 2101;
    /// No such token.
    UNKNOWN_TOKEN = 2102;
    /// The token's time is over.
    TOKEN_EXPIRED = 2103;
    /// The token's uses are spent.
    TOKEN_USED_UP = 2104;
    /// The token admits another role.
    TOKEN_WRONG_ROLE = 2105;
    /// The id belongs to another key.
    ID_IN_USE = 2106;
    /// The other end is not a manager of the cluster.
    NOT_A_MANAGER = 2107;
    /// The token was revoked.
    TOKEN_REVOKED = 2108;
    /// The token admits only another id.
    TOKEN_WRONG_ID = 2109;
    /// Text that is not a token.
    NOT_A_TOKEN = 2110;

    /// The caller may not make this call.
    PERMISSION_DENIED = 2201;
    /// No such node.
    UNKNOWN_NODE = 2202;
    /// No such certificate.
    UNKNOWN_CERTIFICATE = 2203;
    /// The certificate asking is no longer the node's, or was revoked.
    RENEWAL_BARRED = 2204;
    /// The issuer would not outlive what it should sign.
    ISSUER_TOO_SHORT = 2205;
    /// The cluster was founded before.
    ALREADY_FOUNDED = 2206;
    /// The cluster is not founded yet.
    NOT_FOUNDED = 2207;
    /// A signed certificate is not what was planned.
    PLAN_MISMATCH = 2208;
    /// A serial number came twice.
    SERIAL_REPEATED = 2209;
    /// Too many calls from one address without a certificate.
    RATE_LIMITED = 2210;
    /// The request is outside a stated limit.
    OUT_OF_BOUNDS = 2211;
    /// The manager cannot answer now.
    UNAVAILABLE = 2212;
    /// The request or the answer is not understood.
    BAD_MESSAGE = 2213;
    /// It was revoked before.
    ALREADY_REVOKED = 2214;

    /// No manager could be reached.
    UNREACHABLE = 2301;
    /// No answer within the time allowed.
    DEADLINE = 2302;

    /// A file could not be read or written.
    FILE = 3101;
    /// A secret file can be read by others.
    FILE_MODE = 3102;
    /// The node has no certificate, and no token to get one.
    NOT_ENROLLED = 3103;
    /// An address could not be listened on.
    LISTEN = 3104;
    /// The node's own certificate is no longer usable.
    OWN_CERTIFICATE = 3105;
    /// The data directory belongs to a running process.
    DIRECTORY_IN_USE = 3106;
    /// The service behind a listener does not answer.
    BACKEND = 3107;
    /// A peer does not answer.
    PEER_UNREACHABLE = 3108;
    /// The node was removed from the cluster.
    REMOVED = 3109;
    /// A bundle was sent whose roots are not those that are trusted.
    FOREIGN_ROOTS = 3110;
    /// More connections at once than a listener carries.
    TOO_MANY_CONNECTIONS = 3111;
    /// Whether peers were revoked is not known: no manager was heard of for too long.
    TRUST_STALE = 3120;

    /// The other end breaks the rules of the transport, or speaks another.
    TRANSPORT_BROKEN = 3201;
    /// The connection that carries others ended, or one stream of it.
    TRANSPORT_CLOSED = 3202;
    /// The other end did not answer within the time of the transport.
    TRANSPORT_SILENT = 3203;
    /// The other end refused to carry a connection.
    STREAM_REFUSED = 3204;
    /// An HTTP proxy is not usable, or did not connect us.
    HTTP_PROXY = 3205;
    /// A header of the PROXY protocol is missing, malformed or cannot be made.
    PROXY_PROTOCOL = 3206;

    /// Two clocks that must agree do not.
    CLOCK_SKEW = 3301;
    /// A disk has little room left.
    DISK_ROOM = 3302;
    /// A limit of the system is lower than what is configured needs.
    LOW_LIMIT = 3303;
    /// The managers, or they and this command, are of different versions.
    VERSIONS_DIFFER = 3304;
    /// The managers that vote are too few, without a leader, or behind.
    QUORUM = 3305;
    /// A process that holds keys may leave a core dump.
    CORE_DUMPS = 3306;
    /// A renewal that was due did not happen.
    RENEWAL_OVERDUE = 3307;
    /// An authority of the cluster ends soon.
    AUTHORITY_ENDS = 3308;

    /// There is data where something new should be made.
    ALREADY_EXISTS = 4101;
    /// There is no manager's data where some was expected.
    NO_MANAGER_DATA = 4102;
    /// The store is damaged, in use by another process, or of a newer format.
    STORE = 4103;
    /// A sealed key could not be opened.
    SEALED_KEY = 4104;
    /// There is no certificate authority in the directory.
    NO_CA_HERE = 4105;
    /// A CA directory's ledger is damaged, or of a newer format.
    LEDGER = 4106;
    /// The key that must sign is not there, or cannot be opened.
    CA_KEY_ABSENT = 4107;
    /// The manager is locked: its cluster key is under a passphrase that it was not given yet.
    LOCKED = 4120;
    /// The manager's cluster key is not under a passphrase.
    NOT_LOCKED = 4121;
    /// The root's key, which is needed, is kept outside the cluster.
    ROOT_OFFLINE = 4122;
    /// The root's key is in the cluster already.
    ROOT_ONLINE = 4123;
    /// The last issuer that was signed ahead ends soon, and the root's key is offline.
    ROOT_NEEDED = 4124;
    /// A backup cannot be read: it is damaged, cut short, or something else.
    BACKUP_DAMAGED = 4131;
    /// A newer version wrote the store or the backup.
    NEWER_FORMAT = 4132;
    /// A manager cannot be made the only one.
    NOT_RECOVERABLE = 4133;
    /// The clock and the time of the cluster's last change are too far apart.
    CLOCK_OFF = 4140;

    /// The command or its options are wrong.
    USAGE = 5101;
    /// The configuration is wrong.
    CONFIGURATION = 5102;
    /// This machine has no identity for the cluster.
    NO_IDENTITY_HERE = 5104;
    /// A step of the tour was not observed.
    TOUR_FAILED = 5105;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_unique() {
        assert!(ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(UNKNOWN_AUTHORITY.to_string(), "CT-1101");
    }
}
