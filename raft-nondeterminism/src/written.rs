//! Comparing what would be printed with a text, without printing it.

use std::fmt::{self, Write};

/// True if `value` is printed as `text`.
pub(crate) fn is_written(value: &dyn fmt::Display, text: &str) -> bool {
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}

/// Compares what is written with a text, without keeping it, and stops at the first difference.
pub(crate) struct Rest<'a>(pub(crate) &'a str);

impl Write for Rest<'_> {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(written).ok_or(fmt::Error)?;
        Ok(())
    }
}
