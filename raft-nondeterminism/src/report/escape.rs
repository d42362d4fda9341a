//! Text as it stands in files of other formats. It is all meant literally, whatever it looks like.

/// Between tags and in quoted attributes of HTML and XML. What XML cannot hold at all is replaced.
pub(crate) fn markup(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' => escaped.push_str("&#10;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// JSON inside a `<script>`: no text in it can end the element, or open a comment in which it would go on.
pub(crate) fn json_in_script(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// One line, without anything that would end it.
pub(crate) fn line(text: &str) -> String {
    let clean = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars()
        .map(clean)
        .map(|it| if matches!(it, '\u{2028}' | '\u{2029}') { ' ' } else { it })
        .collect()
}

/// `n thing` or `n things`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_what_it_stands_in() {
        assert_eq!(
            markup("<b a='1'>\"&\u{1}\n"),
            "&lt;b a=&#39;1&#39;&gt;&quot;&amp;\u{fffd}&#10;"
        );
        let json =
            serde_json::to_string("</script><!--\u{2028}&").expect("text has a place in JSON");
        let escaped = json_in_script(&json);
        assert!(!escaped.contains(['<', '>', '&', '\u{2028}']), "{escaped}");
        let read: String = serde_json::from_str(&escaped).unwrap();
        assert_eq!(read, "</script><!--\u{2028}&");
        assert_eq!(line("a\nb\r\u{2028}c"), "a b  c");
    }
}
