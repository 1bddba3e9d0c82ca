//! A small dense linear system.

/// The solution x of A x = b by Gaussian elimination with row exchanges; none if A is singular.
/// A is square and given by its rows.
pub fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let n = b.len();
    for column in 0..n {
        // The largest entry left in the column is the safest one to divide by.
        let pivot = (column..n).max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()))?;
        a.swap(column, pivot);
        b.swap(column, pivot);
        if a[column][column] == 0.0 {
            return None;
        }
        let (upper, lower) = a.split_at_mut(column + 1);
        let pivot = &upper[column];
        for (i, row) in lower.iter_mut().enumerate() {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(pivot).for_each(|(entry, above)| *entry -= factor * above);
            b[column + 1 + i] -= factor * b[column];
        }
    }
    // A is triangular now: the last unknown is known, then the one before it, ..
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|j| a[row][j] * b[j]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    Some(b)
}
