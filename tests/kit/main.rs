//! Models and what trains them: parameters, layers, optimizers, data.

mod gradients;
mod images;
mod layers;
mod resume;
