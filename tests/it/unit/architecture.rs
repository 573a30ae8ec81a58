//! The layers of src/: what each module may import. The crate documentation tells why.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenTree};

use crate::support::source::{self, SourceFile, each_run, is_punct, is_word};

/// From the top down. A module imports from the rows below its own; those of one row don't know each other.
const LAYERS: &[&[&str]] = &[
    &["main", "fuzzing"],
    &["commands"],
    &["report"],
    &["cli"],
    &["cluster"],
    &["converge"],
    &["preflight", "desired"],
    &["resource"],
    &["policy", "tunnel"],
    &["facts"],
    &["distro", "gateway"],
    &["compose", "wireguard"],
    &["progress"],
    &["host"],
    &["settings"],
    &["lang"],
    &["error"],
    &["message", "product"],
];

fn row(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// The modules of this crate that some tokens name: `crate::host::Host`, `crate::{host, error}`.
fn imports(tokens: &[TokenTree]) -> Vec<(String, TokenTree)> {
    let mut found = Vec::new();
    each_run(tokens, &mut |run| {
        for (at, token) in run.iter().enumerate() {
            let is_path = [at + 1, at + 2].iter().all(|at| run.get(*at).is_some_and(|t| is_punct(t, ':')));
            if !(is_path && (is_word(token, "crate") || is_word(token, "mitigator_vpn"))) {
                continue;
            }
            match run.get(at + 3) {
                Some(TokenTree::Ident(name)) if !run.get(at + 4).is_some_and(|t| is_punct(t, '!')) => {
                    found.push((name.to_string(), token.clone()));
                }
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let mut first = true;
                    for inner in group.stream() {
                        if let (true, TokenTree::Ident(name)) = (first, &inner) {
                            found.push((name.to_string(), token.clone()));
                        }
                        first = is_punct(&inner, ',');
                    }
                }
                Some(_) | None => {}
            }
        }
    });
    found
}

/// Imports that lead to the module's own row or up, with their places.
fn wrong_way(file: &SourceFile) -> Vec<String> {
    let module = file.module();
    if module == "lib" {
        return Vec::new();
    }
    let own = row(&module).unwrap_or_else(|| panic!("{module} is in no layer"));
    imports(&file.tokens)
        .into_iter()
        .filter(|(name, _)| *name != module && row(name).is_some_and(|row| row <= own))
        .map(|(name, token)| format!("{}: {module} imports {name}", file.place(&token)))
        .collect()
}

#[test]
fn every_module_has_its_layer() {
    let known: BTreeSet<&str> = LAYERS.iter().flat_map(|row| row.iter().copied()).collect();
    let there: BTreeSet<String> = source::files().iter().map(SourceFile::module).filter(|name| name != "lib").collect();
    assert_eq!(there.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
}

#[test]
fn imports_lead_downwards() {
    let wrong: Vec<String> = source::files().iter().flat_map(wrong_way).collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_planted_import_is_found() {
    let planted = |text: &str| wrong_way(&SourceFile { path: "host/planted.rs".into(), tokens: source::tokens(text) });
    assert_eq!(planted("use crate::error::Error;\nuse crate::host::Cmd;").len(), 0);
    assert_eq!(planted("fn f() {\n    crate::facts::gather()\n}"), ["src/host/planted.rs:2: host imports facts"]);
    assert_eq!(planted("use crate::{error::Error, report};").len(), 1);
    assert_eq!(planted("#[cfg(test)]\nmod tests {\n    use crate::facts::Facts;\n}").len(), 0);
}

/// What PROCEDURE and the vendor's stack call things is said in src/product alone.
#[test]
fn the_products_names_are_said_in_one_place() {
    const NAMES: &[&str] = &[
        "vpn-private.conf",
        "vpn-public.conf",
        "docker-compose.vpn.yml",
        "docker-compose.yml",
        "gateway-dataplane",
        "/srv/public.conf",
        "/srv/private.conf",
        "GATEWAY_ADDRESS",
        "COMPOSE_FILE",
        "COMPOSE_PATH_SEPARATOR",
        "MITIGATOR_VPN_ADDRESS",
        "MITIGATOR_VPN_PREFIX",
        "MITIGATOR_VPN_MTU",
    ];
    let mut said = Vec::new();
    // The command line's variables are its own, also where one is called as the product's.
    let others = source::files().into_iter().filter(|file| !matches!(file.module().as_str(), "product" | "cli"));
    for file in others {
        each_run(&file.tokens, &mut |run| {
            for token in run {
                if source::string(token).is_some_and(|text| NAMES.contains(&text.as_str())) {
                    said.push(format!("{}: {token}", file.place(token)));
                }
            }
        });
    }
    assert!(said.is_empty(), "{}\n{}", said.len(), said.join("\n"));
}
