//! How a test carries the numbers of what it shows.
//!
//! By its name: `claim_91_…`, `claims_91_92_…`, `claims_113_to_116_…`,
//! `choice_l4_…`, `peer_017_…`, `peers_050_051_…`, or several of these in turn.
//! Where the name says something else, a comment in the test says it:
//! `// peer_042: ranges that overlap.`, `// peer_001, peer_002`.

use super::{Number, PEER};

/// Attributes that make a function a test.
const TEST_ATTRIBUTES: [&str; 2] = ["#[ktest]", "#[test]"];

/// Returns the numbers that the tests of a file carry, with the tests' names.
pub(super) fn numbers_of_tests(text: &str) -> Vec<(Number, String)> {
    let mut found = Vec::new();
    let mut is_marked = false;
    let mut test = None;
    for line in text.lines().map(str::trim_start) {
        is_marked |= TEST_ATTRIBUTES.contains(&line);
        let numbers = if let Some(signature) = line.strip_prefix("fn ") {
            test = name_of(signature).filter(|_| is_marked);
            is_marked = false;
            test.map(numbers_in).unwrap_or_default()
        } else {
            numbers_in_comment(line)
        };
        if let Some(name) = test {
            found.extend(numbers.into_iter().map(|number| (number, name.to_owned())));
        }
    }
    found
}

/// Returns the names of the tests of a file.
pub(super) fn tests(text: &str) -> impl Iterator<Item = &str> {
    let mut is_marked = false;
    text.lines().map(str::trim_start).filter_map(move |line| {
        is_marked |= TEST_ATTRIBUTES.contains(&line);
        let signature = line.strip_prefix("fn ")?;
        let name = name_of(signature).filter(|_| is_marked);
        is_marked = false;
        name
    })
}

/// Returns the names that a checker's file gives to checkers, and its claims.
pub(super) fn checkers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter_map(|line| {
        let mut fields = ["checker: ", "name: ", "claim: ", ""].iter();
        let literal = fields.find_map(|field| line.strip_prefix(field))?;
        literal.strip_prefix('"')?.strip_suffix("\",")
    })
}

/// Returns the numbers that the names of a file's machines carry, with those names.
pub(super) fn numbers_of_machines(text: &str) -> Vec<(Number, String)> {
    let numbers = |name: &str| {
        let numbers = numbers_in(name).into_iter();
        numbers
            .map(|number| (number, name.to_owned()))
            .collect::<Vec<_>>()
    };
    checkers(text).flat_map(numbers).collect()
}

fn name_of(signature: &str) -> Option<&str> {
    signature.split(['(', '<']).next()
}

/// Reads the numbers at the start of a comment.
fn numbers_in_comment(line: &str) -> Vec<Number> {
    let Some(comment) = line.strip_prefix("// peer") else {
        return Vec::new();
    };
    let list = comment.split([':', '.']).next().unwrap_or(comment);
    list.split(", ")
        .map(|name| name.trim_start_matches("peer"))
        .flat_map(|name| numbers_in(&format!("peer{name}")))
        .collect()
}

/// Reads the numbers of a name, after the words that announce them.
fn numbers_in(name: &str) -> Vec<Number> {
    let mut numbers = Vec::new();
    let mut kind = None;
    let mut range_from = None;
    for word in name.split('_') {
        match (word, kind) {
            ("claim" | "claims", _) => kind = Some('K'),
            ("choice" | "choices", _) => kind = Some('L'),
            ("peer" | "peers", _) => kind = Some(PEER),
            ("to", Some('K' | PEER)) => range_from = numbers.last().map(|(_, last)| *last),
            (word, Some(kind @ ('K' | PEER))) if let Ok(last) = word.parse() => {
                let first = range_from.take().map_or(last, |before: u32| before + 1);
                numbers.extend((first..=last).map(|number| (kind, number)));
            }
            (word, Some('L')) if let Some(Ok(number)) = word.strip_prefix('l').map(str::parse) => {
                numbers.push(('L', number));
            }
            _ => kind = None,
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::{checkers, numbers_in, numbers_of_machines, numbers_of_tests, tests};

    #[test]
    fn machine_carries_the_number_in_its_name() {
        let text = "Row {\n    name: \"peer_103_no_port\",\n    cpu: \"max\",\n},\n";
        let machine = "peer_103_no_port".to_owned();
        assert_eq!(numbers_of_machines(text), [(('P', 103), machine)]);
    }

    #[test]
    fn numbers_are_read_from_names() {
        let k = |numbers: &[u32]| {
            numbers
                .iter()
                .map(|number| ('K', *number))
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers_in("claim_9_leaves_are_of_3_levels"), k(&[9]));
        assert_eq!(numbers_in("claims_1_11_12_nodes"), k(&[1, 11, 12]));
        assert_eq!(
            numbers_in("claims_113_to_116_121_x"),
            k(&[113, 114, 115, 116, 121])
        );
        assert_eq!(
            numbers_in("claims_97_98_choice_l1_mapping"),
            [k(&[97, 98]), vec![('L', 1)]].concat()
        );
        assert_eq!(numbers_in("it_is_no_claim"), []);
        assert_eq!(numbers_in("of_a_peer_that_has_2_processors"), []);
    }

    #[test]
    fn numbers_of_peers_stand_alone_and_among_others() {
        assert_eq!(numbers_in("peer_017_empty"), [('P', 17)]);
        assert_eq!(numbers_in("peers_017_037_both"), [('P', 17), ('P', 37)]);
        assert_eq!(numbers_in("peer_82_peer_109_nmi"), [('P', 82), ('P', 109)]);
        assert_eq!(
            numbers_in("peer_045_choice_l16_every_right_of_3"),
            [('P', 45), ('L', 16)]
        );
        assert_eq!(
            numbers_in("claim_90_choice_l6_peer_026_memory"),
            [('K', 90), ('L', 6), ('P', 26)]
        );
    }

    /// Returns the numbers of the tests of a file.
    fn read(text: &str) -> Vec<(char, u32)> {
        let found = numbers_of_tests(text).into_iter();
        found.map(|(number, _)| number).collect()
    }

    #[test]
    fn numbers_are_read_from_tests_alone() {
        let text =
            "fn claim_1_no() {}\n#[ktest]\n#[should_panic]\nfn claim_2_yes() {}\nfn peer_3() {}";
        assert_eq!(read(text), [('K', 2)]);
        let in_macro = "proptest! {\n    #[test]\n    fn peer_002_raw(a in any::<u8>()) {}\n}";
        assert_eq!(read(in_macro), [('P', 2)]);
    }

    #[test]
    fn names_of_tests_and_checkers_are_read() {
        let text =
            "#[test]\nfn a() {}\nfn b() {}\n    #[ktest]\n    #[should_panic]\n    fn c() {}";
        assert!(tests(text).eq(["a", "c"]));
        let text = "Row {\n    claim: \"x\",\n    checker: \"all states\",\n}";
        assert!(checkers(text).eq(["x", "all states"]));
        let text = "check(\n    \"a\",\n    \"b c\",\n    Random,\n)";
        assert!(checkers(text).eq(["a", "b c"]));
    }

    #[test]
    fn comments_of_a_test_carry_numbers() {
        let test = |comment: &str| format!("#[test]\nfn f() {{\n    {comment}\n}}\n");
        let p = |numbers: &[u32]| {
            numbers
                .iter()
                .map(|number| ('P', *number))
                .collect::<Vec<_>>()
        };
        assert_eq!(read(&test("// peer_012: hints of 3 kinds")), p(&[12]));
        assert_eq!(read(&test("// peer_001, peer_002")), p(&[1, 2]));
        assert_eq!(read(&test("// peers_050_051: both")), p(&[50, 51]));
        assert_eq!(read(&test("// a peer_012 that is mentioned")), p(&[]));
        assert_eq!(read(&test("").replace("#[test]", "// peer_9")), p(&[]));
    }
}
