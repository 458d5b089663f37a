//! Named points at which a test kills the engine, as a power cut would. Without the feature `failpoints` there is
//! nothing here. `BRIGADE_KILL=NAME:N` kills at the Nth hit of NAME; the journal's own points go by the same variable.

pub use brigade_journal::failpoint::hit;

/// Every point of this crate and of the command line, in the order in which a run passes them.
pub const NAMES: [&str; 29] = [
    // a batch of events on its way to the disk, and what it allows
    "before-append",
    "after-append",
    "before-performing",
    "after-performing",
    // a model call: before it leaves, while it streams, before its answer is handed on and before it is heard
    "before-send",
    "at-first-delta",
    "after-answer",
    "before-hearing",
    // what an attempt is shown, and its view
    "before-restore",
    "after-restore",
    "after-snapshot",
    "after-gather",
    // a tool that writes
    "before-tool",
    "after-tool",
    "after-tool-snapshot",
    // a check
    "before-check",
    "inside-check",
    "after-check-command",
    "after-check",
    // all work put together
    "before-compose",
    "after-compose",
    "before-check-composed",
    // the patch
    "before-patch-stored",
    "after-patch-stored",
    "before-patch-applied",
    "after-patch-applied",
    // a run taken up again, a run that stops, and its result on the way to the user
    "after-resume",
    "at-end",
    "before-result",
];
