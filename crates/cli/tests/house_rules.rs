//! The rules of the house, asked of the house: who may use whom, and what no file may hold.
//!
//! Each rule is a function over values (`house_rules/`), tried there on small broken houses; here it meets the real one.
//! A rule that fails says what to do. A rule that is wrong is changed here, with the reason in the commit.

#[path = "house_rules/arrows.rs"]
mod arrows;
#[path = "house_rules/real.rs"]
mod real;
#[path = "house_rules/rust.rs"]
mod rust;
#[path = "house_rules/storeys.rs"]
mod storeys;
#[path = "house_rules/texts.rs"]
mod texts;

use real::House;

/// Fails with all faults at once, so that one run shows the whole work.
fn holds(faults: &[String]) {
    assert!(faults.is_empty(), "{} broken:\n  {}\n", faults.len(), faults.join("\n  "));
}

#[test]
fn dependencies_point_down() {
    holds(&arrows::broken(&House::look().arrows()));
}

#[test]
fn the_architecture_names_every_crate() {
    let house = House::look();
    holds(&texts::unnamed(&house.read("ARCHITECTURE.md"), &house.crates()));
}

#[test]
fn the_map_shows_only_what_is_there() {
    let house = House::look();
    holds(&texts::vanished(&house.read("ARCHITECTURE.md"), &house.paths()));
}

#[test]
fn every_source_file_opens_with_what_it_is() {
    holds(&House::look().each_source(rust::unopened));
}

#[test]
fn no_file_is_longer_than_one_idea() {
    holds(&House::look().each_source(rust::long));
}

#[test]
fn nothing_is_named_after_its_lack_of_a_subject() {
    holds(&House::look().each_source(rust::named_badly));
}

#[test]
fn the_kernel_cannot_tell_the_time_draw_lots_or_touch_the_world() {
    holds(&House::look().each_source(rust::impure));
}

#[test]
fn processes_start_in_tools_only() {
    holds(&House::look().each_source(rust::spawning));
}

#[test]
fn nothing_is_left_unfinished() {
    holds(&House::look().each_text(texts::unfinished));
}

#[test]
fn no_text_knows_a_path_of_somebodys_machine() {
    holds(&House::look().each_text(texts::machine_paths));
}

#[test]
fn the_storeys_of_the_kernel_stand_on_each_other_in_order() {
    holds(&House::look().each_source(storeys::broken));
}
