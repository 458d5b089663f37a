//! Faults of the catalogue (promises.md section 2) against the real binary: one test a fault, one build for all.

#[path = "faults/bench.rs"]
mod bench;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/gate.rs"]
mod gate;
#[path = "faults/hostile.rs"]
mod hostile;
#[path = "faults/plans.rs"]
mod plans;
#[path = "faults/process.rs"]
mod process;
#[path = "faults/provider.rs"]
mod provider;
#[path = "faults/stream.rs"]
mod stream;
