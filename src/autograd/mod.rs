//! Reverse-mode automatic differentiation: a [`step`] is recorded, the [`tape`] lists the steps of a result, and
//! [`backward`] plays that list in reverse.

pub(crate) mod backward;
pub(crate) mod grad_mode;
pub(crate) mod gradcheck;
pub(crate) mod observe;
pub(crate) mod step;
pub(crate) mod tape;
