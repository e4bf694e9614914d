//! Empty until the others pass.
