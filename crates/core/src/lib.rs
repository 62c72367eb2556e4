//! Python bindings of roomful's media plane.
use pyo3::prelude::*;

#[pymodule]
mod _core {}
