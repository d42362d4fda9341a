//! The checker of histories: known cases, a naive twin, and what the reader refuses.

mod known;
mod program;
mod properties;
mod reader;
mod twin;
