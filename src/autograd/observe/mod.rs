//! A tape with what its steps computed: the ranges of values, the norms of gradients.

pub(crate) mod hook;
pub(crate) mod non_finite;
pub(crate) mod pictures;
pub(crate) mod values;

use crate::autograd::backward::{GradOptions, Request, play, roots};
use crate::autograd::observe::hook::{Computed, StepPart, Watcher, watching};
use crate::autograd::observe::values::{ValueRange, norm};
use crate::autograd::tape::{Nodes, Tape, linearise};
use crate::error::Result;
use crate::float::Float;
use crate::tensor::model::{AnyTensor, Node, Tensor};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Tape {
    /// Runs a computation and its backward pass, and returns its tape with the
    /// [range](crate::TapeEntry::values) of what each step computed and the
    /// [norm](crate::TapeEntry::gradient_norm) of the gradient that reached it. This is what the pictures
    /// ([`to_svg`](Tape::to_svg), [`to_html`](Tape::to_html)) are made for.
    ///
    /// The closure computes the loss. The gradients are not added to any leaf, and the graph is released. Of each
    /// step only a few numbers are kept, not its values. A leaf is not computed, and has a range only if it is
    /// [named](Tape::named). Steps that another thread records, or that were recorded before, have no range.
    ///
    /// ```
    /// # use tapegrad::{Tape, Tensor};
    /// let x = Tensor::from([3.0, -4.0]).requires_grad();
    /// let tape = Tape::observe(|| x.square()?.sum(..))?.named("x", &x);
    ///
    /// let square = &tape.entries()[1];
    /// assert_eq!(square.formula, "y = x²");
    /// assert_eq!(square.values.unwrap().to_string(), "9 .. 16");
    /// assert_eq!(square.gradient_norm, Some(2.0f64.sqrt()));   // of (1, 1)
    /// assert_eq!(tape.entries()[0].gradient_norm, Some(10.0)); // of (6, -8)
    /// assert!(x.grad().is_none());
    /// # Ok::<(), tapegrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the closure returns, and as [`Tensor::backward`].
    pub fn observe<T: Float>(computation: impl FnOnce() -> Result<Tensor<T>>) -> Result<Tape> {
        let op = "observe";
        let (loss, ranges) = watching(Ranges::default(), computation);
        let (loss, ranges) = (loss?, ranges.take());
        let roots = roots(op, &[&loss], &GradOptions::new())?;
        let mut tape = loss.tape();
        tape.describe(|id, entry| entry.values = ranges.of(id));

        let keeping = Keeping::all(linearise(loss.node()).0);
        let request = Request { op, roots, wanted: None, retain: false, recording: false };
        let mut found = play(request)?;
        drop(keeping);
        found.sort_unstable_by_key(|(node, _)| node.id);
        tape.describe(|id, entry| {
            let place = found.binary_search_by_key(&id, |(node, _)| node.id);
            entry.gradient_norm = place.ok().map(|place| match &found[place].1 {
                AnyTensor::F32(gradient) => norm(gradient.as_slice()),
                AnyTensor::F64(gradient) => norm(gradient.as_slice()),
            });
        });
        Ok(tape)
    }

    /// Gives the entry of this tensor a name, for print and pictures, and notes the range of the values that
    /// the tensor has now. If the norm of its gradient is not known yet, and the tensor has a
    /// [gradient](Tensor::grad), the norm is noted too. A tensor that is not on the tape changes nothing.
    ///
    /// ```
    /// # use tapegrad::Tensor;
    /// let logits = Tensor::new([[2.0, 1.0]]).requires_grad();
    /// let loss = logits.cross_entropy([0])?;
    /// assert_eq!(loss.tape().named("logits", &logits).named("loss", &loss).to_string(), "\
    /// %0  logits = leaf             [1, 2]
    /// %1  loss = CrossEntropy(%0)   []
    /// ");
    /// # Ok::<(), tapegrad::Error>(())
    /// ```
    pub fn named<T: Float>(mut self, name: impl Into<String>, tensor: &Tensor<T>) -> Tape {
        let (Some(node), name) = (tensor.node(), name.into()) else { return self };
        self.describe(|id, entry| {
            if id == node.id {
                entry.label = Some(name.clone());
                entry.values = ValueRange::of(tensor.as_slice());
                let gradient = || tensor.grad().map(|gradient| norm(gradient.as_slice()));
                entry.gradient_norm = entry.gradient_norm.or_else(gradient);
            }
        });
        self
    }
}

/// Watches the ranges of the values of recorded steps.
#[derive(Default)]
struct Ranges {
    /// By the ids of the nodes, which ascend as the steps are recorded.
    of_nodes: Vec<(u64, Option<ValueRange>)>,
}

impl Ranges {
    fn of(&self, id: u64) -> Option<ValueRange> {
        let place = self.of_nodes.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        self.of_nodes[place].1
    }
}

impl Watcher for Ranges {
    fn see(&mut self, computed: &Computed<'_>) {
        if let Computed { part: StepPart::Value, node: Some(id), tensor, .. } = *computed {
            let range = match tensor {
                AnyTensor::F32(tensor) => ValueRange::of(tensor.as_slice()),
                AnyTensor::F64(tensor) => ValueRange::of(tensor.as_slice()),
            };
            self.of_nodes.push((id, range));
        }
    }
}

/// Makes backward keep the gradients of all nodes, until this is dropped.
struct Keeping(Vec<(Arc<Node>, bool)>);

impl Keeping {
    fn all(nodes: Nodes) -> Self {
        Keeping(nodes.into_iter().map(|node| (node.clone(), node.keeps_grad.swap(true, Relaxed))).collect())
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        for (node, kept) in &self.0 {
            node.keeps_grad.store(*kept, Relaxed);
        }
    }
}
