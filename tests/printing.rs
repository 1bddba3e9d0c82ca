//! `Display` against PyTorch: stored texts for constants, and the suffixes of tracked tensors.

use serde_json::Value;
use tapegrad::{Float, Indices, Mask, Result, Tensor};

fn golden(family: &str) -> Vec<Value> {
    let mut data: Value = serde_json::from_str(include_str!("data/printing/printing.json")).unwrap();
    serde_json::from_value(data[family].take()).unwrap()
}

fn shape(case: &Value) -> Vec<usize> {
    serde_json::from_value(case["shape"].clone()).unwrap()
}

/// The one difference that is intended here: types have their Rust names.
fn expected(case: &Value) -> String {
    let names = [("dtype=torch.float64", "dtype=f64"), ("dtype=torch.int64", "dtype=i64")];
    let printed = case["printed"].as_str().unwrap().to_owned();
    names.iter().fold(printed, |text, (theirs, ours)| text.replace(theirs, ours))
}

fn float<T: Float + std::str::FromStr>(case: &Value) -> String {
    let parse = |number: &Value| number.as_str().unwrap().parse().ok().expect("a number");
    let data: Vec<T> = case["data"].as_array().unwrap().iter().map(parse).collect();
    Tensor::from_vec(data, shape(case)).unwrap().to_string()
}

/// What is wrong with the case, if anything.
fn difference(name: &str, printed: &str, expected: &str) -> Option<String> {
    (printed != expected).then(|| format!("{name}: expected\n{expected}\nprinted\n{printed}\n"))
}

fn assert_none_differs(count: usize, differences: Vec<String>) {
    assert!(differences.is_empty(), "{} of {count} differ\n\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn floats_print_as_in_pytorch() {
    let cases = golden("float");
    assert_eq!(cases.len(), 170);
    let differences = cases.iter().enumerate().filter_map(|(number, case)| {
        let dtype = case["dtype"].as_str().unwrap();
        let printed = match dtype {
            "float32" => float::<f32>(case),
            "float64" => float::<f64>(case),
            other => panic!("unknown dtype {other}"),
        };
        let name = format!("case {number}, {dtype} of {:?}", shape(case));
        difference(&name, &printed, &expected(case))
    });
    assert_none_differs(cases.len(), differences.collect());
}

#[test]
fn integers_print_as_in_pytorch() {
    let cases = golden("int64");
    assert_eq!(cases.len(), 7);
    let differences = cases.iter().enumerate().filter_map(|(number, case)| {
        let data: Vec<i64> = serde_json::from_value(case["data"].clone()).unwrap();
        let printed = Indices::from_vec(data, shape(case)).unwrap().to_string();
        difference(&format!("case {number}, int64 of {:?}", shape(case)), &printed, &expected(case))
    });
    assert_none_differs(cases.len(), differences.collect());
}

#[test]
fn masks_print_as_boolean_tensors() -> Result<()> {
    assert_eq!(Mask::new(true).to_string(), "tensor(True)");
    assert_eq!(Mask::new([true, true]).to_string(), "tensor([True, True])");
    let mixed = Mask::new([[true, false], [false, false]]);
    assert_eq!(mixed.to_string(), "tensor([[ True, False],\n        [False, False]])");
    assert_eq!(Mask::new([false; 0]).to_string(), "tensor([], dtype=bool)");
    let line = "True, ".repeat(11) + "True";
    let two_lines = format!("tensor([{line},\n        True])");
    assert_eq!(Mask::new([true; 13]).to_string(), two_lines);
    assert_eq!(Mask::from_vec(vec![false; 0], [2, 0])?.to_string(), "tensor([], size=(2, 0), dtype=bool)");
    Ok(())
}

#[test]
fn tracked_tensors_say_so() -> Result<()> {
    let x = Tensor::new([1.0, 2.5]).requires_grad();
    assert_eq!(x.to_string(), "tensor([1.0000, 2.5000], requires_grad=True)");
    let product = &x * 2.0;
    assert_eq!(product.to_string(), "tensor([2., 5.], grad_fn=<MulBackward>)");
    assert_eq!(product.detach().to_string(), "tensor([2., 5.])");
    assert_eq!(product.sum(..)?.to_string(), "tensor(7., grad_fn=<SumBackward>)");
    let empty = Tensor::<f64>::zeros([0, 3])?.requires_grad();
    assert_eq!(empty.to_string(), "tensor([], size=(0, 3), dtype=f64, requires_grad=True)");
    let flat = Tensor::<f32>::zeros([0])?.requires_grad();
    assert_eq!(flat.to_string(), "tensor([], requires_grad=True)");
    Ok(())
}

/// The text of `count` halves, cut into the numbers and what comes after them.
fn row<T: Float>(count: usize, track: impl Fn(Tensor<T>) -> Tensor<T>) -> (String, String) {
    let halves = Tensor::full([count], T::from_f64(0.5)).unwrap();
    let text = track(halves).to_string();
    let numbers = format!("tensor([{}]", vec!["0.5000"; count].join(", "));
    let rest = text.strip_prefix(&numbers).expect("the numbers come first");
    (numbers, rest.to_owned())
}

#[test]
fn suffixes_move_to_new_lines_one_by_one() {
    let leaf = |x: Tensor| x.requires_grad();
    assert_eq!(row(6, leaf).1, ", requires_grad=True)");
    assert_eq!(row(7, leaf).1, ",\n       requires_grad=True)");
    let step = |x: Tensor| x.requires_grad() * 1.0;
    assert_eq!(row(5, step).1, ", grad_fn=<MulBackward>)");
    assert_eq!(row(6, step).1, ",\n       grad_fn=<MulBackward>)");
    let precise = |x: Tensor<f64>| x.requires_grad() * 1.0;
    assert_eq!(row(1, precise).1, ", dtype=f64, grad_fn=<MulBackward>)");
    assert_eq!(row(5, precise).1, ", dtype=f64,\n       grad_fn=<MulBackward>)");
    assert_eq!(row(7, precise).1, ",\n       dtype=f64, grad_fn=<MulBackward>)");
}

#[test]
fn a_line_breaks_where_the_name_with_its_digit_would_not_fit() {
    // PyTorch's `grad_fn=<MulBackward0>` has 22 characters: there is room for it behind 54, not behind 55,
    // where the name without its digit would fit.
    let matrix = Tensor::full([2, 5], -1.5f32).unwrap().requires_grad() * 1.0;
    let text = matrix.to_string();
    let (numbers, suffix) = text.lines().last().unwrap().split_at(54);
    assert_eq!((&numbers[52..], suffix), ("]]", ", grad_fn=<MulBackward>)"));

    let (numbers, suffix) = row(6, |x: Tensor| x.requires_grad() * 1.0);
    assert_eq!((numbers.len(), suffix.as_str()), (55, ",\n       grad_fn=<MulBackward>)"));
}

#[test]
fn steps_with_several_dims_end_behind_the_last_bracket() -> Result<()> {
    let x = Tensor::<f32>::arange(0.0, 8.0, 1.0)?.reshape([2, 2, 2])?.requires_grad();
    let text = "\
tensor([[[-0., -1.],
         [-2., -3.]],

        [[-4., -5.],
         [-6., -7.]]], grad_fn=<NegBackward>)";
    assert_eq!((-&x).to_string(), text);
    Ok(())
}

#[test]
fn elements_left_out_have_no_say_in_the_notation() -> Result<()> {
    let mut values = vec![1.0f32; 2000];
    values[1000] = 1e-9;
    values[999] = 0.5;
    let text = "tensor([1., 1., 1.,  ..., 1., 1., 1.])";
    assert_eq!(Tensor::from(values.clone()).to_string(), text);
    values[2] = 0.5;
    let text = "tensor([1.0000, 1.0000, 0.5000,  ..., 1.0000, 1.0000, 1.0000])";
    assert_eq!(Tensor::from(values).to_string(), text);
    Ok(())
}

#[test]
fn a_precision_changes_the_digits_after_the_point() {
    let x = Tensor::from([1.0 / 3.0, 2.0]);
    assert_eq!(format!("{x:.8}"), "tensor([0.33333333, 2.00000000], dtype=f64)");
    assert_eq!(format!("{:.1}", Tensor::new([1e-6])), "tensor([1.0e-06])");
    // All that an f64 has: 2^-1074 is 4.9e-324 to its last digit.
    let least = format!("{:.65535}", Tensor::<f64>::from([5e-324, 1.0]));
    assert!(least.contains("625") && least.contains("e-324") && least.len() < 3000, "{least}");
}

#[test]
fn a_tensor_of_very_many_dims_prints() -> Result<()> {
    let rank = 70_000; // more than format! takes as a width
    let text = Tensor::from_vec(vec![1.5f32], vec![1; rank])?.to_string();
    assert_eq!(text, format!("tensor({}1.5000{})", "[".repeat(rank), "]".repeat(rank)));
    Ok(())
}
