//! Arrays of the `ndarray` crate, and serde.

use ndarray::{Array1, Array2, ArrayD, ArrayView2, ArrayViewD, ArrayViewMutD, Axis, Ix2, array, s};
use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, SeqDeserializer, UsizeDeserializer};
use tapegrad::nn::Parameters;
use tapegrad::optim::{Adam, Optimizer, OptimizerState};
use tapegrad::{Error, Tensor};

// ---- ndarray -----------------------------------------------------------------------------------

#[test]
fn an_array_in_row_major_order_becomes_a_tensor_without_a_copy_and_back() {
    let rows: Array2<f64> = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
    let place = rows.as_ptr();
    let x = Tensor::try_from(rows).unwrap();
    assert_eq!((x.shape().to_vec(), x.to_vec()), (vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    assert_eq!(x.as_slice().as_ptr(), place);
    assert!(!x.is_tracked());
    let back = ArrayD::from(x).into_dimensionality::<Ix2>().unwrap();
    assert_eq!(back.as_ptr(), place);
    assert_eq!(back, array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
}

#[test]
fn arrays_in_any_other_order_are_copied_into_row_major_order() {
    let rows: Array2<f32> = Array2::from_shape_fn((3, 4), |(i, j)| (10 * i + j) as f32);
    let same = |x: Tensor, expected: ArrayView2<f32>| {
        assert_eq!(&x.shape()[..], expected.shape());
        assert_eq!(x.to_vec(), expected.iter().copied().collect::<Vec<_>>());
    };
    same(Tensor::try_from(rows.t()).unwrap(), rows.t());
    same(Tensor::try_from(rows.clone().reversed_axes()).unwrap(), rows.t());
    same(Tensor::try_from(rows.slice(s![1.., ..;-2])).unwrap(), rows.slice(s![1.., ..;-2]));
    // An array that owns more than it shows.
    same(Tensor::try_from(rows.clone().slice_move(s![1..2, ..])).unwrap(), rows.slice(s![1..2, ..]));
    same(Tensor::try_from(rows.clone().slice_move(s![.., 1..3])).unwrap(), rows.slice(s![.., 1..3]));
    let mut flipped = rows.clone();
    flipped.invert_axis(Axis(0));
    same(Tensor::try_from(flipped.clone()).unwrap(), flipped.view());
    assert_eq!(Tensor::try_from(ndarray::arr0(7.0f32)).unwrap().shape(), &[]);
    assert_eq!(Tensor::try_from(Array2::<f32>::zeros((0, 3))).unwrap().shape(), &[0, 3]);
    let huge = Array2::<f32>::zeros((0, isize::MAX as usize));
    assert!(matches!(Tensor::try_from(huge), Err(Error::TooLarge { .. })));
}

#[test]
fn values_that_are_shared_or_saved_are_copied_on_the_way_out() {
    let x = Tensor::new([1.0, 2.0]).requires_grad();
    let y = x.exp().unwrap(); // saves its output
    let saved = y.as_slice().as_ptr();
    let mut array = ArrayD::from(y.clone());
    assert_ne!(array.as_ptr(), saved);
    array.fill(0.0);
    y.backward_with(&Tensor::new([1.0, 1.0])).unwrap();
    assert_eq!(x.grad().unwrap().to_vec(), [1f32.exp(), 2f32.exp()]);
}

#[test]
fn views_are_of_the_tensor_itself() {
    let mut x = Tensor::from([[1.0, 2.0], [3.0, 4.0]]).requires_grad();
    let snapshot = x.clone();
    assert_eq!(ArrayViewD::from(&x).as_ptr(), x.as_slice().as_ptr());
    assert_eq!(ArrayViewD::from(&x).sum_axis(Axis(1)), Array1::from(vec![3.0, 7.0]).into_dyn());
    ArrayViewMutD::try_from(&mut x).unwrap()[[1, 0]] = 9.0;
    assert_eq!(x.to_vec(), [1.0, 2.0, 9.0, 4.0]);
    assert_eq!(snapshot.to_vec(), [1.0, 2.0, 3.0, 4.0]);
    let mut result = x.exp().unwrap();
    assert!(matches!(ArrayViewMutD::try_from(&mut result), Err(Error::NotLeaf { .. })));
}

#[test]
fn a_large_tensor_of_recycled_memory_gives_exactly_its_elements() {
    drop(Tensor::<f32>::ones([30_000]).unwrap()); // longer than what follows, and kept for it
    let x = Tensor::<f32>::full([29_000], 2.0).unwrap();
    let bytes = tapegrad::memory::live_bytes();
    let values = x.into_vec();
    assert_eq!((values.len(), values.iter().all(|&value| value == 2.0)), (29_000, true));
    assert!(tapegrad::memory::live_bytes() <= bytes);
}

// ---- serde -------------------------------------------------------------------------------------

fn from_json<V: DeserializeOwned>(text: &str) -> Result<V, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn a_tensor_is_its_shape_and_its_elements() {
    let x = Tensor::new([[1.0, 2.5, -3.0], [0.1, 1e-40, 65536.5]]).requires_grad();
    let text = serde_json::to_string(&x).unwrap();
    assert_eq!(text, r#"{"shape":[2,3],"data":[1.0,2.5,-3.0,0.1,1e-40,65536.5]}"#);
    let back: Tensor = from_json(&text).unwrap();
    assert_eq!((back.shape(), back.to_vec()), (x.shape(), x.to_vec()));
    assert!(!back.is_tracked());
    let scalar: Tensor<f64> = from_json(r#"{"data":[0.25],"shape":[]}"#).unwrap();
    assert_eq!(scalar.item().unwrap(), 0.25);
}

#[test]
fn data_that_do_not_fill_the_shape_are_refused() {
    let refused = |text: &str| from_json::<Tensor>(text).unwrap_err();
    assert!(
        refused(r#"{"shape":[2,2],"data":[1,2,3]}"#)
            .starts_with("from_vec: 3 values do not fill shape [2, 2]")
    );
    assert!(refused(r#"{"shape":[0,4294967296,4294967296],"data":[]}"#).contains("overflows"));
    assert!(refused(r#"{"shape":[18446744073709551615,2],"data":[]}"#).contains("overflows"));
    for text in [
        r#"{"shape":[-1],"data":[]}"#,
        r#"{"shape":[1]}"#,
        r#"{"data":[1]}"#,
        r#"{"shape":[1],"data":["x"]}"#,
        r#"{"shape":[1],"data":[null]}"#,
        r#"{"shape":[1],"data":[1],"grad":[1]}"#,
        r#"{"shape":[1],"data":[1],"data":[1]}"#,
        "[]",
        "7",
    ] {
        assert!(from_json::<Tensor>(text).is_err(), "{text}");
    }
}

#[test]
fn a_length_that_is_claimed_and_not_there_asks_for_no_memory() {
    /// Claims to have any number of elements, and has two.
    struct Claims(u32);
    impl Iterator for Claims {
        type Item = UsizeDeserializer<ValueError>;
        fn next(&mut self) -> Option<Self::Item> {
            self.0 = self.0.checked_sub(1)?;
            Some(serde::de::IntoDeserializer::into_deserializer(1usize))
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (usize::MAX, Some(usize::MAX))
        }
    }
    struct Claimed;
    impl<'de> serde::Deserializer<'de> for Claimed {
        type Error = ValueError;
        fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            visitor.visit_seq(SeqDeserializer::new(Claims(2)))
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
        }
    }
    // A struct as a sequence of its fields: the shape is [1, 1], and the data are missing.
    assert!(<Tensor as serde::Deserialize>::deserialize(Claimed).is_err());
    let sizes: Vec<usize> = serde::Deserialize::deserialize(Claimed).unwrap();
    assert_eq!(sizes, [1, 1]);
}

#[test]
fn the_state_of_an_optimizer_goes_on_from_json() {
    let train = |model: &mut Vec<Tensor<f64>>, optimizer: &mut Adam<f64>, steps: usize| {
        for _ in 0..steps {
            model.zero_grad();
            model[0].square().unwrap().sum(..).unwrap().backward().unwrap();
            optimizer.step(model).unwrap();
        }
    };
    let start = || vec![Tensor::from([1.0, -2.0]).requires_grad()];
    let (mut whole, mut optimizer) = (start(), Adam::new(0.125));
    train(&mut whole, &mut optimizer, 5);

    let (mut model, mut optimizer) = (start(), Adam::new(0.125));
    train(&mut model, &mut optimizer, 2);
    let text = serde_json::to_string(&(optimizer.state(), &model)).unwrap();
    assert!(
        text.starts_with(r#"[{"parameters":[{"name":"0","steps":2,"buffers":[{"shape":[2],"data":["#),
        "{text}"
    );
    let (state, mut model): (OptimizerState<f64>, Vec<Tensor<f64>>) = from_json(&text).unwrap();
    model.unfreeze();
    let mut resumed = Adam::new(0.125);
    resumed.set_state(state).unwrap();
    train(&mut model, &mut resumed, 3);
    for (resumed, whole) in model[0].as_slice().iter().zip(whole[0].as_slice()) {
        assert!((resumed - whole).abs() < 1e-14, "{resumed} and {whole}"); // what JSON keeps
    }
    let lie = r#"{"parameters":[{"name":"0","steps":2,"buffers":[{"shape":[1],"data":[1]}]}]}"#;
    let refused = resumed.set_state(from_json(lie).unwrap());
    assert!(matches!(refused, Err(Error::Parameter { .. })), "{refused:?}");
}
