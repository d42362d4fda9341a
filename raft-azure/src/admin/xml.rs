//! As much XML as the management API needs: read into a small tree, written as text.
//!
//! Guarantees: reading is total and bounded in depth; what is written is escaped.

use std::fmt::Write as _;

use quick_xml::XmlVersion;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// Deeper than any answer of the service.
const DEPTH_MAX: usize = 32;

/// An element: names are local (without namespace prefix), text is trimmed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) children: Vec<Self>,
    pub(super) text: String,
}

impl Element {
    /// Reads a document; `None` if it is not well-formed XML of reasonable depth.
    pub(super) fn parse(document: &str) -> Option<Self> {
        let mut reader = Reader::from_str(document);
        // The bottom one holds the root.
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    if open.len() > DEPTH_MAX {
                        return None;
                    }
                    open.push(Self::from_start(&start)?);
                }
                Event::Empty(start) => {
                    let element = Self::from_start(&start)?;
                    open.last_mut()?.children.push(element);
                }
                Event::End(_) => {
                    let mut element = open.pop()?;
                    element.text = element.text.trim().to_owned();
                    open.last_mut()?.children.push(element);
                }
                Event::Text(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
                Event::CData(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let text = &mut open.last_mut()?.text;
                    match reference.resolve_char_ref().ok()? {
                        Some(character) => text.push(character),
                        None => text.push_str(resolve_predefined_entity(&reference)?),
                    }
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
                Event::Eof => break,
            }
        }
        let bottom = open.pop()?;
        if open.is_empty() { bottom.children.into_iter().next() } else { None }
    }

    fn from_start(start: &BytesStart<'_>) -> Option<Self> {
        let mut element =
            Self { name: start.local_name().into_inner().to_owned(), ..Self::default() };
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            let name = attribute.key.local_name().into_inner().to_owned();
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned();
            element.attributes.push((name, value));
        }
        Some(element)
    }

    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Every child of this name, in order.
    pub(super) fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Text of the first child of this name, if it has any.
    pub(super) fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str()).filter(|text| !text.is_empty())
    }

    /// The value of `xsi:type` without its prefix.
    pub(super) fn type_name(&self) -> Option<&str> {
        let (_, value) = self.attributes.iter().find(|(name, _)| name == "type")?;
        Some(value.rsplit(':').next().unwrap_or(value))
    }
}

/// Appends `<name>text</name>`.
pub(super) fn push_text(xml: &mut String, name: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = write!(xml, "<{name}>{}</{name}>", escape(text));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_references_and_cdata_are_resolved() {
        let document = r#"<?xml version="1.0"?><a:feed xmlns:a="x"><entry i:type="d:Big&amp;" xmlns:i="y"> t &lt;&#65;<![CDATA[<b>]]> <empty/></entry><entry/></a:feed>"#;
        let feed = Element::parse(document).expect("well-formed");
        assert_eq!(feed.name, "feed");
        assert_eq!(feed.children_named("entry").count(), 2);
        let entry = feed.child("entry").expect("an entry");
        assert_eq!(entry.text, "t <A<b>");
        assert_eq!(entry.type_name(), Some("Big&"));
        assert!(entry.child("empty").is_some());
    }

    #[test]
    fn what_is_not_xml_or_too_deep_is_refused() {
        let deep = "<a>".repeat(40) + &"</a>".repeat(40);
        for document in ["", "hello", "<a>", "<a></b>", "<a>&unknown;</a>", &deep] {
            assert_eq!(Element::parse(document), None, "{document}");
        }
    }

    proptest! {
        #[test]
        fn text_survives_writing_and_reading(text in "[ -~äöü€]{0,40}") {
            let mut xml = String::new();
            push_text(&mut xml, "Name", &text);
            let element = Element::parse(&xml).expect("well-formed");
            prop_assert_eq!(element.text, text.trim());
        }

        #[test]
        fn parsing_never_panics(document in "[<>/a-b&;=\"' !\\[\\]?-]{0,80}") {
            let _ = Element::parse(&document);
        }
    }
}
