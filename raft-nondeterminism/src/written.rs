//! Comparing what would be printed with a text, without printing it.

use std::fmt::{self, Write};

/// True if `value` is printed as `text`.
pub(crate) fn is_written(value: &dyn fmt::Display, text: &str) -> bool {
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}

/// Writes on one line: what would end it is escaped, and so are blanks at its end.
pub(crate) struct OneLine<W> {
    line: W,
    /// So many have come since the last letter.
    blanks: usize,
}

impl<W: Write> OneLine<W> {
    pub(crate) fn new(line: W) -> Self {
        Self { line, blanks: 0 }
    }

    /// Ends the line.
    pub(crate) fn finish(mut self) -> Result<W, fmt::Error> {
        for _ in 0..self.blanks {
            write!(self.line, "{}", ' '.escape_unicode())?;
        }
        Ok(self.line)
    }
}

impl<W: Write> Write for OneLine<W> {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        for letter in written.chars() {
            if letter == ' ' {
                self.blanks += 1;
                continue;
            }
            for _ in 0..std::mem::take(&mut self.blanks) {
                self.line.write_char(' ')?;
            }
            // Some that are no control letters end lines all the same.
            if letter.is_control() || letter.is_whitespace() {
                write!(self.line, "{}", letter.escape_default())?;
            } else {
                self.line.write_char(letter)?;
            }
        }
        Ok(())
    }
}

/// Compares what is written with a text, without keeping it, and stops at the first difference.
pub(crate) struct Rest<'a>(pub(crate) &'a str);

impl Write for Rest<'_> {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(written).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_written_stays_on_one_line_and_does_not_end_with_a_blank() {
        for (parts, expected) in [
            (&["a b", "c "][..], "a bc\\u{20}"),
            (&["a ", "  b", " ", ""], "a   b\\u{20}"),
            (&["x\ny\r\tz"], "x\\ny\\r\\tz"),
            (&["\u{2028}é→"], "\\u{2028}é→"),
            (&[" "], "\\u{20}"),
        ] {
            let mut line = OneLine::new(String::new());
            parts.iter().for_each(|part| line.write_str(part).expect("a string takes all"));
            assert_eq!(line.finish().as_deref(), Ok(expected));
        }
    }
}
