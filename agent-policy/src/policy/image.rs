//! Images of containers, as policies name them.

use std::borrow::Cow;
use std::fmt;

use crate::text::{Fields, Reader, quoted};

use super::container::Container;
use super::document::bounded;

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

    /// The repository with its registry: `python` is short for `docker.io/library/python`, which some runtimes
    /// write out.
    fn whole_repository(&self) -> Cow<'_, str> {
        let name = self.repository.as_str();
        let is_registry = |first: &str| first == "localhost" || first.contains(['.', ':']);
        match name.split_once('/') {
            Some((first, _)) if is_registry(first) => Cow::Borrowed(name),
            Some(_) => Cow::Owned(format!("docker.io/{name}")),
            None => Cow::Owned(format!("docker.io/library/{name}")),
        }
    }

    /// Whether a container has it. A digest is the runtime's word; a tag is what the container's maker wrote.
    pub(super) fn is(&self, container: &Container) -> bool {
        let Some(found) = Self::read(&container.image) else {
            return false;
        };
        // A reference without a tag or digest is to the tag `latest`.
        let tag = match &found.digest {
            None => Some(found.tag.as_deref().unwrap_or("latest")),
            Some(_) => found.tag.as_deref(),
        };
        self.whole_repository() == found.whole_repository()
            && (self.tag.is_none() || self.tag.as_deref() == tag)
            && self
                .digest
                .as_ref()
                .is_none_or(|digest| container.digests.contains(digest))
    }
}
const IMAGE: &str = "an image such as registry.example.com/agents/expenses, with :TAG, @sha256:DIGEST, both or neither";
/// The image among the fields of what selects a container.
pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Image> {
    let node = fields.get("image")?;
    let text = bounded(reader, node, IMAGE)?;
    let image = Image::read(&text);
    if image.is_none() {
        reader.found(node.span, &quoted(&text), IMAGE);
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

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

    #[test]
    fn what_is_left_out_of_a_reference_is_what_registries_take_it_for() {
        for (policy, container, expected) in [
            ("python", "docker.io/library/python:3.12", true),
            ("docker.io/library/python:3.12", "python:3.12", true),
            ("python:latest", "python", true),
            ("python:3.12", "python", false),
            ("team/agent", "docker.io/team/agent:1", true),
            ("localhost/agent", "localhost/agent:latest", true),
            ("agent", "localhost/agent:latest", false),
            (
                "registry:5000/agent",
                "docker.io/registry:5000/agent",
                false,
            ),
        ] {
            let image = Image::read(policy).expect("an image");
            let container = Container {
                image: container.into(),
                ..Container::default()
            };
            assert_eq!(
                image.is(&container),
                expected,
                "{policy} {}",
                container.image
            );
        }
    }
}
