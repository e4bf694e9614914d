//! Certificates that openssl made by the recipes people follow, accepted or refused with the reason; and
//! CA directories of other tools.

use std::process::Command;

use crate::harness::World;
use crate::judge::{agrees, is_there};

#[test]
fn openssls_chain_with_names_is_accepted() {
    if !is_there("openssl") {
        return;
    }
    let world = World::new();
    agrees(&world, "genrsa -out ca.key 2048");
    agrees(&world, "req -new -x509 -days 365 -key ca.key -out ca.crt -subj /CN=Aegis-CA/O=My-Organization");
    agrees(&world, "genrsa -out node.key 2048");
    agrees(&world, "req -new -key node.key -out node.csr -subj /CN=node-1/O=Aegis-Network");
    let names = "[req]\ndistinguished_name = dn\n[dn]\n[v3_req]\nsubjectAltName = @alt\n[alt]\n\
                 DNS.1 = node-1\nDNS.2 = localhost\nIP.1 = 127.0.0.1\n";
    world.write("san.cnf", names);
    let sign = "x509 -req -days 90 -in node.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out node.crt";
    agrees(&world, &format!("{sign} -extfile san.cnf -extensions v3_req"));
    for name in ["dns:node-1", "dns:localhost", "ip:127.0.0.1"] {
        world.run(&["cert", "verify", "--ca", "ca.crt", "--name", name, "node.crt"]).ok();
    }
    let read = world.run(&["csr", "info", "node.csr"]).ok();
    assert!(read.stdout.contains("node-1"), "{}", read.stdout);
}

#[test]
fn a_version_1_leaf_without_names_is_refused_with_exactly_that() {
    if !is_there("openssl") {
        return;
    }
    let world = World::new();
    agrees(&world, "ecparam -name prime256v1 -genkey -noout -out ca.key");
    agrees(&world, "req -x509 -new -nodes -key ca.key -sha256 -days 365 -out ca.crt -subj /CN=Mesh");
    agrees(&world, "ecparam -name prime256v1 -genkey -noout -out agent.key");
    agrees(&world, "req -new -key agent.key -out agent.csr -subj /CN=agent-1");
    agrees(
        &world,
        "x509 -req -in agent.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out agent.crt -days 365 -sha256",
    );
    let verify = ["cert", "verify", "--ca", "ca.crt", "--name", "dns:agent-1", "agent.crt"];
    let said = world.run(&verify).failed(1, "CT-1214").stderr;
    assert!(said.contains("version 1") && said.contains("carries no names"), "{said}");
    // The corrected lines are as they should be.
    let line = said.lines().find_map(|line| line.split_once("openssl x509 -req")).unwrap().1;
    let line = format!("openssl x509 -req{line}");
    let output = Command::new("bash").args(["-c", &line]).current_dir(world.path("")).output().unwrap();
    assert!(output.status.success(), "{line}");
    world.run(&verify).ok();
}

#[test]
fn a_ca_that_openssl_made_goes_on_as_a_directory() {
    if !is_there("openssl") {
        return;
    }
    let world = World::new();
    std::fs::create_dir(world.path("old")).unwrap();
    agrees(&world, "ecparam -name prime256v1 -genkey -noout -out old/ca.key");
    agrees(
        &world,
        "req -x509 -new -nodes -key old/ca.key -sha256 -days 365 -out old/ca.crt -subj /CN=Old/DC=corp/OU=a/OU=b",
    );
    let key = world.path("old/ca.key");
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let issue = ["cert", "issue", "--role", "server", "web.example.com", "--ca", "old"];
    world.run(&issue).failed(1, "CT-3102");
    mode(0o600);
    world.run(&issue).ok();
    agrees(&world, "verify -CAfile old/ca.crt old/web.example.com.crt");
    let listed = world.run(&["cert", "list", "--ca", "old", "--json"]).ok().json();
    assert_eq!(listed["certificates"].as_array().unwrap().len(), 1);
}
