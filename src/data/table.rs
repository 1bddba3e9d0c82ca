//! Tables of numbers in text.

use crate::error::{Error, Result};
use crate::float::{Float, compiled};
use crate::tensor::model::Tensor;

/// A table from rows of fields that are text: the records of a CSV reader, for instance. The result has the
/// shape (rows, fields); spaces around a number do not matter.
///
/// ```
/// # use tapegrad::Tensor;
/// # use tapegrad::data::from_records;
/// let table: Tensor = from_records([["1", "2.5"], ["-3e2", " 4"]])?;
/// assert_eq!(table.to_vec(), [1.0, 2.5, -300.0, 4.0]);
/// let error = from_records::<f32, _, _, _>([["1", "2"], ["3", "four"]]).unwrap_err();
/// assert_eq!(error.to_string(), "from_records: row 1, column 1: \"four\" is not a finite number");
/// # Ok::<(), tapegrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Table`] for a row with another number of fields than the first, and for a field that is not a finite
/// number in the precision of the result; rows and columns count from 0. [`Error::OutOfMemory`].
pub fn from_records<T, R, F, S>(records: R) -> Result<Tensor<T>>
where
    T: Float,
    R: IntoIterator<Item = F>,
    F: IntoIterator<Item = S>,
    S: AsRef<str>,
{
    parse("from_records", records)
}

compiled! {
    /// A table from lines of numbers with commas between them. With `header`, the first line is the columns'
    /// names and is left out. Empty lines do not count. Fields in quotes are not understood: for those use a CSV
    /// reader and [`from_records`].
    ///
    /// ```
    /// # use tapegrad::Tensor;
    /// # use tapegrad::data::from_csv;
    /// let table: Tensor<f64> = from_csv("x, y\n1, 2\n3, 4\n", true)?;
    /// assert_eq!(table.shape(), &[2, 2]);
    /// # Ok::<(), tapegrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_records`]; the header is not counted as a row.
    pub fn from_csv<T>(text: &str, header: bool) -> Result<Tensor<T>> {
        let lines = text.lines().filter(|line| !line.trim().is_empty()).skip(usize::from(header));
        parse("from_csv", lines.map(|line| line.split(',')))
    }
}

fn parse<T, R, F, S>(op: &'static str, records: R) -> Result<Tensor<T>>
where
    T: Float,
    R: IntoIterator<Item = F>,
    F: IntoIterator<Item = S>,
    S: AsRef<str>,
{
    let (mut values, mut rows, mut columns) = (Vec::<T>::new(), 0, None);
    for (row, record) in records.into_iter().enumerate() {
        let start = values.len();
        for (column, field) in record.into_iter().enumerate() {
            let number = number(field.as_ref()).ok_or_else(|| Error::Table {
                op,
                row,
                column: Some(column),
                problem: format!("{:?} is not a finite number", beginning(field.as_ref())),
            })?;
            let bytes = (values.len() + 1).saturating_mul(size_of::<T>());
            values.try_reserve(1).map_err(|_| Error::OutOfMemory { bytes })?;
            values.push(number);
        }
        let actual = values.len() - start;
        let expected = *columns.get_or_insert(actual);
        if actual != expected {
            let problem = format!("has {actual} values, the first row has {expected}");
            return Err(Error::Table { op, row, column: None, problem });
        }
        rows += 1;
    }
    Tensor::from_vec(values, [rows, columns.unwrap_or(0)])
}

fn number<T: Float>(field: &str) -> Option<T> {
    let number = field.trim().parse().ok().map(<T as Float>::from_f64)?;
    number.is_finite().then_some(number)
}

/// As much of a field as an error can show.
fn beginning(field: &str) -> String {
    const SHOWN: usize = 60;
    match field.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}..", &field[..end]),
        None => field.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        from_csv::<f32>(text, false).unwrap_err().to_string()
    }

    #[test]
    fn numbers_are_read_in_rows() -> Result<()> {
        let table: Tensor<f64> = from_csv("a,b,c\n1,-2.5, 3e-2 \n\n+4,.5,6.\r\n", true)?;
        assert_eq!(table.shape(), &[2, 3]);
        assert_eq!(table.to_vec(), [1.0, -2.5, 0.03, 4.0, 0.5, 6.0]);
        assert_eq!(from_csv::<f32>("", false)?.shape(), &[0, 0]);
        assert_eq!(from_csv::<f32>("a,b\n", true)?.shape(), &[0, 0]);
        let fields = vec![vec!["1".to_string()], vec!["2".to_string()]];
        assert_eq!(from_records::<f32, _, _, _>(&fields)?.to_vec(), [1.0, 2.0]);
        Ok(())
    }

    #[test]
    fn a_ragged_row_is_named() {
        assert_eq!(message("1,2\n3,4\n5\n"), "from_csv: row 2 has 1 values, the first row has 2");
        assert_eq!(message("1,2\n3,4,5\n"), "from_csv: row 1 has 3 values, the first row has 2");
    }

    #[test]
    fn a_field_that_is_no_number_is_named_with_its_place_and_text() {
        assert_eq!(message("1,2\n3,x y\n"), "from_csv: row 1, column 1: \"x y\" is not a finite number");
        assert_eq!(message("1,,3\n"), "from_csv: row 0, column 1: \"\" is not a finite number");
        for text in ["nan", "inf", "-infinity", "1e39", "1_000", "0x10", "1 2", "1,5e"] {
            assert!(message(text).ends_with("is not a finite number"), "{text}");
        }
        assert_eq!(from_csv::<f64>("1e39", false).unwrap().to_vec(), [1e39]);
        let long = "ä".repeat(1000);
        assert!(message(&long).contains(&format!("\"{}..\"", "ä".repeat(60))));
    }
}
