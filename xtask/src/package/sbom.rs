//! What a program is made of, as CycloneDX 1.5: every crate that is compiled into it, with its licence, its sum, and what
//! it stands on. It comes from cargo's own account of the build, and has no time and no random number in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::arch::Arch;
use crate::build::cargo;
use crate::{process, workspace};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

impl Package {
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// The list for one program of a package.
pub(super) fn of(package: &str, program: &str, arch: Arch) -> Result<String> {
    let said = process::text(cargo("metadata").args([
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        arch.target(),
    ]))?;
    let metadata: Metadata = serde_json::from_str(&said).context("cargo metadata")?;
    let lock = fs::read_to_string(workspace::root().join("Cargo.lock"))?;
    let list = list(&metadata, &sums(&lock), package, program)?;
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}

fn list(
    metadata: &Metadata,
    sums: &BTreeMap<String, String>,
    package: &str,
    program: &str,
) -> Result<Value> {
    let packages: BTreeMap<_, _> = metadata.packages.iter().map(|it| (&*it.id, it)).collect();
    let needs: BTreeMap<_, BTreeSet<_>> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (&*node.id, compiled_in(node).collect()))
        .collect();
    let own = metadata
        .packages
        .iter()
        .find(|it| it.name == package && it.source.is_none())
        .with_context(|| format!("no package {package}"))?;
    let mut found = BTreeSet::new();
    let mut next = vec![&*own.id];
    while let Some(id) = next.pop() {
        if found.insert(id) {
            next.extend(needs.get(id).into_iter().flatten());
        }
    }
    let mut components = BTreeMap::new();
    let mut dependencies = BTreeMap::new();
    for id in found {
        let one = packages
            .get(id)
            .with_context(|| format!("no package {id}"))?;
        let purl = one.purl();
        let of_it = needs.get(id).into_iter().flatten();
        let of_it: BTreeSet<_> = of_it
            .filter_map(|id| Some(packages.get(id)?.purl()))
            .collect();
        dependencies.insert(purl.clone(), json!({"ref": purl, "dependsOn": of_it}));
        if id != own.id {
            components.insert(purl, component(one, sums));
        }
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own.purl(),
                "name": program,
                "version": own.version,
                "licenses": licences(own),
            },
        },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies.into_values().collect::<Vec<_>>(),
    }))
}

/// What is only built with or tested with is not in the program.
fn compiled_in(node: &Node) -> impl Iterator<Item = &str> {
    let is_normal = |it: &&Dependency| it.dep_kinds.iter().any(|kind| kind.kind.is_none());
    node.deps.iter().filter(is_normal).map(|it| it.pkg.as_str())
}

fn component(package: &Package, sums: &BTreeMap<String, String>) -> Value {
    let purl = package.purl();
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "purl": purl,
        "name": package.name,
        "version": package.version,
        "licenses": licences(package),
    });
    if let Some(sum) = sums.get(&format!("{} {}", package.name, package.version)) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    component
}

fn licences(package: &Package) -> Value {
    // Some write `MIT/Apache-2.0`, which is no expression.
    let licence = package.license.iter().map(|it| it.replace('/', " OR "));
    licence.map(|it| json!({"expression": it})).collect()
}

/// The sums of Cargo.lock, by name and version.
fn sums(lock: &str) -> BTreeMap<String, String> {
    let value = |entry: &str, key: &str| {
        let lines = entry.lines();
        let start = format!("{key} = \"");
        let mut values = lines.filter_map(|line| line.strip_prefix(&start)?.strip_suffix('"'));
        values.next().map(str::to_owned)
    };
    let entries = lock.split("[[package]]").skip(1);
    entries
        .filter_map(|entry| {
            let of = |key| value(entry, key);
            Some((
                format!("{} {}", of("name")?, of("version")?),
                of("checksum")?,
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_in_is_listed_once_and_nothing_else() {
        let metadata: Metadata = serde_json::from_value(json!({
            "packages": [
                {"id": "own", "name": "agent", "version": "1.0.0", "license": "MIT", "source": null},
                {"id": "a", "name": "a", "version": "0.1.0", "license": "MIT/Apache-2.0", "source": "registry"},
                {"id": "b", "name": "b", "version": "0.2.0", "license": null, "source": "registry"},
                {"id": "built-with", "name": "c", "version": "0.3.0", "license": "MIT", "source": "registry"},
            ],
            "resolve": {"nodes": [
                {"id": "own", "deps": [
                    {"pkg": "a", "dep_kinds": [{"kind": null}]},
                    {"pkg": "b", "dep_kinds": [{"kind": "dev"}, {"kind": null}]},
                    {"pkg": "built-with", "dep_kinds": [{"kind": "build"}]},
                ]},
                {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": null}]}]},
                {"id": "b", "deps": []},
                {"id": "built-with", "deps": []},
            ]},
        }))
        .expect("as cargo says it");
        let sums = sums("[[package]]\nname = \"a\"\nversion = \"0.1.0\"\nchecksum = \"abc\"\n");
        let list = list(&metadata, &sums, "agent", "interlock").expect("a list");
        let components = list["components"].as_array().expect("components");
        let names: Vec<_> = components.iter().map(|it| &it["name"]).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(components[0]["hashes"][0]["content"], "abc");
        assert_eq!(
            components[0]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert_eq!(list["dependencies"].as_array().expect("graph").len(), 3);
        assert_eq!(list["metadata"]["component"]["name"], "interlock");
    }
}
