//! The pipeline: plan, apply, journal, undo, resume. `install` on one host and an agent of a cluster run call the same
//! functions.

pub mod apply;
pub mod impact;
pub mod journal;
pub mod plan;
pub mod resume;
pub mod undo;
