//! What an exploration found, for the programs that show the results of tests: JUnit XML, and lines that
//! GitHub's runners turn into annotations.

use std::fmt::Write as _;
use std::time::Duration;

use super::escape::markup;

/// One scenario that was explored.
#[derive(Clone, Debug, PartialEq)]
pub struct TestCase {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub elapsed: Duration,
    /// What was found, if all is not well.
    pub failure: Option<TestFailure>,
}

/// Why a scenario failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestFailure {
    /// The property that was broken, or what else is wrong in a word.
    pub kind: String,
    /// What broke it, in a line.
    pub message: String,
    /// The shrunk run, and how to replay it.
    pub details: String,
    /// The file that shows it, if there is one.
    pub file: Option<String>,
}

/// The scenarios as JUnit XML.
#[must_use]
pub fn junit(suite: &str, cases: &[TestCase]) -> String {
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let time: Duration = cases.iter().map(|case| case.elapsed).sum();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<testsuites>\n  <testsuite name=\"{}\" \
         tests=\"{}\" failures=\"{failures}\" errors=\"0\" time=\"{:.3}\">\n",
        markup(suite),
        cases.len(),
        time.as_secs_f64()
    );
    for TestCase { name, elapsed, failure } in cases {
        let (name, suite, time) = (markup(name), markup(suite), elapsed.as_secs_f64());
        let _ =
            write!(out, "    <testcase classname=\"{suite}\" name=\"{name}\" time=\"{time:.3}\"");
        let Some(TestFailure { kind, message, details, .. }) = failure else {
            out.push_str("/>\n");
            continue;
        };
        let (kind, message) = (markup(kind), markup(message));
        let _ = writeln!(
            out,
            ">\n      <failure type=\"{kind}\" message=\"{message}\">{}</failure>\n    </testcase>",
            markup(details)
        );
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

/// The failures as commands of GitHub's workflows: one line each.
#[must_use]
pub fn github_annotations(cases: &[TestCase]) -> String {
    let mut out = String::new();
    for case in cases {
        let Some(TestFailure { kind, message, file, .. }) = &case.failure else { continue };
        let file = file.as_ref().map_or(String::new(), |file| format!("file={},", property(file)));
        let title = property(&format!("{}: {kind}", case.name));
        let _ = writeln!(out, "::error {file}title={title}::{}", data(message));
    }
    out
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases() -> [TestCase; 2] {
        let failure = TestFailure {
            kind: "election-safety".to_owned(),
            message: "s1 & s3 <both> lead\nterm 1".to_owned(),
            details: "1 timeout s1\n2 …]]>".to_owned(),
            file: Some("a,b.txt".to_owned()),
        };
        let case = |name: &str, failure| TestCase {
            name: name.to_owned(),
            elapsed: Duration::from_millis(1_500),
            failure,
        };
        [case("sample", None), case("sample-with-failure", Some(failure))]
    }

    #[test]
    fn a_failure_is_one_of_junit() {
        let expected = "<?xml version=\"1.0\" encoding=\"utf-8\"?>
<testsuites>
  <testsuite name=\"raft\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"3.000\">
    <testcase classname=\"raft\" name=\"sample\" time=\"1.500\"/>
    <testcase classname=\"raft\" name=\"sample-with-failure\" time=\"1.500\">
      <failure type=\"election-safety\" message=\"s1 &amp; s3 &lt;both&gt; lead&#10;term 1\">\
1 timeout s1&#10;2 …]]&gt;</failure>
    </testcase>
  </testsuite>
</testsuites>
";
        assert_eq!(junit("raft", &cases()), expected);
    }

    #[test]
    fn a_failure_is_one_line_for_github() {
        let expected = "::error file=a%2Cb.txt,title=sample-with-failure%3A election-safety\
                        ::s1 & s3 <both> lead%0Aterm 1\n";
        assert_eq!(github_annotations(&cases()), expected);
    }
}
