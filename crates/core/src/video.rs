//! Pictures between their forms, without the interpreter's lock.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyByteArray;
use roomful_video::{Format, convert, scale_i420};

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

/// An I420 picture in another size.
#[pyfunction]
pub(crate) fn scale_video<'py>(
    py: Python<'py>,
    data: PyBuffer<u8>,
    size: (usize, usize),
    to_size: (usize, usize),
) -> PyResult<Bound<'py, PyByteArray>> {
    let data = data.to_vec(py)?;
    let scaled = py
        .detach(|| scale_i420(&data, size, to_size))
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyByteArray::new(py, &scaled))
}
