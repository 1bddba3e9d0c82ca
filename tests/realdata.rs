//! Multinomial logistic regression on iris, wine and the 8x8 digits, against the exact minima that
//! scikit-learn's fits were polished to.
//!
//! The objective is J(W, b) = sum of s[i] loss[i] / sum of s[i] + lambda/2 sum of W^2, with the cross
//! entropy of softmax(x W + b), and s[i] the weight of the label's class.

mod golden;

use golden::store::{Store, cases};
use serde_json::Value as Json;
use tapegrad::{CrossEntropyLoss, GradOptions, Indices, Result, Tensor, accuracy, grad, keepdim, no_grad};

/// A fit: its data and the settings of its objective.
struct Fit {
    id: String,
    x: Tensor<f64>,
    labels: Indices,
    classes: usize,
    lambda: f64,
    criterion: CrossEntropyLoss<f64>,
    facts: Json,
}

/// W, of shape (features, classes), and b, of shape (classes).
type Parameters = [Tensor<f64>; 2];

impl Fit {
    fn new(facts: &Json, store: &Store) -> Result<Self> {
        let id = facts["id"].as_str().expect("an id").to_string();
        let number = |name: &str| facts[name].as_f64().unwrap_or_else(|| panic!("{id}: no {name}"));
        let (x, labels) = data(&id, facts["data"].as_str().expect("a data set"), store)?;
        let mut criterion = CrossEntropyLoss::new().label_smoothing(number("label_smoothing"));
        if let Some(weight) = store.get(&format!("{id}/class_weight")) {
            let weight = weight.numbers();
            criterion = criterion.weight(&Tensor::from(weight));
        }
        let (classes, lambda) = (number("classes") as usize, number("lambda"));
        Ok(Fit { x, labels, classes, lambda, criterion, facts: facts.clone(), id })
    }

    fn fact(&self, name: &str) -> f64 {
        self.facts[name].as_f64().unwrap_or_else(|| panic!("{}: no {name}", self.id))
    }

    fn objective(&self, [w, b]: &Parameters) -> Result<Tensor<f64>> {
        let loss = self.criterion.forward(&self.x.matmul(w)?.add(b)?, &self.labels)?;
        loss.add(w.square()?.sum(..)?.mul(self.lambda / 2.0)?)
    }

    /// The stored parameters at a point: the minimum, or the probe.
    fn stored(&self, store: &Store, prefix: &str) -> Parameters {
        let tensor = |name: &str| {
            let names = [format!("{prefix}{name}")];
            store.named(&self.id, "", &names).tensor(&names[0]).clone().requires_grad()
        };
        [tensor("coef"), tensor("intercept")]
    }

    fn zeros(&self) -> Result<Parameters> {
        let features = self.x.shape()[1];
        let [w, b] = [Tensor::zeros([features, self.classes])?, Tensor::zeros([self.classes])?];
        Ok([w.requires_grad(), b.requires_grad()])
    }
}

/// The features and labels of a fit.
fn data(id: &str, set: &str, store: &Store) -> Result<(Tensor<f64>, Indices)> {
    let labels = store.named::<f64>(set, "", &["y".to_string()]).indices("y").clone();
    let table = |name: &str| -> Result<Tensor<f64>> {
        let stored = store.expect(&format!("{set}/{name}"));
        Tensor::from_vec(stored.numbers(), &stored.shape[..])
    };
    Ok(match id {
        "iris_two_species_unpenalised" => {
            let rows = store.named::<f64>(id, "", &["rows".to_string()]).indices("rows").clone();
            let later = rows.as_slice().iter().map(|&row| labels.as_slice()[row as usize] - 1);
            (table("X")?.index_select(0, &rows)?, Indices::new(later.collect::<Vec<i64>>())?)
        }
        "wine_3_unpenalised" => (table("X_standardised")?.narrow(1, 0, 3)?, labels),
        // Blocks of 2 rows by 4 columns, each the mean of its 8 pixels of 16 grey levels.
        "digits_pooled_unpenalised" => {
            let blocks = table("X")?.reshape([-1, 4, 2, 2, 4])?.sum([2, 4])?;
            (blocks.reshape([-1, 8])?.div(128.0)?, labels)
        }
        _ => match set {
            "digits" => (table("X")?.div(16.0)?, labels),
            "wine" => (table("X_standardised")?, labels),
            _ => (table("X")?, labels),
        },
    })
}

fn fits() -> (Vec<Fit>, Store) {
    let store = Store::open(["data", "fits"].map(|name| format!("realdata/{name}.safetensors")));
    let fits = cases("realdata/fits.json");
    let fits = fits.iter().map(|facts| Fit::new(facts, &store).expect("the data fit together")).collect();
    (fits, store)
}

fn largest<'a>(tensors: impl IntoIterator<Item = &'a Tensor<f64>>) -> f64 {
    tensors.into_iter().flat_map(|tensor| tensor.as_slice()).fold(0.0, |most, x| most.max(x.abs()))
}

fn largest_difference(a: &[Tensor<f64>], b: &[Tensor<f64>]) -> Result<f64> {
    let differences = a.iter().zip(b).map(|(a, b)| a.sub(b)).collect::<Result<Vec<_>>>()?;
    Ok(largest(&differences))
}

fn dot(a: &[Tensor<f64>], b: &[Tensor<f64>]) -> Result<f64> {
    a.iter().zip(b).map(|(a, b)| a.mul(b)?.sum(..)?.item()).sum()
}

/// a + scale b
fn add_scaled(a: &[Tensor<f64>], scale: f64, b: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
    a.iter().zip(b).map(|(a, b)| a.add(b.mul(scale)?)).collect()
}

#[test]
fn objective_and_gradient_agree_at_a_random_point() -> Result<()> {
    let (fits, store) = fits();
    assert_eq!(fits.len(), 8);
    for fit in fits {
        let point = fit.stored(&store, "probe/");
        let objective = fit.objective(&point)?;
        let expected = fit.fact("probe_objective");
        assert!((objective.item()? - expected).abs() < 1e-14 * expected, "{}: {objective:?}", fit.id);
        objective.backward()?;
        let gradient = point.map(|leaf| leaf.grad().expect("a gradient"));
        let stored = fit.stored(&store, "probe/grad_");
        let difference = largest_difference(&gradient, &stored)?;
        assert!(difference < 1e-14 * largest(&stored).max(1.0), "{}: off by {difference:e}", fit.id);
    }
    Ok(())
}

#[test]
fn the_gradient_vanishes_at_the_stored_minima() -> Result<()> {
    let (fits, store) = fits();
    for fit in fits {
        let minimum = fit.stored(&store, "");
        let objective = fit.objective(&minimum)?;
        let expected = fit.fact("minimum_objective");
        assert!((objective.item()? - expected).abs() < 1e-14, "{}: {objective:?}", fit.id);
        objective.backward()?;
        let gradient = largest(&minimum.map(|leaf| leaf.grad().expect("a gradient")));
        assert!(gradient < 1e-12, "{}: largest gradient {gradient:e}", fit.id);
    }
    Ok(())
}

/// Newton's method from zero; each step solves H d = -g by conjugate gradients, which needs products
/// with the Hessian only: derivatives of recorded gradients. A shift common to all classes changes no
/// probability, so that H can be singular along it; the solver stays clear of it.
fn minimise(fit: &Fit) -> Result<Parameters> {
    let mut point = fit.zeros()?;
    for _ in 0..50 {
        let [w, b] = &point;
        let objective = fit.objective(&point)?;
        let recorded = GradOptions::new().create_graph(true);
        let gradient = grad(&[&objective], &[w, b], &recorded)?;
        if largest(&gradient) < 1e-12 {
            break;
        }
        let product = |direction: &[Tensor<f64>]| -> Result<Vec<Tensor<f64>>> {
            let upstream = GradOptions::new().grad_outputs(direction.iter().cloned()).retain_graph(true);
            grad(&[&gradient[0], &gradient[1]], &[w, b], &upstream)
        };
        let downhill: Vec<Tensor<f64>> = gradient.iter().map(|g| g.detach().neg()).collect::<Result<_>>()?;
        let step = conjugate_gradients(product, &downhill)?;

        // Half the step until the objective falls by a share of what the slope promises, with room for
        // the rounding of the objective itself.
        let (start, slope) = (objective.item()?, -dot(&downhill, &step)?);
        let mut length = 1.0;
        let value_at = |length: f64| no_grad(|| fit.objective(&moved(&point, length, &step)?)?.item());
        while value_at(length)? > start + 1e-4 * length * slope + 1e-15 && length > 1e-6 {
            length /= 2.0;
        }
        point = moved(&point, length, &step)?.map(Tensor::requires_grad);
    }
    Ok(point)
}

/// With a mean of 0 over the classes, which are the last dim.
fn centred(x: &Tensor<f64>) -> Result<Tensor<f64>> {
    x.sub(x.mean(keepdim(-1))?)
}

fn moved(point: &Parameters, length: f64, step: &[Tensor<f64>]) -> Result<Parameters> {
    let along = |i: usize| point[i].detach().add(step[i].mul(length)?);
    Ok([along(0)?, along(1)?])
}

/// Solves H d = r, the better the smaller r is, among the d with a mean of 0 over the classes. All residuals
/// are centred: in a direction of no curvature their rounding errors would grow with every step.
fn conjugate_gradients(
    product: impl Fn(&[Tensor<f64>]) -> Result<Vec<Tensor<f64>>>,
    right: &[Tensor<f64>],
) -> Result<Vec<Tensor<f64>>> {
    let all_centred = |tensors: &[Tensor<f64>]| tensors.iter().map(centred).collect::<Result<Vec<_>>>();
    let mut solution = add_scaled(right, -1.0, right)?;
    let mut residual = all_centred(right)?;
    let mut direction = residual.clone();
    let mut square = dot(&residual, &residual)?;
    let enough = square * square.clamp(1e-8, 1e-2);
    let mut rounds = 0..2000;
    while square > enough && rounds.next().is_some() {
        let image = product(&direction)?;
        let length = square / dot(&direction, &image)?;
        solution = add_scaled(&solution, length, &direction)?;
        residual = all_centred(&add_scaled(&residual, -length, &image)?)?;
        let previous = std::mem::replace(&mut square, dot(&residual, &residual)?);
        direction = add_scaled(&residual, square / previous, &direction)?;
    }
    Ok(solution)
}

#[test]
fn fits_from_zero_reach_the_coefficients_of_scikit_learn() -> Result<()> {
    let (fits, store) = fits();
    for fit in fits {
        let [w, b] = minimise(&fit)?;
        let objective = fit.objective(&[w.clone(), b.clone()])?.item()?;
        let excess = objective - fit.fact("minimum_objective");
        let difference = largest_difference(&[centred(&w)?, centred(&b)?], &fit.stored(&store, ""))?;
        println!("{:30} objective {objective:.16}, coefficients off by {difference:.1e}", fit.id);
        assert!(excess.abs() < 1e-13, "{}: objective {objective}, too large by {excess:e}", fit.id);
        assert!(difference < 1e-6, "{}: coefficients off by {difference:e}", fit.id);
        let right = accuracy(&fit.x.matmul(&w)?.add(&b)?, &fit.labels)? * fit.labels.len() as f64;
        assert_eq!(right.round(), fit.fact("correct"), "{}: samples classified rightly", fit.id);
    }
    Ok(())
}
