//! Gradients that are put in the place of accumulated ones.

use tapegrad::{Error, Result, Tensor};

#[test]
fn a_gradient_can_be_taken_out_changed_and_put_back() -> Result<()> {
    let x = Tensor::new([1.0, 2.0]).requires_grad();
    assert!(x.take_grad().is_none());
    x.square()?.sum(..)?.backward()?;
    let mut gradient = x.take_grad().unwrap();
    assert!(x.grad().is_none());
    gradient.as_mut_slice()?[0] = 7.0;
    x.set_grad(gradient)?;
    assert_eq!(x.grad().unwrap().to_vec(), [7.0, 4.0]);
    x.square()?.sum(..)?.backward()?; // adds to what was put there
    assert_eq!(x.grad().unwrap().to_vec(), [9.0, 8.0]);
    Ok(())
}

#[test]
fn a_gradient_that_is_put_in_place_is_a_constant() -> Result<()> {
    let x = Tensor::new([3.0]).requires_grad();
    x.set_grad(x.square()?)?;
    let gradient = x.grad().unwrap();
    assert!(!gradient.is_tracked());
    assert_eq!(gradient.to_vec(), [9.0]);
    Ok(())
}

#[test]
fn a_gradient_that_fits_no_leaf_is_refused() -> Result<()> {
    let x = Tensor::new([3.0]).requires_grad();
    assert_eq!(
        Tensor::new([1.0]).set_grad(x.clone()),
        Err(Error::NotTracked { op: "set_grad", input: None })
    );
    assert_eq!(x.square()?.set_grad(x.clone()), Err(Error::NotLeaf { op: "set_grad", step: "Square" }));
    let wrong = x.set_grad(Tensor::new([[1.0]])).unwrap_err();
    assert_eq!(wrong.to_string(), "set_grad: the gradient has shape [1, 1], expected [1]");
    assert!(x.grad().is_none());
    Ok(())
}
