//! What this program reads in the files of others' formats, against those whose formats they are: `wg`, python-dotenv (which
//! compose v1 reads `.env` with), and compose v2.

mod dotenv;
mod peers;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Inputs of a kind. One seed makes the same again; `None` takes a new one, and says which.
fn generated<T>(strategy: impl Strategy<Value = T>, count: usize, seed: Option<u64>) -> Vec<T> {
    let seed = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is past 1970");
        now.as_nanos() as u64
    });
    println!("{}: {count} inputs of the seed {seed}", crate::support::test_name());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

#[test]
fn a_list_that_is_accepted_is_the_same_to_wg() {
    peers::against_wg(400, Some(1));
}

#[test]
fn an_env_file_is_read_as_compose_v1_reads_it() {
    dotenv::against_python(120, Some(1));
}

#[test]
fn an_env_file_is_read_as_compose_v2_reads_it_or_the_difference_is_told() {
    dotenv::against_compose(60, Some(1));
}

mod long {
    #[test]
    fn many_lists_against_wg() {
        super::peers::against_wg(10_000, None);
    }

    #[test]
    fn many_env_files_against_compose_v1() {
        super::dotenv::against_python(2000, None);
    }

    #[test]
    fn many_env_files_against_compose_v2() {
        super::dotenv::against_compose(1000, None);
    }
}
