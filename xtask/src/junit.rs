//! The outcomes as a JUnit report, which many tools read.

use std::fmt::Write;

use crate::test::{Outcome, Verdict};

/// Returns the report as XML.
pub(crate) fn report(outcomes: &[Outcome]) -> String {
    let count = |wanted: fn(&Verdict) -> bool| {
        outcomes
            .iter()
            .filter(|outcome| wanted(&outcome.verdict))
            .count()
    };
    let failures = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped(_)));
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let tests = outcomes.len();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        xml,
        "<testsuite name=\"vostok\" tests=\"{tests}\" failures=\"{failures}\" skipped=\"{skipped}\">"
    );
    for outcome in outcomes {
        let (ring, name) = (escape(&outcome.place()), escape(&outcome.name));
        let body = match &outcome.verdict {
            Verdict::Passed => String::new(),
            Verdict::Failed(reason) => format!("<failure>{}</failure>", escape(reason)),
            Verdict::Skipped(reason) => format!("<skipped message=\"{}\"/>", escape(reason)),
        };
        let _ = writeln!(
            xml,
            "  <testcase classname=\"{ring}\" name=\"{name}\">{body}</testcase>"
        );
    }
    xml.push_str("</testsuite>\n");
    xml
}

/// Escapes what XML reserves, and leaves out what it forbids.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            _ if character.is_control() => {}
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::report;
    use crate::test::{Outcome, Verdict};

    #[test]
    fn report_counts_and_escapes() {
        let failed = Verdict::Failed("1 < 2 & \"x\" \u{1b}[0m".to_owned());
        let outcomes = [
            Outcome::new("host", "a", Verdict::Passed),
            Outcome::new("host", "b", failed),
        ];
        let xml = report(&outcomes);
        assert!(xml.contains("tests=\"2\" failures=\"1\" skipped=\"0\""));
        assert!(xml.contains("<failure>1 &lt; 2 &amp; &quot;x&quot; [0m</failure>"));
    }
}
