//! Pods and their containers: what a policy selects them by, and whether it selects one.

use std::collections::BTreeMap;
use std::fmt;

use crate::text::{Fields, Node, Reader, quoted};

use super::document::{bounded, texts};

/// What selects containers of pods. All that is named must be so.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    /// The namespace.
    pub namespace: String,
    /// Labels that the pod has.
    pub labels: Vec<(String, String)>,
    /// Annotations that it has.
    pub annotations: Vec<(String, String)>,
    /// Its service account.
    pub service_account: Option<String>,
    /// The container's name in the pod; any of its containers otherwise.
    pub container: Option<String>,
    /// The container's image.
    pub image: Option<Image>,
}

/// An image: all of a repository, one tag of it, or one digest, with or without a tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    /// The repository, with its registry.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest, with its algorithm.
    pub digest: Option<String>,
}

/// A container as its runtime tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its name in the pod.
    pub name: String,
    /// Its image as whoever made the pod named it.
    pub image: String,
    /// The digests that the runtime knows that image by.
    pub digests: Vec<String>,
    /// The pod's service account, where somebody tells it: no runtime does.
    pub service_account: Option<String>,
}

impl Pod {
    /// Whether it selects a container.
    pub fn selects(&self, container: &Container) -> bool {
        let account = &self.service_account;
        self.selects_by_all_else(container)
            && (account.is_none() || *account == container.service_account)
    }

    /// Whether that hangs on a service account that nobody has told.
    pub fn hangs_on_account(&self, container: &Container) -> bool {
        self.service_account.is_some()
            && container.service_account.is_none()
            && self.selects_by_all_else(container)
    }

    fn selects_by_all_else(&self, container: &Container) -> bool {
        let has = |all: &BTreeMap<String, String>, wanted: &[(String, String)]| {
            wanted
                .iter()
                .all(|(name, value)| all.get(name) == Some(value))
        };
        self.namespace == container.namespace
            && has(&container.labels, &self.labels)
            && has(&container.annotations, &self.annotations)
            && self
                .container
                .as_ref()
                .is_none_or(|name| *name == container.name)
            && self.image.as_ref().is_none_or(|image| image.is(container))
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pods of {}", self.namespace)?;
        let labels = self.labels.iter().map(|pair| ("label", pair));
        let annotations = self.annotations.iter().map(|pair| ("annotation", pair));
        for (what, (name, value)) in labels.chain(annotations) {
            write!(f, ", {what} {name}={value}")?;
        }
        let rest = [
            ("service account", self.service_account.clone()),
            ("container", self.container.clone()),
            ("image", self.image.as_ref().map(Image::to_string)),
        ];
        for (what, value) in rest {
            if let Some(value) = value {
                write!(f, ", {what} {value}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl Image {
    /// Reads a reference as people write it.
    pub fn read(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before a slash is a registry's port.
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (rest, None),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let in_name = |byte: u8| plain(byte) || b"/:".contains(&byte);
        let is_digest = |digest: &str| {
            digest.strip_prefix("sha256:").is_some_and(|hex| {
                let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                hex.len() == 64 && hex.bytes().all(is_digit)
            })
        };
        let is_valid = !repository.is_empty()
            && repository.bytes().all(in_name)
            && tag.is_none_or(|tag| !tag.is_empty() && tag.bytes().all(plain))
            && digest.is_none_or(is_digest);
        is_valid.then(|| Self {
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// Whether a container has it. A digest is the runtime's word; a tag is what the pod's maker wrote.
    fn is(&self, container: &Container) -> bool {
        let Some(found) = Self::read(&container.image) else {
            return false;
        };
        self.repository == found.repository
            && (self.tag.is_none() || self.tag == found.tag)
            && self
                .digest
                .as_ref()
                .is_none_or(|digest| container.digests.contains(digest))
    }
}

const IMAGE: &str = "an image such as registry.example.com/agents/expenses, with :TAG, @sha256:DIGEST, both or neither";

pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Pod> {
    let known = [
        "namespace",
        "podLabels",
        "podAnnotations",
        "serviceAccount",
        "container",
        "image",
    ];
    let fields = Fields::of(reader, node, "kubernetes", &known)?;
    let namespace = fields
        .require(reader, "namespace", "the pod's namespace")
        .and_then(|node| bounded(reader, node, "the pod's namespace"));
    let pairs = |reader: &mut Reader<'_>, key: &str, expected: &str| {
        let node = fields.get(key);
        node.map(|node| texts(reader, node, expected))
            .unwrap_or_default()
    };
    let labels = pairs(reader, "podLabels", "labels of the pod");
    let annotations = pairs(reader, "podAnnotations", "annotations of the pod");
    let service_account = fields
        .get("serviceAccount")
        .and_then(|node| bounded(reader, node, "a service account"));
    let container = fields
        .get("container")
        .and_then(|node| bounded(reader, node, "the container's name in its pod"));
    let image = fields.get("image").and_then(|node| {
        let text = bounded(reader, node, IMAGE)?;
        let image = Image::read(&text);
        if image.is_none() {
            reader.found(node.span, &quoted(&text), IMAGE);
        }
        image
    });
    if known[1..].iter().all(|key| fields.get(key).is_none()) {
        reader.found(
            node.span,
            "a whole namespace",
            "podLabels, podAnnotations, serviceAccount, container or image beside it",
        );
    }
    Some(Pod {
        namespace: namespace?,
        labels,
        annotations,
        service_account,
        container,
        image,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn container() -> Container {
        Container {
            namespace: "agents".into(),
            labels: BTreeMap::from([("app".into(), "a".into()), ("tier".into(), "x".into())]),
            annotations: BTreeMap::from([("team".into(), "finance".into())]),
            name: "main".into(),
            image: "registry:5000/a/b:1".into(),
            digests: vec![DIGEST.into()],
            service_account: Some("robot".into()),
        }
    }

    fn pod() -> Pod {
        Pod {
            namespace: "agents".into(),
            ..Pod::default()
        }
    }

    #[test]
    fn all_that_is_named_must_be_so() {
        let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let image = |text: &str| Image::read(text);
        for (pod, expected) in [
            (pod(), true),
            (
                Pod {
                    namespace: "other".into(),
                    ..pod()
                },
                false,
            ),
            (
                Pod {
                    labels: pair("app", "a"),
                    ..pod()
                },
                true,
            ),
            (
                Pod {
                    labels: pair("app", "b"),
                    ..pod()
                },
                false,
            ),
            (
                Pod {
                    labels: pair("team", "finance"),
                    ..pod()
                },
                false,
            ),
            (
                Pod {
                    annotations: pair("team", "finance"),
                    ..pod()
                },
                true,
            ),
            (
                Pod {
                    annotations: pair("team", ""),
                    ..pod()
                },
                false,
            ),
            (
                Pod {
                    service_account: Some("a".into()),
                    ..pod()
                },
                false,
            ),
            (
                Pod {
                    container: Some("main".into()),
                    ..pod()
                },
                true,
            ),
            (
                Pod {
                    container: Some("side".into()),
                    ..pod()
                },
                false,
            ),
            (
                Pod {
                    image: image("registry:5000/a/b"),
                    ..pod()
                },
                true,
            ),
            (
                Pod {
                    image: image("registry:5000/a/b:1"),
                    ..pod()
                },
                true,
            ),
            (
                Pod {
                    image: image("registry:5000/a/b:2"),
                    ..pod()
                },
                false,
            ),
            (
                Pod {
                    image: image("registry:5000/a"),
                    ..pod()
                },
                false,
            ),
            (
                Pod {
                    image: image(&format!("registry:5000/a/b@{DIGEST}")),
                    ..pod()
                },
                true,
            ),
            (
                Pod {
                    image: image(&format!("registry:5000/a/b@{}", DIGEST.replace('e', "f"))),
                    ..pod()
                },
                false,
            ),
        ] {
            assert_eq!(pod.selects(&container()), expected, "{pod:?}");
        }
    }

    #[test]
    fn a_service_account_that_nobody_tells_leaves_it_open() {
        let by = |account: &str| Pod {
            service_account: Some(account.into()),
            ..pod()
        };
        let told = container();
        assert!(by("robot").selects(&told) && !by("robot").hangs_on_account(&told));
        let untold = Container {
            service_account: None,
            ..container()
        };
        assert!(!by("robot").selects(&untold) && by("robot").hangs_on_account(&untold));
        assert!(!pod().hangs_on_account(&untold), "it asks for none");
        let elsewhere = Pod {
            namespace: "other".into(),
            ..by("robot")
        };
        assert!(!elsewhere.hangs_on_account(&untold));
    }

    #[test]
    fn an_image_is_a_reference() {
        for text in [
            "",
            ":1",
            "a:",
            "a b",
            "a@sha256:12",
            "a@md5:12",
            &format!("a@{}", DIGEST.to_uppercase()),
        ] {
            assert_eq!(Image::read(text), None, "{text}");
        }
        let image = Image::read("localhost:5000/a").expect("a port is no tag");
        assert_eq!(
            (image.repository.as_str(), image.tag),
            ("localhost:5000/a", None)
        );
    }
}
