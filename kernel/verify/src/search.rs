//! Searching random scripts for one that shows a bug, and saying what came of it.

use std::cell::{Cell, RefCell};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::report::{Row, grouped};
use crate::script::Bench;

/// How many scripts are tried, and which: the same seed gives the same ones.
#[derive(Clone, Copy, Debug)]
pub struct Scripts {
    /// How many.
    pub cases: u32,
    /// Where they begin.
    pub seed: u8,
}

impl Scripts {
    /// Runs random scripts; `attempt` runs one and says what it has counted.
    /// Returns the sum.
    ///
    /// # Errors
    ///
    /// What is wrong with the shortest script found that `attempt` refuses, and the
    /// script as `print` prints it.
    pub fn search<S: Strategy>(
        self,
        strategy: &S,
        bench: Bench,
        print: fn(&S::Value) -> String,
        attempt: impl Fn(&mut Bench, &S::Value) -> Result<u64, String>,
    ) -> Result<u64, String> {
        let (count, bench) = (Cell::new(0), RefCell::new(bench));
        let result = self.runner().run(strategy, |script| {
            let counted = attempt(&mut bench.borrow_mut(), &script);
            count.set(count.get() + counted.map_err(TestCaseError::fail)?);
            Ok(())
        });
        match result {
            Ok(()) => bench.into_inner().end().map(|()| count.get()),
            Err(TestError::Fail(reason, script)) => Err(format!("{reason}\n{}", print(&script))),
            Err(TestError::Abort(reason)) => Err(format!("given up: {reason}")),
        }
    }

    /// Says what a search has found, which has counted `what`.
    #[must_use]
    pub fn row(
        self,
        claim: &'static str,
        checker: &'static str,
        what: &str,
        found: Result<u64, String>,
    ) -> Row {
        let count = found.as_ref().map_or(0, |count| *count);
        Row {
            claim,
            checker,
            cases: format!(
                "{} scripts, {} {what}",
                grouped(u64::from(self.cases)),
                grouped(count)
            ),
            result: found.map(drop),
        }
    }

    fn runner(self) -> TestRunner {
        let config = Config {
            cases: self.cases,
            failure_persistence: None,
            max_shrink_iters: 20_000,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[self.seed; 32]);
        TestRunner::new_with_rng(config, rng)
    }
}
