//! Containers, and what a policy selects those of Docker and podman by.

use std::collections::BTreeMap;
use std::fmt;

use crate::text::{Fields, Node, Reader};

use super::condition;
use super::document::texts;
use super::image::{self, Image};
use super::names;

/// A container as its runtime tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The namespace of its pod; of one that Docker or podman runs there is none.
    pub namespace: Option<String>,
    /// Its pod's labels, or its own where it is of no pod.
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its name.
    pub name: String,
    /// Its image as whoever made it named it.
    pub image: String,
    /// The digests that the runtime knows that image by.
    pub digests: Vec<String>,
    /// The pod's service account, where somebody tells it: no runtime does.
    pub service_account: Option<String>,
}

/// What selects containers of Docker and podman. All that is named must be so.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Engine {
    /// The container's name.
    pub name: Option<String>,
    /// Its image.
    pub image: Option<Image>,
    /// Labels that it has.
    pub labels: Vec<(String, String)>,
    /// Whether it selects who comes into such a container when its session has begun, instead.
    pub entered: bool,
}

impl Engine {
    /// Whether it selects a container.
    pub fn selects(&self, container: &Container) -> bool {
        container.namespace.is_none()
            && has(&container.labels, &self.labels)
            && self
                .name
                .as_ref()
                .is_none_or(|name| *name == container.name)
            && self.image.as_ref().is_none_or(|image| image.is(container))
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}containers", who(self.entered))?;
        let rest = [
            ("name", self.name.clone()),
            ("image", self.image.as_ref().map(Image::to_string)),
        ];
        let rest = rest
            .into_iter()
            .filter_map(|(what, value)| Some((what, value?)));
        let labels = self.labels.iter();
        let labels = labels.map(|(name, value)| ("label", format!("{name}={value}")));
        for (number, (what, value)) in rest.chain(labels).enumerate() {
            let before = if number == 0 { " of" } else { "," };
            write!(f, "{before} {what} {value}")?;
        }
        Ok(())
    }
}

/// Whom of a container something selects, before the container's own words.
pub(super) const fn who(entered: bool) -> &'static str {
    if entered { "who enters " } else { "" }
}

/// Whether all that is wanted is there.
pub(super) fn has(all: &BTreeMap<String, String>, wanted: &[(String, String)]) -> bool {
    wanted
        .iter()
        .all(|(name, value)| all.get(name) == Some(value))
}

/// The pairs of a field, if it is there.
pub(super) fn pairs(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    expected: &str,
) -> Vec<(String, String)> {
    let node = fields.get(key);
    node.map(|node| texts(reader, node, expected))
        .unwrap_or_default()
}

pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Engine> {
    const NAME: &str = "the container's whole name, as `docker ps` shows it";
    let fields = Fields::of(
        reader,
        node,
        "container",
        &["name", "image", "labels", "entered"],
    )?;
    let engine = Engine {
        name: fields
            .get("name")
            .and_then(|node| names::read(reader, node, names::is_container, NAME)),
        image: image::read(reader, &fields),
        labels: pairs(reader, &fields, "labels", "labels of the container"),
        entered: condition::flag(reader, &fields, "entered"),
    };
    let names_something = ["name", "image"]
        .iter()
        .any(|key| fields.get(key).is_some());
    if !names_something && engine.labels.is_empty() && !engine.entered {
        reader.found(node.span, "any container", "name, image or labels");
        return None;
    }
    Some(engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_named_must_be_so_and_no_pods_container_is_selected() {
        let labels = [("app", "a"), ("tier", "x")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let container = Container {
            labels: BTreeMap::from(labels.clone()),
            name: "expenses".into(),
            image: "registry:5000/a/b:1".into(),
            ..Container::default()
        };
        let name = |name: &str| Engine {
            name: Some(name.into()),
            ..Engine::default()
        };
        let image = |text: &str| Engine {
            image: Some(Image::read(text).expect("an image")),
            ..name("expenses")
        };
        let label = |value: &str| Engine {
            labels: vec![("app".into(), value.into())],
            ..Engine::default()
        };
        let of_pod = Container {
            namespace: Some(String::new()),
            ..container.clone()
        };
        for (engine, expected) in [
            (name("expenses"), true),
            (name("expense"), false),
            (image("registry:5000/a/b"), true),
            (image("registry:5000/a/b:2"), false),
            (label("a"), true),
            (label("b"), false),
        ] {
            assert_eq!(engine.selects(&container), expected, "{engine}");
            assert!(!engine.selects(&of_pod), "{engine}");
        }
    }

    #[test]
    fn what_is_selected_reads_as_a_sentence() {
        let engine = Engine {
            name: Some("expenses".into()),
            image: Image::read("demo:1"),
            labels: vec![("app".into(), "a".into())],
            entered: false,
        };
        assert_eq!(
            engine.to_string(),
            "containers of name expenses, image demo:1, label app=a"
        );
        let engine = Engine {
            entered: true,
            ..Engine::default()
        };
        assert_eq!(engine.to_string(), "who enters containers");
    }
}
