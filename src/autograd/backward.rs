//! Playing the tape in reverse: `backward` and `grad`.

use crate::autograd::grad_mode::enable_grad;
use crate::autograd::observe::hook;
use crate::autograd::tape::{linearise, place_of};
use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::kernels::elementwise::add_assign;
use crate::tensor::model::{AnyTensor, Needed, Node, Played, Recorded, Tensor, for_either};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// How gradients are to be computed. The default is what `loss.backward()` does.
#[derive(Clone)]
pub struct GradOptions<T: Float = f32> {
    grad_outputs: Option<Vec<Tensor<T>>>,
    retain_graph: Option<bool>,
    create_graph: bool,
    materialize_grads: bool,
}

impl<T: Float> Default for GradOptions<T> {
    fn default() -> Self {
        GradOptions { grad_outputs: None, retain_graph: None, create_graph: false, materialize_grads: false }
    }
}

impl<T: Float> GradOptions<T> {
    /// The default: outputs of one element with the upstream gradient 1, the graph released.
    pub fn new() -> Self {
        GradOptions::default()
    }

    /// The upstream gradients dL/d output, one an output and of its shape. Without them every output
    /// must have a single element, whose upstream gradient is 1.
    pub fn grad_outputs(mut self, grad_outputs: impl IntoIterator<Item = Tensor<T>>) -> Self {
        self.grad_outputs = Some(grad_outputs.into_iter().collect());
        self
    }

    /// Keep the steps and what they saved, so that they can be played again. By default they are kept
    /// if and only if [`create_graph`](Self::create_graph) is set.
    pub fn retain_graph(mut self, retain_graph: bool) -> Self {
        self.retain_graph = Some(retain_graph);
        self
    }

    /// Record the computation of the gradients, so that they can be differentiated in turn. Only
    /// [`grad`] can do this: [`backward`] always stores gradients without a history, because a leaf
    /// that owned a gradient whose graph owned the leaf would never be freed.
    pub fn create_graph(mut self, create_graph: bool) -> Self {
        self.create_graph = create_graph;
        self
    }

    /// Return zeros for inputs that the outputs do not depend on, instead of an error.
    pub fn materialize_grads(mut self, materialize_grads: bool) -> Self {
        self.materialize_grads = materialize_grads;
        self
    }
}

impl<T: Float> Tensor<T> {
    /// Computes d self / d leaf for every leaf that this single value depends on, and adds it to the
    /// leaf's [`grad`](Tensor::grad) (PyTorch's `loss.backward()`).
    ///
    /// Playing a step releases what it had saved, so that memory falls as backward goes; see
    /// [`backward_retain_graph`](Tensor::backward_retain_graph) to keep it.
    ///
    /// All or nothing: on an error every gradient stays as it was.
    ///
    /// # Errors
    /// [`Error::NotScalar`] for a tensor with another number of elements than one,
    /// [`Error::NotTracked`] for a constant, [`Error::Released`] if an earlier backward has played a
    /// step of the graph, and what the rules return.
    pub fn backward(&self) -> Result<()> {
        backward(&[self], &GradOptions::new())
    }

    /// Like [`backward`](Tensor::backward) for a tensor of any shape, from the gradient that arrives
    /// from upstream: leaf gradients are those of sum(self * upstream).
    ///
    /// # Errors
    /// As [`backward`](Tensor::backward), and [`Error::Shape`] if `upstream` has another shape.
    pub fn backward_with(&self, upstream: &Tensor<T>) -> Result<()> {
        backward(&[self], &GradOptions::new().grad_outputs([upstream.clone()]))
    }

    /// Like [`backward`](Tensor::backward), and the graph stays as it is, to be played again.
    ///
    /// # Errors
    /// As [`backward`](Tensor::backward).
    pub fn backward_retain_graph(&self) -> Result<()> {
        backward(&[self], &GradOptions::new().retain_graph(true))
    }
}

compiled! {
    /// Adds the gradients of several outputs together to their leaves, in one pass over the union of
    /// their graphs (PyTorch's `torch.autograd.backward`).
    ///
    /// # Errors
    /// As [`Tensor::backward`]; [`Error::Argument`] for `create_graph`, and for another number of
    /// upstream gradients than outputs.
    pub fn backward<T>(outputs: &[&Tensor<T>], options: &GradOptions<T>) -> Result<()> {
        let op = "backward";
        if options.create_graph {
            let (name, allowed) = ("create_graph", "false; use grad() for gradients that can be differentiated");
            return Err(Error::Argument { op, name, value: "true".into(), allowed });
        }
        let roots = roots(op, outputs, options)?;
        let kept = play(Request {
            op,
            roots,
            wanted: None,
            retain: options.retain_graph == Some(true),
            recording: false,
        })?;
        accumulate_all(kept)
    }
}

compiled! {
    /// The gradients of outputs with respect to inputs, returned rather than stored (PyTorch's
    /// `torch.autograd.grad`). Inputs may be leaves or values in the middle.
    ///
    /// Only the steps between the inputs and the outputs are played. With
    /// [`create_graph`](GradOptions::create_graph) the results can be differentiated again, to any order:
    ///
    /// ```
    /// # use tapegrad::{grad, GradOptions, Tensor};
    /// let x = Tensor::from(2.0).requires_grad();
    /// let y = x.pow(3.0)?;
    /// let recorded = GradOptions::new().create_graph(true);
    /// let dy = grad(&[&y], &[&x], &recorded)?.remove(0);         // 3 x^2
    /// let d2y = grad(&[&dy], &[&x], &recorded)?.remove(0);       // 6 x
    /// let d3y = grad(&[&d2y], &[&x], &GradOptions::new())?.remove(0);
    /// assert_eq!((dy.item()?, d2y.item()?, d3y.item()?), (12.0, 12.0, 6.0));
    /// # Ok::<(), tapegrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::backward`]; [`Error::NotTracked`] for an input too, and [`Error::Unused`] for an input that no
    /// output depends on.
    pub fn grad<T>(
        outputs: &[&Tensor<T>],
        inputs: &[&Tensor<T>],
        options: &GradOptions<T>,
    ) -> Result<Vec<Tensor<T>>> {
        let op = "grad";
        let roots = roots(op, outputs, options)?;
        let wanted = (inputs.iter().enumerate())
            .map(|(index, input)| input.node().cloned().ok_or(Error::NotTracked { op, input: Some(index) }))
            .collect::<Result<Vec<_>>>()?;
        let (recording, retain) = (options.create_graph, options.retain_graph.unwrap_or(options.create_graph));
        let request = Request { op, roots, wanted: Some(&wanted), retain, recording };
        let found = if recording { enable_grad(|| play(request)) } else { play(request) }?;
        (inputs.iter().zip(&wanted).enumerate())
            .map(|(index, (input, node))| {
                let gradient = found.iter().find(|(other, _)| other.id == node.id);
                match gradient.and_then(|(_, gradient)| gradient.clone().downcast()) {
                    Some(gradient) => Ok(gradient),
                    None if options.materialize_grads => Tensor::zeros(input.shape()),
                    None => Err(Error::Unused { op, index }),
                }
            })
            .collect()
    }
}

/// Nodes with their upstream gradients.
type Roots<'a> = SmallVec<[(&'a Arc<Node>, AnyTensor); 1]>;

/// Nodes with the gradients that were asked for.
type Found = SmallVec<[(Arc<Node>, AnyTensor); 2]>;

/// The outputs' nodes with their upstream gradients.
pub(crate) fn roots<'a, T: Float>(
    op: &'static str,
    outputs: &[&'a Tensor<T>],
    options: &GradOptions<T>,
) -> Result<Roots<'a>> {
    if let Some(given) = &options.grad_outputs
        && given.len() != outputs.len()
    {
        let value = format!("a list of {}", given.len());
        return Err(Error::Argument {
            op,
            name: "grad_outputs",
            value,
            allowed: "one gradient for each output",
        });
    }
    let mut roots = Roots::new();
    for (index, &output) in outputs.iter().enumerate() {
        let node = output.node().ok_or(Error::NotTracked { op, input: None })?;
        let upstream = match options.grad_outputs.as_ref().map(|given| &given[index]) {
            Some(given) if given.shape() != output.shape() => {
                let (expected, actual) = (output.shape().to_vec(), given.shape().to_vec());
                return Err(Error::Shape {
                    op,
                    what: "the upstream gradient",
                    expected: expected.into(),
                    actual,
                });
            }
            Some(given) => given.clone(),
            None if output.len() == 1 => Tensor::ones(output.shape())?,
            None => {
                let hint = "; pass its upstream gradient";
                return Err(Error::NotScalar { op, shape: output.shape().to_vec(), hint });
            }
        };
        roots.push((node, AnyTensor::new(upstream)));
    }
    Ok(roots)
}

pub(crate) struct Request<'r, 'w> {
    pub op: &'static str,
    pub roots: Roots<'r>,
    /// The nodes whose gradients are wanted; none for all that keep theirs.
    pub wanted: Option<&'w [Arc<Node>]>,
    /// Whether the played steps stay.
    pub retain: bool,
    /// Whether the computation is recorded.
    pub recording: bool,
}

/// Plays the tape in reverse and returns the gradients of the wanted nodes.
pub(crate) fn play(request: Request<'_, '_>) -> Result<Found> {
    let Request { op, roots, wanted, retain, recording } = request;
    let is_wanted = |node: &Node| match wanted {
        Some(wanted) => wanted.iter().any(|other| other.id == node.id),
        None => node.keeps_grad.load(Relaxed),
    };
    let (mut nodes, released) = linearise(roots.iter().map(|(node, _)| *node));
    // What is wanted itself need not be played.
    let is_missing = |node: &&Arc<Node>| wanted.is_none() || !is_wanted(node);
    if let Some(step) = released.iter().rev().find(is_missing).and_then(|node| node.name) {
        return Err(Error::Released { op, step });
    }
    let on_the_way = on_the_way(&nodes, wanted);

    let mut gradients = SmallVec::<[Option<AnyTensor>; 4]>::new();
    gradients.resize_with(nodes.len(), || None);
    for (node, mut upstream) in roots {
        let Some(place) = place_of(&nodes, node) else { continue };
        if !recording {
            detach(&mut upstream);
        }
        add_to(&mut gradients[place], upstream)?;
    }

    let mut found = Found::new();
    while let (Some(node), Some(grad)) = (nodes.pop(), gradients.pop()) {
        // Every step that uses this node has a greater id and was played already: its gradient is
        // complete.
        let place = nodes.len();
        let Some(step) = node.name else {
            if let Some(grad) = grad.filter(|_| is_wanted(&node)) {
                found.push((node, grad));
            }
            continue;
        };
        if let Some(grad) = grad.as_ref().filter(|_| is_wanted(&node)) {
            found.push((node.clone(), grad.clone()));
        }
        if !on_the_way.uses_a_needed_node(place) {
            continue;
        }
        let recorded = if retain { node.recorded().clone() } else { node.recorded().take() };
        // None if another thread has played it since the list was made.
        let Some(Recorded { rule, inputs }) = recorded else {
            return Err(Error::Released { op, step });
        };
        let Some(grad) = grad else { continue };

        let mut needed = Needed::new();
        for input in &inputs {
            let place = input.as_ref().and_then(|input| place_of(&nodes, input));
            needed.push(place.is_some_and(|place| on_the_way.is_needed(place)));
        }
        let results = rule.play(Played { step, node: &node, inputs: &inputs, needed, grad, recording })?;
        for (index, (result, input)) in results.into_iter().zip(&inputs).enumerate() {
            let (Some(mut result), Some(input)) = (result, input) else { continue };
            let Some(place) = place_of(&nodes, input).filter(|&place| on_the_way.is_needed(place)) else {
                continue;
            };
            hook::gradient(step, index, &result);
            if !recording {
                detach(&mut result);
            }
            add_to(&mut gradients[place], fit(result, input, step, index)?)?;
        }
    }
    Ok(found)
}

/// Which nodes lie on a path from an output to a wanted node.
struct OnTheWay {
    /// Whether the gradient of the node at a place is needed; none if all are.
    needed: Option<Vec<bool>>,
    /// Whether the step at a place has an input whose gradient is needed.
    uses_needed: Option<Vec<bool>>,
}

impl OnTheWay {
    fn is_needed(&self, place: usize) -> bool {
        self.needed.as_ref().is_none_or(|needed| needed[place])
    }
    fn uses_a_needed_node(&self, place: usize) -> bool {
        self.uses_needed.as_ref().is_none_or(|uses| uses[place])
    }
}

/// Every recorded step leads to some leaf, so a full backward needs all of them; `grad` needs those
/// that lead to a wanted node.
fn on_the_way(nodes: &[Arc<Node>], wanted: Option<&[Arc<Node>]>) -> OnTheWay {
    let Some(wanted) = wanted else {
        return OnTheWay { needed: None, uses_needed: None };
    };
    let mut needed: Vec<bool> = Vec::with_capacity(nodes.len());
    let mut uses_needed = Vec::with_capacity(nodes.len());
    for node in nodes {
        let uses = node.recorded().as_ref().is_some_and(|step| {
            let mut places = step.inputs.iter().flatten().filter_map(|input| place_of(nodes, input));
            places.any(|place| needed[place])
        });
        uses_needed.push(uses);
        needed.push(uses || wanted.iter().any(|other| other.id == node.id));
    }
    OnTheWay { needed: Some(needed), uses_needed: Some(uses_needed) }
}

fn detach(gradient: &mut AnyTensor) {
    match gradient {
        AnyTensor::F32(tensor) => tensor.forget_node(),
        AnyTensor::F64(tensor) => tensor.forget_node(),
    }
}

/// Undoes broadcasting, here and nowhere else: where an input was repeated to fill a larger shape,
/// its gradient is the sum over the repetitions.
fn fit(gradient: AnyTensor, input: &Node, step: &'static str, index: usize) -> Result<AnyTensor> {
    if gradient.dtype() == input.dtype && gradient.shape() == &input.shape {
        return Ok(gradient);
    }
    if gradient.dtype() == input.dtype && input.shape.broadcasts_to(gradient.shape()) {
        return Ok(for_either!(gradient, tensor => tensor.sum_to(&input.shape)?));
    }
    let type_of = |dtype, shape| format!("{dtype} of shape {shape}");
    let (actual, expected) =
        (type_of(gradient.dtype(), gradient.shape()), type_of(input.dtype, &input.shape));
    Err(Error::Rule {
        step,
        problem: format!("the gradient of input {index} is {actual}, expected {expected}"),
    })
}

/// Adds a contribution to a gradient: the first is moved in, later ones are added in place if nobody
/// else holds the buffer.
fn add_to(slot: &mut Option<AnyTensor>, contribution: AnyTensor) -> Result<()> {
    *slot = Some(match (slot.take(), contribution) {
        (None, contribution) => contribution,
        (Some(AnyTensor::F32(a)), AnyTensor::F32(b)) => AnyTensor::F32(sum(a, b)?),
        (Some(AnyTensor::F64(a)), AnyTensor::F64(b)) => AnyTensor::F64(sum(a, b)?),
        _ => unreachable!("fit() has checked the precision against the node's"),
    });
    Ok(())
}

fn sum<T: Float>(mut a: Tensor<T>, mut b: Tensor<T>) -> Result<Tensor<T>> {
    if a.is_tracked() || b.is_tracked() {
        return a.add(&b);
    }
    if let Some(values) = a.unique_mut() {
        add_assign(values, b.as_slice());
        return Ok(a);
    }
    if let Some(values) = b.unique_mut() {
        add_assign(values, a.as_slice());
        return Ok(b);
    }
    a.add(&b)
}

/// Adds the gradients to their nodes: all of them or, if memory runs out, none.
fn accumulate_all(mut kept: Found) -> Result<()> {
    // What can fail comes first: a gradient that will be added to another gets a buffer of its own.
    for (node, gradient) in &mut kept {
        if node.grad().is_some() {
            make_unique(gradient)?;
        }
    }
    for (node, gradient) in kept {
        accumulate(&node, gradient)?;
    }
    Ok(())
}

fn make_unique(gradient: &mut AnyTensor) -> Result<()> {
    match gradient {
        AnyTensor::F32(tensor) => tensor.as_mut_slice().map(|_| ()),
        AnyTensor::F64(tensor) => tensor.as_mut_slice().map(|_| ()),
    }
}

/// Takes the old gradient out, adds, and puts the sum back: no lock is held while numbers are added. If
/// another thread has put a gradient there meanwhile, that one is added too.
fn accumulate(node: &Node, gradient: AnyTensor) -> Result<()> {
    let mut slot = Some(gradient);
    loop {
        let old = {
            let mut grad = node.grad();
            match grad.take() {
                None => {
                    *grad = slot;
                    return Ok(());
                }
                Some(old) => old,
            }
        };
        add_to(&mut slot, old)?;
    }
}
