//! The two traits that models have in common, and what has them from the start: tensors and lists.

use super::{ChaCha8Rng, Name};
use crate::error::Result;
use crate::float::Float;
use crate::tensor::model::Tensor;

/// What an optimizer, a checkpoint or a gradient clip sees of a model: its parameters, named, in an order
/// that stays the same.
///
/// Tensors, vectors, arrays, tuples, options and boxes of parameters are parameters;
/// [`parameters!`](crate::parameters) makes a struct of them so. A parameter that requires no gradient is
/// *frozen*: optimizers leave it as it is, and checkpoints hold it like any other.
///
/// Written by hand, the methods without a body call their namesakes on every part of the model, in the
/// same order and under the same names; so do [`set_training`](Parameters::set_training) and
/// [`visit_generators`](Parameters::visit_generators), if some part depends on them.
pub trait Parameters<T: Float = f32> {
    /// Calls the visitor with every parameter and its name; `name` is that of the model itself.
    fn visit<'a>(&'a self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &'a Tensor<T>));

    /// The same parameters in the same order, to be changed.
    fn visit_mut(&mut self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &mut Tensor<T>));

    /// Switches every layer that behaves differently in training, such as
    /// [`Dropout`](crate::nn::Dropout), to training or to evaluation.
    fn set_training(&mut self, training: bool) {
        let _ = training;
    }

    /// Calls the visitor with every random generator that the model owns, such as that of
    /// [`Dropout`](crate::nn::Dropout): with them in a checkpoint, a run continues bit for bit.
    fn visit_generators(&mut self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &mut ChaCha8Rng)) {
        let _ = (name, visitor);
    }

    /// Training mode, in which every model starts.
    fn train(&mut self) {
        self.set_training(true);
    }

    /// Evaluation mode: nothing is random.
    fn eval(&mut self) {
        self.set_training(false);
    }

    /// The parameters and their names, in order.
    fn named_parameters(&self) -> Vec<(String, &Tensor<T>)> {
        let mut parameters = Vec::new();
        self.visit(&Name::root(), &mut |name, parameter| parameters.push((name.to_string(), parameter)));
        parameters
    }

    /// How many numbers the parameters have together.
    fn parameter_count(&self) -> usize {
        let mut count = 0;
        self.visit(&Name::root(), &mut |_, parameter| count += parameter.len());
        count
    }

    /// Forgets the gradients of all parameters: the next backward starts afresh.
    fn zero_grad(&self) {
        self.visit(&Name::root(), &mut |_, parameter| parameter.zero_grad());
    }

    /// Makes constants of all parameters: no gradient is computed for them, and optimizers leave them as
    /// they are.
    fn freeze(&mut self) {
        self.visit_mut(&Name::root(), &mut |_, parameter| *parameter = parameter.detach());
    }

    /// Makes all parameters trainable again.
    fn unfreeze(&mut self) {
        self.visit_mut(&Name::root(), &mut |_, parameter| *parameter = parameter.clone().requires_grad());
    }
}

/// A model or layer that maps one tensor to another.
pub trait Module<T: Float = f32>: Parameters<T> {
    /// The output for an input; recorded, so that a backward from it reaches the parameters.
    ///
    /// # Errors
    /// What the operations in it return: most often that the input's shape does not fit.
    fn forward(&self, input: &Tensor<T>) -> Result<Tensor<T>>;
}

/// Implements [`Parameters`](crate::nn::Parameters) for a struct by naming the fields that hold
/// parameters, in the order in which they are to be visited. Other fields need not be named.
///
/// ```
/// use tapegrad::nn::Parameters;
/// use tapegrad::{Float, Tensor, parameters};
///
/// struct Perceptron {
///     weight: Tensor,
///     bias: Tensor,
///     threshold: f32, // no parameter
/// }
/// parameters!(Perceptron { weight, bias });
///
/// struct InDoublePrecision(Tensor<f64>, Vec<Tensor<f64>>);
/// parameters!(InDoublePrecision: f64 { 0, 1 });
///
/// struct InEither<T: Float> {
///     parts: [Tensor<T>; 2],
/// }
/// parameters!(InEither<T> { parts });
///
/// let model = InEither { parts: [Tensor::zeros([2, 3])?, Tensor::from(0.5)] };
/// assert_eq!(model.parameter_count(), 7);
/// assert_eq!(model.named_parameters()[1].0, "parts.1");
/// # let unused = Perceptron { weight: Tensor::new(1.0), bias: Tensor::new(0.0), threshold: 0.5 };
/// # let _ = (unused.threshold, InDoublePrecision(Tensor::from(0.0), Vec::new()));
/// # Ok::<(), tapegrad::Error>(())
/// ```
#[macro_export]
macro_rules! parameters {
    ($model:ident { $($field:tt),* $(,)? }) => {
        impl $crate::nn::Parameters<f32> for $model {
            $crate::parameters!(@methods f32 { $($field)* });
        }
    };
    ($model:ident : $float:ident { $($field:tt),* $(,)? }) => {
        impl $crate::nn::Parameters<$float> for $model {
            $crate::parameters!(@methods $float { $($field)* });
        }
    };
    ($model:ident < $float:ident > { $($field:tt),* $(,)? }) => {
        impl<$float: $crate::Float> $crate::nn::Parameters<$float> for $model<$float> {
            $crate::parameters!(@methods $float { $($field)* });
        }
    };
    (@methods $float:ident { $($field:tt)* }) => {
        #[allow(unused_variables)] // a model may have no parameters
        fn visit<'a>(
            &'a self,
            name: &$crate::nn::Name<'_>,
            visitor: &mut dyn FnMut(&$crate::nn::Name<'_>, &'a $crate::Tensor<$float>),
        ) {
            $($crate::nn::Parameters::<$float>::visit(
                &self.$field, &name.field(stringify!($field)), visitor
            );)*
        }
        #[allow(unused_variables)]
        fn visit_mut(
            &mut self,
            name: &$crate::nn::Name<'_>,
            visitor: &mut dyn FnMut(&$crate::nn::Name<'_>, &mut $crate::Tensor<$float>),
        ) {
            $($crate::nn::Parameters::<$float>::visit_mut(
                &mut self.$field, &name.field(stringify!($field)), visitor
            );)*
        }
        #[allow(unused_variables)]
        fn set_training(&mut self, training: bool) {
            $($crate::nn::Parameters::<$float>::set_training(&mut self.$field, training);)*
        }
        #[allow(unused_variables)]
        fn visit_generators(
            &mut self,
            name: &$crate::nn::Name<'_>,
            visitor: &mut dyn FnMut(&$crate::nn::Name<'_>, &mut $crate::nn::ChaCha8Rng),
        ) {
            $($crate::nn::Parameters::<$float>::visit_generators(
                &mut self.$field, &name.field(stringify!($field)), visitor
            );)*
        }
    };
}

/// A single parameter, under the name of where it stands.
impl<T: Float> Parameters<T> for Tensor<T> {
    fn visit<'a>(&'a self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &'a Tensor<T>)) {
        visitor(name, self);
    }
    fn visit_mut(&mut self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &mut Tensor<T>)) {
        visitor(name, self);
    }
}

/// The methods of a container, given how its parts are walked through: each part stands at an index, or
/// in the container's own place.
macro_rules! container {
    ($self:ident, $name:ident, $part:ident in $parts:expr, mutably $parts_mut:expr, at $at:expr) => {
        fn visit<'a>(&'a $self, $name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &'a Tensor<T>)) {
            for (index, $part) in $parts.enumerate() {
                $part.visit(&$at($name, index), visitor);
            }
        }
        fn visit_mut(&mut $self, $name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &mut Tensor<T>)) {
            for (index, $part) in $parts_mut.enumerate() {
                $part.visit_mut(&$at($name, index), visitor);
            }
        }
        fn set_training(&mut $self, training: bool) {
            for $part in $parts_mut {
                $part.set_training(training);
            }
        }
        fn visit_generators(
            &mut $self,
            $name: &Name<'_>,
            visitor: &mut dyn FnMut(&Name<'_>, &mut ChaCha8Rng),
        ) {
            for (index, $part) in $parts_mut.enumerate() {
                $part.visit_generators(&$at($name, index), visitor);
            }
        }
    };
}

fn at_index<'a>(name: &'a Name<'a>, index: usize) -> Name<'a> {
    name.index(index)
}

fn in_place<'a>(name: &'a Name<'a>, _: usize) -> Name<'a> {
    *name
}

/// The elements, under their indices.
impl<T: Float, P: Parameters<T>> Parameters<T> for Vec<P> {
    container!(self, name, part in self.iter(), mutably self.iter_mut(), at at_index);
}

/// The elements, under their indices.
impl<T: Float, P: Parameters<T>, const N: usize> Parameters<T> for [P; N] {
    container!(self, name, part in self.iter(), mutably self.iter_mut(), at at_index);
}

/// The elements, under their indices.
impl<T: Float, P: Parameters<T>> Parameters<T> for [P] {
    container!(self, name, part in self.iter(), mutably self.iter_mut(), at at_index);
}

/// What is there, under the option's own name.
impl<T: Float, P: Parameters<T>> Parameters<T> for Option<P> {
    container!(self, name, part in self.iter(), mutably self.iter_mut(), at in_place);
}

/// What is in the box, under the box's own name.
impl<T: Float, P: Parameters<T> + ?Sized> Parameters<T> for Box<P> {
    container!(self, name, part in std::iter::once(&**self), mutably std::iter::once(&mut **self), at in_place);
}

/// What is borrowed, under its own name.
impl<T: Float, P: Parameters<T> + ?Sized> Parameters<T> for &mut P {
    container!(self, name, part in std::iter::once(&**self), mutably std::iter::once(&mut **self), at in_place);
}

macro_rules! tuples {
    ($(($($part:ident $index:tt)+))*) => {$(
        /// The members, under their positions.
        impl<T: Float, $($part: Parameters<T>),+> Parameters<T> for ($($part,)+) {
            fn visit<'a>(&'a self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &'a Tensor<T>)) {
                $(self.$index.visit(&name.index($index), visitor);)+
            }
            fn visit_mut(&mut self, name: &Name<'_>, visitor: &mut dyn FnMut(&Name<'_>, &mut Tensor<T>)) {
                $(self.$index.visit_mut(&name.index($index), visitor);)+
            }
            fn set_training(&mut self, training: bool) {
                $(self.$index.set_training(training);)+
            }
            fn visit_generators(
                &mut self,
                name: &Name<'_>,
                visitor: &mut dyn FnMut(&Name<'_>, &mut ChaCha8Rng),
            ) {
                $(self.$index.visit_generators(&name.index($index), visitor);)+
            }
        }
    )*};
}
tuples! {
    (A 0)
    (A 0 B 1)
    (A 0 B 1 C 2)
    (A 0 B 1 C 2 D 3)
    (A 0 B 1 C 2 D 3 E 4)
    (A 0 B 1 C 2 D 3 E 4 F 5)
    (A 0 B 1 C 2 D 3 E 4 F 5 G 6)
    (A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair<T: Float> {
        left: Tensor<T>,
        right: Vec<Tensor<T>>,
    }
    parameters!(Pair<T> { left, right });

    struct Whole {
        pairs: [Pair<f64>; 2],
        extra: Option<Tensor<f64>>,
        boxed: Box<dyn Parameters<f64>>,
        tuple: (Tensor<f64>, Pair<f64>),
    }
    parameters!(Whole: f64 { pairs, extra, boxed, tuple });

    fn constant(value: f64) -> Tensor<f64> {
        Tensor::from([value])
    }

    fn pair(first: f64) -> Pair<f64> {
        Pair { left: constant(first), right: vec![constant(first + 1.0), constant(first + 2.0)] }
    }

    fn whole() -> Whole {
        Whole {
            pairs: [pair(0.0), pair(3.0)],
            extra: Some(constant(6.0)),
            boxed: Box::new(pair(7.0)),
            tuple: (constant(10.0), pair(11.0)),
        }
    }

    #[test]
    fn parameters_have_paths_as_names_in_the_order_of_the_fields() {
        let model = whole();
        let named = model.named_parameters();
        let names: Vec<&str> = named.iter().map(|(name, _)| &name[..]).collect();
        let expected = [
            "pairs.0.left",
            "pairs.0.right.0",
            "pairs.0.right.1",
            "pairs.1.left",
            "pairs.1.right.0",
            "pairs.1.right.1",
            "extra",
            "boxed.left",
            "boxed.right.0",
            "boxed.right.1",
            "tuple.0",
            "tuple.1.left",
            "tuple.1.right.0",
            "tuple.1.right.1",
        ];
        assert_eq!(names, expected);
        assert!(named.iter().enumerate().all(|(i, (_, value))| value.as_slice() == [i as f64]));
        assert_eq!(model.parameter_count(), 14);
    }

    #[test]
    fn both_visits_agree_and_an_absent_option_is_no_parameter() {
        let mut model = whole();
        model.extra = None;
        let (mut read, mut written) = (Vec::new(), Vec::new());
        model.visit(&Name::root(), &mut |name, value| read.push((name.to_string(), value.to_vec())));
        model.visit_mut(&Name::root(), &mut |name, value| written.push((name.to_string(), value.to_vec())));
        assert_eq!(read, written);
        assert_eq!(read.len(), 13);
        assert!(read.iter().all(|(name, _)| name != "extra"));
    }

    #[test]
    fn freezing_and_unfreezing_reach_every_parameter() {
        let mut model = whole();
        let tracked = |model: &Whole| {
            model.named_parameters().iter().filter(|(_, parameter)| parameter.is_tracked()).count()
        };
        assert_eq!(tracked(&model), 0);
        model.unfreeze();
        assert_eq!(tracked(&model), 14);
        model.freeze();
        assert_eq!(tracked(&model), 0);
    }

    #[test]
    fn zero_grad_forgets_every_gradient() {
        let mut model = pair(1.0);
        model.unfreeze();
        let loss = model.left.mul(&model.right[0]).unwrap().sum(..).unwrap();
        loss.backward().unwrap();
        assert_eq!(model.left.grad().unwrap().to_vec(), [2.0]);
        assert_eq!(model.right[0].grad().unwrap().to_vec(), [1.0]);
        model.zero_grad();
        assert!(model.named_parameters().iter().all(|(_, parameter)| parameter.grad().is_none()));
    }

    #[test]
    fn a_list_of_borrowed_models_is_a_model() {
        let (mut first, mut second) = (pair(1.0), pair(4.0));
        let mut both = [&mut first, &mut second];
        both.visit_mut(&Name::root(), &mut |_, parameter| parameter.as_mut_slice().unwrap()[0] *= 2.0);
        assert_eq!(both.named_parameters()[5].0, "1.right.1");
        assert_eq!((first.left.to_vec(), second.right[1].to_vec()), (vec![2.0], vec![12.0]));
    }
}
