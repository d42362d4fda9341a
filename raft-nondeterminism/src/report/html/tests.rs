//! The page as text: what it holds, and what it must not.

use super::*;
use crate::trace::example::{hostile, two_leaders};

#[test]
fn the_page_holds_the_whole_trace() {
    let trace = two_leaders();
    let page = html(&trace);
    let (_, rest) = page.split_once("id=\"trace\">").unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    assert_eq!(Trace::from_json(json).unwrap(), trace);
}

#[test]
fn no_text_of_a_trace_becomes_part_of_the_page() {
    let (plain, hostile) = (html(&two_leaders()), html(&hostile()));
    for part in ["<script", "</script", "<!--", "<button", "<b>"] {
        let count = |page: &str| page.matches(part).count();
        // The planted bug is one more thing that is written in bold.
        let more = usize::from(part == "<b>");
        assert_eq!(count(&hostile), count(&plain) + more, "{part}");
    }
}

#[test]
fn the_page_needs_no_other_file_and_no_network() {
    let page = html(&two_leaders());
    assert!(page.contains("default-src 'none'"));
    for part in ["src=", "href=", "@import", "url(", "fetch(", "XMLHttpRequest", "innerHTML"] {
        assert!(!page.contains(part), "{part}");
    }
    // The one address is the name of a format.
    let addresses = page.matches("http").count();
    assert_eq!(addresses, page.matches("http://www.w3.org/2000/svg").count() + 1);
    assert!(page.contains("http-equiv"));
}

#[test]
fn what_is_put_into_a_template_is_not_looked_at_again() {
    let filled = fill("a {{one}} b {{two}}", |name| format!("{{{{{name}}}}}"));
    assert_eq!(filled, "a {{one}} b {{two}}");
}
