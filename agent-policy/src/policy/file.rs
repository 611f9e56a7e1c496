//! What an agent may do with files, and which programs it may run.

use std::fmt;
use std::sync::Arc;

use agent_common::path::Access;

use crate::text::{Fields, Node, Reader, Source, Span, quoted};

use super::condition::{self, Common, Effect};
use super::network::number;
use super::path::{PATTERN, Pattern};

/// One entry under `files`.
#[derive(Clone, Debug)]
pub struct FileRule {
    /// What every rule has.
    pub common: Common,
    /// What is done with the files.
    pub access: Vec<Access>,
    /// The files.
    pub paths: Vec<(Pattern, Span)>,
}

impl fmt::Display for FileRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access: Vec<&str> = self.access.iter().map(|access| access.word()).collect();
        write!(f, "{} {} of ", self.common.effect.word(), access.join(", "))?;
        super::some_of(f, self.paths.iter().map(|(pattern, _)| pattern))
    }
}

/// What an argument of a program must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Argument {
    /// Its position, the program itself being 0; any position where there is none.
    pub at: Option<u32>,
    /// The text.
    pub text: String,
    /// Whether the argument may go on behind the text.
    pub prefix: bool,
}

impl Argument {
    /// Whether a command line has the argument.
    pub fn matches(&self, arguments: &[&str]) -> bool {
        let fits = |argument: &&str| match self.prefix {
            true => argument.starts_with(&self.text),
            false => *argument == self.text,
        };
        match self.at {
            Some(at) => arguments.get(at as usize).is_some_and(fits),
            None => arguments.iter().skip(1).any(fits),
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "argument {at} ")?,
            None => f.write_str("any argument ")?,
        }
        f.write_str(if self.prefix { "beginning with " } else { "" })?;
        f.write_str(&quoted(&self.text))
    }
}

/// What is said of a rule for programs that nobody in the session can change.
pub(crate) const NOT_WRITABLE: &str = " if the session cannot write it";

/// One entry under `exec`.
#[derive(Clone, Debug)]
pub struct ExecRule {
    /// What every rule has.
    pub common: Common,
    /// Programs by path.
    pub programs: Vec<(Pattern, Span)>,
    /// Programs by the SHA-256 of their file.
    pub digests: Vec<([u8; 32], Span)>,
    /// What the arguments must be, all together.
    pub arguments: Vec<Argument>,
    /// Only from files that the session cannot write.
    pub not_writable: bool,
}

impl fmt::Display for ExecRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} exec of ", self.common.effect.word())?;
        let digests = self
            .digests
            .iter()
            .map(|(digest, _)| format!("sha256:{:02x}{:02x}…", digest[0], digest[1]));
        let programs = self.programs.iter().map(|(pattern, _)| pattern.to_string());
        super::some_of(f, programs.chain(digests))?;
        for argument in &self.arguments {
            write!(f, " with {argument}")?;
        }
        if self.not_writable {
            f.write_str(NOT_WRITABLE)?;
        }
        Ok(())
    }
}

pub(crate) const ACCESSES: [(&str, Access); 7] = [
    ("read", Access::Read),
    ("write", Access::Write),
    ("create", Access::Create),
    ("delete", Access::Delete),
    ("rename", Access::Rename),
    ("link", Access::Link),
    ("map", Access::Map),
];

fn patterns(reader: &mut Reader<'_>, list: &Node) -> Vec<(Pattern, Span)> {
    let mut found = Vec::new();
    for item in reader.items(list, "a list of paths") {
        let Some(text) = reader.text(item, PATTERN) else {
            continue;
        };
        match Pattern::read(text) {
            Ok(pattern) => found.push((pattern, item.span)),
            Err((what, expected)) => reader.found(item.span, &what, &expected),
        }
    }
    found
}

pub(super) fn file_rule(
    reader: &mut Reader<'_>,
    source: &Arc<Source>,
    node: &Node,
    effect: Effect,
) -> Option<FileRule> {
    let fields = Fields::of(
        reader,
        node,
        "a file rule",
        &condition::known(&["access", "paths"]),
    )?;
    let expected = "a list of read, write, create, delete, rename, link and map";
    let mut access = Vec::new();
    if let Some(list) = fields.require(reader, "access", expected) {
        for item in reader.items(list, expected) {
            if let Some(word) = reader.word(item, &ACCESSES)
                && !access.contains(&word)
            {
                access.push(word);
            }
        }
    }
    let paths = fields
        .require(reader, "paths", "a list of paths")
        .map(|list| patterns(reader, list))
        .unwrap_or_default();
    Some(FileRule {
        common: condition::read(reader, source, &fields, effect, node.span),
        access,
        paths,
    })
}

/// Fields of an exec rule besides those of every rule.
pub(super) const EXEC: [&str; 4] = ["programs", "digests", "args", "notWritable"];

pub(super) fn exec_rule(
    reader: &mut Reader<'_>,
    source: &Arc<Source>,
    node: &Node,
    effect: Effect,
) -> Option<ExecRule> {
    let fields = Fields::of(reader, node, "an exec rule", &condition::known(&EXEC))?;
    let programs = fields
        .get("programs")
        .map(|list| patterns(reader, list))
        .unwrap_or_default();
    let mut digests = Vec::new();
    if let Some(list) = fields.get("digests") {
        for item in reader.items(list, "a list of digests") {
            digests.extend(digest_node(reader, item).map(|digest| (digest, item.span)));
        }
    }
    if fields.get("programs").is_none() && fields.get("digests").is_none() {
        reader.found(
            node.span,
            "an exec rule without programs",
            "programs or digests",
        );
    }
    let mut arguments = Vec::new();
    if let Some(list) = fields.get("args") {
        for item in reader.items(list, "a list of arguments such as {at: 1, is: push}") {
            arguments.extend(argument(reader, item));
        }
    }
    Some(ExecRule {
        common: condition::read(reader, source, &fields, effect, node.span),
        programs,
        digests,
        arguments,
        not_writable: condition::flag(reader, &fields, "notWritable"),
    })
}

const DIGEST: &str = "sha256: and 64 hexadecimal digits in lower case";

/// Reads a digest.
pub(crate) fn digest_node(reader: &mut Reader<'_>, node: &Node) -> Option<[u8; 32]> {
    let text = reader.text(node, DIGEST)?;
    let found = program_digest(text);
    if found.is_none() {
        reader.found(node.span, &quoted(text), DIGEST);
    }
    found
}

/// A program's digest as policies write it: `sha256:` and 64 hexadecimal digits in lower case.
pub fn program_digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(digest)
}

fn argument(reader: &mut Reader<'_>, node: &Node) -> Option<Argument> {
    let fields = Fields::of(reader, node, "an argument", &["at", "is", "startsWith"])?;
    let at = match fields.get("at") {
        None => None,
        Some(node) => {
            let expected = "a position from 1 to 31";
            let text = reader.text(node, expected)?;
            let at = number(text).filter(|at| (1..32).contains(at));
            if at.is_none() {
                reader.found(node.span, &quoted(text), expected);
            }
            Some(at?)
        }
    };
    let (text, prefix) = match (fields.get("is"), fields.get("startsWith")) {
        (Some(text), None) => (text, false),
        (None, Some(text)) => (text, true),
        _ => {
            reader.found(
                node.span,
                "an argument with neither or both",
                "one of is and startsWith",
            );
            return None;
        }
    };
    let text = reader.text(text, "the argument's text")?;
    if text.len() > 64 {
        reader.found(node.span, "a longer argument", "at most 64 bytes");
        return None;
    }
    Some(Argument {
        at,
        text: text.to_owned(),
        prefix,
    })
}
