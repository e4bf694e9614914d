//! Tests that need what the public API does not show.
