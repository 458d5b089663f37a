//! BREAKS THINGS: real engines, killed and lied to, and an audit of what is left. Never shipped.
//!
//! Read first: [`lab`] (one home, one workspace, one scripted API), then [`sweep`] and [`audit`].

pub mod audit;
pub mod chance;
pub mod lab;
pub mod sweep;
pub mod work;
