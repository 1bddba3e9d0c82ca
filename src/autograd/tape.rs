//! The tape: the steps that led to a result, in the order in which they were recorded.

use crate::autograd::observe::values::ValueRange;
use crate::float::compiled;
use crate::tensor::model::{Node, Tensor};
use crate::tensor::shape::Shape;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;

/// The Wengert list of one result: every leaf and recorded step that it depends on, each after its
/// inputs. [`backward`](Tensor::backward) plays this list in reverse.
///
/// ```
/// # use tapegrad::Tensor;
/// let x = Tensor::new([1.0, 2.0]).requires_grad();
/// let loss = x.square()?.sum(..)?;
/// assert_eq!(loss.tape().to_string(), "\
/// %0  leaf         [2]
/// %1  Square(%0)   [2]
/// %2  Sum(%1)      []
/// ");
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Clone)]
pub struct Tape {
    entries: Vec<TapeEntry>,
    /// The ids of the entries' nodes, ascending.
    ids: Vec<u64>,
}

/// One line of a [`Tape`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TapeEntry {
    /// The step's name; none for a leaf.
    pub name: Option<&'static str>,
    /// What the caller calls the value: see [`Tape::named`].
    pub label: Option<String>,
    /// What the step computes, as its rule says ([`Backward::formula`](crate::Backward::formula)); empty
    /// for a leaf, and for a step that backward has released.
    pub formula: &'static str,
    /// The shape of the value.
    pub shape: Shape,
    /// The places of the inputs in the tape; none for a constant. The list is empty for a leaf, and for a step
    /// that backward has released.
    pub inputs: Vec<Option<usize>>,
    /// Whether backward has played the step and released what it had saved.
    pub released: bool,
    /// The range of the value, where it was noted: see [`Tape::observe`] and [`Tape::named`].
    pub values: Option<ValueRange>,
    /// The Euclidean norm of the gradient of the loss with respect to the value, where it was noted.
    pub gradient_norm: Option<f64>,
}

compiled! { impl Tensor<T>:
    /// What this tensor depends on, in the order of recording. Empty for a constant.
    pub fn tape(&self) -> Tape {
        let (nodes, _) = linearise(self.node());
        let entries = nodes.iter().map(|node| {
            let recorded = node.recorded();
            let inputs = recorded.iter().flat_map(|step| step.inputs.iter());
            let place = |input: &Option<Arc<Node>>| input.as_ref().and_then(|input| place_of(&nodes, input));
            TapeEntry {
                name: node.name,
                label: None,
                formula: recorded.as_ref().map_or("", |step| step.rule.formula()),
                shape: node.shape.clone(),
                inputs: inputs.map(place).collect(),
                released: node.name.is_some() && recorded.is_none(),
                values: None,
                gradient_norm: None,
            }
        });
        Tape { entries: entries.collect(), ids: nodes.iter().map(|node| node.id).collect() }
    }
}

impl Tape {
    /// The leaves and steps, each after its inputs.
    pub fn entries(&self) -> &[TapeEntry] {
        &self.entries
    }

    /// The number of leaves and steps.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the result was a constant.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Changes each entry, given the id of its node.
    pub(crate) fn describe(&mut self, mut change: impl FnMut(u64, &mut TapeEntry)) {
        self.ids.iter().zip(&mut self.entries).for_each(|(&id, entry)| change(id, entry));
    }
}

impl TapeEntry {
    /// `Add(%0, const)`, `leaf`, or `Add (released)`.
    pub(crate) fn call(&self) -> String {
        let number = |input: &Option<usize>| input.map_or("const".to_string(), |place| format!("%{place}"));
        match self.name {
            None => "leaf".to_string(),
            Some(name) if self.released => format!("{name} (released)"),
            Some(name) => {
                format!("{name}({})", self.inputs.iter().map(number).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// The widest column of calls. A longer call, such as a join of many tensors, overflows the column.
const WIDEST: usize = 200;

/// One numbered line for each leaf and step: its name, its inputs by number (`const` for a
/// constant), and its shape. A [name](Tape::named) given by the caller stands before, as in `loss = Mean(%3)`.
impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: Vec<String> = (self.entries.iter())
            .map(|entry| match &entry.label {
                Some(label) => format!("{label} = {}", entry.call()),
                None => entry.call(),
            })
            .collect();
        let digits = self.len().saturating_sub(1).to_string().len();
        let width = calls.iter().map(|call| call.chars().count()).max().unwrap_or(0).min(WIDEST);
        for (place, (call, entry)) in calls.iter().zip(&self.entries).enumerate() {
            writeln!(f, "{:<2$}  {call:<width$}   {}", format!("%{place}"), entry.shape, digits + 1)?;
        }
        Ok(())
    }
}

/// Short: the number of entries.
impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({} entries)", self.len())
    }
}

/// A list of nodes; that of a small graph needs no allocation.
pub(crate) type Nodes = SmallVec<[Arc<Node>; 8]>;

/// All nodes that the roots depend on, themselves included, in ascending order of their ids.
///
/// Ids grow with recording, so a node's id is greater than those of its inputs. A heap that always
/// pops the greatest id therefore pops each node after everything that uses it. A node that is used
/// several times is popped several times in a row, which is how it is recognised: there is no visited set and no
/// recursion, and each edge costs one pop, however many paths there are.
///
/// Released steps have no inputs any more; the second list names them, in descending order of their ids.
pub(crate) fn linearise<'a>(roots: impl IntoIterator<Item = &'a Arc<Node>>) -> (Nodes, Vec<Arc<Node>>) {
    struct ById(Arc<Node>);
    impl PartialEq for ById {
        fn eq(&self, other: &Self) -> bool {
            self.0.id == other.0.id
        }
    }
    impl Eq for ById {}
    impl PartialOrd for ById {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for ById {
        fn cmp(&self, other: &Self) -> Ordering {
            self.0.id.cmp(&other.0.id)
        }
    }

    let mut waiting = BinaryHeap::with_capacity(16); // one allocation for most graphs
    waiting.extend(roots.into_iter().cloned().map(ById));
    let (mut nodes, mut released) = (Nodes::new(), Vec::new());
    while let Some(ById(node)) = waiting.pop() {
        if nodes.last().is_some_and(|last| last.id == node.id) {
            continue;
        }
        if node.name.is_some() {
            match node.recorded().as_ref() {
                Some(step) => {
                    step.inputs.iter().flatten().for_each(|input| waiting.push(ById(input.clone())))
                }
                None => released.push(node.clone()),
            }
        }
        nodes.push(node);
    }
    nodes.reverse();
    (nodes, released)
}

/// The place of a node in a linearised list.
pub(crate) fn place_of(nodes: &[Arc<Node>], node: &Node) -> Option<usize> {
    nodes.binary_search_by_key(&node.id, |node| node.id).ok()
}
