//! The maps that kernel programs and the daemon share.

use super::held::{Held, gone};
use super::pins::Pins;
use super::plain::Plain;
use super::recognised::Recognised;
use agent_common::argument::Pattern;
use agent_common::counter::Counter;
use agent_common::decide::Rule;
use agent_common::egress::{NetworkKey, PortKey};
use agent_common::path::{Index, PathKey, PathRules};
use agent_common::policy::PolicyHead;
use agent_common::session::{Label, Member, Session, Share};
use agent_common::terms::{Progress, Terms};
use agent_common::uses::UseKey;
use aya::Pod;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, RingBuf};

/// Every map, by the name it has in agent-ebpf/src/maps.rs.
pub struct Maps {
    members: HashMap<MapData, u64, Plain<Member>>,
    sessions: Array<MapData, Plain<Session>>,
    progress: Array<MapData, Plain<Progress>>,
    terms: Array<MapData, Plain<Terms>>,
    booted: Array<MapData, u64>,
    networks: LpmTrie<MapData, Plain<NetworkKey>, u32>,
    ports: LpmTrie<MapData, Plain<PortKey>, u32>,
    rules: Array<MapData, Plain<Rule>>,
    arguments: Array<MapData, Plain<Pattern>>,
    index: Array<MapData, Plain<Index>>,
    paths: HashMap<MapData, Plain<PathKey>, Plain<PathRules>>,
    shares: Array<MapData, Plain<Share>>,
    uses: HashMap<MapData, Plain<UseKey>, u64>,
    read: Array<MapData, u64>,
    counts: PerCpuArray<MapData, u64>,
    policies: Array<MapData, Plain<PolicyHead>>,
    draining: HashMap<MapData, u64, u8>,
    /// Those by which sessions are recognised.
    pub recognised: Recognised,
    /// Those of questions to people.
    pub held: Held,
}

/// A map failed us.
#[derive(Debug, thiserror::Error)]
pub enum MapsError {
    /// A pinned map does not open, or is not what it should be.
    #[error("map `{name}`")]
    Open {
        /// The map.
        name: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// What is mounted where cannot be learned, or no secret be drawn.
    #[error("cannot learn what is mounted where")]
    Mounts(#[source] std::io::Error),
    /// Sessions could not be told of their denials.
    #[error("cannot write the files of sessions' denials")]
    Denials(#[source] std::io::Error),
    /// Reading or writing failed.
    #[error(transparent)]
    Access(#[from] MapError),
}

pub(crate) fn open(pins: &Pins, name: &'static str) -> Result<MapData, MapsError> {
    MapData::from_pin(pins.map(name)).map_err(|source| MapsError::Open { name, source })
}

pub(crate) fn typed<T>(name: &'static str, map: Map) -> Result<T, MapsError>
where
    T: TryFrom<Map, Error = MapError>,
{
    T::try_from(map).map_err(|source| MapsError::Open { name, source })
}

impl Maps {
    /// Opens every map of a set of pins.
    pub fn open(pins: &Pins) -> Result<Self, MapsError> {
        Ok(Self {
            members: typed("MEMBERS", Map::HashMap(open(pins, "MEMBERS")?))?,
            sessions: typed("SESSIONS", Map::Array(open(pins, "SESSIONS")?))?,
            progress: typed("PROGRESS", Map::Array(open(pins, "PROGRESS")?))?,
            terms: typed("TERMS", Map::Array(open(pins, "TERMS")?))?,
            booted: typed("BOOTED", Map::Array(open(pins, "BOOTED")?))?,
            networks: typed("NETWORKS", Map::LpmTrie(open(pins, "NETWORKS")?))?,
            ports: typed("PORTS", Map::LpmTrie(open(pins, "PORTS")?))?,
            rules: typed("RULES", Map::Array(open(pins, "RULES")?))?,
            arguments: typed("ARGUMENTS", Map::Array(open(pins, "ARGUMENTS")?))?,
            shares: typed("SHARES", Map::Array(open(pins, "SHARES")?))?,
            uses: typed("USES", Map::HashMap(open(pins, "USES")?))?,
            read: typed("READ", Map::Array(open(pins, "READ")?))?,
            index: typed("INDEX", Map::Array(open(pins, "INDEX")?))?,
            paths: typed("PATHS", Map::HashMap(open(pins, "PATHS")?))?,
            counts: typed("COUNTS", Map::PerCpuArray(open(pins, "COUNTS")?))?,
            policies: typed("POLICIES", Map::Array(open(pins, "POLICIES")?))?,
            draining: typed("DRAINING", Map::LruHashMap(open(pins, "DRAINING")?))?,
            recognised: Recognised::open(pins)?,
            held: Held::open(pins)?,
        })
    }

    /// The ring of decisions. Each caller gets a reader of its own, and there should be one.
    pub fn decisions(pins: &Pins) -> Result<RingBuf<MapData>, MapsError> {
        typed("DECISIONS", Map::RingBuf(open(pins, "DECISIONS")?))
    }

    /// How many sessions there is room for.
    pub fn slots(&self) -> u32 {
        self.sessions.len()
    }

    /// The session in a slot.
    pub fn session(&self, slot: u32) -> Result<Session, MapsError> {
        Ok(self.sessions.get(&slot, 0)?.0)
    }

    /// Writes a slot.
    pub fn set_session(&mut self, slot: u32, session: Session) -> Result<(), MapsError> {
        Ok(self.sessions.set(slot, Plain(session), 0)?)
    }

    /// How far the session in a slot has got.
    pub fn progress(&self, slot: u32) -> Result<Progress, MapsError> {
        Ok(self.progress.get(&slot, 0)?.0)
    }

    /// Writes how far the session in a slot has got. Before it begins: nobody else may write then.
    pub fn set_progress(&mut self, slot: u32, progress: Progress) -> Result<(), MapsError> {
        Ok(self.progress.set(slot, Plain(progress), 0)?)
    }

    /// Writes what a policy demands besides facts.
    pub fn set_terms(&mut self, policy: u32, terms: Terms) -> Result<(), MapsError> {
        Ok(self.terms.set(policy, Plain(terms), 0)?)
    }

    /// What a slot has written into the ring, and what not.
    pub fn share(&self, slot: u32) -> Result<Share, MapsError> {
        Ok(self.shares.get(&slot, 0)?.0)
    }

    /// How often sessions were allowed something. What comes meanwhile may be left out.
    pub fn uses(&self) -> impl Iterator<Item = (UseKey, u64)> {
        let uses = self.uses.iter().flatten();
        uses.map(|(key, count)| (key.0, count))
    }

    /// Forgets how often a session was allowed something.
    pub fn forget_use(&mut self, key: UseKey) -> Result<(), MapsError> {
        gone(self.uses.remove(&Plain(key)))
    }

    /// Tells how much of what a slot has written was read.
    pub fn set_read(&mut self, slot: u32, read: u64) -> Result<(), MapsError> {
        Ok(self.read.set(slot, read, 0)?)
    }

    /// Lets a slot begin with nothing written.
    pub fn clear_share(&mut self, slot: u32) -> Result<(), MapsError> {
        self.shares.set(slot, Plain(Share::NONE), 0)?;
        self.set_read(slot, 0)
    }

    /// Tells the kernel programs when the machine was booted, in seconds since 1970.
    pub fn set_booted(&mut self, seconds: u64) -> Result<(), MapsError> {
        Ok(self.booted.set(0, seconds, 0)?)
    }

    /// Every labelled task, with its label. The order and the moment are the kernel's.
    pub fn labels(&self) -> impl Iterator<Item = Result<Label, MapsError>> {
        self.members.iter().map(|entry| Ok(entry?.1.0.label))
    }

    /// Makes an address prefix of a policy name a port set.
    pub fn add_network(&mut self, bits: u32, key: NetworkKey, set: u32) -> Result<(), MapsError> {
        Ok(self.networks.insert(&prefix(bits, key), set, 0)?)
    }

    /// Takes an address prefix away.
    pub fn remove_network(&mut self, bits: u32, key: NetworkKey) -> Result<(), MapsError> {
        Ok(self.networks.remove(&prefix(bits, key))?)
    }

    /// Every address prefix, with its bits.
    pub fn networks(&self) -> Result<Vec<(u32, NetworkKey)>, MapsError> {
        let keys = self.networks.keys();
        keys.map(|key| {
            key.map(|key| (key.prefix_len(), key.data().0))
                .map_err(MapsError::from)
        })
        .collect()
    }

    /// Every port prefix, with its bits.
    pub fn ports(&self) -> Result<Vec<(u32, PortKey)>, MapsError> {
        let keys = self.ports.keys();
        keys.map(|key| {
            key.map(|key| (key.prefix_len(), key.data().0))
                .map_err(MapsError::from)
        })
        .collect()
    }

    /// Makes a port prefix of a set name a rule.
    pub fn add_port(&mut self, bits: u32, key: PortKey, rule: u32) -> Result<(), MapsError> {
        Ok(self.ports.insert(&prefix(bits, key), rule, 0)?)
    }

    /// Takes a port prefix away.
    pub fn remove_port(&mut self, bits: u32, key: PortKey) -> Result<(), MapsError> {
        Ok(self.ports.remove(&prefix(bits, key))?)
    }

    /// Writes a rule.
    pub fn set_rule(&mut self, index: u32, rule: Rule) -> Result<(), MapsError> {
        Ok(self.rules.set(index, Plain(rule), 0)?)
    }

    /// Writes the head of a policy.
    pub fn set_policy(&mut self, number: u32, head: PolicyHead) -> Result<(), MapsError> {
        Ok(self.policies.set(number, Plain(head), 0)?)
    }

    /// Lets what a session had sent before its end still leave.
    pub fn let_drain(&mut self, session: u64) -> Result<(), MapsError> {
        Ok(self.draining.insert(session, 1, 0)?)
    }

    /// What every look-up of a path begins with.
    pub fn index(&self) -> Result<Box<Index>, MapsError> {
        Ok(Box::new(self.index.get(&0, 0)?.0))
    }

    /// Writes it. The kernel copies word by word, and a program may read meanwhile.
    pub fn set_index(&mut self, index: &Index) -> Result<(), MapsError> {
        Ok(self.index.set(0, Plain(*index), 0)?)
    }

    /// Every path entry.
    pub fn paths(&self) -> impl Iterator<Item = Result<(PathKey, PathRules), MapsError>> {
        self.paths.iter().map(|entry| {
            let (key, rules) = entry?;
            Ok((key.0, rules.0))
        })
    }

    /// Writes a path entry.
    pub fn set_path(&mut self, key: PathKey, rules: PathRules) -> Result<(), MapsError> {
        Ok(self.paths.insert(Plain(key), Plain(rules), 0)?)
    }

    /// Takes a path entry away.
    pub fn remove_path(&mut self, key: PathKey) -> Result<(), MapsError> {
        Ok(self.paths.remove(&Plain(key))?)
    }

    /// Writes what an argument must be.
    pub fn set_argument(&mut self, index: u32, pattern: Pattern) -> Result<(), MapsError> {
        Ok(self.arguments.set(index, Plain(pattern), 0)?)
    }

    /// A counter, over all CPUs.
    pub fn count(&self, counter: Counter) -> Result<u64, MapsError> {
        Ok(self.counts.get(&counter.wire(), 0)?.iter().sum())
    }
}

fn prefix<T: Copy>(bits: u32, key: T) -> Key<Plain<T>>
where
    Plain<T>: Pod,
{
    Key::new(bits, Plain(key))
}
