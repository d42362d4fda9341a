//! XML as the management API needs it: a small tree to read, an escaping writer.
//!
//! Guarantees: reading is bounded in depth and never expands entities beyond the five of XML.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::escape;
use quick_xml::events::{BytesStart, Event};

/// Descriptions are five levels deep.
const DEPTH_MAX: usize = 32;

/// An element by its local name; namespaces are not compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Element {
    pub(super) name: String,
    /// Attributes by their local names.
    attributes: Vec<(String, String)>,
    pub(super) children: Vec<Self>,
    pub(super) text: String,
}

/// The body is not well-formed XML, or not what we read.
#[derive(Debug, thiserror::Error)]
pub(super) enum XmlError {
    #[error("the body is not well-formed XML")]
    Malformed(#[from] quick_xml::Error),
    #[error("the body is not well-formed XML")]
    Escape(#[from] escape::EscapeError),
    #[error("the body has no root element")]
    Empty,
    #[error("the body is nested too deeply")]
    TooDeep,
}

impl Element {
    pub(super) fn parse(text: &str) -> Result<Self, XmlError> {
        let mut reader = Reader::from_str(text);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event()? {
                Event::Start(start) if open.len() > DEPTH_MAX => {
                    _ = start;
                    return Err(XmlError::TooDeep);
                }
                Event::Start(start) => open.push(Self::from_start(&start)?),
                Event::Empty(start) => {
                    let element = Self::from_start(&start)?;
                    if let Some(parent) = open.last_mut() {
                        parent.children.push(element);
                    }
                }
                Event::End(_) => {
                    if let Some(element) = open.pop()
                        && let Some(parent) = open.last_mut()
                    {
                        parent.children.push(element);
                    }
                }
                Event::Text(text) => push_text(&mut open, &text.into_inner()),
                Event::CData(data) => push_text(&mut open, &data.into_inner()),
                Event::GeneralRef(reference) => {
                    let reference = format!("&{};", reference.into_inner());
                    push_text(&mut open, &escape::unescape(&reference)?);
                }
                Event::Eof => break,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
        let root =
            open.into_iter().next().and_then(|document| document.children.into_iter().next());
        root.ok_or(XmlError::Empty)
    }

    fn from_start(start: &BytesStart<'_>) -> Result<Self, XmlError> {
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(quick_xml::Error::from)?;
            let name = attribute.key.local_name().as_ref().to_owned();
            attributes.push((name, escape::unescape(&attribute.value)?.into_owned()));
        }
        let name = start.local_name().as_ref().to_owned();
        Ok(Self { name, attributes, ..Self::default() })
    }

    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of a child that is there and not empty.
    pub(super) fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim()).filter(|text| !text.is_empty())
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The `type` attribute without its prefix.
    pub(super) fn type_name(&self) -> &str {
        let name = self.attribute("type").unwrap_or_default();
        name.rsplit_once(':').map_or(name, |(_, local)| local)
    }
}

fn push_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

/// Writes XML; all text and attribute values are escaped.
#[derive(Debug, Default)]
pub(super) struct XmlWriter {
    out: String,
}

impl XmlWriter {
    /// Writes an element with what `content` writes.
    pub(super) fn element(
        &mut self,
        name: &str,
        attributes: &[(&str, &str)],
        content: impl FnOnce(&mut Self),
    ) {
        _ = write!(self.out, "<{name}");
        for (key, value) in attributes {
            _ = write!(self.out, " {key}=\"{}\"", escaped(value));
        }
        self.out.push('>');
        content(self);
        _ = write!(self.out, "</{name}>");
    }

    /// Writes an element with text alone.
    pub(super) fn leaf(&mut self, name: &str, text: &str) {
        self.element(name, &[], |xml| xml.text(text));
    }

    /// Writes an element if there is a text.
    pub(super) fn optional_leaf(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.leaf(name, text);
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.out.push_str(&escaped(text));
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}

fn escaped(text: &str) -> String {
    // XML 1.0 has no way to write the other control characters.
    let is_xml = |c: &char| *c >= ' ' || matches!(c, '\t' | '\n' | '\r');
    escape::escape(text.chars().filter(is_xml).collect::<String>()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let text = "<a & \"b\"> 'c' ]]> \u{e9}";
        let mut xml = XmlWriter::default();
        xml.element("root", &[("kind", text)], |xml| {
            xml.leaf("Name", text);
            xml.leaf("Empty", "");
        });
        let root = Element::parse(&xml.finish()).unwrap();
        assert_eq!(root.attribute("kind"), Some(text));
        assert_eq!(root.child_text("Name"), Some(text));
        assert_eq!(root.child_text("Empty"), None);
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let deep = "<a>".repeat(100);
        for body in ["", "text", "<a>", "<a></b>", "<a>&unknown;</a>", "<a b=\"&x;\"/>", &deep] {
            assert!(Element::parse(body).is_err(), "{body}");
        }
    }

    #[test]
    fn prefixes_and_cdata_are_understood() {
        let root = Element::parse(
            "<x:a xmlns:x='u'><x:b i:type='d:string'><![CDATA[1<2]]>&#33;</x:b></x:a>",
        );
        let root = root.unwrap();
        assert_eq!(root.name, "a");
        let child = root.child("b").unwrap();
        assert_eq!((child.text.as_str(), child.type_name()), ("1<2!", "string"));
    }
}
