//! Transcripts: exit code, standard output and standard error, word for word.

use crate::harness::World;

/// One command and everything it says.
#[track_caller]
fn transcript(world: &World, words: &[&str], code: i32, stdout: &str, stderr: &str) {
    let said = world.run(words);
    let dir = world.path("").display().to_string();
    let shown = |text: &str| text.replace(dir.trim_end_matches('/'), "DIR");
    let came = (said.code, shown(&said.stdout), shown(&said.stderr));
    assert_eq!(came, (code, stdout.to_owned(), stderr.to_owned()), "certus {}", words.join(" "));
}

#[test]
fn the_command_was_wrong() {
    let world = World::new();
    transcript(
        &world,
        &["cert", "list", "--expirin", "30d"],
        2,
        "",
        "error CT-5101: unexpected argument '--expirin' found
  meant       --expiring
  usage       certus cert list --expiring <TIME>
  hint        certus cert list --help
",
    );
    transcript(
        &world,
        &["cert", "list", "--expiring", "soon"],
        2,
        "",
        "error CT-5101: invalid value 'soon' for '--expiring <TIME>': `soon` is not a duration, expected a whole number above zero and a unit: 30s, 5m, 36h, 90d, 10y
  hint        certus cert list --help
",
    );
    transcript(
        &world,
        &["token", "create", "--role", "manager"],
        2,
        "",
        "error CT-5101: a token for a manager names the one it admits
  expected    --id ID
  came        none
  hint        certus token create --role manager --id m2
",
    );
    transcript(
        &world,
        &["manager", "start", "--token-file", "t"],
        2,
        "",
        "error CT-5101: --token-file is for a worker: a manager's data directory says who it is
  hint        certus node start --help
",
    );
    transcript(
        &world,
        &["--manager", "nowhere", "cluster", "status"],
        2,
        "",
        "error CT-5101: `nowhere` is not a manager's address
  expected    HOST:PORT, as 10.0.0.7:7443
",
    );
}

#[test]
fn what_an_agent_has_no_use_for_is_refused() {
    let world = World::new();
    transcript(
        &world,
        &["agent", "start", "--token-file", "t"],
        2,
        "",
        "error CT-5101: --token-file is for a worker: an agent has no cluster
  hint        certus node start --help
",
    );
    world.write("a.yaml", "listeners:\n  - {transport: quic, address: '127.0.0.1:0', tls: {mtls: true}}\n");
    transcript(
        &world,
        &["agent", "start", "--config", "a.yaml"],
        1,
        "",
        "error CT-5102: mtls: needs a ca: nothing says whose certificates are trusted
  file        a.yaml, line 2
  it says     - {transport: quic, address: '127.0.0.1:0', tls: {mtls: true}}
  expected    ca or ca_pem in the same `tls`, or in the node's
  came        neither
",
    );
    world.run(&["agent", "start", "--enable-mtls"]).failed(1, "CT-5102");
    world.run(&["agent", "start", "--enable-mtls=sometimes"]).failed(2, "CT-5101");
    world.run(&["manager", "start", "--enable-mtls"]).failed(2, "CT-5101");
    world.write("w.yaml", "id: web-1\n");
    world.run(&["agent", "start", "--config", "w.yaml"]).failed(1, "CT-5102");
}

#[test]
fn no_identity_is_said_with_what_to_do() {
    let world = World::new();
    transcript(
        &world,
        &["cert", "list"],
        1,
        "",
        "error CT-5104: this user has no identity for a cluster
  expected    an identity in DIR/home/certs/cli
  came        none
  hint        certus cluster init founds a cluster and makes one; or --home DIR where it was made
",
    );
    let said = world.run(&["cert", "list", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&said.stderr).unwrap();
    assert_eq!(error["error"]["code"], "CT-5104");
    assert_eq!(error["error"]["facts"][1], serde_json::json!({ "label": "came", "value": "none" }));
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
}

#[test]
fn a_configuration_is_checked_with_its_lines() {
    let world = World::new();
    world.write(
        "good.yaml",
        "listeners:\n  - {name: web, transport: tcp, address: 127.0.0.1:9443, forward: 127.0.0.1:8080}\n",
    );
    transcript(
        &world,
        &["config", "check", "good.yaml"],
        0,
        "good.yaml is right, for an agent
  listener  web   127.0.0.1:9443 (tcp, TLS) to 127.0.0.1:8080, for nobody
",
        "note listener web has no `allow`: nobody is let in
",
    );
    world.write("unknown.yaml", "id: web-1\nlisteners:\n  - name: web\n    tranport: tcp\n");
    let said = world.run(&["config", "check", "unknown.yaml"]).failed(3, "CT-5102").stderr;
    assert!(said.contains("tranport") && said.contains("unknown.yaml, line 4"), "{said}");
    world.write("quic.yaml", "peers:\n  - {id: abc, transport: quic, address: 'a:1', plaintext: true}\n");
    transcript(
        &world,
        &["config", "check", "quic.yaml"],
        3,
        "",
        "error CT-5102: id: not the id of anybody
  file        quic.yaml, line 2
  it says     - {id: abc, transport: quic, address: 'a:1', plaintext: true}
  expected    spiffe://CLUSTER/ROLE/ID, or an agent's id of 64 hexadecimal digits
",
    );
    world.run(&["config", "check", "none.yaml"]).failed(1, "CT-3101");
}

#[test]
fn help_leads_with_the_question_and_names_what_is_the_same() {
    let world = World::new();
    let bare = world.run(&[]);
    assert_eq!((bare.code, bare.stdout.as_str()), (2, ""));
    let help = world.run(&["--help"]).ok().stdout;
    assert_eq!(help.trim_end(), bare.stderr.trim_end());
    for words in
        ["Does something keep running that signs?", "certus worker start     certus node start --role worker"]
    {
        assert!(help.contains(words), "{help}");
    }
    let start = world.run(&["worker", "start", "--help"]).ok().stdout;
    assert!(start.contains("is the same as certus node start --role worker"), "{start}");
    assert!(world.run(&["--version"]).ok().stdout.starts_with("certus 0."));
}
