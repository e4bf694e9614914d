//! Calls that a room must not make, each with what to do instead.

use crate::source::{File, Tree};

struct Ban {
    /// Where it holds; empty is everywhere.
    rooms: &'static [&'static str],
    /// Found as whole words, so `fs::` meets `std::fs::read` and `tokio::fs::File` but not `offs::`.
    words: &'static [&'static str],
    instead: &'static str,
    /// Files in which it does not hold.
    except: fn(&File) -> bool,
}

const PURE: &[&str] = &["pki", "ca", "acme", "wire"];
const NEVER: fn(&File) -> bool = |_| false;

const BANS: &[Ban] = &[
    Ban {
        rooms: &["pki", "ca", "cadir", "acme", "wire", "tls"],
        words: &["SystemTime::now", "UnixTime::now", "Timestamp::now", "Zoned::now"],
        instead: "take the time as an argument",
        except: NEVER,
    },
    Ban { rooms: PURE, words: &["Instant::now"], instead: "take the time as an argument", except: NEVER },
    Ban {
        rooms: &["pki", "ca", "acme", "wire", "tls"],
        words: &["fs::", "File::open", "File::create", "OpenOptions"],
        instead: "take the bytes as an argument; files are read in node and server",
        except: NEVER,
    },
    Ban {
        rooms: &["pki", "ca", "cadir", "acme", "wire", "tls"],
        words: &["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "UnixListener", "ToSocketAddrs"],
        instead: "take any byte stream; sockets are opened in node and server",
        except: NEVER,
    },
    Ban {
        rooms: &["pki", "ca", "cadir", "acme", "wire", "tls", "node", "server"],
        words: &["env::var", "env::vars", "env::var_os", "env::args", "env::set_var"],
        instead: "take an option; only certus reads arguments and environment",
        // The one place where a node is told things by its environment.
        except: |file| file.path.starts_with("crates/node/src/sources"),
    },
    Ban {
        rooms: &["pki", "ca"],
        words: &["tokio", "async fn", "std::thread"],
        instead: "return a value; rooms above run it",
        except: NEVER,
    },
    Ban {
        rooms: PURE,
        words: &["rand::rng", "rand::random", "rand::thread_rng", "OsRng", "getrandom"],
        instead: "take random bytes as an argument",
        except: NEVER,
    },
    Ban {
        rooms: &["ca"],
        words: &["HashMap", "HashSet", "RandomState"],
        instead: "BTreeMap or BTreeSet: equal logs must give equal state (I2)",
        except: NEVER,
    },
    Ban {
        rooms: &["ca"],
        words: &["f32", "f64", "SystemRandom", "aws_lc_rs", "certus_wire", "openraft"],
        instead: "integers and arguments: equal logs must give equal state (I2)",
        except: NEVER,
    },
    Ban {
        rooms: &["tls", "node"],
        words: &["openraft", "redb", "certus_ca", "certus_server"],
        instead: "ask a manager over the API; only server decides and stores",
        except: NEVER,
    },
    Ban {
        rooms: &[],
        words: &["println!", "eprintln!", "print!", "eprint!", "dbg!"],
        instead: "tracing in rooms, `terminal` in the binary",
        except: |file| file.path == "crates/certus/src/terminal.rs",
    },
    Ban {
        rooms: &[],
        words: &["anyhow"],
        instead: "an error enum of the room with thiserror",
        except: NEVER,
    },
    Ban {
        rooms: &[],
        words: &[".unwrap()"],
        instead: "`?`, or `expect` with the reason it cannot fail",
        except: NEVER,
    },
    Ban {
        rooms: &[],
        words: &["unbounded_channel", "UnboundedSender", "mpsc::unbounded"],
        instead: "a channel with a named bound and its reason (I6)",
        except: NEVER,
    },
    Ban {
        rooms: &[],
        words: &["accept_any_peer", "accept_invalid_certs", "skip_verify", "NoVerifier", "NoCertVerifier"],
        instead: "a module called `danger`, and `danger::` at the call",
        except: |file| file.path.ends_with("/danger.rs"),
    },
    Ban {
        rooms: &[],
        words: &["certus_testkit", "certus_forge"],
        instead: "a fixture in the crate's tests/ directory, or in a test module (forge only)",
        except: NEVER,
    },
];

/// What signs certificates, or opens what does: never named where nodes are made of (I3).
const SIGNS: &[Ban] = &[
    Ban {
        rooms: &["node", "tls", "wire"],
        words: &[
            "sign_ca",
            "sign_leaf",
            "self_signed",
            "Issuer::from_der",
            "IssuingKey",
            "SealingKey",
            "root_key",
            "issuer_key",
            "issuing_key",
        ],
        instead: "ask a manager for a certificate; only server opens an issuer's key",
        except: NEVER,
    },
    Ban {
        rooms: &["node", "tls", "wire"],
        words: &["certus_cadir"],
        instead: "a source of files; a node opens a CA directory for development certificates only",
        except: |file| file.path == "crates/node/src/sources/development.rs",
    },
    Ban {
        rooms: &["node", "tls", "wire"],
        words: &["Issuer::found", "sign_cert", "sign_authority", "cross_sign"],
        instead: "ask a manager for a certificate; a node signs only what it forgets the key of",
        except: |file| file.path == "crates/node/src/sources/ephemeral.rs",
    },
];

/// Shipped lines that hold a banned word.
pub(crate) fn broken(tree: &Tree) -> Vec<String> {
    found(tree, BANS)
}

/// Shipped lines by which a node could sign for the cluster.
pub(crate) fn signing_in_nodes(tree: &Tree) -> Vec<String> {
    found(tree, SIGNS)
}

fn found(tree: &Tree, bans: &[Ban]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in tree.rust() {
        let Some(room) = file.room() else { continue };
        let holds = |ban: &&Ban| ban.rooms.is_empty() || ban.rooms.contains(&room);
        for ban in bans.iter().filter(holds).filter(|ban| !(ban.except)(file)) {
            for (number, line) in file.shipped_lines() {
                for word in ban.words.iter().filter(|word| has_word(line, word)) {
                    let (path, instead) = (&file.path, ban.instead);
                    complaints.push(format!("{path}:{number}: `{word}`; instead: {instead}"));
                }
            }
        }
    }
    complaints
}

/// Whether `word` stands in `line` without letters running on at either end, and not behind
/// `danger::`.
fn has_word(line: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    let open_front = word.starts_with(|c| !in_name(c));
    let open_back = word.ends_with(|c| !in_name(c));
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        (open_front || !before.ends_with(in_name))
            && (open_back || !after.starts_with(in_name))
            && !before.ends_with("danger::")
    })
}

#[test]
fn words_are_whole() {
    assert!(has_word("let x = std::fs::read(p);", "fs::"));
    assert!(!has_word("let x = prefs::read(p);", "fs::"));
    assert!(has_word("x.unwrap();", ".unwrap()"));
    assert!(!has_word("x.unwrap_or_default();", ".unwrap()"));
    assert!(!has_word("eprintln!(1)", "println!"));
    assert!(!has_word("danger::accept_any_peer()", "accept_any_peer"));
}
