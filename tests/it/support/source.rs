//! The program's own source, for tests that hold it to its rules: as tokens, without what only tests see.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One file of src/.
pub struct SourceFile {
    /// Below src/: `cluster/rollout/waves.rs`.
    pub path: PathBuf,
    /// Its tokens, without items under `#[cfg(test)]`. Comments and documentation are no tokens of their own.
    pub tokens: Vec<TokenTree>,
}

impl SourceFile {
    /// The module that lib.rs declares it in.
    pub fn module(&self) -> String {
        let first = self.path.iter().next().expect("a file has a path").to_string_lossy();
        first.trim_end_matches(".rs").to_owned()
    }

    /// The first line of a token, to name a place by.
    pub fn place(&self, token: &TokenTree) -> String {
        format!("src/{}:{}", self.path.display(), token.span().start().line)
    }
}

/// Every file of src/ but those of tests alone.
pub fn files() -> Vec<SourceFile> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&src, &mut paths);
    let for_tests: Vec<PathBuf> = paths.iter().flat_map(|path| modules_for_tests(path)).collect();
    paths.retain(|path| !for_tests.contains(path));
    paths.sort();
    assert!(paths.len() > 100, "src/ has been found");
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a file of src/");
        SourceFile { path: path.strip_prefix(&src).expect("below src/").to_owned(), tokens: tokens(&text) }
    };
    paths.iter().map(read).collect()
}

/// The files of the modules that a file declares under `#[cfg(test)]`.
fn modules_for_tests(path: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(path).expect("a file of src/");
    let tokens: Vec<TokenTree> = TokenStream::from_str(&text).expect("it is Rust").into_iter().collect();
    let dir = path.with_extension("");
    let declared = tokens.windows(4).filter_map(|window| match window {
        [attribute, word, TokenTree::Ident(name), end]
            if is_cfg_test(attribute) && is_word(word, "mod") && is_punct(end, ';') =>
        {
            Some(dir.join(format!("{name}.rs")))
        }
        _ => None,
    });
    declared.collect()
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory of src/") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The tokens of a text of Rust, without items under `#[cfg(test)]`.
pub fn tokens(text: &str) -> Vec<TokenTree> {
    without_tests(TokenStream::from_str(text).expect("it is Rust"))
}

fn without_tests(stream: TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut tokens = stream.into_iter();
    while let Some(token) = tokens.next() {
        if is_cfg_test(&token) && kept.pop().is_some_and(|last| is_punct(&last, '#')) {
            // The item ends with its block, or with a semicolon.
            tokens.find(|token| {
                is_punct(token, ';')
                    || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
            });
        } else {
            kept.push(token);
        }
    }
    kept
}

fn is_cfg_test(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket
        && group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// Whether a token is this character.
pub fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

/// Whether a token is this word.
pub fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// Calls `look` with each run of tokens: the file's own, and those within each pair of braces.
pub fn each_run(tokens: &[TokenTree], look: &mut impl FnMut(&[TokenTree])) {
    look(tokens);
    for token in tokens {
        if let TokenTree::Group(group) = token {
            each_run(&group.stream().into_iter().collect::<Vec<_>>(), look);
        }
    }
}

/// What a string literal says.
pub fn string(token: &TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = token else { return None };
    syn::parse_str::<syn::LitStr>(&literal.to_string()).ok().map(|literal| literal.value())
}
