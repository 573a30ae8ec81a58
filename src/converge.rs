//! The pipeline: survey, plan, apply, verify; journal, undo, resume. `install` on one host and the agent of a cluster run
//! call the same functions. They return values: nothing here knows the command line or how a result is shown.

pub mod apply;
pub(crate) mod guard;
pub(crate) mod impact;
pub mod journal;
pub mod plan;
pub(crate) mod recover;
pub(crate) mod resume;
pub mod standing;
pub(crate) mod survey;
pub mod undo;
pub(crate) mod verify;
