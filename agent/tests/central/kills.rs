//! `kill -9` of the node and of the controller at random points during a load of denials.

use crate::place::{Place, Seen, count, until};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often each is killed; the long mode does it a hundred times.
const KILLS: &str = "INTERLOCK_KILLS";
const SEED: &str = "INTERLOCK_SEED";

/// Denials a second.
const RATE: u32 = 500;

fn told(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn killed_at_any_moment_both_lose_and_double_nothing() {
    let kills = told(KILLS, 3);
    let mut state = told(SEED, 42) | 1;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let place = Place::new();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut controller = place.controller();
    let mut node = place.node(&seen, RATE, place.listen);
    until(&seen, 20, "connected", |info| info["connected"] == true);
    let mut left = [kills, kills];
    while left != [0, 0] {
        std::thread::sleep(Duration::from_millis(20 + draw(700)));
        let which = usize::try_from(draw(2)).unwrap();
        let which = if left[which] == 0 { 1 - which } else { which };
        left[which] -= 1;
        if which == 0 {
            controller.kill();
            std::thread::sleep(Duration::from_millis(draw(200)));
            controller = place.controller();
        } else {
            node.kill();
            node = place.node(&seen, RATE, place.listen);
        }
    }
    // Nothing new any more: what is recorded must arrive.
    node.kill();
    let _node = place.node(&seen, 0, place.listen);
    place.until_delivered(&seen, 60);
    controller.kill();
    let records = place.verify(&seen);
    println!(
        "{kills} kills of each: {} answered for, {records} recorded and stored",
        count(&seen)
    );
    assert!(count(&seen) as u64 > kills * 50, "the load was too small");
}
