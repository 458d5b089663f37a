//! The shipped catalog, and prices by worked example.
