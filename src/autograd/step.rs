//! Recording a step and its rule: what every operation, built in or user-defined, is made of.

use crate::autograd::grad_mode::is_grad_enabled;
use crate::autograd::observe::hook;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::model::{
    AnyRule, AnyTensor, Edges, InputGradients, Needed, Node, Played, Recorded, Tensor,
};
use smallvec::{SmallVec, smallvec};
use std::mem::take;
use std::sync::Arc;

/// The derivative of one recorded step. Users implement it for their own operations, exactly as
/// this crate does for the built-in ones.
///
/// For a step y = f(x1, x2, ..) and a scalar L computed from y, the rule receives `grad` = dL/dy,
/// of y's shape and precision `T`, and returns dL/dx1, dL/dx2, ... The engine adds up the
/// contributions of different steps and undoes broadcasting: a gradient may have any shape that its
/// input broadcasts to, and is then summed over the repeated dims.
///
/// A rule is written with [`Tensor`] operations on what [`StepContext`] gives it. When the gradient
/// is itself being recorded (`create_graph`), those tensors are connected to the graph, the
/// operations are recorded, and so derivatives of any order come for free. Otherwise they are
/// constants. A rule may hold constants of its own; a tensor in the rule's fields that requires a
/// gradient is not seen by the engine and must be passed as an input instead.
///
/// # Example: x^3
///
/// ```
/// use tapegrad::{Backward, Gradients, Result, Step, StepContext, Tensor};
///
/// /// y = x^3, dy/dx = 3 x^2.
/// struct Cube;
///
/// impl Backward<f64> for Cube {
///     fn name(&self) -> &'static str {
///         "Cube"
///     }
///     fn backward(&self, step: StepContext<f64>, grad: Tensor<f64>) -> Result<Gradients> {
///         let x = step.input(0)?;
///         Ok(grad.mul(&x.square()?.mul(3.0)?)?.into())
///     }
/// }
///
/// fn cube(x: &Tensor<f64>) -> Result<Tensor<f64>> {
///     let values = x.as_slice().iter().map(|x| x * x * x).collect();
///     let value = Tensor::from_vec(values, x.shape())?;
///     Ok(Step::new(Cube).saved_input(x).record(value))
/// }
///
/// let x = Tensor::from([1.0, 2.0]).requires_grad();
/// let y = cube(&x)?;
/// assert!(y.to_string().contains("grad_fn=<CubeBackward>"));
/// y.sum(..)?.backward()?;
/// assert_eq!(x.grad().unwrap().to_vec(), [3.0, 12.0]);
/// # Ok::<(), tapegrad::Error>(())
/// ```
pub trait Backward<T: Float>: Send + Sync + 'static {
    /// The operation's name: printed as `grad_fn=<NameBackward>`, in tapes and in errors.
    fn name(&self) -> &'static str;

    /// What the step computes, in a line of mathematics such as `y = ln x`: shown by the pictures of a
    /// [`Tape`](crate::Tape). Empty if it is not said.
    fn formula(&self) -> &'static str {
        ""
    }

    /// The gradients of the step's inputs from the gradient of its output.
    ///
    /// Everything is passed by value: where nobody else holds a buffer, the rule may overwrite it.
    ///
    /// # Errors
    /// Whatever the operations inside return. The backward pass then stops, and every gradient
    /// stays as it was.
    fn backward(&self, step: StepContext<T>, grad: Tensor<T>) -> Result<Gradients>;
}

/// A step about to be recorded: its rule, its inputs, and what the rule needs of them.
///
/// ```text
/// Step::new(rule).input(&a).saved_input(&b).saving_output().record(output)
/// ```
pub struct Step<'a, T: Float, R> {
    rule: R,
    inputs: SmallVec<[StepInput<'a, T>; 3]>,
    saves_output: bool,
    prepared: Option<Tensor<T>>,
}

struct StepInput<'a, T: Float> {
    node: Option<&'a Arc<Node>>,
    saved: Option<&'a Tensor<T>>,
}

impl<'a, T: Float, R: Backward<T>> Step<'a, T, R> {
    /// A step with this rule and no inputs yet.
    #[inline]
    pub fn new(rule: R) -> Self {
        Step { rule, inputs: SmallVec::new(), saves_output: false, prepared: None }
    }

    /// Adds an input whose value the rule does not need. Its precision may differ from the output's.
    #[inline]
    pub fn input<U: Float>(mut self, input: &'a Tensor<U>) -> Self {
        self.inputs.push(StepInput { node: input.node(), saved: None });
        self
    }

    /// Adds an input and saves its value for the rule.
    #[inline]
    pub fn saved_input(self, input: &'a Tensor<T>) -> Self {
        self.input_saved_if(true, input)
    }

    /// Adds an input and saves its value if `needed`. A product, for example, needs one factor for the gradient
    /// of the other, and only if that other one is tracked.
    #[inline]
    pub fn input_saved_if(mut self, needed: bool, input: &'a Tensor<T>) -> Self {
        self.inputs.push(StepInput { node: input.node(), saved: needed.then_some(input) });
        self
    }

    /// Saves the output's value for the rule: exp'(x) = exp(x).
    #[inline]
    pub fn saving_output(mut self) -> Self {
        self.saves_output = true;
        self
    }

    /// Saves a constant that was computed beside the output, for
    /// [`take_prepared`](StepContext::take_prepared). Unlike a field of the rule, the rule gets it by value and
    /// may overwrite it.
    #[inline]
    pub fn saving_prepared(mut self, prepared: impl Into<Option<Tensor<T>>>) -> Self {
        self.prepared = prepared.into();
        self
    }

    /// The output as the result of this step. It is a constant, and nothing is kept, if no input
    /// requires a gradient or inside [`no_grad`](crate::no_grad).
    pub fn record(self, mut output: Tensor<T>) -> Tensor<T> {
        let name = self.rule.name();
        output.forget_node();
        if !is_grad_enabled() || self.inputs.iter().all(|input| input.node.is_none()) {
            hook::value(name, None, &output);
            return output;
        }
        // What is saved has no edges; the node has them. An output that held its own node would be a cycle of
        // references, and would never be freed.
        let mut inputs = Edges::new();
        let mut saved = Saved {
            inputs: SmallVec::new(),
            output: self.saves_output.then(|| output.clone()),
            prepared: self.prepared.map(|prepared| prepared.with_node(None)),
        };
        for input in self.inputs {
            inputs.push(input.node.cloned());
            saved.inputs.push(input.saved.map(Tensor::detach));
        }
        let recorded = Recorded { rule: Arc::new(SavedStep { rule: self.rule, saved }), inputs };
        let node = Node::step(output.shape().clone(), T::DTYPE, name, recorded);
        hook::value(name, Some(node.id), &output);
        output.with_node(Some(Arc::new(node)))
    }
}

/// What a step saves for its rule: constants.
#[derive(Clone, Default)]
struct Saved<T: Float> {
    inputs: SmallVec<[Option<Tensor<T>>; 3]>,
    output: Option<Tensor<T>>,
    prepared: Option<Tensor<T>>,
}

impl<T: Float> Saved<T> {
    /// Gives the saved values their places in the graph back.
    fn connect(&mut self, node: &Arc<Node>, inputs: &Edges) {
        let connect = |tensor: &mut Option<Tensor<T>>, node: Option<&Arc<Node>>| {
            *tensor = tensor.take().map(|tensor| tensor.with_node(node.cloned()));
        };
        for (tensor, node) in self.inputs.iter_mut().zip(inputs) {
            connect(tensor, node.as_ref());
        }
        connect(&mut self.output, Some(node));
    }
}

/// A rule and what was saved for it.
struct SavedStep<T: Float, R> {
    rule: R,
    saved: Saved<T>,
}

impl<T: Float, R: Backward<T>> AnyRule for SavedStep<T, R> {
    fn formula(&self) -> &'static str {
        self.rule.formula()
    }

    fn play(mut self: Arc<Self>, played: Played<'_>) -> Result<InputGradients> {
        let Played { step, node, inputs, needed, grad, recording } = played;
        let Some(grad) = grad.downcast::<T>() else {
            unreachable!("the engine checks every gradient's precision against its node");
        };
        let mut saved = match Arc::get_mut(&mut self) {
            Some(only) => take(&mut only.saved),
            None => self.saved.clone(),
        };
        // Connected to the graph only when the gradient is itself to be recorded.
        if recording {
            saved.connect(node, inputs);
        }
        let context = StepContext { name: step, saved, needed, recording };
        let Gradients { gradients, count, .. } = self.rule.backward(context, grad)?;
        let expected = inputs.len();
        if gradients.len() != expected || count != expected {
            let actual = if gradients.len() != expected { gradients.len() } else { count };
            let problem = format!("the rule returned {actual} gradients for {expected} inputs");
            return Err(Error::Rule { step, problem });
        }
        Ok(gradients)
    }
}

/// What a rule is given of its step: the saved values, and which gradients are wanted.
pub struct StepContext<T: Float> {
    name: &'static str,
    saved: Saved<T>,
    needed: Needed,
    recording: bool,
}

impl<T: Float> StepContext<T> {
    /// The value of an input as it was when the step was recorded.
    ///
    /// # Errors
    /// [`Error::Rule`] if the step did not save it.
    pub fn input(&self, index: usize) -> Result<&Tensor<T>> {
        let saved = self.saved.inputs.get(index).and_then(Option::as_ref);
        saved.ok_or_else(|| self.not_saved("the input that the rule asks for"))
    }

    /// The value of the output.
    ///
    /// # Errors
    /// [`Error::Rule`] if the step did not save it.
    pub fn output(&self) -> Result<&Tensor<T>> {
        self.saved.output.as_ref().ok_or_else(|| self.not_saved("the output"))
    }

    /// The value of an input, moved out: if nobody else holds it, it can be overwritten.
    ///
    /// # Errors
    /// [`Error::Rule`] if the step did not save it, or it was taken already.
    pub fn take_input(&mut self, index: usize) -> Result<Tensor<T>> {
        let saved = self.saved.inputs.get_mut(index).and_then(Option::take);
        saved.ok_or_else(|| self.not_saved("the input that the rule asks for"))
    }

    fn not_saved(&self, what: &str) -> Error {
        Error::Rule { step: self.name, problem: format!("{what} was not saved when the step was recorded") }
    }

    /// The constant that [`Step::saving_prepared`] saved, if there is one, moved out: unless the graph is kept
    /// for another backward pass, nobody else holds it.
    pub fn take_prepared(&mut self) -> Option<Tensor<T>> {
        self.saved.prepared.take()
    }

    /// Whether the gradient of this input is wanted. Others need not be computed, and are dropped.
    pub fn needs_grad(&self, index: usize) -> bool {
        self.needed.get(index).copied().unwrap_or(false)
    }

    /// Whether the computation of the gradient is itself recorded. A rule that has a fused kernel
    /// uses it when this is false, and differentiable operations otherwise.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// Collects the gradients of several inputs: each closure runs only if its gradient is wanted.
    ///
    /// ```text
    /// // d(a b) = b da + a db
    /// step.gradients().input(0, || grad.mul(step.input(1)?))?.input(1, || grad.mul(step.input(0)?))
    /// ```
    pub fn gradients(&self) -> Gradients {
        let mut gradients = InputGradients::new();
        gradients.resize_with(self.needed.len(), || None);
        Gradients { count: gradients.len(), gradients, needed: Needed::from_slice(&self.needed) }
    }
}

/// The gradients of a step's inputs, in their order. From one tensor for a step with one input:
/// `Ok(tensor.into())`; for more, see [`StepContext::gradients`].
pub struct Gradients {
    gradients: InputGradients,
    needed: Needed,
    /// How many inputs the rule takes its step to have.
    count: usize,
}

impl Gradients {
    /// Adds the gradient of one input, if it is wanted. It has the input's precision, which may be another
    /// than the output's. If the step has no such input, the backward pass fails.
    ///
    /// # Errors
    /// What the closure returns.
    #[inline]
    pub fn input<U: Float>(
        mut self,
        index: usize,
        compute: impl FnOnce() -> Result<Tensor<U>>,
    ) -> Result<Self> {
        self.count = self.count.max(index.saturating_add(1));
        if let (Some(slot), Some(true)) = (self.gradients.get_mut(index), self.needed.get(index)) {
            *slot = Some(AnyTensor::new(compute()?));
        }
        Ok(self)
    }
}

impl<T: Float> From<Tensor<T>> for Gradients {
    fn from(gradient: Tensor<T>) -> Self {
        Gradients { gradients: smallvec![Some(AnyTensor::new(gradient))], needed: Needed::new(), count: 1 }
    }
}
