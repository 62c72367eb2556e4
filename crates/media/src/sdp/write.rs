//! From [`super::Description`] to text.
