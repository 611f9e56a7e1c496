//! Pods and their containers: what a policy selects them by, and whether it selects one.

use std::fmt;

use agent_common::recognise::WhenAway;

use crate::text::{Fields, Node, Reader, quoted};

use super::condition;
use super::container::{self, Container, has};
use super::image::{self, Image};
use super::names;

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
    /// Whether it selects who comes into such a container when its session has begun, instead.
    pub entered: bool,
    /// What becomes of what begins in a pod of the namespace while no daemon is there; as the node has it
    /// otherwise.
    pub when_away: Option<WhenAway>,
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
        container.namespace.as_ref() == Some(&self.namespace)
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
        let who = container::who(self.entered);
        write!(f, "{who}pods of {}", self.namespace)?;
        let labels = self.labels.iter().map(|pair| ("label", pair));
        let annotations = self.annotations.iter().map(|pair| ("annotation", pair));
        for (what, (name, value)) in labels.chain(annotations) {
            write!(f, ", {what} {name}={value}")?;
        }
        let rest = [
            ("service account", self.service_account.clone()),
            ("container", self.container.clone()),
            ("image", self.image.as_ref().map(Image::to_string)),
            ("when away", self.when_away.map(|it| it.word().to_owned())),
        ];
        for (what, value) in rest {
            if let Some(value) = value {
                write!(f, ", {what} {value}")?;
            }
        }
        Ok(())
    }
}

const NAMESPACE: &str = "the whole name of the pod's namespace";
const ACCOUNT: &str = "the whole name of a service account";
const CONTAINER: &str = "the container's whole name in its pod";

/// What does not tell containers of a namespace apart.
const NO_CHOICE: [&str; 3] = ["namespace", "entered", "whenAway"];

pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Pod> {
    let known = [
        "namespace",
        "podLabels",
        "podAnnotations",
        "serviceAccount",
        "container",
        "image",
        "entered",
        "whenAway",
    ];
    let fields = Fields::of(reader, node, "kubernetes", &known)?;
    let namespace = fields
        .require(reader, "namespace", "the pod's namespace")
        .and_then(|node| names::read(reader, node, names::is_label, NAMESPACE));
    let labels = container::pairs(reader, &fields, "podLabels", "labels of the pod");
    let annotations = container::pairs(reader, &fields, "podAnnotations", "annotations of the pod");
    let service_account = fields
        .get("serviceAccount")
        .and_then(|node| names::read(reader, node, names::is_subdomain, ACCOUNT));
    let container = fields
        .get("container")
        .and_then(|node| names::read(reader, node, names::is_label, CONTAINER));
    for (key, all) in [("podLabels", &labels), ("podAnnotations", &annotations)] {
        let fits = |value: &str| key == "podAnnotations" || names::is_value(value);
        let wrong = |(name, value): &&(String, String)| !names::is_key(name) || !fits(value);
        if let (Some(node), Some((name, value))) = (fields.get(key), all.iter().find(wrong)) {
            let found = quoted(&format!("{name}: {value}"));
            reader.found(
                node.span,
                &found,
                "a name and a value as Kubernetes allows them",
            );
        }
    }
    let image = image::read(reader, &fields);
    // Of those whom they select, only containers of agents are entered: all of a namespace may be meant.
    let entered = condition::flag(reader, &fields, "entered");
    // An empty map names nothing.
    let tells_apart = |key: &&str| match *key {
        "podLabels" => !labels.is_empty(),
        "podAnnotations" => !annotations.is_empty(),
        key => !NO_CHOICE.contains(&key) && fields.get(key).is_some(),
    };
    if !entered && !known.iter().any(tells_apart) {
        reader.found(
            node.span,
            "a whole namespace",
            "podLabels, podAnnotations, serviceAccount, container or image beside it",
        );
    }
    let when_away = fields.get("whenAway").and_then(|node| {
        if entered {
            reader.found(
                node.span,
                "whenAway beside entered",
                "it beside what selects containers",
            );
        }
        reader.word(node, &WhenAway::WORDS)
    });
    Some(Pod {
        namespace: namespace?,
        labels,
        annotations,
        service_account,
        container,
        image,
        entered,
        when_away,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn container() -> Container {
        Container {
            namespace: Some("agents".into()),
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
}
