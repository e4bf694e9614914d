//! A lost operator: whoever runs the manager makes a new one, and the old one is shut out.

use crate::harness::World;

#[test]
fn a_lost_operator_is_made_anew_on_the_managers_machine() {
    let world = World::new();
    let manager = world.manager();
    let home = world.path("home");
    let lost = world.path("home.lost");
    std::fs::rename(&home, &lost).unwrap();
    world.run(&["cluster", "status"]).failed(1, "CT-5104");

    let said = world.run(&["cluster", "operator", "--data-dir", "m1"]).ok();
    assert!(said.stdout.starts_with("operator  spiffe://prod/client/cli-"), "{}", said.stdout);
    world.run(&["cluster", "status"]).ok();
    world.run(&["token", "create", "--role", "worker"]).ok();
    let lost = lost.to_str().unwrap();
    world.run(&["--home", lost, "cluster", "status"]).failed(1, "CT-1114");
    let log = manager.log();
    assert!(log.contains("a token for an operator was given out at the admin socket"), "{log}");

    assert_eq!(manager.end(), 0);
    world.run(&["cluster", "operator", "--data-dir", "m1"]).failed(1, "CT-3104");
    world.run(&["cluster", "operator", "--data-dir", "nothing"]).failed(1, "CT-4102");
}
