//! TOUCHES: the workspace of a run, through one gate.
//!
//! Every path a model, a plan or a patch names passes [`gate`]; every tool call passes [`toolbox`].
//! Nothing here decides what a run does next. Only [`mcp`] opens a socket, to the services that a person
//! has trusted, and [`agent`], to the hosts that a person's configuration names.
//!
//! Read first: [`gate::Root`], then [`view::View`], then [`toolbox::Toolbox`].

pub mod agent;
pub mod branch;
mod brought;
pub mod command;
mod excerpts;
mod files;
pub mod gate;
pub mod instructions;
pub mod mcp;
pub mod notify;
pub mod output;
pub mod patch;
mod picture;
mod private;
pub mod sandbox;
mod screen;
pub mod search;
pub mod toolbox;
pub mod view;

pub use brought::{Brought, Whole};
pub use excerpts::{excerpts, listing};
pub use gate::{Globs, Refusal, RelPath, Scope};
pub use patch::Patch;
pub use picture::{Picture, judge as judge_image, pictures};
pub use screen::escape_for_screen;
pub use toolbox::{Grant, Toolbox};
pub use view::View;
