//! How far to go along a direction that leads downhill.

/// The objective at a distance along the direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// The distance, in units of the direction.
    pub at: f64,
    pub value: f64,
    /// The derivative with respect to the distance; nan where value or derivative is not finite.
    pub slope: f64,
}

/// Looks for a distance at which the strong Wolfe conditions hold: with the value f and slope f' at the
/// distance a,
///
/// ```text
/// f(a) <= f(0) + 1e-4 a f'(0)    f has decreased by a share of what the slope promised
/// |f'(a)| <= 0.9 |f'(0)|         and the slope is flatter than at the start
/// ```
///
/// Near a minimum the first condition drowns in the rounding errors of f. Where f has changed by no more
/// than those, it is replaced by f'(a) <= -(1 - 2e-4) f'(0), which says the same of a parabola (Hager and Zhang, "A new conjugate gradient
/// method with guaranteed descent and an efficient line search", SIAM Journal on Optimization 16, 2005).
///
/// The search keeps the lowest point so far as one end of an interval; once it has another end that is too
/// far, it closes in on the minimum between them (Nocedal and Wright, "Numerical optimization", algorithms
/// 3.5 and 3.6).
pub(super) struct LineSearch {
    start: Point,
    noise: f64,
    lowest: Point,
    /// The other end of the interval, once there is one.
    end: Option<Point>,
    next: Option<f64>,
    done: bool,
}

const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;

impl LineSearch {
    /// From the start, at distance 0, where the slope is below 0; values that differ by `noise` or less
    /// count as equal.
    pub fn new(start: Point, first: f64, noise: f64) -> Self {
        LineSearch { start, noise, lowest: start, end: None, next: Some(first), done: false }
    }

    /// The distance at which the objective is wanted next; none once the search is over.
    pub fn next(&self) -> Option<f64> {
        self.next
    }

    /// The distance of the lowest acceptable point so far; 0 if there is none.
    pub fn lowest(&self) -> f64 {
        self.lowest.at
    }

    /// Whether the lowest point satisfies both conditions.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the objective at the distance that [`next`](Self::next) asked for.
    pub fn tell(&mut self, point: Point) {
        let Point { at, value, slope } = point;
        if slope.is_nan() || !self.decreases(point) || value > self.lowest.value + self.noise {
            self.end = Some(point);
        } else if slope.abs() <= CURVATURE * self.start.slope.abs() {
            (self.lowest, self.done, self.next) = (point, true, None);
            return;
        } else {
            // Which way is down from here decides which end of the interval is given up.
            let past = self.end.map_or(slope >= 0.0, |end| slope * (end.at - self.lowest.at) >= 0.0);
            if past {
                self.end = Some(self.lowest);
            }
            self.lowest = point;
        }
        self.next = match self.end {
            None => Some(at * 4.0).filter(|at| at.is_finite()),
            Some(end) => self.between(end),
        };
    }

    fn decreases(&self, Point { at, value, slope }: Point) -> bool {
        value <= self.start.value + DECREASE * at * self.start.slope
            || ((value - self.start.value).abs() <= self.noise
                && slope <= (2.0 * DECREASE - 1.0) * self.start.slope)
    }

    /// Where the minimum between the lowest point and the other end is likely to be; none when there is no
    /// room left between them.
    fn between(&self, end: Point) -> Option<f64> {
        let (low, width) = (self.lowest, end.at - self.lowest.at);
        if width.abs() <= 1e-12 * end.at.abs().max(low.at.abs()) || width.abs() < 1e-300 {
            return None;
        }
        if end.slope.is_nan() {
            return Some(low.at + 0.1 * width); // the objective is not finite there: far away from it
        }
        // Values that differ by rounding alone say nothing about the shape: slopes do.
        let share = match (low.value - end.value).abs() > self.noise {
            true => cubic_minimum(low, end),
            false => low.slope / (low.slope - end.slope),
        };
        // Not too near to either end, so that the interval shrinks.
        let share = if share.is_finite() { share.clamp(0.1, 0.9) } else { 0.5 };
        Some(low.at + share * width)
    }
}

/// The minimum of the cubic with the values and slopes of two points, as a share of the way between them.
fn cubic_minimum(from: Point, to: Point) -> f64 {
    let width = to.at - from.at;
    let mean_slope = 3.0 * (from.value - to.value) / width;
    let theta = mean_slope + from.slope + to.slope;
    let root = (theta * theta - from.slope * to.slope).sqrt() * width.signum();
    1.0 - (to.slope + root - theta) / (to.slope - from.slope + 2.0 * root)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search on a function and its derivative; the distance and the number of evaluations.
    fn search(first: f64, f: impl Fn(f64) -> (f64, f64)) -> (f64, usize) {
        let point = |at: f64| {
            let (value, slope) = f(at);
            Point { at, value, slope: if value.is_finite() { slope } else { f64::NAN } }
        };
        let start = point(0.0);
        let mut search = LineSearch::new(start, first, 1e-15 * start.value.abs());
        let mut evaluations = 0;
        while let Some(at) = search.next() {
            search.tell(point(at));
            evaluations += 1;
            assert!(evaluations < 100, "the search does not end");
        }
        assert!(search.is_done());
        let end = point(search.lowest());
        assert!(end.value <= start.value + DECREASE * end.at * start.slope + 1e-15 * start.value.abs());
        assert!(end.slope.abs() <= CURVATURE * start.slope.abs());
        (end.at, evaluations)
    }

    #[test]
    fn both_conditions_hold_wherever_the_search_starts() {
        for exponent in -6..=6 {
            let first = 10f64.powi(exponent);
            search(first, |x| ((x - 1.0).powi(2), 2.0 * (x - 1.0)));
            search(first, |x| (-x / (x * x + 2.0), (x * x - 2.0) / (x * x + 2.0).powi(2)));
            search(first, |x| {
                ((x + 0.004).powi(5) - 2.0 * (x + 0.004).powi(4), {
                    5.0 * (x + 0.004).powi(4) - 8.0 * (x + 0.004).powi(3)
                })
            });
            search(first, |x| (x.exp() - 3.0 * x, x.exp() - 3.0));
        }
    }

    #[test]
    fn a_parabola_takes_one_interpolation() {
        let (at, evaluations) = search(30.0, |x| ((x - 3.0).powi(2), 2.0 * (x - 3.0)));
        assert!((at - 3.0).abs() < 1e-12 && evaluations == 2, "{at} {evaluations}");
    }

    #[test]
    fn it_comes_back_from_where_the_objective_is_not_finite() {
        let (at, _) = search(1e6, |x| {
            if x < 2.0 { (-(2.0 - x).ln() - 2.0 * x, 1.0 / (2.0 - x) - 2.0) } else { (f64::NAN, 0.0) }
        });
        assert!(at > 0.0 && at < 2.0);
    }

    #[test]
    fn a_function_without_a_minimum_ends_without_success() {
        let start = Point { at: 0.0, value: 0.0, slope: -1.0 };
        let mut search = LineSearch::new(start, 1.0, 1e-15);
        let mut evaluations = 0;
        while let Some(at) = search.next() {
            search.tell(Point { at, value: -at, slope: -1.0 });
            evaluations += 1;
        }
        assert!(!search.is_done() && evaluations < 1000);
        assert!(search.lowest() > 1e300);
    }
}
