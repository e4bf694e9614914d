//! The JSON Schema of the document: what editors complete and complain about.
//!
//! It knows shapes and words; what goes together is checked by the reader alone.

use serde_json::{Value, json};

/// The schema (JSON Schema 2020-12).
pub(crate) fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "certus.yaml",
        "description": "What a node of a cluster, or an agent without one, carries",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "id": text("the node's id in its cluster; default: the host name"),
            "data_dir": text("where the node keeps its key and certificate"),
            "manager": text("a manager to ask, HOST:PORT"),
            "managers": { "type": "array", "items": text("HOST:PORT"), "description": "managers to ask" },
            "token_file": text("the file that holds the token; needed once"),
            "revocation_stale_after": text("alarm after so long without a manager; default 1h, 20s at least"),
            "on_revocation_stale": { "enum": ["open", "closed"],
                "description": "whether peers are accepted by what is known then; default open" },
            "agent": def("agent"),
            "tls": def("tls"),
            "listeners": { "type": "array", "items": def("listener"), "description": "where the node accepts" },
            "peers": { "type": "array", "items": def("peer"), "description": "whom the node dials" },
        },
        "$defs": {
            "agent": agent(),
            "tls": tls(),
            "listener": listener(),
            "peer": peer(),
            "proxy_protocol": section(&json!({
                "accept": flag("callers come through a proxy that says where from; default false"),
                "send": flag("the service is told where callers come from; default false"),
            }), &[]),
            "limits": section(&json!({
                "connections": number("connections at once; default 10000"),
                "streams": number("streams of one connection at once, h2 and quic; default 100"),
                "handshakes": number("handshakes at once; default 512"),
            }), &[]),
            "allow": allow(),
        },
    })
}

fn agent() -> Value {
    section(
        &json!({
            "id": text("auto, or what the agent calls itself; its id is its key in either case"),
            "data_dir": text("where the agent keeps its key; default: agent in CERTUS_HOME"),
        }),
        &[],
    )
}

fn tls() -> Value {
    let action = |what: &str| json!({ "type": "string", "description": what, "pattern": ACTION });
    section(
        &json!({
            "ca": text("file of the trusted roots, PEM; watched"),
            "cert": text("file of the certificate, its issuers behind it; watched; goes with key"),
            "key": text("file of its key"),
            "ca_pem": text("the trusted roots themselves; wins over ca"),
            "cert_pem": text("the certificate itself; wins over cert"),
            "key_pem": text("the key itself; wins over key"),
            "strict": flag("whether the other end's certificate is verified; default: true in a cluster"),
            "mtls": { "enum": [true, false, "true", "false", "permissive"],
                "description": "whether callers must show a certificate; default: true in a cluster" },
            "mtls_until": text("when plaintext ends, RFC 3339; with mtls: permissive"),
            "key_types": words(&json!({ "enum": ["ecdsa", "ed25519", "rsa", "rsa2048", "rsa3072", "rsa4096"] }),
                "which keys the other end may have; default: all in a cluster, else ecdsa and ed25519"),
            "required_sans": words(&json!({ "type": "string" }), "names of which the other end must have each"),
            "allow_expired": text("how long after its end a certificate is taken, 7d at most; default off"),
            "versions": { "enum": ["1.3", "1.2+", 1.3], "description": "which versions of TLS; default 1.3" },
            "on_expiry": action("when a certificate of the connection ends; default cut"),
            "on_rotation": action("when one's own certificate was replaced; default keep"),
            "on_revocation": action("when a certificate was revoked or its root left; default cut"),
            "on_policy_change": action("when the policy no longer accepts the peer; default cut"),
        }),
        &[],
    )
}

fn listener() -> Value {
    section(
        &json!({
            "name": text("its name in logs and metrics; default TRANSPORT-PORT"),
            "transport": transport(),
            "address": text("HOST:PORT to listen on"),
            "forward": text("the service: HOST:PORT, or unix:/path"),
            "allow": def("allow"),
            "tls": def("tls"),
            "plaintext": flag("no TLS here: a proxy before it ends TLS; default false"),
            "e2e": e2e(),
            "proxy_protocol": def("proxy_protocol"),
            "path": text("the path of a WebSocket; default /certus"),
            "limits": def("limits"),
        }),
        &["transport", "address"],
    )
}

fn peer() -> Value {
    section(
        &json!({
            "name": text("its name in logs and metrics; default TRANSPORT-PORT"),
            "id": text("who must answer: a SPIFFE id, or an agent's id of 64 hexadecimal digits"),
            "transport": transport(),
            "address": text("HOST:PORT of the other node's listener"),
            "listen": text("HOST:PORT to listen on here, in the clear; default: a link is kept up and no more"),
            "tls": def("tls"),
            "plaintext": flag("no TLS here: it begins elsewhere on the way; default false"),
            "e2e": e2e(),
            "intermediary": flag("somebody on the way ends TLS; the listener says plaintext; default false"),
            "server_name": text("the name the certificate must be for; default: the host of address"),
            "http_proxy": text("http://[USER:SECRET@]HOST:PORT on the way; ws only"),
            "path": text("the path of a WebSocket; default /certus"),
        }),
        &["id", "transport", "address"],
    )
}

fn allow() -> Value {
    let one = def("allow");
    let list = json!({ "type": "array", "items": one });
    json!({
        "description": "who may connect; a list means any of them; default: nobody with forward, else everybody",
        "anyOf": [
            { "type": "string", "description": "any, plaintext, a SPIFFE id, dns:, ip:, uri:, key: or agent:" },
            list,
            section(&json!({ "all": list }), &["all"]),
            section(&json!({ "any": list }), &["any"]),
            section(&json!({ "not": one }), &["not"]),
        ],
    })
}

/// `${NAME}` may stand for any of them.
const ACTION: &str = r"^(keep|cut|drain\([0-9]+[smhdy]\)|.*\$\{.*)$";

fn section(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

fn def(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn text(what: &str) -> Value {
    json!({ "type": "string", "description": what })
}

fn flag(what: &str) -> Value {
    json!({ "enum": [true, false, "true", "false"], "description": what })
}

fn number(what: &str) -> Value {
    json!({ "type": ["integer", "string"], "description": what })
}

fn words(one: &Value, what: &str) -> Value {
    json!({ "anyOf": [one, { "type": "array", "items": one }], "description": what })
}

fn transport() -> Value {
    json!({ "enum": ["tcp", "h2", "ws", "quic"], "description": "how connections travel" })
}

fn e2e() -> Value {
    json!({ "enum": ["auto", "never"],
        "description": "an end-to-end session where TLS does not prove both ends; default auto" })
}
