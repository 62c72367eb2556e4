//! Against str0m, an independent implementation of the whole.
