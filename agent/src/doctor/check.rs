use serde::Serialize;

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, the same in every version.
    pub id: String,
    /// What sort of thing it is.
    pub group: Group,
    /// What Interlock needs it for.
    pub purpose: String,
    /// How it was found.
    pub state: State,
    /// What depends on it.
    pub weight: Weight,
    /// What was found, in words.
    pub found: String,
    /// What is different where it is missing.
    pub without: Option<String>,
    /// How to change it.
    pub remedy: Option<String>,
}

/// What sort of thing a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The machine and how it is set up.
    Host,
    /// A kernel map.
    Map,
    /// A kernel program.
    Program,
    /// What sessions may not do unless their policy names it.
    Privilege,
}

/// How a thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// There, and it works.
    Ok,
    /// Not there, or it does not work.
    Missing,
    /// It could not be found out. Nothing rests on it.
    Unknown,
}

/// What depends on a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Without it nothing can be enforced.
    Required,
    /// Without it less can be enforced.
    Degrading,
    /// It takes the place of BPF LSM: required where that is missing.
    InPlaceOfLsm,
    /// Nothing that is enforced.
    Informing,
}

impl Check {
    /// A check that turned out well.
    pub(super) fn ok(group: Group, id: &str, purpose: &str, found: impl Into<String>) -> Check {
        Check {
            id: id.to_owned(),
            group,
            purpose: purpose.to_owned(),
            state: State::Ok,
            weight: Weight::Required,
            found: found.into(),
            without: None,
            remedy: None,
        }
    }

    pub(super) fn weighing(mut self, weight: Weight) -> Check {
        self.weight = weight;
        self
    }

    /// The same check gone wrong.
    pub(super) fn missing(mut self, found: impl Into<String>) -> Check {
        self.state = State::Missing;
        self.found = found.into();
        self
    }

    pub(super) fn unknown(mut self, found: impl Into<String>) -> Check {
        self.state = State::Unknown;
        self.found = found.into();
        self
    }

    pub(super) fn without(mut self, consequence: &str) -> Check {
        self.without = Some(consequence.to_owned());
        self
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Check {
        self.remedy = Some(remedy.into());
        self
    }

    /// Without what only helps when something is wrong.
    pub(super) fn settled(mut self) -> Check {
        if self.state == State::Ok {
            self.without = None;
            self.remedy = None;
        }
        self
    }
}
