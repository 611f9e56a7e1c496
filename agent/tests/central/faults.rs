//! Partitions, slow controllers, full disks, certificates and old backups.

use crate::place::{Place, Seen, count, info, until, wanted};
use crate::processes::HASTE;
use crate::way::{HOLE, OPEN, Way};
use interlock_controller::certs;
use interlock_controller::serve::database;
use interlock_controller::store::Store as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Minutes without a way, each of which takes a second; the long mode takes an hour.
const MINUTES: &str = "INTERLOCK_PARTITION_MINUTES";

/// Denials a second.
const RATE: u32 = 1000;

/// What the node may need besides what it needs anyway, in KiB: two batches on their way.
const ROOM: u64 = 12 * 1024;

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// What is recorded in so many milliseconds: all that is made, whatever the controller does.
fn goes_on(seen: &Mutex<Seen>, ms: u64) {
    let before = count(seen);
    pause(ms);
    let made = (count(seen) - before) as u64;
    let expected = u64::from(RATE) * ms / 1000;
    assert!(
        made * 10 > expected * 7,
        "{made} of {expected} were recorded"
    );
    assert_eq!(info(seen)["lost"], 0);
    assert!(info(seen)["degraded"].is_null(), "{}", info(seen));
}

#[test]
fn a_partition_costs_the_node_nothing_and_is_caught_up_in_order() {
    let minutes: u64 = std::env::var(MINUTES).map_or(3, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let place = Place::new();
    let mut controller = place.controller();
    let way = runtime.block_on(Way::to(place.listen));
    let seen = Arc::new(Mutex::new(Seen::default()));
    let node = place.node(&seen, RATE, way.address);
    until(&seen, 20, "delivered", |info| {
        info["countersigned"].as_u64() > Some(0)
    });
    let before = node.resident();
    // The hole says nothing: nothing is refused, nothing is closed.
    way.set(HOLE);
    goes_on(&seen, minutes * 60_000 / u64::from(HASTE));
    let told = info(&seen);
    let waiting = told["recorded"].as_u64().unwrap() - told["countersigned"].as_u64().unwrap();
    assert_eq!(told["connected"], false, "{told}");
    let grown = node.resident().saturating_sub(before);
    println!("{minutes} minutes: {waiting} records wait, the node has grown by {grown} KiB");
    assert!(waiting > minutes * 500, "{waiting}: nothing waits");
    assert!(grown < ROOM, "the node has grown by {grown} KiB");
    way.set(OPEN);
    until(&seen, 60, "connected", |info| info["connected"] == true);
    drop(node);
    let _node = place.node(&seen, 0, way.address);
    place.until_delivered(&seen, 120);
    controller.kill();
    place.verify(&seen);
}

#[test]
fn a_slow_controller_holds_up_nothing_and_fills_no_memory() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let place = Place::new();
    let mut controller = place.controller_of(Some(100));
    let way = runtime.block_on(Way::to(place.listen));
    let seen = Arc::new(Mutex::new(Seen::default()));
    let node = place.node(&seen, RATE, way.address);
    until(&seen, 20, "connected", |info| info["connected"] == true);
    goes_on(&seen, 1200);
    let before = node.resident();
    // A controller that takes a tenth of what comes, then a way that is slower still.
    goes_on(&seen, 1200);
    way.set(20_000);
    goes_on(&seen, 1200);
    let grown = node.resident().saturating_sub(before);
    assert!(grown < ROOM, "the node has grown by {grown} KiB");
    assert!(
        info(&seen)["waiting"].as_u64() > Some(1000),
        "{}",
        info(&seen)
    );
    way.set(OPEN);
    controller.kill();
    let mut controller = place.controller();
    drop(node);
    let _node = place.node(&seen, 0, way.address);
    place.until_delivered(&seen, 60);
    controller.kill();
    place.verify(&seen);
}

#[test]
fn certificates_that_do_not_hold_are_said_and_replaced_under_it() {
    let place = Place::new();
    let folder = place.home.join("certs");
    let keep = place.home.join("good");
    std::fs::rename(&folder, &keep).unwrap();
    let put = |from: &std::path::Path, names: &[&str]| {
        for name in names {
            let fresh = folder.join(format!("{name}.new"));
            std::fs::copy(from.join(name), &fresh).unwrap();
            std::fs::rename(fresh, folder.join(name)).unwrap();
        }
    };
    let all = [
        "ca.pem",
        "controller.pem",
        "controller.key",
        "node-n1.pem",
        "node-n1.key",
    ];
    std::fs::create_dir(&folder).unwrap();
    put(&keep, &all);
    let old = place.home.join("old");
    std::fs::create_dir(&old).unwrap();
    for file in ["ca.pem", "ca.key"] {
        std::fs::copy(keep.join(file), old.join(file)).unwrap();
    }
    certs::make(&old, &wanted(-1)).unwrap();
    let other = place.home.join("other");
    certs::make(&other, &wanted(1)).unwrap();
    // One that has expired.
    put(&old, &["node-n1.pem", "node-n1.key"]);
    let _controller = place.controller();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let node = place.node(&seen, RATE, place.listen);
    until(&seen, 20, "refused", |info| !info["error"].is_null());
    goes_on(&seen, 1000);
    assert_eq!(info(&seen)["connected"], false, "{}", info(&seen));
    // The right ones, put there while it runs.
    put(&keep, &["node-n1.pem", "node-n1.key"]);
    until(&seen, 20, "connected", |info| info["connected"] == true);
    drop(node);
    // An authority that did not sign the controller's.
    put(&other, &["ca.pem"]);
    let node = place.node(&seen, RATE, place.listen);
    let refused = |info: &serde_json::Value| {
        info["error"]
            .as_str()
            .is_some_and(|error| error.contains("invalid peer certificate"))
    };
    until(&seen, 20, "refused by the node", refused);
    goes_on(&seen, 500);
    // And a certificate that another authority has signed.
    put(&keep, &["ca.pem"]);
    put(&other, &["node-n1.pem", "node-n1.key"]);
    pause(1000);
    assert_eq!(info(&seen)["connected"], false, "{}", info(&seen));
    goes_on(&seen, 500);
    put(&keep, &["node-n1.pem", "node-n1.key"]);
    until(&seen, 20, "connected", |info| info["connected"] == true);
    drop(node);
    let _node = place.node(&seen, 0, place.listen);
    place.until_delivered(&seen, 60);
    place.verify(&seen);
}

#[test]
fn a_database_from_an_old_backup_gets_from_the_node_what_it_has_forgotten() {
    let place = Place::new();
    let mut controller = place.controller();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let node = place.node(&seen, RATE, place.listen);
    until(&seen, 20, "countersigned", |info| {
        info["countersigned"].as_u64() > Some(0)
    });
    let copy = place.home.join("copy.db");
    place.store().back_up(&copy).unwrap();
    let then = info(&seen)["countersigned"].as_u64().unwrap();
    let later = move |info: &serde_json::Value| info["countersigned"].as_u64() > Some(then + 600);
    until(&seen, 20, "countersigned anew", later);
    controller.kill();
    let file = database(&place.home.join("data"));
    for end in ["db-wal", "db-shm"] {
        let _ = std::fs::remove_file(file.with_extension(end));
    }
    std::fs::copy(&copy, &file).unwrap();
    let mut controller = place.controller();
    until(&seen, 20, "connected again", |info| {
        info["connected"] == true
    });
    drop(node);
    let _node = place.node(&seen, 0, place.listen);
    place.until_delivered(&seen, 60);
    controller.kill();
    let said = place.audit();
    let forgotten = said
        .iter()
        .any(|entry| entry.action == "records are forgotten");
    assert!(forgotten, "{said:?}");
    place.verify(&seen);
}
