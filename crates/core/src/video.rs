//! Pictures between their forms, without the interpreter's lock.

use std::time::Instant;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes};
use roomful_video::{Format, convert, fit, turn};

fn format(number: usize) -> PyResult<Format> {
    Format::from_number(number)
        .ok_or_else(|| PyValueError::new_err(format!("unsupported video buffer type: {number}")))
}

/// A picture in another form (numbers of `VideoBufferType`), upside down if `flip_y`.
#[pyfunction]
#[pyo3(signature = (data, width, height, from_type, to_type, flip_y = false))]
pub(crate) fn convert_video<'py>(
    py: Python<'py>,
    data: PyBuffer<u8>,
    width: usize,
    height: usize,
    from_type: usize,
    to_type: usize,
    flip_y: bool,
) -> PyResult<Bound<'py, PyByteArray>> {
    let (from, to) = (format(from_type)?, format(to_type)?);
    let data = data.to_vec(py)?;
    let converted = py
        .detach(|| convert(&data, width, height, from, to, flip_y))
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyByteArray::new(py, &converted))
}

/// A picture as I420 in each of `sizes`, and the seconds that the interpreter was waited for afterwards.
#[pyfunction]
pub(crate) fn fit_video<'py>(
    py: Python<'py>,
    data: PyBackedBytes,
    size: (usize, usize),
    r#type: usize,
    sizes: Vec<(usize, usize)>,
) -> PyResult<(Vec<Bound<'py, PyBytes>>, f64)> {
    let from = format(r#type)?;
    let (fitted, done) = py.detach(|| (fit(&data, size, from, &sizes), Instant::now()));
    let waited = done.elapsed().as_secs_f64();
    let fitted = fitted.map_err(|error| PyValueError::new_err(error.to_string()))?;
    let fitted = fitted.iter().map(|it| PyBytes::new(py, it)).collect();
    Ok((fitted, waited))
}

/// A picture as I420, turned clockwise by so many quarters.
#[pyfunction]
pub(crate) fn turn_video<'py>(
    py: Python<'py>,
    data: PyBuffer<u8>,
    size: (usize, usize),
    r#type: usize,
    quarters: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let (from, data) = (format(r#type)?, data.to_vec(py)?);
    let turned = py
        .detach(|| turn(&data, size, from, quarters))
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &turned))
}
