//! Statistics on their way to Python: W3C's dictionaries.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use roomful_media::statistics::{Report, Value};

/// One dictionary a report, with its `type` and `id`.
pub(crate) fn dictionaries<'py>(
    py: Python<'py>,
    reports: &[Report],
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for report in reports {
        let entry = PyDict::new(py);
        entry.set_item("type", report.kind)?;
        entry.set_item("id", &report.id)?;
        for (name, value) in &report.values {
            match value {
                Value::Flag(value) => entry.set_item(name, value)?,
                Value::Text(value) => entry.set_item(name, value)?,
                Value::Number(value) | Value::Total(value) => entry.set_item(name, value)?,
                Value::Whole(value) => entry.set_item(name, value)?,
                Value::Count(value) => entry.set_item(name, value)?,
            }
        }
        list.append(entry)?;
    }
    Ok(list)
}
