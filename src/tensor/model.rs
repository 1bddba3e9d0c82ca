//! The data model: a [`Tensor`] is a value that may have a [`Node`], and a node is a leaf or a
//! recorded step.
//!
//! ```text
//!   Tensor ──────────────► Node (step 7, "Mul") ─────► Node (leaf 3)
//!    │  shape               │  rule, edges to inputs    │  grad
//!    └► Buffer ◄────────────┘  saved values             └─ no value: tensors hold it
//! ```
//!
//! Tensors point to nodes and nodes point to the nodes of their inputs; nothing points back. So a
//! graph lives exactly as long as somebody holds a result of it, and reference counts are all the
//! memory management there is.

use crate::error::{Error, Result};
use crate::float::{DType, Float};
use crate::tensor::buffer::{Buffer, duplicate};
use crate::tensor::shape::Shape;
use smallvec::SmallVec;
use std::any::Any;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A dense row-major array that remembers how it was computed.
///
/// * **Values** are contiguous and never change while they are shared. A clone is cheap and is a
///   *snapshot*: writing through one handle ([`as_mut_slice`](Tensor::as_mut_slice)) copies first if
///   another handle, or a step that has not been played back yet, still needs the old values.
/// * **Gradients** belong to the leaf, not to the handle: a clone of a leaf shares its gradient.
///   Use one field twice for a tied weight, rather than two clones.
/// * **Recording** happens by itself whenever an input [requires a gradient](Tensor::requires_grad),
///   except inside [`no_grad`](crate::no_grad).
///
/// ```
/// use tapegrad::Tensor;
///
/// let x = Tensor::new([1.0, 2.0, 3.0]).requires_grad();
/// let y = (&x * &x).sum(..)?;                      // 1 + 4 + 9
/// y.backward()?;
/// assert_eq!(y.item()?, 14.0);
/// assert_eq!(x.grad().unwrap().to_vec(), [2.0, 4.0, 6.0]);   // d y / d x = 2 x
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor<T: Float = f32> {
    shape: Shape,
    data: Arc<Buffer<T>>,
    node: Option<Arc<Node>>,
}

impl<T: Float> Tensor<T> {
    /// A constant of this shape, every element of which a kernel writes.
    pub(crate) fn compute(shape: Shape, fill: impl FnOnce(&mut [T])) -> Result<Self> {
        Tensor::filled(Buffer::to_overwrite(shape.elements())?, shape, fill)
    }

    /// A constant of zeros, some of which a kernel overwrites.
    pub(crate) fn compute_on_zeros(shape: Shape, fill: impl FnOnce(&mut [T])) -> Result<Self> {
        Tensor::filled(Buffer::zeroed(shape.elements())?, shape, fill)
    }

    fn filled(mut buffer: Buffer<T>, shape: Shape, fill: impl FnOnce(&mut [T])) -> Result<Self> {
        fill(buffer.as_mut_slice());
        Ok(Tensor { shape, data: Arc::new(buffer), node: None })
    }

    /// A constant from values that are known to fill the shape.
    pub(crate) fn from_parts(shape: Shape, values: Vec<T>) -> Self {
        debug_assert_eq!(shape.elements(), values.len());
        Tensor { shape, data: Arc::new(Buffer::from_vec(values)), node: None }
    }

    /// The same values seen in another shape of as many elements, as a constant.
    pub(crate) fn with_shape(&self, shape: Shape) -> Self {
        debug_assert_eq!(shape.elements(), self.len());
        Tensor { shape, data: self.data.clone(), node: None }
    }

    /// The same values, computed by this node.
    #[inline]
    pub(crate) fn with_node(mut self, node: Option<Arc<Node>>) -> Self {
        self.node = node;
        self
    }

    /// Makes a constant of it.
    pub(crate) fn forget_node(&mut self) {
        self.node = None;
    }

    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// The sizes, outermost first; empty for a single value.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The number of dims.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in row-major order.
    pub fn as_slice(&self) -> &[T] {
        self.data.as_slice()
    }

    /// The elements in row-major order, copied.
    pub fn to_vec(&self) -> Vec<T> {
        self.as_slice().to_vec()
    }

    /// The elements in row-major order: moved if this handle is the only one that holds them, and copied
    /// otherwise.
    pub fn into_vec(self) -> Vec<T> {
        match Arc::try_unwrap(self.data) {
            Ok(buffer) => buffer.into_vec(),
            Err(shared) => shared.as_slice().to_vec(),
        }
    }

    /// The only element of a tensor that has one.
    ///
    /// # Errors
    /// [`Error::NotScalar`] for any other number of elements.
    pub fn item(&self) -> Result<T> {
        match self.as_slice() {
            [value] => Ok(*value),
            _ => Err(Error::NotScalar {
                op: "item",
                shape: self.shape.to_vec(),
                hint: "; read it with to_vec()",
            }),
        }
    }

    /// The element at these coordinates, one a dim: `x.get([1, 2])`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of coordinates, [`Error::OutOfRange`] for one that is too
    /// large.
    pub fn get(&self, coordinates: impl AsRef<[usize]>) -> Result<T> {
        let (op, coordinates) = ("get", coordinates.as_ref());
        if coordinates.len() != self.rank() {
            let expected = "the number of coordinates";
            return Err(Error::Shape {
                op,
                what: "the tensor",
                expected: expected.into(),
                actual: self.shape.to_vec(),
            });
        }
        let mut position = 0;
        for (dim, (&coordinate, &size)) in coordinates.iter().zip(self.shape.iter()).enumerate() {
            if coordinate >= size {
                let (what, unit, value) = ("coordinate", "a position", coordinate as i128);
                return Err(Error::OutOfRange { op, what, unit, position: vec![dim], value, size });
            }
            position = position * size + coordinate;
        }
        Ok(self.as_slice()[position])
    }

    /// The elements of `x[0], x[1], ..`, one slice for each index of the first dim: the rows of a
    /// matrix. A single value has no rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[T]> + Clone {
        let count = self.shape.first().copied().unwrap_or(0);
        let length = self.len().checked_div(count).unwrap_or(0);
        (0..count).map(move |row| &self.as_slice()[row * length..(row + 1) * length])
    }

    /// The elements for writing: how a parameter is updated.
    ///
    /// In place if this handle is the only one that holds the values; otherwise they are copied
    /// first, so that neither another handle nor a step that saved them sees the change.
    ///
    /// # Errors
    /// [`Error::NotLeaf`] for the result of a recorded step, whose value follows from its inputs;
    /// [`Error::OutOfMemory`] if the copy cannot be made.
    pub fn as_mut_slice(&mut self) -> Result<&mut [T]> {
        if let Some(step) = self.node.as_ref().and_then(|node| node.name) {
            return Err(Error::NotLeaf { op: "as_mut_slice", step });
        }
        if Arc::strong_count(&self.data) > 1 {
            self.data = Arc::new(duplicate(&self.data)?);
        }
        match Arc::get_mut(&mut self.data) {
            Some(buffer) => Ok(buffer.as_mut_slice()),
            None => unreachable!("only this handle holds the buffer, and it is borrowed mutably"),
        }
    }

    /// The elements for writing if nobody else holds them.
    pub(crate) fn unique_mut(&mut self) -> Option<&mut [T]> {
        Arc::get_mut(&mut self.data).map(Buffer::as_mut_slice)
    }

    /// Makes the tensor a leaf whose gradient [`backward`](Tensor::backward) fills. A tensor that
    /// is tracked already is returned as it is.
    ///
    /// This is PyTorch's `requires_grad_()`.
    pub fn requires_grad(self) -> Self {
        if self.is_tracked() {
            return self;
        }
        let node = Node::leaf(self.shape.clone(), T::DTYPE);
        self.with_node(Some(Arc::new(node)))
    }

    /// Whether a gradient reaches this tensor: it is a leaf that requires one or was computed from
    /// one (PyTorch's attribute `requires_grad`).
    pub fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// Whether the tensor is not the result of a recorded step (as in PyTorch): it is a constant, or
    /// [`requires_grad`](Tensor::requires_grad) was called on it.
    pub fn is_leaf(&self) -> bool {
        self.grad_fn().is_none()
    }

    /// The name of the step that computed this tensor, without the `Backward` that it is printed
    /// with; none for a leaf or a constant.
    pub fn grad_fn(&self) -> Option<&'static str> {
        self.node.as_ref().and_then(|node| node.name)
    }

    /// The gradient that backward passes have accumulated here, or none if there was none yet. The
    /// gradient is a constant of this tensor's shape.
    ///
    /// It is kept for leaves, and for other results after [`retain_grad`](Tensor::retain_grad).
    pub fn grad(&self) -> Option<Tensor<T>> {
        let gradient = self.node.as_ref()?.grad().clone();
        gradient.and_then(AnyTensor::downcast)
    }

    /// Replaces the accumulated gradient, for example by one that was clipped or summed over several machines.
    /// It is kept as a constant.
    ///
    /// # Errors
    /// [`Error::NotTracked`] for a constant; [`Error::NotLeaf`] for the result of a recorded step;
    /// [`Error::Shape`] for a gradient of another shape.
    pub fn set_grad(&self, gradient: Tensor<T>) -> Result<()> {
        let op = "set_grad";
        let node = self.node.as_ref().ok_or(Error::NotTracked { op, input: None })?;
        if let Some(step) = node.name {
            return Err(Error::NotLeaf { op, step });
        }
        if gradient.shape != self.shape {
            let (expected, actual) = (self.shape.to_vec(), gradient.shape.to_vec());
            return Err(Error::Shape { op, what: "the gradient", expected: expected.into(), actual });
        }
        let gradient = Tensor { node: None, ..gradient };
        let old = node.grad().replace(AnyTensor::new(gradient));
        drop(old); // outside the lock
        Ok(())
    }

    /// Moves the accumulated gradient out: if nobody else holds it, it can be overwritten without a copy.
    /// The next backward starts afresh, unless [`set_grad`](Tensor::set_grad) puts it back.
    pub fn take_grad(&self) -> Option<Tensor<T>> {
        self.node.as_ref().and_then(|node| node.grad().take()).and_then(AnyTensor::downcast)
    }

    /// Forgets the accumulated gradient; the next backward starts afresh (PyTorch's
    /// `zero_grad(set_to_none=True)`).
    pub fn zero_grad(&self) {
        let old = self.node.as_ref().and_then(|node| node.grad().take());
        drop(old); // outside the lock
    }

    /// Asks backward to keep the gradient of a value in the middle of a computation too, to be read
    /// with [`grad`](Tensor::grad). Does nothing for a leaf, which always keeps it.
    ///
    /// # Errors
    /// [`Error::NotTracked`] for a constant.
    pub fn retain_grad(&self) -> Result<()> {
        let node = self.node.as_ref().ok_or(Error::NotTracked { op: "retain_grad", input: None })?;
        node.keeps_grad.store(true, Relaxed);
        Ok(())
    }

    /// The same values as a constant: gradients stop here.
    pub fn detach(&self) -> Self {
        Tensor { shape: self.shape.clone(), data: self.data.clone(), node: None }
    }
}

/// How many nodes (leaves and recorded steps) are alive in this process; see also
/// [`live_bytes`](crate::memory::live_bytes).
pub fn live_nodes() -> usize {
    // Dropped nodes are read first: nodes that come and go meanwhile can then not make the difference negative.
    let dropped = DROPPED_NODES.load(Acquire);
    (NEXT_ID.load(Relaxed) - dropped) as usize
}

/// How many nodes were made, and so the id of the next one.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);
static DROPPED_NODES: AtomicU64 = AtomicU64::new(0);

/// A point of the graph: a leaf, which owns a gradient, or a recorded step, which owns its rule and
/// the edges to its inputs until backward releases it.
pub(crate) struct Node {
    /// Grows with every node that is made. `Relaxed` is enough: whoever records a step holds its
    /// inputs' nodes, so their increments happened before. Sorting by id is therefore the order of
    /// recording, and every step comes after its inputs.
    pub id: u64,
    pub shape: Shape,
    pub dtype: DType,
    /// The step's name; none for a leaf.
    pub name: Option<&'static str>,
    /// Whether backward leaves the gradient here.
    pub keeps_grad: AtomicBool,
    step: Mutex<Option<Recorded>>,
    grad: Mutex<Option<AnyTensor>>,
}

/// What a step owns until it is released.
#[derive(Clone)]
pub(crate) struct Recorded {
    pub rule: Arc<dyn AnyRule>,
    pub inputs: Edges,
}

/// The nodes of a step's inputs, in order; none for a constant.
pub(crate) type Edges = SmallVec<[Option<Arc<Node>>; 3]>;

/// The gradients of a step's inputs, in order; none where none was needed.
pub(crate) type InputGradients = SmallVec<[Option<AnyTensor>; 3]>;

/// Which inputs of a step need a gradient.
pub(crate) type Needed = SmallVec<[bool; 4]>;

/// A rule together with the values that it saved, whatever their precision.
pub(crate) trait AnyRule: Send + Sync {
    /// What the step computes, for readers.
    fn formula(&self) -> &'static str;

    /// Turns the gradient of the step's output into those of its inputs, one slot an input. The
    /// caller's handle is passed on: a rule that nobody else holds gives up its saved values to be overwritten.
    fn play(self: Arc<Self>, played: Played<'_>) -> Result<InputGradients>;
}

/// One step as backward plays it.
pub(crate) struct Played<'a> {
    /// The step's name.
    pub step: &'static str,
    pub node: &'a Arc<Node>,
    pub inputs: &'a Edges,
    /// Which inputs need a gradient.
    pub needed: Needed,
    /// The gradient of the output.
    pub grad: AnyTensor,
    /// Whether the computation of the gradient is itself recorded.
    pub recording: bool,
}

impl Node {
    fn new(shape: Shape, dtype: DType, name: Option<&'static str>, step: Option<Recorded>) -> Self {
        let id = NEXT_ID.fetch_add(1, Relaxed);
        let keeps_grad = AtomicBool::new(name.is_none());
        Node { id, shape, dtype, name, keeps_grad, step: Mutex::new(step), grad: Mutex::new(None) }
    }

    fn leaf(shape: Shape, dtype: DType) -> Self {
        Node::new(shape, dtype, None, None)
    }

    pub fn step(shape: Shape, dtype: DType, name: &'static str, step: Recorded) -> Self {
        Node::new(shape, dtype, Some(name), Some(step))
    }

    /// The recorded step, to be read for a moment: no lock is held while a rule runs.
    pub fn recorded(&self) -> MutexGuard<'_, Option<Recorded>> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gradient, to be read or exchanged for a moment.
    pub fn grad(&self) -> MutexGuard<'_, Option<AnyTensor>> {
        self.grad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The steps that wait to be dropped, while some node of this thread is being dropped.
    /// `ManuallyDrop` keeps the list usable until the very end of the thread; it is left empty, so
    /// nothing leaks.
    static DROPPING: ManuallyDrop<RefCell<Option<Vec<Recorded>>>> = const { ManuallyDrop::new(RefCell::new(None)) };
}

/// Dropping a step drops its inputs, which may be steps too, and so on: a chain of a million steps
/// would overflow the stack. So the first node that is dropped empties a list in a loop. Nodes that are dropped
/// meanwhile, through edges or through tensors that a rule holds, only add their steps to the list.
impl Drop for Node {
    fn drop(&mut self) {
        DROPPED_NODES.fetch_add(1, Release);
        let Some(step) = self.step.get_mut().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        if let Some(waiting) = DROPPING.with(|dropping| {
            let mut dropping = dropping.borrow_mut();
            match dropping.as_mut() {
                Some(list) => {
                    list.push(step);
                    None
                }
                None => {
                    *dropping = Some(Vec::new());
                    Some(step)
                }
            }
        }) {
            work_off(waiting);
        }
    }
}

fn work_off(first: Recorded) {
    /// Ends the list even if some destructor panics.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            let rest = DROPPING.with(|dropping| dropping.borrow_mut().take());
            drop(rest);
        }
    }
    let _end = End;
    let mut next = Some(first);
    while let Some(step) = next {
        drop(step);
        next = DROPPING.with(|dropping| dropping.borrow_mut().as_mut().and_then(Vec::pop));
    }
}

/// A tensor of either precision. Casts join both in one graph, so the engine handles gradients in
/// this form; rules see [`Tensor`]s.
#[derive(Clone)]
pub(crate) enum AnyTensor {
    F32(Tensor<f32>),
    F64(Tensor<f64>),
}

impl AnyTensor {
    pub fn new<T: Float>(tensor: Tensor<T>) -> Self {
        match convert::<Tensor<T>, Tensor<f32>>(tensor) {
            Ok(tensor) => AnyTensor::F32(tensor),
            Err(tensor) => match convert::<Tensor<T>, Tensor<f64>>(tensor) {
                Ok(tensor) => AnyTensor::F64(tensor),
                Err(_) => unreachable!("Float is sealed: f32 and f64 are all there is"),
            },
        }
    }

    /// The tensor, if it has this precision.
    pub fn downcast<T: Float>(self) -> Option<Tensor<T>> {
        match self {
            AnyTensor::F32(tensor) => convert(tensor).ok(),
            AnyTensor::F64(tensor) => convert(tensor).ok(),
        }
    }

    pub fn dtype(&self) -> DType {
        match self {
            AnyTensor::F32(_) => DType::F32,
            AnyTensor::F64(_) => DType::F64,
        }
    }

    pub fn shape(&self) -> &Shape {
        match self {
            AnyTensor::F32(tensor) => tensor.shape(),
            AnyTensor::F64(tensor) => tensor.shape(),
        }
    }
}

/// Calls the same generic code for either precision.
macro_rules! for_either {
    ($any:expr, $tensor:ident => $result:expr) => {
        match $any {
            $crate::tensor::model::AnyTensor::F32($tensor) => $crate::tensor::model::AnyTensor::F32($result),
            $crate::tensor::model::AnyTensor::F64($tensor) => $crate::tensor::model::AnyTensor::F64($result),
        }
    };
}
pub(crate) use for_either;

/// The value as type `B`, if that is what type `A` is.
fn convert<A: Any, B: Any>(value: A) -> std::result::Result<B, A> {
    let mut slot = Some(value);
    let found = (&mut slot as &mut dyn Any).downcast_mut::<Option<B>>().and_then(Option::take);
    match (found, slot) {
        (Some(found), _) => Ok(found),
        (None, Some(value)) => Err(value),
        (None, None) => unreachable!("the value is in one of the two places"),
    }
}
